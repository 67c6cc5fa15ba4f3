//! NewReno's window (RFC 5681), counted in bytes (RFC 3465).

use super::{AckSample, Congestion, INITIAL_WINDOW_SEGMENTS, SinglePath};
use crate::time::Instant;

/// Slow start, then one segment more for each window acknowledged; half on loss.
#[derive(Debug)]
pub struct Reno {
    mss: u64,
    cwnd: u64,
    ssthresh: u64,
    /// Bytes acknowledged towards the next segment of growth.
    credit: u64,
    undo: Option<(u64, u64)>,
}

impl SinglePath for Reno {
    const NAME: &'static str = "reno";

    fn new(mss: u64, initial: u64) -> Self {
        // [5681-3.1-4]
        Reno { mss, cwnd: initial * mss, ssthresh: u64::MAX, credit: 0, undo: None }
    }

    fn adopt(mss: u64, window: u64, ssthresh: u64) -> Self {
        Reno { mss, cwnd: window, ssthresh, credit: 0, undo: None }
    }

    fn on_ack(&mut self, sample: &AckSample) {
        // RFC 7661: a window that is not used does not grow.
        if !sample.cwnd_limited {
            return;
        }
        // [9293-MUST-19]
        if self.cwnd < self.ssthresh {
            // [5681-3.1-3]
            self.cwnd += sample.delivered;
            return;
        }
        self.credit += sample.delivered;
        if self.credit >= self.cwnd {
            self.credit -= self.cwnd;
            self.cwnd += self.mss;
        }
    }

    fn on_congestion(&mut self, _now: Instant, what: Congestion, in_flight: u64) {
        // A mark is never a mistake.
        self.undo = (what != Congestion::Ecn).then_some((self.cwnd, self.ssthresh));
        // RFC 5681, equation (4). [5681-3.1-5]
        self.ssthresh = (in_flight / 2).max(2 * self.mss);
        self.credit = 0;
        self.cwnd = match what {
            // RFC 3168, section 6.1.2: a mark counts as a loss. [3168-6.1.2-1]
            Congestion::Loss | Congestion::Ecn => self.ssthresh,
            // [5681-3.1-6]
            Congestion::Timeout => self.mss,
        };
    }

    fn on_spurious(&mut self, _now: Instant) {
        if let Some((cwnd, ssthresh)) = self.undo.take() {
            self.cwnd = self.cwnd.max(cwnd);
            self.ssthresh = ssthresh;
        }
    }

    fn on_idle(&mut self) {
        // RFC 5681, section 4.1. Slow start leads back to most of the old window (RFC 7661, section 4.3).
        // [5681-4.1-1]
        self.ssthresh = self.ssthresh.max(self.cwnd / 4 * 3);
        self.cwnd = self.cwnd.min(INITIAL_WINDOW_SEGMENTS * self.mss);
        self.credit = 0;
    }

    fn window(&self) -> u64 {
        self.cwnd
    }

    fn ssthresh(&self) -> u64 {
        self.ssthresh
    }
}
