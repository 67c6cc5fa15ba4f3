//! Where a program lives while it is tried: a host with two ordinary uplinks, a router, and a peer.
//!
//! ```text
//!  host                                router                               peer
//!  10.1.0.2 fd00:1::2  fast -- veth -- fast-r   fast0 == emulated == fast0
//!  10.2.0.2 fd00:2::2  slow -- veth -- slow-r   slow0 == emulated == slow0   10.9.0.1 fd00:9::1 on lo
//! ```
//!
//! The host knows of two interfaces with an address and a gateway each, like any host; what cuts a path is beyond its
//! gateway, and tells nobody.

use anyhow::{Context as _, bail};
use polypath_lab::link::Rate;
use polypath_lab::scenario::{SERVER_V4, SERVER_V6, client_v4, client_v6};
use polypath_lab::{Direction, Namespace, PathSpec, Scenario};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::thread;
use std::time::{Duration, Instant};

/// The host's uplinks, which are called like the paths: rate in Mbit/s and round trip in milliseconds. The first has
/// the better default route.
const UPLINKS: [(&str, u64, u64); 2] = [("fast", 100, 10), ("slow", 50, 30)];
/// What a full queue takes to drain.
const QUEUE: Duration = Duration::from_millis(50);
/// An uplink that is to come up has not.
const NEVER: Duration = Duration::from_secs(30);

/// The uplink that is cut: the one that new connections take.
pub(crate) const CUT: usize = 0;
/// The peer, from the host.
pub(crate) const PEER_V4: Ipv4Addr = SERVER_V4;
/// The peer, from the host.
pub(crate) const PEER_V6: Ipv6Addr = SERVER_V6;
/// The host, from the peer.
pub(crate) const HOST_V4: Ipv4Addr = client_v4(CUT);

/// The namespaces and links between them; gone with the value.
pub(crate) struct Stage {
    host: Namespace,
    links: Scenario,
}

impl Stage {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut builder = Scenario::builder();
        for (name, rate, rtt) in UPLINKS {
            builder = builder.path(PathSpec::new(name, Rate::mbit(rate), Duration::from_millis(rtt), QUEUE));
        }
        let links = builder.build()?;
        let host = Namespace::new()?;
        join(&host, links.client()).context("joining the host to its router")?;
        let stage = Self { host, links };
        stage.wait_for_uplinks()?;
        Ok(stage)
    }

    /// Where the program under `polypath run` is.
    pub(crate) const fn host(&self) -> &Namespace {
        &self.host
    }

    /// Where the kernel's peer is.
    pub(crate) const fn peer(&self) -> &Namespace {
        self.links.server()
    }

    /// The uplinks' names.
    pub(crate) fn uplinks() -> [&'static str; 2] {
        UPLINKS.map(|(name, ..)| name)
    }

    /// Cuts a path silently, in both directions and with all that is on the way, or brings it back.
    pub(crate) fn set_up(&self, path: usize, up: bool) {
        self.links.set_up(path, up);
    }

    /// Bytes that a path has delivered so far, in both directions.
    pub(crate) fn delivered(&self, path: usize) -> u64 {
        let of = |direction| self.links.counters(path, direction).delivered.bytes;
        of(Direction::Up) + of(Direction::Down)
    }

    /// Carriers and link-local addresses come a little later than the interfaces.
    fn wait_for_uplinks(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        for name in Self::uplinks() {
            loop {
                let link = self.host.show(&["link", "show", name])?;
                let address = self.host.show(&["-6", "address", "show", "dev", name])?;
                if link.contains("state UP") && address.contains("fe80:") && !address.contains("tentative") {
                    break;
                }
                if begun.elapsed() > NEVER {
                    bail!("the uplink {name} does not come up: {link}{address}");
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }
}

/// Gives the host its uplinks, with the router as the gateway of each.
fn join(host: &Namespace, router: &Namespace) -> anyhow::Result<()> {
    // Duplicate address detection would only cost time.
    let quiet = [("net/ipv6/conf/all/accept_dad", "0"), ("net/ipv6/conf/default/accept_dad", "0")];
    host.set_parameters(&quiet)?;
    router.set_parameters(&quiet)?;
    // `ip` takes any path for the name of a namespace.
    let there = format!("/proc/{}/fd/{}", std::process::id(), router.as_fd().as_raw_fd());
    let (mut ours, mut theirs, mut theirs_v6) = (String::new(), String::new(), String::new());
    for (path, name) in Stage::uplinks().into_iter().enumerate() {
        let (v4, v6) = (client_v4(path), client_v6(path));
        let (gateway_v4, gateway_v6) = gateway(path);
        let metric = 100 * (path + 1);
        let _ = writeln!(ours, "link add {name} type veth peer name {name}-r netns {there}");
        let _ = writeln!(ours, "link set {name} up");
        let _ = writeln!(ours, "address add {v4}/24 dev {name}");
        let _ = writeln!(ours, "address add {v6}/64 dev {name} nodad");
        let _ = writeln!(ours, "route add default via {gateway_v4} dev {name} metric {metric}");
        let _ = writeln!(ours, "route add ::/0 via {gateway_v6} dev {name} metric {metric}");
        let _ = writeln!(theirs, "link set {name}-r up");
        let _ = writeln!(theirs, "address add {gateway_v4}/24 dev {name}-r");
        let _ = writeln!(theirs, "address add {gateway_v6}/64 dev {name}-r nodad");
        // Better than the scenario's own for an address that nobody answers for.
        let _ = writeln!(theirs, "route add {v4} dev {name}-r metric 10");
        let _ = writeln!(theirs_v6, "route add {v6} dev {name}-r metric 10");
    }
    host.ip(&ours)?;
    router.ip(&theirs)?;
    router.ip_v6(&theirs_v6)?;
    Ok(())
}

/// The router's addresses on an uplink.
const fn gateway(path: usize) -> (Ipv4Addr, Ipv6Addr) {
    let network = path as u8 + 1;
    (Ipv4Addr::new(10, network, 0, 1), Ipv6Addr::new(0xfd00, network as u16, 0, 0, 0, 0, 0, 1))
}
