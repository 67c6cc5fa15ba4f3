//! CUBIC (RFC 9438). Windows are in segments inside, as the RFC's equations have them.

use super::{AckSample, Congestion, INITIAL_WINDOW_SEGMENTS, SinglePath};
use crate::time::{Duration, Instant};

/// RFC 9438, section 4.1.2 and 5: how aggressive the cubic growth is, in segments per second cubed.
// [9438-5-1]
const C: f64 = 0.4;
/// RFC 9438, section 4.6: the multiplicative decrease factor.
const BETA: f64 = 0.7;
/// RFC 9438, section 4.3: the growth that makes Reno with `BETA` fair to Reno with one half.
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

#[derive(Copy, Clone, Debug)]
struct Epoch {
    start: Instant,
    /// The window at the start, in segments.
    cwnd: f64,
    /// Seconds from the start until the plateau.
    k: f64,
    w_est: f64,
}

/// Grows by a cubic function of the time since the last loss; never slower than Reno would.
#[derive(Clone, Debug)]
pub struct Cubic {
    mss: f64,
    cwnd: f64,
    ssthresh: f64,
    w_max: f64,
    /// The window when ssthresh was last set (cwnd_prior).
    prior: f64,
    epoch: Option<Epoch>,
    undo: Option<(f64, f64, f64)>,
}

impl Cubic {
    fn begin_epoch(&mut self, now: Instant) -> Epoch {
        if self.cwnd >= self.w_max {
            self.w_max = self.cwnd;
        }
        // RFC 9438, figure 2, with the window at the start of the epoch. [9438-4.2-1]
        let k = ((self.w_max - self.cwnd) / C).cbrt();
        *self.epoch.insert(Epoch { start: now, cwnd: self.cwnd, k, w_est: self.cwnd })
    }

    fn avoid_congestion(&mut self, now: Instant, delivered: f64, srtt: Duration) {
        let mut epoch = match self.epoch {
            Some(epoch) => epoch,
            None => self.begin_epoch(now),
        };
        let t = (now - epoch.start).as_secs_f64();
        let w_cubic = |t: f64| C * (t - epoch.k).powi(3) + self.w_max;
        // RFC 9438, section 4.3: what Reno would have by now. [9438-4.3-2]
        let alpha = if epoch.w_est >= self.prior { 1.0 } else { ALPHA };
        epoch.w_est += alpha * delivered / self.cwnd;
        // [9438-4.3-1]
        if w_cubic(t) < epoch.w_est {
            self.cwnd = self.cwnd.max(epoch.w_est);
        } else {
            // RFC 9438, section 4.4: a round trip ahead, bounded to half again. [9438-4.4-1]
            let target = w_cubic(t + srtt.as_secs_f64()).clamp(self.cwnd, 1.5 * self.cwnd);
            self.cwnd += (target - self.cwnd) / self.cwnd * delivered;
        }
        debug_assert!(epoch.cwnd > 0.0);
        self.epoch = Some(epoch);
    }
}

impl SinglePath for Cubic {
    const NAME: &'static str = "cubic";

    fn new(mss: u64) -> Self {
        let cwnd = INITIAL_WINDOW_SEGMENTS as f64;
        Cubic { mss: mss as f64, cwnd, ssthresh: f64::INFINITY, w_max: 0.0, prior: 0.0, epoch: None, undo: None }
    }

    fn on_ack(&mut self, sample: &AckSample) {
        // [9438-4.2-2]
        if !sample.cwnd_limited {
            // RFC 9438, section 5.8: time without need for more window is not growth.
            self.epoch = None;
            return;
        }
        let mut delivered = sample.delivered as f64 / self.mss;
        // [9438-4.10-1]
        if self.cwnd < self.ssthresh {
            let room = self.ssthresh - self.cwnd;
            self.cwnd += delivered.min(room);
            delivered -= delivered.min(room);
        }
        if delivered > 0.0 {
            self.avoid_congestion(sample.now, delivered, sample.srtt);
        }
    }

    fn on_congestion(&mut self, _now: Instant, what: Congestion, in_flight: u64) {
        // A mark is never a mistake.
        self.undo = (what != Congestion::Ecn).then_some((self.cwnd, self.ssthresh, self.w_max));
        self.epoch = None;
        self.prior = self.cwnd;
        // RFC 9438, section 4.7: fast convergence leaves room for newcomers. [9438-4.7-1]
        self.w_max = if self.cwnd < self.w_max { self.cwnd * (1.0 + BETA) / 2.0 } else { self.cwnd };
        // RFC 9438, section 4.6: from what was in flight, should the window have been idle.
        let used = self.cwnd.min((in_flight as f64 / self.mss).max(2.0));
        // [9438-4.6-1, 9438-4.6-2]
        self.ssthresh = (used * BETA).max(2.0);
        self.cwnd = match what {
            Congestion::Loss => self.ssthresh,
            // RFC 9438, section 4.6: down to a single segment. [3168-6.1.2-1]
            Congestion::Ecn => (used * BETA).max(1.0),
            // [9438-4.8-1]
            Congestion::Timeout => 1.0,
        };
    }

    fn on_spurious(&mut self, _now: Instant) {
        if let Some((cwnd, ssthresh, w_max)) = self.undo.take() {
            // RFC 9438, section 4.9. [9438-4.9-1]
            self.cwnd = self.cwnd.max(cwnd);
            self.ssthresh = ssthresh;
            self.w_max = w_max;
            self.epoch = None;
        }
    }

    fn window(&self) -> u64 {
        (self.cwnd * self.mss) as u64
    }

    fn ssthresh(&self) -> u64 {
        if self.ssthresh.is_finite() { (self.ssthresh * self.mss) as u64 } else { u64::MAX }
    }
}
