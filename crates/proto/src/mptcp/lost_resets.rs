//! A server's resets of subflows whose path is silent, or whose address is gone. They get lost there, or cannot be sent, and
//! nobody repeats a reset: a client that only reads takes the path for sound when it is back, and does not join again. So
//! they are said again, at the pace of all probes, until a subflow stands where the old one was.

use super::timers::{ConnectionTimer, GIVE_UP_AFTER, PROBE_PACE, probe_pace};
use super::{Connection, Env, Request, Role};
use crate::SubflowId;
use crate::time::Instant;
use polypath_wire::SeqNum;
use std::net::SocketAddr;

/// More at a time are not worth their memory.
const MAX_LOST_RESETS: usize = 8;

/// A reset that may not have arrived.
#[derive(Clone, Debug)]
pub(super) struct LostReset {
    local: SocketAddr,
    remote: SocketAddr,
    link: crate::LinkId,
    seq: SeqNum,
    since: Instant,
    next: Instant,
}

impl Connection {
    /// A reset leaves on this subflow.
    pub(super) fn note_reset(&mut self, now: Instant, id: SubflowId) {
        if self.get(id).is_some_and(|s| s.stalled.is_some()) {
            self.note_lost_reset(now, id);
        }
    }

    /// A reset of this subflow gets lost. A client finds out by its own joins.
    pub(super) fn note_lost_reset(&mut self, now: Instant, id: SubflowId) {
        let Some(s) = self.get(id).filter(|s| s.established) else { return };
        let (local, remote, link, seq) = (s.tcp.local(), s.tcp.remote(), s.tcp.link, s.tcp.wire_snd_nxt());
        let goes_on = self.role == Role::Server && self.is_active() && self.error.is_none() && !self.finished;
        if goes_on && self.lost_resets.len() < MAX_LOST_RESETS {
            let next = now + PROBE_PACE;
            self.lost_resets.push(LostReset { local, remote, link, seq, since: now, next });
            self.timers.set_if_earlier(ConnectionTimer::Resets, next);
        }
    }

    pub(super) fn repeat_resets(&mut self, now: Instant, env: &Env<'_>) {
        let mut resets = core::mem::take(&mut self.lost_resets);
        let ends = |local: SocketAddr, remote: SocketAddr| (local.ip(), remote.ip());
        resets.retain(|r| {
            let replaced = self.iter().any(|(_, s)| ends(s.tcp.local(), s.tcp.remote()) == ends(r.local, r.remote));
            !replaced && now - r.since < GIVE_UP_AFTER
        });
        for r in resets.iter_mut().filter(|r| r.next <= now) {
            r.next = now + probe_pace(now, r.since);
            if !env.addresses.iter().any(|a| a.addr == r.local.ip()) {
                continue;
            }
            let LostReset { local, remote, link, seq, .. } = *r;
            self.requests.push(Request::Refuse { local, remote, link, seq });
        }
        if let Some(next) = resets.iter().map(|r| r.next).min() {
            self.timers.set(ConnectionTimer::Resets, next);
        }
        self.lost_resets = resets;
    }
}
