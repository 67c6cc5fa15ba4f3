//! What all runs came to, for people and for programs.

use std::collections::HashMap;
use std::fmt;

use polypath_sim::grid::report::Machine;
use serde::Serialize;

use crate::case::{Case, Group, Who};
use crate::crowd::Cost;
use crate::figure::{Figure, number};
use crate::plan::{Claim, Comparison};
use crate::run::Sample;
use crate::stats::Summary;

/// One contender with one load, all its runs together.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `bulk`, `rpc`, `connect`, `idle`.
    pub group: &'static str,
    /// Which load of the group.
    pub load: String,
    /// Both ends and the subflows.
    pub who: String,
    /// How much, in `unit`.
    pub rate: Option<Summary>,
    /// Of the rate.
    pub unit: &'static str,
    /// Pair by pair, where it was run in turn with the kernel's Multipath TCP.
    pub to_kernel_mptcp: Option<Summary>,
    /// Processor seconds of all processes and the kernel, for each GB, or for each thousand requests or connections.
    pub cpu: Option<Summary>,
    /// The kernel's share of that, 0 to 1.
    pub kernel_share: Option<f64>,
    /// Bytes of a packet between the hosts, super-segments as one.
    pub packet_bytes: Option<f64>,
    /// Packets between the hosts, both ways, for each request or connection.
    pub packets: Option<f64>,
    /// Bytes of a packet as polypath's receiving end reads it.
    pub read_bytes: Option<f64>,
    /// Microseconds within which half of the answers came.
    pub p50_us: Option<f64>,
    /// 99 of 100.
    pub p99_us: Option<f64>,
    /// Subflows that joined each connection.
    pub joins: Option<f64>,
    /// Bytes of the processes for each end of an idle connection.
    pub resident: Option<f64>,
    /// Bytes of the kernel's slab for it.
    pub slab: Option<f64>,
}

/// The whole of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// The command that repeats it.
    pub command: String,
    /// What else decides about the results.
    pub settings: serde_json::Value,
    /// Where it ran.
    pub machine: Machine,
    /// Ratios and their bars.
    pub figures: Vec<Figure>,
    /// Everybody with every load.
    pub rows: Vec<Row>,
    /// What packets and timers cost among many connections.
    pub crowds: Vec<Cost>,
    /// Runs that failed.
    pub notes: Vec<String>,
}

/// The runs of a comparison, pair by pair: subject, reference.
#[derive(Default)]
pub(crate) struct Pairs(pub(crate) Vec<(Sample, Sample)>);

/// Figures of all comparisons, in the order of the plan; the worst of several parts stands before them.
pub(crate) fn figures(measured: &[(Comparison, Pairs)]) -> Vec<Figure> {
    let mut figures: Vec<Figure> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    let claims = || measured.iter().flat_map(|(c, pairs)| c.claims.iter().map(move |claim| (claim, pairs)));
    for (claim, pairs) in claims() {
        if names.contains(&claim.name) {
            continue;
        }
        names.push(claim.name);
        if claim.part.is_none() {
            figures.push(figure(claim, pairs));
            continue;
        }
        let parts: Vec<Figure> = claims().filter(|(c, _)| c.name == claim.name).map(|(c, p)| figure(c, p)).collect();
        // Those with bars that are missed come before those that are met.
        let worst = parts.iter().min_by(|a, b| a.met().cmp(&b.met()).then(a.standing().total_cmp(&b.standing())));
        figures.extend(worst.map(|worst| Figure { name: claim.name.into(), ..worst.clone() }));
        figures.extend(parts.into_iter().map(|part| Figure { bar: None, ..part }));
    }
    figures
}

fn figure(claim: &Claim, pairs: &Pairs) -> Figure {
    let name = claim.part.as_ref().map_or_else(|| claim.name.into(), |part| format!("{}.{part}", claim.name));
    let ratio = |(subject, reference): &(Sample, Sample)| claim.measure.of(subject) / claim.measure.of(reference);
    Figure { name, value: Summary::of(pairs.0.iter().map(ratio)), unit: "ratio", bar: claim.bar }
}

/// Whether others were at work on the same processors, if so.
pub(crate) fn disturbance(measured: &[(Comparison, Pairs)], processors: usize) -> Option<String> {
    /// A share of the processors below which nobody need be told.
    const LITTLE: f64 = 0.1;
    let samples = || measured.iter().flat_map(|(_, pairs)| &pairs.0).flat_map(|(a, b)| [a, b]);
    let share = |sample: &Sample| sample.others / processors as f64;
    let disturbed = samples().filter(|sample| share(sample) > LITTLE).count();
    let most = samples().map(share).fold(0.0, f64::max);
    (disturbed > 0).then(|| {
        let all = samples().count();
        format!(
            "others used up to {:.0} % of the processors, in {disturbed} of {all} runs more than 10 %",
            most * 100.0
        )
    })
}

/// A row for each case, in the order in which they were first run.
pub(crate) fn rows(measured: &[(Comparison, Pairs)]) -> Vec<Row> {
    let mut order: Vec<Case> = Vec::new();
    let mut samples: HashMap<Case, Vec<Sample>> = HashMap::new();
    let mut ratios: HashMap<Case, Vec<f64>> = HashMap::new();
    for (comparison, pairs) in measured {
        let Comparison { subject, reference, .. } = *comparison;
        for case in [reference, subject] {
            if !order.contains(&case) {
                order.push(case);
            }
        }
        for (of_subject, of_reference) in &pairs.0 {
            samples.entry(subject).or_default().push(*of_subject);
            samples.entry(reference).or_default().push(*of_reference);
            if reference.client == Who::KernelMptcp {
                ratios.entry(subject).or_default().push(of_subject.rate / of_reference.rate);
            }
        }
    }
    let none = Vec::new();
    let row = |case: &Case| {
        let ratios = ratios.get(case).unwrap_or(&none);
        row(case, samples.get(case).map_or(&[][..], |samples| samples), ratios)
    };
    let mut rows: Vec<Row> = order.iter().map(row).collect();
    // Rows of one load stand together; who was first stays first.
    let mut loads: Vec<String> = Vec::new();
    for row in &rows {
        if !loads.contains(&row.load) {
            loads.push(row.load.clone());
        }
    }
    rows.sort_by_key(|row| loads.iter().position(|load| *load == row.load));
    rows
}

fn row(case: &Case, samples: &[Sample], ratios: &[f64]) -> Row {
    let group = case.load.group();
    let median = |of: &dyn Fn(&Sample) -> Option<f64>| Summary::of(samples.iter().filter_map(of)).map(|s| s.median);
    let works = group != Group::Idle;
    let for_each = if group == Group::Bulk { 1.0 } else { 1_000.0 };
    let cpu = samples.iter().filter(|_| works).map(|sample| sample.cpu_per_unit() * for_each);
    Row {
        group: group.name(),
        load: case.load.to_string(),
        who: case.who(),
        rate: Summary::of(samples.iter().map(|sample| sample.rate)),
        unit: group.unit(),
        to_kernel_mptcp: Summary::of(ratios.iter().copied()),
        cpu: Summary::of(cpu),
        kernel_share: median(&|sample| works.then(|| sample.cpu.kernel_share())),
        packet_bytes: median(&|sample| sample.packet),
        packets: median(&|sample| sample.packets),
        read_bytes: median(&|sample| sample.read),
        p50_us: median(&|sample| sample.p50_us),
        p99_us: median(&|sample| sample.p99_us),
        joins: median(&|sample| Some(sample.joins)),
        resident: median(&|sample| sample.memory.map(|memory| memory.0)),
        slab: median(&|sample| sample.memory.map(|memory| memory.1)),
    }
}

impl Report {
    /// Whether every bar is met.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.figures.iter().all(|figure| figure.met() != Some(false))
    }

    /// One line of JSON, in the order of all measuring commands.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self { command, settings, machine, figures, rows, crowds, notes } = self;
        // Nothing is left to chance, so there is no seed.
        let (ok, seed) = (self.ok(), None);
        let line = Line { ok, figures, seed, settings, machine, command, rows, crowds, notes };
        serde_json::to_string(&line).expect("numbers, texts and lists of them are JSON")
    }
}

#[derive(Serialize)]
struct Line<'a> {
    ok: bool,
    figures: &'a [Figure],
    seed: Option<u64>,
    settings: &'a serde_json::Value,
    machine: &'a Machine,
    command: &'a str,
    rows: &'a [Row],
    crowds: &'a [Cost],
    notes: &'a [String],
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut group = "";
        for row in &self.rows {
            if row.group != group {
                group = row.group;
                header(f, group)?;
            }
            writeln!(f, "{row}")?;
        }
        if !self.crowds.is_empty() {
            writeln!(f, "\n{:<20} {:>12} {:>12}", "connections", "ns a packet", "ns a timer")?;
        }
        for Cost { connections, packet_ns, tick_ns } in &self.crowds {
            writeln!(f, "{connections:<20} {packet_ns:>12.0} {tick_ns:>12.0}")?;
        }
        writeln!(f)?;
        self.figures.iter().try_for_each(|figure| writeln!(f, "{figure}"))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        let held = || self.figures.iter().filter_map(Figure::met);
        let (met, bars) = (held().filter(|met| *met).count(), held().count());
        write!(f, "{}: {met} of {bars} bars met", if self.ok() { "ok" } else { "NOT OK" })
    }
}

fn header(f: &mut fmt::Formatter<'_>, group: &str) -> fmt::Result {
    let (rate, work, more) = match group {
        "bulk" => ("Gbit/s", "CPU s/GB", " sent, read B"),
        "rpc" => ("requests/s", "CPU s/1000", " packets, p50, p99 us"),
        "connect" => ("connections/s", "CPU s/1000", " packets, joins"),
        _ => ("bytes an end", "", " process, slab, joins"),
    };
    let (kernel, ratio) = if work.is_empty() { ("", "to MPTCP") } else { ("kernel", "to MPTCP") };
    writeln!(
        f,
        "\n{:<12} {:<40} {rate:>13} {:>17} {ratio:>8} {work:>11} {kernel:>6} {more}",
        group, "client -> server, subflows", "(min to max)"
    )
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |value: Option<f64>| value.map_or_else(|| "-".into(), number);
        let extent = self.rate.map_or_else(String::new, |r| format!("({} to {})", number(r.min), number(r.max)));
        let ratio = self.to_kernel_mptcp.map_or_else(String::new, |ratio| number(ratio.median));
        let cpu = self.cpu.map_or_else(String::new, |cpu| number(cpu.median));
        let share = self.kernel_share.map_or_else(String::new, |share| format!("{:.0} %", share * 100.0));
        let more = match self.group {
            "bulk" => format!("{}, {}", told(self.packet_bytes), told(self.read_bytes)),
            "rpc" => format!("{}, {}, {}", told(self.packets), told(self.p50_us), told(self.p99_us)),
            "connect" => format!("{}, {}", told(self.packets), told(self.joins)),
            _ => format!("{}, {}, {}", told(self.resident), told(self.slab), told(self.joins)),
        };
        let rate = told(self.rate.map(|rate| rate.median));
        write!(f, "{:<12} {:<40} {rate:>13} {extent:>17} {ratio:>8} {cpu:>11} {share:>6}  {more}", self.load, self.who)
    }
}
