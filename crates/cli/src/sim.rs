//! `polypath sim`: experiments in virtual time.

use anyhow::Context as _;
use polypath_sim::grid::report::{GridReport, Machine};
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
    let Experiment::Grid(args) = &args.experiment;
    let report = run(args).inspect_err(|error| {
        if args.json {
            println!("{}", serde_json::json!({ "ok": false, "error": format!("{error:#}"), "figures": [] }));
        }
    })?;
    if args.json {
        println!("{}", report.to_json());
    } else {
        println!("{report}\nPage: {}", args.html.display());
    }
    Ok(if report.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
    // What cannot be written is said before the work.
    let page = || format!("writing {}", args.html.display());
    std::fs::OpenOptions::new().create(true).append(true).open(&args.html).with_context(page)?;
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
    let words: Vec<_> = std::env::args().skip(1).collect();
    let report = GridReport {
        command: format!("polypath {}", words.join(" ")),
        seed: args.seed,
        seeds: args.seeds,
        settings,
        machine: Machine {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        },
        rows: results.rows,
        windows: results.windows,
    };
    std::fs::write(&args.html, report.html()).with_context(page)?;
    Ok(report)
}
