//! `polypath sim fairness` and `polypath lab fairness`: coupled congestion control against bars.

use crate::grid;
use polypath_lab::fairness as lab;
use polypath_proto::congestion::CongestionKind;
use polypath_sim::fairness::scenario::select;
use polypath_sim::fairness::simulate::{Options, simulate};
use polypath_sim::grid::report::{GridReport, Row};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct SimArgs {
    /// How many seeds; the figures are means over them.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seeds: u64,
    /// The first seed.
    #[arg(long, value_name = "FIRST", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..1 << 32))]
    seed: u64,
    /// Only these rows, such as shared5,p1.
    #[arg(long, value_name = "ROWS", value_delimiter = ',')]
    only: Vec<String>,
    /// Only these coupled congestion controls, and reno to compare with.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    cc: Vec<CongestionKind>,
    /// How long each run lasts, in seconds of virtual time. Bars are meant for a minute.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(6..=3_600))]
    seconds: u64,
    /// Print one line of JSON at the end.
    #[arg(long)]
    json: bool,
    /// Where the page goes.
    #[arg(long, value_name = "FILE", default_value = "sim-fairness.html")]
    html: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LabArgs {
    /// How many seeds; the figures are means over them.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    seeds: u64,
    /// Only these coupled congestion controls, and reno to compare with.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    cc: Vec<CongestionKind>,
    /// How many flows of kernel TCP share the bottleneck.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=50))]
    flows: u8,
    /// How long each run lasts, in seconds.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u64).range(2..=3_600))]
    seconds: u64,
    /// Print one line of JSON at the end.
    #[arg(long)]
    json: bool,
    /// Where the page goes.
    #[arg(long, value_name = "FILE", default_value = "lab-fairness.html")]
    html: PathBuf,
}

pub(crate) fn in_sim(args: &SimArgs) -> anyhow::Result<ExitCode> {
    grid::tell(simulated(args), args.json, &args.html)
}

pub(crate) fn in_lab(args: &LabArgs) -> anyhow::Result<ExitCode> {
    grid::tell(measured(args), args.json, &args.html)
}

fn simulated(args: &SimArgs) -> anyhow::Result<GridReport> {
    select(&args.only).map_err(anyhow::Error::msg)?;
    grid::check_page(&args.html)?;
    let settings = serde_json::json!({
        "only": args.only,
        "congestion": names(&args.cc),
        "seconds": args.seconds,
    });
    let options = Options {
        seeds: args.seed..args.seed + args.seeds,
        only: args.only.clone(),
        congestion: args.cc.clone(),
        time: Duration::from_secs(args.seconds),
    };
    let start = Instant::now();
    let progress = |done: &str| eprintln!("{:>7.1} s  {done}", start.elapsed().as_secs_f64());
    let rows = simulate(&options, &progress).map_err(anyhow::Error::msg)?;
    Ok(report(args.seed, args.seeds, settings, rows))
}

fn measured(args: &LabArgs) -> anyhow::Result<GridReport> {
    grid::check_page(&args.html)?;
    let settings = serde_json::json!({
        "congestion": names(&args.cc),
        "flows": args.flows,
        "seconds": args.seconds,
    });
    let options = lab::Options {
        seeds: args.seeds,
        time: Duration::from_secs(args.seconds),
        flows: args.flows.into(),
        congestion: args.cc.clone(),
    };
    let row = lab::run(&options)?;
    Ok(report(1, args.seeds, settings, vec![row]))
}

fn names(kinds: &[CongestionKind]) -> Vec<&'static str> {
    kinds.iter().map(|kind| kind.name()).collect()
}

fn report(seed: u64, seeds: u64, settings: serde_json::Value, rows: Vec<Row>) -> GridReport {
    GridReport {
        title: "Fairness of coupled congestion control",
        about: "figures are means over them",
        command: grid::command(),
        seed,
        seeds,
        settings,
        machine: grid::machine(),
        rows,
        windows: Vec::new(),
    }
}
