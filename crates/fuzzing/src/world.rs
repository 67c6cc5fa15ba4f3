//! Two stacks with their applications on a virtual clock, and the packets between them.

use crate::settings::Settings;
use bytes::Bytes;
use polypath_proto::{
    ChecksumMode, ConnectOptions, ConnectionError, ConnectionId, Duration, Event, HeaderBuf, Instant, LinkConfig,
    LinkId, ListenerId, LocalAddress, MultipathState, Received, RxChecksum, Stack, TransmitBuf,
};
use polypath_wire::{CapableKeys, Key, Segment, emit_headers, parse_headers};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// More packets than this at one instant: the stack does not come to rest.
const MOST_TRANSMITS: u32 = 20_000;
/// More timeouts than this at one instant: the timer does not move on.
const MOST_TIMEOUTS: u32 = 1_000;

pub(crate) const SERVER_PORT: u16 = 443;
pub(crate) const CLIENT: usize = 0;
pub(crate) const SERVER: usize = 1;

/// The client's addresses: each is a path.
pub(crate) fn client_address(n: usize) -> IpAddr {
    Ipv4Addr::new(10, 1 + n as u8, 0, 2).into()
}

pub(crate) fn server_address(n: usize) -> IpAddr {
    Ipv4Addr::new(10, 9, n as u8, 1).into()
}

/// A packet on its way.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// To which end: [`CLIENT`] or [`SERVER`].
    pub(crate) to: usize,
    pub(crate) seg: Segment,
    pub(crate) payload: Bytes,
}

impl Packet {
    /// The path: which of the client's addresses it goes to or comes from.
    pub(crate) fn path(&self) -> usize {
        let client = if self.to == SERVER { self.seg.ip.src } else { self.seg.ip.dst };
        match client {
            IpAddr::V4(v4) => usize::from(v4.octets()[1].saturating_sub(1) & 3),
            IpAddr::V6(_) => 3,
        }
    }
}

/// What is under way: a byte queue from an application to the other, which is all that a stream may be.
#[derive(Debug, Default)]
struct Model {
    queue: VecDeque<u8>,
    /// The writer is done.
    ended: bool,
}

/// A stack and its application.
pub(crate) struct End {
    pub(crate) stack: Stack,
    pub(crate) id: Option<ConnectionId>,
    /// Connections besides the one that counts: what a mutated SYN may bring about.
    pub(crate) others: Vec<ConnectionId>,
    listener: Option<ListenerId>,
    /// The application's: bytes that it still has to write.
    pub(crate) to_write: usize,
    written: u64,
    /// Then it ends its stream.
    pub(crate) finish: bool,
    finished: bool,
    /// It does not read.
    pub(crate) deaf: bool,
    pub(crate) read: u64,
    pub(crate) eof: bool,
    pub(crate) error: Option<ConnectionError>,
    /// The stack said that the connection is over.
    pub(crate) closed: bool,
    /// Its key, as seen on the wire.
    pub(crate) key: Key,
    pub(crate) sent: u64,
}

impl End {
    fn new(stack: Stack) -> End {
        End {
            stack,
            id: None,
            others: Vec::new(),
            listener: None,
            to_write: 0,
            written: 0,
            finish: false,
            finished: false,
            deaf: false,
            read: 0,
            eof: false,
            error: None,
            closed: false,
            key: Key(0),
            sent: 0,
        }
    }

    /// Everything was read to the end, or the application was told that it will not be.
    pub(crate) fn is_done(&self) -> bool {
        self.error.is_some() || self.eof && (self.closed || self.finished && self.to_write == 0)
    }
}

/// Both ends.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) ends: [End; 2],
    /// By the reader.
    models: [Model; 2],
    /// Whether a byte that was not written is a finding.
    pub(crate) faithful: bool,
    /// Boxes change bytes that a DSS checksum covers.
    pub(crate) alters: bool,
    /// Every packet is printed: `POLYPATH_FUZZ_SHOW` is set.
    show: bool,
    timeouts: (Instant, u32),
    drains: u32,
    buf: TransmitBuf,
}

impl World {
    /// Both stacks, before the client's SYN has been fetched.
    pub(crate) fn new(settings: &Settings, faithful: bool) -> World {
        let now = Instant::from_millis(1_000);
        let mut client = End::new(Stack::new(settings.client.clone(), [1; 32]));
        let mut server = End::new(Stack::new(settings.server.clone(), [2; 32]));
        let link = LinkConfig { mtu: settings.mtu, max_segment: settings.max_segment, checksum: ChecksumMode::Full };
        for n in 0..settings.client_addresses {
            let link = client.stack.add_link(link);
            let addr = client_address(n);
            client.stack.add_address(now, LocalAddress { addr, link, backup: n == 2, name: None });
        }
        for n in 0..settings.server_addresses {
            let link = server.stack.add_link(link);
            let addr = server_address(n);
            server.stack.add_address(now, LocalAddress { addr, link, backup: false, name: None });
        }
        let remote = SocketAddr::new(server_address(0), SERVER_PORT);
        let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), SERVER_PORT);
        server.listener = Some(server.stack.listen(any, 16).expect("the port is free"));
        client.id = Some(client.stack.connect(now, remote, ConnectOptions::default()).expect("there is an address"));
        World {
            now,
            ends: [client, server],
            models: [Model::default(), Model::default()],
            faithful,
            alters: false,
            show: std::env::var_os("POLYPATH_FUZZ_SHOW").is_some(),
            timeouts: (now, 0),
            drains: 0,
            buf: TransmitBuf::default(),
        }
    }

    /// Hands a packet to the stack that it is for.
    pub(crate) fn deliver(&mut self, packet: &Packet) {
        self.show("arrives", packet);
        let mut headers = HeaderBuf::new();
        let payload = packet.payload.clone();
        emit_headers(&packet.seg, core::slice::from_ref(&payload), ChecksumMode::Full, &mut headers);
        let end = &mut self.ends[packet.to];
        let rx = Received { headers: &headers, payload, checksum: RxChecksum::Unverified };
        end.stack.handle_packet(self.now, LinkId(0), rx);
    }

    /// When either stack wants to be called.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.ends.iter().filter_map(|end| end.stack.poll_timeout()).min()
    }

    /// Time passes, up to the next timer and no further than `until`; false: there is none before.
    pub(crate) fn sleep(&mut self, until: Instant) -> bool {
        let Some(at) = self.next_timeout().filter(|at| *at <= until) else {
            self.now = self.now.max(until);
            return false;
        };
        self.now = self.now.max(at);
        if self.timeouts.0 != self.now {
            self.timeouts = (self.now, 0);
        }
        self.timeouts.1 += 1;
        assert!(self.timeouts.1 < MOST_TIMEOUTS, "poll_timeout stays at {at:?}, it is {:?}", self.now);
        for end in &mut self.ends {
            end.stack.handle_timeout(self.now);
        }
        true
    }

    /// Both applications do what they can, and all packets are fetched.
    pub(crate) fn drain(&mut self, out: &mut Vec<Packet>) {
        for side in [CLIENT, SERVER] {
            self.events(side);
            self.work(side);
            self.fetch(side, out);
            self.events(side);
        }
        // All that there is to know of each connection takes its time.
        self.drains += 1;
        if self.drains.is_multiple_of(16) {
            self.check(CLIENT);
            self.check(SERVER);
        }
    }

    fn events(&mut self, side: usize) {
        let end = &mut self.ends[side];
        while let Some(event) = end.stack.poll_event() {
            match event {
                Event::Acceptable(listener) => {
                    while let Some(id) = end.stack.accept(listener) {
                        if end.id.is_none() {
                            end.id = Some(id);
                        } else {
                            end.others.push(id);
                        }
                    }
                }
                Event::Closed { id, error } if Some(id) == end.id => {
                    end.closed = true;
                    end.error = end.error.or(error);
                }
                _ => {}
            }
        }
    }

    /// Reads all there is, writes as much as goes.
    fn work(&mut self, side: usize) {
        let (now, mut faithful) = (self.now, self.faithful);
        let (mine, theirs) = (&mut self.ends[side], side ^ 1);
        let Some(mut c) = mine.id.and_then(|id| mine.stack.connection(now, id)) else { return };
        while !mine.deaf && !mine.eof {
            match c.read(4_096) {
                Ok(Some(piece)) if piece.is_empty() => {
                    let model = &self.models[side];
                    let whole = model.ended && model.queue.is_empty();
                    assert!(
                        !faithful || whole,
                        "an end of stream after {} bytes, {} are missing",
                        mine.read,
                        model.queue.len()
                    );
                    mine.eof = true;
                }
                Ok(Some(piece)) => {
                    // Changed on the only subflow: the connection is plain TCP from there on, and the change part of
                    // the path (RFC 8684, section 3.7).
                    let plain = matches!(c.info().multipath, MultipathState::Fallback(_));
                    self.faithful &= !(self.alters && plain);
                    faithful = self.faithful;
                    if faithful {
                        compare(&mut self.models[side], &piece, mine.read);
                    }
                    mine.read += piece.len() as u64;
                }
                Ok(None) => break,
                Err(error) => {
                    mine.error = mine.error.or(Some(error));
                    break;
                }
            }
        }
        while mine.to_write > 0 {
            let piece = bytes_of(side, mine.written, mine.to_write.min(1_000));
            match c.write(&piece) {
                Ok(0) | Err(_) => break,
                Ok(n) => {
                    if faithful {
                        self.models[theirs].queue.extend(&piece[..n]);
                    }
                    mine.written += n as u64;
                    mine.to_write -= n;
                }
            }
        }
        if mine.finish && !mine.finished && mine.to_write == 0 {
            mine.finished = true;
            self.models[theirs].ended = true;
            c.shutdown();
        }
    }

    fn fetch(&mut self, side: usize, out: &mut Vec<Packet>) {
        let end = &mut self.ends[side];
        let mut count = 0;
        while end.stack.poll_transmit(self.now, &mut self.buf).is_some() {
            count += 1;
            assert!(count < MOST_TRANSMITS, "poll_transmit gives packets without end");
            let payload: Bytes = self.buf.payload.concat().into();
            let (seg, headers, len) = parse_headers(&self.buf.headers).expect("the stack sends well-formed packets");
            assert_eq!((headers, len), (self.buf.headers.len(), payload.len()));
            let key = seg.options.mp_capable().and_then(|capable| match capable.keys {
                CapableKeys::Syn => None,
                CapableKeys::SynAck { sender } | CapableKeys::Ack { sender, .. } | CapableKeys::Data { sender, .. } => {
                    Some(sender)
                }
            });
            end.key = key.unwrap_or(end.key);
            end.sent += 1;
            out.push(Packet { to: side ^ 1, seg, payload });
            if let Some(packet) = out.last().filter(|_| self.show) {
                show(self.now, "leaves", packet);
            }
        }
    }

    fn show(&self, what: &str, packet: &Packet) {
        if self.show {
            show(self.now, what, packet);
        }
    }

    /// What must hold at any time, whatever has arrived.
    fn check(&self, side: usize) {
        let end = &self.ends[side];
        let config = end.stack.config();
        let guaranteed =
            end.stack.connection_count() * (128 << 10) + (config.send_buffer_max + 2 * config.recv_buffer_max);
        assert!(
            end.stack.memory() <= config.memory_max + guaranteed,
            "{} bytes of memory, {} and {guaranteed} are allowed: {:?}",
            end.stack.memory(),
            config.memory_max,
            end.stack.holdings()
        );
        for (_, info) in end.stack.connections() {
            // Joins that have not shown their HMAC have some places of their own.
            assert!(info.subflows.len() <= config.max_subflows + 4, "{} subflows", info.subflows.len());
            assert!(info.send_queue <= config.send_buffer_max, "{} bytes to send", info.send_queue);
            // One and a half are offered at most, and a buffer is taken beyond the edge of the window (DESIGN.md), no more;
            // but for what waited out of order when the connection became plain TCP.
            let fallen = matches!(info.multipath, MultipathState::Fallback(_));
            let most = config.recv_buffer_max * if fallen { 5 } else { 3 } - config.recv_buffer_max / 2;
            assert!(info.recv_queue <= most, "{} bytes to read", info.recv_queue);
            assert!(info.bytes_acked <= info.bytes_sent);
            for subflow in &info.subflows {
                // A joining subflow has none before its fourth segment.
                assert!(subflow.cwnd > 0 || subflow.in_flight == 0, "a window of nothing: {subflow:?}");
                assert!(subflow.path_mtu >= 68, "packets of {} bytes", subflow.path_mtu);
            }
        }
    }

    /// Both applications abort all they have, and time passes: nothing may be left behind.
    pub(crate) fn wind_up(&mut self, out: &mut Vec<Packet>) {
        for end in &mut self.ends {
            for id in end.id.take().into_iter().chain(end.others.drain(..)) {
                if let Some(mut c) = end.stack.connection(self.now, id) {
                    c.abort();
                    c.close();
                }
            }
        }
        self.drain(out);
        let until = self.now + Duration::from_secs(7_200);
        while self.sleep(until) {
            out.clear();
            self.drain(out);
            // What was accepted only now.
            for end in &mut self.ends {
                for id in end.id.take().into_iter().chain(end.others.drain(..)) {
                    if let Some(mut c) = end.stack.connection(self.now, id) {
                        c.abort();
                        c.close();
                    }
                }
            }
            self.drain(out);
        }
        for end in &self.ends {
            assert_eq!(end.stack.memory(), 0, "memory is held for nothing");
            assert_eq!(end.stack.connection_count(), 0, "connections are left: {:?}", end.stack.connections().next());
        }
        assert_eq!(self.next_timeout(), None, "a timer is left");
    }
}

fn show(now: Instant, what: &str, packet: &Packet) {
    let Packet { to, seg, payload } = packet;
    let (tcp, options) = (&seg.tcp, &seg.options);
    let ends = format!("{}:{} > {}:{}", seg.ip.src, tcp.src_port, seg.ip.dst, tcp.dst_port);
    let numbers = format!("{} seq {} len {} ack {} win {}", tcp.flags, tcp.seq.0, payload.len(), tcp.ack.0, tcp.window);
    let to = ["client", "server"][*to];
    eprintln!("{now:?} to {to} {what}: {ends} {numbers} {:?} sack {:?}", options.mptcp, options.sack);
}

fn compare(model: &mut Model, piece: &[u8], at: u64) {
    for (i, byte) in piece.iter().enumerate() {
        let expected = model.queue.pop_front();
        assert_eq!(Some(*byte), expected, "byte {} of the stream", at + i as u64);
    }
}

/// What an application writes: bytes that differ from place to place and from end to end.
fn bytes_of(side: usize, at: u64, len: usize) -> Vec<u8> {
    (at..at + len as u64)
        .map(|i| ((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 ^ (side as u8) << 7)
        .collect()
}
