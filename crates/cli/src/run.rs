//! `polypath run`: an unmodified program over Multipath TCP.

use crate::events::EventLog;
use crate::host::HostArgs;
use crate::instruments::InstrumentArgs;
use anyhow::Context as _;
use polypath_run::{HostNetwork, Options, RunError, Runner};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// A screen of 24 lines, with room for the prompt.
const HELP: &str = "{usage-heading} {usage}\n{about}\n\n{options}{after-help}";
/// What the screen has no room for.
const MORE: &str = "An unknown NAME lists the known ones. More, and rules: docs/configuration.md";

/// How long connections may take to deliver what the program wrote, once it has exited.
const LINGER: Duration = Duration::from_secs(60);

/// Run an unmodified program over Multipath TCP.
#[derive(Debug, clap::Args)]
#[command(override_usage = "polypath run [OPTIONS] -- PROGRAM [ARGUMENTS]")]
#[command(help_template = HELP, after_help = MORE)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    /// Write what happens to subflows (JSON lines)
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    #[command(flatten)]
    instruments: InstrumentArgs,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM", hide = true)]
    program: Vec<OsString>,
}

pub(crate) fn main(args: Args) -> anyhow::Result<ExitCode> {
    polypath_run::preflight()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    match runtime.block_on(run(args))? {
        Ok(status) => Ok(exit_code(status)),
        // As a shell has it.
        Err(error) => {
            eprintln!("polypath: {error}");
            Ok(ExitCode::from(match &error {
                RunError::Program { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
                RunError::Program { .. } => 126,
                _ => 125,
            }))
        }
    }
}

/// The outer error: the program was not even tried.
async fn run(args: Args) -> anyhow::Result<Result<ExitStatus, RunError>> {
    let rules = args.host.rules()?;
    let host = args.host.start()?;
    let events = args.events.as_deref().map(|path| EventLog::start(&host, path)).transpose()?;
    let words: Vec<_> = args.program.iter().map(|word| word.to_string_lossy()).collect();
    let instruments = args.instruments.start(&host, &words.join(" "))?;
    let (program, arguments) = args.program.split_first().context("no program was given")?;
    let mut command = Command::new(program);
    command.args(arguments);
    // From here on there are paths to follow and programs to carry, and nothing else to be done with privileges.
    let options = Options::default().keep_privileges(false);
    let status = Runner::new(command, HostNetwork::new(host.clone()).rules(rules)).options(options).run().await;
    // The runner leaves tokio's handlers in place: a signal would do nothing by itself.
    let mut terminate = signal(SignalKind::terminate()).context("waiting for signals")?;
    let delivered = tokio::select! {
        delivered = host.shutdown(LINGER) => delivered,
        _ = tokio::signal::ctrl_c() => Err(io::Error::other("interrupted")),
        _ = terminate.recv() => Err(io::Error::other("terminated")),
    };
    if let Err(error) = delivered {
        eprintln!("polypath: not everything was delivered: {error}");
    }
    // What the program made of it is what counts, whatever becomes of our own files.
    let events = match events {
        Some(events) => events.finish().await,
        None => Ok(()),
    };
    for error in [events, instruments.finish()].into_iter().filter_map(Result::err) {
        eprintln!("polypath: {error:#}");
    }
    Ok(status)
}

/// As a shell reports it: 128 and the signal for a program that a signal ended.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1))
}
