//! One stack; the test plays everybody else, packet by packet.

mod matching;
mod start;

use super::seg::{Mptcp, Opt, Seg, ack, capable_ack, capable_syn, capable_syn_ack, dack, syn, syn_ack};
use bytes::Bytes;
use core::fmt::Write as _;
use polypath_proto::{
    ChecksumMode, Config, ConnectOptions, Connection, ConnectionError, ConnectionId, ConnectionInfo, Duration, Event,
    Instant, LinkConfig, LinkId, ListenerId, LocalAddress, MultipathState, Received, RxChecksum, Stack, SubflowEvent,
    TransmitBuf,
};
use polypath_wire::{
    CapableKeys, Dss, DssMapping, HeaderBuf, IpHeader, Key, MpCapable, MptcpOption, SackBlock, Segment, SeqNum,
    TcpFlags, TcpHeader, TcpOptions, Timestamps, WireDsn, emit_headers, parse_headers, verify_checksum,
};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The stack's addresses.
pub(crate) const WIFI: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
pub(crate) const LTE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1));
/// The peer's.
pub(crate) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub(crate) const PEER_2: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
/// Where the stack listens, where the peer does.
pub(crate) const STACK_PORT: u16 = 443;
pub(crate) const PEER_PORT: u16 = 80;
/// The peer's numbers. The stack's are drawn from its seed.
pub(crate) const PEER_ISN: u32 = 0xffff_ff00;
/// The round trip of the handshakes that the script plays by itself.
pub(crate) const RTT: Duration = Duration::from_millis(20);
pub(crate) const PEER_KEY: Key = Key(0x0123_4567_89ab_cdef);

/// A packet that the stack sent.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) at: Instant,
    pub(crate) seg: Segment,
    pub(crate) payload: Bytes,
    pub(crate) segment_size: Option<u16>,
}

/// What a pattern makes of a packet: nothing wrong, or what.
pub(crate) type Verdict = Result<(), String>;

/// How the stack is set up.
#[derive(Clone, Debug)]
pub(crate) struct ScriptOptions {
    pub(crate) config: Config,
    pub(crate) addresses: Vec<IpAddr>,
    /// 65,535 switches segmentation offload on.
    pub(crate) max_segment: u32,
    pub(crate) connect: ConnectOptions,
}

impl Default for ScriptOptions {
    fn default() -> Self {
        ScriptOptions {
            config: Config::default(),
            addresses: vec![WIFI],
            max_segment: 1500,
            connect: ConnectOptions::default(),
        }
    }
}

impl ScriptOptions {
    #[must_use]
    pub(crate) fn two_addresses() -> Self {
        ScriptOptions { addresses: vec![WIFI, LTE], ..Self::default() }
    }
}

/// One subflow as the peer knows it.
#[derive(Clone, Debug)]
struct Flow {
    /// The stack's end.
    local: SocketAddr,
    remote: SocketAddr,
    stack_isn: Option<SeqNum>,
    /// What the peer has received in order, relative: the default acknowledgement.
    rcv_nxt: u32,
    /// What the peer has sent, relative: the default sequence number.
    snd_nxt: u32,
    last_tsval: Option<u32>,
    timestamps: bool,
}

/// The stack under test and the script's clock.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) stack: Stack,
    pub(crate) now: Instant,
    pub(crate) id: Option<ConnectionId>,
    pub(crate) listener: Option<ListenerId>,
    pub(crate) stack_key: Option<Key>,
    events: Vec<Event>,
    sent: VecDeque<Packet>,
    flows: Vec<Flow>,
    /// The flow that unqualified segments belong to.
    current: usize,
}

impl Script {
    /// Tells the script of a subflow, and makes it the current one; returns its number.
    pub(crate) fn add_flow(&mut self, local: SocketAddr, remote: SocketAddr) -> usize {
        self.flows.push(Flow {
            local,
            remote,
            stack_isn: None,
            rcv_nxt: 0,
            snd_nxt: 0,
            last_tsval: None,
            timestamps: true,
        });
        self.current = self.flows.len() - 1;
        for packet in self.sent.clone() {
            self.note(&packet);
        }
        self.current
    }

    /// Takes a SYN of the stack that begins a new flow, and makes that the current one.
    #[track_caller]
    pub(crate) fn take_syn(&mut self) -> (usize, Packet) {
        let begins = |flags: TcpFlags| flags.contains(TcpFlags::SYN) && !flags.contains(TcpFlags::ACK);
        let is_new = |p: &Packet| begins(p.seg.tcp.flags) && self.flow_of(p).is_none();
        let index = self.sent.iter().position(is_new).expect("the stack sent a SYN on a new flow");
        let packet = self.sent.remove(index).expect("it is there");
        let (ip, tcp) = (&packet.seg.ip, &packet.seg.tcp);
        let flow = self.add_flow(SocketAddr::new(ip.src, tcp.src_port), SocketAddr::new(ip.dst, tcp.dst_port));
        self.note(&packet);
        (flow, packet)
    }

    /// Everything before this has reached the peer on the current flow, by its sequence number.
    pub(crate) fn received(&self) -> u32 {
        self.flows[self.current].rcv_nxt
    }

    /// From now on segments without a flow of their own belong to this one.
    pub(crate) fn on(&mut self, flow: usize) -> &mut Script {
        self.current = flow;
        self
    }

    pub(crate) fn stack_key(&self) -> Key {
        self.stack_key.expect("the stack has sent its key")
    }

    pub(crate) fn conn(&mut self) -> Connection<'_> {
        let id = self.id.expect("a connection");
        self.stack.connection(self.now, id).expect("the connection lives")
    }

    pub(crate) fn info(&mut self) -> ConnectionInfo {
        self.conn().info()
    }

    pub(crate) fn multipath(&mut self) -> MultipathState {
        self.info().multipath
    }

    pub(crate) fn accept(&mut self) {
        let listener = self.listener.expect("a listener");
        self.id = Some(self.stack.accept(listener).expect("a connection to accept"));
    }

    /// Writes the stream's bytes `from..from + len`; they must all fit.
    pub(crate) fn write(&mut self, from: u64, len: usize) {
        let bytes = super::stream(from, len);
        assert_eq!(self.conn().write(&bytes), Ok(len));
        self.drain();
    }

    /// Reads all there is; the flag says that the stream ended.
    pub(crate) fn read(&mut self) -> (Vec<u8>, bool) {
        let mut all = Vec::new();
        let mut ended = false;
        while let Some(piece) = self.conn().read(usize::MAX).unwrap_or(None) {
            if piece.is_empty() {
                ended = true;
                break;
            }
            all.extend_from_slice(&piece);
        }
        self.drain();
        (all, ended)
    }

    /// Does something to the connection and lets the stack act on it.
    pub(crate) fn act<T>(&mut self, f: impl FnOnce(&mut Connection<'_>) -> T) -> T {
        let result = f(&mut self.conn());
        self.drain();
        result
    }

    pub(crate) fn shutdown(&mut self) {
        self.conn().shutdown();
        self.drain();
    }

    pub(crate) fn close(&mut self) {
        self.conn().close();
        self.drain();
    }

    pub(crate) fn abort(&mut self) {
        self.conn().abort();
        self.drain();
    }

    /// Does something to the stack and lets it act.
    pub(crate) fn act_on_stack<T>(&mut self, f: impl FnOnce(&mut Stack, Instant) -> T) -> T {
        let result = f(&mut self.stack, self.now);
        self.drain();
        result
    }

    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.events)
    }

    /// How the connection ended, if it did.
    pub(crate) fn closed(&self) -> Option<Option<ConnectionError>> {
        self.events.iter().find_map(|e| match e {
            Event::Closed { error, .. } => Some(*error),
            _ => None,
        })
    }

    /// What happened to subflows since last asked.
    pub(crate) fn subflow_events(&mut self) -> Vec<SubflowEvent> {
        let events = self.take_events();
        events.into_iter().filter_map(|e| if let Event::Subflow { what, .. } = e { Some(what) } else { None }).collect()
    }

    /// Lets time pass; what the stack sends meanwhile waits to be expected.
    pub(crate) fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        while let Some(at) = self.stack.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.stack.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    /// The next packet of the stack, whatever flow it is on.
    pub(crate) fn next_packet(&mut self) -> Option<Packet> {
        self.sent.pop_front()
    }

    /// It was looked at, and is yet to be taken.
    pub(crate) fn put_back(&mut self, packet: Packet) {
        self.sent.push_front(packet);
    }

    /// Forgets what was sent and not looked at.
    pub(crate) fn clear(&mut self) {
        self.sent.clear();
    }

    /// The stack has sent this now, before anything else on the current flow.
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "a script is read more often than run")]
    pub(crate) fn expect(&mut self, pattern: Seg) -> Packet {
        let first = self.sent.iter().position(|p| self.flow_of(p) == Some(self.current));
        let Some(packet) = first.and_then(|i| self.sent.remove(i)) else {
            let other: Vec<String> = self.sent.iter().map(|p| self.describe(p)).collect();
            panic!("nothing was sent on the flow at {:?}, expected {pattern:?}; elsewhere: {other:#?}", self.now);
        };
        if let Err(what) = self.matches(&packet, &pattern) {
            panic!("{what}\n  sent: {}\n  expected: {pattern:?}", self.describe(&packet));
        }
        packet
    }

    /// Nothing more goes out before `after` has passed, and then this.
    #[track_caller]
    pub(crate) fn expect_after(&mut self, after: Duration, pattern: Seg) -> Packet {
        self.expect_nothing();
        let until = self.now + after;
        self.advance(after.saturating_sub(Duration::from_nanos(1)));
        if let Some(early) = self.sent.front() {
            let text = self.describe(&early.clone());
            panic!("sent too early, at {:?} and not {until:?}: {text}", early.at);
        }
        self.advance(until - self.now);
        self.expect(pattern)
    }

    #[track_caller]
    pub(crate) fn expect_nothing(&self) {
        if let Some(packet) = self.sent.front() {
            panic!("unexpected: {}", self.describe(packet));
        }
    }

    /// Nothing was sent on the current flow; elsewhere there may be something.
    #[track_caller]
    pub(crate) fn expect_nothing_on_current(&self) {
        if let Some(packet) = self.sent.iter().find(|p| self.flow_of(p) == Some(self.current)) {
            panic!("unexpected: {}", self.describe(packet));
        }
    }

    /// Nothing goes out for so long.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self, during: Duration) {
        self.expect_nothing();
        self.advance(during);
        self.expect_nothing();
    }

    /// Sends a segment to the stack, on the current flow. What is not said is right.
    pub(crate) fn inject(&mut self, seg: Seg) {
        self.inject_unanswered(seg);
        self.drain();
    }

    /// The same, without letting the stack send anything yet.
    #[expect(clippy::needless_pass_by_value, reason = "a script is read more often than run")]
    pub(crate) fn inject_unanswered(&mut self, seg: Seg) {
        let flow = self.flows[self.current].clone();
        let syn = seg.flags.contains(TcpFlags::SYN);
        let relative_seq = seg.seq.unwrap_or(flow.snd_nxt);
        let payload = match (&seg.payload, seg.len) {
            (Some(bytes), _) => bytes.clone(),
            (None, len) => super::stream(u64::from(relative_seq.max(1)) - 1, len.unwrap_or(0)),
        };
        let stack_isn = flow.stack_isn.unwrap_or(SeqNum(0));
        let acks = seg.flags.contains(TcpFlags::ACK);
        let tcp = TcpHeader {
            src_port: flow.remote.port(),
            dst_port: flow.local.port(),
            seq: SeqNum(PEER_ISN).wrapping_add(relative_seq),
            ack: if acks { stack_isn.wrapping_add(seg.ack.unwrap_or(flow.rcv_nxt)) } else { SeqNum(0) },
            flags: seg.flags,
            window: seg.window.unwrap_or(if syn { 65_535 } else { 1_000 }),
            urgent: 0,
        };
        let mut options = self.options_of(&seg, &flow, stack_isn);
        options.mss = seg.mss;
        options.window_scale = seg.window_scale;
        options.sack_permitted = seg.sack_permitted;
        options.fast_open = seg.fast_open;
        let end = relative_seq + payload.len() as u32 + u32::from(syn) + u32::from(seg.flags.contains(TcpFlags::FIN));
        let flow = &mut self.flows[self.current];
        flow.snd_nxt = flow.snd_nxt.max(end);
        if syn {
            flow.timestamps = !seg.no_timestamps;
        }
        let ip = IpHeader { ecn: seg.ecn.unwrap_or_default(), ..IpHeader::new(flow.remote.ip(), flow.local.ip()) };
        self.inject_raw(&Segment { ip, tcp, options }, payload.into());
    }

    /// Delivers what another stack has sent.
    pub(crate) fn forward(&mut self, packet: &Packet) {
        self.inject_raw(&packet.seg, packet.payload.clone());
        self.drain();
    }

    fn options_of(&self, seg: &Seg, flow: &Flow, stack_isn: SeqNum) -> TcpOptions {
        let mut options = TcpOptions::default();
        if (flow.timestamps || seg.flags.contains(TcpFlags::SYN)) && !seg.no_timestamps {
            options.timestamps = Some(Timestamps {
                val: seg.tsval.unwrap_or(self.peer_clock()),
                ecr: seg.tsecr.or(flow.last_tsval).unwrap_or(0),
            });
        }
        for (left, right) in seg.sack.iter().flatten() {
            options.sack.push(SackBlock { left: stack_isn.wrapping_add(*left), right: stack_isn.wrapping_add(*right) });
        }
        if let Mptcp::Exactly(opts) = &seg.mptcp {
            options.mptcp.extend(opts.iter().map(|o| self.wire_option(o, true)));
        }
        options
    }

    /// The peer's timestamp clock, in milliseconds.
    pub(crate) fn peer_clock(&self) -> u32 {
        0x7fff_0000u32.wrapping_add(self.now.as_millis() as u32)
    }

    fn inject_raw(&mut self, seg: &Segment, payload: Bytes) {
        let mut headers = HeaderBuf::new();
        emit_headers(seg, core::slice::from_ref(&payload), ChecksumMode::Full, &mut headers);
        let local = seg.ip.dst;
        let link = self.stack.addresses().iter().find(|a| a.addr == local).map_or(LinkId(0), |a| a.link);
        let rx = Received { headers: &headers, payload, checksum: RxChecksum::Unverified };
        self.stack.handle_packet(self.now, link, rx);
    }

    /// The option with its numbers as on the wire, as sent by the peer or by the stack.
    pub(crate) fn wire_option(&self, opt: &Opt, by_peer: bool) -> MptcpOption {
        let idsn = |of_peer: bool| if of_peer { PEER_KEY.idsn() } else { self.stack_key().idsn() };
        let dss = |ack: &Option<u64>, map: &Option<(u64, u32, u16)>, fin: bool, long: bool| {
            let number = |n: u64| if long { WireDsn::Long(n) } else { WireDsn::Short(n as u32) };
            let mapping = map.map(|(dsn, ssn, len)| DssMapping {
                dsn: number(idsn(by_peer).wrapping_add(dsn)),
                ssn,
                len,
                checksum: None,
            });
            Dss { data_ack: ack.map(|n| number(idsn(!by_peer).wrapping_add(n))), mapping, data_fin: fin }.into()
        };
        match opt {
            Opt::Raw(option) => option.clone(),
            Opt::Dss { ack, map, fin } => dss(ack, map, *fin, false),
            Opt::SumDss { ack, map: (dsn, ssn, len), fin, error } => {
                let payload = super::stream(dsn - 1, usize::from(*len) - usize::from(*fin));
                let full = idsn(by_peer).wrapping_add(*dsn);
                let sum = polypath_wire::dss_checksum(full, *ssn, *len, [&payload[..]].into_iter());
                let mapping = DssMapping {
                    dsn: WireDsn::Short(full as u32),
                    ssn: *ssn,
                    len: *len,
                    checksum: Some(sum.wrapping_add(*error)),
                };
                let data_ack = ack.map(|n| WireDsn::Short(idsn(!by_peer).wrapping_add(n) as u32));
                Dss { data_ack, mapping: Some(mapping), data_fin: *fin }.into()
            }
            Opt::LongDss { ack, map } => dss(ack, map, false, true),
        }
    }

    /// The peer sends timestamps from now on, agreed or not.
    pub(crate) fn with_timestamps(&mut self) {
        self.flows[self.current].timestamps = true;
    }

    /// Takes everything out of the stack.
    pub(crate) fn drain(&mut self) {
        let mut buf = TransmitBuf::default();
        for _ in 0..100_000 {
            let Some(t) = self.stack.poll_transmit(self.now, &mut buf) else { break };
            let payload: Bytes = buf.payload.concat().into();
            let (seg, headers, len) = parse_headers(&buf.headers).expect("the stack sends well-formed packets");
            assert_eq!((headers, len), (buf.headers.len(), payload.len()));
            assert_eq!(t.len, headers + len);
            assert!(verify_checksum(&buf.headers, &payload), "wrong checksum");
            let packet = Packet { at: self.now, seg, payload, segment_size: t.segment_size };
            self.note(&packet);
            self.sent.push_back(packet);
        }
        assert!(self.sent.len() < 100_000, "the stack never stops sending");
        while let Some(event) = self.stack.poll_event() {
            self.events.push(event);
        }
    }

    /// Learns numbers and keys from what the stack sends.
    fn note(&mut self, packet: &Packet) {
        let seg = &packet.seg;
        for option in &seg.options.mptcp {
            if let MptcpOption::MpCapable(MpCapable { keys, .. }) = option {
                match keys {
                    CapableKeys::Syn => {}
                    CapableKeys::SynAck { sender }
                    | CapableKeys::Ack { sender, .. }
                    | CapableKeys::Data { sender, .. } => self.stack_key = Some(*sender),
                }
            }
        }
        let Some(flow) = self.flow_of(packet) else { return };
        let flow = &mut self.flows[flow];
        if seg.tcp.flags.contains(TcpFlags::SYN) {
            flow.stack_isn = Some(seg.tcp.seq);
        }
        if let Some(ts) = seg.options.timestamps {
            flow.last_tsval = Some(ts.val);
        }
        let Some(isn) = flow.stack_isn else { return };
        let seq = seg.tcp.seq.wrapping_sub(isn.0).0;
        let end = seq
            + packet.payload.len() as u32
            + u32::from(seg.tcp.flags.contains(TcpFlags::SYN))
            + u32::from(seg.tcp.flags.contains(TcpFlags::FIN));
        if seq == flow.rcv_nxt {
            flow.rcv_nxt = end;
        }
    }

    fn flow_of(&self, packet: &Packet) -> Option<usize> {
        let local = SocketAddr::new(packet.seg.ip.src, packet.seg.tcp.src_port);
        let remote = SocketAddr::new(packet.seg.ip.dst, packet.seg.tcp.dst_port);
        self.flows.iter().position(|f| f.local == local && f.remote == remote)
    }
}
