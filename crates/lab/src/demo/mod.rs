//! `polypath demo`: an unmodified program downloads a file over Wi-Fi and LTE. Wi-Fi is cut silently on the way and
//! comes back before the end; the file arrives whole.
//!
//! The story in [`run`]: measure plain TCP on each path alone; build the links; start the server; let the program
//! download while the links are watched; sum up.

mod baseline;
mod chart;
mod download;
mod options;
mod report;
mod server;
mod trace;
mod view;

use std::path::Path;

use anyhow::Context as _;

pub use baseline::Baseline;
pub use options::{DemoOptions, Output, Peer, Runner, SERVER_PORT};
pub use report::{Figure, LinkRecord, MachineRecord, PathRecord, PathSettings, Report, Settings, TimingRecord};
pub use trace::{EventRecord, SubflowRecord};

use crate::kernel::MptcpCounters;
use crate::preflight::Machine;
use crate::scenario::Scenario;
use chart::Picture;
use download::Download;
use server::{Server, ServerKind};
use view::View;

/// Runs the demonstration. The report's `ok` says whether all went well; an unsuccessful download is not an error.
///
/// # Errors
/// Where a privilege or a program is missing: the message says which and how to get it. When the links, the server
/// or the program cannot be started, and when nothing arrives any more.
pub fn run(options: &DemoOptions) -> anyhow::Result<Report> {
    options.check()?;
    let program = options.program[0].to_string_lossy();
    let machine = Machine::probe(&["ip", &program]);
    machine.require()?;
    let kind = ServerKind::choose(options, &machine)?;
    let server = kind.describe(&machine);
    let mut view = View::new(options);
    view.say(&format!("Server: {server}"));
    view.say(&format!("Plain TCP on each path alone, without a cut, for {:?}", options.baseline));
    let baseline = baseline::measure(options).context("measuring plain TCP")?;

    let mut builder = Scenario::builder().client(options.runner.owner()).server(kind.owner()).seed(options.seed);
    for path in &options.paths {
        builder = builder.path(path.clone());
    }
    let scenario = builder.build()?;
    let _server = Server::start(&scenario, options, kind)?;
    let before = MptcpCounters::read(scenario.server())?;
    let download = download::run(&scenario, options, &mut view)?;
    let moved = MptcpCounters::read(scenario.server())?.since(&before);
    let counters = (kind == ServerKind::Linux).then_some(moved);
    view.finish();

    let report =
        Report::new(options, &machine, &scenario, (kind.name(), server), baseline, &download, counters.as_ref())?;
    if let Some(path) = &options.svg {
        let picture = picture(options, &report, &download);
        chart::write(path, &picture).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(report)
}

fn picture<'a>(options: &'a DemoOptions, report: &'a Report, download: &'a Download) -> Picture<'a> {
    let program = Path::new(&options.program[0]).file_name().unwrap_or_default().to_string_lossy();
    let megabytes = options.bytes as f64 / 1e6;
    let how = if report.sha256_ok { "arrived whole" } else { "did not arrive whole" };
    let goodput = report.bytes as f64 * 8.0 / 1e6 / report.seconds.max(1e-9);
    let gap = report.longest_gap_ms.map_or_else(String::new, |gap| format!(", longest gap {gap:.0} ms"));
    Picture {
        title: format!("{program} downloads {megabytes} MB while {} is cut and comes back", options.paths[0].name),
        subtitle: format!("{how} in {:.1} s ({goodput:.1} Mbit/s){gap}; server: {}", report.seconds, report.server),
        paths: &options.paths,
        samples: &download.samples,
        cut_at: download.cut_at,
        return_at: download.return_at,
        events: &download.events,
        plain_tcp: report.best_plain_tcp(),
    }
}
