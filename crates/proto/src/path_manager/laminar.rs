//! A subflow for each address that the peer announces, spread over the local ones (`ip mptcp endpoint … laminar`, Linux 6.18).

use super::retries::{Opening, Retries, announce};
use super::{PathCommand, PathEvent, PathManager, PathManagerView};
use crate::time::Instant;

/// As client, opens nothing of its own accord; each announced address gets one subflow, from the local address with the
/// fewest. As server, announces its further addresses.
#[derive(Debug, Default)]
pub struct Laminar {
    retries: Retries,
}

impl PathManager for Laminar {
    fn name(&self) -> &'static str {
        "laminar"
    }

    fn handle(&mut self, now: Instant, event: &PathEvent, view: &PathManagerView<'_>, commands: &mut Vec<PathCommand>) {
        if !self.retries.note(now, event, view) {
            return;
        }
        if !view.is_client {
            return announce(view, commands);
        }
        let mut opening = Opening::new(now, view, &self.retries, commands);
        for remote in view.remotes.iter().filter(|r| **r != view.initial_remote) {
            if let (0, Some(local)) = (opening.to(*remote), opening.least_used(*remote)) {
                opening.open(local.addr, *remote, local.backup);
            }
        }
        // With none left, from anywhere: the connection goes before the rule.
        if view.subflows.is_empty()
            && let Some((local, remote)) = view.locals.iter().find_map(|l| Some((l, opening.target(l.addr)?)))
        {
            opening.open(local.addr, remote, local.backup);
        }
    }
}
