//! Reinjection without waiting for a retransmission timeout: a subflow whose acknowledgements are overdue is suspected.
//! Others carry what it has out, and it is asked by a probe at once; its first acknowledgement clears it.
//!
//! A timeout waits for 200 ms at least (RFC 6298 asks for a second), because a lone subflow that guesses wrong pays with
//! its window. Here a wrong guess costs copies of what is in flight, and the next guess is more careful.

use super::timers::ConnectionTimer;
use super::{Connection, Subflow};
use crate::SubflowId;
use crate::seq::Dsn;
use crate::tcp::AckOutcome;
use crate::time::{Duration, Instant};
use crate::trace::ReinjectReason;

/// An acknowledgement may be late by this besides what round trips vary.
const MARGIN: Duration = Duration::from_millis(5);
/// That of a lone segment may be delayed by so much (Linux: TCP_DELACK_MIN)...
const ACK_DELAY: Duration = Duration::from_millis(40);
/// ...unless so many in a row were not: the peer's answers carry them.
const PROMPT_ACKS: u32 = 4;
/// So many more, and a wrong suspicion is forgotten.
const FORGIVE: u32 = 16;
/// Never looked at sooner.
const MIN_WAIT: Duration = Duration::from_millis(1);
/// A probe is waited for two round trips, and so long at least, before a backup is used.
const PROBE_PATIENCE: Duration = Duration::from_millis(50);
/// After so many wrong suspicions a subflow's patience grows no more.
const MAX_FALSE: u32 = 6;

impl Connection {
    /// Look when the first of what is in flight is overdue. Called when somebody works again.
    pub(super) fn watch_acknowledgements(&mut self, now: Instant) {
        if self.may_suspect() {
            let due = self.iter().filter_map(|(_, s)| overdue_at(s).into_iter().chain(given_up_at(s)).min()).min();
            if let Some(at) = due {
                self.timers.set_if_earlier(ConnectionTimer::Suspicion, at.max(now + MIN_WAIT));
            }
        }
    }

    /// The same, after something was sent on one subflow.
    pub(super) fn watch_acknowledgements_of(&mut self, now: Instant, id: SubflowId) {
        if let Some(at) = self.get(id).and_then(overdue_at)
            && self.may_suspect()
        {
            self.timers.set_if_earlier(ConnectionTimer::Suspicion, at.max(now + MIN_WAIT));
        }
    }

    /// There is somebody else: a lone subflow has its timeout.
    fn may_suspect(&self) -> bool {
        let works = |(_, s): &(SubflowId, &Subflow)| s.is_usable() && s.stalled.is_none();
        self.config.mechanisms.early_reinjection && self.is_active() && self.iter().filter(works).nth(1).is_some()
    }

    /// The time has come to look.
    pub(super) fn suspect_overdue(&mut self, now: Instant) {
        for id in self.ids() {
            if let Some(s) = self.get_mut(id).filter(|s| s.is_silent(now)) {
                s.probe_judged = true;
            }
            let due = self.get(id).and_then(overdue_at).is_some_and(|at| at <= now);
            if due && !self.is_alone(id) {
                self.suspect(now, id);
            }
        }
        self.watch_acknowledgements(now);
    }

    fn suspect(&mut self, now: Instant, id: SubflowId) {
        let Some(s) = self.get_mut(id) else { return };
        s.suspected = Some(now);
        s.probe_judged = false;
        s.tail_probe_due = s.tcp.is_open();
        self.reinject_outstanding(id, ReinjectReason::Overdue);
    }
}

impl Subflow {
    /// It does not even answer its probe: as good as timed out.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.stalled.is_some() || self.suspected.is_some_and(|since| now >= since + patience_with_probe(self))
    }

    /// It delivered something.
    pub(super) fn on_delivery(&mut self, now: Instant, out: &AckOutcome) {
        self.last_delivered = now;
        if let (Some(rtt), Some(min)) = (out.rtt, self.tcp.rtt.min())
            && !self.tcp.has_outstanding()
        {
            self.prompt_acks = if rtt < min + ACK_DELAY / 2 { self.prompt_acks + 1 } else { 0 };
            if self.prompt_acks > FORGIVE {
                (self.prompt_acks, self.false_suspicions) = (PROMPT_ACKS, self.false_suspicions.saturating_sub(1));
            }
        }
        if let Some(since) = self.suspected.take().filter(|_| self.stalled.is_none()) {
            // What waits to go elsewhere stays here now; should it be overdue again, it goes again.
            self.reinjected_to = Dsn::FIRST;
            // Too soon to be the probe's doing: it was on its way.
            if now - since < self.tcp.rtt.min().unwrap_or_default() {
                self.false_suspicions = (self.false_suspicions + 1).min(MAX_FALSE);
                self.prompt_acks = 0;
            }
        }
    }
}

/// When a suspected subflow has had the time to answer its probe. None: it had.
fn given_up_at(s: &Subflow) -> Option<Instant> {
    let at = s.suspected? + patience_with_probe(s);
    (s.stalled.is_none() && !s.probe_judged).then_some(at)
}

fn patience_with_probe(s: &Subflow) -> Duration {
    (s.tcp.rtt.srtt().unwrap_or_default() * 2).max(PROBE_PATIENCE)
}

/// When acknowledgements of what a subflow has out are overdue. None: nothing is out, or it is known to be silent.
fn overdue_at(s: &Subflow) -> Option<Instant> {
    if !s.is_usable() || !s.answers() {
        return None;
    }
    let srtt = s.tcp.rtt.srtt()?;
    let first = s.tcp.outstanding().find(|r| !r.sacked)?;
    let margin = (s.tcp.rtt.rttvar() * 2).max(srtt / 4) + MARGIN * (1 + s.false_suspicions);
    let may_be_delayed = s.tcp.in_flight() <= s.tcp.mss_with(0) && s.prompt_acks < PROMPT_ACKS;
    let delay = if may_be_delayed { ACK_DELAY } else { Duration::ZERO };
    // While others arrive, one that does not is lost: that is recovery's business.
    Some((first.sent_at + srtt + margin + delay).max(s.last_delivered + margin))
}
