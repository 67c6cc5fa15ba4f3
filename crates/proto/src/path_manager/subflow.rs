//! A subflow from each local address (what `ip mptcp endpoint` calls `subflow` on the client and `signal` on the server).

use super::retries::{Opening, Retries, announce};
use super::{PathCommand, PathEvent, PathManager, PathManagerView};
use crate::time::Instant;

/// As client, keeps one subflow from each local address, and one to each address the peer announces.
/// As server, announces its further addresses and lets the client join.
#[derive(Debug, Default)]
pub struct SubflowManager {
    retries: Retries,
}

impl PathManager for SubflowManager {
    fn name(&self) -> &'static str {
        "subflow"
    }

    fn handle(&mut self, now: Instant, event: &PathEvent, view: &PathManagerView<'_>, commands: &mut Vec<PathCommand>) {
        if !self.retries.note(now, event, view) {
            return;
        }
        if !view.is_client {
            return announce(view, commands);
        }
        let mut opening = Opening::new(now, view, &self.retries, commands);
        for local in view.locals {
            if let (0, Some(remote)) = (opening.from(local.addr), opening.target(local.addr)) {
                opening.open(local.addr, remote, local.backup);
            }
        }
        for remote in view.remotes {
            if let (0, Some(local)) = (opening.to(*remote), opening.least_used(*remote)) {
                opening.open(local.addr, *remote, local.backup);
            }
        }
    }
}
