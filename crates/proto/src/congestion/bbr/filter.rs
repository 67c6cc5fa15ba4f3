//! The highest rate of the last rounds.

use std::collections::VecDeque;

/// How many rounds a rate is remembered, at least until there is another one.
const ROUNDS: u64 = 10;

/// The maximum over a window of rounds. It moves on only when it is told something: what is not measured does not fade.
#[derive(Debug, Default)]
pub(super) struct MaxFilter {
    /// Rounds and rates; the rates fall, the rounds rise.
    best: VecDeque<(u64, u64)>,
}

impl MaxFilter {
    pub(super) fn take(&mut self, round: u64, rate: u64) {
        while self.best.front().is_some_and(|(at, _)| round - at > ROUNDS) {
            self.best.pop_front();
        }
        while self.best.back().is_some_and(|(_, lower)| *lower <= rate) {
            self.best.pop_back();
        }
        // Of one round the highest is enough.
        if self.best.back().is_none_or(|(at, _)| *at != round) {
            self.best.push_back((round, rate));
        }
    }

    /// Bytes per second; zero before there is any.
    pub(super) fn max(&self) -> u64 {
        self.best.front().map_or(0, |(_, rate)| *rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_counts_for_ten_rounds_and_then_the_next_lower_one() {
        let mut filter = MaxFilter::default();
        filter.take(1, 50);
        filter.take(1, 100);
        filter.take(1, 90);
        for round in 2..=11 {
            filter.take(round, 60 - round);
            assert_eq!(filter.max(), 100);
        }
        filter.take(12, 10);
        assert_eq!(filter.max(), 58);
        // A long time without a measurement.
        assert_eq!(filter.max(), 58);
        filter.take(1_000, 5);
        assert_eq!(filter.max(), 5);
    }
}
