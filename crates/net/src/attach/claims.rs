//! Addresses and ports held in the kernel, so that no program of this host has what the stack uses.
//!
//! A socket is bound and never listens: whoever else wants the port gets `EADDRINUSE`, the kernel chooses it for no
//! connection of its own, and programs of this host that connect there are refused. `SO_REUSEADDR` stays off: with it
//! the port could be had while connections of the kernel's still use it, and theirs would be diverted.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use polypath_proto::ListenAddr;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};

/// Binds a socket in the calling thread's network namespace, and says to which port. What is meant for both families
/// is held for IPv4 where there is no IPv6.
pub(super) fn hold(at: ListenAddr) -> Result<(OwnedFd, u16), Errno> {
    let dual = at.local.ip() == Ipv6Addr::UNSPECIFIED && !at.v6only;
    match hold_as_told(at) {
        // IPv6 is not there, or switched off.
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if dual => {
            hold_as_told(SocketAddr::from((Ipv4Addr::UNSPECIFIED, at.local.port())).into())
        }
        result => result,
    }
}

fn hold_as_told(at: ListenAddr) -> Result<(OwnedFd, u16), Errno> {
    let family = if at.local.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if at.local.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, at.v6only)?;
    }
    bind(&socket, &at.local)?;
    let port = SocketAddr::try_from(getsockname(&socket)?).map_or(at.local.port(), |bound| bound.port());
    Ok((socket, port))
}

/// Why `at` cannot be held, as the kernel's own sockets would have it.
pub(super) fn explain(at: ListenAddr, error: Errno) -> io::Error {
    let (local, port) = (at.local, at.local.port());
    let message = match error {
        Errno::ADDRINUSE => format!(
            "{local} is in use by another program of this host, or by connections of one (see `ss -tanp sport = :{port}`)"
        ),
        Errno::ADDRNOTAVAIL => format!("{} is not an address of this host", local.ip()),
        Errno::ACCESS => {
            format!("port {port} needs CAP_NET_BIND_SERVICE (sudo), or one from net.ipv4.ip_unprivileged_port_start on")
        }
        _ => format!("holding {local}: {error}"),
    };
    io::Error::new(io::Error::from(error).kind(), message)
}
