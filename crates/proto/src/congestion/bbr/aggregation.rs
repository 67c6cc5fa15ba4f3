//! Acknowledgements that come in heaps (as Linux's tcp_bbr has it): how much more than expected arrives at once is to be
//! in flight on top, or the path runs dry between two heaps.

use crate::congestion::AckSample;
use crate::time::{Duration, Instant};

/// Rounds for which each of the two maxima is kept.
const ROUNDS: u32 = 5;
/// No more than the path carries in this time.
const MOST: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct Aggregation {
    /// When counting began, and the bytes acknowledged since.
    epoch: Option<(Instant, u64)>,
    /// The most beyond what was expected, of these rounds and of those before.
    extra: [u64; 2],
    rounds: u32,
}

impl Aggregation {
    /// After a pause counting begins anew.
    pub(super) fn on_idle(&mut self) {
        self.epoch = None;
    }

    /// `bw`: the path's rate in bytes per second; `cwnd` in bytes.
    pub(super) fn on_ack(&mut self, sample: &AckSample, round_start: bool, bw: u64, cwnd: u64) {
        if round_start {
            self.rounds += 1;
            if self.rounds >= ROUNDS {
                self.rounds = 0;
                self.extra = [0, self.extra[0]];
            }
        }
        let (mut since, mut acked) = self.epoch.unwrap_or((sample.now, 0));
        let mut expected = super::bytes_in(bw, sample.now - since);
        if acked <= expected {
            // No faster than expected: a heap may begin here.
            (since, acked, expected) = (sample.now, 0, 0);
        }
        acked += sample.delivered;
        self.epoch = Some((since, acked));
        self.extra[0] = self.extra[0].max((acked - expected).min(cwnd));
    }

    /// Bytes to have in flight on top.
    pub(super) fn allowance(&self, bw: u64) -> u64 {
        self.extra[0].max(self.extra[1]).min(super::bytes_in(bw, MOST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An acknowledgement of 1,000 bytes for each millisecond, in heaps of `heap`; what is allowed at the end.
    fn allowance(heap: u64) -> u64 {
        let mut aggregation = Aggregation::default();
        for i in 1..=100 {
            let now = Instant::from_millis(i * heap);
            let sample = AckSample { now, delivered: 1_000 * heap, ..AckSample::default() };
            aggregation.on_ack(&sample, i % 10 == 0, 1_000_000, 1_000_000);
        }
        aggregation.allowance(1_000_000)
    }

    #[test]
    fn a_heap_is_allowed_on_top_and_not_more_than_a_tenth_of_a_second() {
        assert_eq!(allowance(1), 1_000);
        assert_eq!(allowance(20), 20_000);
        assert_eq!(allowance(300), 100_000);
    }
}
