//! Looks at the links during a run, and breaks the first one when it is time.

use std::time::{Duration, Instant};

use polypath_net::Host;
use polypath_sim::grid::scenario::{Load, Outage};

use super::network::Case;
use crate::emulator::Direction;
use crate::link::Count;
use crate::scenario::{Scenario, client_v4};

/// How often the links are looked at.
const LOOK: Duration = Duration::from_millis(5);

/// One look at all paths, in the direction of the data.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Since the start.
    pub(super) at: Duration,
    /// What each has delivered so far.
    pub(super) delivered: Vec<Count>,
    /// How long its queue is.
    pub(super) queue: Vec<Duration>,
}

/// The direction that a load's data takes.
pub(super) fn direction(load: Load) -> Direction {
    match load {
        Load::Upload(_) => Direction::Up,
        Load::Download(_) | Load::Requests { .. } => Direction::Down,
    }
}

/// Samples the links until `over` says that the run is.
pub(super) fn watch(
    case: &Case<'_>,
    scenario: &Scenario,
    host: Option<&Host>,
    start: Instant,
    mut over: impl FnMut() -> bool,
) -> anyhow::Result<Vec<Sample>> {
    let direction = direction(case.row.load);
    let mut samples = Vec::new();
    let mut changes: Vec<(Duration, bool)> = Vec::new();
    if case.row.outage.is_some() {
        let (cut, back) = case.row.outage_at;
        changes = vec![(back, true), (cut, false)];
    }
    while !over() {
        let at = start.elapsed();
        if let Some((_, up)) = changes.pop_if(|(when, _)| *when <= at) {
            change(case, scenario, host, up)?;
        }
        let paths = 0..case.row.paths.len();
        let delivered = paths.clone().map(|path| scenario.counters(path, direction).delivered).collect();
        let queue = paths.map(|path| scenario.queueing_delay(path, direction)).collect();
        samples.push(Sample { at, delivered, queue });
        std::thread::sleep(LOOK);
    }
    Ok(samples)
}

/// The first path fails, or returns.
fn change(case: &Case<'_>, scenario: &Scenario, host: Option<&Host>, up: bool) -> anyhow::Result<()> {
    scenario.set_up(0, up);
    if case.row.outage != Some(Outage::AddressRemoved) {
        return Ok(());
    }
    let address = client_v4(0);
    match host {
        Some(host) if up => host.add_address(address.into(), Some(case.row.paths[0].name), false)?,
        Some(host) => host.remove_address(address.into())?,
        None => {
            let verb = if up { "add" } else { "del" };
            scenario.client().ip(&format!("addr {verb} {address}/32 dev {}\n", scenario.paths()[0].interface()))?;
        }
    }
    Ok(())
}
