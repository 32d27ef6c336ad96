//! The text of the file, places in it, and the secrets that must not be shown.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::balance::affinity::Key;

/// A text that mistakes point into. Secrets in it are blacked out.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    text: String,
}

/// Where in a [`Source`] something is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// Which text; `None` for the file as a whole.
    pub(super) span: Option<Range<usize>>,
    /// Part of what belongs here was refused already. What is said about the rest may be only a
    /// consequence.
    pub(super) doubtful: bool,
}

impl From<Range<usize>> for Place {
    fn from(span: Range<usize>) -> Self {
        Place { span: Some(span), doubtful: false }
    }
}

impl Source {
    /// A text with a name that an editor can open. What looks like a key is blacked out in both.
    pub(super) fn new(name: &str, text: &str) -> Self {
        Source { name: without_keys(name), text: without_keys(text) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The text of a place, as it was written but without the secrets.
    pub(super) fn slice(&self, span: Range<usize>) -> &str {
        &self.text[self.fit(span)]
    }

    /// Line and column of an offset, counted from 1, the column in characters.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.slice(0..offset);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// Blacks out the text of a place byte by byte, so that every place stays where it is. Quotes
    /// and line ends stay too.
    pub(super) fn black_out(&mut self, span: Range<usize>) {
        let span = self.fit(span);
        let keep = |byte: u8| matches!(byte, b'"' | b'\'' | b'\n' | b'\r');
        let black = |byte: u8| if keep(byte) { char::from(byte) } else { '*' };
        let blackened: String = self.text[span.clone()].bytes().map(black).collect();
        self.text.replace_range(span, &blackened);
    }

    /// The nearest place that is inside the text and cuts no character in two.
    pub(super) fn fit(&self, span: Range<usize>) -> Range<usize> {
        let floor = |mut at: usize| {
            at = at.min(self.text.len());
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(span.start);
        start..floor(span.end).max(start)
    }
}

/// The text with everything blacked out that could be a key, wherever it stands: a token key may be
/// written into a comment, under a wrong name, or without quotes.
pub(super) fn without_keys(text: &str) -> String {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    let bytes = text.as_bytes();
    let mut shown = text.to_owned();
    let mut rest = 0;
    while let Some(start) = bytes[rest..].iter().position(is_digit).map(|offset| rest + offset) {
        let length = bytes[start..].iter().take_while(|byte| is_digit(byte)).count();
        rest = start + length;
        if is_key(&bytes[start..rest]) {
            shown.replace_range(start..rest, &"*".repeat(length));
        }
    }
    shown
}

/// Is this a key in base64, in either alphabet and without padding?
fn is_key(digits: &[u8]) -> bool {
    digits.len() == (Key::LEN * 8).div_ceil(6)
        && [STANDARD_NO_PAD, URL_SAFE_NO_PAD].iter().any(|base64| base64.decode(digits).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters() {
        let source = Source::new("x", "ä = 1\nöü = 2");
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position("ä = ".len()), (1, 5));
        assert_eq!(source.position("ä = 1\nöü".len()), (2, 3));
        assert_eq!(source.position(1000), (2, 7), "the end");
    }

    #[test]
    fn blacking_out_moves_nothing() {
        let mut source = Source::new("x", "a = 'sä\ncret' # b");
        let end = source.text().find(" #").unwrap();
        source.black_out(4..end);
        assert_eq!(source.text(), "a = '***\n****' # b");
    }

    #[test]
    fn keys_are_found_wherever_they_stand() {
        let key = "9lV/MzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE";
        for text in ["keys = KEY=", "ä # KEY=", "KEY", "a=KEY= KEY\n'KEY'"] {
            let written = text.replace("KEY", key);
            assert_eq!(without_keys(&written), text.replace("KEY", &"*".repeat(key.len())));
        }
        let path = "unix:/run/some/very/long/path/that/is/not-a-key/really.sock";
        assert_eq!(without_keys(path), path);
    }
}
