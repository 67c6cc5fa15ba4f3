//! The connection's own timers, and what happens when any timer expires.

use super::subflow::Question;
use super::{CloseReason, Connection, ConnectionError, Env, Handshake, SendHalf};
use crate::SubflowId;
use crate::congestion::Congestion;
use crate::path_manager::PathEvent;
use crate::tcp::{INITIAL_RTO, State, Timer};
use crate::time::{Duration, Instant};
use crate::trace::{LossReason, ReinjectReason, TraceEvent};
use polypath_wire::ResetReason;

/// What a connection can be waiting for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum ConnectionTimer {
    /// The DATA_FIN is not acknowledged (RFC 8684, section 3.3.3).
    DataFin,
    /// Data is acknowledged on its subflow, but not by DATA_ACK.
    DataRetransmit,
    /// Are a subflow's acknowledgements overdue?
    Suspicion,
    /// Is a path silent?
    Liveness,
    /// Do backups still work?
    Backups,
    /// The path manager asked to be called.
    PathManager,
    /// An ADD_ADDR was not echoed.
    AddAddr,
    /// Does a subflow still work whose address the peer took back?
    Doubt,
    /// Signals wait for acknowledgements that mean something else.
    Signals,
    /// A reset may not have arrived.
    Resets,
    /// A SYN waits for data to go with it (RFC 7413).
    FastOpen,
    /// Data has waited for its acknowledgement for as long as the application wants.
    UserTimeout,
    /// The peer was asked for plain TCP, and may be unable to send since.
    PlainTcp,
    /// No subflow is left, or the application is gone: how long to wait.
    Abandon,
}

const ALL: [ConnectionTimer; 14] = [
    ConnectionTimer::DataFin,
    ConnectionTimer::DataRetransmit,
    ConnectionTimer::Suspicion,
    ConnectionTimer::Liveness,
    ConnectionTimer::Backups,
    ConnectionTimer::PathManager,
    ConnectionTimer::AddAddr,
    ConnectionTimer::Doubt,
    ConnectionTimer::Signals,
    ConnectionTimer::Resets,
    ConnectionTimer::FastOpen,
    ConnectionTimer::UserTimeout,
    ConnectionTimer::PlainTcp,
    ConnectionTimer::Abandon,
];

#[derive(Debug, Default)]
pub(super) struct ConnectionTimers {
    at: [Option<Instant>; ALL.len()],
}

impl ConnectionTimers {
    pub(super) fn set(&mut self, timer: ConnectionTimer, at: Instant) {
        self.at[timer as usize] = Some(at);
    }

    pub(super) fn stop(&mut self, timer: ConnectionTimer) {
        self.at[timer as usize] = None;
    }

    pub(super) fn is_set(&self, timer: ConnectionTimer) -> bool {
        self.at[timer as usize].is_some()
    }

    /// Sets it, unless it is set to an earlier time.
    pub(super) fn set_if_earlier(&mut self, timer: ConnectionTimer, at: Instant) {
        if self.at[timer as usize].is_none_or(|old| at < old) {
            self.set(timer, at);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = ConnectionTimers::default();
    }

    fn next(&self) -> Option<Instant> {
        self.at.iter().copied().flatten().min()
    }

    fn pop_due(&mut self, now: Instant) -> Option<ConnectionTimer> {
        let due = ALL.into_iter().find(|t| self.at[*t as usize].is_some_and(|at| at <= now))?;
        self.stop(due);
        Some(due)
    }
}

/// SYNs without an answer before a connection is given up (Linux: tcp_syn_retries, 127 s in all).
const SYN_RETRIES: u32 = 6;
/// A join whose SYN was sent so often without an answer holds no other up.
pub(super) const UNANSWERED_SYNS: u32 = 3;
/// SYN/ACKs without an answer (Linux: tcp_synack_retries).
const SYN_ACK_RETRIES: u32 = 5;
/// MP_CAPABLE SYNs without an answer before plain TCP is tried (Linux: syn_retrans_before_tcp_fallback).
// [8684-3.1-20]
pub(super) const SYN_RETRIES_WITH_CAPABLE: u32 = 2;
/// How long a lone subflow may stay without an answer before the connection is given up (RFC 9293, section
/// 3.8.3, R2: at least 100 seconds; Linux's 15 retries make 15 minutes).
// [9293-SHLD-11]
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(15 * 60);
/// The pace of probes on a path that does not answer while others do, and of a join's SYN. This departs from
/// the doubling of RFC 6298, section 5.5: one small segment at this pace is no load, and a path that returns
/// is used at once.
pub(super) const PROBE_PACE: Duration = Duration::from_millis(250);
/// For so long; then the pace halves with each probe.
const STEADY_PROBING: Duration = Duration::from_secs(30);
/// The slowest pace.
const PROBE_PACE_MAX: Duration = Duration::from_secs(60);

/// When to probe again a path that fell silent at `since`.
pub(super) fn probe_pace(now: Instant, since: Instant) -> Duration {
    let silent = now - since;
    if silent < STEADY_PROBING { PROBE_PACE } else { (silent / 8).min(PROBE_PACE_MAX) }
}

impl Connection {
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.iter().filter_map(|(_, s)| s.tcp.timers.next()).chain(self.timers.next()).min()
    }

    /// Everything that is due by `now`.
    pub(crate) fn on_timeout(&mut self, now: Instant, env: &Env<'_>) {
        for id in self.ids() {
            while let Some(timer) = self.get_mut(id).and_then(|s| s.tcp.timers.pop_due(now)) {
                self.on_subflow_timer(now, env, id, timer);
            }
        }
        while let Some(timer) = self.timers.pop_due(now) {
            self.on_connection_timer(now, env, timer);
        }
        self.advance_close(now);
    }

    fn on_connection_timer(&mut self, now: Instant, env: &Env<'_>, timer: ConnectionTimer) {
        match timer {
            ConnectionTimer::DataFin if self.send_half == SendHalf::FinSent => self.on_data_fin_timer(now),
            ConnectionTimer::DataFin => {}
            // [8684-3.3.6-3, 8684-6-4]
            ConnectionTimer::DataRetransmit => self.reinject_if_stuck(now, env),
            ConnectionTimer::Suspicion => self.suspect_overdue(now),
            ConnectionTimer::Liveness => self.check_liveness(now, env),
            ConnectionTimer::Backups => self.ask_backups(now),
            ConnectionTimer::PathManager => self.notify_path_manager(now, env, &PathEvent::Timer),
            ConnectionTimer::AddAddr => self.announce_next(now),
            ConnectionTimer::Doubt => self.resolve_doubts(now, env),
            ConnectionTimer::Resets => self.repeat_resets(now, env),
            // They go out when the connection is asked for packets next.
            ConnectionTimer::Signals | ConnectionTimer::FastOpen => {}
            ConnectionTimer::UserTimeout => self.on_user_timeout(now),
            ConnectionTimer::PlainTcp => self.on_plain_tcp_timer(now),
            ConnectionTimer::Abandon => self.fail(now, ConnectionError::TimedOut),
        }
    }

    /// Subflows that are alive may be so for ever, where something on the way takes options off acknowledgements.
    fn on_data_fin_timer(&mut self, now: Instant) {
        let una = self.data_una;
        let since = self.data_fin_unanswered.filter(|(at, _)| *at == una).map_or(now, |(_, since)| since);
        self.data_fin_unanswered = Some((una, since));
        // [9293-MUST-20]
        if now - since > self.patience() {
            return self.fail(now, ConnectionError::TimedOut);
        }
        self.repeat_empty_end();
        self.request_data_fin();
        // Nothing to send it on: look again, a subflow may come.
        self.timers.set(ConnectionTimer::DataFin, now + PROBE_PACE);
    }

    fn on_subflow_timer(&mut self, now: Instant, env: &Env<'_>, id: SubflowId, timer: Timer) {
        let Some(s) = self.get_mut(id) else { return };
        match timer {
            Timer::DelayedAck => s.tcp.delayed_ack_due(),
            Timer::Persist => self.on_persist_timer(now, id),
            Timer::Reorder => {
                let out = s.tcp.on_reorder_timer(now);
                self.trace_losses(id, &out, LossReason::ReorderingTimer);
                if out.newly_lost > 0 {
                    self.reinject_lost(now, id);
                }
                self.note_mtu_probe(id, &out);
                if out.recovery_entered {
                    self.begin_recovery(now, id, &out);
                }
            }
            Timer::Keepalive => self.on_keepalive_timer(now, env, id),
            Timer::LossProbe => s.tail_probe_due = true,
            // It goes out when the connection is asked for packets next.
            Timer::Pacing => {}
            Timer::Retransmit if s.tcp.state.is_synchronized() => match s.handshake {
                Handshake::JoinAck { .. } => self.repeat_join_ack(now, id),
                _ => self.on_retransmission_timeout(now, env, id),
            },
            Timer::Retransmit => self.on_handshake_timeout(now, env, id),
        }
    }

    /// Time to ask whether the window is open again.
    fn on_persist_timer(&mut self, now: Instant, id: SubflowId) {
        let alone = self.is_alone(id);
        let Some(s) = self.get_mut(id) else { return };
        s.question = Some(Question::Window);
        let answered = s.persist_since.is_none_or(|since| s.tcp.last_received >= since);
        // [9293-MUST-37]
        let since = *if answered { s.persist_since.insert(now) } else { s.persist_since.get_or_insert(now) };
        // The probes before went unanswered: it is not only the window that is shut.
        let silent = s.persist_backoff > 2 && now - s.tcp.last_received > s.tcp.rtt.rto() * 3;
        if silent && s.stalled.is_none() {
            s.stalled = Some(now);
            self.subflow_news(id, super::info::SubflowChange::Stalled);
        }
        // [9293-MUST-20]
        if alone && now - since > self.patience() {
            self.fail(now, ConnectionError::TimedOut);
        }
    }

    /// No other subflow works.
    pub(super) fn is_alone(&self, id: SubflowId) -> bool {
        let works = |s: &super::Subflow| s.is_usable() && s.stalled.is_none();
        !self.iter().any(|(other, s)| other != id && works(s))
    }

    /// A SYN or SYN/ACK was not answered.
    fn on_handshake_timeout(&mut self, now: Instant, env: &Env<'_>, id: SubflowId) {
        let initial = self.is_initial_handshake();
        let Some(s) = self.get_mut(id) else { return };
        s.tcp.on_handshake_timeout();
        s.send_syn = true;
        let tries = s.tcp.backoff();
        match s.tcp.state {
            State::SynSent if initial => {
                // [9293-MUST-22]
                if tries > SYN_RETRIES {
                    return self.fail(now, ConnectionError::TimedOut);
                }
                // RFC 8684, section 3.7: something may drop SYNs with options it does not know.
                // [8684-3.9.3-1, 8684-6-1]
                if tries > SYN_RETRIES_WITH_CAPABLE && matches!(self.multipath, super::Multipath::Negotiating { .. }) {
                    self.fall_back(super::FallbackReason::SynDropped);
                }
            }
            State::SynSent if !initial && !s.worked_before && tries > SYN_RETRIES => {
                self.close_subflow(now, env, id, CloseReason::TimedOut);
            }
            State::SynSent if !initial && s.worked_before && tries == UNANSWERED_SYNS => {
                let event = PathEvent::SubflowStalled { local: s.tcp.local(), remote: s.tcp.remote() };
                self.notify_path_manager(now, env, &event);
            }
            State::SynReceived if tries > SYN_ACK_RETRIES => {
                if initial {
                    self.fail(now, ConnectionError::TimedOut);
                } else {
                    self.close_subflow(now, env, id, CloseReason::TimedOut);
                }
            }
            _ => {}
        }
    }

    /// How long to wait for the answer to a SYN or SYN/ACK that leaves now.
    pub(super) fn handshake_patience(&self, now: Instant, id: SubflowId) -> Duration {
        let Some(s) = self.get(id) else { return INITIAL_RTO };
        match s.handshake {
            // A join's SYN is also the probe of a path that comes back.
            Handshake::JoinSyn { .. } if s.worked_before => probe_pace(now, s.opened_at),
            _ => s.tcp.backed_off_rto(),
        }
    }

    fn repeat_join_ack(&mut self, now: Instant, id: SubflowId) {
        if let Some(s) = self.get_mut(id) {
            s.tcp.ack_now();
            // [8684-3.2-11]
            let again = now + probe_pace(now, s.opened_at);
            s.tcp.timers.set(Timer::Retransmit, again);
        }
    }

    /// RFC 6298, section 5: nothing was acknowledged for too long.
    fn on_retransmission_timeout(&mut self, now: Instant, env: &Env<'_>, id: SubflowId) {
        let alone = self.is_alone(id);
        let Some(s) = self.get_mut(id) else { return };
        if !s.tcp.has_outstanding() {
            return;
        }
        let (in_flight, loss_window) = (s.tcp.in_flight(), s.loss_window);
        let (first, lost) = s.tcp.on_retransmission_timeout(now, alone);
        let (rto, backoff) = (s.tcp.rtt.rto(), s.tcp.backoff());
        let newly_stalled = s.stalled.is_none();
        // [9293-SHLD-10]
        let since = *s.stalled.get_or_insert(now);
        // [6298-5-5]
        let patience = if alone { s.tcp.backed_off_rto() } else { probe_pace(now, since) };
        s.tcp.timers.set(Timer::Retransmit, now + patience);
        self.journal.trace(|| TraceEvent::TimedOut { subflow: id, rto, backoff });
        if lost > 0 {
            self.journal.trace(|| TraceEvent::Lost { subflow: id, bytes: lost, reason: LossReason::Timeout });
        }
        // Again, where it has grown or come back since.
        // [5681-3.1-6]
        if first || self.congestion.window(id) > loss_window {
            self.reduce_window(now, id, Congestion::Timeout, in_flight);
            let window = self.congestion.window(id);
            if let Some(s) = self.get_mut(id) {
                s.loss_window = window;
            }
        }
        self.suspect_black_hole(now, id);
        if alone {
            self.consider_another(id, backoff);
        }
        if newly_stalled {
            // [9293-SHLD-9]
            self.subflow_news(id, super::info::SubflowChange::Stalled);
            if let Some((local, remote)) = self.get(id).map(|s| (s.tcp.local(), s.tcp.remote())) {
                self.path_events.push(PathEvent::SubflowStalled { local, remote });
            }
        }
        let silent_since = match self.get(id) {
            // A peer that took back its window, and still answers, is not to be given up. [9293-SHLD-17]
            Some(s) if s.tcp.is_beyond_window() => since.max(s.tcp.last_received),
            _ => since,
        };
        // [9293-MUST-20]
        if alone && now - silent_since > self.patience() {
            return self.fail(now, ConnectionError::TimedOut);
        }
        // [8684-3.3.6-4]
        if !alone && now - silent_since > GIVE_UP_AFTER {
            let reset = ResetReason::UnacceptablePerformance;
            return self.close_subflow_with_reset(now, env, id, reset, CloseReason::TimedOut);
        }
        self.reinject_outstanding(id, ReinjectReason::Timeout);
    }
}
