//! Buffers that go round: each is as large as the largest packet, is handed on as [`Bytes`] without
//! a copy, and comes back when the last reference to it is dropped. Fresh memory would cost a page
//! fault for every 4 KB.

use std::io::IoSlice;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::device::READ_LEN;

/// Buffers kept for reuse. Beyond it they are freed: 256 of them are 16 MB, about what one
/// connection's send or receive buffer holds at most.
const KEEP: usize = 256;

/// Buffer size in bytes: a packet with its virtio header, rounded up to an odd number of cache
/// lines so that the buffers' first lines do not all fall into the same cache set.
const BUFFER_LEN: usize = (READ_LEN.div_ceil(64) | 1) * 64;

/// How much of a buffer a copy fills.
const COPY_LEN: usize = 64 * 1024;

/// A store of buffers, shared by reference.
#[derive(Clone, Debug, Default)]
pub(crate) struct BufferPool {
    free: Arc<Mutex<Vec<Box<[u8]>>>>,
}

impl BufferPool {
    /// A buffer of at least [`READ_LEN`] bytes with arbitrary content.
    pub(crate) fn take(&self) -> Buffer {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = free.pop();
        drop(free);
        Buffer { bytes: bytes.unwrap_or_else(|| vec![0; BUFFER_LEN].into_boxed_slice()), len: 0, pool: self.clone() }
    }

    /// Copies up to `max` bytes from the front of `pieces` into buffers of [`COPY_LEN`] bytes.
    pub(crate) fn copy(&self, pieces: &[IoSlice<'_>], max: usize) -> Vec<Bytes> {
        let total: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut left = total.min(max);
        let mut copies = Vec::with_capacity(left.div_ceil(COPY_LEN));
        let mut pieces = pieces.iter().map(|piece| &**piece);
        let mut piece: &[u8] = &[];
        while left > 0 {
            let mut buffer = self.take();
            let want = left.min(COPY_LEN);
            let mut filled = 0;
            while filled < want {
                if piece.is_empty() {
                    // There is one, or `left` would be 0.
                    piece = pieces.next().unwrap_or_default();
                }
                let (front, rest) = piece.split_at(piece.len().min(want - filled));
                buffer.bytes[filled..filled + front.len()].copy_from_slice(front);
                filled += front.len();
                piece = rest;
            }
            buffer.set_len(filled);
            left -= filled;
            copies.push(buffer.freeze());
        }
        copies
    }

    fn put_back(&self, bytes: Box<[u8]>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEEP {
            free.push(bytes);
        }
    }

    #[cfg(test)]
    fn idle(&self) -> usize {
        self.free.lock().unwrap().len()
    }
}

/// One buffer outside the pool. Dropping it puts it back.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    /// How much of it is content.
    len: usize,
    pool: BufferPool,
}

impl Buffer {
    /// The whole buffer, to read into.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Says how many bytes have been read into [`space`](Self::space).
    pub(crate) fn set_len(&mut self, len: usize) {
        self.len = len.min(self.bytes.len());
    }

    /// The content as shared bytes; the buffer returns to its pool with the last of them.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.put_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_returns_with_the_last_slice_of_it() {
        let pool = BufferPool::default();
        let mut buffer = pool.take();
        assert!(buffer.space().len() >= READ_LEN);
        buffer.space()[..4].copy_from_slice(b"abcd");
        buffer.set_len(4);
        let whole = buffer.freeze();
        let tail = whole.slice(2..);
        drop(whole);
        assert_eq!((pool.idle(), &tail[..]), (0, &b"cd"[..]));
        drop(tail);
        assert_eq!(pool.idle(), 1);
        drop(pool.take());
        assert_eq!(pool.idle(), 1);
    }

    #[test]
    fn copies_are_what_was_in_the_pieces() {
        let pool = BufferPool::default();
        let all: Vec<u8> = (0..3 * COPY_LEN).map(|at| (at % 251) as u8).collect();
        let cut = COPY_LEN + 17;
        let pieces = [&all[..5], &[], &all[5..cut], &all[cut..]].map(IoSlice::new);
        for max in [0, 1, COPY_LEN, COPY_LEN + 1, all.len(), usize::MAX] {
            let copies = pool.copy(&pieces, max);
            assert_eq!(copies.concat(), all[..all.len().min(max)], "up to {max}");
            assert_eq!(copies.len(), all.len().min(max).div_ceil(COPY_LEN));
        }
        assert!(pool.copy(&[], 7).is_empty());
    }

    #[test]
    fn the_pool_does_not_grow_without_bound() {
        let pool = BufferPool::default();
        let out: Vec<_> = (0..KEEP + 3).map(|_| pool.take()).collect();
        drop(out);
        assert_eq!(pool.idle(), KEEP);
    }
}
