//! The end: of our stream, of a subflow, of the connection (RFC 8684, section 3.3.3).

use super::info::SubflowChange;
use super::timers::ConnectionTimer;
use super::{CloseReason, Connection, ConnectionError, Env, Handshake, Multipath, News, Request, SendHalf, TimeWait};
use crate::SubflowId;
use crate::mib::Counter;
use crate::path_manager::PathEvent;
use crate::scheduler::SubflowSet;
use crate::seq::Dsn;
use crate::tcp::State;
use crate::time::{Duration, Instant};
use crate::trace::{ReinjectReason, TraceEvent};
use polypath_wire::{MpFastclose, ResetReason};

/// How long a connection lives without progress and without an application, or without any subflow
/// (Linux: net.mptcp.close_timeout).
// [8684-3.3.3-10]
const ABANDON_AFTER: Duration = Duration::from_secs(60);

/// The same while written data is still to be delivered: a few doublings of the timeout after a long cut
/// (Linux: tcp_orphan_retries makes about as much).
const DELIVER_FOR: Duration = Duration::from_secs(150);

impl Connection {
    /// The application has written its last byte.
    pub(crate) fn shutdown(&mut self, now: Instant) {
        if self.send_half == SendHalf::Open {
            self.send_half = SendHalf::FinQueued;
        }
        self.advance_close(now);
    }

    /// The application is gone.
    pub(crate) fn close(&mut self, now: Instant) {
        self.orphaned = true;
        // [9293-SHLD-3]
        if self.inbox.len() > 0 || !self.was_established() {
            // RFC 2525, section 2.17: what was not read is lost, and the peer must learn of it.
            return self.abort(now);
        }
        self.touch_abandon(now);
        self.shutdown(now);
    }

    /// Whether the application is done writing, and the peer has not acknowledged all of it yet, or the end of it.
    pub(crate) fn owes(&self) -> bool {
        !self.finished && matches!(self.send_half, SendHalf::FinQueued | SendHalf::FinSent)
    }

    /// Whether both ends have said and heard all, or it has failed.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Ends it at once, for the peer too.
    pub(crate) fn abort(&mut self, now: Instant) {
        self.fastclose = true;
        self.fail(now, ConnectionError::Aborted);
    }

    /// Ends the connection for the application, and for the peer if it does not know yet.
    pub(super) fn fail(&mut self, now: Instant, error: ConnectionError) {
        let tell = !matches!(error, ConnectionError::Reset | ConnectionError::Refused);
        if error == ConnectionError::TimedOut {
            self.journal.count(Counter::TcpExtTCPAbortOnTimeout);
        }
        self.fastclose |= tell && self.is_active();
        self.end(now, error, tell.then_some(None));
    }

    /// MP_FASTCLOSE (RFC 8684, section 3.5), on a RST of subflow `on_rst` or on an ACK. True: it was real, and
    /// the connection is over.
    pub(super) fn on_fastclose(&mut self, now: Instant, fastclose: &MpFastclose, on_rst: Option<SubflowId>) -> bool {
        // [8684-3.5-4]
        if self.multipath.session().is_none_or(|s| s.local_key != fastclose.receiver_key) {
            return false;
        }
        // [8684-3.5-2, 8684-3.5-3]
        self.journal.count(Counter::MPTcpExtMPFastcloseRx);
        self.end(now, ConnectionError::Reset, Some(on_rst));
        true
    }

    /// Ends every subflow: with a reset, if `reset` says so, all but one; else silently.
    fn end(&mut self, now: Instant, error: ConnectionError, reset: Option<Option<SubflowId>>) {
        self.error.get_or_insert(error);
        self.timers.clear();
        for id in self.ids() {
            match self.get_mut(id) {
                Some(s) if reset.is_some_and(|but| but != Some(id)) && s.is_alive() => {
                    s.reset = Some((ResetReason::Unspecified, CloseReason::Aborted));
                }
                _ => self.drop_subflow(now, id, CloseReason::Aborted),
            }
        }
        if !core::mem::replace(&mut self.finished, true) {
            // [9293-MUST-12]
            self.news.push_back(News::Closed(Some(error)));
            self.journal.trace(|| TraceEvent::Closed { error: Some(error) });
        }
    }

    fn touch_abandon(&mut self, now: Instant) {
        let undelivered = self.data_una < self.send.end() && self.subflow_count() > 0;
        let patience = if undelivered { DELIVER_FOR } else { ABANDON_AFTER };
        self.timers.set(ConnectionTimer::Abandon, now + patience);
    }

    /// Takes every step towards the end that has become possible.
    pub(super) fn advance_close(&mut self, now: Instant) {
        self.drop_joins_of_plain_tcp(now);
        let all_scheduled = self.data_nxt == self.send.end();
        if self.send_half == SendHalf::FinQueued && self.established && all_scheduled {
            self.send_half = SendHalf::FinSent;
            match self.multipath {
                Multipath::Active(_) => {
                    self.request_data_fin();
                    // It takes a number of its own.
                    self.data_nxt += 1;
                }
                _ => self.close_all_subflows(),
            }
        }
        if self.is_active() {
            self.answer_fins();
        }
        self.reap_subflows(now);
        // [8684-3.3-7, 8684-3.3.3-6, 8684-3.3.3-7, 8684-3.3.3-9]
        if self.is_active() && self.eof && self.send_half == SendHalf::FinAcked && !self.finished {
            self.close_all_subflows();
            self.finish(now);
        }
    }

    /// Joins under way when the connection fell back.
    fn drop_joins_of_plain_tcp(&mut self, now: Instant) {
        if !matches!(self.multipath, Multipath::Fallback(_)) || !self.established || self.subflow_count() < 2 {
            return;
        }
        self.drop_joins_under_way(now);
    }

    pub(super) fn drop_joins_under_way(&mut self, now: Instant) {
        for id in self.ids() {
            if self.get(id).is_some_and(|s| !s.established) {
                self.drop_subflow(now, id, CloseReason::Aborted);
            }
        }
    }

    /// First on the best subflow; when that is not acknowledged, on all of them.
    pub(super) fn request_data_fin(&mut self) {
        let best = if self.data_fin_tries == 0 { self.best_subflow() } else { None };
        self.data_fin_on = match best {
            Some(id) => SubflowSet::only(id),
            None => self.iter().filter(|(_, s)| s.is_alive()).fold(SubflowSet::default(), |set, (id, _)| set.with(id)),
        };
        self.data_fin_tries += 1;
    }

    /// A path is back: what was said of the end while it was away is said again, and its timeout begins anew, as that of
    /// data does.
    pub(super) fn hurry_data_fin(&mut self) {
        if self.send_half == SendHalf::FinSent && self.is_active() {
            self.data_fin_tries = 0;
            self.request_data_fin();
        }
    }

    fn finish(&mut self, now: Instant) {
        self.finished = true;
        self.timers.clear();
        self.drop_joins_under_way(now);
        self.touch_abandon(now);
        self.news.push_back(News::Closed(None));
        self.journal.trace(|| TraceEvent::Closed { error: None });
    }

    /// All data is acknowledged, and the DATA_FIN is not.
    pub(super) fn waits_for_end_alone(&self) -> bool {
        self.send_half == SendHalf::FinSent && self.data_una >= self.send.end()
    }

    /// The peer does not know the connection any more. Where only its word on our DATA_FIN was missing, it has heard that.
    pub(super) fn on_forgotten(&mut self, now: Instant, id: SubflowId) {
        if !self.eof || !self.waits_for_end_alone() {
            return self.fail(now, ConnectionError::Reset);
        }
        self.drop_subflow(now, id, CloseReason::ResetByPeer);
        self.send_half = SendHalf::FinAcked;
        self.finish(now);
    }

    fn close_all_subflows(&mut self) {
        for id in self.ids() {
            if let Some(s) = self.get_mut(id) {
                // [8684-3.3.3-8, 8684-3.4.2-10]
                s.close_wanted = true;
            }
        }
    }

    /// The peer's FIN on a subflow has been reached.
    pub(super) fn on_subflow_fin(&mut self) {
        match self.multipath {
            // [8684-3.3.3-1]
            Multipath::Active(_) => self.answer_fins(),
            _ if !self.eof => {
                self.eof = true;
                self.news.push_back(News::Readable);
            }
            _ => {}
        }
    }

    /// A subflow that the peer has closed is closed by us too, unless it is the last that can carry what we
    /// still have to say: it may be sent on.
    fn answer_fins(&mut self) {
        let silent = self.data_una == self.data_nxt && self.data_nxt >= self.send.end();
        for id in self.ids() {
            let other = self.iter().any(|(o, s)| o != id && s.is_usable() && !s.tcp.fin_received());
            if let Some(s) = self.get_mut(id).filter(|s| s.tcp.fin_received() && (silent || other)) {
                s.close_wanted = true;
            }
        }
    }

    /// Lets go of subflows that are done.
    pub(super) fn reap_subflows(&mut self, now: Instant) {
        for id in self.ids() {
            let Some(state) = self.get(id).map(|s| s.tcp.state) else { continue };
            if !self.is_active() && matches!(state, State::FinWait2 | State::TimeWait | State::Closed) {
                self.send_half = SendHalf::FinAcked;
            }
            if matches!(state, State::TimeWait | State::Closed) {
                self.path_events.extend(self.get(id).map(|s| PathEvent::SubflowClosed {
                    local: s.tcp.local(),
                    remote: s.tcp.remote(),
                    reason: CloseReason::Finished,
                    answered: true,
                    transient: None,
                    again: false,
                }));
                self.drop_subflow(now, id, CloseReason::Finished);
                if !self.is_active() && !self.finished {
                    self.finish(now);
                }
            }
        }
        if self.established
            && !self.finished
            && !self.iter().any(|(_, s)| s.established)
            && !self.timers.is_set(ConnectionTimer::Abandon)
        {
            self.wait_for_a_join(now);
        }
    }

    /// No subflow is left that works. Our own joins go on for as long as the peer may wait for them on a lone subflow.
    fn wait_for_a_join(&mut self, now: Instant) {
        let joins = self.role == super::Role::Client && self.subflow_count() > 0;
        // [9293-MUST-20]
        let patience = if joins { self.patience().max(ABANDON_AFTER) } else { ABANDON_AFTER };
        self.timers.set(ConnectionTimer::Abandon, now + patience);
    }

    /// Removes a subflow; what it had not delivered goes elsewhere.
    pub(super) fn drop_subflow(&mut self, now: Instant, id: SubflowId, reason: CloseReason) {
        self.reinject_outstanding(id, ReinjectReason::Closed);
        self.subflow_news(id, SubflowChange::Closed(reason));
        let Some(s) = self.subflows.get_mut(usize::from(id.0)).and_then(Option::take) else { return };
        if !s.established {
            self.journal.count(Counter::TcpAttemptFails);
        } else if s.reset.is_some() || reason == CloseReason::ResetByPeer {
            self.journal.count(Counter::TcpEstabResets);
        }
        if reason == CloseReason::AddressRemoved {
            self.journal.count(Counter::MPTcpExtRmSubflow);
        }
        self.congestion.on_subflow_removed(id);
        **self.retired.get_or_insert_default() += s.tcp.counters.counters();
        self.orphan_reinjections(id);
        self.lift_limits();
        let time_wait = (s.tcp.state == State::TimeWait).then(|| TimeWait {
            snd_nxt: s.tcp.wire_snd_nxt(),
            rcv_nxt: s.tcp.wire_rcv_nxt(),
            link: s.tcp.link,
            timestamps: s.tcp.timestamps(now),
            owes_ack: s.tcp.wants_ack(),
        });
        let (local, remote, counters) = (s.tcp.local(), s.tcp.remote(), Box::new(s.tcp.counters.counters()));
        self.requests.push(Request::Release { local, remote, time_wait, counters });
        self.judge_doubt(now, s.refusals.as_deref());
    }

    /// Removes a subflow and lets the path manager think about it.
    pub(super) fn close_subflow(&mut self, now: Instant, env: &Env<'_>, id: SubflowId, reason: CloseReason) {
        let Some(s) = self.get(id) else { return };
        let (local, remote, established, transient) =
            (s.tcp.local(), s.tcp.remote(), s.established, s.reset_is_transient);
        let answered = !matches!(s.handshake, Handshake::JoinSyn { .. });
        self.drop_subflow(now, id, reason);
        if self.error.is_some() {
            return;
        }
        if !self.is_active() && !self.finished {
            let error = match reason {
                CloseReason::AddressRemoved => ConnectionError::AddressRemoved,
                CloseReason::TimedOut | CloseReason::Silent => ConnectionError::TimedOut,
                _ => ConnectionError::Reset,
            };
            return self.fail(now, error);
        }
        let again = self.breaks_again(now, reason, established);
        let event = PathEvent::SubflowClosed { local, remote, reason, answered, transient, again };
        self.notify_path_manager(now, env, &event);
    }

    /// Resets a subflow; it is removed when the RST has left.
    pub(super) fn close_subflow_with_reset(
        &mut self,
        now: Instant,
        env: &Env<'_>,
        id: SubflowId,
        reset: ResetReason,
        reason: CloseReason,
    ) {
        if self.is_alone(id) && self.is_last_break(now) {
            // While there is somebody to tell.
            return self.fail(now, ConnectionError::TimedOut);
        }
        match self.get_mut(id) {
            Some(s) if !matches!(s.tcp.state, State::SynSent | State::Closed) => {
                s.reset = Some((reset, reason));
                self.reinject_outstanding(id, ReinjectReason::Closed);
            }
            _ => self.close_subflow(now, env, id, reason),
        }
    }

    /// All that are left acknowledge without options, and there is no way back to plain TCP.
    // [8684-3.7-5]
    pub(super) fn reset_bare_subflows(&mut self, now: Instant, env: &Env<'_>) {
        let bare: Vec<SubflowId> = self.iter().filter(|(_, s)| s.is_usable()).map(|(id, _)| id).collect();
        for id in bare {
            self.close_subflow_with_reset(now, env, id, ResetReason::MiddleboxInterference, CloseReason::ProtocolError);
        }
    }

    /// An orphan that still makes progress is not given up.
    pub(super) fn note_progress(&mut self, now: Instant) {
        if self.orphaned && !self.finished {
            self.touch_abandon(now);
        }
    }

    pub(super) fn data_fin(&self) -> Dsn {
        self.send.end()
    }
}
