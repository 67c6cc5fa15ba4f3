//! `polypath bench`: against the kernel, on this machine.

use crate::{failure, grid};
use anyhow::Context as _;
use polypath_bench::Options;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// polypath against the kernel's TCP and Multipath TCP, in namespaces of its own: bulk, requests, connections, memory.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these: bulk, rpc, connect, idle, or figures by their names, such as bulk.library.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// Within two minutes: 3 pairs, short runs, 10,000 idle connections. Too little where a few percent matter.
    #[arg(long)]
    quick: bool,
    /// How often the two of a pair with a bar are run, in turn.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pairs: Option<u16>,
    /// Seconds of each run that count.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Print one line of JSON at the end.
    #[arg(long)]
    json: bool,
    /// Where the picture goes.
    #[arg(long, value_name = "FILE", default_value = "bench.svg")]
    svg: PathBuf,
}

/// An end of a run: for `bench` itself.
#[derive(Debug, clap::Args)]
pub(crate) struct EndArgs {
    part: String,
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let report = run(args).inspect_err(|error| failure::tell(error, args.json))?;
    if args.json {
        println!("{}", report.to_json());
    } else {
        println!("{report}\nPicture: {}", args.svg.display());
    }
    Ok(if report.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(crate) fn end(args: &EndArgs) -> anyhow::Result<ExitCode> {
    polypath_bench::play_end(&args.part)?;
    Ok(ExitCode::SUCCESS)
}

fn run(args: &Args) -> anyhow::Result<polypath_bench::Report> {
    let mut options = if args.quick { Options::quick() } else { Options::default() };
    options.only.clone_from(&args.only);
    if let Some(pairs) = args.pairs {
        options.pairs = pairs.into();
        options.told_pairs = options.told_pairs.min(options.pairs);
    }
    if let Some(seconds) = args.seconds {
        options.window = Duration::try_from_secs_f64(seconds).context("--seconds")?;
    }
    grid::check_page(&args.svg)?;
    let program = std::env::current_exe().context("finding this executable")?;
    let report = polypath_bench::run(&program, &options, grid::command(), grid::machine())?;
    let picture = polypath_bench::svg(&report.rows).map_err(anyhow::Error::msg)?;
    fs::write(&args.svg, picture).with_context(|| format!("writing {}", args.svg.display()))?;
    Ok(report)
}
