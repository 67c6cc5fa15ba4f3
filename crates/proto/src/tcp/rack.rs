//! RACK: time-based loss detection (RFC 8985, section 6).

use super::scoreboard::{Delivered, Scoreboard};
use crate::seq::Ssn;
use crate::time::{Duration, Instant};

/// RFC 8985, section 6.2, step 4: without reordering seen, three segments are proof enough.
const DUPTHRESH: u64 = 3;
/// RFC 8985, section 6.2, step 4: recoveries until a widened reordering window is narrowed again.
const PERSIST: u32 = 16;

#[derive(Debug, Default)]
pub(crate) struct Rack {
    /// The most recently sent segment that is known to have arrived.
    newest: Option<(Instant, Ssn)>,
    rtt: Duration,
    min_rtt: Duration,
    fack: Option<Ssn>,
    reordering_seen: bool,
    /// In quarters of the minimum round trip.
    window_steps: u32,
    persist: u32,
    widened_until: Option<Ssn>,
}

impl Rack {
    /// Steps 2 and 3: takes in one delivered segment. `echo_older` says that the timestamp echoed is older
    /// than the last transmission of a retransmitted segment, so that it was the original that arrived.
    pub(crate) fn on_delivered(&mut self, now: Instant, d: &Delivered, min_rtt: Option<Duration>, echo_older: bool) {
        let rtt = now - d.sent_at;
        self.min_rtt = min_rtt.unwrap_or(rtt);
        if !d.retransmitted && self.fack.is_some_and(|fack| d.end < fack) {
            // [8985-6.2-2]
            self.reordering_seen = true;
        }
        self.fack = Some(self.fack.map_or(d.end, |f| f.max(d.end)));
        // Step 2: an acknowledgement too early for the retransmission is for the original. [8985-6.2-1]
        if d.retransmitted && (echo_older || rtt < self.min_rtt) {
            return;
        }
        self.rtt = rtt;
        if self.newest.is_none_or(|newest| (d.sent_at, d.end) > newest) {
            self.newest = Some((d.sent_at, d.end));
        }
    }

    /// A duplicate was reported (D-SACK): the window was too narrow.
    pub(crate) fn on_dsack(&mut self, snd_una: Ssn, snd_nxt: Ssn) {
        if self.widened_until.is_none_or(|until| snd_una >= until) {
            self.widened_until = Some(snd_nxt);
            // [8985-6.2-5]
            self.window_steps += 1;
            self.persist = PERSIST;
        }
    }

    pub(crate) fn on_recovery_exit(&mut self) {
        self.persist = self.persist.saturating_sub(1);
        if self.persist == 0 {
            self.window_steps = 0;
        }
    }

    /// Step 4.
    fn reordering_window(&self, sacked: u64, mss: u64, in_recovery: bool, srtt: Duration) -> Duration {
        // [8985-6.2-3]
        if !self.reordering_seen && (in_recovery || sacked >= DUPTHRESH * mss) {
            return Duration::ZERO;
        }
        // [8985-6.2-4, 8985-6.2-6]
        (self.min_rtt / 4 * (self.window_steps + 1)).min(srtt)
    }

    /// What was sent so long ago, and has not arrived, is late.
    pub(crate) fn patience(&self, sacked: u64, mss: u64, in_recovery: bool, srtt: Duration) -> Duration {
        self.rtt + self.reordering_window(sacked, mss, in_recovery, srtt)
    }

    /// Step 5: marks what was sent long enough before something that arrived. Returns the bytes newly lost
    /// and when to look again.
    pub(crate) fn detect_loss(
        &self,
        now: Instant,
        board: &mut Scoreboard,
        mss: u64,
        in_recovery: bool,
        srtt: Duration,
    ) -> (u64, Option<Instant>) {
        let Some(newest) = self.newest else { return (0, None) };
        let patience = self.patience(board.sacked(), mss, in_recovery, srtt);
        let mut look_again: Option<Instant> = None;
        let lost = board.mark_lost(|r| {
            if (r.sent_at, r.end()) >= newest {
                return false;
            }
            let deadline = r.sent_at + patience;
            if deadline <= now {
                return true;
            }
            look_again = Some(look_again.map_or(deadline, |at| at.max(deadline)));
            false
        });
        (lost, look_again)
    }
}
