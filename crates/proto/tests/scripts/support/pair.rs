//! Two stacks on a virtual clock. Every client address is a path of its own: with a delay, and alive or cut.

use super::script::{LTE, PEER, WIFI};
use super::stream;
use bytes::Bytes;
use core::cmp::Reverse;
use polypath_proto::{
    AcceptPolicy, ChecksumMode, Config, ConnectOptions, ConnectionError, ConnectionId, ConnectionInfo, Duration, Event,
    Instant, LinkConfig, ListenerId, LocalAddress, Received, RxChecksum, Stack, SubflowEvent, TransmitBuf,
};
use polypath_wire::{Ecn, MptcpOption, Segment, TcpFlags, parse_headers};
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// An end of the pair.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    pub(crate) fn other(self) -> Side {
        if self == Side::Client { Side::Server } else { Side::Client }
    }
}

/// How the pair is set up.
#[derive(Clone, Debug)]
pub(crate) struct PairOptions {
    pub(crate) client: Config,
    pub(crate) server: Config,
    /// The client's addresses; the flag says backup.
    pub(crate) client_addresses: Vec<(IpAddr, bool)>,
    pub(crate) server_addresses: Vec<IpAddr>,
    /// One way.
    pub(crate) delay: Duration,
    /// Of paths that differ.
    pub(crate) delays: Vec<(IpAddr, Duration)>,
    pub(crate) max_segment: u32,
    pub(crate) connect: ConnectOptions,
    /// How the server accepts.
    pub(crate) accept: Option<Arc<dyn AcceptPolicy>>,
}

impl Default for PairOptions {
    fn default() -> Self {
        PairOptions {
            client: Config::default(),
            server: Config::default(),
            client_addresses: vec![(WIFI, false), (LTE, false)],
            server_addresses: vec![PEER],
            delay: Duration::from_millis(10),
            delays: Vec::new(),
            max_segment: 1500,
            connect: ConnectOptions::default(),
            accept: None,
        }
    }
}

/// A packet as it was sent, delivered or not.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) by: Side,
    pub(crate) seg: Segment,
    pub(crate) payload: Bytes,
    pub(crate) delivered: bool,
}

impl Sent {
    /// The client's address: the path.
    pub(crate) fn path(&self) -> IpAddr {
        if self.by == Side::Client { self.seg.ip.src } else { self.seg.ip.dst }
    }

    pub(crate) fn has_option(&self, f: impl Fn(&MptcpOption) -> bool) -> bool {
        self.seg.options.mptcp.iter().any(f)
    }

    pub(crate) fn is_join_syn(&self) -> bool {
        self.seg.tcp.flags.contains(TcpFlags::SYN) && self.has_option(|o| matches!(o, MptcpOption::MpJoin(_)))
    }

    pub(crate) fn remove_addr_ids(&self) -> Vec<u8> {
        let ids = self.seg.options.mptcp.iter().filter_map(|o| match o {
            MptcpOption::RemoveAddr(remove) => Some(remove.ids.to_vec()),
            _ => None,
        });
        ids.flatten().collect()
    }
}

/// A stack and its application, which writes what it is told to and reads all there is.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) stack: Stack,
    pub(crate) id: Option<ConnectionId>,
    pub(crate) events: Vec<(Instant, Event)>,
    pub(crate) received: Vec<u8>,
    pub(crate) ended: bool,
    /// Reading is switched off.
    pub(crate) deaf: bool,
    to_write: u64,
    written: u64,
    shutdown: bool,
}

impl End {
    fn new(config: Config, seed: u8) -> End {
        End {
            stack: Stack::new(config, [seed; 32]),
            id: None,
            events: Vec::new(),
            received: Vec::new(),
            ended: false,
            deaf: false,
            to_write: 0,
            written: 0,
            shutdown: false,
        }
    }

    /// Reads and writes as much as possible.
    fn work(&mut self, now: Instant) {
        let Some(mut c) = self.id.and_then(|id| self.stack.connection(now, id)) else { return };
        while !self.deaf && !self.ended {
            match c.read(usize::MAX) {
                Ok(Some(piece)) if piece.is_empty() => self.ended = true,
                Ok(Some(piece)) => self.received.extend_from_slice(&piece),
                Ok(None) | Err(_) => break,
            }
        }
        while self.written < self.to_write {
            let piece = stream(self.written, (self.to_write - self.written).min(65_536) as usize);
            match c.write(&piece) {
                Ok(0) | Err(_) => return,
                Ok(n) => self.written += n as u64,
            }
        }
        if self.shutdown {
            self.shutdown = false;
            c.shutdown();
        }
    }
}

type Loss = Box<dyn FnMut(&Sent) -> bool>;

/// The two, and what lies between.
pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) client: End,
    pub(crate) server: End,
    pub(crate) listener: ListenerId,
    pub(crate) log: Vec<Sent>,
    delay: Duration,
    cut: Vec<IpAddr>,
    /// Which packets vanish.
    loss: Option<Loss>,
    /// Which packets a router marks (ECN), where their senders allow it.
    marks: Option<Loss>,
    wire: BinaryHeap<Reverse<(Instant, usize)>>,
    /// One way, and bytes per second, of paths that differ.
    pub(crate) delays: BTreeMap<IpAddr, Duration>,
    pub(crate) rates: BTreeMap<IpAddr, u64>,
    /// Packets that would wait longer are dropped.
    pub(crate) queues: BTreeMap<IpAddr, Duration>,
    busy: BTreeMap<(bool, IpAddr), Instant>,
    pub(crate) timeouts: u64,
}

impl Pair {
    /// Both stacks, with the client's SYN on its way.
    pub(crate) fn new(options: &PairOptions) -> Pair {
        let now = Instant::from_millis(1_000);
        let mut client = End::new(options.client.clone(), 1);
        let mut server = End::new(options.server.clone(), 2);
        let link = LinkConfig { mtu: 1500, max_segment: options.max_segment, checksum: ChecksumMode::Full };
        for (addr, backup) in &options.client_addresses {
            let link = client.stack.add_link(link);
            client.stack.add_address(now, LocalAddress { addr: *addr, link, backup: *backup, name: None });
        }
        for addr in &options.server_addresses {
            let link = server.stack.add_link(link);
            server.stack.add_address(now, LocalAddress { addr: *addr, link, backup: false, name: None });
        }
        let remote = SocketAddr::new(options.server_addresses[0], 443);
        let listener = server.stack.listen(remote, 16).unwrap();
        server.stack.set_accept_policy(listener, options.accept.clone());
        client.id = Some(client.stack.connect(now, remote, options.connect.clone()).unwrap());
        let mut pair = Pair {
            now,
            client,
            server,
            listener,
            log: Vec::new(),
            delay: options.delay,
            cut: Vec::new(),
            loss: None,
            marks: None,
            wire: BinaryHeap::new(),
            delays: options.delays.iter().copied().collect(),
            rates: BTreeMap::new(),
            queues: BTreeMap::new(),
            busy: BTreeMap::new(),
            timeouts: 0,
        };
        pair.drain();
        pair
    }

    /// Both applications let go of their connection, and the client opens another one.
    pub(crate) fn reconnect(&mut self, options: ConnectOptions) {
        let now = self.now;
        let remote = self.info(Side::Client).remote;
        for end in [&mut self.client, &mut self.server] {
            if let Some(mut c) = end.id.take().and_then(|id| end.stack.connection(now, id)) {
                c.close();
            }
            (end.to_write, end.written, end.ended) = (0, 0, false);
            end.received.clear();
        }
        self.drain();
        self.client.id = Some(self.client.stack.connect(now, remote, options).unwrap());
        self.drain();
    }

    /// Connected, with a subflow from every client address.
    pub(crate) fn connected(options: &PairOptions) -> Pair {
        let all = options.client_addresses.len();
        let plain = !options.client.multipath || options.connect.no_multipath;
        Pair::connected_by(options, if plain { 1 } else { all })
    }

    /// Connected, with so many subflows at least.
    pub(crate) fn connected_by(options: &PairOptions, wanted: usize) -> Pair {
        let mut pair = Pair::new(options);
        // Joins begin when the server has acknowledged data; these bytes are not counted.
        pair.send(Side::Client, 100);
        pair.drive_until(Duration::from_secs(5), |p| {
            p.server.received.len() == 100
                && p.info(Side::Client).bytes_acked == 100
                && p.established(Side::Client) >= wanted
                && p.established(Side::Server) >= wanted
        });
        pair.server.received.clear();
        (pair.client.to_write, pair.client.written) = (0, 0);
        pair
    }

    pub(crate) fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    pub(crate) fn info(&self, side: Side) -> ConnectionInfo {
        let end = if side == Side::Client { &self.client } else { &self.server };
        end.stack.connections().find(|(id, _)| Some(*id) == end.id).expect("the connection lives").1
    }

    /// Subflows over which data can go.
    pub(crate) fn established(&self, side: Side) -> usize {
        let end = if side == Side::Client { &self.client } else { &self.server };
        let Some((_, info)) = end.stack.connections().find(|(id, _)| Some(*id) == end.id) else { return 0 };
        let connected = end.events.iter().filter_map(|(_, e)| match e {
            Event::Subflow { subflow, what: SubflowEvent::Established, .. } => Some((*subflow, true)),
            Event::Subflow { subflow, what: SubflowEvent::Closed(_), .. } => Some((*subflow, false)),
            _ => None,
        });
        let live: BTreeMap<_, _> = connected.collect();
        info.subflows.iter().filter(|s| live.get(&s.id) == Some(&true)).count()
    }

    /// The side's application writes so many bytes more, as room comes.
    pub(crate) fn send(&mut self, by: Side, bytes: u64) {
        self.end(by).to_write += bytes;
        self.drain();
    }

    /// ...and ends its stream after them.
    pub(crate) fn finish(&mut self, by: Side) {
        self.end(by).shutdown = true;
        self.drain();
    }

    /// Nothing gets through on the path any more, nor what is on its way.
    pub(crate) fn cut(&mut self, path: IpAddr) {
        self.cut.push(path);
    }

    pub(crate) fn mend(&mut self, path: IpAddr) {
        self.cut.retain(|p| *p != path);
    }

    /// Packets for which `f` says so vanish.
    pub(crate) fn lose(&mut self, f: impl FnMut(&Sent) -> bool + 'static) {
        self.loss = Some(Box::new(f));
    }

    /// Packets for which `f` says so arrive as marked by a router that is congested.
    pub(crate) fn mark(&mut self, f: impl FnMut(&Sent) -> bool + 'static) {
        self.marks = Some(Box::new(f));
    }

    /// The next thing that happens. False: nothing ever will.
    pub(crate) fn step(&mut self) -> bool {
        let arrival = self.wire.peek().map(|Reverse((at, _))| *at);
        let timers = [self.client.stack.poll_timeout(), self.server.stack.poll_timeout()];
        let Some(next) = timers.into_iter().flatten().chain(arrival).min() else { return false };
        self.now = self.now.max(next);
        if arrival.is_some_and(|at| at <= self.now) {
            let Some(Reverse((_, index))) = self.wire.pop() else { return false };
            self.deliver(index);
        } else {
            self.timeouts += 1;
            self.client.stack.handle_timeout(self.now);
            self.server.stack.handle_timeout(self.now);
        }
        self.drain();
        true
    }

    fn deliver(&mut self, index: usize) {
        let now = self.now;
        if self.cut.contains(&self.log[index].path()) {
            self.log[index].delivered = false;
            return;
        }
        let Sent { by, mut seg, payload, .. } = self.log[index].clone();
        if seg.ip.ecn != Ecn::NotEct && self.marks.as_mut().is_some_and(|mark| mark(&self.log[index])) {
            seg.ip.ecn = Ecn::Ce;
        }
        let to = self.end(by.other());
        let Some(link) = to.stack.addresses().iter().find(|a| a.addr == seg.ip.dst).map(|a| a.link) else { return };
        let mut headers = polypath_proto::HeaderBuf::new();
        polypath_wire::emit_headers(&seg, core::slice::from_ref(&payload), ChecksumMode::Full, &mut headers);
        let rx = Received { headers: &headers, payload, checksum: RxChecksum::Unverified };
        to.stack.handle_packet(now, link, rx);
    }

    /// Everything that happens within `time`.
    pub(crate) fn drive(&mut self, time: Duration) {
        let until = self.now + time;
        while self.next_at().is_some_and(|at| at <= until) {
            self.step();
        }
        self.now = until;
    }

    /// Until `done`, which must be within `limit`.
    #[track_caller]
    pub(crate) fn drive_until(&mut self, limit: Duration, mut done: impl FnMut(&Pair) -> bool) {
        let until = self.now + limit;
        while !done(self) {
            assert!(self.next_at().is_some_and(|at| at <= until), "not done within {limit:?}, at {:?}", self.now);
            self.step();
        }
    }

    fn next_at(&self) -> Option<Instant> {
        let arrival = self.wire.peek().map(|Reverse((at, _))| *at);
        let timers = [self.client.stack.poll_timeout(), self.server.stack.poll_timeout()];
        timers.into_iter().flatten().chain(arrival).min()
    }

    /// Lets both applications work and takes all packets out of both stacks.
    pub(crate) fn drain(&mut self) {
        for side in [Side::Client, Side::Server] {
            self.events(side);
            let now = self.now;
            self.end(side).work(now);
            self.transmit(side);
            self.events(side);
        }
    }

    fn events(&mut self, side: Side) {
        let (now, listener) = (self.now, self.listener);
        let end = self.end(side);
        while let Some(event) = end.stack.poll_event() {
            if event == Event::Acceptable(listener) && side == Side::Server {
                end.id = end.id.or(end.stack.accept(listener));
            }
            end.events.push((now, event));
        }
    }

    fn transmit(&mut self, side: Side) {
        let now = self.now;
        let mut buf = TransmitBuf::default();
        while self.end(side).stack.poll_transmit(now, &mut buf).is_some() {
            let payload: Bytes = buf.payload.concat().into();
            let (seg, ..) = parse_headers(&buf.headers).expect("the stack sends well-formed packets");
            let mut sent = Sent { at: now, by: side, seg, payload, delivered: true };
            let path = sent.path();
            let lost = self.loss.as_mut().is_some_and(|lost| lost(&sent));
            sent.delivered = !lost && !self.cut.contains(&path);
            let wait = self.busy.get(&(side == Side::Client, path)).map_or(Duration::ZERO, |at| *at - now);
            if sent.delivered && self.queues.get(&path).is_some_and(|most| wait > *most) {
                sent.delivered = false;
            }
            if sent.delivered {
                let key = (side == Side::Client, path);
                let mut at = now;
                if let Some(rate) = self.rates.get(&path) {
                    let busy = self.busy.entry(key).or_insert(now);
                    *busy = (*busy).max(now)
                        + Duration::from_nanos((sent.payload.len() as u64 + 60) * 1_000_000_000 / rate);
                    at = *busy;
                }
                let delay = self.delays.get(&path).copied().unwrap_or(self.delay);
                self.wire.push(Reverse((at + delay, self.log.len())));
            }
            self.log.push(sent);
        }
    }

    /// What the side's subflows went through, with the time.
    pub(crate) fn subflow_events(&mut self, side: Side) -> Vec<(Instant, IpAddr, SubflowEvent)> {
        let events = self.end(side).events.iter();
        let pick = |(at, e): &(Instant, Event)| match e {
            Event::Subflow { local, remote, what, .. } => {
                Some((*at, if side == Side::Client { local.ip() } else { remote.ip() }, *what))
            }
            _ => None,
        };
        events.filter_map(pick).collect()
    }

    /// How the side's connection ended.
    pub(crate) fn closed(&self, side: Side) -> Option<Option<ConnectionError>> {
        let end = if side == Side::Client { &self.client } else { &self.server };
        end.events.iter().find_map(|(_, e)| match e {
            Event::Closed { error, .. } => Some(*error),
            _ => None,
        })
    }

    /// The bytes that arrived are those that were sent.
    #[track_caller]
    pub(crate) fn assert_received(&self, at: Side, bytes: u64) {
        let end = if at == Side::Client { &self.client } else { &self.server };
        assert_eq!(end.received.len() as u64, bytes);
        assert!(end.received == stream(0, bytes as usize), "the stream is garbled");
    }

    /// Payload packets the side sent on a path from `since` on.
    pub(crate) fn data_packets(&self, by: Side, path: IpAddr, since: Instant) -> usize {
        let sent = self.log.iter().filter(|p| p.by == by && p.at >= since && p.path() == path);
        sent.filter(|p| !p.payload.is_empty()).count()
    }
}
