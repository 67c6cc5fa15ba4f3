//! What the stack allocates: nothing for each packet of a bulk transfer, two pieces of memory for each small write, and
//! little that stays for a connection on which nothing happens. Counted by an allocator, only while the stack works.

use bytes::Bytes;
use polypath_proto::{
    ChecksumMode, Config, ConnectOptions, ConnectionId, Duration, Instant, LinkConfig, LinkId, ListenerId,
    LocalAddress, Received, RxChecksum, Stack, TransmitBuf,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const CLIENT: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 1, 0, 2), Ipv4Addr::new(10, 2, 0, 2)];
const PORT: u16 = 80;
/// Of one way.
const DELAY: Duration = Duration::from_micros(20);
/// Super-segments on the way at once, so that acknowledgements meet a sender that is busy.
const AT_ONCE: usize = 8;

thread_local! {
    /// Allocations so far, while somebody counts.
    static COUNTED: Cell<Option<usize>> = const { Cell::new(None) };
    /// Bytes that this thread has allocated and not given back.
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: all is done by the system's allocator; what is counted stands in cells without destructors.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNTED.set(COUNTED.get().map(|count| count + 1));
        LIVE.set(LIVE.get() + layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One end, with what it has allocated and sent.
struct End {
    stack: Stack,
    link: LinkId,
    buf: TransmitBuf,
    allocations: usize,
    packets: usize,
}

impl End {
    fn new(seed: u8, addresses: &[Ipv4Addr]) -> Self {
        let mut stack = Stack::new(Config::default(), [seed; 32]);
        let link = stack.add_link(LinkConfig { mtu: 1500, max_segment: 65_535, checksum: ChecksumMode::Partial });
        for address in addresses {
            let addr = (*address).into();
            stack.add_address(Instant::ZERO, LocalAddress { addr, link, backup: false, name: None });
        }
        End { stack, link, buf: TransmitBuf::default(), allocations: 0, packets: 0 }
    }

    fn counted<T>(&mut self, work: impl FnOnce(&mut Stack, &mut TransmitBuf) -> T) -> T {
        COUNTED.set(Some(self.allocations));
        let result = work(&mut self.stack, &mut self.buf);
        self.allocations = COUNTED.take().unwrap();
        result
    }

    fn transmit(&mut self, now: Instant) -> Option<(Vec<u8>, Bytes)> {
        self.counted(|stack, buf| stack.poll_transmit(now, buf))?;
        self.packets += 1;
        Some((self.buf.headers.to_vec(), self.buf.payload.concat().into()))
    }

    fn take(&mut self, now: Instant, (headers, payload): (Vec<u8>, Bytes)) {
        let (link, checksum) = (self.link, RxChecksum::Verified);
        self.counted(|stack, _| stack.handle_packet(now, link, Received { headers: &headers, payload, checksum }));
    }

    /// Timers that are due, and news that nobody wants.
    fn tend(&mut self, now: Instant) {
        self.counted(|stack, _| {
            if stack.poll_timeout().is_some_and(|at| at <= now) {
                stack.handle_timeout(now);
            }
            while stack.poll_event().is_some() {}
        });
    }

    fn write(&mut self, now: Instant, id: ConnectionId, data: &[u8]) {
        let written = self.counted(|stack, _| stack.connection(now, id).unwrap().write(data));
        assert_eq!(written, Ok(data.len()));
    }

    /// How many bytes there were.
    fn read(&mut self, now: Instant, id: ConnectionId, out: &mut [u8]) -> usize {
        self.counted(|stack, _| stack.connection(now, id).unwrap().read_into(out)).unwrap().unwrap_or(0)
    }
}

struct Pair {
    now: Instant,
    client: End,
    server: End,
    listener: ListenerId,
}

impl Pair {
    fn new() -> Self {
        let (client, mut server) = (End::new(1, &CLIENT), End::new(2, &[SERVER]));
        let listener = server.stack.listen(SocketAddr::from((SERVER, PORT)), 1024).unwrap();
        Pair { now: Instant::from_millis(1_000), client, server, listener }
    }

    /// Carries packets until there are none; `serve` is what the server's application does after each arrival.
    fn settle(&mut self, mut serve: impl FnMut(&mut End, Instant)) {
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

    /// A connection on which something was said in both directions: both subflows are there.
    fn connect(&mut self) -> (ConnectionId, ConnectionId) {
        let remote = SocketAddr::from((SERVER, PORT));
        let here = self.client.stack.connect(self.now, remote, ConnectOptions::default()).unwrap();
        self.settle(|_, _| {});
        let there = self.server.stack.accept(self.listener).unwrap();
        self.ask(here, there, &mut [0; 1024]);
        (here, there)
    }

    /// A message there, and one of the same length back.
    fn ask(&mut self, here: ConnectionId, there: ConnectionId, message: &mut [u8]) {
        self.client.write(self.now, here, message);
        let len = message.len();
        self.settle(|server, now| {
            if server.read(now, there, message) == len {
                server.write(now, there, message);
            }
        });
        assert_eq!(self.client.read(self.now, here, message), len);
    }

    fn start_counting(&mut self) {
        for end in [&mut self.client, &mut self.server] {
            (end.allocations, end.packets) = (0, 0);
        }
    }
}

#[test]
fn a_bulk_transfer_allocates_nothing_for_its_packets() {
    const ROUNDS: usize = 1_000;
    let mut pair = Pair::new();
    let (here, there) = pair.connect();
    let (data, mut out) = (Bytes::from(vec![7; 128 * 1024]), vec![0; 1 << 20]);
    for round in 0..2 * ROUNDS {
        if round == ROUNDS {
            pair.start_counting();
        }
        let (now, mut more) = (pair.now, data.clone());
        pair.client.counted(|stack, _| stack.connection(now, here).unwrap().write_bytes(&mut more)).unwrap();
        assert!(more.is_empty());
        pair.settle(|server, now| while server.read(now, there, &mut out) > 0 {});
    }
    let Pair { client, server, .. } = pair;
    assert!(client.packets >= 2 * ROUNDS && server.packets >= ROUNDS, "{} and {}", client.packets, server.packets);
    // Now and then nothing is under way when a deadline passes: then queues are given back, and made anew.
    assert!(client.allocations * 20 <= client.packets, "{} for {} packets", client.allocations, client.packets);
    assert!(server.allocations * 20 <= server.packets, "{} for {} packets", server.allocations, server.packets);
}

#[test]
fn a_small_write_allocates_twice() {
    const ROUNDS: usize = 500;
    let mut pair = Pair::new();
    let (here, there) = pair.connect();
    for round in 0..2 * ROUNDS {
        if round == ROUNDS {
            pair.start_counting();
        }
        pair.ask(here, there, &mut [0; 64]);
    }
    // A block to gather writes in, and the count of those who share it; besides, what was given back meanwhile.
    for end in [&pair.client, &pair.server] {
        assert!(end.allocations * 10 <= ROUNDS * 21, "{} for {ROUNDS} messages", end.allocations);
    }
}

#[test]
fn an_idle_connection_keeps_little() {
    const CONNECTIONS: usize = 500;
    /// For each end, tables included: those grow by doubling, and hold next to nothing more with so many.
    const MOST: isize = 5_000;
    let mut pair = Pair::new();
    let rest = |pair: &mut Pair| {
        pair.now += Duration::from_secs(5);
        pair.settle(|_, _| {});
        LIVE.get()
    };
    // Of the first ones, what all have in common.
    for _ in 0..10 {
        pair.connect();
    }
    let before = rest(&mut pair);
    for _ in 0..CONNECTIONS {
        pair.connect();
    }
    let each = (rest(&mut pair) - before) / (2 * CONNECTIONS as isize);
    let data = pair.client.stack.holdings().data;
    assert_eq!((data.subflows, data.outstanding), (2 * (CONNECTIONS + 10), 0));
    assert!(each <= MOST, "{each} bytes for each end");
}
