//! How fast data arrives (draft-cheng-iccrg-delivery-rate-estimation): each transmission remembers how much had been
//! delivered when it left, and its acknowledgement compares that with how much has been delivered since.

use super::Tcp;
use super::scoreboard::Delivered;
use crate::congestion::RateSample;
use crate::time::{Duration, Instant};

/// Where delivery stood when a record was last sent. Its parts inherit it.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct TxStamp {
    /// Bytes delivered until then, and when the last of them was.
    delivered: u64,
    delivered_at: Instant,
    /// When the newest packet known to have arrived had been sent: the flight began there.
    first_sent_at: Instant,
    app_limited: bool,
}

/// What is known of one subflow.
#[derive(Debug, Default)]
pub(super) struct RateEstimator {
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    /// Until more than so many bytes are delivered, samples say how much there was to send, not what the path carries.
    app_limited_until: Option<u64>,
    /// What is delivered beyond this was sent in a round trip of its own.
    round_end: u64,
    /// The highest rates of this round trip and of the last one that had any, in bytes per second.
    best: [u64; 2],
}

impl RateEstimator {
    /// A transmission leaves; `idle`: nothing is outstanding.
    pub(super) fn stamp(&mut self, now: Instant, idle: bool) -> TxStamp {
        if idle {
            (self.delivered_at, self.first_sent_at) = (now, now);
        }
        TxStamp {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            app_limited: self.app_limited_until.is_some(),
        }
    }

    /// There was room, and nothing to send; `in_flight` bytes are out.
    fn on_app_limited(&mut self, in_flight: u64) {
        self.app_limited_until = Some(self.delivered + in_flight);
    }

    /// `bytes` were newly delivered; `newest` was sent last of them. None: that tells no rate.
    pub(super) fn on_delivered(
        &mut self,
        now: Instant,
        bytes: u64,
        newest: &Delivered,
        min_rtt: Option<Duration>,
    ) -> Option<RateSample> {
        self.delivered += bytes;
        self.delivered_at = now;
        if self.app_limited_until.is_some_and(|until| self.delivered > until) {
            self.app_limited_until = None;
        }
        let stamp = newest.stamp;
        self.first_sent_at = newest.sent_at;
        // Neither sent nor acknowledged faster: acknowledgements that come in heaps tell of no faster path.
        let interval = (newest.sent_at - stamp.first_sent_at).max(now - stamp.delivered_at);
        // What arrived before a copy of it could was sent earlier than we take it to be.
        if interval.is_zero() || min_rtt.is_some_and(|min| interval < min) {
            return None;
        }
        let sample = RateSample {
            delivered: self.delivered - stamp.delivered,
            interval,
            prior_delivered: stamp.delivered,
            app_limited: stamp.app_limited,
        };
        self.take(&sample);
        Some(sample)
    }

    fn take(&mut self, sample: &RateSample) {
        if sample.prior_delivered >= self.round_end {
            self.round_end = self.delivered;
            if self.best[0] > 0 {
                self.best = [0, self.best[0]];
            }
        }
        let rate = sample.bytes_per_second();
        if !sample.app_limited || rate >= self.best() {
            self.best[0] = self.best[0].max(rate);
        }
    }

    pub(super) fn is_app_limited(&self) -> bool {
        self.app_limited_until.is_some()
    }

    fn best(&self) -> u64 {
        self.best[0].max(self.best[1])
    }
}

impl Tcp {
    /// How fast the path carries what is sent on it, in bytes per second: the highest of the samples of the last two round
    /// trips that were not for want of data, or of those that were, if that is more (as Linux's `tcpi_delivery_rate`, but
    /// for the maximum). None before the first.
    pub(crate) fn delivery_rate(&self) -> Option<u64> {
        Some(self.rate.best()).filter(|rate| *rate > 0)
    }

    /// Bytes delivered on this subflow.
    pub(crate) fn delivered(&self) -> u64 {
        self.rate.delivered
    }

    /// There was room to send, and this subflow was given nothing.
    pub(crate) fn on_app_limited(&mut self) {
        self.rate.on_app_limited(self.board.in_flight());
    }

    /// Packets wait on the way: round trips are a quarter longer than the shortest one.
    pub(crate) fn has_queue(&self) -> bool {
        self.rtt.srtt().zip(self.rtt.min()).is_some_and(|(srtt, min)| srtt >= min + min / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::Ssn;

    const MSS: u64 = 1_000;

    fn ms(n: u64) -> Instant {
        Instant::from_millis(n)
    }

    fn delivered(sent_at: Instant, stamp: TxStamp) -> Delivered {
        Delivered { sent_at, end: Ssn::FIRST, retransmitted: false, bytes: MSS, stamp }
    }

    #[test]
    fn acknowledgements_in_a_heap_tell_of_no_faster_path() {
        let mut rate = RateEstimator::default();
        // One segment each millisecond; all acknowledgements of 100 ms come at once.
        let stamps: Vec<TxStamp> = (0..200).map(|i| rate.stamp(ms(i), i == 0)).collect();
        for i in 0..100 {
            rate.on_delivered(ms(200), MSS, &delivered(ms(i), stamps[i as usize]), None);
        }
        for i in 100..200 {
            rate.on_delivered(ms(300), MSS, &delivered(ms(i), stamps[i as usize]), None);
        }
        assert!(rate.best() <= 1_000 * MSS, "{}", rate.best());
        assert!(rate.best() >= 600 * MSS, "{}", rate.best());
    }

    #[test]
    fn what_arrived_before_its_copy_could_tells_nothing() {
        let mut rate = RateEstimator::default();
        let original = rate.stamp(ms(0), true);
        let min_rtt = Some(Duration::from_millis(50));
        rate.on_delivered(ms(50), MSS, &delivered(ms(0), original), min_rtt).unwrap();
        // Two copies, each of something that arrives at once.
        let copy = rate.stamp(ms(60), false);
        rate.on_delivered(ms(61), MSS, &delivered(ms(60), copy), min_rtt).unwrap();
        let copy = rate.stamp(ms(62), false);
        assert!(rate.on_delivered(ms(63), MSS, &delivered(ms(62), copy), min_rtt).is_none());
    }

    #[test]
    fn want_of_data_does_not_lower_the_rate() {
        let mut rate = RateEstimator::default();
        let mut now = 0;
        let mut round = |rate: &mut RateEstimator, segments: u64, limited: bool| {
            if limited {
                rate.on_app_limited(0);
            }
            let stamp = rate.stamp(ms(now), true);
            now += 100;
            rate.on_delivered(ms(now), segments * MSS, &delivered(ms(now - 100), stamp), None);
            rate.best()
        };
        assert_eq!(round(&mut rate, 50, false), 500 * MSS);
        for _ in 0..20 {
            assert_eq!(round(&mut rate, 1, true), 500 * MSS);
        }
        // More is more, whatever limited it.
        assert_eq!(round(&mut rate, 60, true), 600 * MSS);
        // A path that has become slower is believed after two round trips.
        round(&mut rate, 10, false);
        round(&mut rate, 10, false);
        assert_eq!(round(&mut rate, 10, false), 100 * MSS);
    }
}
