//! Where do lines end? A search that stays in registers from one end to the next: heads have many
//! short lines, and starting `memchr` anew for each of them costs more than the lines do.

const LF: u64 = u64::from_ne_bytes([b'\n'; 8]);
const LOW: u64 = u64::from_ne_bytes([0x7f; 8]);

/// The positions of line feeds, in order.
#[derive(Debug)]
pub(super) struct LineEnds<'a> {
    words: &'a [[u8; 8]],
    tail: &'a [u8],
    /// Of the current word: the high bit of every byte that is a line feed and not yet given.
    mask: u64,
    /// Position of the current word.
    base: usize,
    /// Position of the next word, or of the next byte of the tail.
    next: usize,
}

impl<'a> LineEnds<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let (words, tail) = bytes.as_chunks();
        LineEnds { words, tail, mask: 0, base: 0, next: 0 }
    }
}

impl Iterator for LineEnds<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        loop {
            if self.mask != 0 {
                let at = self.base + self.mask.trailing_zeros() as usize / 8;
                self.mask &= self.mask - 1;
                return Some(at);
            }
            let Some((word, rest)) = self.words.split_first() else { break };
            self.words = rest;
            self.base = self.next;
            self.next += 8;
            // A byte is zero if neither itself nor the carry out of its low bits sets the high
            // bit (Hacker's Delight, section 6-1, without false positives).
            let differs = u64::from_le_bytes(*word) ^ LF;
            self.mask = !(((differs & LOW) + LOW) | differs | LOW);
        }
        let found = self.tail.iter().position(|&b| b == b'\n')?;
        let at = self.next + found;
        self.tail = &self.tail[found + 1..];
        self.next = at + 1;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_and_only_the_line_feeds_are_found(
            bytes in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'\x0b'), Just(b'\x8a'), Just(b'\0'), any::<u8>()],
                0..60,
            ),
        ) {
            let expected: Vec<usize> =
                (0..bytes.len()).filter(|&at| bytes[at] == b'\n').collect();
            prop_assert_eq!(LineEnds::new(&bytes).collect::<Vec<_>>(), expected);
        }
    }
}
