//! The reordering queue: bytes arrive by position in any order, and leave in order, each once.
//!
//! One stands in every subflow (positions are SSNs) and one in the connection (positions are DSNs).

use super::{RangeSet, push_one};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;

/// Puts bytes back into order.
#[derive(Debug)]
pub(crate) struct Assembler {
    next: u64,
    /// None: nothing waits, and nothing has lately.
    queue: Option<Box<Queue>>,
}

/// All that lies at or after the next position.
#[derive(Debug, Default)]
struct Queue {
    /// Out of order, ascending, not overlapping.
    waiting: VecDeque<(u64, Bytes)>,
    waiting_bytes: usize,
    ranges: RangeSet,
}

impl Assembler {
    /// Expects the byte at position `next` first.
    pub(crate) fn new(next: u64) -> Self {
        Assembler { next, queue: None }
    }

    /// The position of the next byte in order.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Bytes that wait for others before them.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.waiting_bytes)
    }

    /// One past the last byte that waits.
    pub(crate) fn waiting_end(&self) -> Option<u64> {
        self.queue.as_ref()?.waiting.back().map(|(at, data)| at + data.len() as u64)
    }

    /// Pieces that wait: what they cost beyond their bytes.
    pub(crate) fn pieces(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.waiting.len())
    }

    /// What all that waits costs.
    pub(crate) fn memory(&self) -> usize {
        self.waiting_bytes() + self.pieces() * super::PIECE
    }

    /// Gives back memory that nothing is in.
    pub(crate) fn give_back(&mut self) {
        self.queue.take_if(|queue| queue.waiting.is_empty());
    }

    pub(crate) fn has_gap(&self) -> bool {
        self.pieces() > 0
    }

    /// What has arrived out of order, as ranges (the source of SACK blocks).
    pub(crate) fn ranges(&self) -> &RangeSet {
        static NONE: RangeSet = RangeSet::new();
        self.queue.as_ref().map_or(&NONE, |queue| &queue.ranges)
    }

    /// Skips one position that holds no byte (a FIN or DATA_FIN).
    pub(crate) fn skip_one(&mut self) {
        debug_assert!(!self.has_gap());
        self.next += 1;
    }

    /// Takes in `data` at `at`; bytes already here or already taken out are ignored.
    /// Returns how many bytes were new.
    pub(crate) fn insert(&mut self, mut at: u64, mut data: Bytes) -> usize {
        if at < self.next {
            let old = usize::try_from(self.next - at).unwrap_or(usize::MAX).min(data.len());
            data.advance(old);
            at += old as u64;
        }
        if data.is_empty() {
            return 0;
        }
        self.queue.get_or_insert_default().insert(at, data)
    }

    /// Takes the next piece in order, as far as it lies before `limit`.
    pub(crate) fn pop_before(&mut self, limit: u64) -> Option<(u64, Bytes)> {
        let queue = self.queue.as_mut()?;
        let (at, data) = queue.waiting.front_mut().filter(|(at, _)| *at == self.next && *at < limit)?;
        let before = limit - *at;
        if before >= data.len() as u64 {
            return self.pop();
        }
        let (start, piece) = (*at, data.split_to(before as usize));
        *at = limit;
        self.next = limit;
        queue.waiting_bytes -= piece.len();
        queue.ranges.remove_before(limit);
        Some((start, piece))
    }

    /// Takes the next piece in order, with its position.
    pub(crate) fn pop(&mut self) -> Option<(u64, Bytes)> {
        let queue = self.queue.as_mut()?;
        if queue.waiting.front()?.0 != self.next {
            return None;
        }
        let (at, data) = queue.waiting.pop_front()?;
        queue.waiting_bytes -= data.len();
        self.next += data.len() as u64;
        queue.ranges.remove_before(self.next);
        Some((at, data))
    }
}

impl Queue {
    /// Returns how many bytes were new.
    fn insert(&mut self, at: u64, data: Bytes) -> usize {
        let before = self.waiting_bytes;
        self.ranges.insert(at..at + data.len() as u64);
        // The common cases: nothing waits, or the new piece comes after all that does.
        if self.waiting.back().is_none_or(|(start, last)| start + last.len() as u64 <= at) {
            self.push(self.waiting.len(), at, data);
        } else {
            // [9293-SHLD-31]
            self.insert_between(at, data);
        }
        self.waiting_bytes - before
    }

    fn push(&mut self, index: usize, at: u64, data: Bytes) {
        self.waiting_bytes += data.len();
        if index == self.waiting.len() {
            return push_one(&mut self.waiting, (at, data));
        }
        self.waiting.insert(index, (at, data));
    }

    /// Fills only the holes that `data` covers: what is here already stays.
    fn insert_between(&mut self, mut at: u64, mut data: Bytes) {
        let mut i = self.waiting.partition_point(|(start, d)| start + d.len() as u64 <= at);
        while !data.is_empty() {
            let Some((start, len)) = self.waiting.get(i).map(|(s, d)| (*s, d.len() as u64)) else {
                return self.push(i, at, data);
            };
            if at < start {
                let hole = usize::try_from(start - at).unwrap_or(usize::MAX).min(data.len());
                let piece = data.split_to(hole);
                at += hole as u64;
                self.push(i, at - hole as u64, piece);
                i += 1;
            }
            // [8684-3.3.1-2]
            let skip = usize::try_from((start + len).saturating_sub(at)).unwrap_or(usize::MAX).min(data.len());
            data.advance(skip);
            at += skip as u64;
            i += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn byte(at: u64) -> u8 {
        (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
    }

    proptest! {
        #[test]
        fn every_byte_leaves_once_and_in_order(pieces in proptest::collection::vec((0u64..400, 1usize..60), 1..80)) {
            let mut asm = Assembler::new(100);
            let mut seen = std::collections::BTreeSet::new();
            let mut out = 100u64;
            for (at, len) in pieces {
                let data: Vec<u8> = (at..at + len as u64).map(byte).collect();
                let fresh = (at..at + len as u64).filter(|p| *p >= out && seen.insert(*p)).count();
                prop_assert_eq!(asm.insert(at, data.into()), fresh);
                if at % 3 == 0 {
                    while let Some((start, piece)) = asm.pop() {
                        prop_assert_eq!(start, out);
                        for b in piece {
                            prop_assert!(seen.contains(&out));
                            prop_assert_eq!(b, byte(out));
                            out += 1;
                        }
                    }
                    prop_assert!(!seen.contains(&out));
                    prop_assert_eq!(asm.waiting_bytes(), seen.range(out..).count());
                }
            }
        }
    }
}
