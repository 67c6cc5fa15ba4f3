//! One contender in one experiment, once: the hosts, both ends, the outage, and what came of it.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use polypath_sim::grid::scenario::{Load, Outage};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::end::{Account, Client, Play, Server};
use super::job::{Job, Seen};
use super::measure;
use super::network::{self, Case};
use super::options::GridOptions;
use super::watch::{self, Sample};
use crate::kernel::{MptcpCounters, SentBytes};

/// Requests must all be answered within this.
const ANSWERS: Duration = Duration::from_secs(900);

/// One line over time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunCurve {
    /// A path's name, or `application` for what reached it.
    pub label: String,
    /// Seconds since the start, Mbit/s.
    pub points: Vec<(f64, f64)>,
}

/// What came of one run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// What was measured, by name: `mbit`, `gap_ms`, `again_ms`, `queue_ms`, `share`, `reinjected`, `duplicated`,
    /// `p50_ms`, `p99_ms`, `window` (bytes), `removals`. None: it did not come about.
    pub measures: BTreeMap<String, Option<f64>>,
    /// Throughput over time.
    pub curves: Vec<RunCurve>,
    /// Bytes of IP that each path delivered in the direction of the data.
    pub delivered: Vec<u64>,
    /// MPTcpExt counters that moved in the server's namespace.
    pub counters: BTreeMap<String, i64>,
    /// Bytes of bulk data, or answers, that reached the application, all of them as they were sent.
    pub received: u64,
    /// Whether polypath's connection was Multipath TCP in the end; none where it took no part.
    pub multipath: Option<bool>,
    /// Packets that the devices dropped before the links saw them; anything but 0 spoils the run.
    pub device_drops: u64,
}

/// Runs a case.
///
/// # Errors
/// When hosts cannot be made, an end fails, or a byte is not as it was sent.
pub(super) fn run(case: &Case<'_>, options: &GridOptions) -> anyhow::Result<Outcome> {
    let scenario = network::build(case)?;
    let before = MptcpCounters::read(scenario.server())?;
    let server = Server::listen(case, &scenario, options).context("the server")?;
    let client = Client::prepare(case, &scenario, options).context("the client")?;
    let host = client.host();
    let duration = options.times.duration(case.row.load);
    let (client_job, server_job) = Job::pair(case.row.load, options.times);

    let start = Instant::now();
    let until = start + duration.unwrap_or(ANSWERS);
    let (client_done, client_waits) = oneshot::channel();
    let (server_done, server_waits) = oneshot::channel();
    let seed = case.seed;
    let client_play = Play { job: client_job, seed, start, until, done: client_done, other: server_waits };
    let server_play = Play { job: server_job, seed, start, until, done: server_done, other: client_waits };
    let outage = options.times.outage();
    let (client, server, samples) = thread::scope(|scope| {
        let server = scope.spawn(|| server.run(server_play));
        let client = scope.spawn(|| client.run(client_play));
        let over = || client.is_finished() || server.is_finished();
        let samples = watch::watch(case, &scenario, host.as_ref(), (start, outage), over);
        let client = client.join().map_err(|_| anyhow!("the client panicked"));
        let server = server.join().map_err(|_| anyhow!("the server panicked"));
        anyhow::Ok((client?.context("the client")?, server?.context("the server")?, samples?))
    })?;
    drop(host);
    let end = duration.unwrap_or_else(|| start.elapsed());
    let corrupt = client.seen.corrupt || server.seen.corrupt;
    ensure!(!corrupt, "data arrived that was not sent");

    let receiver = if matches!(case.row.load, Load::Upload(_)) { &server } else { &client };
    let moved = MptcpCounters::read(scenario.server())?.since(&before);
    let drops: Vec<u64> =
        (0..case.row.paths.len()).map(|path| scenario.device_drops(path)).collect::<Result<_, _>>()?;
    Ok(Outcome {
        measures: measures(case, (&client, &server), &samples, &moved, (outage, end)),
        curves: curves(case, &receiver.seen, &samples, end),
        delivered: samples.last().map_or_else(Vec::new, |last| last.delivered.iter().map(|c| c.bytes).collect()),
        counters: moved.iter().map(|(name, value)| (name.into(), value)).collect(),
        received: received(case, &receiver.seen),
        multipath: client.multipath,
        device_drops: drops.iter().sum(),
    })
}

fn received(case: &Case<'_>, seen: &Seen) -> u64 {
    match case.row.load {
        Load::Requests { answer, .. } => seen.answers.len() as u64 * u64::from(answer),
        _ => seen.reads.last().map_or(0, |(_, bytes)| *bytes),
    }
}

fn measures(
    case: &Case<'_>,
    (client, server): (&Account, &Account),
    samples: &[Sample],
    moved: &MptcpCounters,
    ((cut, back), end): ((Duration, Duration), Duration),
) -> BTreeMap<String, Option<f64>> {
    let mut all = BTreeMap::new();
    let mut put = |name: &str, value: Option<f64>| {
        all.insert(name.to_owned(), value);
    };
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let (sender, receiver) = match case.row.load {
        Load::Upload(_) => (client, server),
        Load::Download(_) => (server, client),
        Load::Requests { .. } => {
            put("p50_ms", measure::percentile(&client.seen.answers, 50).map(ms));
            put("p99_ms", measure::percentile(&client.seen.answers, 99).map(ms));
            if case.contender.single_path().is_none() {
                let both = client
                    .sent
                    .zip(server.sent)
                    .map(|(a, b)| SentBytes { sent: a.sent + b.sent, again: a.again + b.again });
                put("duplicated", both.map(share_again));
            }
            return all;
        }
    };
    let reads = &receiver.seen.reads;
    put("mbit", Some(measure::goodput(reads, end)));
    if case.contender.single_path().is_none() {
        put("reinjected", sender.sent.map(share_again));
    }
    if case.row.kernel_buffer.is_some() {
        put("window", receiver.window.map(f64::from));
    }
    if case.row.outage.is_some() {
        put("gap_ms", Some(ms(measure::longest_gap(reads, cut, end))));
        put("again_ms", measure::again(samples, 0, back).map(ms));
        // The other path's.
        let from = cut + Duration::from_secs(1).min((back - cut) / 2);
        put("queue_ms", measure::standing_queue(samples, 1, from, back).map(ms));
    }
    if let Some(backup) = case.row.paths.iter().position(|path| path.backup) {
        let rate = case.row.paths[backup].mbit as f64;
        put("share", measure::share_after(samples, backup, rate, (cut, back)));
    }
    if case.row.outage == Some(Outage::AddressRemoved) {
        put("removals", Some(moved.get("RmAddr") as f64));
    }
    all
}

fn share_again(bytes: SentBytes) -> f64 {
    bytes.again as f64 / bytes.sent.max(1) as f64
}

fn curves(case: &Case<'_>, seen: &Seen, samples: &[Sample], end: Duration) -> Vec<RunCurve> {
    let of_path = |path: usize| RunCurve {
        label: case.row.paths[path].name.into(),
        points: measure::curve(samples.iter().map(|s| (s.at, s.delivered[path].frame_bytes())), end),
    };
    let mut curves: Vec<RunCurve> = case.paths().into_iter().map(of_path).collect();
    if !seen.reads.is_empty() {
        curves.push(RunCurve { label: "application".into(), points: measure::curve(seen.reads.iter().copied(), end) });
    }
    curves
}
