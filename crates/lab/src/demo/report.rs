//! The account of a demonstration: figures with their bars, for machines (JSON) and for people.

use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::Duration;

use serde::Serialize;

use super::baseline::Baseline;
use super::download::Download;
use super::options::DemoOptions;
use super::trace::{EventRecord, SubflowRecord, carried, longest_gap};
use crate::emulator::Direction;
use crate::kernel::MptcpCounters;
use crate::link::LinkCounters;
use crate::payload::Payload;
use crate::preflight::Machine;
use crate::scenario::Scenario;

/// How long after the cut a gap may begin that the cut has caused: what was on its way on the other paths still
/// arrives.
const CUT_WINDOW: Duration = Duration::from_secs(2);
/// What a path must have delivered to be said to carry data: more than handshakes and probes.
const CARRIES: u64 = 10 * 1500;
/// The longest gap the program may see at the cut, in milliseconds.
const GAP_BAR: f64 = 800.0;
/// How soon the path must carry data after its return, in milliseconds.
const RETURN_BAR: f64 = 2000.0;

/// A measured value, and the bar it must meet if there is one.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The value; `None` when it never came to be.
    pub value: Option<f64>,
    /// Its unit; empty for a plain number.
    pub unit: &'static str,
    /// The most it may be.
    pub bar: Option<f64>,
    /// Whether it meets the bar.
    pub met: Option<bool>,
}

impl Figure {
    fn new(name: impl Into<String>, value: Option<f64>, unit: &'static str) -> Self {
        Self { name: name.into(), value: value.map(rounded), unit, bar: None, met: None }
    }

    fn at_most(mut self, bar: f64) -> Self {
        self.bar = Some(bar);
        self.met = Some(self.value.is_some_and(|value| value <= bar));
        self
    }
}

/// What one direction of a path did, in packets and in bytes of IP.
#[derive(Copy, Clone, Debug, Serialize)]
pub struct LinkRecord {
    /// Packets delivered.
    pub delivered: u64,
    /// Bytes of IP delivered.
    pub delivered_bytes: u64,
    /// Packets lost at random.
    pub lost: u64,
    /// Packets dropped because the queue was full.
    pub dropped_by_queue: u64,
    /// Packets dropped because the link was cut.
    pub dropped_by_cut: u64,
}

impl From<LinkCounters> for LinkRecord {
    fn from(counters: LinkCounters) -> Self {
        Self {
            delivered: counters.delivered.packets,
            delivered_bytes: counters.delivered.bytes,
            lost: counters.lost.packets,
            dropped_by_queue: counters.dropped_by_queue.packets,
            dropped_by_cut: counters.dropped_by_cut.packets,
        }
    }
}

/// What a path did.
#[derive(Clone, Debug, Serialize)]
pub struct PathRecord {
    /// The path.
    pub name: String,
    /// Client to server.
    pub up: LinkRecord,
    /// Server to client.
    pub down: LinkRecord,
    /// Packets dropped by the devices at its ends; anything but 0 spoils the experiment.
    pub device_drops: u64,
}

/// How a path was set up.
#[derive(Clone, Debug, Serialize)]
pub struct PathSettings {
    /// The path.
    pub name: String,
    /// Rate from server to client in Mbit/s; `None` is no limit.
    pub mbit: Option<f64>,
    /// Round trip of propagation in milliseconds.
    pub rtt_ms: f64,
    /// Queue of each direction in bytes.
    pub queue_bytes: u64,
    /// Loss of each direction, 0 to 1.
    pub loss: f64,
}

/// What repeats the run, together with the seed.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// The file's size.
    pub bytes: u64,
    /// The part of the file at which the first path is cut.
    pub cut_at: f64,
    /// The part at which it comes back.
    pub return_at: f64,
    /// The paths.
    pub paths: Vec<PathSettings>,
    /// How long plain TCP was measured, in seconds.
    pub baseline_seconds: f64,
    /// The command line of the program.
    pub command_line: Vec<String>,
}

/// The machine it ran on.
#[derive(Clone, Debug, Serialize)]
pub struct MachineRecord {
    /// Processors this process may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
}

/// How true the emulated links were.
#[derive(Copy, Clone, Debug, Serialize)]
pub struct TimingRecord {
    /// Mean lateness of packets in microseconds.
    pub late_mean_us: f64,
    /// The worst packet.
    pub late_max_us: f64,
    /// Whether the emulator ran before ordinary threads.
    pub punctual: bool,
}

/// The account of a demonstration.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The file arrived whole over at least two subflows, the program succeeded, and every bar was met.
    pub ok: bool,
    /// What arrived is what was sent.
    pub sha256_ok: bool,
    /// SHA-256 of what arrived.
    pub sha256: String,
    /// Bytes the program received.
    pub bytes: u64,
    /// From the program's start to its last byte.
    pub seconds: f64,
    /// The subflows that carried data, and the client's bytes over each.
    pub subflows: Vec<SubflowRecord>,
    /// Where `subflows` comes from: `runner` (payload), or `links` (bytes of IP on each path) if it said nothing.
    pub subflows_from: &'static str,
    /// What the runner says of the connection: `active`, or `fallback: …`.
    pub multipath: Option<String>,
    /// The longest time between two reads of the program's output.
    pub longest_gap_ms: Option<f64>,
    /// Who served: `linux` or `polypath`.
    pub peer: &'static str,
    /// The same in full, for people.
    pub server: String,
    /// The server's MPTcpExt counters that moved; empty where it is not the kernel's.
    pub kernel_counters: BTreeMap<String, i64>,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// Plain TCP on each path alone, without a cut.
    pub plain_tcp: Vec<Baseline>,
    /// What the paths did.
    pub paths: Vec<PathRecord>,
    /// What happened, and when.
    pub events: Vec<EventRecord>,
    /// How the program ended, if not well.
    pub program_error: Option<String>,
    /// How true the links were.
    pub timing: TimingRecord,
    /// The picture.
    pub svg: Option<String>,
    /// Decides the content and the losses.
    pub seed: u64,
    /// What repeats the run.
    pub settings: Settings,
    /// Where it ran.
    pub machine: MachineRecord,
}

impl Report {
    pub(super) fn new(
        options: &DemoOptions,
        machine: &Machine,
        scenario: &Scenario,
        (peer, server): (&'static str, String),
        plain_tcp: Vec<Baseline>,
        download: &Download,
        counters: Option<&MptcpCounters>,
    ) -> anyhow::Result<Self> {
        let sha256_ok =
            download.received == options.bytes && download.sha256 == Payload::sha256(options.seed, options.bytes);
        let paths = path_records(scenario)?;
        let (subflows, subflows_from) = subflows(download, &paths);
        let figures = figures(download, &plain_tcp, counters, options);
        let program_error = (!download.status.success())
            .then(|| format!("{}: {}", download.status, download.complaints).trim_end_matches([' ', ':']).to_string());
        let whole = sha256_ok && subflows.len() >= 2 && program_error.is_none();
        let lateness = scenario.lateness();
        Ok(Self {
            ok: whole && figures.iter().all(|figure| figure.met != Some(false)),
            sha256_ok,
            sha256: download.sha256.to_string(),
            bytes: download.received,
            seconds: rounded(seconds(download)),
            subflows,
            subflows_from,
            multipath: download.summary.as_ref().and_then(|summary| summary.multipath.clone()),
            longest_gap_ms: longest_gap(&download.reads, Duration::ZERO, Duration::MAX).map(milliseconds),
            peer,
            server,
            kernel_counters: counters
                .into_iter()
                .flat_map(MptcpCounters::iter)
                .map(|(name, value)| (name.into(), value))
                .collect(),
            figures,
            plain_tcp,
            paths,
            events: download.events.clone(),
            program_error,
            timing: TimingRecord {
                late_mean_us: rounded(lateness.mean.as_secs_f64() * 1e6),
                late_max_us: rounded(lateness.max.as_secs_f64() * 1e6),
                punctual: scenario.is_punctual(),
            },
            svg: options.svg.as_ref().map(|path| path.display().to_string()),
            seed: options.seed,
            settings: settings(options, download),
            machine: MachineRecord {
                cores: thread::available_parallelism().map_or(1, usize::from),
                kernel: machine.kernel().into(),
            },
        })
    }

    /// One line of JSON.
    ///
    /// # Errors
    /// None that can be expected.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// The best plain TCP on a single path.
    #[must_use]
    pub fn best_plain_tcp(&self) -> Option<&Baseline> {
        best(&self.plain_tcp)
    }
}

fn best(plain_tcp: &[Baseline]) -> Option<&Baseline> {
    plain_tcp.iter().max_by(|a, b| a.mbit.total_cmp(&b.mbit))
}

fn seconds(download: &Download) -> f64 {
    download.reads.last().map_or(0.0, Duration::as_secs_f64)
}

fn figures(
    download: &Download,
    plain_tcp: &[Baseline],
    counters: Option<&MptcpCounters>,
    options: &DemoOptions,
) -> Vec<Figure> {
    let reads = &download.reads;
    let goodput = download.received as f64 * 8.0 / 1e6 / seconds(download).max(1e-9);
    let longest = longest_gap(reads, Duration::ZERO, Duration::MAX);
    let at_cut = download.cut_at.and_then(|cut| longest_gap(reads, cut, cut + CUT_WINDOW));
    let back = download.return_at.and_then(|at| Some(carried(&download.samples, 0, at, CARRIES)? - at));
    let first = &options.paths[0].name;
    let mut figures = vec![Figure::new("goodput", Some(goodput), "Mbit/s")];
    for plain in plain_tcp {
        figures.push(Figure::new(format!("plain TCP on {} alone, no cut", plain.name), Some(plain.mbit), "Mbit/s"));
    }
    let ratio = best(plain_tcp).map(|plain| goodput / plain.mbit);
    figures.push(Figure::new("goodput / plain TCP on the best path", ratio, ""));
    figures.push(Figure::new("first byte after", reads.first().copied().map(milliseconds), "ms"));
    figures.push(Figure::new("longest gap", longest.map(milliseconds), "ms"));
    figures.push(Figure::new("longest gap at the cut", at_cut.map(milliseconds), "ms").at_most(GAP_BAR));
    let name = format!("{first} carries data again after");
    figures.push(Figure::new(name, back.map(milliseconds), "ms").at_most(RETURN_BAR));
    let Some(counters) = counters else { return figures };
    for (name, count) in [
        ("fallbacks to plain TCP", counters.fallbacks()),
        ("HMAC failures", counters.hmac_failures()),
        ("mapping mismatches", counters.mapping_mismatches()),
    ] {
        figures.push(Figure::new(name, Some(count as f64), "").at_most(0.0));
    }
    figures
}

fn path_records(scenario: &Scenario) -> anyhow::Result<Vec<PathRecord>> {
    let record = |(index, path): (usize, &crate::PathSpec)| {
        Ok(PathRecord {
            name: path.name.clone(),
            up: scenario.counters(index, Direction::Up).into(),
            down: scenario.counters(index, Direction::Down).into(),
            device_drops: scenario.device_drops(index)?,
        })
    };
    scenario.paths().iter().enumerate().map(record).collect()
}

/// The subflows that carried data, by the runner's account or else by the links'.
fn subflows(download: &Download, paths: &[PathRecord]) -> (Vec<SubflowRecord>, &'static str) {
    let by_runner = download.summary.as_ref().map(|summary| summary.subflows.clone());
    if let Some(subflows) = by_runner.filter(|subflows| !subflows.is_empty()) {
        return (subflows.into_iter().filter(|subflow| subflow.bytes > 0).collect(), "runner");
    }
    let record = |path: &PathRecord| SubflowRecord {
        name: path.name.clone(),
        bytes: path.down.delivered_bytes,
        local: None,
        remote: None,
    };
    (paths.iter().map(record).filter(|subflow| subflow.bytes >= CARRIES).collect(), "links")
}

fn settings(options: &DemoOptions, download: &Download) -> Settings {
    let path = |path: &crate::PathSpec| PathSettings {
        name: path.name.clone(),
        mbit: path.down.rate.map(|rate| rate.as_bits_per_second() as f64 / 1e6),
        rtt_ms: milliseconds(path.up.delay + path.down.delay),
        queue_bytes: path.down.queue,
        loss: path.down.loss,
    };
    Settings {
        bytes: options.bytes,
        cut_at: options.cut_at,
        return_at: options.return_at,
        paths: options.paths.iter().map(path).collect(),
        baseline_seconds: options.baseline.as_secs_f64(),
        command_line: download.command_line.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
    }
}

fn milliseconds(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3)
}

/// Three digits after the point are all that is meant.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        let whole = if self.sha256_ok { "whole, SHA-256 right" } else { "NOT WHOLE" };
        writeln!(f, "{:.1} MB in {:.1} s from {}: {whole}", mb(self.bytes), self.seconds, self.server)?;
        if let Some(error) = &self.program_error {
            writeln!(f, "The program failed: {error}")?;
        }
        if let Some(multipath) = self.multipath.as_ref().filter(|multipath| *multipath != "active") {
            writeln!(f, "Multipath: {multipath}")?;
        }
        let total: u64 = self.subflows.iter().map(|subflow| subflow.bytes).sum();
        for SubflowRecord { name, bytes, local, .. } in &self.subflows {
            let part = 100.0 * *bytes as f64 / total.max(1) as f64;
            writeln!(f, "  {name:<8} {:>7.1} MB  {part:>3.0} %  {}", mb(*bytes), local.as_deref().unwrap_or(""))?;
        }
        writeln!(f)?;
        for Figure { name, value, unit, bar, met } in &self.figures {
            let unit = if value.is_some() { *unit } else { "" };
            let value = value.map_or_else(|| "never".into(), number);
            let bar = bar.map_or_else(String::new, |bar| format!("at most {} {unit}", number(bar)));
            let verdict = match met {
                Some(true) => "met",
                Some(false) => "NOT MET",
                None => "",
            };
            writeln!(f, "{}", format!("  {name:<38} {value:>9} {unit:<7} {bar:<16} {verdict}").trim_end())?;
        }
        if !self.kernel_counters.is_empty() {
            let counters = self.kernel_counters.iter().map(|(name, value)| format!("{name} {value}"));
            writeln!(f, "\nThe server's kernel counted: {}", counters.collect::<Vec<_>>().join(", "))?;
        }
        for path in self.paths.iter().filter(|path| path.device_drops > 0) {
            writeln!(f, "The devices of {} dropped {} packets: too busy a machine", path.name, path.device_drops)?;
        }
        if let Some(svg) = &self.svg {
            writeln!(f, "Picture: {svg}")?;
        }
        write!(f, "{} (seed {})", if self.ok { "ok" } else { "NOT OK" }, self.seed)
    }
}

/// A number with as many digits as it deserves.
fn number(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
