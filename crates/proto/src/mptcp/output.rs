//! What goes out next. One call, one packet; the order of the steps is the order of importance.

use super::narrate::relative;
use super::session::Session;
use super::subflow::Question;
use super::timers::ConnectionTimer;
use super::{Connection, Env, Handshake, Multipath, Role, SendHalf, Signal, Subflow};
use crate::LinkId;
use crate::SubflowId;
use crate::buffer::Chunks;
use crate::seq::{Dsn, Ssn};
use crate::tcp::{Mapping, State, TxRecord};
use crate::time::{Duration, Instant};
use crate::trace::{By, CongestionReason, RetransmitReason, TraceEvent};
use bytes::Bytes;
use polypath_wire::{
    Dss, DssMapping, HeaderBuf, MpFastclose, MptcpOption, Segment, SynOptions, TcpFlags, Wanted, emit_headers, fit,
};

/// A DSS with nothing but an infinite mapping with a 64-bit DSN and checksum.
pub(super) const FAREWELL_BYTES: usize = 20;
/// MP_CAPABLE with both keys and a data length, padded.
pub(super) const CAPABLE_DATA_BYTES: usize = 24;
/// Acknowledgements that carry nothing but signals.
const SIGNALS_IN_A_ROUND_TRIP: u32 = 2;
/// A mapping's length field, and an IP packet's.
const MAX_MAPPING: u64 = 65_535;

/// Where a packet is put together; the caller's, and used again for each.
#[derive(Debug, Default)]
pub struct TransmitBuf {
    /// IP and TCP headers.
    pub headers: HeaderBuf,
    /// The payload, in pieces that share the application's memory.
    pub payload: Vec<Bytes>,
}

/// One packet to send: its bytes are in the [`TransmitBuf`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub link: LinkId,
    /// Headers and payload, in bytes.
    pub len: usize,
    /// For a super-segment: the payload of each segment on the wire, in bytes.
    pub segment_size: Option<u16>,
}

/// A segment to be put together.
pub(super) struct Outgoing<'a> {
    ssn: Ssn,
    pub(super) flags: TcpFlags,
    pub(super) payload: Option<&'a Chunks>,
    option: Option<MptcpOption>,
    pub(super) signals: &'a [MptcpOption],
}

type Step = fn(&mut Connection, Instant, &Env<'_>, &mut TransmitBuf) -> Option<Transmit>;

/// A DATA_FIN that is not acknowledged is repeated this often at least: it is one small packet, and an application waits.
const DATA_FIN_AGAIN: Duration = Duration::from_secs(8);

impl Connection {
    /// The next packet, if there is any to send now.
    pub(crate) fn poll_transmit(&mut self, now: Instant, env: &Env<'_>, out: &mut TransmitBuf) -> Option<Transmit> {
        const STEPS: [Step; 10] = [
            Connection::send_handshake,
            Connection::send_reset,
            Connection::send_signal,
            Connection::send_tail_probe,
            Connection::send_retransmission,
            Connection::send_reinjection,
            Connection::send_new_data,
            Connection::send_data_fin,
            Connection::send_fin,
            // [9293-MUST-59]
            Connection::send_ack_or_probe,
        ];
        self.tell_path_manager(now, env);
        self.pace(now);
        let sent = STEPS.iter().find_map(|step| step(self, now, env, out));
        if sent.is_none() {
            self.note_app_limited();
        }
        sent
    }

    fn send_handshake(&mut self, now: Instant, env: &Env<'_>, out: &mut TransmitBuf) -> Option<Transmit> {
        let waits = self.syn_waits();
        let id = self.ids().find(|id| self.get(*id).is_some_and(|s| s.send_syn)).filter(|_| !waits)?;
        let active = self.get(id)?.tcp.state == State::SynSent && self.get(id)?.handshake == Handshake::Capable;
        let payload = if active { self.syn_payload(id) } else { Chunks::default() };
        let patience = self.handshake_patience(now, id);
        let option = self.syn_option(self.get(id)?);
        let s = self.get_mut(id)?;
        s.send_syn = false;
        let flags = match s.tcp.state {
            State::SynSent => TcpFlags::SYN,
            State::SynReceived => TcpFlags::SYN | TcpFlags::ACK,
            _ => return None,
        } | s.tcp.ecn_setup_flags();
        s.tcp.on_handshake_sent(now, patience);
        self.start_user_timeout(now);
        let payload = Some(&payload).filter(|payload| payload.len() > 0);
        Some(self.emit(now, env, id, &Outgoing { ssn: Ssn::ORIGIN, flags, payload, option, signals: &[] }, out))
    }

    fn send_reset(&mut self, now: Instant, env: &Env<'_>, out: &mut TransmitBuf) -> Option<Transmit> {
        let id = self.ids().find(|id| self.get(*id).is_some_and(|s| s.reset.is_some()))?;
        let (reset, reason) = self.get(id)?.reset?;
        let mp_fail = self.get(id)?.failed.map(MptcpOption::MpFail);
        let option = self.multipath.session().map(|session| match self.fastclose {
            // [8684-3.5-1]
            true => MptcpOption::MpFastclose(MpFastclose { receiver_key: session.remote_key }),
            // [8684-3.6-1]
            false => super::session::tcprst(reset, self.may_be_tried_again(id, reset)),
        });
        self.note_reset(now, id);
        let ssn = self.get(id)?.tcp.snd_nxt();
        let flags = TcpFlags::RST | TcpFlags::ACK;
        let signals = mp_fail.as_slice();
        let sent = self.emit(now, env, id, &Outgoing { ssn, flags, payload: None, option, signals }, out);
        if let Some(s) = self.get_mut(id) {
            s.tcp.die();
        }
        self.close_subflow(now, env, id, reason);
        self.reap_subflows(now);
        Some(sent)
    }

    /// ADD_ADDR, its echo, REMOVE_ADDR, MP_PRIO: on an acknowledgement of their own. No more than two in a round trip:
    /// to a peer without SACK they look like duplicates. [8684-3-4, 8684-4-3, 8684-3.4.1-13]
    fn send_signal(&mut self, now: Instant, env: &Env<'_>, out: &mut TransmitBuf) -> Option<Transmit> {
        let Signal { option: signal, on } = self.signals.front()?.clone();
        let id = on.filter(|id| self.get(*id).is_some_and(Subflow::is_alive)).or(self.best_subflow())?;
        let (since, sent) = self.signals_sent;
        let round_trip = self.get(id)?.tcp.rtt.srtt().unwrap_or_default();
        if now - since >= round_trip {
            self.signals_sent = (now, 1);
        } else if sent < SIGNALS_IN_A_ROUND_TRIP {
            self.signals_sent.1 += 1;
        } else {
            self.timers.set(ConnectionTimer::Signals, since + round_trip);
            return None;
        }
        self.signals.pop_front();
        if on.is_some_and(|on| on != id) && matches!(signal, MptcpOption::MpPrio(_)) {
            // It was about a subflow that is gone.
            return self.send_signal(now, env, out);
        }
        let option = match signal {
            MptcpOption::AddAddr(_) => None,
            _ => self.ack_option(id),
        };
        let owed = option.is_none() && self.get(id).is_some_and(|s| s.tcp.owes_ack());
        let sent = self.emit_ack(now, env, id, option, &[signal], out);
        if let Some(s) = self.get_mut(id).filter(|_| owed) {
            // It had no room for the DATA_ACK: that follows by itself.
            s.tcp.ack_now();
        }
        Some(sent)
    }

    /// RFC 8985, section 7.3. The end of what was sent serves as the probe, also where new data could.
    fn send_tail_probe(&mut self, now: Instant, env: &Env<'_>, out: &mut TransmitBuf) -> Option<Transmit> {
        let id = self.ids().find(|id| self.get(*id).is_some_and(|s| s.tail_probe_due))?;
        let option_bytes = self.resent_option_bytes();
        let s = self.get_mut(id)?;
        s.tail_probe_due = false;
        let record = s.tcp.on_probe_timer(now, option_bytes)?;
        self.trace_retransmitted(id, &record, RetransmitReason::TailLossProbe);
        Some(self.emit_record(now, env, id, &record, out))
    }

    fn send_retransmission(&mut self, now: Instant, env: &Env<'_>, out: &mut TransmitBuf) -> Option<Transmit> {
        for id in self.ids() {
            let alone = self.subflow_count() == 1;
            let cwnd = self.congestion.window(id);
            let Some(s) = self.get(id).filter(|s| s.tcp.has_lost() && s.reset.is_none()) else { continue };
            let mss = s.tcp.mss_with(self.resent_option_bytes());
            // While the path does not answer, one small segment at a time asks whether it lives.
            // [9293-SHLD-16, 7323-2.4-4]
            // [8684-3.3.6-1]
            let cwnd = if s.stalled.is_some() && !alone { cwnd.min(mss) } else { cwnd };
            let room = s.tcp.congestion_room(cwnd).min(self.max_payload(env, s));
            // A sub-segment remainder waits, unless nothing is in flight.
            let limit = if room >= mss {
                room - room % mss
            } else if s.tcp.in_flight() == 0 {
                mss
            } else {
                continue;
            };
            let Some(record) = self.get_mut(id).and_then(|s| s.tcp.next_retransmission(now, limit)) else { continue };
            self.trace_retransmitted(id, &record, RetransmitReason::Lost);
            return Some(self.emit_record(now, env, id, &record, out));
        }
        None
    }

    fn send_reinjection(&mut self, now: Instant, env: &Env<'_>, out: &mut TransmitBuf) -> Option<Transmit> {
        if self.reinjections.is_empty() {
            return None;
        }
        self.restart_idle(now);
        let limits = self.payload_limits(env);
        let Some(a) = self.assign_reinjection(now, |s| limits(s)) else {
            self.arm_persist(now);
            return None;
        };
        if let Some(s) = self.get_mut(a.on) {
            s.tcp.counters.rare().bytes_reinjected += a.len;
        }
        Some(self.send_data(now, env, a.on, a.dsn, a.len, out))
    }

    fn send_new_data(&mut self, now: Instant, env: &Env<'_>, out: &mut TransmitBuf) -> Option<Transmit> {
        if !self.established || self.error.is_some() {
            return None;
        }
        if self.send.end() > self.data_nxt {
            self.restart_idle(now);
        }
        let limits = self.payload_limits(env);
        // [9293-MUST-60]
        let Some(a) = self.assign_mtu_probe(now).or_else(|| self.assign_new_data(now, |s| limits(s))) else {
            self.arm_persist(now);
            // What keeps the window shut goes again instead.
            return if self.unblock_window(now) { self.send_reinjection(now, env, out) } else { None };
        };
        self.data_nxt += a.len;
        self.start_user_timeout(now);
        let sent = self.send_data(now, env, a.on, a.dsn, a.len, out);
        // Not before: its length was chosen for the numbers as they were.
        self.judge_rate(now);
        if !self.timers.is_set(ConnectionTimer::DataRetransmit) {
            self.arm_data_retransmit(now);
        }
        self.advance_close(now);
        self.tell_writable(env.config.send_buffer_max);
        Some(sent)
    }

    /// RFC 5681, section 4.1: what was learned of a path before a pause is old.
    fn restart_idle(&mut self, now: Instant) {
        for id in self.ids() {
            if self.get_mut(id).is_some_and(|s| s.established && s.tcp.begins_after_idle(now)) {
                self.congestion.on_idle(id);
                self.set_pacing_rate(id);
                self.trace_congestion(id, CongestionReason::Idle);
            }
        }
    }

    /// Gives bytes to a subflow and sends them.
    fn send_data(
        &mut self,
        now: Instant,
        env: &Env<'_>,
        id: SubflowId,
        dsn: Dsn,
        len: u64,
        out: &mut TransmitBuf,
    ) -> Transmit {
        let payload = self.send.slice(dsn, len as usize);
        debug_assert_eq!(payload.len() as u64, len);
        let active = self.is_active();
        let session = self.multipath.session().copied();
        let record = self.get_mut(id).map(|s| {
            // [8684-3.3.1-15]
            let mapping = session.map(|session| {
                let (ssn, len) = (s.tcp.snd_nxt(), len as u16);
                let relative = (ssn.0 - s.tcp.syn_bytes_sent()) as u32;
                Mapping { dsn, ssn, len, checksum: session.checksum_of(dsn, relative, len, &payload) }
            });
            let ssn = s.tcp.push_data(now, dsn, payload.clone(), mapping);
            (ssn, mapping)
        });
        let (ssn, mapping) = record.unwrap_or((Ssn::FIRST, None));
        if active {
            self.trace_mapping_sent(id, ssn, dsn, len);
            self.watch_acknowledgements_of(now, id);
            self.watch_backups(now);
        }
        self.emit_data(now, env, id, ssn, &payload, mapping, out)
    }

    /// RFC 8684, section 3.3.3. It goes alone, and is repeated until acknowledged.
    fn send_data_fin(&mut self, now: Instant, env: &Env<'_>, out: &mut TransmitBuf) -> Option<Transmit> {
        let id = self.data_fin_on.iter().find(|id| self.get(*id).is_some_and(Subflow::is_alive))?;
        let Multipath::Active(session) = &self.multipath else { return None };
        // The keys go first: without them the peer makes nothing of it. [8684-3.1-4]
        let keys_due =
            self.role == Role::Client && !session.confirmed && self.get(id).is_some_and(|s| s.tcp.wants_ack());
        if self.send_half != SendHalf::FinSent || keys_due {
            return None;
        }
        let option = self.data_fin_option(session);
        self.data_fin_on = self.data_fin_on.without(id);
        let dsn = relative(self.data_fin());
        self.journal.trace(|| TraceEvent::DataFin { by: By::Here, dsn });
        let rto = self.iter().map(|(_, s)| s.tcp.rtt.rto()).max().unwrap_or(Duration::from_secs(1));
        // [8684-3.3.3-5]
        let patience = (rto * (1 << self.data_fin_tries.min(8))) / 2;
        self.timers.set(ConnectionTimer::DataFin, now + patience.min(DATA_FIN_AGAIN));
        Some(self.emit_ack(now, env, id, Some(option), &[], out))
    }

    fn data_fin_option(&self, session: &Session) -> MptcpOption {
        // [8684-3.3.3-3]
        let mapping = DssMapping {
            dsn: session.number(self.data_fin()),
            ssn: 0,
            len: 1,
            checksum: session.checksum_of(self.data_fin(), 0, 1, &Chunks::default()),
        };
        let data_ack = session.data_ack(Dsn(self.assembler.next()));
        MptcpOption::Dss(Dss { data_ack: Some(data_ack), mapping: Some(mapping), data_fin: true })
    }

    /// What goes with a FIN that ends at `end`: the DATA_FIN too, where that is all that is left to be heard.
    fn fin_option(&mut self, id: SubflowId, end: Ssn) -> Option<MptcpOption> {
        match self.multipath.session().filter(|_| self.waits_for_end_alone()) {
            Some(session) => Some(self.data_fin_option(session)),
            // [8684-3.7-6]
            None => self.ack_option(id).or_else(|| self.farewell_option(id, end)),
        }
    }

    /// Closes subflows that shall close, after all their data.
    fn send_fin(&mut self, now: Instant, env: &Env<'_>, out: &mut TransmitBuf) -> Option<Transmit> {
        let due = |s: &Subflow| s.close_wanted && s.established && s.tcp.state.can_send() && s.reset.is_none();
        let id = self.ids().find(|id| self.get(*id).is_some_and(due))?;
        let dsn = self.data_nxt;
        let ssn = self.get_mut(id)?.tcp.push_fin(now, dsn);
        let option = self.fin_option(id, ssn + 1);
        let flags = TcpFlags::FIN | TcpFlags::ACK;
        Some(self.emit(now, env, id, &Outgoing { ssn, flags, payload: None, option, signals: &[] }, out))
    }

    fn send_ack_or_probe(&mut self, now: Instant, env: &Env<'_>, out: &mut TransmitBuf) -> Option<Transmit> {
        for id in self.ids() {
            let Some(s) = self.get_mut(id).filter(|s| s.tcp.state.is_synchronized()) else { continue };
            if let Some(question) = s.question.take() {
                // RFC 9293, section 3.8.4: a number below the window makes the peer answer. [9293-MUST-36]
                let mut garbage = Chunks::default();
                match question {
                    // With one byte of garbage: Linux answers empty ones only twice a second
                    // (tcp_invalid_ratelimit), and silence is what is asked about.
                    Question::Window => {
                        s.tcp.counters.rare().window_probes += 1;
                        // Where a FIN may stand there are no bytes any more.
                        if s.tcp.can_send() {
                            garbage.push(Bytes::from_static(&[0]));
                        }
                    }
                    // [9293-SHLD-12]
                    Question::Keepalive => s.tcp.counters.rare().keepalives += 1,
                }
                let ssn = Ssn(s.tcp.snd_una().0 - 1);
                let option = self.ack_option(id);
                let (flags, payload) = (TcpFlags::ACK, Some(&garbage).filter(|garbage| garbage.len() > 0));
                let sent = self.emit(now, env, id, &Outgoing { ssn, flags, payload, option, signals: &[] }, out);
                self.arm_persist(now);
                return Some(sent);
            }
            if s.tcp.wants_ack() {
                let option = self.ack_option(id);
                return Some(self.emit_ack(now, env, id, option, &[], out));
            }
        }
        None
    }

    fn emit_ack(
        &mut self,
        now: Instant,
        env: &Env<'_>,
        id: SubflowId,
        option: Option<MptcpOption>,
        signals: &[MptcpOption],
        out: &mut TransmitBuf,
    ) -> Transmit {
        let ssn = self.get(id).map_or(Ssn::FIRST, |s| s.tcp.snd_nxt());
        self.emit(now, env, id, &Outgoing { ssn, flags: TcpFlags::ACK, payload: None, option, signals }, out)
    }

    fn emit_record(
        &mut self,
        now: Instant,
        env: &Env<'_>,
        id: SubflowId,
        r: &TxRecord,
        out: &mut TransmitBuf,
    ) -> Transmit {
        if r.fin {
            let option = self.fin_option(id, r.ssn + 1);
            let flags = TcpFlags::FIN | TcpFlags::ACK;
            return self.emit(now, env, id, &Outgoing { ssn: r.ssn, flags, payload: None, option, signals: &[] }, out);
        }
        self.emit_data(now, env, id, r.ssn, &r.payload, r.mapping, out)
    }

    #[expect(clippy::too_many_arguments, reason = "the three last describe one segment")]
    fn emit_data(
        &mut self,
        now: Instant,
        env: &Env<'_>,
        id: SubflowId,
        ssn: Ssn,
        payload: &Chunks,
        mapping: Option<Mapping>,
        out: &mut TransmitBuf,
    ) -> Transmit {
        // [8684-3.7-2]
        let option = self.mapping_option(id, mapping).or_else(|| self.farewell_option(id, ssn + payload.len() as u64));
        let mut flags = TcpFlags::ACK;
        // The end of what there is to send: the receiver should not wait for more.
        if self.data_nxt >= self.send.end() {
            // [9293-SHLD-27, 9293-MUST-61]
            flags |= TcpFlags::PSH;
        }
        self.emit(now, env, id, &Outgoing { ssn, flags, payload: Some(payload), option, signals: &[] }, out)
    }

    fn mapping_option(&self, id: SubflowId, mapping: Option<Mapping>) -> Option<MptcpOption> {
        let session = self.multipath.session()?;
        let mapping = mapping?;
        let s = self.get(id)?;
        // [8684-3.1-24]
        if self.carries_keys(session.confirmed, s, mapping.ssn) {
            return Some(self.capable_data_option(session, &mapping));
        }
        let map = DssMapping {
            dsn: session.number(mapping.dsn),
            ssn: (mapping.ssn.0 - s.tcp.syn_bytes_sent()) as u32,
            len: mapping.len,
            checksum: mapping.checksum,
        };
        let data_ack = session.data_ack(Dsn(self.assembler.next()));
        Some(MptcpOption::Dss(Dss { data_ack: Some(data_ack), mapping: Some(map), data_fin: false }))
    }

    /// What every acknowledgement of a Multipath TCP connection carries.
    fn ack_option(&self, id: SubflowId) -> Option<MptcpOption> {
        let session = self.multipath.session()?;
        let s = self.get(id)?;
        let initial_unconfirmed = self.role == Role::Client && !session.confirmed;
        // [8684-3.1-25]
        if matches!(s.handshake, Handshake::JoinAck { .. }) || initial_unconfirmed {
            return self.third_ack_option(s);
        }
        // [8684-3.3.2-1, 8684-3.3.2-6]
        let data_ack = session.data_ack(Dsn(self.assembler.next()));
        Some(MptcpOption::Dss(Dss { data_ack: Some(data_ack), mapping: None, data_fin: false }))
    }

    /// The most payload one packet on a subflow's link may carry.
    fn max_payload(&self, env: &Env<'_>, s: &Subflow) -> u64 {
        self.payload_limits(env)(s)
    }

    fn payload_limits<'a>(&self, env: &'a Env<'_>) -> impl Fn(&Subflow) -> u64 + use<'a> {
        let option_bytes = self.data_option_bytes();
        let links = env.links;
        move |s| {
            let headers = if s.tcp.is_ipv4() { 20 } else { 40 } + 20 + 12 + option_bytes as u64;
            let mss = s.tcp.mss_with(option_bytes);
            // Nobody cuts what is larger where the link has no offload. [9293-MUST-16]
            let offload = links.get(s.tcp.link.0 as usize).filter(|l| l.max_segment > l.mtu);
            let segment = offload.map_or(0, |l| u64::from(l.max_segment.min(65_535)));
            (segment.saturating_sub(headers)).clamp(mss, MAX_MAPPING)
        }
    }

    /// Puts the segment into the caller's buffer.
    fn emit(
        &mut self,
        now: Instant,
        env: &Env<'_>,
        id: SubflowId,
        what: &Outgoing<'_>,
        out: &mut TransmitBuf,
    ) -> Transmit {
        out.headers.clear();
        out.payload.clear();
        let rcv_nxt = Dsn(self.assembler.next());
        let shift = self.get(id).map_or(0, |s| s.tcp.window_shift(what.flags));
        // [8684-3.3.4-3]
        let window = self.window.offer(rcv_nxt, self.unread(env), shift);
        let option_bytes = self.data_option_bytes();
        let mp_fail = self.mp_fail_option(what);
        let signals = if mp_fail.is_some() { mp_fail.as_slice() } else { what.signals };
        self.note_sent(id, what.flags, what.option.iter().chain(signals));
        let is_syn = what.flags.contains(TcpFlags::SYN);
        let fast_open = self.fast_open_option(what.flags);
        let Some(s) = self.get_mut(id) else {
            return Transmit { link: LinkId(0), len: 0, segment_size: None };
        };
        let sack = s.tcp.sack_blocks();
        let has_payload = what.payload.is_some();
        let fitted = fit(&Wanted {
            // [9293-MUST-65]
            handshake: is_syn.then(|| SynOptions { fast_open, ..s.tcp.syn_options() }),
            // [7323-3.2-3]
            timestamps: s.tcp.timestamps(now),
            mptcp: what.option.clone(),
            signals,
            sack: &sack,
            super_segment: has_payload,
        });
        // Data segments have no room for SACK: an acknowledgement that needs it follows by itself. [2018-4-1]
        let owes_sack = has_payload && s.tcp.wants_ack() && !sack.is_empty();
        let mut segment: Segment = s.tcp.segment(what.ssn, what.flags, window, fitted.options);
        if owes_sack {
            s.tcp.ack_now();
        }
        let (mss, on) = (s.tcp.segment_payload(what.ssn, option_bytes), s.tcp.link);
        self.settings.mark(&mut segment.ip);
        let payload: &[Bytes] = what.payload.map_or(&[], Chunks::pieces);
        let payload_len = what.payload.map_or(0, Chunks::len);
        let link = env.links.get(on.0 as usize);
        emit_headers(
            &segment,
            payload,
            link.map_or(polypath_wire::ChecksumMode::Full, |l| l.checksum),
            &mut out.headers,
        );
        out.payload.extend_from_slice(payload);
        Transmit {
            link: on,
            len: out.headers.len() + payload_len,
            segment_size: (payload_len as u64 > mss && !is_syn).then_some(mss as u16),
        }
    }
}
