//! Which subflow carries what: views for the scheduler, and the queue of bytes to be sent once more.

use super::{Connection, Multipath, Role, SendHalf, Subflow};
use crate::SubflowId;
use crate::mib::Counter;
use crate::scheduler::{Decision, PathView, Scheduler, SubflowSet, View};
use crate::seq::{Dsn, Ssn};
use crate::tcp::{MAX_RTO, Timer, TxRecord};
use crate::time::{Duration, Instant};
use crate::trace::{AssignReason, ReinjectReason, WaitReason};
use smallvec::SmallVec;

/// RFC 9293, section 3.4.2.
const MAX_SEGMENT_LIFETIME: Duration = Duration::from_secs(120);
/// So many bytes tell how fast the numbers are used up.
const RATE_OVER: u64 = 1 << 26;

/// Less than this is no time to wait (tcp_tso_should_defer).
const SOON: Duration = Duration::from_millis(1);
/// Super-segments on the way that keep a path busy meanwhile.
const IN_HAND: u64 = 2;

/// Bytes that another subflow shall carry too.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Reinjection {
    pub(super) start: Dsn,
    pub(super) end: Dsn,
    /// Who was given them before, while it exists.
    pub(super) from: Option<SubflowId>,
    /// Who shall have them, where the scheduler said so already.
    pub(super) to: Option<SubflowId>,
}

/// Where the next bytes go, and how many.
#[derive(Copy, Clone, Debug)]
pub(super) struct Assignment {
    pub(super) on: SubflowId,
    pub(super) dsn: Dsn,
    pub(super) len: u64,
}

/// What the peer's window on a subflow leaves room for. In Multipath TCP it counts from the DATA_ACK, and so becomes
/// smaller by what comes on other subflows: there the furthest edge counts (RFC 8684, section 3.3.5).
pub(super) fn window_room(s: &Subflow, multipath: bool) -> u64 {
    if multipath { s.tcp.furthest_window_room() } else { s.tcp.window_room() }
}

/// Where in the connection's stream the data of these records lies, between `from` and `end`: runs in the order given.
pub(super) fn ranges_of<'a>(records: impl Iterator<Item = &'a TxRecord>, from: Dsn, end: Dsn) -> Vec<(Dsn, Dsn)> {
    let mut ranges: Vec<(Dsn, Dsn)> = Vec::new();
    for r in records.filter(|r| r.payload.len() > 0) {
        let (start, stop) = (r.dsn.max(from), (r.dsn + r.payload.len() as u64).min(end));
        match ranges.last_mut() {
            _ if start >= stop => {}
            Some(last) if last.1 == start => last.1 = stop,
            _ => ranges.push((start, stop)),
        }
    }
    ranges
}

/// The subflow that takes the bytes, all that shall carry them, and how many; or wait. Where no path that answers has
/// anything in flight there is nothing to wait for, and the answer has to be one that can be followed.
fn decide<'a>(scheduler: &mut dyn Scheduler, view: &View<'a>) -> Option<(&'a PathView, SubflowSet, u64)> {
    if let Decision::Send { on, limit } = scheduler.schedule(view) {
        let able = view.paths.iter().filter(|p| on.contains(p.id) && p.fits(view.pending));
        let able = able.filter(|p| Some(p.id) != view.reinjection_of).min_by_key(|p| (p.srtt, p.id));
        if let Some(path) = able.filter(|_| limit > 0) {
            return Some((path, on, limit));
        }
    }
    let hopeless = view.paths.iter().all(|p| p.in_flight == 0 || p.stalled || p.suspected);
    let path = view.fastest_with_room().filter(|_| hopeless)?;
    Some((path, SubflowSet::only(path.id), path.room))
}

impl Connection {
    /// With one subflow left there is nobody to be held up.
    pub(super) fn lift_limits(&mut self) {
        if !self.has_several_paths() {
            for id in self.ids() {
                if let Some(s) = self.get_mut(id) {
                    s.limit = None;
                }
            }
        }
    }

    /// Option bytes of a data segment besides timestamps.
    pub(super) fn option_bytes(&self, s: &Subflow) -> usize {
        match &self.multipath {
            Multipath::Active(session) if self.carries_keys(session.confirmed, s, s.tcp.snd_nxt()) => {
                super::output::CAPABLE_DATA_BYTES.max(session.dss_bytes())
            }
            _ => self.data_option_bytes(),
        }
    }

    /// The same, but for the first data of a client.
    pub(super) fn data_option_bytes(&self) -> usize {
        match self.multipath.session() {
            Some(session) => session.dss_bytes(),
            None if self.farewell.is_some() => super::output::FAREWELL_BYTES,
            None => 0,
        }
    }

    /// The same for segments sent again: the first data, with the keys, may be among them.
    pub(super) fn resent_option_bytes(&self) -> usize {
        let keys = self.multipath.session().is_some_and(|session| self.role == Role::Client && !session.confirmed);
        self.data_option_bytes().max(if keys { super::output::CAPABLE_DATA_BYTES } else { 0 })
    }

    /// The client's first data repeats the keys until they are known to have arrived.
    pub(super) fn carries_keys(&self, confirmed: bool, s: &Subflow, ssn: Ssn) -> bool {
        let first = Ssn::FIRST + s.tcp.syn_bytes_sent();
        !confirmed && self.role == Role::Client && ssn == first && !self.is_joined(s)
    }

    fn is_joined(&self, s: &Subflow) -> bool {
        s.tcp.local() != self.initial.local() || s.tcp.remote() != self.initial.remote()
    }

    pub(super) fn views(&self, now: Instant) -> SmallVec<[PathView; 8]> {
        let view = |(id, s): (SubflowId, &Subflow)| PathView {
            id,
            srtt: s.tcp.rtt.srtt().unwrap_or_default(),
            min_rtt: s.tcp.rtt.min().unwrap_or_default(),
            rttvar: s.tcp.rtt.rttvar(),
            cwnd: s.usable_window(self.send_window(id, s)),
            in_flight: s.tcp.in_flight(),
            // [8684-3.3.5-3]
            room: s
                .tcp
                .congestion_room(self.send_window(id, s))
                .min(s.tcp.record_room(self.send_window(id, s)))
                .min(window_room(s, self.is_active()))
                .min(s.limit_room()),
            oldest_sent: s.tcp.outstanding().find(|r| !r.sacked).map(|r| r.sent_at),
            heard: s.tcp.last_data_received(),
            delivery_rate: s.tcp.delivery_rate().unwrap_or_default(),
            mss: self.segment(s),
            backup: s.is_backup(),
            stalled: s.is_silent(now),
            suspected: s.suspected.is_some(),
        };
        self.iter().filter(|(_, s)| s.is_usable()).map(view).collect()
    }

    /// The payload of a full segment, or what the peer's window on the subflow leaves of it where it was time to ask about that
    /// (RFC 9293, section 3.8.6.2.1: the override timeout). A box on the way may leave little of a large window.
    fn segment(&self, s: &Subflow) -> u64 {
        let mss = s.tcp.mss_with(self.option_bytes(s));
        match window_room(s, self.is_active()) {
            room if room > 0 && s.persist_since.is_some() && !s.tcp.has_outstanding() => mss.min(room),
            _ => mss,
        }
    }

    /// Its congestion window. A segment at least: without options, in plain TCP, one is longer than before.
    fn send_window(&self, id: SubflowId, s: &Subflow) -> u64 {
        self.congestion.window(id).max(s.tcp.mss_with(self.option_bytes(s)))
    }

    /// What the scheduler is asked about.
    fn view<'a>(
        &self,
        now: Instant,
        paths: &'a [PathView],
        pending: u64,
        reinjection_of: Option<SubflowId>,
    ) -> View<'a> {
        let in_flight = self.data_nxt.since(self.data_una);
        // What lies in the send buffer is what the application could write: that is a window, too.
        let buffer = self.send_capacity(self.config.send_buffer_max) as u64;
        let window = self.data_wnd_end.since(self.data_una).min(buffer.max(in_flight));
        View { now, paths, pending, window, in_flight, reinjection_of }
    }

    /// Whole segments only, unless it is all there is (RFC 9293, section 3.8.6.2.1: no silly segments).
    fn fit_to_segments(&self, on: SubflowId, len: u64, all: u64, max: u64) -> u64 {
        let Some(s) = self.get(on) else { return 0 };
        let mss = self.segment(s);
        let first = self.multipath.session().is_some_and(|m| self.carries_keys(m.confirmed, s, s.tcp.snd_nxt()));
        // MP_CAPABLE with data is never segmented: one MSS.
        let len = len.min(if first { mss } else { max });
        if len >= all || len < mss {
            return len.min(all);
        }
        // [9293-SHLD-28]
        len - len % mss
    }

    /// Nagle's algorithm as Minshall changed it, and Linux has it: the end of what was written, where it is less than a
    /// segment, waits while an earlier small piece is unacknowledged. One that ends a bulk of full segments does not, nor
    /// one before which every subflow has delivered what it had: where DSS options are removed on the way, no DATA_ACK
    /// ever comes.
    fn nagle_holds(&self, len: u64, unsent: u64, mss: u64) -> bool {
        // [9293-SHLD-7, 9293-MUST-17]
        let may_wait = !self.settings.nodelay && self.send_half == SendHalf::Open;
        let small_one_out = || self.data_una < self.small_end && self.iter().any(|(_, s)| s.tcp.has_outstanding());
        may_wait && len == unsent && !len.is_multiple_of(mss) && small_one_out()
    }

    /// The same for super-segments, where an acknowledgement is due at once (Linux does it, too): what is less than one waits
    /// for the next write, or for that acknowledgement. Otherwise each write would end with a small packet, which costs
    /// nearly as much as a large one.
    fn super_segment_holds(&self, now: Instant, path: &PathView, len: u64, unsent: u64, max: u64) -> bool {
        let may_wait = !self.settings.nodelay && self.send_half == SendHalf::Open;
        let full = max - max % path.mss;
        let busy = full > path.mss && path.in_flight >= IN_HAND * full;
        let soon = || !path.srtt.is_zero() && path.acknowledgement_due(now) < SOON;
        may_wait && len == unsent && len < full && busy && soon()
    }

    /// The next new bytes. None: nothing to send, or no room anywhere.
    pub(super) fn assign_new_data(
        &mut self,
        now: Instant,
        max_payload: impl Fn(&Subflow) -> u64,
    ) -> Option<Assignment> {
        let unsent = self.send.end().since(self.data_nxt);
        // [8684-3.3.5-4]
        let pending = unsent.min(self.data_wnd_end.since(self.data_nxt));
        if pending == 0 || !matches!(self.send_half, SendHalf::Open | SendHalf::FinQueued) {
            if unsent > 0 {
                self.trace_waiting(WaitReason::PeerWindow, unsent);
            }
            return None;
        }
        let paths = self.views(now);
        // Less than a segment is what it is.
        let whole = pending == unsent && paths.iter().all(|path| pending >= path.mss);
        let expected =
            if whole { self.to_be_sent(unsent).min(self.data_wnd_end.since(self.data_nxt)) } else { pending };
        let view = self.view(now, &paths, expected, None);
        let Some((path, targets, limit)) = decide(&mut *self.scheduler, &view) else {
            self.trace_waiting(if paths.is_empty() { WaitReason::NoPath } else { WaitReason::Scheduler }, pending);
            return None;
        };
        let on = path.id;
        let max = max_payload(self.get(on)?);
        let len = self.fit_to_segments(on, limit.min(path.room).min(pending), pending, max);
        if self.super_segment_holds(now, path, len, unsent, max) {
            self.trace_waiting(WaitReason::SuperSegment, pending);
            return None;
        }
        let held = if self.nagle_holds(len, unsent, path.mss) { len % path.mss } else { 0 };
        if held > 0 && held == len {
            self.trace_waiting(WaitReason::Nagle, pending);
            return None;
        }
        let len = len - held;
        // A sliver of window is worth sending only when nothing else is on its way to open it. [9293-MUST-38]
        if len == 0 || (len < path.mss && len < unsent && path.in_flight > 0) {
            self.trace_waiting(WaitReason::Sliver, pending);
            return None;
        }
        let dsn = self.data_nxt;
        if !len.is_multiple_of(path.mss) {
            self.small_end = dsn + len;
        }
        self.trace_assigned(on, dsn, len, AssignReason::New, &paths);
        for copy in targets.without(on).iter().filter(|id| paths.iter().any(|p| p.id == *id)) {
            self.trace_reinjection(Some(on), dsn, len, ReinjectReason::Redundant);
            self.reinjections.push_back(Reinjection { start: dsn, end: dsn + len, from: Some(on), to: Some(copy) });
        }
        Some(Assignment { on, dsn, len })
    }

    /// The next bytes to send once more, on another subflow than had them.
    pub(super) fn assign_reinjection(
        &mut self,
        now: Instant,
        max_payload: impl Fn(&Subflow) -> u64,
    ) -> Option<Assignment> {
        self.forget_reinjections();
        if self.reinjections.is_empty() {
            return None;
        }
        let paths = self.views(now);
        // One that waits for a certain subflow holds up no other; and whoever waits for any, waits for the same.
        let mut waits: SmallVec<[Option<SubflowId>; 4]> = SmallVec::new();
        for i in 0..self.reinjections.len() {
            let Some(&Reinjection { from, to, .. }) = self.reinjections.get(i) else { break };
            if to.is_none() && waits.contains(&from) {
                continue;
            }
            let Some((on, limit)) = self.place_of_reinjection(now, i, &paths) else {
                if to.is_none() {
                    waits.push(from);
                }
                continue;
            };
            let (Some(path), Some(entry)) = (paths.iter().find(|p| p.id == on), self.reinjections.get(i)) else {
                continue;
            };
            let start = entry.start;
            let pending = (entry.end - start).min(self.data_wnd_end.since(start));
            let len = limit.min(path.room).min(pending);
            let len = self.fit_to_segments(on, len, pending, max_payload(self.get(on)?));
            if len == 0 {
                continue;
            }
            self.reinjections[i].start += len;
            self.bytes_reinjected += len;
            self.journal.count(Counter::MPTcpExtMPTCPRetrans);
            self.trace_assigned(on, start, len, AssignReason::Reinjection, &paths);
            return Some(Assignment { on, dsn: start, len });
        }
        None
    }

    /// Where the bytes of an entry can go now, and how many.
    fn place_of_reinjection(&mut self, now: Instant, i: usize, paths: &[PathView]) -> Option<(SubflowId, u64)> {
        let Reinjection { start, end, from, to } = *self.reinjections.get(i)?;
        let pending = (end - start).min(self.data_wnd_end.since(start));
        if let Some(id) = to {
            return paths.iter().find(|p| p.id == id && p.fits(pending)).map(|p| (p.id, p.room));
        }
        let view = self.view(now, paths, pending, from);
        let (path, _, limit) = decide(&mut *self.scheduler, &view)?;
        // A backup is not for what may only be late.
        let may_be_late =
            from.and_then(|id| paths.iter().find(|p| p.id == id)).is_some_and(|p| !p.stalled && !p.backup);
        (!(path.backup && may_be_late)).then_some((path.id, limit))
    }

    /// Bytes given to another subflow besides `from`.
    pub(super) fn reinject(
        &mut self,
        start: Dsn,
        end: Dsn,
        from: Option<SubflowId>,
        to: Option<SubflowId>,
        reason: ReinjectReason,
    ) {
        self.trace_reinjection(from, start, end - start, reason);
        self.reinjections.push_back(Reinjection { start, end, from, to });
    }

    /// Drops what the peer has acknowledged meanwhile, what its subflow will deliver itself after all, and what was for
    /// a subflow that is gone.
    pub(super) fn forget_reinjections(&mut self) {
        let una = self.data_una;
        let mut queue = core::mem::take(&mut self.reinjections);
        queue.retain_mut(|r| {
            r.start = r.start.max(una);
            let usable = |id: SubflowId| self.get(id).filter(|s| s.is_usable());
            let recovered = r.to.is_none() && r.from.and_then(usable).is_some_and(Subflow::answers);
            r.start < r.end && !recovered && r.to.is_none_or(|id| usable(id).is_some())
        });
        self.reinjections = queue;
    }

    /// Everything outstanding on a subflow that died or stalled goes to the others, each byte once.
    pub(super) fn reinject_outstanding(&mut self, id: SubflowId, reason: ReinjectReason) {
        if !self.is_active() {
            return;
        }
        let (una, end) = (self.data_una, self.send.end());
        let Some(s) = self.get_mut(id) else { return };
        let fresh_from = s.reinjected_to.max(una);
        let mut ranges = ranges_of(s.tcp.outstanding(), fresh_from, end);
        s.reinjected_to = ranges.iter().map(|r| r.1).max().unwrap_or(fresh_from).max(fresh_from);
        ranges.sort_unstable();
        for (start, end) in ranges {
            self.reinject(start, end, Some(id), None, reason);
        }
    }

    /// A subflow's name in the queue no longer means anything once it is gone.
    pub(super) fn orphan_reinjections(&mut self, id: SubflowId) {
        for r in &mut self.reinjections {
            if r.from == Some(id) {
                r.from = None;
            }
        }
    }

    /// Data waits, nothing is on its way that could open a window, and the connection's or a subflow's own is
    /// shut: ask now and then (RFC 9293, section 3.8.6.1). Ask also on a subflow that its own window holds back and not
    /// the connection's, and that has nothing on its way: the news that it is open again was lost there.
    pub(super) fn arm_persist(&mut self, now: Instant) {
        // [9293-MUST-35]
        let something = self.send.end() > self.data_nxt || !self.reinjections.is_empty();
        // What a dead path still holds opens nothing either.
        let waiting = something && self.iter().all(|(_, s)| s.stalled.is_some() || !s.tcp.has_outstanding());
        let (shut, multipath) = (self.data_wnd_end <= self.data_nxt, self.is_active());
        let open = self.data_wnd_end.since(self.data_nxt);
        let unaware = |s: &Subflow| {
            multipath && !s.tcp.has_outstanding() && window_room(s, multipath) < open.min(s.tcp.mss_with(0))
        };
        let any_unaware = || something && self.iter().any(|(_, s)| unaware(s));
        if !(waiting || self.persisting || any_unaware()) {
            return;
        }
        let slowest = MAX_RTO.min(self.patience());
        self.persisting = false;
        for id in self.ids() {
            let Some(s) = self.get_mut(id) else { continue };
            let held = waiting && (shut || window_room(s, multipath) < s.tcp.mss_with(0));
            // Once it is to be asked, it is asked, also where others have sent all there was meanwhile.
            let asks = held || (unaware(s) && (something || s.tcp.timers.is_set(Timer::Persist)));
            if !(s.is_usable() && asks) {
                s.persist_backoff = 0;
                s.persist_since = None;
                s.tcp.timers.stop(Timer::Persist);
                continue;
            }
            if !s.tcp.timers.is_set(Timer::Persist) {
                // [9293-SHLD-29, 9293-SHLD-30]
                let patience = (s.tcp.rtt.rto() * (1 << s.persist_backoff.min(10))).min(slowest);
                // [9293-MUST-37]
                s.persist_backoff += 1;
                s.tcp.timers.set(Timer::Persist, now + patience);
            }
            self.persisting = true;
        }
    }

    /// RFC 8684, section 3.3.1: 64-bit DSNs where 32 bits might wrap within a maximum segment lifetime (2 minutes):
    /// at 286 Mbit/s. [8684-3.3.1-12]
    pub(super) fn judge_rate(&mut self, now: Instant) {
        let (since, from) = self.rate_mark;
        if self.data_nxt.since(from) < RATE_OVER {
            return;
        }
        let fast = now - since < MAX_SEGMENT_LIFETIME / (u32::MAX / RATE_OVER as u32);
        self.rate_mark = (now, self.data_nxt);
        if let Some(session) = self.multipath.session_mut() {
            session.long_dsns = fast;
        }
    }

    /// The subflow for control messages: the fastest that works.
    pub(super) fn best_subflow(&self) -> Option<SubflowId> {
        self.iter()
            .filter(|(_, s)| s.is_alive())
            .min_by_key(|(id, s)| (s.stalled.is_some(), s.probed_at.is_some(), !s.is_usable(), s.tcp.rtt.srtt(), *id))
            .map(|(id, _)| id)
    }

    pub(super) fn ack_on_all(&mut self) {
        for id in self.ids() {
            if let Some(s) = self.get_mut(id).filter(|s| s.is_alive()) {
                s.tcp.ack_now();
            }
        }
    }
}
