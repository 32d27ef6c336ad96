//! The line before a chunk's data (RFC 9112, section 7.1).

use bytes::{Buf, BytesMut};
use memchr::memchr;

use super::Refusal;

/// A chunk-size line with its extensions is at most this long.
pub(super) const MAX_LINE: usize = 1024;

/// Chunk extensions of a whole body are at most this long, and so is its trailer section: a little
/// less than hyper takes, so that it is we who answer.
pub(super) const MAX_EXTENSIONS: usize = 15 * 1024;
pub(super) const MAX_TRAILERS: usize = 15 * 1024;

/// Takes a chunk-size line out of `input`, if all of it is there.
pub(in crate::http) fn take_size(input: &mut BytesMut) -> Result<Option<u64>, Refusal> {
    let Some(end) = memchr(b'\n', input) else {
        return if input.len() > MAX_LINE { Err(Refusal::Chunk) } else { Ok(None) };
    };
    let line = input[..end].strip_suffix(b"\r").ok_or(Refusal::BareLineFeed)?;
    let size = size(line).ok_or(Refusal::Chunk)?;
    input.advance(end + 1);
    Ok(Some(size))
}

/// Fields that a trailer section may not have: nothing there may change what was read before.
pub(in crate::http) fn is_forbidden_trailer(name: &[u8]) -> bool {
    const FORBIDDEN: [&[u8]; 5] =
        [b"content-length", b"transfer-encoding", b"host", b"trailer", b"connection"];
    FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden))
}

/// The size that a chunk-size line states: one to sixteen hexadecimal digits, then nothing or
/// well-formed extensions (`;name`, `;name=token`, `;name="quoted"`), without blanks anywhere.
pub(super) fn size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if !(1..=16).contains(&digits) {
        return None;
    }
    let (digits, mut rest) = line.split_at(digits);
    while !rest.is_empty() {
        rest = extension(rest)?;
    }
    let value = |size: u64, &digit: &u8| {
        size << 4 | u64::from((digit as char).to_digit(16).unwrap_or_default())
    };
    Some(digits.iter().fold(0, value))
}

/// What follows one extension.
fn extension(text: &[u8]) -> Option<&[u8]> {
    let rest = token(text.strip_prefix(b";")?)?;
    match rest.strip_prefix(b"=") {
        None => Some(rest),
        Some(value) => match value.strip_prefix(b"\"") {
            None => token(value),
            Some(quoted) => end_of_quoted(quoted),
        },
    }
}

/// What follows a token of at least one character.
fn token(text: &[u8]) -> Option<&[u8]> {
    let len = text.iter().take_while(|&&b| is_token(b)).count();
    (len > 0).then(|| &text[len..])
}

/// What follows a quoted string whose opening quote has been taken.
fn end_of_quoted(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        match text {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', escaped, rest @ ..] if *escaped >= b' ' && *escaped != 0x7f => text = rest,
            [b'\\', ..] => return None,
            [b, rest @ ..] if (*b >= b' ' && *b != 0x7f) || *b == b'\t' => text = rest,
            _ => return None,
        }
    }
}

/// A character of a token (RFC 9110, section 5.6.2).
pub(in crate::http) const fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size(b"0"), Some(0));
        assert_eq!(size(b"1aF"), Some(0x1af));
        assert_eq!(size(b"00000005"), Some(5));
        assert_eq!(size(b"ffffffffffffffff"), Some(u64::MAX));
        assert_eq!(size(b"5;a;b=c;d=\"e \\\" f\""), Some(5));
        for bad in [
            "",
            "g",
            " 5",
            "5 ",
            "5\t",
            "0x5",
            "+5",
            "-1",
            "5;",
            "5;;a",
            "5;a=",
            "5;=b",
            "5; a",
            "5 ;a",
            "5;a =b",
            "5;a=\"b",
            "5;a=\"b\"c",
            "5,5",
            "5;a=b c",
            "10000000000000000",
            "5;a=\"\x01\"",
            "5\r",
        ] {
            assert_eq!(size(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
