//! Segments leave: headers, sequence numbers, the bookkeeping of what was sent.

use super::recovery::Recovery;
use super::scoreboard::Mapping;
use super::{State, Tcp, TcpParams, Timer, TxRecord};
use crate::buffer::Chunks;
use crate::seq::{Dsn, Ssn};
use crate::time::{Duration, Instant};
use polypath_wire::{Segment, SeqNum, SynOptions, TcpFlags, TcpHeader, TcpOptions, Timestamps};

/// The timestamp clock: milliseconds, from a secret offset (RFC 7323, section 5.4).
pub(super) fn timestamp_at(at: Instant, offset: u32) -> u32 {
    // [7323-5.4-1]
    (at.as_millis() as u32).wrapping_add(offset)
}

impl Tcp {
    /// Passive open: answers `syn`; the SYN/ACK is still to be sent.
    pub(crate) fn accept(now: Instant, p: &TcpParams, syn: &Segment) -> Tcp {
        let mut tcp = Tcp::new(now, p, State::SynReceived, Some(syn));
        tcp.take_syn(now, syn);
        tcp
    }

    pub(super) fn timestamp(&self, now: Instant) -> u32 {
        timestamp_at(now, self.ts_offset)
    }

    /// The timestamps option for the next segment, if agreed (or offered, on our SYN).
    pub(crate) fn timestamps(&self, now: Instant) -> Option<Timestamps> {
        match (&self.ts, self.state) {
            (Some(ts), _) => Some(Timestamps { val: self.timestamp(now), ecr: ts.recent }),
            // [7323-3.2-1, 7323-3.2-6]
            (None, State::SynSent) => Some(Timestamps { val: self.timestamp(now), ecr: 0 }),
            (None, _) => None,
        }
    }

    /// What our SYN or SYN/ACK offers: on the latter only what the peer offered too.
    pub(crate) fn syn_options(&self) -> SynOptions {
        let active = self.state == State::SynSent;
        SynOptions {
            // [9293-MUST-14, 9293-SHLD-5]
            mss: Some(self.local_mss),
            // [7323-2.2-1]
            window_scale: (active || self.wscale_agreed).then_some(self.rcv_wscale),
            sack_permitted: active || self.sack_ok,
            fast_open: None,
        }
    }

    /// The unit of the window field in a segment with these flags is 2 to the power of this, in bytes.
    pub(crate) fn window_shift(&self, flags: TcpFlags) -> u8 {
        // RFC 7323, section 2.2: the window of a SYN is never scaled. [7323-2.2-2]
        if flags.contains(TcpFlags::SYN) || !self.wscale_agreed { 0 } else { self.rcv_wscale }
    }

    /// Headers for a segment at `ssn`; window field and options are the caller's. With ACK it counts as the
    /// acknowledgement.
    pub(crate) fn segment(&mut self, ssn: Ssn, flags: TcpFlags, window: u16, options: TcpOptions) -> Segment {
        self.counters.segments_sent += 1;
        let acks = flags.contains(TcpFlags::ACK);
        self.max_window = self.max_window.max(u64::from(window) << self.window_shift(flags));
        let (ecn, more) = self.mark_outgoing(ssn, flags);
        if acks {
            self.ack_sent();
        }
        let tcp = TcpHeader {
            src_port: self.local().port(),
            dst_port: self.remote().port(),
            seq: self.snd_space.wrap(ssn),
            ack: if acks { self.rcv_space.wrap(self.rcv_nxt()) } else { SeqNum(0) },
            flags: flags | more,
            window,
            // [8684-3.3.1-6]
            urgent: 0,
        };
        Segment { ip: self.ip_header(ecn), tcp, options }
    }

    /// SND.NXT as it stands on the wire.
    pub(crate) fn wire_snd_nxt(&self) -> SeqNum {
        self.snd_space.wrap(self.snd_nxt)
    }

    /// RCV.NXT as it stands on the wire.
    pub(crate) fn wire_rcv_nxt(&self) -> SeqNum {
        self.rcv_space.wrap(self.rcv_nxt())
    }

    /// The segment acknowledges our SYN, and nothing that was never sent.
    pub(crate) fn acknowledges_syn(&self, seg: &Segment) -> bool {
        let ack = self.snd_space.unwrap(seg.tcp.ack, Ssn::FIRST);
        ack >= Ssn::FIRST && ack <= self.handshake_end()
    }

    /// A segment that begins there has been sent, and not been acknowledged.
    pub(crate) fn is_in_flight(&self, seq: SeqNum) -> bool {
        let ssn = self.snd_space.unwrap(seq, self.snd_una);
        ssn >= self.snd_una && ssn < self.snd_nxt
    }

    /// What the window field of an incoming segment means, in bytes.
    pub(crate) fn window_of(&self, seg: &Segment) -> u64 {
        // [9293-MUST-1, 9293-REC-1]
        u64::from(seg.tcp.window) << if seg.tcp.flags.contains(TcpFlags::SYN) { 0 } else { self.snd_wscale }
    }

    /// New payload that the peer's latest window on this subflow leaves room for.
    pub(crate) fn window_room(&self) -> u64 {
        // [9293-SHLD-15, 7323-2.4-3]
        self.snd_wnd.edge().since(self.snd_nxt)
    }

    /// The same, for the furthest edge ever shown: where the field counts from a DATA_ACK, a window that became
    /// smaller took nothing back.
    pub(crate) fn furthest_window_room(&self) -> u64 {
        self.snd_wnd.furthest().since(self.snd_nxt)
    }

    /// The right edge of the peer's latest window.
    pub(crate) fn window_edge(&self) -> Ssn {
        self.snd_wnd.edge()
    }

    /// What is outstanding lies beyond the window: the peer took it back.
    pub(crate) fn is_beyond_window(&self) -> bool {
        self.has_outstanding() && self.snd_wnd.edge() <= self.snd_una
    }

    /// Takes new data in flight; returns its place.
    pub(crate) fn push_data(&mut self, now: Instant, dsn: Dsn, payload: Chunks, mapping: Option<Mapping>) -> Ssn {
        debug_assert!(self.can_send());
        let ssn = self.snd_nxt;
        let len = payload.len() as u64;
        let stamp = self.rate.stamp(now, self.board.is_empty());
        self.counters.bytes_sent += len;
        self.note_answer(now);
        self.snd_nxt += len;
        self.push_record(
            now,
            TxRecord {
                ssn,
                dsn,
                mapping,
                payload,
                fin: false,
                sent_at: now,
                stamp,
                retransmitted: false,
                sacked: false,
                lost: false,
            },
        );
        ssn
    }

    /// Closes the sending side; returns the place of the FIN.
    pub(crate) fn push_fin(&mut self, now: Instant, dsn: Dsn) -> Ssn {
        debug_assert!(self.state.can_send());
        let ssn = self.snd_nxt;
        let stamp = self.rate.stamp(now, self.board.is_empty());
        self.snd_nxt += 1;
        self.fin_sent = true;
        self.state = self.state.after_fin_sent();
        self.push_record(
            now,
            TxRecord {
                ssn,
                dsn,
                mapping: None,
                payload: Chunks::default(),
                fin: true,
                sent_at: now,
                stamp,
                retransmitted: false,
                sacked: false,
                lost: false,
            },
        );
        ssn
    }

    /// Nothing was sent for longer than a timeout, and that was not said yet.
    pub(crate) fn begins_after_idle(&mut self, now: Instant) -> bool {
        let idle = self.board.is_empty() && now - self.last_data_sent > self.rtt.rto();
        if idle {
            self.last_data_sent = now;
        }
        idle
    }

    fn push_record(&mut self, now: Instant, record: TxRecord) {
        self.last_data_sent = now;
        self.on_data_sent(now, record.seq_len());
        self.board.push(record);
        self.timers.stop(Timer::Persist);
        self.arm_retransmit(now, false);
    }

    /// The SYN or SYN/ACK leaves (again).
    pub(crate) fn on_handshake_sent(&mut self, now: Instant, retry_after: Duration) {
        self.snd_nxt = self.snd_nxt.max(Ssn::FIRST);
        self.recovery.on_handshake_sent(now);
        self.timers.set(Timer::Retransmit, now + retry_after);
    }

    /// The SYN/ACK was sent, and forgotten, before this was made.
    pub(crate) fn resume_handshake(&mut self) {
        self.snd_nxt = Ssn::FIRST;
    }

    /// A SYN or SYN/ACK was lost.
    pub(crate) fn handshake_was_lost(&self) -> bool {
        self.recovery.handshake_lost()
    }

    /// A join's third ACK is known to have arrived.
    pub(crate) fn settle_handshake(&mut self) {
        self.recovery.reset_backoff();
    }

    /// A handshake's retransmission timer expired.
    pub(crate) fn on_handshake_timeout(&mut self) {
        Recovery::on_handshake_timeout(&mut self.recovery);
        self.ecn.on_handshake_timeout();
    }

    /// Nothing more will be sent or received.
    pub(crate) fn die(&mut self) {
        self.state = State::Closed;
        self.timers.clear();
        self.board.clear();
    }
}
