//! Two namespaces, and a veth pair for each subflow between them, with the kernel's offloads as they are by default.
//!
//! ```text
//!  client                                                server
//!  10.1.0.2   u0 ======== veth ======== s0   10.1.0.1
//!  10.2.0.2   u1 ======== veth ======== s1   10.2.0.1    10.9.0.1
//! ```
//!
//! The client routes by source address; the server has one address, and reaches each of the client's over its own pair.
//! Addresses of a stack in user space are not on the interfaces: the kernel has 10.n.0.3 there, and forwards.

use std::fmt::Write as _;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use polypath_lab::Namespace;
use polypath_lab::kernel::MptcpCounters;

use crate::case::{Case, Who};

/// The server's address.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// Veth pairs there can be: the server's network is number 9.
pub(crate) const MAX_PATHS: usize = 8;

/// The kernel's congestion control, and polypath's: their default.
pub(crate) const CONGESTION: &str = "cubic";

/// How long veth pairs may take to be up, and how often that is looked at.
const CARRIER: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);

/// The client's address on a path.
pub(crate) const fn client(path: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, path as u8 + 1, 0, 2)
}

/// The client's interface on a path.
pub(crate) fn uplink(path: usize) -> String {
    format!("u{path}")
}

/// The two hosts of a run. They are gone when this is dropped and their processes have ended.
pub(crate) struct Network {
    pub(crate) client: Namespace,
    pub(crate) server: Namespace,
    paths: usize,
}

/// What the client's interfaces have seen.
#[derive(Copy, Clone, Default, Debug)]
pub(crate) struct Carried {
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
}

impl Network {
    pub(crate) fn build(case: &Case) -> anyhow::Result<Self> {
        anyhow::ensure!(
            (1..=MAX_PATHS).contains(&case.paths),
            "{} subflows: there can be 1 to {MAX_PATHS}",
            case.paths
        );
        let (client, server) = (Namespace::new()?, Namespace::new()?);
        let network = Self { client, server, paths: case.paths };
        network.client.ip(&network.pairs()).context("making veth pairs")?;
        for (namespace, who) in [(&network.client, case.client), (&network.server, case.server)] {
            parameters(namespace, who)?;
        }
        network.client.ip(&client_lines(case)).context("setting up the client's namespace")?;
        network.server.ip(&server_lines(case)).context("setting up the server's namespace")?;
        network.wait_for_carriers()?;
        Ok(network)
    }

    /// The kernel looks at carriers up to once a second. Before that packets are lost, and a SYN waits for another second.
    fn wait_for_carriers(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        for namespace in [&self.client, &self.server] {
            let is_up = |line: &str| line.split_whitespace().nth(1) == Some("UP");
            let up = || anyhow::Ok(namespace.show(&["-brief", "link", "show", "type", "veth"])?.lines().all(is_up));
            while !up()? {
                anyhow::ensure!(begun.elapsed() < CARRIER, "veth pairs are not up after {CARRIER:?}");
                thread::sleep(LOOK);
            }
        }
        Ok(())
    }

    fn pairs(&self) -> String {
        // `ip` takes a path for a namespace; ours have no names, but a descriptor in this process.
        let server = format!("/proc/{}/fd/{}", std::process::id(), self.server.as_fd().as_raw_fd());
        let mut lines = String::new();
        for path in 0..self.paths {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "link add u{path} mtu 1500 type veth peer name s{path} mtu 1500 netns {server}");
        }
        lines
    }

    /// What the client's interfaces have carried to it, and from it.
    pub(crate) fn carried(&self) -> io::Result<(Carried, Carried)> {
        let (mut down, mut up) = (Carried::default(), Carried::default());
        for path in 0..self.paths {
            let seen = self.client.interface(&uplink(path))?;
            down = Carried { bytes: down.bytes + seen.rx_bytes, packets: down.packets + seen.rx_packets };
            up = Carried { bytes: up.bytes + seen.tx_bytes, packets: up.packets + seen.tx_packets };
        }
        Ok((down, up))
    }

    /// Subflows that a kernel at one of the ends has joined to connections; none where there is no such kernel.
    pub(crate) fn joined_by_kernel(&self, case: &Case) -> io::Result<Option<u64>> {
        let (namespace, counter) = match (case.client, case.server) {
            (_, Who::KernelMptcp) => (&self.server, "MPJoinAckRx"),
            (Who::KernelMptcp, _) => (&self.client, "MPJoinSynAckRx"),
            _ => return Ok(None),
        };
        Ok(Some(u64::try_from(MptcpCounters::read(namespace)?.get(counter)).unwrap_or(0)))
    }
}

fn parameters(namespace: &Namespace, who: Who) -> io::Result<()> {
    let forwarding = if who.owns_addresses() { "1" } else { "0" };
    namespace.set_parameters(&[
        ("net/ipv4/ip_forward", forwarding),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/default/send_redirects", "0"),
        // One run must not start with what another has learnt.
        ("net/ipv4/tcp_no_metrics_save", "1"),
        // Queues of half-open connections and of packets must not be what is measured.
        ("net/core/somaxconn", "16384"),
        ("net/ipv4/tcp_max_syn_backlog", "16384"),
    ])
}

fn client_lines(case: &Case) -> String {
    let mut lines = String::new();
    if case.client == Who::KernelMptcp {
        let _ = writeln!(lines, "mptcp limits set subflows 8 add_addr_accepted 8");
    }
    for path in 0..case.paths {
        // Of the routes, because a namespace's own default can only be one that the host allows to everybody.
        let cc = format!("congctl {CONGESTION}");
        let (net, table, metric) = (path + 1, 101 + path, 1024 + path);
        let host = if case.client.owns_addresses() { 3 } else { 2 };
        let _ = writeln!(lines, "link set u{path} addrgenmode none up");
        let _ = writeln!(lines, "addr add 10.{net}.0.{host}/24 dev u{path}");
        let _ = writeln!(lines, "rule add from {} lookup {table}", client(path));
        let _ = writeln!(lines, "route add default via 10.{net}.0.1 dev u{path} table {table} {cc}");
        let _ = writeln!(lines, "route add default via 10.{net}.0.1 dev u{path} metric {metric} {cc}");
        if case.client == Who::KernelMptcp {
            let _ = writeln!(lines, "mptcp endpoint add {} dev u{path} subflow", client(path));
        }
    }
    lines
}

fn server_lines(case: &Case) -> String {
    let mut lines = String::new();
    if case.server == Who::KernelMptcp {
        let _ = writeln!(lines, "mptcp limits set subflows 8 add_addr_accepted 8");
    }
    if !case.server.owns_addresses() {
        let _ = writeln!(lines, "addr add {SERVER}/32 dev lo");
    }
    for path in 0..case.paths {
        let net = path + 1;
        let _ = writeln!(lines, "link set s{path} addrgenmode none up");
        let _ = writeln!(lines, "addr add 10.{net}.0.1/24 dev s{path}");
        let way = if case.client.owns_addresses() { format!("via 10.{net}.0.3 ") } else { String::new() };
        let source = if case.server.owns_addresses() { String::new() } else { format!(" src {SERVER}") };
        let to = client(path);
        let _ = writeln!(lines, "route add {to} {way}dev s{path}{source} congctl {CONGESTION}");
    }
    lines
}
