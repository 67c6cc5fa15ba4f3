//! `polypath demo`: the main job in one command.

use crate::failure;
use anyhow::Context as _;
use polypath_lab::demo::{DemoOptions, Output, Peer, Runner};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// An unmodified curl downloads over emulated Wi-Fi and LTE from a kernel MPTCP server while Wi-Fi dies and comes back.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print one line of JSON at the end, and progress on standard error.
    #[arg(long)]
    json: bool,
    /// Where the picture goes.
    #[arg(long, value_name = "FILE", default_value = "demo.svg")]
    svg: PathBuf,
    /// Decides the content and which packets are lost.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Megabytes to download.
    #[arg(long, value_name = "MB", default_value_t = 40)]
    megabytes: u64,
    /// Seconds that plain TCP is measured on each path, for comparison.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    baseline: u64,
    /// Who serves: the kernel if it has MPTCP, else polypath.
    #[arg(long, value_enum, default_value = "auto")]
    peer: PeerArg,
    /// Write every decision of the downloading stack to this file (JSON lines; docs/trace.md).
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write every packet of the downloading stack to this file (pcapng).
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
}

#[derive(Copy, Clone, Debug, clap::ValueEnum)]
enum PeerArg {
    Auto,
    Linux,
    Polypath,
}

pub(crate) fn main(args: Args) -> anyhow::Result<ExitCode> {
    let executable = std::env::current_exe().context("finding this executable")?;
    let server = [executable.as_os_str(), "serve".as_ref(), "--seed".as_ref(), "{seed}".as_ref()];
    let address = format!("{}=server", polypath_lab::scenario::SERVER_V4);
    let files = [("--trace", args.trace), ("--pcap", args.pcap)].into_iter();
    let arguments = files.filter_map(|(flag, file)| Some([flag.into(), file?.into_os_string()])).flatten().collect();
    let mut options = DemoOptions::new(Runner::Polypath { executable: executable.clone(), arguments });
    options.polypath_server = server.map(Into::into).to_vec();
    options.polypath_server.extend(["--tun", "pp0", "--address", &address].map(Into::into));
    options.polypath_server.extend(["--port".into(), polypath_lab::demo::SERVER_PORT.to_string().into()]);
    options.peer = match args.peer {
        PeerArg::Auto => Peer::Auto,
        PeerArg::Linux => Peer::Linux,
        PeerArg::Polypath => Peer::Polypath,
    };
    options.seed = args.seed;
    options.bytes = args.megabytes * 1_000_000;
    options.baseline = Duration::from_secs(args.baseline);
    options.svg = Some(args.svg);
    options.output = if args.json { Output::Json } else { Output::Terminal };
    let report = polypath_lab::demo::run(&options).inspect_err(|error| failure::tell(error, args.json))?;
    if args.json {
        println!("{}", report.to_json()?);
    } else {
        println!("{report}");
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
