//! `polypath lab`: experiments in real time.

use polypath_lab::grid::{self, GridOptions};
use polypath_sim::grid::figure::Bar;
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
    Grid(GridArgs),
}

#[derive(Debug, clap::Args)]
struct GridArgs {
    /// How many seeds; medians are told.
    #[arg(long, default_value_t = 5)]
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
    /// Where finished runs are kept: the next grid with the same settings takes them from there.
    #[arg(long, value_name = "FILE", default_value = "lab-grid.jsonl")]
    resume: PathBuf,
    /// Forget finished runs.
    #[arg(long)]
    fresh: bool,
    /// Seconds of a bulk transfer; everything else is in proportion.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
}

pub(crate) fn main(args: Args) -> anyhow::Result<ExitCode> {
    let Experiment::Grid(args) = args.experiment;
    let options = GridOptions {
        seeds: args.seeds,
        only: args.only,
        scheduler: args.scheduler,
        congestion: args.cc,
        share: args.seconds.map_or(1.0, |seconds| seconds / BULK.as_secs_f64()),
        resume: Some(args.resume),
        fresh: args.fresh,
        ..GridOptions::default()
    };
    let rows = grid::run(&options)?;
    let figures: Vec<_> = rows.iter().flat_map(|row| &row.figures).collect();
    let ok = figures.iter().all(|figure| figure.met() != Some(false));
    if args.json {
        let told = figures.iter().map(|figure| {
            let bar = figure.bar.map(Bar::value);
            serde_json::json!({ "name": figure.name, "value": figure.value, "unit": figure.unit, "bar": bar, "met": figure.met() })
        });
        println!("{}", serde_json::json!({ "ok": ok, "figures": told.collect::<Vec<_>>() }));
    } else {
        for figure in figures {
            println!("{figure:?}");
        }
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
