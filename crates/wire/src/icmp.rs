//! ICMP errors about our own TCP segments (RFC 792, RFC 4443): what they say, and about which segment.

use crate::seq::SeqNum;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const ICMPV4: u8 = 1;
const ICMPV6: u8 = 58;
const TCP: u8 = 6;

/// What went wrong on the way.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum IcmpErrorKind {
    /// The packet was larger than a link on the way carries: the largest it does, in bytes; 0 from a router that
    /// does not say (RFC 1191, RFC 8201).
    PacketTooBig {
        /// Bytes of an IP packet.
        mtu: u32,
    },
    /// No way to the network.
    NetworkUnreachable,
    /// No way to the host.
    HostUnreachable,
    /// The host has nothing there.
    PortUnreachable,
}

/// An ICMP error, and the segment of ours that caused it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct IcmpError {
    /// What went wrong.
    pub kind: IcmpErrorKind,
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The segment's sequence number: whoever has not seen the segment has to guess it (RFC 5927).
    pub seq: SeqNum,
}

impl IcmpError {
    /// Reads an IP packet. `None` for everything that is no error about a TCP segment.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<IcmpError> {
        match packet.first()? >> 4 {
            4 => parse_v4(packet),
            6 => parse_v6(packet),
            _ => None,
        }
    }
}

fn parse_v4(packet: &[u8]) -> Option<IcmpError> {
    let header = v4_header_len(packet)?;
    if *packet.get(9)? != ICMPV4 {
        return None;
    }
    let icmp = packet.get(header..)?;
    let (kind, code) = (*icmp.first()?, *icmp.get(1)?);
    let kind = match (kind, code) {
        (3, 4) => IcmpErrorKind::PacketTooBig { mtu: u32::from(u16::from_be_bytes(bytes(icmp, 6)?)) },
        (3, 0 | 6 | 9 | 11) => IcmpErrorKind::NetworkUnreachable,
        (3, 2 | 3) => IcmpErrorKind::PortUnreachable,
        (3, _) => IcmpErrorKind::HostUnreachable,
        // [9293-MUST-55]
        _ => return None,
    };
    let inner = icmp.get(8..)?;
    let tcp = inner.get(v4_header_len(inner)?..)?;
    let (src, dst): ([u8; 4], [u8; 4]) = (bytes(inner, 12)?, bytes(inner, 16)?);
    let ends = (Ipv4Addr::from(src).into(), Ipv4Addr::from(dst).into());
    (*inner.get(9)? == TCP).then(|| about(kind, ends, tcp))?
}

fn parse_v6(packet: &[u8]) -> Option<IcmpError> {
    if *packet.get(6)? != ICMPV6 {
        return None;
    }
    let icmp = packet.get(40..)?;
    let kind = match (*icmp.first()?, *icmp.get(1)?) {
        (2, _) => IcmpErrorKind::PacketTooBig { mtu: u32::from_be_bytes(bytes(icmp, 4)?) },
        (1, 0) => IcmpErrorKind::NetworkUnreachable,
        (1, 4) => IcmpErrorKind::PortUnreachable,
        (1, _) => IcmpErrorKind::HostUnreachable,
        _ => return None,
    };
    let inner = icmp.get(8..)?;
    let (src, dst): ([u8; 16], [u8; 16]) = (bytes(inner, 8)?, bytes(inner, 24)?);
    let ends = (Ipv6Addr::from(src).into(), Ipv6Addr::from(dst).into());
    // Segments of ours have no extension headers.
    (*inner.get(6)? == TCP).then(|| about(kind, ends, inner.get(40..)?))?
}

/// The segment's first eight bytes are always there (RFC 792, RFC 1812).
fn about(kind: IcmpErrorKind, (src, dst): (IpAddr, IpAddr), tcp: &[u8]) -> Option<IcmpError> {
    let port = |at| bytes(tcp, at).map(u16::from_be_bytes);
    Some(IcmpError {
        kind,
        local: SocketAddr::new(src, port(0)?),
        remote: SocketAddr::new(dst, port(2)?),
        seq: SeqNum(u32::from_be_bytes(bytes(tcp, 4)?)),
    })
}

fn v4_header_len(packet: &[u8]) -> Option<usize> {
    let first = packet.first()?;
    let len = usize::from(first & 15) * 4;
    (first >> 4 == 4 && len >= 20).then_some(len)
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // [9293-MUST-54, 9293-MUST-55, 8201-4-2]
    #[test]
    fn a_router_says_how_large_packets_may_be() {
        let mut packet = vec![0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 1, 10, 1, 0, 2];
        packet.extend([3, 4, 0, 0, 0, 0, 0x05, 0x14]);
        packet.extend([0x45, 0, 5, 220, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 1, 0, 2, 10, 9, 0, 1]);
        packet.extend([0x30, 0x39, 0, 80, 1, 2, 3, 4]);
        let expected = IcmpError {
            kind: IcmpErrorKind::PacketTooBig { mtu: 1300 },
            local: "10.1.0.2:12345".parse().unwrap(),
            remote: "10.9.0.1:80".parse().unwrap(),
            seq: SeqNum(0x0102_0304),
        };
        assert_eq!(IcmpError::parse(&packet), Some(expected));
        // Source quench, time exceeded, parameter problem.
        for kind in [4, 11, 12] {
            let mut other = packet.clone();
            (other[20], other[21]) = (kind, 0);
            assert_eq!(IcmpError::parse(&other), None);
        }
        // About UDP, or cut short: nothing for us.
        let mut udp = packet.clone();
        udp[37] = 17;
        assert_eq!(IcmpError::parse(&udp), None);
        assert_eq!(IcmpError::parse(&packet[..packet.len() - 1]), None);
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..120), v6: bool) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = if v6 { 0x60 } else { 0x45 };
            }
            let _ = IcmpError::parse(&bytes);
        }
    }
}
