//! What came of it, for people and for programs.

use std::fmt;

use polypath_sim::grid::figure::Figure;
use polypath_sim::grid::report::Machine;
use serde::Serialize;

use super::round::Round;
use super::{Options, Outcome, account, chart};

/// The whole of it; as JSON, in the order of all measuring commands.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Every bar is met.
    pub ok: bool,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// Decides who sends to whom, and where routers send it.
    pub seed: u64,
    /// What else decides about the results.
    pub settings: Settings,
    /// Where it ran.
    pub machine: Machine,
    /// The command that repeats it.
    pub command: String,
    /// Each round of each contender.
    pub rounds: Vec<Round>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// What else decides about the results.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Of all contenders.
    pub congestion: &'static str,
    /// How many rounds.
    pub rounds: u64,
    /// How long each lasted, in seconds.
    pub seconds: f64,
    /// Of each path through the core, in Mbit/s.
    pub core_mbit: f64,
    /// Of each host's link, in Mbit/s.
    pub uplink_mbit: f64,
    /// Paths through the core.
    pub paths: usize,
    /// Hosts.
    pub hosts: usize,
}

impl Report {
    /// Sums up.
    #[must_use]
    pub fn new(options: &Options, outcome: Outcome, machine: Machine, command: String) -> Self {
        let figures = account::figures(options, &outcome);
        Self {
            ok: figures.iter().all(|figure| figure.met() != Some(false)),
            figures,
            seed: options.seed,
            settings: Settings {
                congestion: options.congestion.name(),
                rounds: options.rounds,
                seconds: options.time.as_secs_f64(),
                core_mbit: super::CORE.as_bits_per_second() as f64 / 1e6,
                uplink_mbit: super::UPLINK.as_bits_per_second() as f64 / 1e6,
                paths: super::PATHS,
                hosts: super::HOSTS,
            },
            machine,
            command,
            rounds: outcome.rounds,
            notes: outcome.notes,
        }
    }

    /// One line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers, texts and lists of them are JSON")
    }

    /// A picture of all flows, by their goodput.
    ///
    /// # Errors
    /// Whatever the drawing library says; nothing is known that it would.
    pub fn svg(&self) -> anyhow::Result<String> {
        chart::svg(self)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { congestion, rounds, seconds, core_mbit, paths, hosts, .. } = &self.settings;
        writeln!(
            f,
            "{hosts} hosts, {paths} paths of {core_mbit} Mbit/s through the core; {rounds} rounds of {seconds} s, {congestion}"
        )?;
        self.figures.iter().try_for_each(|figure| writeln!(f, "  {figure}"))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "  note: {note}"))?;
        write!(f, "{} (seed {})", if self.ok { "ok" } else { "NOT OK" }, self.seed)
    }
}
