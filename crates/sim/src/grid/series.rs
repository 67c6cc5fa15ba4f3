//! Bytes that arrive over time, and what can be read off them: rates, gaps, curves.

use std::time::Duration;

/// How many bytes arrived when, since the start of a run. Times never run backwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    arrivals: Vec<(Duration, u64)>,
}

impl Series {
    /// Adds an arrival. A time before the last one counts as that.
    pub fn push(&mut self, at: Duration, bytes: u64) {
        let at = self.arrivals.last().map_or(at, |(last, _)| at.max(*last));
        self.arrivals.push((at, bytes));
    }

    /// The first arrival not before `from`, of at least so many bytes.
    pub fn first_from(&self, from: Duration, bytes: u64) -> Option<Duration> {
        let first = self.index(from);
        self.arrivals[first..].iter().find(|(_, arrived)| *arrived >= bytes).map(|(at, _)| *at)
    }

    /// Bytes that arrived in `from..to`.
    pub fn bytes(&self, from: Duration, to: Duration) -> u64 {
        let (first, last) = (self.index(from), self.index(to));
        self.arrivals[first..last.max(first)].iter().map(|(_, bytes)| bytes).sum()
    }

    /// Megabits in a second over `from..to`.
    pub fn mbit(&self, from: Duration, to: Duration) -> f64 {
        mbit(self.bytes(from, to), to.saturating_sub(from))
    }

    /// The longest time without an arrival, of those that begin in `from..=to` or last at `from`. The
    /// first begins with the run, and the last ends with it, at `end`.
    pub fn longest_gap(&self, from: Duration, to: Duration, end: Duration) -> Duration {
        let first = self.index(from);
        let before = first.checked_sub(1).map_or(Duration::ZERO, |last| self.arrivals[last].0);
        let times = || self.arrivals[first..].iter().map(|(at, _)| *at);
        let starts = std::iter::once(before).chain(times().take_while(|at| *at <= to));
        let ends = times().chain([end]);
        starts.zip(ends).map(|(start, end)| end.saturating_sub(start)).max().unwrap_or_default()
    }

    /// The most Mbit/s over a whole second, of those that begin in `from..=to`, looked at every 10 ms.
    pub fn best_second(&self, from: Duration, to: Duration) -> f64 {
        let steps = to.saturating_sub(from).as_millis() as u32 / 10;
        let starts = (0..=steps).map(|step| from + Duration::from_millis(10) * step);
        starts.map(|start| self.mbit(start, start + Duration::from_secs(1))).fold(0.0, f64::max)
    }

    /// Throughput in Mbit/s, as the mean of each `step` until `end`: the time in seconds is the middle of the step.
    pub fn curve(&self, step: Duration, end: Duration) -> Vec<(f64, f64)> {
        let steps = (end.as_nanos() / step.as_nanos().max(1)) as usize;
        let mut bytes = vec![0; steps];
        for (at, arrived) in &self.arrivals {
            if let Some(bytes) = bytes.get_mut((at.as_nanos() / step.as_nanos().max(1)) as usize) {
                *bytes += arrived;
            }
        }
        let middle = |index: usize| (step * (2 * index as u32 + 1) / 2).as_secs_f64();
        bytes.into_iter().enumerate().map(|(index, bytes)| (middle(index), mbit(bytes, step))).collect()
    }

    /// How many arrivals there are before `at`.
    fn index(&self, at: Duration) -> usize {
        self.arrivals.partition_point(|(arrived, _)| *arrived < at)
    }
}

fn mbit(bytes: u64, time: Duration) -> f64 {
    bytes as f64 * 8.0 / 1e6 / time.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// 1,000 bytes each millisecond, 8 Mbit/s, but nothing after 5.0 s up to 5.7 s and from 8.0 s to the end at 10 s.
    fn with_gaps() -> Series {
        let mut series = Series::default();
        for ms in (0..=5_000).chain(5_700..=8_000) {
            series.push(MS * ms, 1_000);
        }
        series
    }

    #[test]
    fn the_gap_at_the_cut_is_seen_and_later_ones_are_not() {
        let series = with_gaps();
        let end = 10_000 * MS;
        assert_eq!(series.longest_gap(4_990 * MS, 5_500 * MS, end), 700 * MS);
        assert_eq!(series.longest_gap(5_100 * MS, 5_200 * MS, end), 700 * MS, "it lasts when the time begins");
        assert_eq!(series.longest_gap(5_800 * MS, 7_000 * MS, end), MS);
        assert_eq!(series.longest_gap(7_500 * MS, 9_000 * MS, end), 2_000 * MS, "the end of the run ends it");
        assert_eq!(Series::default().longest_gap(MS, 2 * MS, end), end, "nothing ever arrived");
        let mut late = Series::default();
        late.push(9_000 * MS, 1);
        assert_eq!(late.longest_gap(5_000 * MS, 8_000 * MS, end), 9_000 * MS, "silent from the start");
    }

    #[test]
    fn rates_and_curves_count_each_byte_once() {
        let series = with_gaps();
        assert!((series.mbit(Duration::ZERO, 5_000 * MS) - 8.0).abs() < 1e-9);
        let curve = series.curve(100 * MS, 10_000 * MS);
        assert_eq!(curve.len(), 100);
        assert_eq!(curve[10], (1.05, 8.0));
        assert_eq!(curve[53], (5.35, 0.0));
        let sum: f64 = curve.iter().map(|(_, mbit)| mbit * 0.1e6 / 8.0).sum();
        assert!((sum - 7_302_000.0).abs() < 1.0, "{sum}");
    }

    #[test]
    fn the_best_second_may_begin_late_but_no_later() {
        let series = with_gaps();
        assert!((series.best_second(5_001 * MS, 5_701 * MS) - 8.0).abs() < 0.02);
        assert!((series.best_second(5_001 * MS, 5_301 * MS) - 8.0 * 0.6).abs() < 0.02);
        assert_eq!(series.first_from(5_001 * MS, 1), Some(5_700 * MS));
        assert_eq!(series.first_from(5_001 * MS, 1_001), None, "only smaller ones came");
    }
}
