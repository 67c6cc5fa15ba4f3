//! Which subflow bytes are which connection bytes, on the receiving side (RFC 8684, section 3.3.1).

use crate::buffer::PIECE;
use crate::seq::{Dsn, Ssn};
use bytes::Bytes;
use polypath_wire::Checksum;
use std::collections::VecDeque;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct RxMapping {
    ssn: Ssn,
    dsn: Dsn,
    len: u64,
    /// Where both ends agreed on it: the sum that all bytes of the mapping bring to zero.
    check: Option<Checksum>,
}

impl RxMapping {
    fn end(&self) -> Ssn {
        self.ssn + self.len
    }

    /// How far the connection's numbers are from the subflow's.
    fn shift(&self) -> u64 {
        self.dsn.since(Dsn::ORIGIN).wrapping_sub(self.ssn.since(Ssn::ORIGIN))
    }
}

/// The mappings of one subflow that still have bytes to come, by SSN, not overlapping.
#[derive(Debug, Default)]
pub(crate) struct RxMappings {
    mappings: VecDeque<RxMapping>,
    /// One that puts bytes elsewhere than where they stand in the subflow.
    shifted: bool,
    /// Bytes of the first mapping that wait for the rest of it to be verified.
    held: Option<Box<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    pieces: Vec<(Ssn, Bytes)>,
    sum: Checksum,
    len: u64,
}

/// More are not kept for one subflow: its whole window in single small segments needs fewer.
const MAX_MAPPINGS: usize = 16 * 1024;

/// The peer mapped the same subflow bytes to two places, or far too many of them.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict;

/// What became of bytes in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mapped {
    /// They belong here in the connection's stream.
    At(Dsn, Bytes),
    /// They wait for the rest of their mapping.
    Held,
    /// They are the last of their mapping, which is whole and right: take all that was held.
    Verified,
    /// They are the last of their mapping, which does not match its checksum. It begins here.
    Corrupt(Dsn),
    /// Nobody said where they belong.
    Unmapped(Bytes),
}

impl RxMappings {
    /// Bytes that wait for the rest of their mapping.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.len as usize)
    }

    /// Takes in a mapping; the same one again, as retransmissions and the copies of a segmented
    /// super-segment bring it, changes nothing. `check`: the checksum begun with the pseudo-header and the checksum
    /// itself.
    pub(crate) fn insert(
        &mut self,
        ssn: Ssn,
        dsn: Dsn,
        len: u64,
        check: Option<Checksum>,
        rcv_nxt: Ssn,
    ) -> Result<(), Conflict> {
        self.shifted |= ssn.0 != dsn.0;
        let new = RxMapping { ssn, dsn, len, check };
        if len == 0 || new.end() <= rcv_nxt {
            return Ok(());
        }
        let i = self.mappings.partition_point(|m| m.end() <= ssn);
        match self.mappings.get(i) {
            Some(old) if old.ssn < new.end() => {
                // Other boundaries on the same line (a middlebox resegmented) say nothing contradictory, unless they
                // are to be verified. [8684-6-3]
                let same = if check.is_some() { *old == new } else { old.shift() == new.shift() };
                if !same {
                    return Err(Conflict);
                }
                let start = old.ssn.min(ssn);
                let end = old.end().max(new.end());
                let dsn = if old.ssn <= ssn { old.dsn } else { dsn };
                let next_starts = self.mappings.get(i + 1).map(|next| next.ssn);
                let end = next_starts.map_or(end, |next| end.min(next));
                self.mappings[i] = RxMapping { ssn: start, dsn, len: end - start, check };
                Ok(())
            }
            _ if self.mappings.len() >= MAX_MAPPINGS => Err(Conflict),
            // What is to be verified must be here from its first byte on.
            _ if check.is_some() && ssn < rcv_nxt => Err(Conflict),
            _ => {
                self.mappings.insert(i, new);
                Ok(())
            }
        }
    }

    /// What is kept, in bytes.
    pub(crate) fn memory(&self) -> usize {
        let held = self.held.as_ref().map_or(0, |held| held.len as usize + held.pieces.len() * PIECE);
        self.mappings.len() * size_of::<RxMapping>() + held
    }

    /// Gives back memory that nothing is in.
    pub(crate) fn give_back(&mut self) {
        self.mappings.shrink_to_fit();
        self.held.take_if(|held| held.pieces.is_empty());
    }

    /// Every byte so far stands at the same place in the subflow and in the connection.
    pub(crate) fn is_identity(&self) -> bool {
        !self.shifted
    }

    /// Where the next bytes in order belong; as many as are mapped in one line are taken off `data`.
    pub(crate) fn place(&mut self, ssn: Ssn, data: &mut Bytes) -> Mapped {
        let i = self.mappings.partition_point(|m| m.end() <= ssn);
        // [8684-3.3.1-16]
        let Some(m) = self.mappings.get(i).filter(|m| m.ssn <= ssn).copied() else {
            return Mapped::Unmapped(core::mem::take(data));
        };
        let offset = ssn - m.ssn;
        let piece = data.split_to(((m.len - offset) as usize).min(data.len()));
        let Some(check) = m.check else { return Mapped::At(m.dsn + offset, piece) };
        let held = self.held.get_or_insert_default();
        if offset == 0 {
            **held = Held { sum: check, ..Held::default() };
        }
        held.sum.add_bytes(&piece);
        held.len += piece.len() as u64;
        held.pieces.push((ssn, piece));
        match held.len == m.len {
            false => Mapped::Held,
            true if held.sum.finish() == 0 => Mapped::Verified,
            true => Mapped::Corrupt(m.dsn),
        }
    }

    /// Up to where bytes from `ssn` on have a place, without a gap.
    pub(crate) fn covered_to(&self, ssn: Ssn) -> Ssn {
        let first = self.mappings.partition_point(|m| m.end() <= ssn);
        self.mappings.range(first..).fold(ssn, |end, m| if m.ssn <= end { m.end() } else { end })
    }

    /// The bytes held, with their places in the subflow.
    pub(crate) fn take_held(&mut self) -> Vec<(Ssn, Bytes)> {
        self.held.take().map(|held| held.pieces).unwrap_or_default()
    }

    /// The place in the connection of a byte whose mapping is known.
    pub(crate) fn dsn_of(&self, ssn: Ssn) -> Option<Dsn> {
        let i = self.mappings.partition_point(|m| m.end() <= ssn);
        self.mappings.get(i).filter(|m| m.ssn <= ssn).map(|m| m.dsn + (ssn - m.ssn))
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
        assert_eq!(maps.insert(s(100), d(500), 50, None, s(0)), Ok(()));
        assert_eq!(maps.insert(s(100), d(500), 50, None, s(0)), Ok(()));
        assert_eq!(maps.insert(s(120), d(900), 10, None, s(0)), Err(Conflict));
        assert_eq!(maps.insert(s(0), d(0), 100, None, s(0)), Ok(()));
        assert_eq!(maps.dsn_of(s(99)), Some(d(99)));
        assert_eq!(maps.dsn_of(s(110)), Some(d(510)));
        assert_eq!(maps.dsn_of(s(150)), None);
        maps.release(s(100));
        assert_eq!(maps.dsn_of(s(50)), None);
        let mut data = Bytes::from(vec![0; 60]);
        assert_eq!(maps.place(s(100), &mut data), Mapped::At(d(500), Bytes::from(vec![0; 50])));
        assert_eq!((maps.place(s(150), &mut data), data.len()), (Mapped::Unmapped(Bytes::from(vec![0; 10])), 0));
    }
}
