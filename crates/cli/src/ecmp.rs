//! `polypath lab ecmp`: TCP beside Multipath TCP with several subflows, on paths of equal cost.

use crate::{failure, grid};
use anyhow::Context as _;
use polypath_lab::ecmp::{self, Options, Report};
use polypath_proto::congestion::CongestionKind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many rounds for each contender; in four of them each host sends to each of the other side [default: 12].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rounds: Option<u64>,
    /// How long each round lasts; the first fifth is not counted [default: 10].
    #[arg(long, value_name = "N", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Four rounds of five seconds: a minute in all.
    #[arg(long)]
    quick: bool,
    /// Who sends to whom, when and from which ports, and which path routers take for which ports.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The congestion control of all contenders; coupled ones are NewReno in TCP.
    #[arg(long, value_name = "NAME", default_value = "lia")]
    cc: CongestionKind,
    /// Print one line of JSON at the end.
    #[arg(long)]
    json: bool,
    /// Where the picture goes.
    #[arg(long, value_name = "FILE", default_value = "lab-ecmp.svg")]
    svg: PathBuf,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.5..=3_600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "from 0.5 to 3600".to_owned())
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let report = run(args).inspect_err(|error| failure::tell(error, args.json))?;
    if args.json {
        println!("{}", report.to_json());
    } else {
        println!("{report}\nPicture: {}", args.svg.display());
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(args: &Args) -> anyhow::Result<Report> {
    let (rounds, time) = if args.quick { (4, 5) } else { (12, 10) };
    let options = Options {
        rounds: args.rounds.unwrap_or(rounds),
        time: args.seconds.unwrap_or(Duration::from_secs(time)),
        seed: args.seed,
        congestion: args.cc,
    };
    grid::check_page(&args.svg)?;
    let outcome = ecmp::run(&options)?;
    let report = Report::new(&options, outcome, grid::machine(), grid::command());
    std::fs::write(&args.svg, report.svg()?).with_context(|| format!("writing {}", args.svg.display()))?;
    Ok(report)
}
