//! What a run has shown, and what is kept of it.

use std::collections::BTreeMap;
use std::time::Duration;

use polypath_sim::grid::record::{Outcome, Record};
use polypath_sim::grid::report::Curve;
use polypath_sim::grid::scenario::Load;
use polypath_sim::grid::series::Series;
use serde::{Deserialize, Serialize};

use super::end::Account;
use super::network::Case;
use super::watch::Sample;
use crate::kernel::MptcpCounters;

/// A packet of at most so many bytes carries no data: an acknowledgement, a SYN, a question to a silent path.
const WITHOUT_DATA: u64 = 100;
/// What stands before the data of a packet: IPv4, TCP, timestamps, and a DSS with 32-bit numbers.
const HEADERS: u64 = 52 + 20;
/// How long after the first path failed the other one's queue counts as standing.
const STANDING_AFTER: Duration = Duration::from_secs(1);

/// What is kept of a finished run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Kept {
    /// What was measured, by the names of [`Outcome`]'s fields, and `window`, the largest window that the receiver
    /// advertised in bytes. None: it never came about.
    pub measures: BTreeMap<String, Option<f64>>,
    /// Labels, and throughput over time: seconds since the start, Mbit/s.
    pub curves: Vec<(String, Vec<(f64, f64)>)>,
    /// Bytes of IP that each path delivered in the direction of the data.
    pub delivered: Vec<u64>,
    /// MPTcpExt counters that moved in the server's namespace.
    pub counters: BTreeMap<String, i64>,
    /// Bytes that both applications received, every one as it was sent.
    pub bytes: u64,
    /// Whether polypath's connection was Multipath TCP in the end; none where it took no part.
    pub multipath: Option<bool>,
    /// Packets that the devices dropped before the links saw them; anything but 0 spoils the run.
    pub device_drops: u64,
    /// How late the latest packet came out of a link, in whole milliseconds.
    pub late_ms: u64,
}

impl Kept {
    pub(super) fn new(
        case: &Case<'_>,
        (client, server): (&Account, &Account),
        samples: &[Sample],
        moved: &MptcpCounters,
        end: Duration,
    ) -> Self {
        let record = record(case, (client, server), samples, moved, end);
        let mut kept = Self {
            delivered: samples.last().map_or_else(Vec::new, |last| last.delivered.iter().map(|c| c.bytes).collect()),
            counters: moved.iter().map(|(name, value)| (name.into(), value)).collect(),
            bytes: record.bytes,
            multipath: client.multipath,
            ..Self::default()
        };
        kept.keep(record.outcome(case.row));
        if case.row.kernel_buffer.is_some() {
            kept.measures.insert("window".into(), server.window.map(f64::from));
        }
        // A path that carries nothing says nothing, as those that plain TCP does not use.
        kept.curves.retain(|(_, points)| points.iter().any(|(_, mbit)| *mbit > 0.0));
        kept
    }

    fn keep(&mut self, outcome: Outcome) {
        let Outcome { mbit, reinjected, p50_ms, p99_ms, gap_ms, again_ms, queue_ms, share, remove_addr, curves } =
            outcome;
        let measures = [
            ("mbit", mbit),
            ("reinjected", reinjected),
            ("p50_ms", p50_ms),
            ("p99_ms", p99_ms),
            ("gap_ms", gap_ms),
            ("again_ms", again_ms),
            ("queue_ms", queue_ms),
            ("share", share),
            ("remove_addr", remove_addr),
        ];
        let known = measures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        // JSON has no infinity.
        self.measures.extend(known.map(|(name, value)| (name, Some(value).filter(|value| value.is_finite()))));
        // Nobody sees more, and files stay small.
        let rounded = |value: f64| (value * 1e3).round() / 1e3;
        let round = |points: Vec<(f64, f64)>| points.into_iter().map(|(x, y)| (rounded(x), rounded(y))).collect();
        self.curves = curves.into_iter().map(|curve| (curve.label, round(curve.points))).collect();
    }

    /// As it was before it was kept.
    pub(super) fn outcome(&self) -> Outcome {
        let of = |name: &str| self.measures.get(name).map(|value| value.unwrap_or(f64::INFINITY));
        let curve =
            |(label, points): &(String, Vec<(f64, f64)>)| Curve { label: label.clone(), points: points.clone() };
        Outcome {
            mbit: of("mbit"),
            reinjected: of("reinjected"),
            p50_ms: of("p50_ms"),
            p99_ms: of("p99_ms"),
            gap_ms: of("gap_ms"),
            again_ms: of("again_ms"),
            queue_ms: of("queue_ms"),
            share: of("share"),
            remove_addr: of("remove_addr"),
            curves: self.curves.iter().map(curve).collect(),
        }
    }
}

fn record(
    case: &Case<'_>,
    (client, server): (&Account, &Account),
    samples: &[Sample],
    moved: &MptcpCounters,
    end: Duration,
) -> Record {
    let receiver = if matches!(case.row.load, Load::Upload(_)) { server } else { client };
    let again = |account: &Account| account.sent.map_or(0, |sent| sent.again);
    let (cut, back) = case.row.outage_at;
    let standing = cut + STANDING_AFTER.min((back - cut) / 2)..back;
    let others = |sample: &Sample| sample.queue[1..].iter().map(|wait| wait.as_secs_f64() * 1e3).collect::<Vec<_>>();
    Record {
        end,
        application: receiver.seen.arrivals.clone(),
        paths: (0..case.row.paths.len()).map(|path| carried(samples, path)).collect(),
        latencies: client.seen.answers.clone(),
        waits_ms: samples.iter().filter(|sample| standing.contains(&sample.at)).flat_map(others).collect(),
        bytes: client.seen.bytes + server.seen.bytes,
        bytes_reinjected: again(client) + again(server),
        // The neutral witness is the kernel that receives it.
        remove_addr: Some(moved.get("RmAddr") > 0),
    }
}

/// Payload that came out of a path.
fn carried(samples: &[Sample], path: usize) -> Series {
    let mut series = Series::default();
    for pair in samples.windows(2) {
        let (before, after) = (pair[0].delivered[path], pair[1].delivered[path]);
        let (packets, bytes) = (after.packets - before.packets, after.bytes - before.bytes);
        if bytes > packets * WITHOUT_DATA {
            series.push(pair[1].at, bytes - packets * HEADERS);
        }
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Count;

    #[test]
    fn acknowledgements_and_handshakes_are_no_data() {
        let looks = [(5, 7_000), (5, 7_000), (7, 7_120), (8, 8_620), (10, 10_240)];
        let sample = |(at, (packets, bytes)): (u64, (u64, u64))| Sample {
            at: Duration::from_millis(at),
            delivered: vec![Count { packets, bytes }],
            queue: vec![Duration::ZERO],
        };
        let samples: Vec<Sample> = (0..).zip(looks).map(sample).collect();
        let mut expected = Series::default();
        expected.push(Duration::from_millis(3), 1_500 - 72);
        expected.push(Duration::from_millis(4), 1_620 - 144);
        assert_eq!(carried(&samples, 0), expected);
    }

    #[test]
    fn what_never_came_is_still_known_never_to_have_come() {
        let mut kept = Kept::default();
        let outcome = Outcome { gap_ms: Some(800.5), again_ms: Some(f64::INFINITY), ..Outcome::default() };
        kept.keep(outcome.clone());
        let read: Kept = serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap();
        assert_eq!(read.outcome(), outcome);
    }
}
