//! MP_JOIN: further subflows, as client and as server (RFC 8684, section 3.2), and how many there may be.

use super::session::tcprst;
use super::subflow::Question;
use super::{CloseReason, Connection, Env, Handshake, Role, Subflow};
use crate::SubflowId;
use crate::mib::Counter;
use crate::path_manager::PathEvent;
use crate::tcp::{Tcp, Timer};
use crate::time::{Duration, Instant};
use polypath_wire::{MpJoin, MptcpOption, ResetReason, Segment, Token, join_ack_hmac, join_synack_hmac};

/// Joins that may wait for their third ACK where subflows leave fewer places: one of those may have died unnoticed.
const JOINS_UNDER_WAY: usize = 4;

/// A subflow is asked whether it lives when a join is refused for it and nothing has come for so long, so often...
const QUESTIONS: u32 = 2;
/// ...and when it has not answered for so long it is as good as gone.
const SILENCE: Duration = Duration::from_secs(1);

/// The MP_JOIN of a SYN.
#[derive(Copy, Clone, Debug)]
pub(crate) struct JoinSyn {
    pub(crate) token: Token,
    pub(crate) nonce: u32,
    pub(crate) address_id: u8,
    pub(crate) backup: bool,
}

impl JoinSyn {
    pub(crate) fn of(seg: &Segment) -> Option<JoinSyn> {
        seg.options.mptcp.iter().find_map(|option| match option {
            MptcpOption::MpJoin(MpJoin::Syn { backup, address_id, token, nonce }) => {
                Some(JoinSyn { token: *token, nonce: *nonce, address_id: *address_id, backup: *backup })
            }
            _ => None,
        })
    }
}

impl Connection {
    /// Whether subflows may be added.
    pub(crate) fn takes_subflows(&self) -> bool {
        self.is_active() && self.error.is_none() && !self.finished && !self.waits_for_plain_tcp()
    }

    pub(super) fn on_join_syn_ack(&mut self, now: Instant, env: &Env<'_>, id: SubflowId, nonce: u32, seg: &Segment) {
        let Some(session) = self.multipath.session().copied() else { return };
        let answer = seg.options.mptcp.iter().find_map(|option| match option {
            MptcpOption::MpJoin(MpJoin::SynAck { backup, address_id, hmac, nonce }) => {
                Some((*backup, *address_id, *hmac, *nonce))
            }
            _ => None,
        });
        // [8684-3.2-16]
        let Some((backup, remote_id, hmac, remote_nonce)) = answer else {
            // RFC 8684, section 3.2: a SYN/ACK without MP_JOIN: the subflow is closed with a reset.
            return self.close_subflow_with_reset(now, env, id, ResetReason::MptcpSpecific, CloseReason::ProtocolError);
        };
        // [8684-3.2-13, 8684-3.9.3-2]
        // [8684-3.2-17]
        self.journal.count(Counter::MPTcpExtMPJoinSynAckRx);
        if backup {
            self.journal.count(Counter::MPTcpExtMPJoinSynAckBackupRx);
        }
        if hmac != join_synack_hmac(session.remote_key, session.local_key, remote_nonce, nonce) {
            self.journal.count(Counter::MPTcpExtMPJoinSynAckHMacFailure);
            return self.close_subflow_with_reset(now, env, id, ResetReason::MptcpSpecific, CloseReason::ProtocolError);
        }
        if let Some(s) = self.get_mut(id) {
            s.handshake = Handshake::JoinAck { nonce, remote_nonce };
            // [8684-3.2-4]
            s.remote_id = remote_id;
            s.remote_backup = backup;
            s.tcp.ack_now();
            let again = now + s.tcp.backed_off_rto();
            s.tcp.timers.set(Timer::Retransmit, again);
        }
    }

    /// The fourth ACK: whatever is accepted after our third proves that it arrived.
    pub(super) fn finish_join(&mut self, now: Instant, env: &Env<'_>, id: SubflowId) {
        let Some(s) = self.get_mut(id) else { return };
        if let Handshake::JoinAck { .. } = s.handshake {
            s.tcp.timers.stop(Timer::Retransmit);
            s.tcp.settle_handshake();
            if !self.finds_a_place(now, env, id) {
                return;
            }
            self.on_subflow_established(now, id);
            self.replace_silent(now, env, id);
            self.notify_path_manager(now, env, &PathEvent::Timer);
        }
    }

    pub(super) fn on_join_third_ack(
        &mut self,
        now: Instant,
        env: &Env<'_>,
        id: SubflowId,
        (nonce, remote_nonce): (u32, u32),
        seg: &Segment,
    ) -> bool {
        let Some(session) = self.multipath.session().copied() else { return false };
        let hmac = seg.options.mptcp.iter().find_map(|option| match option {
            MptcpOption::MpJoin(MpJoin::Ack { hmac }) => Some(*hmac),
            _ => None,
        });
        match hmac {
            // It may send nothing else before our fourth ACK: the option was removed. [8684-3.2-15, 8684-3.2-17]
            None => {
                self.close_subflow_with_reset(now, env, id, ResetReason::MptcpSpecific, CloseReason::ProtocolError);
                return false;
            }
            // [8684-3.2-14]
            Some(hmac) if hmac != join_ack_hmac(session.remote_key, session.local_key, remote_nonce, nonce) => {
                self.journal.count(Counter::MPTcpExtMPJoinAckHMacFailure);
                self.close_subflow_with_reset(now, env, id, ResetReason::MptcpSpecific, CloseReason::ProtocolError);
                return false;
            }
            Some(_) => self.journal.count(Counter::MPTcpExtMPJoinAckRx),
        }
        if !self.finds_a_place(now, env, id) {
            self.journal.count(Counter::MPTcpExtMPJoinRejected);
            return false;
        }
        if let Some(s) = self.get_mut(id) {
            // [8684-3.2-10]
            s.tcp.on_handshake_ack(now, seg);
            s.tcp.ack_now();
        }
        self.on_subflow_established(now, id);
        true
    }

    /// A peer wants to join. None: refused.
    pub(crate) fn accept_join(
        &mut self,
        now: Instant,
        env: &Env<'_>,
        tcp: Tcp,
        join: JoinSyn,
        nonce: u32,
    ) -> Option<SubflowId> {
        if !self.takes_subflows() || !self.may_use(env, tcp.local().ip()) {
            return None;
        }
        let local_id = self.local_id(tcp.local().ip())?;
        let max = self.max_subflows;
        let working = self.iter().filter(|(_, s)| s.established && silent_since(now, s).is_none()).count();
        if working >= max {
            self.ask_for_places(now);
            return None;
        }
        let places = (max - working).max(JOINS_UNDER_WAY);
        self.make_room_for_join(now, places);
        let handshake = Handshake::JoinSynAck { nonce, remote_nonce: join.nonce };
        let mut subflow = Subflow::new(now, tcp, handshake, local_id, join.address_id);
        subflow.remote_backup = join.backup;
        self.name_subflow(env, &mut subflow);
        self.add_subflow(max + places, subflow)
    }

    /// Whoever has seen a token can send joins, but not end them: those that wait longest for their third ACK do not keep
    /// others out.
    fn make_room_for_join(&mut self, now: Instant, places: usize) {
        let joins = || self.iter().filter(|(_, s)| is_half_open(s));
        if joins().count() >= places
            && let Some((id, _)) = joins().min_by_key(|(_, s)| s.opened_at)
        {
            self.drop_subflow(now, id, CloseReason::TimedOut);
        }
    }

    /// A join is through. Where that makes one too many, it takes the place of what has been silent longest: where a NAT has
    /// lost that, the peer has long forgotten it. If all of them work, a client keeps those of different addresses. False: it
    /// had to go itself.
    fn finds_a_place(&mut self, now: Instant, env: &Env<'_>, new: SubflowId) -> bool {
        let old = || self.iter().filter(|(id, s)| *id != new && s.established && s.reset.is_none());
        if old().count() < self.max_subflows {
            return true;
        }
        if let Some((_, id)) = old().filter_map(|(id, s)| Some((silent_since(now, s)?, id))).min() {
            self.close_subflow_with_reset(now, env, id, ResetReason::UnacceptablePerformance, CloseReason::TimedOut);
            return true;
        }
        let addr = |id: SubflowId| self.get(id).map(|s| s.tcp.local().ip());
        let shared = |id: SubflowId| old().any(|(other, _)| other != id && addr(other) == addr(id));
        let spare = old().filter(|(id, _)| self.role == Role::Client && !shared(new) && shared(*id));
        let which = spare.max_by_key(|(_, s)| s.opened_at).map_or(new, |(id, _)| id);
        self.close_subflow_with_reset(now, env, which, ResetReason::LackOfResources, CloseReason::Aborted);
        which != new
    }

    /// How many there may be with those that are on trial for the place of one that is stalled.
    pub(super) fn most_subflows(&self) -> usize {
        self.max_subflows + self.iter().filter(|(_, s)| s.gets_nothing_through()).count()
    }

    /// Somebody was refused for subflows on which nothing is under way: who only listens does not see that they are dead. The
    /// peer will come again.
    fn ask_for_places(&mut self, now: Instant) {
        for id in self.ids() {
            let Some(s) = self.get_mut(id).filter(|s| s.established && s.is_usable()) else { continue };
            let (since, asked) = s.probed_at.unwrap_or((now, 0));
            if s.tcp.last_received + SILENCE <= now && asked < QUESTIONS {
                s.probed_at = Some((since, asked + 1));
                s.question = Some(Question::Keepalive);
            }
        }
    }

    /// Takes in a subflow that the path manager wanted and the stack made.
    pub(crate) fn open_join(
        &mut self,
        now: Instant,
        env: &Env<'_>,
        tcp: Tcp,
        nonce: u32,
        backup: bool,
    ) -> Option<SubflowId> {
        if !self.takes_subflows() {
            return None;
        }
        let local_id = self.local_id(tcp.local().ip())?;
        let remote_id = self.remote_addresses.iter().find(|(_, a)| *a == tcp.remote()).map_or(0, |(id, _)| *id);
        let mut subflow = Subflow::new(now, tcp, Handshake::JoinSyn { nonce }, local_id, remote_id);
        // An address that the peer announced may be anybody's: only RFC 6298's pace until it has answered.
        let (local, remote) = (subflow.tcp.local().ip(), subflow.tcp.remote());
        let known = remote == self.initial.remote() || self.known_remotes.contains(&remote);
        // Nor has one over the only path there is a faster pace than what it is to replace. [6298-5-5]
        subflow.worked_before =
            known && !self.iter().any(|(_, s)| (s.tcp.local().ip(), s.tcp.remote()) == (local, remote));
        self.name_subflow(env, &mut subflow);
        subflow.backup |= backup;
        self.add_subflow(self.most_subflows(), subflow)
    }

    /// The reset that refuses a join (RFC 8684, section 3.2). Another time there may be a place.
    pub(crate) fn join_refusal(transient: bool) -> MptcpOption {
        // [8684-3.2-8]
        tcprst(ResetReason::MptcpSpecific, transient)
    }
}

/// Since when nothing gets through on it, if nothing does.
fn silent_since(now: Instant, s: &Subflow) -> Option<Instant> {
    let unanswered = s.probed_at.filter(|(since, asked)| *asked >= QUESTIONS && now - *since >= SILENCE);
    s.stalled.or(unanswered.map(|(since, _)| since))
}

/// A join that has not shown yet that it comes from the peer.
fn is_half_open(s: &Subflow) -> bool {
    matches!(s.handshake, Handshake::JoinSynAck { .. })
}
