//! `polypath lab`: experiments in real time.

use crate::{ecmp, failure, fairness, grid, zoo};
use anyhow::Context as _;
use polypath_lab::grid::GridOptions;
use polypath_lab::soak::SoakOptions;
use polypath_sim::grid::report::GridReport;
use polypath_sim::grid::scenario::BULK;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Experiments in real time, over emulated links, with real kernels at the ends.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    experiment: Experiment,
}

#[derive(Debug, clap::Subcommand)]
enum Experiment {
    /// Paths that differ: kernel TCP on each, kernel MPTCP and polypath, through the same links with the same seeds.
    Grid(Grid),
    /// Unmodified programs under `polypath run` as clients and servers, against the kernel, while a path goes and comes.
    Zoo(zoo::Args),
    /// A program with many connections under `polypath run` for a long time, while paths come and go: does it leak?
    Soak(Soak),
    /// Coupled congestion control and kernel TCP (Reno) on one bottleneck.
    Fairness(fairness::LabArgs),
    /// Eight hosts behind kernel routers with paths of equal cost: TCP, and Multipath TCP with two and four subflows.
    Ecmp(ecmp::Args),
}

#[derive(Debug, clap::Args)]
struct Soak {
    /// How long.
    #[arg(long, value_name = "MINUTES", default_value_t = 30.0)]
    minutes: f64,
    /// Connections at once.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    connections: u32,
    /// Decides what is sent, and when paths come and go.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one line of JSON at the end.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Grid {
    /// How many seeds; the figures are their medians.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    seeds: u64,
    /// Only these rows, such as d,g.
    #[arg(long, value_name = "ROWS", value_delimiter = ',')]
    only: Vec<String>,
    /// polypath's packet scheduler, instead of the default one.
    #[arg(long, value_name = "NAME")]
    scheduler: Option<String>,
    /// polypath's congestion control where a row asks for the default one.
    #[arg(long, value_name = "NAME")]
    cc: Option<String>,
    /// Print one line of JSON at the end.
    #[arg(long)]
    json: bool,
    /// Where the page goes.
    #[arg(long, value_name = "FILE", default_value = "lab-grid.html")]
    html: PathBuf,
    /// Where finished runs are kept: the next grid with the same settings takes them from there.
    #[arg(long, value_name = "FILE", default_value = "lab-grid.jsonl")]
    resume: PathBuf,
    /// Forget finished runs.
    #[arg(long)]
    fresh: bool,
    /// Seconds of a bulk transfer; everything else is in proportion. Bars are meant for the 10 seconds of the table.
    #[arg(long, value_name = "N")]
    seconds: Option<f64>,
    /// Leave out the check of the emulated links.
    #[arg(long)]
    no_physics: bool,
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.experiment {
        Experiment::Grid(args) => grid::tell(run(args), args.json, &args.html),
        Experiment::Zoo(args) => zoo::main(args),
        Experiment::Soak(args) => soak(args),
        Experiment::Fairness(args) => fairness::in_lab(args),
        Experiment::Ecmp(args) => ecmp::main(args),
    }
}

fn soak(args: &Soak) -> anyhow::Result<ExitCode> {
    anyhow::ensure!((0.1..=10_000.0).contains(&args.minutes), "--minutes {}: from 0.1 to 10000", args.minutes);
    let options = SoakOptions {
        polypath: std::env::current_exe().context("finding this executable")?,
        time: Duration::from_secs_f64(args.minutes * 60.0),
        connections: args.connections,
        seed: args.seed,
    };
    let report = polypath_lab::soak::run(&options).inspect_err(|error| failure::tell(error, args.json))?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(args: &Grid) -> anyhow::Result<GridReport> {
    let options = GridOptions {
        seeds: args.seeds,
        only: args.only.clone(),
        scheduler: args.scheduler.clone(),
        congestion: args.cc.clone(),
        share: args.seconds.map_or(1.0, |seconds| seconds / BULK.as_secs_f64()),
        physics: !args.no_physics,
        resume: Some(args.resume.clone()),
        fresh: args.fresh,
    };
    options.experiments()?;
    grid::check_page(&args.html)?;
    let rows = polypath_lab::grid::run(&options)?;
    let settings = serde_json::json!({
        "scheduler": args.scheduler.as_deref().unwrap_or("default"),
        "congestion": args.cc.as_deref().unwrap_or("default"),
        "only": args.only,
        "seconds": BULK.as_secs_f64() * options.share,
    });
    Ok(GridReport {
        title: GridReport::TITLE,
        about: GridReport::ABOUT,
        command: grid::command(),
        seed: 1,
        seeds: args.seeds,
        settings,
        machine: grid::machine(),
        rows,
        windows: Vec::new(),
    })
}
