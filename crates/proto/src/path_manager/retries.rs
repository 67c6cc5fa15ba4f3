//! When a subflow that was lost is tried again, and what is opened now: what all path managers have in common.

use super::{LocalView, PathCommand, PathEvent, PathManagerView};
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
    remote: SocketAddr,
    /// None: never, until something changes.
    not_before: Option<Instant>,
    pause: Duration,
}

/// What has failed, and when it may be tried again.
#[derive(Debug, Default)]
pub(super) struct Retries {
    ready: bool,
    list: Vec<Retry>,
}

impl Retries {
    /// Takes note of what happened. False: it is too early to open anything.
    pub(super) fn note(&mut self, now: Instant, event: &PathEvent, view: &PathManagerView<'_>) -> bool {
        match *event {
            PathEvent::Established => self.ready = true,
            PathEvent::SubflowClosed { local, remote, reason, answered, transient, again } => {
                let announced = remote != view.initial_remote && view.remotes.contains(&remote);
                let failed = matches!(
                    reason,
                    CloseReason::TimedOut
                        | CloseReason::ResetByPeer
                        | CloseReason::Unreachable
                        | CloseReason::ProtocolError
                );
                let asked = reason == CloseReason::Asked;
                let unknown = announced && failed && !answered && transient.is_none();
                let refused = transient == Some(false) || asked || unknown;
                let again = again || (failed && !answered && reason != CloseReason::TimedOut);
                self.note_closed(now, view, (local.ip(), remote), reason, (refused, again, answered));
            }
            PathEvent::Announced(remote) => self.list.retain(|r| r.remote != remote),
            PathEvent::SubflowStalled { .. }
            | PathEvent::LocalAddresses
            | PathEvent::RemoteAddresses
            | PathEvent::Timer => {}
        }
        self.list.retain(|r| r.remote == view.initial_remote || view.remotes.contains(&r.remote));
        self.ready
    }

    fn note_closed(
        &mut self,
        now: Instant,
        view: &PathManagerView<'_>,
        (local, remote): (IpAddr, SocketAddr),
        reason: CloseReason,
        (refused, again, answered): (bool, bool, bool),
    ) {
        if reason == CloseReason::AddressRemoved {
            // If it comes back, it is another path.
            self.list.retain(|r| r.local != local);
        }
        let same = |r: &Retry| (r.local, r.remote) == (local, remote);
        let old = self.list.iter().position(same).map(|i| self.list.swap_remove(i));
        // What came to be, and has held for so long since then, begins anew.
        let old = old.filter(|r| !answered || r.not_before.is_none_or(|at| now < at + RETRY_MAX));
        let pause = match reason {
            // Without any subflow there is nothing to be gentle with, unless they are refused, or come up and break in vain.
            _ if !view.subflows.iter().any(|s| s.established) => match old {
                Some(old) if again => (old.pause * 2).clamp(RETRY_SILENT, RETRY_MAX),
                _ => RETRY_SILENT,
            },
            CloseReason::Silent | CloseReason::AddressRemoved => RETRY_SILENT,
            CloseReason::Finished | CloseReason::Aborted => RETRY_MAX,
            _ => old.map_or(RETRY_REFUSED, |r| (r.pause * 2).clamp(RETRY_REFUSED, RETRY_MAX)),
        };
        let not_before = (!refused).then_some(now + pause);
        self.list.push(Retry { local, remote, not_before, pause });
    }

    fn retry(&self, local: IpAddr, remote: SocketAddr) -> Option<&Retry> {
        self.list.iter().find(|r| (r.local, r.remote) == (local, remote))
    }

    /// Whether the two were not refused for good. [8684-3.6-3, 8684-3.4.1-14, 8684-3.9.3-3]
    pub(super) fn may_ever(&self, local: IpAddr, remote: SocketAddr) -> bool {
        self.retry(local, remote).is_none_or(|retry| retry.not_before.is_some())
    }

    /// Whether the two have failed just now, or for good.
    pub(super) fn has_failed(&self, now: Instant, local: IpAddr, remote: SocketAddr) -> bool {
        self.retry(local, remote).is_some_and(|retry| retry.not_before.is_none_or(|at| at > now))
    }
}

/// What there is, and what will be after the commands so far.
pub(super) struct Opening<'a> {
    now: Instant,
    view: &'a PathManagerView<'a>,
    retries: &'a Retries,
    count: usize,
    ends: Vec<(IpAddr, SocketAddr)>,
    commands: &'a mut Vec<PathCommand>,
}

impl<'a> Opening<'a> {
    pub(super) fn new(
        now: Instant,
        view: &'a PathManagerView<'a>,
        retries: &'a Retries,
        commands: &'a mut Vec<PathCommand>,
    ) -> Self {
        let ends = view.subflows.iter().map(|s| (s.local.ip(), s.remote)).collect();
        let count = view.subflows.iter().filter(|s| !s.stalled).count();
        Opening { now, view, retries, count, ends, commands }
    }

    /// Subflows from a local address.
    pub(super) fn from(&self, local: IpAddr) -> usize {
        self.ends.iter().filter(|(l, _)| *l == local).count()
    }

    /// Subflows to a remote end.
    pub(super) fn to(&self, remote: SocketAddr) -> usize {
        self.ends.iter().filter(|(_, r)| *r == remote).count()
    }

    /// Subflows between two.
    pub(super) fn between(&self, local: IpAddr, remote: SocketAddr) -> usize {
        self.ends.iter().filter(|ends| **ends == (local, remote)).count()
    }

    /// Where subflows may go: the first address, if that may be joined, then the announced ones. [8684-3.1-13, 8684-3.9.1-1]
    pub(super) fn remotes(&self) -> impl Iterator<Item = SocketAddr> + use<'a> {
        let view = self.view;
        let initial = Some(view.initial_remote).filter(|_| !view.deny_join_initial);
        initial.into_iter().chain(view.remotes.iter().copied().filter(move |remote| Some(*remote) != initial))
    }

    /// Where a subflow from `local` shall go: to the first of these that is of its family, and has not refused it.
    pub(super) fn target(&self, local: IpAddr) -> Option<SocketAddr> {
        self.remotes().find(|r| r.is_ipv4() == local.is_ipv4() && self.retries.may_ever(local, *r))
    }

    /// The local address with the fewest subflows that can reach it, backups last, and after them those from where it was
    /// tried in vain just now: they spread over the paths there are.
    pub(super) fn least_used(&self, remote: SocketAddr) -> Option<&'a LocalView> {
        let fit = self.view.locals.iter().filter(|l| l.addr.is_ipv4() == remote.is_ipv4());
        fit.min_by_key(|l| (self.retries.has_failed(self.now, l.addr, remote), l.backup, self.from(l.addr)))
    }

    /// Opens a subflow between the two, or says when, unless that was refused or there are enough.
    pub(super) fn open(&mut self, local: IpAddr, remote: SocketAddr, backup: bool) {
        match self.retries.retry(local, remote).map(|retry| retry.not_before) {
            Some(None) => {}
            Some(Some(at)) if at > self.now => self.commands.push(PathCommand::WakeAt(at)),
            _ if self.count < self.view.max_subflows => {
                self.count += 1;
                self.ends.push((local, remote));
                self.commands.push(PathCommand::Open { local, remote, backup });
            }
            _ => {}
        }
    }
}

/// Tells the peer of the addresses that no subflow uses, where that is wanted. Of the connection's own family first: a
/// socket for IPv4 alone joins no other, and a peer takes only so many.
pub(super) fn announce(view: &PathManagerView<'_>, commands: &mut Vec<PathCommand>) {
    let used = |addr: IpAddr| view.subflows.iter().any(|s| s.local.ip() == addr);
    let idle = |l: &&LocalView| view.announce && !l.announced && !used(l.addr) && l.reached && is_reachable(l.addr);
    let (same, other): (Vec<&LocalView>, Vec<&LocalView>) =
        view.locals.iter().filter(idle).partition(|l| l.addr.is_ipv4() == view.initial_remote.is_ipv4());
    commands.extend(same.into_iter().chain(other).map(|l| PathCommand::Announce(l.addr)));
}

/// Worth telling a peer of: an address that others may reach. [8684-3.4.1-11]
fn is_reachable(addr: IpAddr) -> bool {
    let link_local = match addr {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(link_local || addr.is_loopback() || addr.is_unspecified() || addr.is_multicast())
}
