//! Loss recovery: what to send again, and when (RFC 8985 RACK-TLP, RFC 6298 timeout, RFC 6937 PRR).
//!
//! How large the window is afterwards is congestion control's decision, not made here.

use super::prr::Prr;
use super::rack::Rack;
use super::rtt::MIN_RTO;
use super::{AckOutcome, MAX_RTO, Tcp, Timer, TxRecord};
use crate::congestion::LossState;
use crate::seq::Ssn;
use crate::time::{Duration, Instant};

/// RFC 8985, section 7.2: the worst delayed acknowledgement (Linux: TCP_RTO_MIN).
const WORST_ACK_DELAY: Duration = Duration::from_millis(200);
/// Segments that may be outstanding where none is full...
const RECORDS: usize = 128;
/// ...and for each full one that the congestion window would hold.
const RECORDS_FOR_SEGMENT: usize = 4;
/// Without SACK: RFC 5681, section 3.2.
const DUPTHRESH: u32 = 3;

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Open,
    /// Fast recovery until `point` is acknowledged. No PRR: congestion control has a window of its own for it.
    Recovery { point: Ssn, prr: Option<Box<Prr>> },
    /// After a timeout, until `point` is acknowledged.
    Loss { point: Ssn, judged: bool },
}

/// A tail loss probe on its way (RFC 8985, section 7.3).
#[derive(Copy, Clone, Debug)]
struct Probe {
    end: Ssn,
}

#[derive(Debug, Default)]
pub(super) struct Recovery {
    phase: Phase,
    pub(super) rack: Rack,
    probe: Option<Probe>,
    /// Where the last one ended, also when it is settled.
    pub(super) last_probe: Option<Ssn>,
    pub(super) dsack_seen: bool,
    backoff: u32,
    duplicate_acks: u32,
    /// A timeout: the first segment goes again, whatever is in flight.
    retransmit_due: bool,
    /// When the SYN or SYN/ACK was last sent.
    handshake_sent: Option<Instant>,
    handshake_repeated: bool,
    /// It was repeated so late that it, or the answer, was lost.
    handshake_lost: bool,
}

impl Recovery {
    pub(super) fn handshake_sent(&self) -> Option<Instant> {
        self.handshake_sent
    }

    pub(super) fn handshake_repeated(&self) -> bool {
        self.handshake_repeated
    }

    pub(super) fn backoff(&self) -> u32 {
        self.backoff
    }

    pub(super) fn handshake_lost(&self) -> bool {
        self.handshake_lost
    }

    pub(super) fn on_handshake_sent(&mut self, now: Instant) {
        if let Some(before) = self.handshake_sent.replace(now) {
            self.handshake_repeated = true;
            // A SYN that the network delivers twice is answered twice, and nothing was lost.
            self.handshake_lost |= now - before >= MIN_RTO;
        }
    }

    pub(super) fn on_handshake_timeout(&mut self) {
        self.backoff += 1;
    }

    pub(super) fn reset_backoff(&mut self) {
        self.backoff = 0;
    }
}

impl Tcp {
    /// Timeouts in a row without progress.
    pub(crate) fn backoff(&self) -> u32 {
        self.recovery.backoff
    }

    /// Nothing is being recovered.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.recovery.phase, Phase::Open)
    }

    /// For congestion control.
    pub(crate) fn loss_state(&self) -> LossState {
        match self.recovery.phase {
            Phase::Open => LossState::Open,
            Phase::Recovery { .. } => LossState::Recovery,
            Phase::Loss { .. } => LossState::Loss,
        }
    }

    /// Bytes that loss recovery, a congestion window of `cwnd` and pacing allow to send now.
    pub(crate) fn congestion_room(&self, cwnd: u64) -> u64 {
        let mss = self.mss_with(0);
        let window = match &self.recovery.phase {
            Phase::Recovery { prr: Some(prr), .. } => prr.window(),
            // RFC 3042: each of the first two says that a segment has left the network. [5681-3.2-3]
            Phase::Open if !self.sack_ok => cwnd + mss * u64::from(self.recovery.duplicate_acks.min(DUPTHRESH - 1)),
            // [6937-3-3]
            Phase::Open | Phase::Recovery { prr: None, .. } | Phase::Loss { .. } => cwnd,
        };
        let room = window
            .saturating_sub(self.board.in_flight())
            .min(self.pacer.as_ref().map_or(u64::MAX, |pacer| pacer.room(mss)));
        if self.recovery.retransmit_due { room.max(mss) } else { room }
    }

    /// Bytes that may be sent for the first time with so many segments outstanding: as many as there are, or none. A window
    /// of a few KB could be filled with thousands of tiny ones, and each has its record.
    pub(crate) fn record_room(&self, cwnd: u64) -> u64 {
        let most = RECORDS.max(RECORDS_FOR_SEGMENT * (cwnd / self.mss_with(0)) as usize);
        if self.board.len() < most { u64::MAX } else { 0 }
    }

    /// Congestion control has set its threshold: fast recovery spreads the reduction.
    pub(crate) fn begin_reduction(&mut self, ssthresh: u64, outcome: &AckOutcome) {
        let mss = self.mss_with(0);
        let in_flight = self.board.in_flight();
        if let Phase::Recovery { prr, .. } = &mut self.recovery.phase {
            let prr = prr.insert(Box::new(Prr::new(outcome.prior_in_flight, ssthresh)));
            prr.on_ack(outcome.delivered, in_flight, outcome.advanced, mss);
        }
    }

    pub(super) fn on_data_sent(&mut self, now: Instant, bytes: u64) {
        self.note_paced(now, bytes);
        if let Phase::Recovery { prr: Some(prr), .. } = &mut self.recovery.phase {
            prr.on_sent(bytes);
        }
    }

    /// What an acknowledgement means for recovery; the scoreboard has been updated.
    pub(super) fn recover(&mut self, now: Instant, duplicate: bool, out: &mut AckOutcome) {
        if out.advanced {
            self.recovery.backoff = 0;
            self.recovery.retransmit_due = false;
        }
        self.settle_probe(out);
        self.leave_recovery(out);
        // [8985-4-1]
        let newly_lost = if self.sack_ok { self.detect_loss(now) } else { self.count_duplicates(duplicate, out) };
        out.newly_lost = newly_lost;
        let unexpected = newly_lost.saturating_sub(self.lost_probe_bytes(now, out));
        let mss = self.mss_with(0);
        let in_flight = self.board.in_flight();
        match &mut self.recovery.phase {
            Phase::Open if unexpected > 0 => self.enter_recovery(out),
            Phase::Open | Phase::Loss { .. } => {}
            Phase::Recovery { prr, .. } => {
                out.in_recovery = true;
                if let Some(prr) = prr {
                    prr.on_ack(out.delivered, in_flight, out.advanced && newly_lost == 0, mss);
                }
            }
        }
    }

    fn enter_recovery(&mut self, out: &mut AckOutcome) {
        self.recovery.phase = Phase::Recovery { point: self.snd_nxt, prr: None };
        self.recovery.probe = None;
        self.timers.stop(Timer::LossProbe);
        match self.sack_ok {
            true => self.counters.rare().sack_recoveries += 1,
            false => self.counters.rare().reno_recoveries += 1,
        }
        // What was lost before the last reduction is no reason for another one (RFC 3168, section 6.1.2).
        out.congestion = self.reduced_until.is_none_or(|until| self.snd_una >= until);
        out.in_recovery = true;
        out.recovery_entered = true;
    }

    fn leave_recovery(&mut self, out: &mut AckOutcome) {
        match self.recovery.phase {
            Phase::Recovery { point, .. } if self.snd_una >= point => {
                self.recovery.phase = Phase::Open;
                self.recovery.rack.on_recovery_exit();
                out.recovery_left = true;
            }
            // Eifel response (RFC 4015): the original arrived, so nothing else was lost either.
            Phase::Loss { judged: false, .. } if out.advanced && out.original_arrived => {
                self.recovery.phase = Phase::Open;
                self.board.unmark_lost();
                out.spurious = true;
                self.reduced_until = None;
                self.counters.rare().spurious_timeouts += 1;
            }
            Phase::Loss { point, .. } if self.snd_una >= point => self.recovery.phase = Phase::Open,
            // RFC 3522, section 3.2: only the first acknowledgement after the timeout can tell. Later ones may echo the
            // timestamp of a segment before the one that they are about.
            Phase::Loss { point, .. } if out.advanced => self.recovery.phase = Phase::Loss { point, judged: true },
            _ => {}
        }
        if self.board.is_empty() {
            self.timers.stop(Timer::Reorder);
        }
    }

    /// RFC 8985, section 6.2, step 5. Nothing can be lost while all arrives in order.
    fn detect_loss(&mut self, now: Instant) -> u64 {
        let in_recovery = !matches!(self.recovery.phase, Phase::Open);
        if self.board.sacked() == 0 && !in_recovery {
            self.timers.stop(Timer::Reorder);
            return 0;
        }
        let (mss, srtt) = (self.mss_with(0), self.rtt.srtt().unwrap_or_default());
        let (lost, look_again) = self.recovery.rack.detect_loss(now, &mut self.board, mss, in_recovery, srtt);
        match look_again {
            // [8985-6.2-7]
            Some(at) => self.timers.set(Timer::Reorder, at),
            None => self.timers.stop(Timer::Reorder),
        }
        lost
    }

    /// NewReno for a peer without SACK (RFC 6582).
    fn count_duplicates(&mut self, duplicate: bool, out: &AckOutcome) -> u64 {
        let partial = out.advanced && matches!(self.recovery.phase, Phase::Recovery { .. });
        if out.advanced {
            self.recovery.duplicate_acks = 0;
        } else if duplicate && !self.board.is_empty() {
            self.recovery.duplicate_acks += 1;
        }
        // [5681-3.2-4]
        if partial || self.recovery.duplicate_acks == DUPTHRESH {
            let una = self.snd_una;
            return self.board.mark_lost(|r| r.ssn == una);
        }
        0
    }

    /// RFC 8985, section 7.4: did the probe repair a loss that nobody else noticed?
    fn settle_probe(&mut self, out: &mut AckOutcome) {
        let Some(probe) = self.recovery.probe else { return };
        if self.snd_una < probe.end {
            return;
        }
        self.recovery.probe = None;
        // [8985-7.4-2]
        let repaired = !self.recovery.dsack_seen && !out.original_arrived;
        // [8985-7.4-1]
        if repaired && matches!(self.recovery.phase, Phase::Open) {
            out.congestion = true;
            self.counters.rare().loss_probe_recoveries += 1;
        }
    }

    /// RACK's timer: what is still missing is lost now.
    pub(crate) fn on_reorder_timer(&mut self, now: Instant) -> AckOutcome {
        let mut out = AckOutcome { prior_in_flight: self.board.in_flight(), ..AckOutcome::default() };
        let lost = self.detect_loss(now);
        out.newly_lost = lost;
        let unexpected = lost.saturating_sub(self.lost_probe_bytes(now, &mut out));
        if unexpected > 0 && matches!(self.recovery.phase, Phase::Open) {
            self.enter_recovery(&mut out);
        }
        self.arm_retransmit(now, false);
        out
    }

    /// RFC 8985, section 7.3: a probe for the tail. None: one is out already, or nothing is.
    pub(crate) fn on_probe_timer(&mut self, now: Instant, option_bytes: usize) -> Option<TxRecord> {
        self.timers.set(Timer::Retransmit, now + self.rtt.rto());
        // [8985-7.3-3]
        if self.recovery.probe.is_some() || self.board.is_empty() {
            return None;
        }
        self.recovery.probe = Some(Probe { end: self.snd_nxt });
        self.recovery.last_probe = Some(self.snd_nxt);
        self.recovery.dsack_seen = false;
        self.counters.rare().loss_probes += 1;
        // [8985-7.3-1, 8985-7.3-2]
        let mss = self.mss_with(option_bytes);
        let stamp = self.rate.stamp(now, false);
        let record = self.board.retransmit_tail(now, stamp, mss)?;
        self.count_retransmit(&record);
        self.note_paced(now, record.seq_len());
        Some(record)
    }

    /// The retransmission timer (RFC 6298, section 5.4 to 5.7). `back_off` doubles the next timeout. Returns whether
    /// this is the first timeout for this window of data, and the bytes newly lost.
    pub(crate) fn on_retransmission_timeout(&mut self, now: Instant, back_off: bool) -> (bool, u64) {
        self.counters.rare().timeouts += 1;
        self.recovery.backoff += u32::from(back_off);
        self.recovery.probe = None;
        self.timers.stop(Timer::LossProbe);
        self.timers.stop(Timer::Reorder);
        // [2018-5-1, 2018-5-2]
        if self.board.records().next().is_some_and(|r| r.sacked) {
            // RFC 2018, section 8: what is acknowledged cumulatively cannot stand first unacknowledged.
            self.board.forget_sacks();
        }
        let (mss, srtt, sack_ok) = (self.mss_with(0), self.rtt.srtt().unwrap_or_default(), self.sack_ok);
        let patience = self.recovery.rack.patience(self.board.sacked(), mss, false, srtt);
        let una = self.snd_una;
        // What was sent just now may still arrive. Without SACK nobody would say so. [8985-6.3-1]
        let lost = self.board.mark_lost(|r| r.ssn == una || !sack_ok || r.sent_at + patience <= now);
        self.recovery.retransmit_due = true;
        let first = !matches!(self.recovery.phase, Phase::Loss { .. });
        self.recovery.phase = Phase::Loss { point: self.snd_nxt, judged: false };
        (first, lost)
    }

    /// The current timeout, doubled for each expiry in a row (RFC 6298, section 5.5).
    pub(crate) fn backed_off_rto(&self) -> Duration {
        // [9293-MUST-19]
        let doublings = self.recovery.backoff.min(10);
        (self.rtt.rto() * (1 << doublings)).min(MAX_RTO)
    }

    /// Keeps the retransmission and probe timers right after a send (`restart` false) or after an
    /// acknowledgement of new data (`restart` true).
    pub(super) fn arm_retransmit(&mut self, now: Instant, restart: bool) {
        if self.board.is_empty() {
            // [6298-5-2]
            self.timers.stop(Timer::Retransmit);
            self.timers.stop(Timer::LossProbe);
            self.recovery.probe = None;
            return;
        }
        // [6298-5-1, 6298-5-3]
        if restart || !self.timers.is_set(Timer::Retransmit) {
            self.timers.set(Timer::Retransmit, now + self.backed_off_rto());
        }
        self.arm_loss_probe(now);
    }

    /// RFC 8985, section 7.2.
    fn arm_loss_probe(&mut self, now: Instant) {
        let open = matches!(self.recovery.phase, Phase::Open);
        // [8985-7.2-2]
        if !open || !self.sack_ok || self.board.sacked() > 0 || self.recovery.probe.is_some() {
            self.timers.stop(Timer::LossProbe);
            return;
        }
        let Some(srtt) = self.rtt.srtt() else { return };
        let single = self.board.in_flight() <= self.mss_with(0);
        // [8985-7.2-1]
        let patience = srtt * 2 + if single { WORST_ACK_DELAY } else { Duration::from_millis(2) };
        let at = now + patience;
        if self.timers.get(Timer::Retransmit).is_some_and(|rto| at < rto) {
            self.timers.set(Timer::LossProbe, at);
        } else {
            self.timers.stop(Timer::LossProbe);
        }
    }

    /// What waits to be sent again, at most `limit` bytes of it.
    pub(crate) fn next_retransmission(&mut self, now: Instant, limit: u64) -> Option<TxRecord> {
        if self.board.lost() == 0 || limit == 0 {
            return None;
        }
        let stamp = self.rate.stamp(now, false);
        let record = self.board.retransmit_first_lost(now, stamp, limit)?;
        self.recovery.retransmit_due = false;
        self.count_retransmit(&record);
        self.on_data_sent(now, record.seq_len());
        self.arm_retransmit(now, false);
        Some(record)
    }

    pub(crate) fn has_lost(&self) -> bool {
        self.board.lost() > 0
    }

    fn count_retransmit(&mut self, record: &TxRecord) {
        self.counters.rare().retransmits += 1;
        self.counters.rare().fast_retransmits += u64::from(matches!(self.recovery.phase, Phase::Recovery { .. }));
        self.counters.rare().bytes_retransmitted += record.payload.len() as u64;
    }
}
