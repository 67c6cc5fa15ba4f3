//! `polypath sim`: experiments in virtual time.

use crate::{fairness, faults, grid};
use polypath_sim::grid::report::GridReport;
use polypath_sim::grid::scenario::select;
use polypath_sim::grid::simulate::{Options, simulate};
use polypath_sim::grid::windows::Windows;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Experiments in virtual time: the same seeds give the same figures, always.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    experiment: Experiment,
}

#[derive(Debug, clap::Subcommand)]
enum Experiment {
    /// Paths that differ: goodput, handover and latency against bars.
    Grid(Grid),
    /// Random networks, programs and troubles: every byte once and in order, nothing stuck, nothing left behind.
    Faults(Box<faults::Args>),
    /// What connections with coupled congestion control take from others, and get themselves.
    Fairness(Box<fairness::SimArgs>),
}

#[derive(Debug, clap::Args)]
struct Grid {
    /// How many seeds; the figures are their medians.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seeds: u64,
    /// The first seed.
    #[arg(long, value_name = "FIRST", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..1 << 32))]
    seed: u64,
    /// Only these rows.
    #[arg(long, value_name = "ROWS", value_delimiter = ',')]
    only: Vec<String>,
    /// The scheduler of both stacks, in place of the default one.
    #[arg(long, value_name = "NAME")]
    scheduler: Option<String>,
    /// The congestion control where a row names none, in place of the default one.
    #[arg(long, value_name = "NAME")]
    cc: Option<String>,
    /// Print one line of JSON at the end.
    #[arg(long)]
    json: bool,
    /// Where the page goes.
    #[arg(long, value_name = "FILE", default_value = "sim-grid.html")]
    html: PathBuf,
    /// Leave out the sweeps of the receive window in b, c and d.
    #[arg(long)]
    no_windows: bool,
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.experiment {
        Experiment::Grid(args) => grid::tell(run(args), args.json, &args.html),
        Experiment::Faults(args) => faults::main(args),
        Experiment::Fairness(args) => fairness::in_sim(args),
    }
}

fn run(args: &Grid) -> anyhow::Result<GridReport> {
    let mut config = polypath_proto::Config::default();
    if let Some(name) = &args.scheduler {
        config.scheduler = name.parse().map_err(anyhow::Error::msg)?;
    }
    if let Some(name) = &args.cc {
        config.congestion = name.parse().map_err(anyhow::Error::msg)?;
    }
    select(&args.only).map_err(anyhow::Error::msg)?;
    grid::check_page(&args.html)?;
    let settings = serde_json::json!({
        "scheduler": args.scheduler.as_deref().unwrap_or("default"),
        "congestion": args.cc.as_deref().unwrap_or("default"),
        "only": args.only,
        "windows": !args.no_windows,
    });
    let seeds = args.seed..args.seed + args.seeds;
    let windows = if args.no_windows { Windows::Off } else { Windows::Mechanisms };
    let options = Options { seeds, only: args.only.clone(), config, windows };
    let start = Instant::now();
    let progress = |done: &str| eprintln!("{:>7.1} s  {done}", start.elapsed().as_secs_f64());
    let results = simulate(&options, &progress).map_err(anyhow::Error::msg)?;
    Ok(GridReport {
        title: GridReport::TITLE,
        about: GridReport::ABOUT,
        command: grid::command(),
        seed: args.seed,
        seeds: args.seeds,
        settings,
        machine: grid::machine(),
        rows: results.rows,
        windows: results.windows,
    })
}
