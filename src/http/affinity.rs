//! `Stickler-Affinity` in a response: what the app says of the session. The field is between the
//! app and us, and goes no further.

/// What the app wants done with the session of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionWish {
    /// `pin`: it begins, if there is none.
    Pin,
    /// `release`: it is over.
    Release,
}

/// What the app says of the session of its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionWord {
    /// What it wants done, if anything.
    pub wish: Option<SessionWish>,
    /// `unknown`: the request came with a session that this server does not know.
    pub is_unknown: bool,
}

impl SessionWord {
    /// Takes in the value of one field: some words with commas between them. Parameters after `;`
    /// are for later versions, and what is none of the words says nothing. Of two wishes the end
    /// counts: who logs out must not stay bound.
    pub fn hear(&mut self, value: &[u8]) {
        for word in value.split(|&b| b == b',') {
            let word = word.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
            if word.eq_ignore_ascii_case(b"release") {
                self.wish = Some(SessionWish::Release);
            } else if word.eq_ignore_ascii_case(b"pin") {
                self.wish = self.wish.or(Some(SessionWish::Pin));
            } else if word.eq_ignore_ascii_case(b"unknown") {
                self.is_unknown = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(values: &[&str]) -> SessionWord {
        let mut word = SessionWord::default();
        values.iter().for_each(|value| word.hear(value.as_bytes()));
        word
    }

    #[test]
    fn three_words_are_known_and_the_end_counts() {
        use SessionWish::*;
        for (text, wish) in [
            ("pin", Some(Pin)),
            (" Release ", Some(Release)),
            ("release;why=logout", Some(Release)),
            ("", None),
            (",;,", None),
            ("pinned", None),
            ("pin, release", Some(Release)),
            ("release, pin", Some(Release)),
            ("bound", None),
        ] {
            assert_eq!(heard(&[text]), SessionWord { wish, is_unknown: false }, "{text:?}");
        }
        assert_eq!(heard(&["pin", "release"]).wish, Some(Release));
        assert_eq!(heard(&["release", "pin"]).wish, Some(Release));
        assert_eq!(heard(&["Unknown"]), SessionWord { wish: None, is_unknown: true });
        assert_eq!(
            heard(&["unknown;id=7, pin"]),
            SessionWord { wish: Some(Pin), is_unknown: true }
        );
    }
}
