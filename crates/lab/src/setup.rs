//! What is inside the two namespaces of a scenario: addresses, routes, kernel parameters.

use std::fmt::{self, Write as _};
use std::io;
use std::net::IpAddr;
use std::path::Path;

use crate::namespace::Namespace;
use crate::scenario::{Owner, PathSpec, SERVER_V4, SERVER_V6, client_address, client_v4, client_v6};

/// Packets a device can hold for the emulator: more than a whole congestion window sent in one burst, so that the
/// only queue that drops is the emulated one.
const DEVICE_QUEUE: u32 = 10_000;
/// Worse than any route a stack adds, and better than a default route that would send packets back.
pub(crate) const LAST_METRIC: u32 = 4_000_000_000;

/// Lines of `ip` commands; a batch is of one family.
#[derive(Default)]
struct Script {
    v4: String,
    v6: String,
}

impl Script {
    /// A line that does not depend on the family.
    fn line(&mut self, arguments: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.v4, "{arguments}");
    }

    /// A line in the family of `address`; those of IPv4 run first.
    fn for_family(&mut self, address: IpAddr, arguments: fmt::Arguments<'_>) {
        let lines = if address.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        let _ = writeln!(lines, "{arguments}");
    }

    fn run(&self, namespace: &Namespace) -> io::Result<()> {
        namespace.ip(&self.v4)?;
        namespace.ip_v6(&self.v6)
    }
}

/// Whether this kernel was built with MPTCP.
pub(crate) fn kernel_has_mptcp() -> bool {
    Path::new("/proc/sys/net/mptcp/enabled").exists()
}

/// Sets the client up: it routes by source address, so that each of its addresses uses its own path.
///
/// The congestion control is a property of the routes, because a namespace's own default can only be one that the
/// host allows to unprivileged programs.
pub(crate) fn client(
    namespace: &Namespace,
    paths: &[PathSpec],
    owner: Owner,
    mptcp: bool,
    congestion: &str,
) -> io::Result<()> {
    parameters(namespace, owner)?;
    let mut ip = Script::default();
    for (index, path) in paths.iter().enumerate() {
        let (device, table) = (path.interface(), 101 + index);
        link(&mut ip, path);
        for address in [IpAddr::V4(client_v4(index)), IpAddr::V6(client_v6(index))] {
            let default = if address.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            own(&mut ip, owner, address, &device);
            ip.for_family(address, format_args!("rule add from {address} lookup {table}"));
            ip.for_family(address, format_args!("route add {default} dev {device} table {table} congctl {congestion}"));
            // In the main table the first path's is the best.
            let metric = 1024 + index;
            ip.for_family(
                address,
                format_args!("route add {default} dev {device} metric {metric} congctl {congestion}"),
            );
        }
    }
    if owner == Owner::Kernel && mptcp {
        endpoints(&mut ip, paths);
    }
    ip.run(namespace)
}

/// Sets the server up. `mptcp`: whether MPTCP shall be on, `None` where the kernel does not have it.
pub(crate) fn server(
    namespace: &Namespace,
    paths: &[PathSpec],
    owner: Owner,
    mptcp: Option<bool>,
    congestion: &str,
) -> io::Result<()> {
    parameters(namespace, owner)?;
    let mut ip = Script::default();
    for path in paths {
        link(&mut ip, path);
    }
    for address in [IpAddr::V4(SERVER_V4), IpAddr::V6(SERVER_V6)] {
        own(&mut ip, owner, address, "lo");
        for (index, path) in paths.iter().enumerate() {
            // The path's interface has no address of its own: the kernel must be told which to use.
            let source = if owner == Owner::Kernel { format!(" src {address}") } else { String::new() };
            let to = client_address(index, address);
            let device = path.interface();
            ip.for_family(address, format_args!("route add {to} dev {device}{source} congctl {congestion}"));
        }
    }
    if let Some(enabled) = mptcp {
        namespace.set_parameters(&[("net/mptcp/enabled", if enabled { "1" } else { "0" })])?;
        ip.line(format_args!("mptcp limits set subflows 8 add_addr_accepted 8"));
    }
    ip.run(namespace)
}

/// What every namespace needs; a stack's forwards.
pub(crate) fn parameters(namespace: &Namespace, owner: Owner) -> io::Result<()> {
    let forwarding = if owner == Owner::Stack { "1" } else { "0" };
    namespace.set_parameters(&[
        // Also for interfaces that come later, such as a stack's own.
        ("net/ipv4/ip_forward", forwarding),
        ("net/ipv6/conf/all/forwarding", forwarding),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/default/send_redirects", "0"),
        // One transfer must not start with what another has learnt.
        ("net/ipv4/tcp_no_metrics_save", "1"),
    ])
}

fn link(ip: &mut Script, path: &PathSpec) {
    let device = path.interface();
    // No link-local address: it would send router solicitations over the path.
    ip.line(format_args!("link set {device} addrgenmode none"));
    ip.line(format_args!("link set {device} mtu {} txqueuelen {DEVICE_QUEUE} up", path.mtu));
}

/// Gives the kernel the address. Or drops what comes for it, as long as no stack in user space answers for it.
fn own(ip: &mut Script, owner: Owner, address: IpAddr, device: &str) {
    let line = match (owner, address) {
        (Owner::Kernel, IpAddr::V4(_)) => format!("addr add {address}/32 dev {device}"),
        (Owner::Kernel, IpAddr::V6(_)) => format!("addr add {address}/128 dev {device} nodad"),
        (Owner::Stack, _) => format!("route add blackhole {address} metric {LAST_METRIC}"),
    };
    ip.for_family(address, format_args!("{line}"));
}

fn endpoints(ip: &mut Script, paths: &[PathSpec]) {
    ip.line(format_args!("mptcp limits set subflows 8 add_addr_accepted 8"));
    // The kernel has room for eight endpoints: IPv6 only if both families fit.
    let both = paths.len() <= 4;
    for (index, path) in paths.iter().enumerate() {
        let device = path.interface();
        ip.line(format_args!("mptcp endpoint add {} dev {device} subflow", client_v4(index)));
        if both {
            ip.line(format_args!("mptcp endpoint add {} dev {device} subflow", client_v6(index)));
        }
    }
}
