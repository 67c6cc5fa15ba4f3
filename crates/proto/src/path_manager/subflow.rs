//! A subflow from each local address (what `ip mptcp` calls `subflow` on the client and `signal` on the server).

use super::{PathCommand, PathEvent, PathManager, PathManagerView};
use crate::mptcp::CloseReason;
use crate::time::{Duration, Instant};
use std::net::{IpAddr, SocketAddr};

/// A path that fell silent is tried again almost at once: the SYN is the probe, and has a steady pace of its own.
const RETRY_SILENT: Duration = Duration::from_millis(100);
/// A path that refused is tried again after this, doubling...
const RETRY_REFUSED: Duration = Duration::from_secs(1);
/// ...up to this.
const RETRY_MAX: Duration = Duration::from_secs(60);

#[derive(Copy, Clone, Debug)]
struct Retry {
    local: IpAddr,
    not_before: Instant,
    pause: Duration,
}

/// As client, keeps one subflow from each local address, and one to each address the peer announces.
/// As server, announces its further addresses and lets the client join.
#[derive(Debug, Default)]
pub struct SubflowManager {
    ready: bool,
    retries: Vec<Retry>,
}

impl SubflowManager {
    fn note_closed(&mut self, now: Instant, local: IpAddr, reason: CloseReason, alone: bool) {
        let old = self.retries.iter().position(|r| r.local == local).map(|i| self.retries.swap_remove(i));
        let pause = match reason {
            // Without any subflow there is nothing to be gentle with.
            _ if alone => RETRY_SILENT,
            CloseReason::Silent | CloseReason::AddressRemoved => RETRY_SILENT,
            CloseReason::Finished | CloseReason::Aborted => RETRY_MAX,
            _ => old.map_or(RETRY_REFUSED, |r| (r.pause * 2).clamp(RETRY_REFUSED, RETRY_MAX)),
        };
        self.retries.push(Retry { local, not_before: now + pause, pause });
    }

    /// Where a subflow from `local` shall go: to the first address if that is possible, else to an announced one.
    fn target(view: &PathManagerView<'_>, local: IpAddr) -> Option<SocketAddr> {
        // [8684-3.1-13, 8684-3.9.1-1]
        let initial = Some(view.initial_remote).filter(|_| !view.deny_join_initial);
        initial.into_iter().chain(view.remotes.iter().copied()).find(|r| r.is_ipv4() == local.is_ipv4())
    }

    fn open_wanted(&self, now: Instant, view: &PathManagerView<'_>, commands: &mut Vec<PathCommand>) {
        let mut count = view.subflows.len();
        let mut open = |local: IpAddr, remote: SocketAddr| {
            let retry = self.retries.iter().find(|r| r.local == local && r.not_before > now);
            match retry {
                Some(retry) => commands.push(PathCommand::WakeAt(retry.not_before)),
                None if count < view.max_subflows => {
                    count += 1;
                    commands.push(PathCommand::Open { local, remote });
                }
                None => {}
            }
        };
        for local in view.locals {
            let used = view.subflows.iter().any(|s| s.local.ip() == local.addr);
            if let (false, Some(remote)) = (used, Self::target(view, local.addr)) {
                open(local.addr, remote);
            }
        }
        for remote in view.remotes {
            let fresh = view.locals.iter().filter(|l| l.addr.is_ipv4() == remote.is_ipv4());
            let reached = view.subflows.iter().any(|s| s.remote.ip() == remote.ip());
            // The local address with the fewest subflows: it spreads over the paths there are.
            let local = fresh.min_by_key(|l| view.subflows.iter().filter(|s| s.local.ip() == l.addr).count());
            if let (false, Some(local)) = (reached || Self::target(view, remote.ip()) == Some(*remote), local) {
                open(local.addr, *remote);
            }
        }
    }
}

impl PathManager for SubflowManager {
    fn name(&self) -> &'static str {
        "subflow"
    }

    fn handle(&mut self, now: Instant, event: &PathEvent, view: &PathManagerView<'_>, commands: &mut Vec<PathCommand>) {
        match *event {
            PathEvent::Established => self.ready = true,
            PathEvent::SubflowClosed { local, reason, .. } => {
                self.note_closed(now, local.ip(), reason, !view.subflows.iter().any(|s| s.established));
            }
            PathEvent::LocalAddresses | PathEvent::RemoteAddresses | PathEvent::Timer => {}
        }
        if !self.ready {
            return;
        }
        if view.is_client {
            self.open_wanted(now, view, commands);
        } else if view.announce {
            let idle = |l: &&super::LocalView| !l.announced && !view.subflows.iter().any(|s| s.local.ip() == l.addr);
            commands.extend(view.locals.iter().filter(idle).map(|l| PathCommand::Announce(l.addr)));
        }
    }
}
