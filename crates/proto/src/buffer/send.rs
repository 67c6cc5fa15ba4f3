//! The connection's send buffer: what the application wrote and the peer has not yet acknowledged, by DSN.

use super::{Chunks, push_one};
use crate::seq::Dsn;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;

/// Small writes are gathered in blocks: four of them, but so many bytes at least...
const SMALLEST_BLOCK: usize = 1024;
/// ...and so many at most.
const LARGEST_BLOCK: usize = 64 * 1024;

/// Bytes from the oldest unacknowledged one to the last one written.
#[derive(Debug)]
pub(crate) struct SendBuffer {
    una: Dsn,
    end: Dsn,
    chunks: VecDeque<(Dsn, Bytes)>,
    /// Written by copy and not sent yet; becomes a chunk when somebody wants to send it.
    tail: BytesMut,
}

impl SendBuffer {
    pub(crate) fn new(first: Dsn) -> Self {
        SendBuffer { una: first, end: first, chunks: VecDeque::new(), tail: BytesMut::new() }
    }

    /// Bytes held.
    pub(crate) fn len(&self) -> usize {
        (self.end - self.una) as usize
    }

    /// What they cost.
    pub(crate) fn memory(&self) -> usize {
        self.len() + self.tail.capacity() - self.tail.len() + self.chunks.len() * super::PIECE
    }

    /// One past the last byte written.
    pub(crate) fn end(&self) -> Dsn {
        self.end
    }

    /// Appends a copy of `data`.
    pub(crate) fn write(&mut self, data: &[u8]) {
        if self.tail.capacity() - self.tail.len() < data.len() {
            self.freeze_tail();
            self.tail = BytesMut::with_capacity(data.len().max((4 * data.len()).clamp(SMALLEST_BLOCK, LARGEST_BLOCK)));
        }
        self.tail.extend_from_slice(data);
        self.end += data.len() as u64;
    }

    /// Appends `data` without copying it.
    pub(crate) fn push(&mut self, data: Bytes) {
        self.freeze_tail();
        let at = self.end;
        self.end += data.len() as u64;
        if !data.is_empty() {
            push_one(&mut self.chunks, (at, data));
        }
    }

    fn freeze_tail(&mut self) {
        if !self.tail.is_empty() {
            let bytes = self.tail.split().freeze();
            push_one(&mut self.chunks, (Dsn(self.end.0 - bytes.len() as u64), bytes));
        }
    }

    /// Up to `len` bytes from `from` on, sharing the memory.
    pub(crate) fn slice(&mut self, from: Dsn, len: usize) -> Chunks {
        debug_assert!(from >= self.una);
        if from + len as u64 > Dsn(self.end.0 - self.tail.len() as u64) {
            self.freeze_tail();
        }
        let mut out = Chunks::default();
        let first = self.chunks.partition_point(|(at, d)| *at + d.len() as u64 <= from);
        for (at, data) in self.chunks.range(first..) {
            let skip = from.since(*at) as usize;
            let take = (data.len() - skip).min(len - out.len());
            out.push(data.slice(skip..skip + take));
            if out.len() == len {
                break;
            }
        }
        out
    }

    /// Gives back memory that nothing is in.
    pub(crate) fn give_back(&mut self) {
        self.chunks.shrink_to_fit();
    }

    /// Forgets everything before `una`: the peer has it (DATA_ACK).
    pub(crate) fn release(&mut self, una: Dsn) {
        if una <= self.una {
            return;
        }
        debug_assert!(una <= self.end);
        self.una = una;
        while let Some((at, data)) = self.chunks.front_mut() {
            let end = *at + data.len() as u64;
            if end <= una {
                self.chunks.pop_front();
                continue;
            }
            let old = una.since(*at);
            data.advance(old as usize);
            *at += old;
            return;
        }
        // Acknowledged without ever having been sliced: only in a fallback that skips what another holds.
        let tail_start = Dsn(self.end.0 - self.tail.len() as u64);
        self.tail.advance(una.since(tail_start) as usize);
        if self.len() == 0 {
            self.tail = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_what_was_written_across_copies_and_pieces() {
        let mut buf = SendBuffer::new(Dsn::FIRST);
        let mut model = Vec::new();
        for i in 0..200u32 {
            let data: Vec<u8> = (0..i * 7 % 900).map(|b| (b + i) as u8).collect();
            model.extend_from_slice(&data);
            if i % 3 == 0 {
                buf.push(data.into());
            } else {
                buf.write(&data);
            }
            if i % 11 == 0 {
                let from = model.len() / 2;
                let got = buf.slice(Dsn::FIRST + from as u64, 5000);
                let flat: Vec<u8> = got.pieces().iter().flat_map(|p| p.to_vec()).collect();
                assert_eq!(flat, model[from..model.len().min(from + 5000)]);
            }
            if i % 13 == 0 {
                buf.release(Dsn::FIRST + (model.len() / 3) as u64);
                assert_eq!(buf.len(), model.len() - model.len() / 3);
            }
        }
        assert_eq!(buf.end(), Dsn::FIRST + model.len() as u64);
    }
}
