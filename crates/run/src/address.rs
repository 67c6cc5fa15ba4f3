//! Socket addresses between Rust and the kernel's `sockaddr`.

use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;

use crate::sys::{self, Errno};

const V4_LEN: usize = size_of::<libc::sockaddr_in>();
/// RFC 2133's `sockaddr_in6` has no scope id; the kernel still accepts that length.
const V6_LEN_MIN: usize = 24;
const V6_LEN: usize = size_of::<libc::sockaddr_in6>();
/// The longest address a program may pass (`sockaddr_storage`).
pub(crate) const STORAGE_LEN: usize = size_of::<libc::sockaddr_storage>();

/// What a program's `sockaddr` says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// `AF_UNSPEC`: dissolve the association.
    Unspecified,
    /// An Internet address.
    Internet(SocketAddr),
}

/// The family of a `sockaddr` that is long enough to have one.
pub(crate) fn family(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk().map(|family| i32::from(u16::from_ne_bytes(*family)))
}

/// Reads the `sockaddr` that a program passed for a socket of `domain`.
pub(crate) fn parse(bytes: &[u8], domain: i32) -> Result<Given, Errno> {
    let (Some(family), rest) = (family(bytes), bytes.get(2..).unwrap_or_default()) else { return Err(libc::EINVAL) };
    match (family, domain) {
        (libc::AF_UNSPEC, _) => Ok(Given::Unspecified),
        (libc::AF_INET, libc::AF_INET) if bytes.len() < V4_LEN => Err(libc::EINVAL),
        (libc::AF_INET, libc::AF_INET) => {
            let port = u16::from_be_bytes([rest[0], rest[1]]);
            let ip = Ipv4Addr::new(rest[2], rest[3], rest[4], rest[5]);
            Ok(Given::Internet(SocketAddr::V4(SocketAddrV4::new(ip, port))))
        }
        (_, libc::AF_INET6) if bytes.len() < V6_LEN_MIN => Err(libc::EINVAL),
        (libc::AF_INET6, libc::AF_INET6) => Ok(Given::Internet(parse_v6(bytes))),
        (_, libc::AF_INET) if bytes.len() < V4_LEN => Err(libc::EINVAL),
        _ => Err(libc::EAFNOSUPPORT),
    }
}

fn parse_v6(bytes: &[u8]) -> SocketAddr {
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    let flow = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[8..24]);
    let scope = bytes.get(24..28).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(octets), port, flow, scope))
}

/// The bytes of `address` as a socket of `domain` shows it: IPv4 is mapped on an IPv6 socket.
pub(crate) fn emit(address: SocketAddr, domain: i32) -> Vec<u8> {
    if domain == libc::AF_INET {
        let ip = match address.ip().to_canonical() {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        let mut out = vec![0; V4_LEN];
        out[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        out[2..4].copy_from_slice(&address.port().to_be_bytes());
        out[4..8].copy_from_slice(&ip.octets());
        return out;
    }
    let (ip, flow, scope) = match address {
        SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0, 0),
        SocketAddr::V6(v6) => (*v6.ip(), v6.flowinfo(), v6.scope_id()),
    };
    let mut out = vec![0; V6_LEN];
    out[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
    out[2..4].copy_from_slice(&address.port().to_be_bytes());
    out[4..8].copy_from_slice(&flow.to_be_bytes());
    out[8..24].copy_from_slice(&ip.octets());
    out[24..28].copy_from_slice(&scope.to_ne_bytes());
    out
}

/// Strips the IPv4-in-IPv6 mapping, which is a property of the socket and not of the address.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => SocketAddr::new(v6.ip().to_canonical(), v6.port()),
        other => other,
    }
}

/// Where a connect to `address` really goes: Linux takes the unspecified address for this host.
pub(crate) fn destination(address: SocketAddr) -> SocketAddr {
    let mut address = canonical(address);
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// The unspecified address and port of a family.
pub(crate) fn unspecified(domain: i32) -> SocketAddr {
    if domain == libc::AF_INET6 { (Ipv6Addr::UNSPECIFIED, 0).into() } else { (Ipv4Addr::UNSPECIFIED, 0).into() }
}

/// The name of a kernel socket.
pub(crate) fn kernel_name(fd: RawFd) -> io::Result<SocketAddr> {
    let mut bytes = [0u8; STORAGE_LEN];
    let mut len = STORAGE_LEN as libc::socklen_t;
    // SAFETY: pointer and length describe `bytes`, large enough for any address.
    let result = unsafe { libc::getsockname(fd, bytes.as_mut_ptr().cast(), &raw mut len) };
    sys::check(result)?;
    from_kernel(&bytes[..len as usize])
}

/// The address in a `sockaddr` that the kernel has filled in.
pub(crate) fn from_kernel(bytes: &[u8]) -> io::Result<SocketAddr> {
    match parse(bytes, family(bytes).unwrap_or(libc::AF_UNSPEC)) {
        Ok(Given::Internet(address)) => Ok(address),
        _ => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_emitted_parses_back() {
        for (text, domain) in [("10.1.2.3:80", libc::AF_INET), ("[fe80::1%7]:443", libc::AF_INET6)] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(parse(&emit(address, domain), domain), Ok(Given::Internet(address)));
        }
    }

    #[test]
    fn an_ipv6_socket_shows_ipv4_mapped_and_the_network_sees_it_plain() {
        let v4: SocketAddr = "10.1.2.3:80".parse().unwrap();
        let bytes = emit(v4, libc::AF_INET6);
        assert_eq!(bytes.len(), V6_LEN);
        let Ok(Given::Internet(mapped)) = parse(&bytes, libc::AF_INET6) else { panic!() };
        assert_eq!(mapped.to_string(), "[::ffff:10.1.2.3]:80");
        assert_eq!(canonical(mapped), v4);
    }

    #[test]
    fn malformed_addresses_get_the_kernels_errno() {
        let v6 = emit("[::1]:1".parse().unwrap(), libc::AF_INET6);
        assert_eq!(parse(&[], libc::AF_INET), Err(libc::EINVAL));
        assert_eq!(parse(&v6[..8], libc::AF_INET6), Err(libc::EINVAL));
        assert_eq!(parse(&v6, libc::AF_INET), Err(libc::EAFNOSUPPORT));
        assert_eq!(parse(&[0, 0], libc::AF_INET), Ok(Given::Unspecified));
    }

    #[test]
    fn the_unspecified_destination_is_this_host() {
        let any = |text: &str| destination(text.parse().unwrap()).ip().is_loopback();
        assert!(any("0.0.0.0:1") && any("[::]:1") && any("[::ffff:0.0.0.0]:1"));
    }
}
