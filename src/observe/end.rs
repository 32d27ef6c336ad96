//! How a request ended: the label.

/// How a request ended, as its client saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// The whole response was handed over.
    #[default]
    Complete,
    /// The client left, or no longer took what there was, before it had everything.
    ClientLeft,
    /// The client's body broke off, stalled or grew too large while its response was under way.
    ClientBroke,
    /// The backend broke its response off.
    BackendBroke,
    /// The backend's response did not go on in time.
    BackendStalled,
}

impl End {
    /// Every end, in the order of [`End::index`].
    pub const ALL: [End; 5] =
        [End::Complete, End::ClientLeft, End::ClientBroke, End::BackendBroke, End::BackendStalled];

    /// Position in [`End::ALL`], for counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            End::Complete => "complete",
            End::ClientLeft => "client_left",
            End::ClientBroke => "client_broke",
            End::BackendBroke => "backend_broke",
            End::BackendStalled => "backend_stalled",
        }
    }
}
