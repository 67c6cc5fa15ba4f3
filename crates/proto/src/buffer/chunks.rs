//! A run of bytes in a few reference-counted pieces: what one segment carries.

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

/// Bytes in order, in pieces. Cloning and slicing share the memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chunks {
    pieces: SmallVec<[Bytes; 4]>,
    len: usize,
}

impl Chunks {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push(piece);
        }
    }

    pub(crate) fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// Drops the first `n` bytes.
    pub(crate) fn advance(&mut self, mut n: usize) {
        debug_assert!(n <= self.len);
        self.len -= n;
        let mut whole = 0;
        for piece in &mut self.pieces {
            if n < piece.len() {
                piece.advance(n);
                break;
            }
            n -= piece.len();
            whole += 1;
        }
        self.pieces.drain(..whole);
    }

    /// Cuts off and returns everything from byte `at` on.
    pub(crate) fn split_off(&mut self, at: usize) -> Chunks {
        let mut tail = Chunks::default();
        let mut kept = 0;
        let mut pieces = core::mem::take(&mut self.pieces).into_iter();
        for mut piece in pieces.by_ref() {
            if kept + piece.len() > at {
                tail.push(piece.split_off(at - kept));
                if !piece.is_empty() {
                    self.pieces.push(piece);
                }
                break;
            }
            kept += piece.len();
            self.pieces.push(piece);
        }
        for piece in pieces {
            tail.push(piece);
        }
        self.len -= tail.len;
        tail
    }
}
