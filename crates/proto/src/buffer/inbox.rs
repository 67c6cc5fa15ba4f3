//! What has arrived in order and was not read yet.

use super::{PIECE, push_one};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;

/// Shorter pieces are put together by copying: a peer that sends single bytes is not to cost a hundred times as many.
const CRUMB: usize = 512;
/// ...in blocks of this many bytes.
const BLOCK: usize = 4096;

/// Pieces in order. Longer ones share the memory that they arrived in.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pieces: VecDeque<Bytes>,
    /// Comes after them.
    crumbs: BytesMut,
    len: usize,
}

impl Inbox {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What they cost.
    pub(crate) fn memory(&self) -> usize {
        self.len + self.crumbs.capacity() - self.crumbs.len() + self.pieces.len() * PIECE
    }

    /// Gives back memory that nothing is in.
    pub(crate) fn give_back(&mut self) {
        self.pieces.shrink_to_fit();
        if self.crumbs.is_empty() {
            self.crumbs = BytesMut::new();
        }
    }

    pub(crate) fn push(&mut self, data: Bytes) {
        let first = self.len == 0;
        self.len += data.len();
        // Where the application keeps up there is nothing to put it together with.
        if data.len() >= CRUMB || first {
            self.gather_crumbs();
            return push_one(&mut self.pieces, data);
        }
        if self.crumbs.capacity() - self.crumbs.len() < data.len() {
            self.gather_crumbs();
            self.crumbs = BytesMut::with_capacity(BLOCK);
        }
        self.crumbs.extend_from_slice(&data);
    }

    fn gather_crumbs(&mut self) {
        if !self.crumbs.is_empty() {
            push_one(&mut self.pieces, self.crumbs.split().freeze());
        }
    }

    /// At most `max` bytes, as many as lie in one piece.
    pub(crate) fn pop(&mut self, max: usize) -> Option<Bytes> {
        if self.pieces.is_empty() {
            self.gather_crumbs();
        }
        let front = self.pieces.front_mut()?;
        let data = if front.len() > max { front.split_to(max) } else { self.pieces.pop_front()? };
        self.len -= data.len();
        Some(data)
    }

    /// Fills `out` as far as there are bytes; how many.
    pub(crate) fn read_into(&mut self, out: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < out.len() {
            let Some(mut piece) = self.pop(out.len() - filled) else { break };
            let n = piece.len();
            piece.copy_to_slice(&mut out[filled..filled + n]);
            filled += n;
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_leave_in_order_and_cost_what_they_are(ops in proptest::collection::vec((0usize..1_500, 0usize..2_000), 1..60)) {
            let (mut inbox, mut put, mut got) = (Inbox::default(), Vec::new(), Vec::new());
            for (i, (push, pop)) in ops.into_iter().enumerate() {
                if push > 0 {
                    let data: Vec<u8> = (0..push).map(|b| (b * 7 + i) as u8).collect();
                    put.extend_from_slice(&data);
                    inbox.push(data.into());
                }
                if pop % 2 == 0 {
                    got.extend(inbox.pop(pop).unwrap_or_default());
                } else {
                    let mut out = vec![0; pop];
                    let n = inbox.read_into(&mut out);
                    got.extend_from_slice(&out[..n]);
                }
                prop_assert_eq!(inbox.len(), put.len() - got.len());
                prop_assert_eq!(&got[..], &put[..got.len()]);
            }
        }
    }

    #[test]
    fn single_bytes_cost_little_more_than_bytes() {
        let mut inbox = Inbox::default();
        for _ in 0..100_000 {
            inbox.push(Bytes::from_static(b"x"));
        }
        assert!(inbox.memory() < 110_000, "{}", inbox.memory());
    }
}
