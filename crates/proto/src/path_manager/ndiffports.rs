//! Several subflows between the same two addresses, which routers with several paths of equal cost spread by their ports
//! (Raiciu et al., SIGCOMM 2011).

use super::retries::{Opening, Retries, announce};
use super::{PathCommand, PathEvent, PathManager, PathManagerView};
use crate::time::Instant;
use std::net::IpAddr;

/// As client, keeps `subflows` of them from the connection's first address to the peer's. As server, announces its further
/// addresses.
#[derive(Debug)]
pub struct Ndiffports {
    retries: Retries,
    subflows: usize,
    first: Option<IpAddr>,
}

impl Ndiffports {
    /// So many subflows in all, 1 to 64.
    pub fn new(subflows: usize) -> Self {
        Ndiffports { retries: Retries::default(), subflows: subflows.clamp(1, 64), first: None }
    }
}

impl PathManager for Ndiffports {
    fn name(&self) -> &'static str {
        "ndiffports"
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
        // Where that address is gone, another takes its place.
        let first = view.locals.iter().find(|l| Some(l.addr) == self.first).or(view.locals.first());
        let mut opening = Opening::new(now, view, &self.retries, commands);
        let Some((local, remote)) = first.and_then(|l| Some((l, opening.target(l.addr)?))) else { return };
        for _ in opening.between(local.addr, remote)..self.subflows {
            opening.open(local.addr, remote, local.backup);
        }
    }
}
