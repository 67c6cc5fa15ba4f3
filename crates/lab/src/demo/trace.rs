//! What was seen during a download, with times since its start; arithmetic only.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::report::rounded;
use crate::link::Count;

/// What the paths have delivered to the client up to a time.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Duration,
    pub(super) delivered: Vec<Count>,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub struct EventRecord {
    /// Seconds since the program was started.
    pub seconds: f64,
    /// `cut`, `return`, or a name from the runner's events such as `subflow_established`.
    pub event: String,
    /// The path or subflow it happened to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Why, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl EventRecord {
    /// For people: `wifi: subflow stalled`.
    pub(super) fn text(&self) -> String {
        let what = self.event.replace('_', " ");
        let text = self.name.as_ref().map_or_else(|| what.clone(), |name| format!("{name}: {what}"));
        self.reason.as_ref().map_or_else(|| text.clone(), |reason| format!("{text} ({reason})"))
    }
}

/// A subflow as the runner summed it up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SubflowRecord {
    /// The name of its path.
    pub name: String,
    /// Bytes the client received over it.
    pub bytes: u64,
    /// The client's address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    /// The server's address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
}

/// The runner's last word.
#[derive(Clone, Default, Debug)]
pub(super) struct Summary {
    pub(super) subflows: Vec<SubflowRecord>,
    /// `active`, or `fallback: …`.
    pub(super) multipath: Option<String>,
}

/// A line of the runner's events.
#[derive(Debug)]
pub(super) enum RunnerLine {
    Event(EventRecord),
    Summary(Summary),
}

impl RunnerLine {
    /// Understands a line seen at `at`; `None` for what is not an event.
    pub(super) fn parse(line: &str, at: Duration) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(String::from);
        let event = text("event")?;
        if event != "summary" {
            let name = text("name").or_else(|| text("local"));
            return Some(Self::Event(EventRecord {
                seconds: rounded(at.as_secs_f64()),
                event,
                name,
                reason: text("reason"),
            }));
        }
        let subflows = value.get("subflows").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let subflow = |value: &Value| {
            let text = |key: &str| value.get(key).and_then(Value::as_str).map(String::from);
            let name = text("name").or_else(|| text("local")).unwrap_or_else(|| "unnamed".into());
            let bytes = value.get("bytes_received").and_then(Value::as_u64).unwrap_or(0);
            SubflowRecord { name, bytes, local: text("local"), remote: text("remote") }
        };
        Some(Self::Summary(Summary { subflows: subflows.iter().map(subflow).collect(), multipath: text("multipath") }))
    }
}

/// The longest time between two reads, of those pairs that reach into `from..until`. `reads` are the times at which
/// something came from the program.
pub(super) fn longest_gap(reads: &[Duration], from: Duration, until: Duration) -> Option<Duration> {
    let pairs = reads.windows(2).filter(|pair| pair[1] > from && pair[0] < until);
    pairs.map(|pair| pair[1] - pair[0]).max()
}

/// When the path `index` has delivered `bytes` more than at `since`: it carries data again.
pub(super) fn carried(samples: &[Sample], index: usize, since: Duration, bytes: u64) -> Option<Duration> {
    let mut later = samples.iter().skip_while(|sample| sample.at < since);
    let start = later.next()?.delivered[index].bytes;
    later.find(|sample| sample.delivered[index].bytes >= start + bytes).map(|sample| sample.at)
}

/// A path's throughput over time in Mbit/s of whole frames: points `step` apart, each over `window` around it.
pub(super) fn throughput(samples: &[Sample], index: usize, step: Duration, window: Duration) -> Vec<(f64, f64)> {
    let Some(last) = samples.last() else {
        return Vec::new();
    };
    let total_at = |at: Duration| {
        let after = samples.partition_point(|sample| sample.at <= at);
        after.checked_sub(1).map_or((Duration::ZERO, 0), |i| (samples[i].at, samples[i].delivered[index].frame_bytes()))
    };
    let steps = (last.at.as_nanos() / step.as_nanos().max(1)) as u32;
    let point = |i: u32| {
        let at = step * i;
        let (start, before) = total_at(at.saturating_sub(window / 2));
        let (end, after) = total_at(at + window / 2);
        let seconds = (end - start).as_secs_f64();
        let rate = if seconds > 0.0 { (after - before) as f64 * 8.0 / 1e6 / seconds } else { 0.0 };
        (at.as_secs_f64(), rate)
    };
    (0..=steps).map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_gap_lies_between_two_reads_around_the_time_asked_for() {
        let reads = [10, 20, 500, 510, 3000].map(ms);
        assert_eq!(longest_gap(&reads, ms(0), ms(600)), Some(ms(2490)));
        assert_eq!(longest_gap(&reads, ms(0), ms(100)), Some(ms(480)));
        // Begins before the time asked for, and reaches into it.
        assert_eq!(longest_gap(&reads, ms(400), ms(450)), Some(ms(480)));
        assert_eq!(longest_gap(&reads, ms(3000), ms(4000)), None);
        assert_eq!(longest_gap(&reads[..1], ms(0), ms(600)), None);
    }

    fn samples(bytes: &[u64]) -> Vec<Sample> {
        let count = |&bytes: &u64| vec![Count { packets: 0, bytes }];
        bytes.iter().zip(0..).map(|(b, i)| Sample { at: ms(10 * i), delivered: count(b) }).collect()
    }

    #[test]
    fn a_path_carries_again_once_enough_has_come_since() {
        let samples = samples(&[0, 5000, 5000, 5000, 5100, 20_000, 30_000]);
        assert_eq!(carried(&samples, 0, ms(20), 15_000), Some(ms(50)));
        assert_eq!(carried(&samples, 0, ms(20), 26_000), None);
    }

    #[test]
    fn throughput_is_bytes_over_time() {
        // 12,500 bytes in 10 ms are 10 Mbit/s.
        let samples = samples(&(0..100).map(|i| i * 12_500).collect::<Vec<_>>());
        let points = throughput(&samples, 0, ms(100), ms(100));
        assert_eq!(points.len(), 10);
        for (at, rate) in &points[..9] {
            assert!((rate - 10.0).abs() < 1e-6, "{rate} at {at}");
        }
    }

    #[test]
    fn the_runners_lines_are_understood() {
        let line =
            r#"{"t_ms":5,"event":"subflow_stalled","connection":1,"subflow":2,"name":"wifi","reason":"silence"}"#;
        let Some(RunnerLine::Event(event)) = RunnerLine::parse(line, ms(1500)) else { panic!("not an event") };
        assert_eq!(event.text(), "wifi: subflow stalled (silence)");
        assert_eq!(event.seconds, 1.5);
        let line = r#"{"event":"summary","subflows":[{"name":"lte","local":"10.2.0.2:61000","remote":"10.9.0.1:80",
            "bytes_sent":1,"bytes_received":77}],"multipath":"active"}"#;
        let Some(RunnerLine::Summary(summary)) = RunnerLine::parse(line, ms(0)) else { panic!("no summary") };
        assert_eq!(summary.multipath.as_deref(), Some("active"));
        assert_eq!((summary.subflows[0].name.as_str(), summary.subflows[0].bytes), ("lte", 77));
        assert!(RunnerLine::parse("not JSON", ms(0)).is_none());
        assert!(RunnerLine::parse("{}", ms(0)).is_none());
    }
}
