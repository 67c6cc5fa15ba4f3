//! What has been sent and not yet acknowledged cumulatively: the retransmission queue and its SACK marks.

use super::rate::TxStamp;
use crate::buffer::{Chunks, push_one};
use crate::seq::{Dsn, Ssn};
use crate::time::Instant;
use std::collections::VecDeque;

/// Where a run of subflow bytes belongs in the connection's stream (RFC 8684, section 3.3.1).
///
/// Fixed when first sent: every later copy, of whatever part, carries the same one.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) dsn: Dsn,
    pub(crate) ssn: Ssn,
    pub(crate) len: u16,
    /// Over all of it, where both ends agreed on checksums.
    pub(crate) checksum: Option<u16>,
}

/// One segment, or super-segment, in flight.
#[derive(Clone, Debug)]
pub(crate) struct TxRecord {
    pub(crate) ssn: Ssn,
    /// The place of its first byte in the connection's stream.
    pub(crate) dsn: Dsn,
    /// None where the connection does not map (plain TCP).
    pub(crate) mapping: Option<Mapping>,
    // [8684-3.3.6-2]
    pub(crate) payload: Chunks,
    pub(crate) fin: bool,
    pub(crate) sent_at: Instant,
    pub(crate) stamp: TxStamp,
    pub(crate) retransmitted: bool,
    pub(crate) sacked: bool,
    pub(crate) lost: bool,
}

impl TxRecord {
    /// Sequence space it occupies.
    pub(crate) fn seq_len(&self) -> u64 {
        self.payload.len() as u64 + u64::from(self.fin)
    }

    pub(crate) fn end(&self) -> Ssn {
        self.ssn + self.seq_len()
    }

    fn split(&mut self, at: Ssn) -> TxRecord {
        let offset = at - self.ssn;
        TxRecord {
            ssn: at,
            dsn: self.dsn + offset,
            payload: self.payload.split_off(offset as usize),
            fin: core::mem::take(&mut self.fin),
            // [8684-3.3.1-1]
            mapping: self.mapping,
            sent_at: self.sent_at,
            stamp: self.stamp,
            retransmitted: self.retransmitted,
            sacked: self.sacked,
            lost: self.lost,
        }
    }
}

/// What became known of a record: its transmission time and the end of the part delivered.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Delivered {
    pub(crate) sent_at: Instant,
    pub(crate) end: Ssn,
    pub(crate) retransmitted: bool,
    pub(crate) bytes: u64,
    pub(crate) stamp: TxStamp,
}

#[derive(Debug, Default)]
pub(crate) struct Scoreboard {
    records: VecDeque<TxRecord>,
    total: u64,
    sacked: u64,
    lost: u64,
}

impl Scoreboard {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Segments not acknowledged cumulatively, each as it was sent.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Bytes not acknowledged cumulatively.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Bytes believed to be in the network (RFC 6675's pipe).
    pub(crate) fn in_flight(&self) -> u64 {
        self.total - self.sacked - self.lost
    }

    pub(crate) fn sacked(&self) -> u64 {
        self.sacked
    }

    /// Bytes marked lost and not sent again yet.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// What all records take, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.records.len() * size_of::<TxRecord>()
    }

    /// Gives back memory that nothing is in.
    pub(super) fn give_back(&mut self) {
        self.records.shrink_to_fit();
    }

    pub(crate) fn records(&self) -> impl DoubleEndedIterator<Item = &TxRecord> {
        self.records.iter()
    }

    /// Bytes marked lost and not sent again yet, of those from `start` to `end`.
    pub(crate) fn lost_between(&self, start: Ssn, end: Ssn) -> u64 {
        let inside = self.records.iter().filter(|r| r.lost && r.ssn >= start && r.end() <= end);
        inside.map(TxRecord::seq_len).sum()
    }

    /// What was sent last begins there, is data, and was not sent before.
    pub(crate) fn is_first_transmission(&self, ssn: Ssn) -> bool {
        self.records.back().is_some_and(|r| r.ssn == ssn && r.payload.len() > 0 && !r.retransmitted)
    }

    pub(crate) fn push(&mut self, record: TxRecord) {
        self.total += record.seq_len();
        push_one(&mut self.records, record);
    }

    /// Everything before `una` has arrived.
    pub(crate) fn acknowledge(&mut self, una: Ssn, mut on: impl FnMut(Delivered)) {
        while let Some(first) = self.records.front_mut() {
            if first.ssn >= una {
                return;
            }
            let whole = first.end() <= una;
            let bytes = first.end().min(una) - first.ssn;
            self.total -= bytes;
            if first.sacked {
                self.sacked -= bytes;
            } else {
                if first.lost {
                    self.lost -= bytes;
                }
                on(Delivered {
                    sent_at: first.sent_at,
                    end: first.ssn + bytes,
                    retransmitted: first.retransmitted,
                    bytes,
                    stamp: first.stamp,
                });
            }
            if whole {
                self.records.pop_front();
            } else {
                first.payload.advance(bytes as usize);
                first.ssn += bytes;
                first.dsn += bytes;
                return;
            }
        }
    }

    /// `left..right` has arrived (a SACK block).
    pub(crate) fn sack(&mut self, left: Ssn, right: Ssn, mut on: impl FnMut(Delivered)) {
        let mut i = self.records.partition_point(|r| r.end() <= left);
        while let Some(record) = self.records.get_mut(i) {
            if record.ssn >= right {
                return;
            }
            if record.sacked {
                i += 1;
                continue;
            }
            if record.ssn < left {
                let tail = record.split(left);
                self.records.insert(i + 1, tail);
                i += 1;
                continue;
            }
            if record.end() > right {
                let tail = record.split(right);
                self.records.insert(i + 1, tail);
            }
            let record = &mut self.records[i];
            // [2018-5-3]
            record.sacked = true;
            let bytes = record.seq_len();
            self.sacked += bytes;
            if core::mem::take(&mut record.lost) {
                self.lost -= bytes;
            }
            on(Delivered {
                sent_at: record.sent_at,
                end: record.end(),
                retransmitted: record.retransmitted,
                bytes,
                stamp: record.stamp,
            });
            i += 1;
        }
    }

    /// Marks as lost every outstanding record for which `is_lost` says so; returns how many bytes.
    pub(crate) fn mark_lost(&mut self, mut is_lost: impl FnMut(&TxRecord) -> bool) -> u64 {
        let mut newly = 0;
        for record in &mut self.records {
            // [2018-5-4]
            if !record.sacked && !record.lost && is_lost(record) {
                record.lost = true;
                newly += record.seq_len();
            }
        }
        self.lost += newly;
        newly
    }

    /// The peer forgot what it had selectively acknowledged (RFC 2018, section 8).
    pub(crate) fn forget_sacks(&mut self) {
        for record in &mut self.records {
            record.sacked = false;
        }
        self.sacked = 0;
    }

    /// A timeout was spurious: nothing that waits to be resent was lost.
    pub(crate) fn unmark_lost(&mut self) {
        for record in &mut self.records {
            record.lost = false;
        }
        self.lost = 0;
    }

    /// The first lost record, cut to at most `limit` bytes, marked as sent again at `now`.
    pub(crate) fn retransmit_first_lost(&mut self, now: Instant, stamp: TxStamp, limit: u64) -> Option<TxRecord> {
        // [6298-5-4]
        let i = self.records.iter().position(|r| r.lost)?;
        self.retransmit(i, now, stamp, limit)
    }

    /// The last `limit` bytes sent, for a probe.
    pub(crate) fn retransmit_tail(&mut self, now: Instant, stamp: TxStamp, limit: u64) -> Option<TxRecord> {
        let i = self.records.iter().rposition(|r| !r.sacked)?;
        let record = &mut self.records[i];
        if record.seq_len() > limit {
            let tail = record.split(Ssn(record.end().0 - limit));
            self.records.insert(i + 1, tail);
            return self.retransmit(i + 1, now, stamp, limit);
        }
        self.retransmit(i, now, stamp, limit)
    }

    fn retransmit(&mut self, i: usize, now: Instant, stamp: TxStamp, limit: u64) -> Option<TxRecord> {
        let record = self.records.get_mut(i)?;
        if record.seq_len() > limit {
            let tail = record.split(record.ssn + limit);
            self.records.insert(i + 1, tail);
        }
        let record = &mut self.records[i];
        if core::mem::take(&mut record.lost) {
            self.lost -= record.seq_len();
        }
        record.retransmitted = true;
        // [8985-4-2]
        record.sent_at = now;
        record.stamp = stamp;
        Some(record.clone())
    }

    pub(crate) fn clear(&mut self) {
        *self = Scoreboard::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at: u64, len: usize) -> TxRecord {
        let mut payload = Chunks::default();
        payload.push(vec![0u8; len].into());
        TxRecord {
            ssn: Ssn::FIRST + at,
            dsn: Dsn::FIRST + at,
            mapping: None,
            payload,
            fin: false,
            sent_at: Instant::ZERO,
            stamp: TxStamp::default(),
            retransmitted: false,
            sacked: false,
            lost: false,
        }
    }

    // [2018-5-3]
    #[test]
    fn a_sack_in_the_middle_of_a_super_segment_splits_it() {
        let mut board = Scoreboard::default();
        board.push(record(0, 10_000));
        let mut delivered = 0;
        board.sack(Ssn::FIRST + 2_000, Ssn::FIRST + 5_000, |d| delivered += d.bytes);
        assert_eq!((delivered, board.in_flight(), board.sacked()), (3_000, 7_000, 3_000));
        assert_eq!(board.mark_lost(|r| r.ssn < Ssn::FIRST + 2_000), 2_000);
        let again = board.retransmit_first_lost(Instant::from_millis(1), TxStamp::default(), 1_400).unwrap();
        assert_eq!((again.ssn, again.payload.len()), (Ssn::FIRST, 1_400));
        assert_eq!((board.in_flight(), board.lost()), (6_400, 600));
        // The cumulative acknowledgement passes over what was sacked without counting it twice.
        delivered = 0;
        board.acknowledge(Ssn::FIRST + 6_000, |d| delivered += d.bytes);
        assert_eq!((delivered, board.in_flight(), board.sacked(), board.lost()), (3_000, 4_000, 0, 0));
        let tail = board.retransmit_tail(Instant::from_millis(2), TxStamp::default(), 1_000).unwrap();
        assert_eq!((tail.ssn, tail.dsn), (Ssn::FIRST + 9_000, Dsn::FIRST + 9_000));
    }
}
