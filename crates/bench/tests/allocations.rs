//! What the stack allocates: nothing for each packet of a bulk transfer, two pieces of memory for each small write, and
//! little that stays for a connection on which nothing happens. Counted by an allocator, only while the stack works.

use bytes::Bytes;
use polypath_bench::pair::{OFFLOAD, Pair, Watch};
use polypath_proto::{Config, Duration};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

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

/// What one end has allocated.
#[derive(Default)]
struct Allocations(usize);

impl Watch for Allocations {
    fn around<T>(&mut self, work: impl FnOnce() -> T) -> T {
        COUNTED.set(Some(self.0));
        let result = work();
        self.0 = COUNTED.take().unwrap();
        result
    }
}

fn pair() -> Pair<Allocations> {
    Pair::new(&Config::default(), OFFLOAD, 1).unwrap()
}

fn start_counting(pair: &mut Pair<Allocations>) {
    for end in [&mut pair.client, &mut pair.server] {
        (end.watch.0, end.packets) = (0, 0);
    }
}

#[test]
fn a_bulk_transfer_allocates_nothing_for_its_packets() {
    const ROUNDS: usize = 1_000;
    let mut pair = pair();
    let (here, there) = pair.connect().unwrap();
    let (data, mut out) = (Bytes::from(vec![7; 128 * 1024]), vec![0; 1 << 20]);
    for round in 0..2 * ROUNDS {
        if round == ROUNDS {
            start_counting(&mut pair);
        }
        let (now, mut more) = (pair.now, data.clone());
        pair.client.write_bytes(now, here, &mut more).unwrap();
        assert!(more.is_empty());
        pair.settle(|server, now| while server.read(now, there, &mut out).unwrap() > 0 {});
    }
    let Pair { client, server, .. } = pair;
    assert!(client.packets >= 2 * ROUNDS && server.packets >= ROUNDS, "{} and {}", client.packets, server.packets);
    // Now and then nothing is under way when a deadline passes: then queues are given back, and made anew.
    assert!(client.watch.0 * 20 <= client.packets, "{} for {} packets", client.watch.0, client.packets);
    assert!(server.watch.0 * 20 <= server.packets, "{} for {} packets", server.watch.0, server.packets);
}

#[test]
fn a_small_write_allocates_twice() {
    const ROUNDS: usize = 500;
    let mut pair = pair();
    let (here, there) = pair.connect().unwrap();
    for round in 0..2 * ROUNDS {
        if round == ROUNDS {
            start_counting(&mut pair);
        }
        pair.ask(here, there, &mut [0; 64]).unwrap();
    }
    // A block to gather writes in, and the count of those who share it; besides, what was given back meanwhile.
    for end in [&pair.client, &pair.server] {
        assert!(end.watch.0 * 10 <= ROUNDS * 21, "{} for {ROUNDS} messages", end.watch.0);
    }
}

#[test]
fn an_idle_connection_keeps_little() {
    const CONNECTIONS: usize = 500;
    /// For each end, tables included: those grow by doubling, and hold next to nothing more with so many.
    const MOST: isize = 3_900;
    let mut pair = pair();
    let rest = |pair: &mut Pair<_>| {
        pair.rest(Duration::from_secs(5));
        LIVE.get()
    };
    // Of the first ones, what all have in common.
    for _ in 0..10 {
        pair.connect().unwrap();
    }
    let before = rest(&mut pair);
    for _ in 0..CONNECTIONS {
        pair.connect().unwrap();
    }
    let each = (rest(&mut pair) - before) / (2 * CONNECTIONS as isize);
    let data = pair.client.stack.holdings().data;
    assert_eq!((data.subflows, data.outstanding), (2 * (CONNECTIONS + 10), 0));
    assert!(each <= MOST, "{each} bytes for each end");
}
