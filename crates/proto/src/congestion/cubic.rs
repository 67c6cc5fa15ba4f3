//! CUBIC (RFC 9438). Windows are in segments inside, as the RFC's equations have them.

use super::hystart::{Growth, HyStart};
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
    /// No congestion avoidance since the last timeout.
    timed_out: bool,
    hystart: HyStart,
    /// Rarely there for long: on its own.
    undo: Option<Box<Before>>,
}

/// What a sign of congestion changes, as it was before.
#[derive(Copy, Clone, Debug)]
struct Before {
    cwnd: f64,
    ssthresh: f64,
    w_max: f64,
    prior: f64,
    epoch: Option<Epoch>,
    timed_out: bool,
}

impl Cubic {
    fn begin_epoch(&mut self, now: Instant) -> Epoch {
        // After a timeout the old window says nothing: K is 0. [9438-4.8-2]
        if core::mem::take(&mut self.timed_out) || self.cwnd >= self.w_max {
            self.w_max = self.cwnd;
        }
        // RFC 9438, figure 2, with the window at the start of the epoch. [9438-4.2-1]
        let k = ((self.w_max - self.cwnd) / C).cbrt();
        *self.epoch.insert(Epoch { start: now, k, w_est: self.cwnd })
    }

    /// How much of what was delivered the window grows by in slow start. The first one ends with the round trip's
    /// growth (RFC 9406, section 4.2), any other at the threshold.
    fn slow_start(&mut self, sample: &AckSample) -> f64 {
        if self.ssthresh.is_finite() {
            return 1.0;
        }
        // [9438-4.10-2]
        match self.hystart.on_ack(sample.round_start, sample.rtt) {
            Growth::Full => 1.0,
            Growth::Quarter => 0.25,
            Growth::Over => {
                self.ssthresh = self.cwnd;
                0.0
            }
        }
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
        self.epoch = Some(epoch);
    }
}

impl SinglePath for Cubic {
    const NAME: &'static str = "cubic";

    fn new(mss: u64, initial: u64) -> Self {
        Cubic {
            mss: mss as f64,
            cwnd: initial as f64,
            ssthresh: f64::INFINITY,
            w_max: 0.0,
            prior: 0.0,
            epoch: None,
            timed_out: false,
            hystart: HyStart::default(),
            undo: None,
        }
    }

    fn adopt(mss: u64, window: u64, ssthresh: u64) -> Self {
        let segments = |bytes: u64| bytes as f64 / mss as f64;
        let ssthresh = if ssthresh == u64::MAX { f64::INFINITY } else { segments(ssthresh) };
        Cubic { cwnd: segments(window), ssthresh, ..Cubic::new(mss, 0) }
    }

    fn on_ack(&mut self, sample: &AckSample) {
        let share = self.slow_start(sample);
        // [9438-4.2-2]
        if !sample.cwnd_limited {
            // RFC 9438, section 5.8: time without need for more window is not growth.
            self.epoch = None;
            return;
        }
        let mut delivered = sample.delivered as f64 / self.mss;
        // [9438-4.10-1]
        if self.cwnd < self.ssthresh {
            let growth = (share * delivered).min(self.ssthresh - self.cwnd);
            self.cwnd += growth;
            delivered -= if self.cwnd < self.ssthresh { delivered } else { growth };
        }
        if delivered > 0.0 {
            self.avoid_congestion(sample.now, delivered, sample.srtt);
        }
    }

    fn on_congestion(&mut self, _now: Instant, what: Congestion, in_flight: u64) {
        let Cubic { cwnd, ssthresh, w_max, prior, epoch, timed_out, mss: _, hystart: _, undo: _ } = *self;
        // A mark is never a mistake.
        self.undo =
            (what != Congestion::Ecn).then(|| Box::new(Before { cwnd, ssthresh, w_max, prior, epoch, timed_out }));
        self.epoch = None;
        self.timed_out = what == Congestion::Timeout;
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
        if let Some(before) = self.undo.take() {
            let Before { cwnd, ssthresh, w_max, prior, epoch, timed_out } = *before;
            // RFC 9438, section 4.9. [9438-4.9-1]
            self.cwnd = self.cwnd.max(cwnd);
            (self.ssthresh, self.w_max, self.prior) = (ssthresh, w_max, prior);
            (self.epoch, self.timed_out) = (epoch, timed_out);
        }
    }

    fn on_idle(&mut self) {
        // RFC 5681, section 4.1. Slow start leads back to most of the old window (RFC 7661, section 4.3).
        // [5681-4.1-1]
        self.ssthresh = self.ssthresh.max(self.cwnd * 0.75);
        self.cwnd = self.cwnd.min(INITIAL_WINDOW_SEGMENTS as f64);
        self.epoch = None;
    }

    fn window(&self) -> u64 {
        (self.cwnd * self.mss) as u64
    }

    fn ssthresh(&self) -> u64 {
        if self.ssthresh.is_finite() { (self.ssthresh * self.mss) as u64 } else { u64::MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u64 = 1_000;

    /// An acknowledgement of one segment.
    fn sample(at: u64, cwnd_limited: bool) -> AckSample {
        AckSample {
            now: Instant::from_millis(at),
            delivered: MSS,
            srtt: Duration::from_millis(100),
            cwnd_limited,
            ..AckSample::default()
        }
    }

    /// In congestion avoidance after a loss at 100 segments.
    fn after_loss() -> Cubic {
        let mut cubic = Cubic::new(MSS, 100);
        cubic.on_congestion(Instant::ZERO, Congestion::Loss, 100 * MSS);
        for at in 0..200 {
            cubic.on_ack(&sample(at * 10, true));
        }
        cubic
    }

    // [9438-4.9-1]
    #[test]
    fn a_spurious_timeout_leaves_no_trace() {
        let mut cubic = after_loss();
        let mut undisturbed = cubic.clone();
        cubic.on_congestion(Instant::from_millis(2_000), Congestion::Timeout, 10 * MSS);
        cubic.on_ack(&sample(2_010, true));
        cubic.on_spurious(Instant::from_millis(2_020));
        for at in 203..1_000 {
            cubic.on_ack(&sample(at * 10, true));
            undisturbed.on_ack(&sample(at * 10, true));
            assert_eq!(cubic.window(), undisturbed.window());
        }
    }

    // [9438-4.2-2]
    #[test]
    fn a_pause_of_the_application_is_no_time_to_grow() {
        let mut cubic = after_loss();
        let before = cubic.window();
        // A minute with a window that is not used.
        for at in 0..60 {
            cubic.on_ack(&sample(2_000 + at * 1_000, false));
        }
        assert_eq!(cubic.window(), before);
        cubic.on_ack(&sample(62_010, true));
        assert!(cubic.window() < before + MSS, "{} after {before}", cubic.window());
    }

    // [9438-4.6-2]
    #[test]
    fn a_loss_in_the_smallest_window_leaves_two_segments() {
        let mut cubic = Cubic::new(MSS, 2);
        cubic.on_congestion(Instant::ZERO, Congestion::Loss, 2 * MSS);
        assert_eq!((cubic.window(), cubic.ssthresh()), (2 * MSS, 2 * MSS));
        cubic.on_congestion(Instant::ZERO, Congestion::Timeout, MSS);
        assert_eq!((cubic.window(), cubic.ssthresh()), (MSS, 2 * MSS));
    }
}
