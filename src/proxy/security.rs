//! How a client came to us.

/// Whether a client came over TLS to us.
#[derive(Debug)]
pub(crate) enum Security {
    /// It did not.
    None,
    /// It did.
    Tls {
        /// The field line with its certificate's subject, if it has shown one.
        subject_line: Box<[u8]>,
    },
}

impl Security {
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Security::Tls { .. })
    }

    /// The field line with the subject of the client's certificate; empty if there is none.
    pub(crate) fn subject_line(&self) -> &[u8] {
        match self {
            Security::None => &[],
            Security::Tls { subject_line } => subject_line,
        }
    }
}
