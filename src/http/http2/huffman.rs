//! Is this a string in the Huffman code (RFC 7541, section 5.2 and appendix B), and how long is what
//! it stands for? Checked as it comes, without being decoded.
//!
//! The code is canonical: the shortest codes are the lowest ones, and each length goes on where the
//! one before has ended. So how many codes there are of each length says where every code ends, which
//! is all that is asked here.

use super::Fault;

/// So many codes of so many bits. The last one of all is the end of a string.
const CODES: [(u32, u64); 21] = [
    (5, 10),
    (6, 26),
    (7, 32),
    (8, 6),
    (10, 5),
    (11, 3),
    (12, 2),
    (13, 6),
    (14, 2),
    (15, 3),
    (19, 3),
    (20, 8),
    (21, 13),
    (22, 26),
    (23, 29),
    (24, 12),
    (25, 4),
    (26, 15),
    (27, 19),
    (28, 29),
    (30, 4),
];

/// Lengths up to eight bits, of which the first byte says enough.
const SHORT: usize = 4;

/// The code of the end of a string, which none may have in it: thirty ones.
const END: u64 = !0 << (u64::BITS - 30);

/// The length of what begins with this byte, or 0 for more than eight bits.
const BY_FIRST_BYTE: [u8; 256] = {
    let mut lengths = [0; 256];
    let (mut i, mut byte) = (0, 0);
    while i < SHORT {
        let (length, count) = CODES[i];
        let end = byte + ((count as usize) << (8 - length));
        while byte < end {
            lengths[byte] = length as u8;
            byte += 1;
        }
        i += 1;
    }
    lengths
};

/// Each of the longer lengths, and where its codes end: the first one after them, from the left.
const LONG: [(u32, u64); CODES.len() - SHORT] = {
    let mut ends = [(0, 0); CODES.len() - SHORT];
    let (mut i, mut end) = (0, 0_u64);
    while i < CODES.len() {
        let (length, count) = CODES[i];
        end = end.wrapping_add(count << (u64::BITS - length));
        if i >= SHORT {
            ends[i - SHORT] = (length, end);
        }
        i += 1;
    }
    assert!(end == 0, "the codes are all that there are");
    ends[ends.len() - 1].1 = END;
    ends
};

/// A string as far as it has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Huffman {
    /// What is not a whole code yet, from the left, and zeros.
    bits: u64,
    have: u32,
    /// Bytes that there were.
    length: u32,
}

impl Huffman {
    /// More of it.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let Huffman { mut bits, mut have, mut length } = *self;
        // Less than thirty bits are left of before, so that there is room for 32.
        for piece in bytes.chunks(4) {
            let more = match piece {
                [a, b, c, d] => u32::from_be_bytes([*a, *b, *c, *d]),
                few => few.iter().fold(0, |more, &byte| more << u8::BITS | u32::from(byte)),
            };
            have += u8::BITS * piece.len() as u32;
            bits |= u64::from(more) << (u64::BITS - have);
            loop {
                let code = match BY_FIRST_BYTE[(bits >> (u64::BITS - 8)) as usize] {
                    0 => long_code(bits)?,
                    short => u32::from(short),
                };
                // The zeros that stand for what is to come make a code short at most, and then it
                // is not there yet, whatever comes.
                if code > have {
                    break;
                }
                bits <<= code;
                have -= code;
                length += 1;
            }
        }
        *self = Huffman { bits, have, length };
        Ok(())
    }

    /// The string ends here: how many bytes it stands for. It is filled up with the beginning of its
    /// end, less than a byte of it.
    pub(super) fn end(self) -> Result<u32, Fault> {
        let is_filled = self.have < 8 && self.bits == !(u64::MAX >> self.have);
        if is_filled { Ok(self.length) } else { Err(Fault::Compression) }
    }
}

/// The length of the code that these bits begin with, which has more than eight.
fn long_code(bits: u64) -> Result<u32, Fault> {
    let code = LONG.iter().find(|(_, end)| bits < *end);
    code.map(|(length, _)| *length).ok_or(Fault::Compression)
}

#[cfg(test)]
mod tests {
    use httlib_huffman::{DecoderSpeed, decode, encode};
    use proptest::prelude::*;

    use super::*;

    fn length(pieces: &[&[u8]]) -> Option<u32> {
        let mut text = Huffman::default();
        pieces.iter().try_for_each(|piece| text.read(piece)).ok()?;
        text.end().ok()
    }

    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut coded = Vec::new();
        encode(text, &mut coded).unwrap();
        coded
    }

    #[test]
    fn strings_end_as_they_must() {
        for (expected, coded) in [
            (Some(0), &[][..]),
            (Some(4), &[0x49, 0x50, 0x9f]),          // "test"
            (None, &[0x49, 0x50, 0x9f, 0xff]),       // filled up with a whole byte
            (None, &[0x49, 0x50, 0x90]),             // with zeros
            (None, &[0xff]),                         // nothing but filling
            (None, &[0xff, 0xff, 0xff, 0xff]),       // the end itself
            (None, &[0xff, 0xff, 0xff, 0xfc, 0x1f]), // the same before a letter
            (None, &[0xff, 0xff, 0xff]),             // half a code
            (Some(1), &[0xff, 0xff, 0xff, 0xf3]),    // a line feed, of thirty bits
            (None, &[0xff, 0xff, 0xff, 0xf0]),
        ] {
            assert_eq!(length(&[coded]), expected, "{coded:x?}");
        }
    }

    #[test]
    fn every_byte_has_a_code() {
        for byte in 0..=255 {
            for count in 1..10 {
                let coded = encoded(&vec![byte; count]);
                assert_eq!(length(&[&coded]), Some(count as u32), "{byte}");
                assert_eq!(length(&[&coded, &[0xff]]), None, "{byte}");
                let shorter = &coded[..coded.len() - 1];
                assert_eq!(length(&[shorter]).is_some(), is_right(shorter), "{byte}");
            }
        }
    }

    /// Whoever reads it, and writes what was read, has the same again.
    fn is_right(coded: &[u8]) -> bool {
        let mut text = Vec::new();
        decode(coded, &mut text, DecoderSpeed::OneBit).is_ok() && encoded(&text) == coded
    }

    proptest! {
        #[test]
        fn any_string_has_its_length(
            text in proptest::collection::vec(any::<u8>(), 0..300), cuts in any::<[u16; 3]>(),
        ) {
            let coded = encoded(&text);
            let mut cuts = cuts.map(|cut| usize::from(cut) % (coded.len() + 1));
            cuts.sort_unstable();
            let [a, b, c] = cuts;
            let pieces = [&coded[..a], &coded[a..b], &coded[b..c], &coded[c..]];
            prop_assert_eq!(length(&pieces), Some(text.len() as u32));
        }

        #[test]
        fn what_is_no_string_is_refused(
            text in proptest::collection::vec(prop_oneof![32u8..127, any::<u8>()], 0..20),
            change in any::<(usize, u8)>(),
            end in proptest::collection::vec(any::<u8>(), 0..5),
        ) {
            let mut coded = encoded(&text);
            if !coded.is_empty() {
                let at = change.0 % coded.len();
                coded[at] ^= change.1;
            }
            coded.extend(end);
            prop_assert_eq!(length(&[&coded]).is_some(), is_right(&coded), "{:x?}", coded);
        }
    }
}
