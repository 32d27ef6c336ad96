//! Short copies of what is read, so that the buffers that it is read into stay free.

use bytes::{Bytes, BytesMut};

/// Makes copies one behind the other in the same piece of memory, so that hardly any of them
/// allocates. The piece is used again when none of its copies is left.
#[derive(Debug, Default)]
pub struct Copies {
    /// What is left of the piece.
    room: BytesMut,
}

impl Copies {
    /// Size of a piece. A copy that is kept for long, since a client is slow, keeps all of it.
    const PIECE: usize = 16 * 1024;

    /// Copies these bytes.
    pub fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if self.room.capacity() < bytes.len() {
            self.room.reserve(bytes.len().max(Self::PIECE));
        }
        self.room.extend_from_slice(bytes);
        self.room.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_a_piece_and_use_it_again() {
        let mut copies = Copies::default();
        let (a, b) = (copies.copy(b"hello"), copies.copy(b"world"));
        assert_eq!((&a[..], &b[..]), (&b"hello"[..], &b"world"[..]));
        let first = a.as_ptr();
        assert_eq!(b.as_ptr() as usize - first as usize, 5);
        drop(a);
        let large = copies.copy(&[7; Copies::PIECE]);
        assert_eq!(large.len(), Copies::PIECE);
        assert_eq!(&b[..], b"world");
        let of_large = large.as_ptr();
        drop(large);
        assert_eq!(copies.copy(&[8; 10]).as_ptr(), of_large);
    }
}
