//! Two hosts and the paths between them: a namespace `client`, a namespace `server`, and an emulated link for each
//! path.
//!
//! ```text
//!  client namespace                                      server namespace
//!  10.1.0.2  fd00:1::2   wifi0 ==== emulated link ==== wifi0
//!  10.2.0.2  fd00:2::2   lte0  ==== emulated link ==== lte0      10.9.0.1  fd00:9::1
//! ```
//!
//! Path number n (from 0) has the client's addresses 10.(n+1).0.2 and fd00:(n+1)::2. The client routes by source
//! address; the server has one address and reaches each of the client's over its own path. Nothing of a scenario
//! outlives its value, or the process.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::emulator::{Direction, Emulator, Lateness, Wire};
use crate::link::{LinkCounters, LinkSpec, Rate};
use crate::namespace::Namespace;
use crate::setup;
use crate::tun::Tun;

/// The server's IPv4 address.
pub const SERVER_V4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// The server's IPv6 address.
pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 1);
/// Paths a scenario can have: the server's network is number 9.
pub const MAX_PATHS: usize = 8;

/// One path: an emulated link between the client and the server.
#[derive(Clone, PartialEq, Debug)]
pub struct PathSpec {
    /// Short name, at most 13 characters; its interfaces are called this with a 0 appended.
    pub name: String,
    /// Client to server.
    pub up: LinkSpec,
    /// Server to client.
    pub down: LinkSpec,
    /// When the path comes back (`true`) or is cut silently (`false`), since the scenario was built.
    pub schedule: Vec<(Duration, bool)>,
    /// Largest IP packet in bytes, 1280 or more (IPv6).
    pub mtu: u32,
}

impl PathSpec {
    /// A path that is the same in both directions: `rtt` is the round trip of propagation, `queue` the time a full
    /// queue takes to drain at `rate`, and there is no loss. MTU 1500.
    #[must_use]
    pub fn new(name: &str, rate: Rate, rtt: Duration, queue: Duration) -> Self {
        let link = LinkSpec { rate: Some(rate), delay: rtt / 2, queue: rate.bytes_in(queue), red: None, loss: 0.0 };
        Self { name: name.into(), up: link, down: link, schedule: Vec::new(), mtu: 1500 }
    }

    /// With random loss in both directions: the probability for each packet, 0 to 1.
    #[must_use]
    pub const fn with_loss(mut self, loss: f64) -> Self {
        self.up.loss = loss;
        self.down.loss = loss;
        self
    }

    /// With times at which it is cut and comes back.
    #[must_use]
    pub fn with_schedule(mut self, schedule: impl Into<Vec<(Duration, bool)>>) -> Self {
        self.schedule = schedule.into();
        self
    }

    /// With another MTU.
    #[must_use]
    pub const fn with_mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// Its interface, in both namespaces.
    #[must_use]
    pub fn interface(&self) -> String {
        format!("{}0", self.name)
    }
}

/// Who answers for the addresses of a host.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The kernel: addresses on its interfaces, MPTCP endpoints, programs with ordinary sockets.
    Kernel,
    /// A stack in user space with a TUN device of its own in the namespace: the kernel forwards packets between it
    /// and the paths, and drops what comes for the addresses as long as there is no such device and route.
    Stack,
}

/// What to build.
#[derive(Clone, Debug)]
pub struct ScenarioBuilder {
    paths: Vec<PathSpec>,
    client: Owner,
    server: Owner,
    server_mptcp: bool,
    congestion: String,
    seed: u64,
}

impl ScenarioBuilder {
    /// Adds a path.
    #[must_use]
    pub fn path(mut self, path: PathSpec) -> Self {
        self.paths.push(path);
        self
    }

    /// Who has the client's addresses; a stack in user space if this is not called.
    #[must_use]
    pub const fn client(mut self, owner: Owner) -> Self {
        self.client = owner;
        self
    }

    /// Who has the server's address; the kernel if this is not called.
    #[must_use]
    pub const fn server(mut self, owner: Owner) -> Self {
        self.server = owner;
        self
    }

    /// `net.mptcp.enabled` in the server's namespace; on if this is not called.
    #[must_use]
    pub const fn server_mptcp(mut self, enabled: bool) -> Self {
        self.server_mptcp = enabled;
        self
    }

    /// The kernels' congestion control; cubic if this is not called.
    #[must_use]
    pub fn congestion(mut self, name: &str) -> Self {
        self.congestion = name.into();
        self
    }

    /// Decides which packets are lost; 1 if this is not called.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Builds it. Takes about 50 ms.
    ///
    /// # Errors
    /// For a bad path, and where a privilege or a program is missing: the message names it.
    pub fn build(self) -> anyhow::Result<Scenario> {
        self.check()?;
        let client = Namespace::new()?;
        let server = Namespace::new()?;
        let mut wires = Vec::new();
        for path in &self.paths {
            let interface = path.interface();
            wires.push(Wire {
                client: Tun::create(&client, &interface)?,
                server: Tun::create(&server, &interface)?,
                up: path.up,
                down: path.down,
                schedule: path.schedule.clone(),
            });
        }
        let mptcp = setup::kernel_has_mptcp();
        setup::client(&client, &self.paths, self.client, mptcp, &self.congestion)
            .context("setting up the client's namespace")?;
        setup::server(&server, &self.paths, self.server, mptcp.then_some(self.server_mptcp), &self.congestion)
            .context("setting up the server's namespace")?;
        let emulator = Emulator::start(wires, self.seed).context("starting the emulated links")?;
        Ok(Scenario { client, server, emulator, paths: self.paths, seed: self.seed })
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.paths.is_empty(), "a scenario needs a path");
        ensure!(self.paths.len() <= MAX_PATHS, "a scenario has at most {MAX_PATHS} paths");
        for path in &self.paths {
            let name = &path.name;
            let usable = (1..=13).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric());
            ensure!(usable, "path name {name:?}: 1 to 13 letters and digits");
            ensure!((1280..=65_535).contains(&path.mtu), "path {name}: an MTU is 1280 to 65535, not {}", path.mtu);
            for link in [path.up, path.down] {
                ensure!((0.0..=1.0).contains(&link.loss), "path {name}: loss is 0 to 1, not {}", link.loss);
            }
            let same = self.paths.iter().filter(|other| other.name == *name).count();
            ensure!(same == 1, "two paths are called {name}");
        }
        Ok(())
    }
}

/// A running scenario. Dropping it takes links and namespaces away.
pub struct Scenario {
    client: Namespace,
    server: Namespace,
    emulator: Emulator,
    paths: Vec<PathSpec>,
    seed: u64,
}

impl Scenario {
    /// Starts with no paths, a stack in user space on the client's side and the kernel on the server's.
    #[must_use]
    pub fn builder() -> ScenarioBuilder {
        ScenarioBuilder {
            paths: Vec::new(),
            client: Owner::Stack,
            server: Owner::Kernel,
            server_mptcp: true,
            congestion: "cubic".into(),
            seed: 1,
        }
    }

    /// The client's namespace.
    #[must_use]
    pub const fn client(&self) -> &Namespace {
        &self.client
    }

    /// The server's namespace.
    #[must_use]
    pub const fn server(&self) -> &Namespace {
        &self.server
    }

    /// The paths, in the order in which they were added.
    #[must_use]
    pub fn paths(&self) -> &[PathSpec] {
        &self.paths
    }

    /// The seed that decides which packets are lost.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Cuts both directions of a path silently, with everything on the way (`false`), or brings it back (`true`).
    ///
    /// # Panics
    /// If there is no such path.
    pub fn set_up(&self, path: usize, up: bool) {
        self.emulator.set_up(path, up);
    }

    /// Whether a path is up.
    ///
    /// # Panics
    /// If there is no such path.
    #[must_use]
    pub fn is_up(&self, path: usize) -> bool {
        self.emulator.is_up(path)
    }

    /// What one direction of a path has done with its packets so far.
    ///
    /// # Panics
    /// If there is no such path.
    #[must_use]
    pub fn counters(&self, path: usize, direction: Direction) -> LinkCounters {
        self.emulator.counters(path, direction)
    }

    /// How long a packet that is sent now in one direction of a path would wait in the emulated link's queue.
    ///
    /// # Panics
    /// If there is no such path.
    #[must_use]
    pub fn queueing_delay(&self, path: usize, direction: Direction) -> Duration {
        self.emulator.queueing_delay(path, direction)
    }

    /// How late packets came out so far, over all paths.
    #[must_use]
    pub fn lateness(&self) -> Lateness {
        self.emulator.lateness()
    }

    /// Whether the emulator runs before ordinary threads (it takes CAP_SYS_NICE).
    #[must_use]
    pub fn is_punctual(&self) -> bool {
        self.emulator.is_punctual()
    }

    /// Packets that the devices of a path dropped before the emulated link saw them. Not zero means that the
    /// experiment measured its own machinery.
    ///
    /// # Errors
    /// When the interfaces are gone.
    ///
    /// # Panics
    /// If there is no such path.
    pub fn device_drops(&self, path: usize) -> io::Result<u64> {
        let name = self.paths[path].interface();
        Ok(self.client.interface(&name)?.tx_dropped + self.server.interface(&name)?.tx_dropped)
    }
}

/// The client's IPv4 address on a path.
#[must_use]
pub const fn client_v4(path: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, path as u8 + 1, 0, 2)
}

/// The client's IPv6 address on a path.
#[must_use]
pub const fn client_v6(path: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, path as u16 + 1, 0, 0, 0, 0, 0, 2)
}

/// The client's address on a path, in the family of `like`.
#[must_use]
pub const fn client_address(path: usize, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(client_v4(path)),
        IpAddr::V6(_) => IpAddr::V6(client_v6(path)),
    }
}
