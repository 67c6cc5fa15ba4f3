//! The whole grid in virtual time: every scenario with every contender and seed, on all cores.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use polypath_proto::Config;

use super::account::{self, Entry};
use super::record::Outcome;
use super::report::Row;
use super::run::{Contender, run};
use super::scenario::{Scenario, select};
use super::windows::{self, WindowChart, Windows};
use crate::seeds::in_parallel;

/// What is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seeds; at least one.
    pub seeds: Range<u64>,
    /// The rows, by name; all for none.
    pub only: Vec<String>,
    /// The settings of both stacks; its congestion control is used where a row names none.
    pub config: Config,
    /// How much of the sweeps of the receive window.
    pub windows: Windows,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Results {
    /// In the table's order.
    pub rows: Vec<Row>,
    /// Of the window sweeps.
    pub windows: Vec<WindowChart>,
}

/// One contender, to be run with several seeds.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) scenario: Scenario,
    pub(super) contender: Contender,
    /// Or why it cannot be run at all.
    pub(super) config: Result<Config, String>,
    pub(super) seeds: Range<u64>,
    /// For who watches.
    pub(super) title: String,
}

/// What the seeds of a job came to.
pub(super) struct Done {
    pub(super) outcomes: Vec<Outcome>,
    pub(super) problems: Vec<String>,
}

/// Runs it. `progress` is told of each contender that is done, from any thread.
///
/// # Errors
/// A row does not exist, or there is no seed.
pub fn simulate(options: &Options, progress: &(dyn Fn(&str) + Sync)) -> Result<Results, String> {
    if options.seeds.is_empty() {
        return Err("no seed to run".into());
    }
    let scenarios = select(&options.only)?;
    let mut jobs: Vec<Job> = Vec::new();
    let mut entries: Vec<Vec<Entry>> = Vec::new();
    for scenario in &scenarios {
        let (row_entries, row_jobs): (Vec<_>, Vec<_>) = contenders(scenario, options).into_iter().unzip();
        entries.push(row_entries);
        jobs.extend(row_jobs);
    }
    let sweeps = windows::sweeps(&scenarios, options);
    jobs.extend(sweeps.iter().flat_map(|sweep| sweep.jobs.iter().cloned()));

    let mut done = run_all(&jobs, progress).into_iter();
    for (entry, done) in entries.iter_mut().flatten().zip(&mut done) {
        (entry.outcomes, entry.problems) = (done.outcomes, done.problems);
    }
    let rows = scenarios.iter().zip(&entries).map(|(scenario, entries)| account::row(scenario, entries)).collect();
    Ok(Results { rows, windows: sweeps.iter().map(|sweep| sweep.chart(&mut done)).collect() })
}

/// Who takes part in a scenario, without results yet, and what there is to run for it.
fn contenders(scenario: &Scenario, options: &Options) -> Vec<(Entry, Job)> {
    let mut all = Vec::new();
    for congestion in scenario.congestion.iter().copied() {
        let config = with_congestion(&options.config, congestion);
        let single = if scenario.compares_single_paths() { scenario.paths.len() } else { 0 };
        for contender in [Contender::Multipath].into_iter().chain((0..single).map(Contender::Alone)) {
            let (who, alone) = match contender {
                Contender::Multipath => ("polypath".to_owned(), None),
                Contender::Alone(path) => (format!("polypath, TCP on {}", scenario.paths[path].name), Some(path)),
            };
            let title = format!("{who}, {}", congestion.unwrap_or("default"));
            let job = Job {
                scenario: scenario.clone(),
                contender,
                config: config.clone(),
                seeds: options.seeds.clone(),
                title: format!("{}: {title}", scenario.name),
            };
            let (outcomes, problems) = Default::default();
            all.push((Entry { title, prefix: "", congestion, alone, outcomes, problems }, job));
        }
    }
    all
}

/// The settings with the congestion control of this name, or as they are.
pub(super) fn with_congestion(config: &Config, name: Option<&str>) -> Result<Config, String> {
    let mut config = config.clone();
    if let Some(name) = name {
        config.congestion = name.parse()?;
    }
    Ok(config)
}

fn run_all(jobs: &[Job], progress: &(dyn Fn(&str) + Sync)) -> Vec<Done> {
    let seeds = |job: &Job| if job.config.is_ok() { job.seeds.clone() } else { 0..0 };
    let tasks: Vec<(usize, u64)> =
        jobs.iter().enumerate().flat_map(|(number, job)| seeds(job).map(move |seed| (number, seed))).collect();
    let left: Vec<_> = jobs.iter().map(|job| AtomicUsize::new(seeds(job).count())).collect();
    let results = in_parallel(tasks.len(), |task| {
        let (number, seed) = tasks[task];
        let job = &jobs[number];
        let config = job.config.as_ref().map_err(Clone::clone)?;
        let outcome = run(&job.scenario, job.contender, config, seed).map(|record| record.outcome(&job.scenario));
        if left[number].fetch_sub(1, Ordering::Relaxed) == 1 {
            progress(&job.title);
        }
        outcome
    });
    let mut done: Vec<_> = jobs.iter().map(Done::before).collect();
    for ((number, seed), result) in tasks.into_iter().zip(results) {
        match result {
            Ok(outcome) => done[number].outcomes.push(outcome),
            Err(problem) => done[number].problems.push(format!("seed {seed}: {problem}")),
        }
    }
    done
}

impl Done {
    /// Nothing yet, but for what keeps the job from being run.
    fn before(job: &Job) -> Self {
        Self { outcomes: Vec::new(), problems: job.config.as_ref().err().cloned().into_iter().collect() }
    }

    /// The median goodput; none if a run failed.
    pub(super) fn mbit(&self) -> Option<f64> {
        let values: Option<Vec<f64>> = self.outcomes.iter().map(|outcome| outcome.mbit).collect();
        super::record::median(&values?).filter(|_| self.problems.is_empty())
    }
}
