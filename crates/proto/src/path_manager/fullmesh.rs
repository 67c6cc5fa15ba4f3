//! A subflow from each local address to each of the peer's (`ip mptcp endpoint … fullmesh`).

use super::retries::{Opening, Retries, announce};
use super::{PathCommand, PathEvent, PathManager, PathManagerView};
use crate::time::Instant;

/// As client, keeps a subflow between every two addresses of one family. As server, announces its further addresses.
#[derive(Debug, Default)]
pub struct Fullmesh {
    retries: Retries,
}

impl PathManager for Fullmesh {
    fn name(&self) -> &'static str {
        "fullmesh"
    }

    fn handle(&mut self, now: Instant, event: &PathEvent, view: &PathManagerView<'_>, commands: &mut Vec<PathCommand>) {
        if !self.retries.note(now, event, view) {
            return;
        }
        if !view.is_client {
            return announce(view, commands);
        }
        let mut opening = Opening::new(now, view, &self.retries, commands);
        // Round by round, so that a limit leaves no local address without a subflow.
        for remote in opening.remotes() {
            for local in view.locals.iter().filter(|l| l.addr.is_ipv4() == remote.is_ipv4()) {
                if opening.between(local.addr, remote) == 0 {
                    opening.open(local.addr, remote, local.backup);
                }
            }
        }
    }
}
