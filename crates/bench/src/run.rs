//! One case, once: hosts, both ends, and what came of it.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::case::{Case, Load, Way, Who};
use crate::cost::{Cpu, Tree, busy, slab};
use crate::end::{Mark, Side};
use crate::network::Network;
use crate::process::End;

/// Work before it counts: windows and buffers are to have their size.
const WARM_UP: Duration = Duration::from_millis(400);
/// How long subflows may take to be there: so much, and so much for each connection.
const JOINING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_millis(1));
/// How long connections may take to be there: so much, and so much for each.
const CONNECTING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_millis(2));
/// How often something is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(5);
/// Idle connections are looked at when nothing has moved for so long.
const REST: Duration = Duration::from_millis(1_000);

/// What one run has shown.
#[derive(Copy, Clone, Default, Debug)]
pub struct Sample {
    /// In the unit of its load: Gbit/s, requests, connections a second, bytes for each end.
    pub rate: f64,
    /// Processor time of both ends, and for how many units: GB, requests, connections.
    pub cpu: Cpu,
    /// GB, requests, connections.
    pub units: f64,
    /// Processor seconds in a second that others used meanwhile.
    pub others: f64,
    /// Bytes of a packet on the way between the hosts, on average.
    pub packet: Option<f64>,
    /// Packets between the hosts, both ways, for each request or connection; super-segments as one.
    pub packets: Option<f64>,
    /// Bytes of a packet as polypath's receiving end reads it, on average.
    pub read: Option<f64>,
    /// Half of the answers came within so many microseconds.
    pub p50_us: Option<f64>,
    /// 99 of 100 did.
    pub p99_us: Option<f64>,
    /// Subflows that joined each connection.
    pub joins: f64,
    /// Of idle connections: bytes of both processes, and of the kernel's slab, for each end.
    pub memory: Option<(f64, f64)>,
}

impl Sample {
    /// Processor seconds for each unit.
    #[must_use]
    pub fn cpu_per_unit(&self) -> f64 {
        self.cpu.total() / self.units
    }
}

/// Runs `case` with the work of `window` counted; `program` is this one, which is started for the ends.
///
/// # Errors
/// When hosts cannot be made, an end fails, subflows are missing, or a byte arrives that was not sent.
pub(crate) fn run(program: &Path, case: &Case, window: Duration) -> anyhow::Result<Sample> {
    let network = Network::build(case)?;
    let mut server = End::start(program, case, &network, Side::Server)?;
    let mut client = End::start(program, case, &network, Side::Client)?;
    server.wait_ready()?;
    client.wait_ready()?;
    let before = Memory::look(&client, &server)?;
    client.tell("go")?;
    let connections = match case.load {
        Load::Bulk(_) => 1,
        Load::Rpc { connections, .. } | Load::Idle { connections } => connections,
        Load::Connect => 0,
    };
    client.wait_connected(CONNECTING.0 + CONNECTING.1 * connections as u32)?;
    let mut joins = 0;
    if connections > 0 {
        joins = wait_for_joins(case, &network, &mut client, connections)?;
    }
    if matches!(case.load, Load::Idle { .. }) {
        let accepted = |server: &mut End| anyhow::Ok(server.mark()?.units >= connections as u64);
        ensure!(wait_until(joining(connections), || accepted(&mut server))?, "connections were not accepted");
        // What handshakes have left is to be gone.
        thread::sleep(REST);
        let joins = joins as f64 / connections as f64;
        return Ok(Sample { joins, ..Memory::look(&client, &server)?.since(&before, connections) });
    }
    thread::sleep(WARM_UP);
    measure(case, &network, (&mut client, &mut server), window)
}

fn measure(case: &Case, network: &Network, ends: (&mut End, &mut End), window: Duration) -> anyhow::Result<Sample> {
    let (client, server) = ends;
    let ids = [client.id(), server.id()];
    let joined_before = joined(case, network, client)?;
    let carried_before = network.carried()?;
    // The client counts, but for bulk that goes to the server.
    let receiver_is_server = case.load == Load::Bulk(Way::Up);
    let marks = |client: &mut End, server: &mut End| -> anyhow::Result<(Mark, Mark)> {
        if receiver_is_server { Ok((server.mark()?, client.mark()?)) } else { Ok((client.mark()?, server.mark()?)) }
    };
    let first = marks(client, server)?;
    let (cpu_before, busy_before) = (Tree::of(&ids)?.cpu(), busy()?);
    thread::sleep(window);
    let last = marks(client, server)?;
    let (cpu, busy) = (Tree::of(&ids)?.cpu() - cpu_before, busy()? - busy_before);
    let (down, up) = network.carried()?;
    let joined_after = joined(case, network, client)?;

    let seconds = (last.0.at - first.0.at) as f64 / 1e9;
    let counted = (last.0.units - first.0.units) as f64;
    if counted == 0.0 {
        bail!("nothing came through in {seconds:.1} s");
    }
    let average = |bytes: u64, packets: u64| (packets > 0).then(|| bytes as f64 / packets as f64);
    let (sent, earlier) = if receiver_is_server { (up, carried_before.1) } else { (down, carried_before.0) };
    let (read, earlier_read) = (last.0.device.read, first.0.device.read);
    let bulk = matches!(case.load, Load::Bulk(_));
    Ok(Sample {
        rate: if bulk { counted * 8.0 / 1e9 / seconds } else { counted / seconds },
        cpu,
        others: ((busy - cpu.total()) / seconds).max(0.0),
        units: if bulk { counted / 1e9 } else { counted },
        packet: average(sent.bytes - earlier.bytes, sent.packets - earlier.packets).filter(|_| bulk),
        packets: (!bulk).then(|| {
            let both = (up.packets - carried_before.1.packets) + (down.packets - carried_before.0.packets);
            both as f64 / counted
        }),
        read: average(read.1 - earlier_read.1, read.0 - earlier_read.0).filter(|_| bulk),
        p50_us: last.0.p50_us,
        p99_us: last.0.p99_us,
        joins: match case.load {
            Load::Connect => joined_after.saturating_sub(joined_before) as f64 / counted,
            _ => (case.paths - 1) as f64,
        },
        memory: None,
    })
}

/// Subflows that were joined so far: as a kernel has counted them, or polypath's client.
fn joined(case: &Case, network: &Network, client: &mut End) -> anyhow::Result<u64> {
    if let Some(count) = network.joined_by_kernel(case)? {
        return Ok(count);
    }
    match case.client {
        Who::Library | Who::Thread | Who::Pieces | Who::NoOffload => client.joined(),
        _ => Ok(0),
    }
}

/// Waits until each connection has all its subflows, and says how many have joined. Of thousands of idle connections some may
/// lack one: a kernel tries but once.
fn wait_for_joins(case: &Case, network: &Network, client: &mut End, connections: usize) -> anyhow::Result<u64> {
    let wanted = if case.client == Who::KernelTcp { 0 } else { (case.paths - 1) * connections } as u64;
    let mut seen = 0;
    let patience = joining(connections);
    let complete = wait_until(patience, || {
        seen = joined(case, network, client)?;
        Ok(seen >= wanted)
    })?;
    let some_may_lack = matches!(case.load, Load::Idle { .. });
    ensure!(
        complete || some_may_lack,
        "{seen} of {wanted} subflows were joined to {connections} connections within {patience:?}"
    );
    Ok(seen)
}

fn joining(connections: usize) -> Duration {
    JOINING.0 + JOINING.1 * connections as u32
}

fn wait_until(patience: Duration, mut done: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<bool> {
    let begun = Instant::now();
    while !done()? {
        if begun.elapsed() > patience {
            return Ok(false);
        }
        thread::sleep(LOOK);
    }
    Ok(true)
}

/// Memory of both ends and of the kernel.
struct Memory {
    resident: u64,
    slab: u64,
}

impl Memory {
    fn look(client: &End, server: &End) -> anyhow::Result<Self> {
        let tree = Tree::of(&[client.id(), server.id()]).context("looking at processes")?;
        Ok(Self { resident: tree.resident(), slab: slab()? })
    }

    /// What `connections` have cost for each of their ends.
    fn since(&self, before: &Self, connections: usize) -> Sample {
        let each = |now: u64, then: u64| (now as f64 - then as f64) / (2 * connections) as f64;
        let memory = (each(self.resident, before.resident), each(self.slab, before.slab));
        Sample { rate: memory.0 + memory.1, units: connections as f64, memory: Some(memory), ..Sample::default() }
    }
}
