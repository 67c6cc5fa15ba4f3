//! `polypath bench`: polypath against the kernel's TCP and Multipath TCP, on one machine, in one run.
//!
//! One load generator speaks through a kernel socket, through polypath's library, or through a kernel socket in a program
//! under `polypath run`. [`run`] goes through a plan of pairs, each run in turn (A B A B ...), so that what disturbs the machine
//! disturbs both; figures are the medians of ratios pair by pair, with intervals.
//!
//! - `case` is what is run, `plan` who is held against whom and against which bar;
//! - `network` makes the hosts: two namespaces and a veth pair for each subflow; `process` the ends in them, each this program
//!   started again ([`play_end`]); `run` one run of both, with what `cost` says of processor time and memory;
//! - `pair` is two stacks in memory; `crowd` asks there what a packet and a timer cost among many connections;
//! - `stats`, `figure`, `report` and `chart` tell.
//!
//! It needs root, touches nothing outside its namespaces, and leaves nothing behind.

pub mod case;
mod chart;
mod cost;
pub mod crowd;
mod end;
mod figure;
mod network;
mod options;
pub mod pair;
mod plan;
mod process;
mod progress;
mod report;
mod run;
mod stats;

use std::path::Path;

use anyhow::Context as _;
use polypath_lab::preflight::Machine;
use polypath_sim::grid::report::Machine as Where;

pub use chart::svg;
pub use cost::Cpu;
pub use crowd::Cost;
pub use end::main as play_end;
pub use figure::Figure;
pub use options::Options;
pub use report::{Report, Row};
pub use run::Sample;
pub use stats::Summary;

use case::Group;
use plan::Comparison;
use progress::Progress;
use report::Pairs;

/// Runs what is asked for. What is measured, and whether it is where it has to be, stands in the report; a run that fails is
/// not an error but a note. `program` is this one, which is started for the ends with the words `bench-end PART`, and
/// `run` for a program under it. Progress goes to standard error.
///
/// # Errors
/// For names that do not exist, and where a privilege, a program or the kernel's MPTCP is missing.
pub fn run(program: &Path, options: &Options, command: String, machine: Where) -> anyhow::Result<Report> {
    let comparisons = plan::plan(options)?;
    let here = Machine::probe(&["ip"]);
    here.require()?;
    anyhow::ensure!(here.has_mptcp(), "{}", here.without_mptcp());
    let mut progress = Progress::new(&comparisons, options);
    let (mut measured, mut notes) = (Vec::new(), Vec::new());
    for comparison in comparisons {
        let pairs = compare(program, &comparison, options, &mut progress, &mut notes);
        measured.push((comparison, pairs));
    }
    let mut crowds = Vec::new();
    if options.wants(Group::Idle, "idle.packet") {
        for connections in std::iter::once(1_000).chain(options.idle.iter().copied()) {
            eprintln!("a packet and a timer among {connections} connections");
            crowds.push(crowd::measure(connections).context("a crowd in memory")?);
        }
    }
    let mut figures = report::figures(&measured);
    for cost in &crowds {
        let told = |name: &str, value| {
            let name = format!("idle.{name}.{}", cost.connections);
            Figure { name, value: Summary::of([value]), unit: "ns", bar: None }
        };
        figures.extend([told("packet", cost.packet_ns), told("timer", cost.tick_ns)]);
    }
    notes.extend(report::disturbance(&measured, machine.cores));
    let rows = report::rows(&measured);
    Ok(Report { command, settings: settings(options), machine, figures, rows, crowds, notes })
}

/// A B A B ...; a pair of which one failed does not count. Where the kernel alone has failed, it is given another try.
fn compare(
    program: &Path,
    comparison: &Comparison,
    options: &Options,
    progress: &mut Progress,
    notes: &mut Vec<String>,
) -> Pairs {
    let mut pairs = Pairs::default();
    for _ in 0..comparison.pairs {
        let mut once = |case: &case::Case| {
            let tries = if case.is_kernel_alone() { 2 } else { 1 };
            (0..tries).find_map(|_| {
                let result = progress.tell(case, || run::run(program, case, options.window));
                result.map_err(|error| notes.push(format!("{case}: {error}"))).ok()
            })
        };
        let (subject, reference) = (once(&comparison.subject), once(&comparison.reference));
        pairs.0.extend(subject.zip(reference));
    }
    pairs
}

fn settings(options: &Options) -> serde_json::Value {
    let Options { only, pairs, told_pairs, window, idle, idle_pairs } = options;
    serde_json::json!({
        "only": only,
        "pairs": pairs,
        "told_pairs": told_pairs,
        "idle_pairs": idle_pairs,
        "seconds": window.as_secs_f64(),
        "idle": idle,
        "write_bytes": end::WRITE,
        "read_bytes": end::READ,
        "congestion": network::CONGESTION,
        "mtu": 1500,
        "no_offload_mtu": process::SMALL_MTU,
        "connecting_at_once": end::AT_ONCE,
        "ports": end::PORTS.len(),
    })
}
