//! Arithmetic over what was seen in a run. Times are since its start.

use std::time::Duration;

use super::watch::Sample;

/// A packet of at most so many bytes carries no data: an acknowledgement, a SYN, a question to a silent path.
const WITHOUT_DATA: u64 = 100;
/// How long after an outage began a gap may begin that it has caused.
const GAP_WINDOW: Duration = Duration::from_secs(3);
/// Between two points of a curve.
const STEP: Duration = Duration::from_millis(100);
/// A second that carries the backup's share begins at most so long after the outage.
const SHARE_WINDOW: Duration = Duration::from_millis(600);

/// What reached the application within `time`, in Mbit/s. `reads`: when, and how many bytes in all.
pub(super) fn goodput(reads: &[(Duration, u64)], time: Duration) -> f64 {
    let within = reads.iter().take_while(|(at, _)| *at <= time).last();
    within.map_or(0.0, |(_, bytes)| mbit(*bytes, time))
}

/// The longest time without new bytes that began until three seconds after `cut`, and did not end before it. It ends
/// with the run at the latest.
pub(super) fn longest_gap(reads: &[(Duration, u64)], cut: Duration, end: Duration) -> Duration {
    let times: Vec<Duration> =
        [Duration::ZERO].into_iter().chain(reads.iter().map(|(at, _)| *at)).chain([end]).collect();
    let caused = times.windows(2).filter(|pair| pair[1] > cut && pair[0] <= cut + GAP_WINDOW);
    caused.map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default()
}

/// How long after `back` the first packet with data came out of a path.
pub(super) fn again(samples: &[Sample], path: usize, back: Duration) -> Option<Duration> {
    let later = samples.windows(2).filter(|pair| pair[1].at > back);
    let with_data = |pair: &&[Sample]| {
        let (before, after) = (pair[0].delivered[path], pair[1].delivered[path]);
        after.bytes - before.bytes > (after.packets - before.packets) * WITHOUT_DATA
    };
    later.into_iter().find(with_data).map(|pair| pair[1].at - back)
}

/// The median length of a path's queue between two times.
pub(super) fn standing_queue(samples: &[Sample], path: usize, from: Duration, until: Duration) -> Option<Duration> {
    let within = samples.iter().filter(|sample| (from..until).contains(&sample.at));
    let mut queues: Vec<Duration> = within.map(|sample| sample.queue[path]).collect();
    queues.sort_unstable();
    queues.get(queues.len() / 2).copied()
}

/// The largest part of a path's rate (in Mbit/s) that it carries in a second which begins soon after `cut`. Where the
/// outage is shorter, the second is, too.
pub(super) fn share_after(
    samples: &[Sample],
    path: usize,
    rate: f64,
    (cut, back): (Duration, Duration),
) -> Option<f64> {
    let length = Duration::from_secs(1).min((back - cut) / 2);
    let carried = |index: usize| {
        let begin = &samples[index];
        let end = samples[index..].iter().take_while(|sample| sample.at <= begin.at + length).last()?;
        let bytes = end.delivered[path].frame_bytes() - begin.delivered[path].frame_bytes();
        Some(mbit(bytes, length) / rate)
    };
    let begins = samples.iter().enumerate().filter(|(_, sample)| (cut..=cut + SHARE_WINDOW).contains(&sample.at));
    begins.filter_map(|(index, _)| carried(index)).max_by(f64::total_cmp)
}

/// So many of a hundred values are at most the result.
pub(super) fn percentile(values: &[Duration], percent: usize) -> Option<Duration> {
    let mut values = values.to_vec();
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied()
}

/// Mbit/s over time from totals of bytes: a point in the middle of each tenth of a second.
pub(super) fn curve(totals: impl Iterator<Item = (Duration, u64)>, end: Duration) -> Vec<(f64, f64)> {
    let steps = end.as_nanos().div_ceil(STEP.as_nanos()) as usize;
    let mut bytes = vec![0; steps];
    let mut before = 0;
    for (at, total) in totals {
        if let Some(bytes) = bytes.get_mut((at.as_nanos() / STEP.as_nanos()) as usize) {
            *bytes += total - before;
        }
        before = total;
    }
    let point = |(step, bytes): (usize, u64)| (STEP.as_secs_f64() * (step as f64 + 0.5), mbit(bytes, STEP));
    bytes.into_iter().enumerate().map(point).collect()
}

/// The middle value; of an even number the mean of the two in the middle. None if one of these is none, which counts
/// as the largest.
pub(super) fn median(values: &[Option<f64>]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().map(|value| value.unwrap_or(f64::INFINITY)).collect();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let median = if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[sorted.len() / 2 - 1], upper) };
    median.is_finite().then_some(median)
}

fn mbit(bytes: u64, time: Duration) -> f64 {
    bytes as f64 * 8.0 / 1e6 / time.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Count;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One path, looked at each 10 ms: packets and bytes in all, and the queue in milliseconds.
    fn samples(looks: &[(u64, u64, u64)]) -> Vec<Sample> {
        let sample = |(i, &(packets, bytes, queue)): (u64, &(u64, u64, u64))| Sample {
            at: ms(10 * i),
            delivered: vec![Count { packets, bytes }],
            queue: vec![ms(queue)],
        };
        (0..).zip(looks).map(sample).collect()
    }

    #[test]
    fn goodput_counts_what_came_in_time() {
        let reads = [(ms(100), 1_000), (ms(1_000), 250_000), (ms(1_001), 900_000)];
        assert_eq!(goodput(&reads, ms(1_000)), 2.0);
        assert_eq!(goodput(&[], ms(1_000)), 0.0);
    }

    #[test]
    fn a_gap_is_one_that_the_outage_can_have_caused() {
        let reads: Vec<_> = [10, 900, 1_000, 1_400, 1_410, 4_300, 9_000].map(|at| (ms(at), at)).to_vec();
        assert_eq!(longest_gap(&reads[..6], ms(1_001), ms(4_310)), ms(2_890));
        // The one of 890 ms was over when the path failed; the one of 4,700 ms began too late.
        assert_eq!(longest_gap(&reads, ms(1_000), ms(9_100)), ms(2_890));
        assert_eq!(longest_gap(&reads[..3], ms(1_000), ms(16_000)), ms(15_000));
    }

    #[test]
    fn a_path_is_used_again_when_it_carries_data() {
        let looks = samples(&[(5, 7_000, 0), (5, 7_000, 0), (7, 7_120, 0), (8, 8_620, 0), (9, 10_120, 0)]);
        assert_eq!(again(&looks, 0, ms(5)), Some(ms(25)));
        assert_eq!(again(&looks[..3], 0, ms(5)), None);
    }

    #[test]
    fn the_standing_queue_is_the_median_of_its_time() {
        let looks = samples(&[(0, 0, 900), (0, 0, 30), (0, 0, 10), (0, 0, 20), (0, 0, 900)]);
        assert_eq!(standing_queue(&looks, 0, ms(10), ms(40)), Some(ms(20)));
        assert_eq!(standing_queue(&looks, 0, ms(50), ms(60)), None);
    }

    #[test]
    fn the_share_is_that_of_the_best_second() {
        // 14 bytes of Ethernet with each packet: 12,500 bytes in 10 ms are 10 Mbit/s, from 500 ms on.
        let looks: Vec<_> = (0..300_u64).map(|i| i.saturating_sub(50)).map(|i| (i, i * 12_486, 0)).collect();
        let share = |cut: u64| share_after(&samples(&looks), 0, 10.0, (ms(cut), ms(cut + 8_000))).unwrap();
        assert!((share(0) - 1.0).abs() < 0.011, "{}", share(0));
        let late = share_after(&samples(&looks[..90]), 0, 10.0, (ms(0), ms(8_000))).unwrap();
        assert!((late - 0.39).abs() < 0.011, "{late}");
    }

    #[test]
    fn percentiles_are_by_rank() {
        let values: Vec<Duration> = (1..=200).map(ms).collect();
        assert_eq!([50, 99, 100].map(|percent| percentile(&values, percent)), [100, 198, 200].map(|v| Some(ms(v))));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn curves_have_a_point_for_each_tenth_of_a_second() {
        let totals = [(ms(10), 1_000), (ms(90), 12_500), (ms(250), 25_000), (ms(900), 99_999)];
        let points = curve(totals.into_iter(), ms(300));
        let rates: Vec<f64> = points.iter().map(|(_, rate)| *rate).collect();
        assert_eq!(rates, [1.0, 0.0, 1.0]);
        assert!((points[0].0 - 0.05).abs() < 1e-9);
    }

    #[test]
    fn what_never_came_is_worse_than_anything_that_did() {
        assert_eq!(median(&[Some(3.0), None, Some(1.0)]), Some(3.0));
        assert_eq!(median(&[Some(3.0), None]), None);
        assert_eq!(median(&[Some(4.0), Some(1.0)]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
