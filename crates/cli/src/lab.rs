//! `polypath lab`: experiments in real time.

use crate::{fairness, grid};
use polypath_lab::grid::GridOptions;
use polypath_sim::grid::report::GridReport;
use polypath_sim::grid::scenario::BULK;
use std::path::PathBuf;
use std::process::ExitCode;

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
    /// Coupled congestion control and kernel TCP (Reno) on one bottleneck.
    Fairness(fairness::LabArgs),
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
        Experiment::Fairness(args) => fairness::in_lab(args),
    }
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
