//! `Stickler-Affinity` in a response: what the app wants done with the session. The field is
//! between the app and us, and goes no further.

/// What the app wants done with the session of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionWish {
    /// `pin`: it begins, if there is none.
    Pin,
    /// `release`: it is over.
    Release,
}

impl SessionWish {
    /// Reads the value of one field. Parameters after `;` are for later versions, and what is
    /// neither of the two wishes is none.
    pub fn read(value: &[u8]) -> Option<Self> {
        let word = value.split(|&b| b == b';').next()?.trim_ascii();
        match word {
            word if word.eq_ignore_ascii_case(b"pin") => Some(SessionWish::Pin),
            word if word.eq_ignore_ascii_case(b"release") => Some(SessionWish::Release),
            _ => None,
        }
    }

    /// Of two wishes in one answer the end counts: who logs out must not stay bound.
    pub fn and(self, other: Option<Self>) -> Self {
        if other == Some(SessionWish::Release) { SessionWish::Release } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_words_are_known_and_the_end_counts() {
        use SessionWish::*;
        for (text, wish) in [
            ("pin", Some(Pin)),
            (" Release ", Some(Release)),
            ("release;why=logout", Some(Release)),
            ("", None),
            ("pinned", None),
            ("pin, release", None),
            ("bound", None),
        ] {
            assert_eq!(SessionWish::read(text.as_bytes()), wish, "{text:?}");
        }
        assert_eq!((Pin.and(Some(Release)), Release.and(Some(Pin))), (Release, Release));
        assert_eq!(Pin.and(None), Pin);
    }
}
