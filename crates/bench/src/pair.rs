//! Two stacks in memory, joined by nothing but a loop, on a clock that this loop moves: a client with two addresses, and a
//! server with one. What is measured here is the stack, and nothing of the host.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use polypath_proto::{
    ChecksumMode, Config, ConnectOptions, ConnectionError, ConnectionId, Duration, Event, Instant, LinkConfig, LinkId,
    ListenerId, LocalAddress, Received, RxChecksum, Stack, TransmitBuf,
};

use crate::network::{SERVER, client};

/// Addresses of the client, and so subflows of each connection.
const SUBFLOWS: usize = 2;
/// Of one way.
const DELAY: Duration = Duration::from_micros(20);
/// Super-segments on the way at once, so that acknowledgements meet a sender that is busy.
const AT_ONCE: usize = 8;
/// Connections that one port of the server has, at most: the client has 55,000 ports.
const PER_PORT: usize = 20_000;
const FIRST_PORT: u16 = 5001;
/// What both say when they have met. Without data nobody joins: the client has not heard that it may.
const GREETING: usize = 1024;

/// Super-segments of up to 64 KB, as with a TUN device and segmentation offload.
pub const OFFLOAD: u32 = 65_535;
/// Packets of the link's MTU, as without.
pub const NO_OFFLOAD: u32 = 1_500;

/// Somebody who wants to know when a stack works, and when it does not.
pub trait Watch: Default {
    /// Lets it work.
    fn around<T>(&mut self, work: impl FnOnce() -> T) -> T {
        work()
    }
}

/// Nobody.
impl Watch for () {}

/// Headers and payload.
pub type Packet = (Vec<u8>, Bytes);

/// One of the two.
#[derive(Debug)]
pub struct End<W> {
    /// Whoever uses it directly is not watched.
    pub stack: Stack,
    /// Who watches it.
    pub watch: W,
    /// Packets sent so far.
    pub packets: usize,
    /// Connections that were established here, of those opened here.
    pub connected: usize,
    link: LinkId,
    buf: TransmitBuf,
}

impl<W: Watch> End<W> {
    fn new(seed: u8, config: Config, max_segment: u32, addresses: &[Ipv4Addr]) -> Self {
        let mut stack = Stack::new(config, [seed; 32]);
        let link = stack.add_link(LinkConfig { mtu: 1500, max_segment, checksum: ChecksumMode::Partial });
        for address in addresses {
            let addr = IpAddr::V4(*address);
            stack.add_address(Instant::ZERO, LocalAddress { addr, link, backup: false, name: None });
        }
        End { stack, watch: W::default(), packets: 0, connected: 0, link, buf: TransmitBuf::default() }
    }

    /// Calls the stack.
    pub fn watched<T>(&mut self, work: impl FnOnce(&mut Stack, &mut TransmitBuf) -> T) -> T {
        let End { stack, buf, watch, .. } = self;
        watch.around(|| work(stack, buf))
    }

    /// The next packet, copied as to a device.
    pub fn transmit(&mut self, now: Instant) -> Option<Packet> {
        self.watched(|stack, buf| stack.poll_transmit(now, buf))?;
        self.packets += 1;
        Some((self.buf.headers.to_vec(), self.buf.payload.concat().into()))
    }

    /// A packet has arrived.
    pub fn take(&mut self, now: Instant, (headers, payload): Packet) {
        let (link, checksum) = (self.link, RxChecksum::Verified);
        self.watched(|stack, _| stack.handle_packet(now, link, Received { headers: &headers, payload, checksum }));
    }

    /// Timers that are due, and news.
    pub fn tend(&mut self, now: Instant) {
        self.connected += self.watched(|stack, _| {
            if stack.poll_timeout().is_some_and(|at| at <= now) {
                stack.handle_timeout(now);
            }
            let news = std::iter::from_fn(|| stack.poll_event());
            news.filter(|event| matches!(event, Event::Connected(_))).count()
        });
    }

    /// Writes as much as there is room for.
    ///
    /// # Errors
    /// Of the connection; where there is none any more, it is closed.
    pub fn write(&mut self, now: Instant, id: ConnectionId, data: &[u8]) -> Result<usize, ConnectionError> {
        self.watched(|stack, _| stack.connection(now, id).ok_or(ConnectionError::Closed)?.write(data))
    }

    /// The same, sharing the memory of `data`.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_bytes(&mut self, now: Instant, id: ConnectionId, data: &mut Bytes) -> Result<usize, ConnectionError> {
        self.watched(|stack, _| stack.connection(now, id).ok_or(ConnectionError::Closed)?.write_bytes(data))
    }

    /// How many bytes there were; 0 also at the end of the stream.
    ///
    /// # Errors
    /// Of the connection; where there is none any more, it is closed.
    pub fn read(&mut self, now: Instant, id: ConnectionId, out: &mut [u8]) -> Result<usize, ConnectionError> {
        let read = self.watched(|stack, _| stack.connection(now, id).ok_or(ConnectionError::Closed)?.read_into(out))?;
        Ok(read.unwrap_or(0))
    }

    /// The application lets go of it.
    pub fn close(&mut self, now: Instant, id: ConnectionId) {
        self.watched(|stack, _| stack.connection(now, id).map(|mut connection| connection.close()));
    }
}

/// Both.
#[derive(Debug)]
pub struct Pair<W> {
    /// The clock.
    pub now: Instant,
    /// Opens connections.
    pub client: End<W>,
    /// Accepts them.
    pub server: End<W>,
    listeners: Vec<ListenerId>,
    opened: usize,
}

impl<W: Watch> Pair<W> {
    /// Two stacks with these settings, whose packets are at most so large, for so many connections at once.
    ///
    /// # Errors
    /// Where the server cannot listen.
    pub fn new(config: &Config, max_segment: u32, connections: usize) -> anyhow::Result<Self> {
        let addresses: Vec<Ipv4Addr> = (0..SUBFLOWS).map(client).collect();
        let mut server = End::new(2, config.clone(), max_segment, &[SERVER]);
        let ports = (FIRST_PORT..).take(connections.div_ceil(PER_PORT));
        let listeners = ports.map(|port| server.stack.listen(SocketAddr::from((SERVER, port)), 1024));
        let listeners = listeners.collect::<Result<_, _>>()?;
        let client = End::new(1, config.clone(), max_segment, &addresses);
        Ok(Pair { now: Instant::from_millis(1_000), client, server, listeners, opened: 0 })
    }

    /// Carries packets until there are none; `serve` is what the server's application does after each arrival.
    pub fn settle(&mut self, mut serve: impl FnMut(&mut End<W>, Instant)) {
        let Pair { now, client, server, .. } = self;
        loop {
            *now += DELAY;
            client.tend(*now);
            server.tend(*now);
            let there: Vec<_> = (0..AT_ONCE).map_while(|_| client.transmit(*now)).collect();
            let mut quiet = there.is_empty();
            there.into_iter().for_each(|packet| server.take(*now, packet));
            *now += DELAY;
            serve(server, *now);
            while let Some(packet) = server.transmit(*now) {
                quiet = false;
                client.take(*now, packet);
            }
            if quiet {
                return;
            }
        }
    }

    /// Nothing is done for so long; then what was put off is, all at once.
    pub fn rest(&mut self, time: Duration) {
        self.now += time;
        self.settle(|_, _| {});
    }

    /// A connection on which something was said in both directions: both subflows are there.
    ///
    /// # Errors
    /// Where it does not come about.
    pub fn connect(&mut self) -> anyhow::Result<(ConnectionId, ConnectionId)> {
        let number = self.opened / PER_PORT % self.listeners.len();
        self.opened += 1;
        let (now, remote) = (self.now, SocketAddr::from((SERVER, FIRST_PORT + number as u16)));
        let here = self.client.watched(|stack, _| stack.connect(now, remote, ConnectOptions::default()))?;
        self.settle(|_, _| {});
        let listener = self.listeners[number];
        let there = self.server.watched(|stack, _| stack.accept(listener));
        let there = there.ok_or_else(|| anyhow::anyhow!("connection {} was not accepted", self.opened))?;
        self.ask(here, there, &mut [0; GREETING])?;
        Ok((here, there))
    }

    /// A message there, and one of the same length back.
    ///
    /// # Errors
    /// Where they do not arrive whole.
    pub fn ask(&mut self, here: ConnectionId, there: ConnectionId, message: &mut [u8]) -> anyhow::Result<()> {
        let len = message.len();
        self.client.write(self.now, here, message)?;
        let mut served = Ok(0);
        self.settle(|server, now| {
            if served.is_ok_and(|read| read < len) {
                served = server.read(now, there, message);
                if served == Ok(len) {
                    served = server.write(now, there, message);
                }
            }
        });
        let answered = self.client.read(self.now, here, message)?;
        anyhow::ensure!(served? == len && answered == len, "{answered} of {len} bytes came back");
        Ok(())
    }
}
