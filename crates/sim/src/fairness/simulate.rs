//! All experiments with all congestion controls and seeds, on all cores.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use polypath_proto::congestion::CongestionKind;

use super::account::{self, Entry};
use super::network::Who;
use super::run::{Seen, config, run};
use super::scenario::{Scenario, select};
use crate::grid::report::Row;
use crate::seeds::in_parallel;

/// What is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seeds; at least one.
    pub seeds: Range<u64>,
    /// The rows, by name; all for none.
    pub only: Vec<String>,
    /// The coupled congestion controls; all for none. Reno is always there, to compare with, and where a bottleneck is
    /// shared CUBIC and BBR too.
    pub congestion: Vec<CongestionKind>,
    /// How long each run lasts, in virtual time.
    pub time: Duration,
}

/// The coupled ones, in the order of a report.
pub const COUPLED: [CongestionKind; 4] =
    [CongestionKind::Lia, CongestionKind::Olia, CongestionKind::Balia, CongestionKind::Wvegas];

impl Options {
    /// The congestion controls of a row: coupled ones first.
    fn controls(&self, scenario: &Scenario) -> Vec<CongestionKind> {
        let coupled = if self.congestion.is_empty() { COUPLED.to_vec() } else { self.congestion.clone() };
        let all = scenario.contrasts && self.congestion.is_empty();
        let contrasts = [CongestionKind::Reno, CongestionKind::Cubic, CongestionKind::Bbr];
        let contrasts = &contrasts[..if all { 3 } else { 1 }];
        coupled.into_iter().filter(|kind| COUPLED.contains(kind)).chain(contrasts.iter().copied()).collect()
    }
}

/// Runs it. `progress` is told of what is done, from any thread.
///
/// # Errors
/// A row does not exist, or there is no seed.
pub fn simulate(options: &Options, progress: &(dyn Fn(&str) + Sync)) -> Result<Vec<Row>, String> {
    if options.seeds.is_empty() {
        return Err("no seed to run".into());
    }
    let scenarios = select(&options.only)?;
    let mut jobs = Vec::new();
    for (row, scenario) in scenarios.iter().enumerate() {
        for kind in options.controls(scenario) {
            jobs.push((row, kind, Who::Multipath));
            jobs.extend(scenario.controls().into_iter().map(|at| (row, kind, Who::Control(at))));
        }
    }
    let mut results = run_all(&jobs, &scenarios, options, progress).into_iter();
    let mut entries: Vec<Vec<Entry>> = scenarios.iter().map(|_| Vec::new()).collect();
    for ((row, kind, who), results) in jobs.into_iter().zip(&mut results) {
        match who {
            Who::Multipath => entries[row].push(Entry::new(kind, &results)),
            Who::Control(at) => {
                if let Some(entry) = entries[row].last_mut() {
                    entry.add_control(at, &results);
                }
            }
        }
    }
    Ok(scenarios.iter().zip(&entries).map(|(scenario, of)| account::row(scenario, of, options.time)).collect())
}

type Job = (usize, CongestionKind, Who);

/// Of each job what each seed has shown.
fn run_all(
    jobs: &[Job],
    scenarios: &[Scenario],
    options: &Options,
    progress: &(dyn Fn(&str) + Sync),
) -> Vec<Vec<Result<Seen, String>>> {
    let seeds: Vec<u64> = options.seeds.clone().collect();
    let left: Vec<_> = jobs.iter().map(|_| AtomicUsize::new(seeds.len())).collect();
    let results = in_parallel(jobs.len() * seeds.len(), |task| {
        let (job, seed) = (task / seeds.len(), seeds[task % seeds.len()]);
        let (row, kind, who) = jobs[job];
        let seen = run(&scenarios[row], who, &config(kind), seed, options.time);
        if left[job].fetch_sub(1, Ordering::Relaxed) == 1 {
            let control = if who == Who::Multipath { "" } else { ", single-path control" };
            progress(&format!("{}: {}{control}", scenarios[row].name, kind.name()));
        }
        seen.map_err(|problem| format!("seed {seed}: {problem}"))
    });
    let mut results = results.into_iter();
    jobs.iter().map(|_| results.by_ref().take(seeds.len()).collect()).collect()
}
