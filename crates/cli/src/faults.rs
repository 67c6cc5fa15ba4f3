//! `polypath sim faults`: random networks, programs and troubles in virtual time.

use crate::grid;
use anyhow::Context as _;
use polypath_sim::Trace;
use polypath_sim::faults::campaign::{self, Campaign};
use polypath_sim::faults::{Scenario, run};
use polypath_sim::seeds;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Faults: what fails is made as small as it can be, and printed with the command that repeats it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many scenarios, each drawn from a seed.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    seeds: u64,
    /// The first seed.
    #[arg(long, value_name = "FIRST", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..1 << 32))]
    seed: u64,
    /// How many at a time; as many as there are processors if not said.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    jobs: Option<u16>,
    /// Run this one scenario, as a failure prints it. POLYPATH_TRACE=1 adds a packet log, POLYPATH_TRACE=FILE writes it.
    #[arg(long, value_name = "JSON", conflicts_with_all = ["seeds", "seed", "jobs", "json"])]
    scenario: Option<Scenario>,
    /// Print one line of JSON at the end.
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.scenario {
        Some(scenario) => one(scenario),
        None => Ok(many(args)),
    }
}

/// With its packets, if the environment asks for them.
fn one(scenario: &Scenario) -> anyhow::Result<ExitCode> {
    let trace = Trace::from_env().context("POLYPATH_TRACE: creating the file")?;
    println!("{scenario}");
    Ok(match run(scenario, trace) {
        Ok(outcome) => {
            println!("nothing went wrong: {outcome:?}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    })
}

fn many(args: &Args) -> ExitCode {
    // A panic of a stack is one of the failures that are reported, and shrinking makes many of them.
    std::panic::set_hook(Box::new(|_| {}));
    let jobs = args.jobs.map_or_else(seeds::cores, usize::from);
    let start = Instant::now();
    let campaign = campaign::campaign(args.seed..args.seed + args.seeds, jobs, &progress(args.seeds));
    let _ = std::panic::take_hook();
    let seconds = start.elapsed().as_secs_f64();
    tell(args, &campaign, jobs, seconds);
    if campaign.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A line every few seconds.
fn progress(seeds: u64) -> impl Fn(u64, u64) + Sync {
    let start = Instant::now();
    let told = Mutex::new(start);
    move |done, failed| {
        let Ok(mut told) = told.lock() else { return };
        if told.elapsed() > Duration::from_secs(5) {
            *told = Instant::now();
            eprintln!("{:>7.1} s  {done} of {seeds}, {failed} failed", start.elapsed().as_secs_f64());
        }
    }
}

fn tell(args: &Args, campaign: &Campaign, jobs: usize, seconds: f64) {
    if args.json {
        println!("{}", campaign.to_json(args.seed, jobs, &grid::machine(), seconds));
    } else {
        println!("{campaign}\n{seconds:.1} s, {jobs} at a time");
    }
}
