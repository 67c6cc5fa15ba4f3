//! What a grid came to, for people and for programs.

use super::figure::Figure;

/// One line of a panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// What it shows: a path, or the whole.
    pub label: String,
    /// Seconds since the start, Mbit/s.
    pub points: Vec<(f64, f64)>,
}

/// One contender in one experiment: a small picture of throughput over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Who: `kernel MPTCP`, `polypath, bbr`, `polypath, TCP on wifi`.
    pub title: String,
    /// Goodput over the whole run in Mbit/s, where the load is bulk.
    pub mbit: Option<f64>,
    /// One for each path, and one for what reached the application.
    pub curves: Vec<Curve>,
}

/// One experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The scenario's letter.
    pub name: String,
    /// Its title.
    pub title: String,
    /// From when to when the first path fails, in seconds.
    pub outage: Option<(f64, f64)>,
    /// Who took part.
    pub panels: Vec<Panel>,
    /// What was measured; the kernel's names begin with `kernel.`.
    pub figures: Vec<Figure>,
    /// What a reader should know.
    pub notes: Vec<String>,
}
