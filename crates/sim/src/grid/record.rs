//! What one run has shown, and the few numbers that are kept of it.

use std::time::Duration;

use super::report::Curve;
use super::scenario::{BACK_AT, CUT_AT, Load, Scenario};
use super::series::Series;

/// A gap that begins this long after the cut is its doing.
const CUT_WINDOW: Duration = Duration::from_secs(3);
/// A second that carries most of what the other path can must begin this soon after the cut.
const FULL_RATE_WITHIN: Duration = Duration::from_millis(600);
/// Payload of a full segment with timestamps, of the frame that carries it.
const PAYLOAD_OF_FRAME: f64 = 1448.0 / 1514.0;
/// A path carries data again with a segment of at least this many bytes: one alone probes a window.
const LEAST_DATA: u64 = 2;
/// Points of a curve, and the time each is the mean of where that is not more than [`MOST_POINTS`].
const STEP: Duration = Duration::from_millis(100);
const MOST_POINTS: u32 = 200;

/// All that is measured in one run, in real or in virtual time.
#[derive(Clone, Debug)]
pub struct Record {
    /// How long it lasted.
    pub end: Duration,
    /// What reached the application that receives the bulk, in order.
    pub application: Series,
    /// Payload that each path carried in that direction, in the scenario's order.
    pub paths: Vec<Series>,
    /// How long each request took.
    pub latencies: Vec<Duration>,
    /// How long packets waited in the queue of the other path, from a second after the cut on until the return; in
    /// milliseconds, at even times.
    pub waits_ms: Vec<f64>,
    /// What both applications received.
    pub bytes: u64,
    /// What both stacks sent on purpose on a second subflow.
    pub bytes_reinjected: u64,
    /// Whether the client sent a REMOVE_ADDR; none: nobody looked.
    pub remove_addr: Option<bool>,
}

/// The numbers and the picture of one run. Those that say nothing about the scenario's load are none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Goodput over the whole run.
    pub mbit: Option<f64>,
    /// Bytes sent on purpose on a second subflow, by bytes received.
    pub reinjected: Option<f64>,
    /// Median and 99th percentile of the requests' times.
    pub p50_ms: Option<f64>,
    /// See `p50_ms`.
    pub p99_ms: Option<f64>,
    /// The longest time without new bytes at the application after the cut.
    pub gap_ms: Option<f64>,
    /// From the first path's return to the first data on it; infinite: never.
    pub again_ms: Option<f64>,
    /// The median wait in the other path's queue during the outage.
    pub queue_ms: Option<f64>,
    /// The best second soon after the cut, by what the other path can carry.
    pub share: Option<f64>,
    /// 1 where the client sent a REMOVE_ADDR.
    pub remove_addr: Option<f64>,
    /// Each path's throughput and the application's.
    pub curves: Vec<Curve>,
}

impl Record {
    /// What is kept of it.
    pub fn outcome(&self, scenario: &Scenario) -> Outcome {
        let mut outcome = Outcome {
            reinjected: (self.bytes > 0).then(|| self.bytes_reinjected as f64 / self.bytes as f64),
            curves: self.curves(scenario),
            ..Outcome::default()
        };
        match scenario.load {
            Load::Upload(_) | Load::Download(_) => {
                outcome.mbit = Some(self.application.mbit(Duration::ZERO, self.end));
            }
            Load::Requests { .. } => {
                let mut times: Vec<f64> = self.latencies.iter().copied().map(milliseconds).collect();
                times.sort_by(f64::total_cmp);
                (outcome.p50_ms, outcome.p99_ms) = (percentile(&times, 0.50), percentile(&times, 0.99));
            }
        }
        if scenario.outage.is_some() {
            self.outage(scenario, &mut outcome);
        }
        outcome
    }

    fn outage(&self, scenario: &Scenario, outcome: &mut Outcome) {
        outcome.gap_ms = Some(milliseconds(self.application.longest_gap(CUT_AT, CUT_AT + CUT_WINDOW, self.end)));
        let again = self.paths.first().and_then(|path| path.first_from(BACK_AT, LEAST_DATA));
        outcome.again_ms = Some(again.map_or(f64::INFINITY, |at| milliseconds(at - BACK_AT)));
        outcome.queue_ms = median(&self.waits_ms);
        let others: u64 = scenario.paths.iter().skip(1).map(|path| path.mbit).sum();
        let best = self.application.best_second(CUT_AT, CUT_AT + FULL_RATE_WITHIN);
        outcome.share = Some(best / (others as f64 * PAYLOAD_OF_FRAME));
        outcome.remove_addr = self.remove_addr.map(|sent| f64::from(u8::from(sent)));
    }

    fn curves(&self, scenario: &Scenario) -> Vec<Curve> {
        let step = STEP.max(self.end / MOST_POINTS);
        let curve = |label: &str, series: &Series| Curve { label: label.into(), points: series.curve(step, self.end) };
        let paths = scenario.paths.iter().zip(&self.paths).map(|(path, series)| curve(path.name, series));
        paths.chain([curve("application", &self.application)]).collect()
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Of values in ascending order, the one that this part of them does not exceed.
fn percentile(sorted: &[f64], part: f64) -> Option<f64> {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The middle value; of two, their mean. None without any.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().checked_sub(1)? / 2, sorted.len() / 2);
    Some((sorted[low] + sorted[high]) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_percentiles_are_of_the_values() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[1.0, f64::INFINITY, f64::INFINITY]), Some(f64::INFINITY), "most never came");
        assert_eq!(median(&[]), None);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((percentile(&hundred, 0.5), percentile(&hundred, 0.99)), (Some(50.0), Some(99.0)));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
