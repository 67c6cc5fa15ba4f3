//! The peer's window is used up by what a slow subflow has out, and a fast one could send: it sends that again, so that
//! the window opens (Raiciu et al., NSDI 2012, section 4.2, mechanisms 1 and 2).

use super::schedule::ranges_of;
use super::{Connection, Subflow};
use crate::SubflowId;
use crate::seq::Dsn;
use crate::time::Instant;
use crate::trace::ReinjectReason;

/// Segments sent again at a time.
const SEGMENTS: u64 = 4;
/// So much may be sent again in any connection, in bytes, and beyond it one byte for so many that were delivered. What is
/// blocked all the time would otherwise buy its throughput with ever more bytes.
const FREE: u64 = 128 * 1024;
const ONE_IN: u64 = 32;

impl Connection {
    /// New data has to wait for the peer's window, or for the send buffer. Each byte is sent again for that once.
    /// True: something is to be sent again.
    pub(super) fn unblock_window(&mut self, now: Instant) -> bool {
        let mechanisms = self.config.mechanisms;
        if !mechanisms.opportunistic_retransmission || !self.is_active() || self.subflow_count() < 2 {
            return false;
        }
        let (una, unsent) = (self.data_una, self.send.end().since(self.data_nxt));
        // The application would write more if acknowledged bytes left room for it.
        let full = unsent == 0 && self.writable_wanted;
        let shut = unsent > 0 && self.data_wnd_end <= self.data_nxt;
        if !(full || shut) || una < self.unblocked_to || una >= self.data_nxt.min(self.send.end()) {
            return false;
        }
        let paths = self.views(now);
        if !paths.iter().any(|p| p.fits(p.mss) && !p.stalled && !p.suspected) {
            return false;
        }
        let Some((slow, end)) = self.holder(una) else { return false };
        let Some(holder) = paths.iter().find(|p| p.id == slow) else { return false };
        let faster = paths
            .iter()
            .filter(|p| p.id != slow && !p.stalled && !p.suspected && p.srtt * 3 / 2 < holder.srtt && p.room >= p.mss);
        let Some(fast) = faster.min_by_key(|p| (p.srtt, p.id)) else { return false };
        let end = end.min(una + fast.room.min(SEGMENTS * fast.mss)).min(self.send.end());
        if self.unblocked_bytes + end.since(una) > FREE + una.since(Dsn::FIRST) / ONE_IN {
            return false;
        }
        self.unblocked_to = end;
        self.unblocked_bytes += end.since(una);
        self.reinject(una, end, Some(slow), Some(fast.id), ReinjectReason::WindowBlocked);
        // The one that delivers most is worth waiting for.
        if mechanisms.penalisation && holder.rate() < fast.rate() {
            let (srtt, in_flight, mss) = (holder.srtt, holder.in_flight, holder.mss);
            if let Some(s) = self.get_mut(slow) {
                s.limit.get_or_insert_default().penalise(now, srtt, in_flight, mss);
            }
        }
        true
    }

    /// What a slow subflow has lost arrives sooner on a fast one: all that comes after it waits for it. The subflow sends it
    /// again too, since its own numbers have to be complete.
    pub(super) fn reinject_lost(&mut self, now: Instant, id: SubflowId) {
        if !self.config.mechanisms.opportunistic_retransmission || !self.is_active() || self.subflow_count() < 2 {
            return;
        }
        let paths = self.views(now);
        let Some(slow) = paths.iter().find(|p| p.id == id) else { return };
        let faster = paths
            .iter()
            .filter(|p| p.id != id && !p.stalled && !p.suspected && p.backup == slow.backup && p.srtt * 2 < slow.srtt);
        let Some(fast) = faster.min_by_key(|p| (p.srtt, p.id)).map(|p| p.id) else { return };
        let (una, end) = (self.data_una, self.send.end());
        let Some(s) = self.get_mut(id) else { return };
        let from = s.lost_to.max(una);
        let ranges = ranges_of(s.tcp.outstanding().filter(|r| r.lost), from, end);
        s.lost_to = ranges.iter().map(|range| range.1).max().unwrap_or(from);
        for (start, end) in ranges {
            self.reinject(start, end, Some(id), Some(fast), ReinjectReason::Lost);
        }
    }

    /// Which subflow has the byte at `dsn` out, and where its run of bytes from there on ends.
    fn holder(&self, dsn: Dsn) -> Option<(SubflowId, Dsn)> {
        let run = |s: &Subflow| {
            let mut end = dsn;
            for record in s.tcp.outstanding().filter(|r| !r.sacked) {
                let stop = record.dsn + record.payload.len() as u64;
                if record.dsn <= end && stop > end {
                    end = stop;
                } else if end > dsn {
                    break;
                }
            }
            (end > dsn).then_some(end)
        };
        self.iter().filter(|(_, s)| s.is_usable()).find_map(|(id, s)| Some((id, run(s)?)))
    }
}
