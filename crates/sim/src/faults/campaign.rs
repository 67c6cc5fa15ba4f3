//! Many seeds, on all cores: what failed, as small as it can be made, with the command that repeats it.

use std::fmt;
use std::ops::Range;

use serde_json::json;

use super::judge::{Failure, Outcome, run};
use super::scenario::Scenario;
use super::{draw, shrink};
use crate::grid::figure::{Bar, Figure};
use crate::grid::report::Machine;
use crate::seeds;
use crate::trace::Trace;

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Found {
    /// The seed.
    pub seed: u64,
    /// How its scenario failed.
    pub failure: Failure,
    /// The smallest scenario found that fails in the same way, and how that one does.
    pub small: (Scenario, Failure),
}

/// What many seeds came to.
#[derive(Clone, Debug, Default)]
pub struct Campaign {
    /// How many were run.
    pub seeds: u64,
    /// What failed, by seed.
    pub found: Vec<Found>,
    /// What the others came to, in all.
    pub total: Outcome,
}

/// Runs a seed's scenario; where it fails, finds a small one that does.
///
/// # Errors
/// What was found.
pub fn try_seed(seed: u64) -> Result<Outcome, Box<Found>> {
    let scenario = draw::scenario(seed);
    run(&scenario, Trace::off()).map_err(|failure| {
        let small = shrink::shrink(&scenario, &failure);
        Box::new(Found { seed, failure, small })
    })
}

/// Runs all of these seeds, `jobs` at a time. `progress` is told how many are done, and how many of them failed.
pub fn campaign(range: Range<u64>, jobs: usize, progress: &(dyn Fn(u64, u64) + Sync)) -> Campaign {
    let done = std::sync::Mutex::new((0, 0));
    let seeds = range.end.saturating_sub(range.start);
    let results = seeds::in_parallel_on(jobs, usize::try_from(seeds).unwrap_or(usize::MAX), |number| {
        let result = try_seed(range.start + number as u64);
        let mut done = done.lock().expect("no worker panics with the lock");
        done.0 += 1;
        done.1 += u64::from(result.is_err());
        progress(done.0, done.1);
        Ok(result)
    });
    let mut campaign = Campaign { seeds, ..Campaign::default() };
    // A panic of a run is one of its failures: none is left here.
    for result in results.into_iter().flatten() {
        match result {
            Ok(outcome) => campaign.total.add(&outcome),
            Err(found) => campaign.found.push(*found),
        }
    }
    campaign
}

impl Outcome {
    fn add(&mut self, more: &Outcome) {
        let Outcome { elapsed, rested, bytes, packets, whole, excused } = *more;
        self.elapsed += elapsed;
        self.rested += rested;
        self.bytes += bytes;
        self.packets += packets;
        self.whole += whole;
        self.excused += excused;
    }
}

impl Campaign {
    /// Whether nothing failed.
    pub fn ok(&self) -> bool {
        self.found.is_empty()
    }

    /// What it came to, in `seconds` of real time.
    pub fn figures(&self, seconds: f64) -> Vec<Figure> {
        let Outcome { elapsed, bytes, packets, whole, excused, .. } = self.total;
        let count = |name: &str, value: u64, bar| Figure::new(name, Some(value as f64), "", bar);
        vec![
            count("seeds", self.seeds, None),
            count("failed", self.found.len() as u64, Some(Bar::AtMost(0.0))),
            count("connections.whole", whole, None),
            count("connections.excused", excused, None),
            Figure::new("received", Some(bytes as f64 / 1e6), "MB", None),
            Figure::new("packets", Some(packets as f64 / 1e6), "million", None),
            Figure::new("virtual_time", Some(elapsed.as_secs_f64() / 3_600.0), "h", None),
            Figure::new("time", Some(seconds), "s", None),
        ]
    }

    /// One line of JSON.
    pub fn to_json(&self, first: u64, jobs: usize, machine: &Machine, seconds: f64) -> String {
        let failures = self.found.iter().map(|found| {
            json!({
                "seed": found.seed,
                "kind": found.failure.kind,
                "what": found.failure.what,
                "smallest": found.small.1.what,
                "repeat": found.repeat(),
            })
        });
        let report = json!({
            "ok": self.ok(),
            "figures": self.figures(seconds),
            "seed": first,
            "settings": { "seeds": self.seeds, "jobs": jobs },
            "machine": machine,
            "failures": failures.collect::<Vec<_>>(),
        });
        report.to_string()
    }
}

impl Found {
    /// The command that runs the small scenario again.
    pub fn repeat(&self) -> String {
        repeat(&self.small.0)
    }
}

/// The command that runs a scenario again, with all its packets.
pub fn repeat(scenario: &Scenario) -> String {
    format!("POLYPATH_TRACE=1 cargo run --release -- sim faults --scenario '{}'", scenario.to_line())
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.failure)?;
        writeln!(f, "\nthe smallest scenario found that fails so:\n")?;
        writeln!(f, "{}\n{}\n", self.small.0, self.small.1)?;
        writeln!(f, "to repeat it, with its packets:\n    {}", self.repeat())
    }
}

impl fmt::Display for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in &self.found {
            writeln!(f, "{found}")?;
        }
        let Outcome { elapsed, bytes, packets, whole, excused, .. } = self.total;
        let (megabytes, hours) = (bytes as f64 / 1e6, elapsed.as_secs_f64() / 3_600.0);
        writeln!(f, "{} scenarios, {} failed", self.seeds, self.found.len())?;
        writeln!(f, "{whole} connections delivered everything, {excused} were excused: quit, or without a path")?;
        write!(f, "{megabytes:.0} MB in {:.1} million packets and {hours:.1} virtual hours", packets as f64 / 1e6)
    }
}
