//! The stack: packets to subflows, subflows to connections, connections to applications.

mod api;
mod blackhole;
mod fast_open;
mod flows;
mod holdings;
mod input;
mod isn;
mod listener;
mod memory;
mod news;
mod open;
mod path_mtu;
mod reach;
mod slab;
mod steer;
mod syn_cookies;
mod time_wait;
mod timer_queue;

pub use crate::mptcp::{Transmit, TransmitBuf};
pub use api::Connection;
pub use holdings::{DataHoldings, Holdings};
pub use listener::{AcceptPolicy, ListenAddr, ListenError};
pub use open::ConnectError;
pub use syn_cookies::SynCookies;

pub(crate) use reach::Reach;

use crate::mib::{Counter, Mib};
use crate::mptcp::{self, CloseReason, ConnectionError, ConnectionInfo, Env};
use crate::tcp::Counters;
use crate::time::Instant;
use crate::trace::Trace;
use crate::{Config, LinkConfig, LinkId, LocalAddress, SubflowId};
use blackhole::Blackholes;
use bytes::Bytes;
use fast_open::FastOpens;
use flows::Flows;
use foldhash::quality::SeedableRandomState;
use isn::IsnGenerator;
use listener::Listener;
use path_mtu::PathMtus;
use polypath_wire::{ChecksumMode, Ecn, IpHeader, Segment, TcpFlags, TcpHeader, TcpOptions, Token, emit_headers};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use slab::{Handle, Slab};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use syn_cookies::CookieJar;
use time_wait::TimeWaits;
use timer_queue::TimerQueue;

/// A connection of a stack. It names nothing once the connection is closed and gone.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(Handle);

impl ConnectionId {
    /// For people: 0 for the stack's first connection, and so on.
    pub fn number(self) -> u32 {
        self.0.serial()
    }
}

/// A listener of a stack.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(Handle);

/// Whether somebody has verified the TCP checksum of a received packet.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum RxChecksum {
    /// A device, or the sender was this host.
    Verified,
    /// Nobody: the stack does.
    Unverified,
}

/// A received packet.
#[derive(Debug)]
pub struct Received<'a> {
    /// IP and TCP headers.
    pub headers: &'a [u8],
    /// What follows them.
    pub payload: Bytes,
    /// Whether the checksum needs looking at.
    pub checksum: RxChecksum,
}

/// Something an application or an observer wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A listener has a connection to accept.
    Acceptable(ListenerId),
    /// A connection that was opened here is established.
    Connected(ConnectionId),
    /// There is more to read, or the end of the stream.
    Readable(ConnectionId),
    /// There is room to write again.
    Writable(ConnectionId),
    /// Both directions are finished, or the connection failed.
    Closed {
        /// Which one.
        id: ConnectionId,
        /// Why, unless it ended in order.
        error: Option<ConnectionError>,
    },
    /// Something happened to a subflow.
    Subflow {
        /// Its connection.
        connection: ConnectionId,
        /// Which one.
        subflow: SubflowId,
        /// Its local end.
        local: SocketAddr,
        /// Its remote end.
        remote: SocketAddr,
        /// The name of its path.
        name: Option<Arc<str>>,
        /// What was counted on it so far.
        counters: Box<Counters>,
        /// What happened.
        what: SubflowEvent,
    },
}

/// What happened to a subflow.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum SubflowEvent {
    /// It can carry data.
    Established,
    /// Its retransmission timer expired.
    Stalled,
    /// The peer was heard on it again.
    Recovered,
    /// It is gone.
    Closed(CloseReason),
}

/// The two ends of a subflow, seen from here.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct FourTuple {
    local: SocketAddr,
    remote: SocketAddr,
}

#[derive(Debug)]
struct Slot {
    connection: mptcp::Connection,
    listener: Option<ListenerId>,
    /// Somebody took it from its listener.
    accepted: bool,
    /// What joins name it by.
    token: Option<Token>,
    ready: bool,
    /// The earliest deadline that stands in the timer queue.
    armed: Option<Instant>,
    /// What it holds, as counted in the stack's memory.
    memory: usize,
}

/// A Multipath TCP stack.
#[derive(Debug)]
pub struct Stack {
    config: Arc<Config>,
    links: Vec<LinkConfig>,
    addresses: Vec<LocalAddress>,
    reach: Reach,
    rng: ChaCha12Rng,
    hasher: SeedableRandomState,
    isn: IsnGenerator,
    connections: Slab<Slot>,
    listeners: Slab<Listener>,
    flows: Flows<SeedableRandomState>,
    by_token: HashMap<Token, ConnectionId, SeedableRandomState>,
    time_waits: TimeWaits<SeedableRandomState>,
    path_mtus: PathMtus,
    timers: TimerQueue,
    ready: VecDeque<ConnectionId>,
    /// Resets and acknowledgements that belong to no connection.
    replies: VecDeque<(Segment, LinkId)>,
    events: VecDeque<Event>,
    blackholes: Blackholes,
    cookies: CookieJar,
    fast_opens: FastOpens,
    /// Of what is over. What live subflows have counted is theirs.
    mib: Mib,
    tracing: bool,
    traces: VecDeque<Trace>,
    /// What all connections hold.
    memory: usize,
}

/// A segment of no connection.
fn bare_segment(
    local: SocketAddr,
    remote: SocketAddr,
    seq: polypath_wire::SeqNum,
    ack: polypath_wire::SeqNum,
    flags: TcpFlags,
) -> Segment {
    let tcp = TcpHeader { src_port: local.port(), dst_port: remote.port(), seq, ack, flags, window: 0, urgent: 0 };
    // Hop limit and code point are filled in when it leaves.
    let ip = IpHeader { src: local.ip(), dst: remote.ip(), hop_limit: 64, ecn: Ecn::NotEct, dscp: 0 };
    Segment { ip, tcp, options: TcpOptions::default() }
}

/// One host's address, as far as it shows: which are the broadcast addresses of a network is not known here.
fn is_unicast(addr: IpAddr) -> bool {
    let broadcast = matches!(addr, IpAddr::V4(v4) if v4.is_broadcast());
    !addr.is_multicast() && !addr.is_unspecified() && !broadcast
}

/// Answers to strangers that wait at once; more are not given.
const MAX_REPLIES: usize = 256;

impl Stack {
    /// A stack that draws all its randomness (keys, initial sequence numbers, ports, hash seeds) from `seed`.
    pub fn new(config: Config, seed: [u8; 32]) -> Stack {
        let mut rng = ChaCha12Rng::from_seed(seed);
        let hasher = SeedableRandomState::with_seed(rng.next_u64(), foldhash::SharedSeed::global_fixed());
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        let mut cookie_secret = [0; 32];
        rng.fill_bytes(&mut cookie_secret);
        let mut fast_open_secret = [0; 32];
        rng.fill_bytes(&mut fast_open_secret);
        Stack {
            config: Arc::new(config),
            links: Vec::new(),
            addresses: Vec::new(),
            reach: Reach::default(),
            rng,
            connections: Slab::new(),
            listeners: Slab::new(),
            flows: Flows::new(hasher.clone()),
            by_token: HashMap::with_hasher(hasher.clone()),
            time_waits: TimeWaits::new(hasher.clone()),
            hasher,
            isn: IsnGenerator::new(secret),
            path_mtus: PathMtus::default(),
            timers: TimerQueue::default(),
            ready: VecDeque::new(),
            replies: VecDeque::new(),
            events: VecDeque::new(),
            blackholes: Blackholes::default(),
            cookies: CookieJar::new(cookie_secret),
            fast_opens: FastOpens::new(fast_open_secret),
            mib: Mib::default(),
            tracing: false,
            traces: VecDeque::new(),
            memory: 0,
        }
    }

    /// Attaches a link.
    pub fn add_link(&mut self, link: LinkConfig) -> LinkId {
        self.links.push(link);
        LinkId(self.links.len() as u32 - 1)
    }

    /// An address to use from now on; connections may open subflows from it.
    pub fn add_address(&mut self, now: Instant, address: LocalAddress) {
        self.addresses.retain(|a| a.addr != address.addr);
        self.addresses.push(address);
        self.for_each_connection(now, |c, env| c.on_address_added(now, env));
    }

    /// The addresses there are.
    pub fn addresses(&self) -> &[LocalAddress] {
        &self.addresses
    }

    /// Whether an address is to be used only as a backup from now on: peers are told (MP_PRIO; RFC 8684, section 3.3.8).
    pub fn set_backup(&mut self, now: Instant, addr: IpAddr, backup: bool) {
        for address in self.addresses.iter_mut().filter(|a| a.addr == addr) {
            address.backup = backup;
        }
        self.for_each_connection(now, |c, env| c.on_backup_changed(env, addr));
    }

    /// An address is gone: its subflows end, and peers are told.
    pub fn remove_address(&mut self, now: Instant, addr: IpAddr) {
        self.addresses.retain(|a| a.addr != addr);
        self.for_each_connection(now, |c, env| c.on_address_removed(now, env, addr));
    }

    fn for_each_connection(&mut self, now: Instant, mut f: impl FnMut(&mut mptcp::Connection, &Env<'_>)) {
        let ids: Vec<ConnectionId> = self.connections.iter().map(|(h, _)| ConnectionId(h)).collect();
        for id in ids {
            self.with_connection(id, |c, env| f(c, env));
            self.settle(now, id);
        }
    }

    fn with_connection<T>(
        &mut self,
        id: ConnectionId,
        f: impl FnOnce(&mut mptcp::Connection, &Env<'_>) -> T,
    ) -> Option<T> {
        let memory_full = self.is_memory_full();
        let slot = self.connections.get_mut(id.0)?;
        let (config, links, addresses) = (&self.config, &self.links[..], &self.addresses[..]);
        let env = Env { config, links, addresses, reach: &self.reach, memory_full };
        Some(f(&mut slot.connection, &env))
    }

    /// Time has passed: everything due happens.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.time_waits.expire(now);
        while let Some(id) = self.timers.pop_due(now) {
            let Some(slot) = self.connections.get_mut(id.0) else { continue };
            slot.armed = None;
            if slot.connection.next_timeout().is_some_and(|at| at <= now) {
                self.with_connection(id, |c, env| c.on_timeout(now, env));
                self.settle(now, id);
            } else {
                self.arm(id);
            }
            self.give_back_if_idle(id);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next, at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next().into_iter().chain(self.time_waits.next()).min()
    }

    /// The next packet to send, put together in `out`; `None`: nothing now.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut TransmitBuf) -> Option<Transmit> {
        if let Some((mut seg, link)) = self.replies.pop_front() {
            (seg.ip.hop_limit, seg.ip.dscp) = (self.config.hop_limit.max(1), self.config.dscp.min(63));
            return Some(self.emit_reply(&seg, link, out));
        }
        while let Some(id) = self.ready.pop_front() {
            let sent = self.with_connection(id, |c, env| c.poll_transmit(now, env, out)).flatten();
            match sent {
                // To the back of the queue: nobody holds the link for long.
                Some(_) => self.ready.push_back(id),
                None => {
                    if let Some(slot) = self.connections.get_mut(id.0) {
                        slot.ready = false;
                    }
                }
            }
            self.drain_connection(now, id);
            if sent.is_some() {
                return sent;
            }
        }
        None
    }

    fn emit_reply(&mut self, seg: &Segment, link: LinkId, out: &mut TransmitBuf) -> Transmit {
        out.headers.clear();
        out.payload.clear();
        let mode = self.links.get(link.0 as usize).map_or(ChecksumMode::Full, |l| l.checksum);
        emit_headers(seg, &[], mode, &mut out.headers);
        self.mib.count(Counter::TcpOutSegs);
        Transmit { link, len: out.headers.len(), segment_size: None }
    }

    /// The next thing to tell an application.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// A connection, to read from, write to, or ask.
    pub fn connection(&mut self, now: Instant, id: ConnectionId) -> Option<Connection<'_>> {
        self.connections.get(id.0).filter(|slot| !slot.connection.orphaned)?;
        // Whatever is done to it takes effect when the stack is drained.
        self.mark_ready(id);
        Some(Connection { stack: self, id, now })
    }

    /// Every connection, with those that the application has let go of.
    pub fn connections(&self) -> impl Iterator<Item = (ConnectionId, ConnectionInfo)> {
        self.connections.iter().map(|(h, slot)| (ConnectionId(h), slot.connection.info()))
    }

    /// How many connections there are, with those that still deliver data for an application that is gone.
    pub fn connection_count(&self) -> usize {
        self.connections.iter().count()
    }

    /// How many connections still deliver what an application has ended (by a shutdown, or by letting go): not all of it,
    /// and the end of it, is acknowledged. What the peer has not said yet, and the close of subflows, does not count.
    pub fn undelivered_count(&self) -> usize {
        self.connections.iter().filter(|(_, slot)| slot.connection.owes()).count()
    }

    /// Gives up those that applications have let go of, and those that still deliver. The peer is told (MP_FASTCLOSE, or RST
    /// in plain TCP), unless it has said all and heard all.
    pub fn abandon_ended(&mut self, now: Instant) {
        let is_left =
            |connection: &mptcp::Connection| connection.owes() || (connection.orphaned && !connection.is_finished());
        let ended = self.connections.iter().filter(|(_, slot)| is_left(&slot.connection));
        let ended: Vec<_> = ended.map(|(h, _)| ConnectionId(h)).collect();
        for id in ended {
            self.abandon(id, now);
        }
    }

    /// One connection, whoever holds it.
    pub fn connection_info(&self, id: ConnectionId) -> Option<ConnectionInfo> {
        self.connections.get(id.0).map(|slot| slot.connection.info())
    }

    /// What it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether `remote` has given a cookie that lets data go with the SYN of the next connection
    /// ([`ConnectOptions::fast_open`](crate::ConnectOptions::fast_open)).
    pub fn has_fast_open_cookie(&self, now: Instant, remote: IpAddr) -> bool {
        self.fast_opens.has_cookie(now, remote)
    }

    /// What was counted so far.
    pub fn mib(&self) -> Mib {
        let mut mib = self.mib.clone();
        for (_, slot) in self.connections.iter() {
            for (_, subflow) in slot.connection.iter() {
                mib.add_subflow(&subflow.tcp.counters.counters());
            }
        }
        mib
    }

    /// Whether decisions are told by [`poll_trace`](Self::poll_trace). Off at first; off, it costs nothing. On, the
    /// events are kept until they are fetched.
    pub fn set_tracing(&mut self, on: bool) {
        self.tracing = on;
        self.traces.clear();
        for (_, slot) in self.connections.iter_mut() {
            slot.connection.journal.set_tracing(on);
        }
    }

    /// The next traced event.
    pub fn poll_trace(&mut self) -> Option<Trace> {
        self.traces.pop_front()
    }
}
