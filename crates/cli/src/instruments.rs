//! What `run` and `serve` let others see: the control socket, captures, a summary.

use crate::summary;
use anyhow::Context as _;
use clap::ArgAction;
use polypath_net::control::Control;
use polypath_net::{Capture, Host, Monitor, TraceFile};
use std::path::PathBuf;

/// Of `run` and `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct InstrumentArgs {
    /// Write every packet (pcapng)
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Write every decision and its reason (JSON lines)
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// At the end, show what went over which path
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    #[arg(action = ArgAction::Set, value_name = "BOOL", hide_default_value = true, hide_possible_values = true)]
    summary: bool,
}

/// The instruments of one host, at work.
pub(crate) struct Instruments {
    monitor: Monitor,
    capture: Option<(Capture, PathBuf)>,
    trace: Option<(TraceFile, PathBuf)>,
    summary: bool,
    _control: Option<Control>,
}

impl InstrumentArgs {
    /// Sets them up. `program` is what people know this process by.
    pub(crate) fn start(&self, host: &Host, program: &str) -> anyhow::Result<Instruments> {
        let capture = match &self.pcap {
            Some(path) => {
                let capture = Capture::start(host, path);
                Some((capture.with_context(|| format!("cannot capture to {}", path.display()))?, path.clone()))
            }
            None => None,
        };
        let trace = match &self.trace {
            Some(path) => {
                let trace = TraceFile::start(host, path, program);
                Some((trace.with_context(|| format!("cannot trace to {}", path.display()))?, path.clone()))
            }
            None => None,
        };
        let monitor = Monitor::start(host, program);
        let control = Control::open(&monitor).inspect_err(|error| {
            // No reason not to run.
            eprintln!("polypath: this instance will not be seen by `polypath ss`: {error}");
        });
        Ok(Instruments { monitor, capture, trace, summary: self.summary, _control: control.ok() })
    }
}

impl Instruments {
    /// Ends them, once the host has stopped.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        if self.summary {
            eprint!("{}", summary::render(&self.monitor.snapshot()));
        }
        if let Some((trace, path)) = self.trace {
            let dropped = trace.finish().with_context(|| format!("tracing to {}", path.display()))?;
            if dropped > 0 {
                eprintln!("polypath: {dropped} events came too fast to be written to {}", path.display());
            }
        }
        if let Some((capture, path)) = self.capture {
            let captured = capture.finish().with_context(|| format!("capturing to {}", path.display()))?;
            if captured.dropped > 0 {
                let (packets, dropped) = (captured.packets, captured.dropped);
                let path = path.display();
                eprintln!("polypath: {path} has {packets} packets; {dropped} came too fast to be written");
            }
        }
        Ok(())
    }
}
