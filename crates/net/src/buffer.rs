//! Receive buffers that go round: each is as large as the largest packet, is handed up as [`Bytes`]
//! without a copy, and comes back when the last reference to it is dropped.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::device::READ_LEN;

/// Buffers kept for reuse. Beyond it they are freed: 256 of them are 16 MB, about what one
/// connection's receive window holds at most.
const KEEP: usize = 256;

/// Buffer size in bytes: a packet with its virtio header, rounded up to an odd number of cache
/// lines so that the buffers' first lines do not all fall into the same cache set.
const BUFFER_LEN: usize = (READ_LEN.div_ceil(64) | 1) * 64;

/// A store of receive buffers, shared by reference.
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
        Buffer {
            bytes: bytes.unwrap_or_else(|| vec![0; BUFFER_LEN].into_boxed_slice()),
            len: 0,
            pool: self.clone(),
        }
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
    fn the_pool_does_not_grow_without_bound() {
        let pool = BufferPool::default();
        let out: Vec<_> = (0..KEEP + 3).map(|_| pool.take()).collect();
        drop(out);
        assert_eq!(pool.idle(), KEEP);
    }
}
