//! `polypath lab grid`: paths that differ, and what kernel TCP on each of them, kernel Multipath TCP and polypath make
//! of them, through the same emulated links, with the same seeds.
//!
//! The table of experiments and the figures with their bars are [`polypath_sim::grid`]'s, so that the same is run in
//! virtual time. [`run`] goes through them: for each row and seed every contender in turn; a run is `network` (the
//! hosts), `end` and `job` (both ends of the connection), `watch` (the links, the outage), `record` (what is kept); `rows` sums up.

mod contender;
mod end;
pub(crate) mod job;
mod links;
mod network;
mod options;
mod progress;
mod record;
mod rows;
mod run;
mod store;
mod watch;

use anyhow::Context as _;
use polypath_proto::congestion::CongestionKind;
use polypath_sim::grid::report::Row;
use polypath_sim::grid::scenario::Scenario as Experiment;

pub use contender::Contender;
pub use options::GridOptions;
pub use record::Kept;

use crate::preflight::Machine;
use network::Case;
use progress::Progress;
use rows::Group;
use store::{Key, Store};

/// Runs the grid. What is measured, and whether it is where it has to be, stands in the rows; a run that fails is not
/// an error but a note. Progress goes to standard error.
///
/// # Errors
/// For rows and names that do not exist, where a privilege or a program is missing, and when finished runs cannot be
/// kept.
pub fn run(options: &GridOptions) -> anyhow::Result<Vec<Row>> {
    let experiments = options.experiments()?;
    let machine = Machine::probe(&["ip"]);
    machine.require()?;
    anyhow::ensure!(machine.has_mptcp(), "{}", machine.without_mptcp());
    let mut store = Store::open(options)?;
    let mut rows = Vec::new();
    if options.physics {
        rows.push(links::row(&experiments).context("checking the emulated links")?);
    }
    let mut progress = Progress::new(&experiments, &store, options);
    for row in &experiments {
        rows.push(run_row(row, options, &mut store, &mut progress)?);
    }
    Ok(rows)
}

/// Runs one contender in one experiment, once. `congestion` is as a row names it; none: the default one.
///
/// # Errors
/// When hosts or links cannot be made, an end of the connection fails, or a byte arrives that was not sent.
pub fn run_once(
    row: &Experiment,
    contender: Contender,
    congestion: Option<&'static str>,
    seed: u64,
    options: &GridOptions,
) -> anyhow::Result<Kept> {
    run::run(&Case { row, contender, congestion, seed }, options)
}

/// Every contender with one seed, then with the next: what disturbs the machine for a while disturbs all of them.
fn run_row(row: &Experiment, options: &GridOptions, store: &mut Store, progress: &mut Progress) -> anyhow::Result<Row> {
    let mut groups = groups(row);
    for seed in 1..=options.seeds {
        for group in groups.iter_mut().filter(|group| group.absent.is_none()) {
            let case = Case { row, contender: group.contender, congestion: group.congestion, seed };
            let key = Key::new(&case, options);
            let result = match store.get(&key) {
                Some(outcome) => Ok(outcome.clone()),
                None => {
                    progress.begin(&case);
                    let result = run::run(&case, options).map_err(|error| format!("{error:#}"));
                    progress.end(&case, &result);
                    if let Ok(outcome) = &result {
                        store.add(key, outcome.clone())?;
                    }
                    result
                }
            };
            group.runs.push((seed, result));
        }
    }
    Ok(rows::row(row, &groups))
}

/// The contenders of a row, without runs, and why some of them cannot take part.
fn groups(row: &Experiment) -> Vec<Group> {
    let group = |(contender, congestion): (Contender, Option<&'static str>)| {
        let absent = if contender.is_kernel() {
            let name = congestion.unwrap_or(contender::KERNEL_DEFAULT);
            (!contender::kernel_has(name)).then(|| format!("this kernel has no {name}: modprobe tcp_{name}"))
        } else {
            congestion.and_then(|name| name.parse::<CongestionKind>().err())
        };
        Group { contender, congestion, absent, runs: Vec::new() }
    };
    contender::of_row(row).into_iter().map(group).collect()
}
