//! When to acknowledge (RFC 9293, section 3.8.6.3; RFC 5681, section 4.2) and with which SACK blocks (RFC 2018).

use super::{Tcp, Timer};
use crate::seq::Ssn;
use crate::time::{Duration, Instant};
use arrayvec::ArrayVec;
use core::ops::Range;
use polypath_wire::SackBlock;

/// RFC 9293 allows 500 ms; Linux's TCP_DELACK_MIN.
// [9293-MUST-40, 5681-4.2-2]
const DELAY: Duration = Duration::from_millis(40);
/// Where several subflows carry data, a quarter of a round trip, and at least this.
const MIN_DELAY: Duration = Duration::from_millis(1);
/// Acknowledge each of the first segments, so that the sender's slow start is not slowed (Linux: quickack).
const QUICK: u32 = 16;

/// Ranges whose order is remembered: an acknowledgement has room for four at most.
const RECENT: usize = 8;

#[derive(Debug)]
pub(super) struct AckPolicy {
    /// Must go with the next opportunity.
    now: bool,
    unacknowledged: u64,
    quick: u32,
    /// The sender has other paths, and waits for what is overdue no longer than it must.
    hurried: bool,
    /// The application answers what it receives before a delayed acknowledgement would go: that can travel with the answer.
    answered: bool,
    /// When data last arrived.
    last_data: Instant,
    /// What there is to report besides; none while everything arrives once and in order.
    reports: Option<Box<Reports>>,
}

/// What SACK blocks are made from, besides the ranges themselves.
#[derive(Debug, Default)]
struct Reports {
    /// Where segments out of order arrived, the latest first: their ranges are reported in this order (RFC 2018,
    /// section 4).
    recent: ArrayVec<u64, RECENT>,
    /// A duplicate to report (RFC 2883).
    duplicate: Option<Range<u64>>,
}

impl Default for AckPolicy {
    fn default() -> Self {
        AckPolicy {
            now: false,
            unacknowledged: 0,
            quick: QUICK,
            hurried: false,
            answered: false,
            last_data: Instant::ZERO,
            reports: None,
        }
    }
}

impl Tcp {
    /// An acknowledgement must go out at once.
    pub(crate) fn ack_now(&mut self) {
        self.ack.now = true;
    }

    /// When data last arrived in order, if it ever did.
    pub(crate) fn last_data_received(&self) -> Option<Instant> {
        Some(self.ack.last_data).filter(|at| *at > Instant::ZERO)
    }

    /// Something arrived that no acknowledgement has covered yet.
    pub(crate) fn owes_ack(&self) -> bool {
        self.ack.now || self.ack.unacknowledged > 0
    }

    pub(crate) fn wants_ack(&self) -> bool {
        self.ack.now
    }

    /// New data arrived in order, and filled no hole.
    pub(super) fn ack_in_order(&mut self, now: Instant, bytes: u64) {
        self.ack.unacknowledged += bytes;
        let pause = now - core::mem::replace(&mut self.ack.last_data, now);
        // RFC 5681, section 4.2: at least every second full-sized segment. [9293-SHLD-19, 5681-4.2-1]
        let full = u64::from(self.local_mss.min(self.peer_mss)).saturating_sub(60);
        let question = self.ack.answered && bytes < full;
        if self.ack.hurried && !question && self.rtt.min().is_some_and(|rtt| pause > rtt / 2) {
            // The start of something long: what did not fit into the sender's window waits for these.
            self.ack.quick = QUICK;
        }
        if self.ack.quick > 0 {
            self.ack.quick -= 1;
            self.ack.now = true;
        } else if self.ack.unacknowledged >= 2 * full {
            self.ack.now = true;
        } else if !self.timers.is_set(Timer::DelayedAck) {
            // [9293-SHLD-18]
            self.timers.set(Timer::DelayedAck, now + self.ack_delay());
        }
    }

    fn ack_delay(&self) -> Duration {
        let hurry = self.rtt.min().filter(|_| self.ack.hurried);
        hurry.map_or(DELAY, |rtt| (rtt / 4).clamp(MIN_DELAY, DELAY))
    }

    /// New data goes out: in a conversation that is the answer to what came before, and carries its acknowledgement (Linux:
    /// pingpong mode).
    pub(super) fn note_answer(&mut self, now: Instant) {
        if self.last_data_received().is_some_and(|at| now - at < self.ack_delay()) {
            self.ack.answered = true;
        }
    }

    /// Nobody has answered in time.
    pub(crate) fn delayed_ack_due(&mut self) {
        self.ack.answered = false;
        self.ack.now = true;
    }

    /// Whether a lone segment is acknowledged within a quarter of a round trip.
    pub(crate) fn hurry_acks(&mut self, hurried: bool) {
        self.ack.hurried = hurried;
    }

    pub(super) fn ack_out_of_order(&mut self, at: Ssn) {
        self.counters.rare().out_of_order += 1;
        self.ack.now = true;
        let ranges = self.assembler.ranges();
        let range = ranges.containing(at.0);
        let recent = &mut self.ack.reports.get_or_insert_default().recent;
        // One place for each range.
        recent.retain(|other| ranges.containing(*other).is_some_and(|r| Some(r) != range));
        recent.truncate(RECENT - 1);
        recent.insert(0, at.0);
    }

    pub(super) fn ack_duplicate(&mut self, range: Range<u64>) {
        self.counters.rare().duplicates_received += 1;
        self.ack.now = true;
        self.ack.reports.get_or_insert_default().duplicate = Some(range);
    }

    /// Every segment with ACK acknowledges all there is.
    pub(super) fn ack_sent(&mut self) {
        // [9293-MUST-58]
        self.ack.now = false;
        self.ack.unacknowledged = 0;
        if !self.assembler.has_gap() {
            self.ack.reports = None;
        } else if let Some(reports) = &mut self.ack.reports {
            reports.duplicate = None;
        }
        self.last_ack_sent = self.rcv_nxt();
        self.timers.stop(Timer::DelayedAck);
    }

    pub(crate) fn sack_blocks(&self) -> ArrayVec<SackBlock, 4> {
        let mut blocks = ArrayVec::new();
        // [2018-2-2]
        if !self.sack_ok {
            return blocks;
        }
        let block = |r: &Range<u64>| SackBlock {
            left: self.rcv_space.wrap(Ssn(r.start)),
            right: self.rcv_space.wrap(Ssn(r.end)),
        };
        let ranges = self.assembler.ranges();
        let Some(reports) = &self.ack.reports else {
            blocks.extend(ranges.iter().take(blocks.capacity()).map(block));
            return blocks;
        };
        if let Some(duplicate) = &reports.duplicate {
            blocks.push(block(duplicate));
        }
        // [2018-4-2, 2018-4-4]
        let recent: ArrayVec<Range<u64>, RECENT> =
            reports.recent.iter().filter_map(|at| ranges.containing(*at)).collect();
        for range in recent.iter().chain(ranges.iter().filter(|r| !recent.contains(*r))) {
            if blocks.try_push(block(range)).is_err() {
                break;
            }
        }
        blocks
    }
}
