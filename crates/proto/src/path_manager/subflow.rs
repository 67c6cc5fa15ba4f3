//! A subflow from each local address (what `ip mptcp` calls `subflow` on the client and `signal` on the server).

use super::{LocalView, PathCommand, PathEvent, PathManager, PathManagerView};
use crate::mptcp::CloseReason;
use crate::time::{Duration, Instant};
use std::net::{IpAddr, SocketAddr};

/// A path that fell silent is tried again almost at once: the SYN is the probe, and has a steady pace of its own.
const RETRY_SILENT: Duration = Duration::from_millis(100);
/// A path that refused is tried again after this, doubling...
const RETRY_REFUSED: Duration = Duration::from_secs(1);
/// ...up to this.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// One that held longer than this is tried as if it had never failed.
const HELD: Duration = Duration::from_secs(120);

#[derive(Copy, Clone, Debug)]
struct Retry {
    local: IpAddr,
    remote: SocketAddr,
    /// None: never, until something changes.
    not_before: Option<Instant>,
    pause: Duration,
    closed_at: Instant,
}

/// As client, keeps one subflow from each local address, and one to each address the peer announces.
/// As server, announces its further addresses and lets the client join.
#[derive(Debug, Default)]
pub struct SubflowManager {
    ready: bool,
    retries: Vec<Retry>,
}

impl SubflowManager {
    fn note_closed(
        &mut self,
        now: Instant,
        view: &PathManagerView<'_>,
        (local, remote): (IpAddr, SocketAddr),
        reason: CloseReason,
        refused: bool,
    ) {
        if reason == CloseReason::AddressRemoved {
            // If it comes back, it is another path.
            self.retries.retain(|r| r.local != local);
        }
        let same = |r: &Retry| (r.local, r.remote) == (local, remote);
        let old = self.retries.iter().position(same).map(|i| self.retries.swap_remove(i));
        let old = old.filter(|r| now - r.closed_at < HELD);
        let broken = matches!(reason, CloseReason::ProtocolError | CloseReason::ResetByPeer);
        let pause = match reason {
            // Without any subflow there is nothing to be gentle with, unless it comes up and breaks again.
            _ if !view.subflows.iter().any(|s| s.established) => match old {
                Some(old) if broken => (old.pause * 2).clamp(RETRY_SILENT, RETRY_MAX),
                _ => RETRY_SILENT,
            },
            CloseReason::Silent | CloseReason::AddressRemoved => RETRY_SILENT,
            CloseReason::Finished | CloseReason::Aborted => RETRY_MAX,
            _ => old.map_or(RETRY_REFUSED, |r| (r.pause * 2).clamp(RETRY_REFUSED, RETRY_MAX)),
        };
        let not_before = (!refused).then_some(now + pause);
        self.retries.push(Retry { local, remote, not_before, pause, closed_at: now });
    }

    fn retry(&self, local: IpAddr, remote: SocketAddr) -> Option<&Retry> {
        self.retries.iter().find(|r| (r.local, r.remote) == (local, remote))
    }

    /// Where a subflow from `local` shall go: to the first address if that is possible, else to an announced one.
    fn target(&self, view: &PathManagerView<'_>, local: IpAddr) -> Option<SocketAddr> {
        // [8684-3.1-13, 8684-3.9.1-1]
        let initial = Some(view.initial_remote).filter(|_| !view.deny_join_initial);
        // [8684-3.6-3, 8684-3.4.1-14, 8684-3.9.3-3]
        let allowed = |r: &SocketAddr| {
            r.is_ipv4() == local.is_ipv4() && self.retry(local, *r).is_none_or(|retry| retry.not_before.is_some())
        };
        initial.into_iter().chain(view.remotes.iter().copied()).find(allowed)
    }

    fn open_wanted(&self, now: Instant, view: &PathManagerView<'_>, commands: &mut Vec<PathCommand>) {
        let mut count = view.subflows.len();
        // What is there, and what will be after the commands so far.
        let mut ends: Vec<(IpAddr, SocketAddr)> = view.subflows.iter().map(|s| (s.local.ip(), s.remote)).collect();
        let mut open = |ends: &mut Vec<(IpAddr, SocketAddr)>, local: IpAddr, remote: SocketAddr| {
            let retry = self.retry(local, remote).map(|retry| retry.not_before);
            match retry {
                Some(None) => {}
                Some(Some(at)) if at > now => commands.push(PathCommand::WakeAt(at)),
                _ if count < view.max_subflows => {
                    count += 1;
                    ends.push((local, remote));
                    commands.push(PathCommand::Open { local, remote });
                }
                _ => {}
            }
        };
        for local in view.locals {
            let used = ends.iter().any(|(l, _)| *l == local.addr);
            if let (false, Some(remote)) = (used, self.target(view, local.addr)) {
                open(&mut ends, local.addr, remote);
            }
        }
        for remote in view.remotes.iter().filter(|r| **r != view.initial_remote) {
            let reached = ends.iter().any(|(_, r)| r == remote);
            let fit = view.locals.iter().filter(|l| l.addr.is_ipv4() == remote.is_ipv4());
            // The local address with the fewest subflows: they spread over the paths there are.
            let used = |l: &LocalView| ends.iter().filter(|(local, _)| *local == l.addr).count();
            if let (false, Some(local)) = (reached, fit.min_by_key(|l| (l.backup, used(l)))) {
                open(&mut ends, local.addr, *remote);
            }
        }
    }
}

/// Worth telling a peer of: an address that others may reach. [8684-3.4.1-11]
fn is_reachable(addr: IpAddr) -> bool {
    let link_local = match addr {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(link_local || addr.is_loopback() || addr.is_unspecified() || addr.is_multicast())
}

impl PathManager for SubflowManager {
    fn name(&self) -> &'static str {
        "subflow"
    }

    fn handle(&mut self, now: Instant, event: &PathEvent, view: &PathManagerView<'_>, commands: &mut Vec<PathCommand>) {
        match *event {
            PathEvent::Established => self.ready = true,
            PathEvent::SubflowClosed { local, remote, reason, established, permanent } => {
                let announced = remote != view.initial_remote && view.remotes.contains(&remote);
                let failed = matches!(
                    reason,
                    CloseReason::TimedOut
                        | CloseReason::ResetByPeer
                        | CloseReason::Unreachable
                        | CloseReason::ProtocolError
                );
                let refused = permanent || (announced && failed && !established);
                self.note_closed(now, view, (local.ip(), remote), reason, refused);
            }
            PathEvent::Announced(remote) => self.retries.retain(|r| r.remote != remote),
            PathEvent::LocalAddresses | PathEvent::RemoteAddresses | PathEvent::Timer => {}
        }
        self.retries.retain(|r| r.remote == view.initial_remote || view.remotes.contains(&r.remote));
        if !self.ready {
            return;
        }
        if view.is_client {
            self.open_wanted(now, view, commands);
        } else if view.announce {
            let used = |addr: IpAddr| view.subflows.iter().any(|s| s.local.ip() == addr);
            let idle = |l: &&LocalView| !l.announced && !used(l.addr) && l.reached && is_reachable(l.addr);
            commands.extend(view.locals.iter().filter(idle).map(|l| PathCommand::Announce(l.addr)));
        }
    }
}
