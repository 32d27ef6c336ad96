//! A backend's response body, from bytes to pieces, with its framing beyond doubt.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;

use super::copies::Copies;
use super::fields::Found;
use super::framing::{Refusal, chunk};
use super::response_head::BodyFraming;

/// Bytes that a trailer section may have.
const MAX_TRAILERS: usize = 16 * 1024;

/// Pieces of up to this size are copied out of the read buffer, which can then be used again;
/// larger ones take it with them.
const COPIED: usize = 4 * 1024;

/// Follows a response body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyDecoder {
    /// So many bytes are left.
    Sized(u64),
    /// A chunk-size line is next.
    ChunkSize,
    /// So many bytes of a chunk are left.
    ChunkData(u64),
    /// The line end after a chunk's data is next.
    ChunkEnd,
    /// The trailer section is next.
    Trailers,
    /// It goes on until the connection ends.
    UntilClose,
    /// It is over.
    Ended,
}

/// What there is of a body.
#[derive(Debug)]
pub enum Decoded {
    /// A piece, never empty.
    Data(Bytes),
    /// The trailers; nothing follows.
    Trailers(HeaderMap),
    /// Nothing before more is read.
    Nothing,
    /// It is over.
    End,
}

impl BodyDecoder {
    /// A decoder for a body that is framed so.
    pub fn new(framing: BodyFraming) -> Self {
        match framing {
            BodyFraming::None => BodyDecoder::Ended,
            BodyFraming::Sized(length) => BodyDecoder::Sized(length),
            BodyFraming::Chunked => BodyDecoder::ChunkSize,
            BodyFraming::UntilClose => BodyDecoder::UntilClose,
        }
    }

    /// Is it over?
    pub fn is_ended(self) -> bool {
        self == BodyDecoder::Ended
    }

    /// The bytes that are left, where that is known.
    pub fn remaining(self) -> Option<u64> {
        match self {
            BodyDecoder::Sized(left) => Some(left),
            BodyDecoder::Ended => Some(0),
            _ => None,
        }
    }

    /// May the body end here, where the connection does?
    pub fn may_end_here(self) -> bool {
        matches!(self, BodyDecoder::UntilClose | BodyDecoder::Ended)
    }

    /// Takes the next piece out of `input`.
    pub fn decode(
        &mut self,
        input: &mut BytesMut,
        copies: &mut Copies,
    ) -> Result<Decoded, Refusal> {
        loop {
            match *self {
                BodyDecoder::Ended => return Ok(Decoded::End),
                _ if input.is_empty() => return Ok(Decoded::Nothing),
                BodyDecoder::UntilClose => {
                    return Ok(Decoded::Data(take(input, u64::MAX, copies).0));
                }
                BodyDecoder::Sized(left) => {
                    let (data, left) = take(input, left, copies);
                    *self = if left == 0 { BodyDecoder::Ended } else { BodyDecoder::Sized(left) };
                    return Ok(Decoded::Data(data));
                }
                BodyDecoder::ChunkData(left) => {
                    let (data, left) = take(input, left, copies);
                    *self = match left {
                        0 => BodyDecoder::ChunkEnd,
                        left => BodyDecoder::ChunkData(left),
                    };
                    return Ok(Decoded::Data(data));
                }
                BodyDecoder::ChunkEnd => match &input[..] {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        *self = BodyDecoder::ChunkSize;
                    }
                    [b'\r'] => return Ok(Decoded::Nothing),
                    _ => return Err(Refusal::Chunk),
                },
                BodyDecoder::ChunkSize => match chunk::take_size(input)? {
                    None => return Ok(Decoded::Nothing),
                    Some(0) => *self = BodyDecoder::Trailers,
                    Some(size) => *self = BodyDecoder::ChunkData(size),
                },
                BodyDecoder::Trailers => return self.trailers(input),
            }
        }
    }

    fn trailers(&mut self, input: &mut BytesMut) -> Result<Decoded, Refusal> {
        if input.starts_with(b"\r\n") {
            input.advance(2);
            *self = BodyDecoder::Ended;
            return Ok(Decoded::End);
        }
        let Some(end) = memmem::find(input, b"\r\n\r\n") else {
            return match input.len() {
                length if length > MAX_TRAILERS => Err(Refusal::HeadTooLarge),
                _ => Ok(Decoded::Nothing),
            };
        };
        let trailers = trailer_fields(&input[..end + 4])?;
        input.advance(end + 4);
        *self = BodyDecoder::Ended;
        Ok(if trailers.is_empty() { Decoded::End } else { Decoded::Trailers(trailers) })
    }
}

/// Takes up to `left` bytes. Gives how many are left then.
fn take(input: &mut BytesMut, left: u64, copies: &mut Copies) -> (Bytes, u64) {
    let length = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
    let data = if length <= COPIED {
        let data = copies.copy(&input[..length]);
        input.advance(length);
        data
    } else {
        input.split_to(length).freeze()
    };
    (data, left - length as u64)
}

fn trailer_fields(section: &[u8]) -> Result<HeaderMap, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut fields)
    else {
        return Err(Refusal::TrailerField);
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        if chunk::is_forbidden_trailer(field.name.as_bytes()) {
            return Err(Refusal::TrailerField);
        }
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        let (Ok(name), Ok(value)) = (name, value) else { return Err(Refusal::TrailerField) };
        if Found::may_be_trailer(name.as_str()) {
            trailers.append(name, value);
        }
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The pieces of a body that comes in these parts: data, trailer lines, and how it ended.
    fn decode(framing: BodyFraming, parts: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), Refusal> {
        let mut decoder = BodyDecoder::new(framing);
        let (mut input, mut copies) = (BytesMut::new(), Copies::default());
        let (mut data, mut trailers) = (Vec::new(), 0);
        for part in parts {
            input.extend_from_slice(part);
            loop {
                match decoder.decode(&mut input, &mut copies)? {
                    Decoded::Data(piece) => {
                        assert!(!piece.is_empty());
                        data.extend_from_slice(&piece);
                    }
                    Decoded::Trailers(map) => trailers += map.len(),
                    Decoded::Nothing | Decoded::End => break,
                }
            }
        }
        Ok((data, trailers, decoder.is_ended()))
    }

    const CHUNKED: &[u8] = b"4\r\nWiki\r\n6;a=\"b\"\r\npedia \r\n0\r\nx-sum: 1\r\nx-b: 2\r\n\r\n";

    #[test]
    fn bodies_are_decoded() {
        let sized = decode(BodyFraming::Sized(5), &[b"hel", b"lo"]);
        assert_eq!(sized, Ok((b"hello".to_vec(), 0, true)));
        assert_eq!(decode(BodyFraming::Chunked, &[CHUNKED]), Ok((b"Wikipedia ".to_vec(), 2, true)));
        let open = decode(BodyFraming::UntilClose, &[b"abc", b"d"]);
        assert_eq!(open, Ok((b"abcd".to_vec(), 0, false)));
        assert_eq!(decode(BodyFraming::None, &[b""]), Ok((vec![], 0, true)));
    }

    #[test]
    fn large_pieces_are_not_copied() {
        let mut input = BytesMut::from(&vec![b'x'; COPIED + 1][..]);
        let at = input.as_ptr();
        let mut decoder = BodyDecoder::Sized(COPIED as u64 + 1);
        let decoded = decoder.decode(&mut input, &mut Copies::default()).unwrap();
        assert!(matches!(decoded, Decoded::Data(data) if data.as_ptr() == at));
    }

    #[test]
    fn doubtful_chunks_are_refused() {
        for (body, why) in [
            (&b"4 \r\nWiki\r\n"[..], Refusal::Chunk),
            (b"4\nWiki\r\n", Refusal::BareLineFeed),
            (b"4\r\nWikis\r\n", Refusal::Chunk),
            (b"x\r\n", Refusal::Chunk),
            (b"0\r\nContent-Length: 5\r\n\r\n", Refusal::TrailerField),
            (b"0\r\nbad name: 5\r\n\r\n", Refusal::TrailerField),
        ] {
            assert_eq!(decode(BodyFraming::Chunked, &[body]), Err(why), "{body:?}");
        }
        let endless = vec![b'a'; 3000];
        assert_eq!(decode(BodyFraming::Chunked, &[&endless]), Err(Refusal::Chunk));
        let endless = [b"0\r\nx: ", &vec![b'a'; MAX_TRAILERS][..]].concat();
        assert_eq!(decode(BodyFraming::Chunked, &[&endless]), Err(Refusal::HeadTooLarge));
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(cuts in proptest::collection::vec(0..CHUNKED.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.extend([0, CHUNKED.len()]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|cut| &CHUNKED[cut[0]..cut[1]]).collect();
            let decoded = decode(BodyFraming::Chunked, &parts);
            prop_assert_eq!(decoded, Ok((b"Wikipedia ".to_vec(), 2, true)));
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(BodyFraming::Chunked, &[&bytes]);
        }
    }
}
