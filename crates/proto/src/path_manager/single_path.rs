//! One subflow at a time: break before make (Paasch et al., CellNet 2012, single-path mode).

use super::retries::{Opening, Retries, announce};
use super::{LocalView, PathCommand, PathEvent, PathManager, PathManagerView};
use crate::time::Instant;

/// As client, opens another subflow only when the one there was is gone, or does not answer: then it is closed first. No
/// second radio is awake for nothing; what it costs is a handshake at each handover. As server, announces its further
/// addresses.
#[derive(Debug, Default)]
pub struct SinglePath {
    retries: Retries,
}

impl SinglePath {
    /// Who takes over: the first local address that has not failed just now, backups last.
    fn next<'a>(&self, now: Instant, view: &'a PathManagerView<'_>, opening: &Opening<'_>) -> Option<&'a LocalView> {
        let can = view.locals.iter().filter(|l| opening.target(l.addr).is_some());
        can.min_by_key(|l| {
            let failed = opening.target(l.addr).is_some_and(|remote| self.retries.has_failed(now, l.addr, remote));
            (failed, l.backup)
        })
    }
}

impl PathManager for SinglePath {
    fn name(&self) -> &'static str {
        "single-path"
    }

    fn handle(&mut self, now: Instant, event: &PathEvent, view: &PathManagerView<'_>, commands: &mut Vec<PathCommand>) {
        if !self.retries.note(now, event, view) {
            return;
        }
        if !view.is_client {
            return announce(view, commands);
        }
        if let PathEvent::SubflowStalled { local, remote } = *event {
            let other = |l: &&LocalView| l.addr != local.ip() && l.addr.is_ipv4() == remote.is_ipv4();
            if view.locals.iter().any(|l| other(&l)) {
                commands.push(PathCommand::Close { local, remote });
            }
            return;
        }
        if !view.subflows.is_empty() {
            return;
        }
        let mut opening = Opening::new(now, view, &self.retries, commands);
        if let Some(local) = self.next(now, view, &opening)
            && let Some(remote) = opening.target(local.addr)
        {
            opening.open(local.addr, remote, local.backup);
        }
    }
}
