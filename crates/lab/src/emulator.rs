//! Emulated links in real time: one thread that carries packets between pairs of TUN devices.
//!
//! Every deadline is absolute, so lateness never adds up. The thread sleeps until shortly before the next deadline
//! and spins through the rest, because waking up takes longer (20 to 60 us on a virtual machine) than the precision
//! wanted.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::link::{Count, Link, LinkCounters, LinkSpec, Nanos, Rate};
use crate::sys::{self, ReadableSet};
use crate::tun::Tun;

/// How long before a deadline the thread wakes up to spin, where processors may sleep.
const SPIN: Nanos = 40_000;
/// The same where they are kept awake.
const SPIN_AWAKE: Nanos = 15_000;
/// Up to this much on all links together (bits per second) the thread is certain to sleep now and then. Only then may
/// it run before ordinary threads: the kernel takes a thread that never sleeps off its processor for 50 ms in each
/// second.
const LIGHT: u64 = 500_000_000;
/// Packets read from one device before due deliveries are looked at again.
const READ_BUDGET: usize = 32;
/// Larger than any packet of a device without offloads.
const PACKET_BUFFER: usize = 65_536;

/// A direction of a path.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the client's namespace to the server's.
    Up,
    /// From the server's namespace to the client's.
    Down,
}

/// What runs between one pair of devices.
pub(crate) struct Wire {
    pub(crate) client: Tun,
    pub(crate) server: Tun,
    pub(crate) up: LinkSpec,
    pub(crate) down: LinkSpec,
    /// When the link comes up (`true`) or is cut, since the start of the emulator.
    pub(crate) schedule: Vec<(Duration, bool)>,
}

/// How late packets came out, over all links.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Lateness {
    /// Mean over all packets.
    pub mean: Duration,
    /// The worst packet.
    pub max: Duration,
}

/// The running emulator; dropping it ends its thread, and with it the devices.
pub(crate) struct Emulator {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// What the thread and its owner share.
struct Shared {
    epoch: Instant,
    wake: OwnedFd,
    stop: AtomicBool,
    punctual: AtomicBool,
    wires: Vec<SharedWire>,
    late_total: AtomicU64,
    late_packets: AtomicU64,
    late_max: AtomicU64,
}

struct SharedWire {
    up: AtomicBool,
    lanes: [Published; 2],
}

/// What is told of one direction.
#[derive(Default)]
struct Published {
    counters: [[AtomicU64; 2]; 5],
    /// When all that has arrived will have been sent.
    free_at: AtomicU64,
}

impl Published {
    fn publish(&self, link: &Link<Vec<u8>>) {
        let LinkCounters { arrived, delivered, dropped_by_queue, lost, dropped_by_cut } = *link.counters();
        for (cell, count) in self.counters.iter().zip([arrived, delivered, dropped_by_queue, lost, dropped_by_cut]) {
            cell[0].store(count.packets, Relaxed);
            cell[1].store(count.bytes, Relaxed);
        }
        self.free_at.store(link.free_at(), Relaxed);
    }

    fn counters(&self) -> LinkCounters {
        let [arrived, delivered, dropped_by_queue, lost, dropped_by_cut] =
            self.counters.each_ref().map(|cell| Count { packets: cell[0].load(Relaxed), bytes: cell[1].load(Relaxed) });
        LinkCounters { arrived, delivered, dropped_by_queue, lost, dropped_by_cut }
    }
}

impl Emulator {
    /// Starts carrying packets. `seed` decides which are lost.
    pub(crate) fn start(wires: Vec<Wire>, seed: u64) -> io::Result<Self> {
        let shared_wire = |_: &Wire| SharedWire { up: AtomicBool::new(true), lanes: Default::default() };
        let shared = Arc::new(Shared {
            epoch: Instant::now(),
            wake: sys::event_fd()?,
            stop: AtomicBool::new(false),
            punctual: AtomicBool::new(false),
            wires: wires.iter().map(shared_wire).collect(),
            late_total: AtomicU64::new(0),
            late_packets: AtomicU64::new(0),
            late_max: AtomicU64::new(0),
        });
        let carrier = Carrier::new(wires, seed, Arc::clone(&shared));
        let thread = thread::Builder::new().name("emulator".into()).spawn(move || carrier.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Cuts both directions of a path silently, with everything on the way, or brings it back.
    pub(crate) fn set_up(&self, path: usize, up: bool) {
        self.shared.wires[path].up.store(up, Relaxed);
        sys::signal(&self.shared.wake);
    }

    /// Whether the path is up.
    pub(crate) fn is_up(&self, path: usize) -> bool {
        self.shared.wires[path].up.load(Relaxed)
    }

    /// What one direction of a path has done with its packets so far.
    pub(crate) fn counters(&self, path: usize, direction: Direction) -> LinkCounters {
        self.shared.wires[path].lanes[direction as usize].counters()
    }

    /// How long a packet that is sent now in one direction of a path would wait in the link's queue.
    pub(crate) fn queueing_delay(&self, path: usize, direction: Direction) -> Duration {
        let free_at = self.shared.wires[path].lanes[direction as usize].free_at.load(Relaxed);
        Duration::from_nanos(free_at).saturating_sub(self.shared.epoch.elapsed())
    }

    /// How late packets came out so far.
    pub(crate) fn lateness(&self) -> Lateness {
        let packets = self.shared.late_packets.load(Relaxed).max(1);
        Lateness {
            mean: Duration::from_nanos(self.shared.late_total.load(Relaxed) / packets),
            max: Duration::from_nanos(self.shared.late_max.load(Relaxed)),
        }
    }

    /// Whether the thread runs before ordinary ones (SCHED_FIFO).
    pub(crate) fn is_punctual(&self) -> bool {
        self.shared.punctual.load(Relaxed)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        sys::signal(&self.shared.wake);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One direction of a wire: its link, and the indices of the devices it connects.
struct Lane {
    link: Link<Vec<u8>>,
    from: usize,
    to: usize,
}

/// The state of the emulator's thread.
struct Carrier {
    shared: Arc<Shared>,
    /// Client and server device of each wire, in turn.
    devices: Vec<Tun>,
    /// Upward and downward lane of each wire, in turn.
    lanes: Vec<Lane>,
    /// All changes of state that are still to come: when, which wire, up or cut; the next one last.
    schedule: Vec<(Nanos, usize, bool)>,
    /// Buffers that carry no packet at the moment.
    spare: Vec<Vec<u8>>,
    buffer: Box<[u8]>,
    readable: ReadableSet,
}

impl Carrier {
    fn new(wires: Vec<Wire>, seed: u64, shared: Arc<Shared>) -> Self {
        let mut seeds = ChaCha8Rng::seed_from_u64(seed);
        let mut next_seed = move || {
            let mut seed = [0; 32];
            seeds.fill_bytes(&mut seed);
            seed
        };
        let (mut devices, mut lanes, mut schedule) = (Vec::new(), Vec::new(), Vec::new());
        for (index, wire) in wires.into_iter().enumerate() {
            let (client, server) = (2 * index, 2 * index + 1);
            lanes.push(Lane { link: Link::new(wire.up, next_seed()), from: client, to: server });
            lanes.push(Lane { link: Link::new(wire.down, next_seed()), from: server, to: client });
            devices.extend([wire.client, wire.server]);
            schedule.extend(wire.schedule.iter().map(|&(at, up)| (nanos(at), index, up)));
        }
        schedule.sort_by_key(|&(at, ..)| std::cmp::Reverse(at));
        let readable = ReadableSet::new(std::iter::once(shared.wake.as_fd()).chain(devices.iter().map(AsFd::as_fd)));
        Self { shared, devices, lanes, schedule, spare: Vec::new(), buffer: vec![0; PACKET_BUFFER].into(), readable }
    }

    fn run(mut self) -> io::Result<()> {
        sys::set_exact_timers();
        let punctual = self.is_light() && sys::run_first();
        self.shared.punctual.store(punctual, Relaxed);
        let awake = sys::keep_processors_awake();
        let spin = if awake.is_some() { SPIN_AWAKE } else { SPIN };
        while !self.shared.stop.load(Relaxed) {
            self.apply_state();
            self.deliver();
            self.receive()?;
            let now = self.now();
            match self.next_deadline() {
                Some(at) if at <= now + spin => std::hint::spin_loop(),
                Some(at) => self.sleep(Some(Duration::from_nanos(at - spin - now)))?,
                None => self.sleep(None)?,
            }
        }
        Ok(())
    }

    /// Whether the links together carry so little that the thread sleeps between packets.
    fn is_light(&self) -> bool {
        let rate = |lane: &Lane| lane.link.spec().rate.map_or(u64::MAX, Rate::as_bits_per_second);
        // Bulk goes one way and acknowledgements the other: the faster direction counts.
        let paths = self.lanes.chunks(2).map(|lanes| lanes.iter().map(rate).max().unwrap_or(0));
        paths.fold(0_u64, u64::saturating_add) <= LIGHT
    }

    fn now(&self) -> Nanos {
        nanos(self.shared.epoch.elapsed())
    }

    /// Brings the links into the state that the schedule and the owner want.
    fn apply_state(&mut self) {
        let now = self.now();
        while let Some(&(at, wire, up)) = self.schedule.last()
            && at <= now
        {
            self.schedule.pop();
            self.shared.wires[wire].up.store(up, Relaxed);
        }
        for (wire, lanes) in self.shared.wires.iter().zip(self.lanes.chunks_mut(2)) {
            let up = wire.up.load(Relaxed);
            for (lane, published) in lanes.iter_mut().zip(&wire.lanes) {
                if lane.link.is_up() != up {
                    lane.link.set_up(up);
                    published.publish(&lane.link);
                }
            }
        }
    }

    /// Hands out what is due.
    fn deliver(&mut self) {
        let now = self.now();
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if lane.link.next_delivery().is_none_or(|at| at > now) {
                continue;
            }
            while let Some((due, packet)) = lane.link.deliver(now) {
                let late = nanos(self.shared.epoch.elapsed()).saturating_sub(due);
                // An interface that is down takes nothing, as a host that is switched off.
                let _ = self.devices[lane.to].send(&packet);
                self.spare.push(packet);
                self.shared.late_total.fetch_add(late, Relaxed);
                self.shared.late_packets.fetch_add(1, Relaxed);
                self.shared.late_max.fetch_max(late, Relaxed);
            }
            self.shared.wires[index / 2].lanes[index % 2].publish(&lane.link);
        }
    }

    /// Takes in what the namespaces have sent. Fails when a device is gone.
    fn receive(&mut self) -> io::Result<()> {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let mut changed = false;
            for _ in 0..READ_BUDGET {
                let Some(len) = self.devices[lane.from].receive(&mut self.buffer)? else {
                    break;
                };
                let mut packet = self.spare.pop().unwrap_or_default();
                packet.clear();
                packet.extend_from_slice(&self.buffer[..len]);
                lane.link.arrive(nanos(self.shared.epoch.elapsed()), len, packet);
                changed = true;
            }
            if changed {
                self.shared.wires[index / 2].lanes[index % 2].publish(&lane.link);
            }
        }
        Ok(())
    }

    fn next_deadline(&self) -> Option<Nanos> {
        let deliveries = self.lanes.iter().filter_map(|lane| lane.link.next_delivery());
        deliveries.chain(self.schedule.last().map(|&(at, ..)| at)).min()
    }

    fn sleep(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.readable.wait(timeout)?;
        if self.readable.is_readable(0) {
            sys::clear(&self.shared.wake);
        }
        Ok(())
    }
}

fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
