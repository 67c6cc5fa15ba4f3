//! All subflows but the first are backups (`ip mptcp endpoint … subflow backup` for all the other addresses).

use super::retries::{Opening, Retries, announce};
use super::{PathCommand, PathEvent, PathManager, PathManagerView};
use crate::time::Instant;
use std::net::IpAddr;

/// As client, keeps one subflow from each local address; all but those from the connection's first address carry data
/// only where nothing else works. As server, announces its further addresses.
#[derive(Debug, Default)]
pub struct BackupManager {
    retries: Retries,
    first: Option<IpAddr>,
}

impl PathManager for BackupManager {
    fn name(&self) -> &'static str {
        "backup"
    }

    fn handle(&mut self, now: Instant, event: &PathEvent, view: &PathManagerView<'_>, commands: &mut Vec<PathCommand>) {
        if *event == PathEvent::Established {
            self.first = view.subflows.first().map(|s| s.local.ip());
        }
        if !self.retries.note(now, event, view) {
            return;
        }
        if !view.is_client {
            return announce(view, commands);
        }
        let mut opening = Opening::new(now, view, &self.retries, commands);
        for local in view.locals {
            if let (0, Some(remote)) = (opening.from(local.addr), opening.target(local.addr)) {
                opening.open(local.addr, remote, local.backup || Some(local.addr) != self.first);
            }
        }
    }
}
