//! Where the frames of a WebSocket connection begin and end (RFC 6455, section 5.2), so that a
//! Close frame can be put between two of them. Payloads are counted, never read.

/// The longest head of a frame: two bytes, a 64-bit length, a mask.
const LONGEST_HEAD: usize = 14;

/// `Close`, among the opcodes.
const CLOSE: u8 = 0x8;

/// The final fragment of a message; so is every control frame.
const FINAL: u8 = 0x80;

/// What a client sends is masked.
const MASKED: u8 = 0x80;

/// "Service restart", in the registry of close codes (RFC 6455, section 11.7).
const SERVICE_RESTART: u16 = 1012;

/// Text for people, shorter than the 123 bytes that there are.
const WHY: &[u8] = b"service restart";

/// Length of a [`close_frame`] that is not masked.
const CLOSE_LEN: usize = 2 + 2 + WHY.len();

/// One direction of a connection, as far as it has been seen.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    /// The head of the present frame, as far as it is there.
    head: [u8; LONGEST_HEAD],
    have: usize,
    /// Bytes of its payload that are to come.
    payload: u64,
    has_closed: bool,
}

impl Frames {
    /// Takes in what comes next.
    pub fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.see_frame(bytes);
            bytes = &bytes[taken..];
        }
    }

    /// Takes in what comes next, up to the end of the present frame. Gives how much that was.
    pub fn see_frame(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while self.payload == 0 {
            let Some((&byte, after)) = rest.split_first() else { return bytes.len() };
            (self.head[self.have], rest) = (byte, after);
            self.have += 1;
            if self.have >= 2 && self.have == self.head_len() {
                self.payload = self.payload_len();
                self.has_closed |= self.head[0] & 0x0f == CLOSE;
                self.have = 0;
                if self.payload == 0 {
                    return bytes.len() - rest.len();
                }
            }
        }
        let len = usize::try_from(self.payload).unwrap_or(usize::MAX).min(rest.len());
        self.payload -= len as u64;
        bytes.len() - rest.len() + len
    }

    /// Is a frame complete, and the next one not begun?
    pub fn are_complete(&self) -> bool {
        self.have == 0 && self.payload == 0
    }

    /// Has a Close frame begun? Nothing comes after it.
    pub fn have_closed(&self) -> bool {
        self.has_closed
    }

    fn head_len(&self) -> usize {
        let length = match self.head[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.head[1] & MASKED != 0 { 4 } else { 0 }
    }

    fn payload_len(&self) -> u64 {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |n, &byte| n << 8 | u64::from(byte));
        match self.head[1] & !MASKED {
            126 => number(&self.head[2..4]),
            127 => number(&self.head[2..10]),
            len => u64::from(len),
        }
    }
}

/// A Close frame that says that the service restarts. `mask`: it goes to a server.
pub fn close_frame(mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut payload = [0; CLOSE_LEN - 2];
    payload[..2].copy_from_slice(&SERVICE_RESTART.to_be_bytes());
    payload[2..].copy_from_slice(WHY);
    let mut frame = vec![FINAL | CLOSE, payload.len() as u8];
    if let Some(mask) = mask {
        frame[1] |= MASKED;
        frame.extend_from_slice(&mask);
        for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= key;
        }
    }
    frame.extend_from_slice(&payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(opcode: u8, length: usize, mask: bool) -> Vec<u8> {
        let mut frame = vec![FINAL | opcode];
        let bit = if mask { MASKED } else { 0 };
        match length {
            0..126 => frame.push(bit | length as u8),
            126..65_536 => {
                frame.push(bit | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(bit | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(if mask { &[1, 2, 3, 4][..] } else { &[] });
        // What looks like heads must not be taken for any.
        frame.extend(std::iter::repeat_n(FINAL | CLOSE, length));
        frame
    }

    #[test]
    fn boundaries_are_found_for_every_kind_of_length() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            for mask in [false, true] {
                let mut frames = Frames::default();
                let bytes = frame(1, length, mask);
                for end in 0..bytes.len().min(20) {
                    let mut part = Frames::default();
                    part.see(&bytes[..end]);
                    assert_eq!(part.are_complete(), end == 0, "{end} of {length}");
                }
                frames.see(&bytes);
                assert!(frames.are_complete() && !frames.have_closed(), "{length}, {mask}");
                frames.see(&frame(CLOSE, 2, mask));
                assert!(frames.are_complete() && frames.have_closed());
            }
        }
    }

    #[test]
    fn it_stops_at_the_end_of_a_frame() {
        let two = [frame(2, 300, true), frame(2, 5, true)].concat();
        let mut frames = Frames::default();
        assert_eq!(frames.see_frame(&two[..7]), 7);
        assert_eq!(frames.see_frame(&two[7..]), 301);
        assert!(frames.are_complete());
        assert_eq!(frames.see_frame(&two[308..]), 11);
        assert_eq!(frames.see_frame(&[]), 0);
    }

    #[test]
    fn a_close_frame_is_one() {
        let plain = close_frame(None);
        assert_eq!(plain, b"\x88\x11\x03\xf4service restart");
        let masked = close_frame(Some([1, 2, 3, 4]));
        assert_eq!(masked[..6], [0x88, 0x91, 1, 2, 3, 4]);
        let payload: Vec<_> = masked[6..].iter().zip([1, 2, 3, 4].iter().cycle()).collect();
        assert!(payload.iter().map(|(byte, key)| *byte ^ *key).eq(plain[2..].iter().copied()));
        for bytes in [plain, masked] {
            let mut frames = Frames::default();
            frames.see(&bytes);
            assert!(frames.are_complete() && frames.have_closed());
        }
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_gives_the_same_boundaries(
            lengths in proptest::collection::vec((0usize..700, any::<bool>()), 1..8),
            cuts in proptest::collection::vec(1usize..400, 1..40),
        ) {
            let frames: Vec<_> = lengths.iter().map(|&(len, mask)| frame(2, len, mask)).collect();
            let stream = frames.concat();
            let mut ends: Vec<usize> = vec![0];
            frames.iter().for_each(|frame| ends.push(ends[ends.len() - 1] + frame.len()));
            let (mut seen, mut at) = (Frames::default(), 0);
            for cut in cuts.into_iter().cycle() {
                if at == stream.len() {
                    break;
                }
                let end = (at + cut).min(stream.len());
                seen.see(&stream[at..end]);
                prop_assert_eq!(seen.are_complete(), ends.contains(&end), "at {}", end);
                at = end;
            }
            prop_assert!(!seen.have_closed());
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut frames = Frames::default();
            frames.see(&bytes);
            let mut other = Frames::default();
            let mut at = 0;
            while at < bytes.len() {
                let taken = other.see_frame(&bytes[at..]);
                prop_assert!(taken > 0);
                at += taken;
            }
            prop_assert_eq!(frames.are_complete(), other.are_complete());
        }
    }
}
