//! Addresses are announced, and no subflow is opened from here (`ip mptcp endpoint … signal` alone).

use super::retries::{Retries, announce};
use super::{PathCommand, PathEvent, PathManager, PathManagerView};
use crate::time::Instant;

/// Announces the addresses where the connection's port is reached, and leaves the joining to the peer.
#[derive(Debug, Default)]
pub struct SignalManager {
    retries: Retries,
}

impl PathManager for SignalManager {
    fn name(&self) -> &'static str {
        "signal"
    }

    fn handle(&mut self, now: Instant, event: &PathEvent, view: &PathManagerView<'_>, commands: &mut Vec<PathCommand>) {
        if self.retries.note(now, event, view) {
            announce(view, commands);
        }
    }
}
