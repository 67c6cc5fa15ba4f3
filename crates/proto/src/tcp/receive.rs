//! A segment arrives (RFC 9293, section 3.10.7): is it acceptable, what does it acknowledge, what data does
//! it bring.

use super::scoreboard::Delivered;
use super::{SendWindow, State, Tcp, Timer, TimestampState};
use crate::congestion::RateSample;
use crate::seq::Ssn;
use crate::time::{Duration, Instant};
use bytes::Bytes;
use polypath_wire::{Segment, TcpFlags};

/// RFC 7323, section 5.5: after 24 days TS.Recent says nothing any more.
const TS_RECENT_LIFE: Duration = Duration::from_secs(24 * 24 * 3600);

/// An echo of a timestamp older than this, in milliseconds, measures nothing.
const MAX_ECHO_AGE: u32 = 60_000;
/// Pieces that wait in a subflow for data before them; far more than a window in full segments has.
const MAX_PIECES: usize = 16 * 1024;

/// What to do with a segment.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on with it.
    Accept,
    /// Not acceptable: forget it (an acknowledgement may have been asked for).
    Drop,
    /// A valid reset.
    Reset,
}

/// What an acknowledgement changed.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct AckOutcome {
    /// Bytes newly acknowledged, cumulatively or selectively.
    pub(crate) delivered: u64,
    /// SND.UNA moved.
    pub(crate) advanced: bool,
    pub(crate) rtt: Option<Duration>,
    /// How fast it arrived.
    pub(crate) rate: Option<RateSample>,
    pub(crate) prior_in_flight: u64,
    /// Loss was found and a new recovery begins.
    pub(crate) congestion: bool,
    /// The last timeout turned out to be spurious.
    pub(crate) spurious: bool,
    /// Something that was sent again had arrived the first time.
    pub(crate) original_arrived: bool,
    /// Packets of ours were marked (ECE): the window does not grow.
    pub(crate) ece: bool,
    /// And this is the first to say so of this window.
    pub(crate) marked: bool,
    /// Fast recovery goes on: the window is PRR's business.
    pub(crate) in_recovery: bool,
    /// What became of a probe of the path MTU.
    pub(crate) mtu_probe: Option<super::ProbeOutcome>,
    /// Bytes newly believed lost.
    pub(crate) newly_lost: u64,
    /// Fast recovery began with this.
    pub(crate) recovery_entered: bool,
    /// All that was out when recovery began is acknowledged.
    pub(crate) recovery_left: bool,
    /// All that was out when the last round trip began is acknowledged.
    pub(crate) round_start: bool,
}

impl Tcp {
    /// The unwrapped sequence number of a segment.
    pub(crate) fn seq_of(&self, seg: &Segment) -> Ssn {
        self.rcv_space.unwrap(seg.tcp.seq, self.rcv_nxt())
    }

    /// First to fifth check of section 3.10.7.4: sequence number, RST, SYN, ACK; and PAWS (RFC 7323).
    pub(crate) fn check(&mut self, now: Instant, seg: &Segment, payload: usize) -> Verdict {
        self.counters.segments_received += 1;
        let flags = seg.tcp.flags;
        let seq = self.seq_of(seg);
        let end =
            seq + payload as u64 + u64::from(flags.contains(TcpFlags::FIN)) + u64::from(flags.contains(TcpFlags::SYN));
        // [7323-5.3-1, 7323-5.2-1]
        if !flags.contains(TcpFlags::RST) && self.is_too_old(now, seg) {
            self.counters.rare().old_timestamps += 1;
            self.challenge(now);
            return Verdict::Drop;
        }
        let rcv_nxt = self.rcv_nxt();
        // [7323-2.4-1, 7323-2.4-2]
        let edge = rcv_nxt + self.max_window;
        // [9293-3.10.7.4-1]
        let acceptable = if seq == end { seq >= rcv_nxt && seq <= edge } else { end > rcv_nxt && seq < edge };
        if flags.contains(TcpFlags::RST) {
            // RFC 5961, section 3.2: exactly at RCV.NXT it is believed, elsewhere in the window challenged.
            // [9293-SHLD-2, 9293-MUST-66]
            if seq == rcv_nxt {
                // [5961-3.2-1, 5961-3.2-2]
                return Verdict::Reset;
            }
            if acceptable {
                // [5961-3.2-3]
                self.challenge(now);
            }
            return Verdict::Drop;
        }
        if flags.contains(TcpFlags::SYN) {
            // RFC 5961, section 4.2; also how a lost third ACK is sent again. [5961-4.2-1]
            self.challenge(now);
            return Verdict::Drop;
        }
        if !acceptable {
            if payload > 0 && end <= rcv_nxt {
                // Our acknowledgement was lost, or it is late: no stranger's doing.
                self.ack_duplicate(seq.0..seq.0 + payload as u64);
            } else {
                self.challenge(now);
            }
            return Verdict::Drop;
        }
        if !flags.contains(TcpFlags::ACK) {
            return Verdict::Drop;
        }
        if !self.ack_is_plausible(seg) {
            // RFC 5961, section 5.2.
            self.challenge(now);
            return Verdict::Drop;
        }
        self.last_received = now;
        self.take_timestamp(now, seg, seq);
        Verdict::Accept
    }

    /// Answers what is not acceptable, now and then.
    fn challenge(&mut self, now: Instant) {
        // [5961-7-1]
        if self.challenges.take(now) {
            self.ack_now();
            self.counters.rare().challenge_acks += 1;
        } else {
            self.counters.rare().challenges_skipped += 1;
        }
    }

    fn ack_is_plausible(&self, seg: &Segment) -> bool {
        let ack = self.snd_space.unwrap(seg.tcp.ack, self.snd_una);
        // [5961-5.2-1, 5961-5.2-2]
        ack <= self.snd_nxt && ack + self.snd_wnd.largest() >= self.snd_una
    }

    /// It acknowledges less than another one did before.
    pub(crate) fn is_retracted(&self, seg: &Segment) -> bool {
        self.snd_space.unwrap(seg.tcp.ack, self.snd_una) < self.snd_una
    }

    /// PAWS: RFC 7323, section 5.
    fn is_too_old(&self, now: Instant, seg: &Segment) -> bool {
        // [7323-3.2-4, 7323-3.2-7, 7323-3.2-5]
        let (Some(ts), Some(state)) = (seg.options.timestamps, &self.ts) else { return false };
        // [7323-5.5-1]
        (ts.val.wrapping_sub(state.recent) as i32) < 0 && now - state.recent_at < TS_RECENT_LIFE
    }

    /// RFC 7323, section 4.3.
    fn take_timestamp(&mut self, now: Instant, seg: &Segment, seq: Ssn) {
        let last_ack_sent = self.last_ack_sent;
        if let (Some(ts), Some(state)) = (seg.options.timestamps, &mut self.ts)
            // [7323-4.3-1]
            && seq <= last_ack_sent
        {
            *state = TimestampState { recent: ts.val, recent_at: now };
        }
    }

    /// What the peer's SYN says: its numbers and what it agrees to.
    pub(super) fn take_syn(&mut self, now: Instant, seg: &Segment) {
        let o = &seg.options;
        self.rcv_space = crate::seq::SsnSpace::new(seg.tcp.seq);
        // RFC 9293, section 3.7.1; a peer that offers less than 88 would stall us (Linux: TCP_MIN_SND_MSS + 40).
        if let Some(mss) = o.mss {
            // [9293-MUST-14]
            self.peer_mss = mss.max(88);
        }
        // RFC 7323, section 2.3: a shift above 14 counts as 14. [7323-2.2-3]
        self.wscale_agreed = o.window_scale.is_some();
        self.snd_wscale = o.window_scale.unwrap_or(0).min(14);
        self.sack_ok = o.sack_permitted;
        self.ts = o.timestamps.map(|ts| TimestampState { recent: ts.val, recent_at: now });
        self.snd_wnd = SendWindow::of_syn(seg.tcp.window, self.seq_of(seg), self.snd_una.max(Ssn::FIRST));
        self.last_received = now;
    }

    /// SYN-SENT: the peer's SYN/ACK, which acknowledges our SYN (section 3.10.7.3).
    pub(crate) fn on_syn_ack(&mut self, now: Instant, seg: &Segment) {
        self.take_syn_acknowledgement(seg);
        self.take_syn(now, seg);
        self.ecn.on_syn_ack(seg);
        self.sample_handshake_rtt(now, seg);
        self.state = State::Established;
        self.ack_now();
    }

    /// SYN-SENT: the peer's SYN, which acknowledges nothing.
    pub(crate) fn on_crossing_syn(&mut self, now: Instant, seg: &Segment) {
        self.take_syn(now, seg);
        self.state = State::SynReceived;
    }

    /// The segment begins where the peer's SYN does.
    pub(crate) fn repeats_syn(&self, seg: &Segment) -> bool {
        self.seq_of(seg) == Ssn::ORIGIN
    }

    /// SYN-RECEIVED: the segment acknowledges our SYN/ACK, or our SYN where both crossed.
    pub(crate) fn on_handshake_ack(&mut self, now: Instant, seg: &Segment) {
        self.snd_una = Ssn::FIRST;
        if self.syn_sent > 0 {
            self.take_syn_acknowledgement(seg);
        }
        self.update_window(seg);
        self.sample_handshake_rtt(now, seg);
        self.state = State::Established;
        // What was sent before it waits for its own acknowledgement.
        self.arm_retransmit(now, true);
    }

    fn sample_handshake_rtt(&mut self, now: Instant, seg: &Segment) {
        self.timers.stop(Timer::Retransmit);
        if let Some(sent) = self.recovery.handshake_sent() {
            // Karn: which SYN was it? The last one, if its timestamp comes back. That of an earlier one measures how long
            // something was lost, too. [9293-MUST-18]
            let echo = seg.options.timestamps.filter(|_| self.ts.is_some()).map(|ts| ts.ecr);
            let is_last = echo == Some(super::send::timestamp_at(sent, self.ts_offset));
            if !self.recovery.handshake_repeated() || is_last {
                self.rtt.on_sample(now, now - sent);
            }
        }
        if self.recovery.backoff() > 0 {
            self.rtt.on_syn_timeout();
        }
        self.recovery.reset_backoff();
    }

    fn update_window(&mut self, seg: &Segment) {
        let (seq, ack) = (self.seq_of(seg), self.snd_space.unwrap(seg.tcp.ack, self.snd_una));
        self.snd_wnd.update(seq, ack, self.window_of(seg));
    }

    /// The acknowledgement field, SACK blocks and window of an accepted segment.
    /// `has_news`: it came to say something else, and is no duplicate.
    pub(crate) fn on_ack(&mut self, now: Instant, seg: &Segment, payload: usize, has_news: bool) -> AckOutcome {
        let ack = self.snd_space.unwrap(seg.tcp.ack, self.snd_una);
        let mut out = AckOutcome { prior_in_flight: self.board.in_flight(), ..AckOutcome::default() };
        let window = self.snd_wnd.current();
        if ack >= self.snd_una {
            self.update_window(seg);
        }
        // [5681-2-1]
        let same_window = self.snd_wnd.current() == window;
        let silent = payload == 0 && !has_news && !seg.tcp.flags.contains(TcpFlags::FIN);
        let duplicate = ack == self.snd_una && same_window && silent;
        let echo = seg.options.timestamps.filter(|_| self.ts.is_some()).map(|ts| ts.ecr);
        if ack > self.snd_una && ack > self.round_end {
            out.round_start = true;
            self.round_end = self.snd_nxt;
            self.rtt.on_round_start();
        }
        self.credit_delivered(now, seg, ack, echo, &mut out);
        if ack > self.snd_una {
            out.advanced = true;
            self.snd_una = ack;
            self.settle_mtu_probe(now, &mut out);
            if self.fin_sent && ack == self.snd_nxt {
                self.state = self.state.after_fin_acked();
            }
        }
        // A late one may be from before the CWR.
        out.ece = self.is_echo(seg) && ack == self.snd_una;
        // Once in a round trip: until something that left with CWR is acknowledged, it is the same mark.
        // [3168-6.1.2-1]
        out.marked = out.ece && self.reduced_until.is_none_or(|until| self.snd_una > until);
        self.recover(now, duplicate, &mut out);
        self.arm_retransmit(now, out.advanced);
        if payload > 0 && self.ts.is_some() {
            self.sample_receiver_rtt(now, echo);
        }
        out
    }

    /// Takes what is newly acknowledged off the scoreboard and measures it.
    fn credit_delivered(&mut self, now: Instant, seg: &Segment, ack: Ssn, echo: Option<u32>, out: &mut AckOutcome) {
        // Sent last of what was sent once, and of all.
        let (mut newest, mut newest_of_all): (Option<Delivered>, Option<Delivered>) = (None, None);
        let (min_rtt, ts_offset) = (self.rtt.min(), self.ts_offset);
        let (mut delivered, mut original_arrived) = (0, false);
        let rack = &mut self.recovery.rack;
        let mut on = |rack: &mut super::rack::Rack, d: Delivered| {
            delivered += d.bytes;
            // Eifel (RFC 3522): the echo of a timestamp from before the retransmission is the original's.
            let sent_ts = super::send::timestamp_at(d.sent_at, ts_offset);
            let is_original = d.retransmitted && echo.is_some_and(|e| (e.wrapping_sub(sent_ts) as i32) < 0);
            original_arrived |= is_original;
            rack.on_delivered(now, &d, min_rtt, is_original);
            let is_newer = |than: &Option<Delivered>| than.is_none_or(|n| (d.sent_at, d.end) > (n.sent_at, n.end));
            if is_newer(&newest_of_all) {
                newest_of_all = Some(d);
            }
            if !d.retransmitted && is_newer(&newest) {
                newest = Some(d);
            }
        };
        if ack > self.snd_una {
            self.board.acknowledge(ack, |d| on(rack, d));
        }
        if self.sack_ok {
            let mut fresh: arrayvec::ArrayVec<(Ssn, Ssn), 4> = arrayvec::ArrayVec::new();
            for (i, block) in seg.options.sack.iter().enumerate() {
                let left = self.snd_space.unwrap(block.left, ack);
                let right = self.snd_space.unwrap(block.right, ack);
                if left >= right || right > self.snd_nxt {
                    continue;
                }
                // RFC 2883, section 4: a first block below the ACK, or inside the second, reports a duplicate.
                let inside_second = seg.options.sack.get(1).is_some_and(|second| {
                    self.snd_space.unwrap(second.left, ack) <= left && right <= self.snd_space.unwrap(second.right, ack)
                });
                if right <= ack || (i == 0 && inside_second) {
                    // One for a probe says nothing of reordering: it went before anything was known to be missing.
                    if self.recovery.last_probe != Some(right) {
                        rack.on_dsack(ack, self.snd_nxt);
                    }
                    self.counters.rare().duplicates_sent += 1;
                    self.recovery.dsack_seen = true;
                    continue;
                }
                fresh.push((left.max(ack), right));
            }
            fresh.sort_unstable();
            for (left, right) in fresh {
                self.board.sack(left, right, |d| on(rack, d));
            }
        }
        out.delivered = delivered;
        out.original_arrived = original_arrived;
        // Karn's algorithm: only what was sent once measures the path. [9293-MUST-18, 6298-3-1, 6298-3-2]
        if let Some(d) = newest {
            let rtt = now - d.sent_at;
            self.rtt.on_sample(now, rtt);
            out.rtt = Some(rtt);
        }
        let min_rtt = self.rtt.min();
        out.rate = newest_of_all.and_then(|d| self.rate.on_delivered(now, delivered, &d, min_rtt));
    }

    /// The clock of timestamps ticks in milliseconds: good enough for sizing buffers.
    fn sample_receiver_rtt(&mut self, now: Instant, echo: Option<u32>) {
        let Some(echo) = echo else { return };
        let elapsed = self.timestamp(now).wrapping_sub(echo);
        if elapsed < MAX_ECHO_AGE {
            let sample = Duration::from_millis(u64::from(elapsed.max(1)));
            self.rcv_rtt = Some(self.rcv_rtt.map_or(sample, |r| (r * 7 + sample) / 8));
        }
    }

    /// The payload and FIN of an accepted segment, as far as there is room up to `limit`; `pop_data` then gives what is
    /// in order.
    pub(crate) fn on_data(&mut self, now: Instant, seg: &Segment, mut payload: Bytes, limit: Ssn) {
        let seq = self.seq_of(seg);
        let rcv_nxt = self.rcv_nxt();
        let len = payload.len() as u64;
        if seg.tcp.flags.contains(TcpFlags::FIN) && self.fin_at.is_none() && seq + len >= rcv_nxt {
            self.fin_at = Some(seq + len);
        }
        // Nothing after a FIN counts, nor beyond what was ever offered.
        let edge = self.fin_at.unwrap_or(limit).min(limit).min(rcv_nxt + self.max_window);
        // [9293-3.10.7.4-2]
        payload.truncate(edge.since(seq) as usize);
        // [3168-6.1.5-2]
        if !payload.is_empty() && seq + len > rcv_nxt {
            self.take_mark(seg);
        }
        if len > 0 && seq > rcv_nxt && self.assembler.pieces() >= MAX_PIECES {
            // Crumbs, to cost us memory: not taken, and so sent again.
            self.ack_now();
        } else if len > 0 && payload.is_empty() {
            // No room for any of it.
            self.ack_now();
        } else if len > 0 {
            let had_gap = self.assembler.has_gap();
            // [8684-3.3.1-7]
            let fresh = self.assembler.insert(seq.0, payload) as u64;
            self.counters.bytes_received += fresh;
            if fresh == 0 {
                self.ack_duplicate(seq.0..seq.0 + len);
            } else if seq > rcv_nxt || had_gap {
                // RFC 5681, section 4.2: out of order, or filling a hole. [9293-MAY-13, 5681-3.2-1, 5681-3.2-2]
                self.ack_out_of_order(seq);
            } else {
                self.ack_in_order(now, fresh);
            }
        } else if seq > rcv_nxt {
            self.ack_now();
        }
        self.take_fin();
    }

    /// The next bytes in order, and where they stand.
    pub(crate) fn pop_data(&mut self) -> Option<(Ssn, Bytes)> {
        let popped = self.assembler.pop().map(|(at, data)| (Ssn(at), data));
        self.take_fin();
        popped
    }

    fn take_fin(&mut self) {
        // [9293-3.10.7.4-3]
        if self.fin_at == Some(self.rcv_nxt()) && !self.assembler.has_gap() {
            self.assembler.skip_one();
            self.state = self.state.after_fin_received();
            self.ack_now();
        }
    }
}
