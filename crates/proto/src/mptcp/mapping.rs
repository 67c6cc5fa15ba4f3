//! Which subflow bytes are which connection bytes, on the receiving side (RFC 8684, section 3.3.1).

use crate::seq::{Dsn, Ssn};
use std::collections::VecDeque;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct RxMapping {
    ssn: Ssn,
    dsn: Dsn,
    len: u64,
}

impl RxMapping {
    fn end(&self) -> Ssn {
        self.ssn + self.len
    }
}

/// The mappings of one subflow that still have bytes to come, by SSN, not overlapping.
#[derive(Debug, Default)]
pub(crate) struct RxMappings {
    mappings: VecDeque<RxMapping>,
    /// One that puts bytes elsewhere than where they stand in the subflow.
    shifted: bool,
}

/// More are not kept for one subflow: its whole window in single small segments needs fewer.
const MAX_MAPPINGS: usize = 16 * 1024;

/// The peer mapped the same subflow bytes to two places, or far too many of them.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict;

impl RxMappings {
    /// Takes in a mapping; the same one again, as retransmissions and the copies of a segmented
    /// super-segment bring it, changes nothing.
    pub(crate) fn insert(&mut self, ssn: Ssn, dsn: Dsn, len: u64, rcv_nxt: Ssn) -> Result<(), Conflict> {
        self.shifted |= ssn.0 != dsn.0;
        let new = RxMapping { ssn, dsn, len };
        if len == 0 || new.end() <= rcv_nxt {
            return Ok(());
        }
        let i = self.mappings.partition_point(|m| m.end() <= ssn);
        match self.mappings.get(i) {
            Some(old) if old.ssn < new.end() => {
                let same_line = old.dsn.since(Dsn::ORIGIN).wrapping_sub(old.ssn.since(Ssn::ORIGIN))
                    == dsn.since(Dsn::ORIGIN).wrapping_sub(ssn.since(Ssn::ORIGIN));
                // Other boundaries on the same line (a middlebox resegmented) say nothing contradictory. [8684-6-3]
                if !same_line {
                    return Err(Conflict);
                }
                let start = old.ssn.min(ssn);
                let end = old.end().max(new.end());
                let dsn = if old.ssn <= ssn { old.dsn } else { dsn };
                let next_starts = self.mappings.get(i + 1).map(|next| next.ssn);
                let end = next_starts.map_or(end, |next| end.min(next));
                self.mappings[i] = RxMapping { ssn: start, dsn, len: end - start };
                Ok(())
            }
            _ if self.mappings.len() >= MAX_MAPPINGS => Err(Conflict),
            _ => {
                self.mappings.insert(i, new);
                Ok(())
            }
        }
    }

    /// Every byte so far stands at the same place in the subflow and in the connection.
    pub(crate) fn is_identity(&self) -> bool {
        !self.shifted
    }

    /// Where the byte at `ssn` belongs, and how many bytes from there on are mapped in one line.
    pub(crate) fn lookup(&self, ssn: Ssn) -> Option<(Dsn, u64)> {
        let i = self.mappings.partition_point(|m| m.end() <= ssn);
        // [8684-3.3.1-16]
        let m = self.mappings.get(i).filter(|m| m.ssn <= ssn)?;
        let offset = ssn - m.ssn;
        Some((m.dsn + offset, m.len - offset))
    }

    /// Forgets mappings whose bytes have all been delivered.
    pub(crate) fn release(&mut self, rcv_nxt: Ssn) {
        while self.mappings.front().is_some_and(|m| m.end() <= rcv_nxt) {
            self.mappings.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // [8684-6-3]
    #[test]
    fn a_repeated_mapping_is_no_news_and_a_contradiction_is_an_error() {
        let mut maps = RxMappings::default();
        let s = |n: u64| Ssn::FIRST + n;
        let d = |n: u64| Dsn::FIRST + n;
        assert_eq!(maps.insert(s(100), d(500), 50, s(0)), Ok(()));
        assert_eq!(maps.insert(s(100), d(500), 50, s(0)), Ok(()));
        assert_eq!(maps.insert(s(120), d(900), 10, s(0)), Err(Conflict));
        assert_eq!(maps.insert(s(0), d(0), 100, s(0)), Ok(()));
        assert_eq!(maps.lookup(s(99)), Some((d(99), 1)));
        assert_eq!(maps.lookup(s(110)), Some((d(510), 40)));
        assert_eq!(maps.lookup(s(150)), None);
        maps.release(s(100));
        assert_eq!(maps.lookup(s(50)), None);
        assert_eq!(maps.lookup(s(100)), Some((d(500), 50)));
    }
}
