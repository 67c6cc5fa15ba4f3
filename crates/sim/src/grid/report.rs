//! What a grid came to, for people and for programs.

use std::fmt;

use serde::Serialize;

use super::figure::{Bar, Figure};
use super::page::page;
use super::windows::WindowChart;

/// One line of a panel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// What it shows: a path, or the whole.
    pub label: String,
    /// Seconds since the start, Mbit/s.
    pub points: Vec<(f64, f64)>,
}

/// One contender in one experiment: a small picture of throughput over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Panel {
    /// Who: `kernel MPTCP`, `polypath, bbr`, `polypath, TCP on wifi`.
    pub title: String,
    /// Goodput over the whole run in Mbit/s, where the load is bulk.
    pub mbit: Option<f64>,
    /// One for each path, and one for what reached the application.
    #[serde(skip)]
    pub curves: Vec<Curve>,
}

/// One experiment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The scenario's letter.
    pub name: String,
    /// Its title.
    pub title: String,
    /// From when to when the first path fails, in seconds.
    pub outage: Option<(f64, f64)>,
    /// Who took part.
    pub panels: Vec<Panel>,
    /// What was measured: in JSON only with all the others; the kernel's names begin with `kernel.`.
    #[serde(skip)]
    pub figures: Vec<Figure>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Where it ran.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// Processors that were used.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
}

/// The whole of it.
#[derive(Clone, Debug)]
pub struct GridReport {
    /// What it is about: the page's title.
    pub title: &'static str,
    /// What figures and pictures are.
    pub about: &'static str,
    /// The command that repeats it.
    pub command: String,
    /// The first seed.
    pub seed: u64,
    /// How many seeds from there on.
    pub seeds: u64,
    /// What else decides about the results.
    pub settings: serde_json::Value,
    /// Where it ran.
    pub machine: Machine,
    /// The experiments.
    pub rows: Vec<Row>,
    /// The window sweeps.
    pub windows: Vec<WindowChart>,
}

impl GridReport {
    /// Of the grid.
    pub const TITLE: &'static str = "Paths that differ";
    /// Of the grid.
    pub const ABOUT: &'static str = "figures are medians, pictures the run in the middle";

    /// All figures, in order.
    pub fn figures(&self) -> impl Iterator<Item = &Figure> {
        let windows = self.windows.iter().map(|chart| &chart.figure);
        self.rows.iter().flat_map(|row| &row.figures).chain(windows)
    }

    /// Whether every bar is met.
    pub fn ok(&self) -> bool {
        self.figures().all(|figure| figure.met() != Some(false))
    }

    /// One line of JSON: `ok`, the figures, and what repeats the run. Pictures are left out.
    pub fn to_json(&self) -> String {
        let Self { title: _, about: _, command, seed, seeds, settings, machine, rows, windows } = self;
        let (ok, figures) = (self.ok(), self.figures().collect());
        let line = Line { ok, figures, seed: *seed, seeds: *seeds, settings, machine, command, rows, windows };
        serde_json::to_string(&line).expect("numbers, texts and lists of them are JSON")
    }

    /// One page with a small picture for each contender, the figures, and the window sweeps; it needs nothing else.
    pub fn html(&self) -> String {
        page(self)
    }
}

/// The line of JSON, in the order of all measuring commands.
#[derive(Serialize)]
struct Line<'a> {
    ok: bool,
    figures: Vec<&'a Figure>,
    seed: u64,
    seeds: u64,
    settings: &'a serde_json::Value,
    machine: &'a Machine,
    command: &'a str,
    rows: &'a [Row],
    windows: &'a [WindowChart],
}

impl fmt::Display for GridReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            writeln!(f, "{}  {}", row.name, row.title)?;
            for figure in &row.figures {
                writeln!(f, "  {figure}")?;
            }
            notes(f, &row.notes)?;
        }
        if !self.windows.is_empty() {
            writeln!(f, "Receive windows: the lowest goodput by that of the best path alone")?;
        }
        for chart in &self.windows {
            writeln!(f, "  {}", chart.figure)?;
            notes(f, &chart.notes)?;
        }
        let missed = self.figures().filter(|figure| figure.met() == Some(false)).count();
        let bars = self.figures().filter(|figure| figure.met().is_some()).count();
        let seeds = format!("seeds {} to {}", self.seed, self.seed + self.seeds.max(1) - 1);
        write!(f, "{}: {} of {bars} bars met ({seeds})", if self.ok() { "ok" } else { "NOT OK" }, bars - missed)
    }
}

fn notes(f: &mut fmt::Formatter<'_>, notes: &[String]) -> fmt::Result {
    notes.iter().try_for_each(|note| writeln!(f, "  note: {note}"))
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, unit, bar, .. } = self;
        let value = value.map_or_else(|| "-".into(), number);
        let bar = bar.map_or_else(String::new, |bar| bar.to_string());
        let verdict = match self.met() {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "",
        };
        f.write_str(format!("{name:<24} {value:>9} {unit:<7} {bar:<15} {verdict}").trim_end())
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: f64| if value.is_finite() { number(value) } else { "-".into() };
        match *self {
            Bar::AtLeast(value) => write!(f, "at least {}", number(value)),
            Bar::AtMost(value) => write!(f, "at most {}", number(value)),
            Bar::Within(least, most) => write!(f, "{} to {}", number(least), number(most)),
        }
    }
}

/// A number with as many digits as it deserves.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        size if value.fract() == 0.0 || size >= 1_000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
