//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers.

use core::net::IpAddr;
use core::net::{Ipv4Addr, Ipv6Addr};

use crate::checksum::Checksum;
use crate::cursor::{Reader, Writer};
use crate::error::ParseError;

pub(crate) const IPV4_LEN: usize = 20;
pub(crate) const IPV6_LEN: usize = 40;
pub(crate) const IPV4_TOTAL_LENGTH: usize = 2;
pub(crate) const IPV4_ID: usize = 4;
pub(crate) const IPV4_FRAGMENT: usize = 6;
pub(crate) const IPV4_CHECKSUM: usize = 10;
pub(crate) const IPV6_PAYLOAD_LENGTH: usize = 4;

const TCP: u8 = 6;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS_AND_OFFSET: u16 = 0x3fff;

/// Explicit congestion notification: the two lowest bits of the traffic class (RFC 3168 section 5).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Ecn {
    /// The transport does not know ECN.
    #[default]
    NotEct,
    /// ECN-capable transport, codepoint 0.
    Ect0,
    /// ECN-capable transport, codepoint 1.
    Ect1,
    /// Congestion experienced.
    Ce,
}

impl Ecn {
    /// The codepoint in the two lowest bits of `traffic_class`.
    #[must_use]
    pub const fn from_bits(traffic_class: u8) -> Self {
        match traffic_class & 0b11 {
            0b00 => Ecn::NotEct,
            0b10 => Ecn::Ect0,
            0b01 => Ecn::Ect1,
            _ => Ecn::Ce,
        }
    }

    /// The codepoint as the two lowest bits of the traffic class.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Ecn::NotEct => 0b00,
            Ecn::Ect0 => 0b10,
            Ecn::Ect1 => 0b01,
            Ecn::Ce => 0b11,
        }
    }
}

/// What TCP needs of an IP header, of either version.
///
/// IPv4 is emitted with DF set, identification 0 (RFC 6864 section 4.1: an atomic datagram) and no
/// options; IPv6 with flow label 0 and no extension headers.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct IpHeader {
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family as the source.
    pub dst: IpAddr,
    /// Time to live or hop limit.
    pub hop_limit: u8,
    /// Explicit congestion notification.
    pub ecn: Ecn,
    /// Differentiated services codepoint, 0 to 63 (RFC 2474).
    pub dscp: u8,
}

impl IpHeader {
    /// Hop limit of packets we make, as Linux and most others use.
    pub const DEFAULT_HOP_LIMIT: u8 = 64;

    /// A header with the default hop limit, no ECN and best-effort service.
    #[must_use]
    pub const fn new(src: IpAddr, dst: IpAddr) -> Self {
        IpHeader { src, dst, hop_limit: Self::DEFAULT_HOP_LIMIT, ecn: Ecn::NotEct, dscp: 0 }
    }

    /// Length of the header when emitted, in bytes.
    #[must_use]
    pub const fn emitted_len(&self) -> usize {
        match self.src {
            IpAddr::V4(_) => IPV4_LEN,
            IpAddr::V6(_) => IPV6_LEN,
        }
    }

    /// Reads the fixed header whose place and lengths [`locate`] has checked.
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Option<IpHeader> {
        let mut fields = Reader::new(bytes);
        let first = fields.u16()?;
        if first >> 12 == 4 {
            let traffic_class = first as u8;
            let _lengths_and_fragment: [u8; 6] = fields.array()?;
            let [hop_limit, _protocol] = fields.array()?;
            let _checksum = fields.u16()?;
            let src = Ipv4Addr::from(fields.u32()?).into();
            let dst = Ipv4Addr::from(fields.u32()?).into();
            Some(Self::with_traffic_class(src, dst, hop_limit, traffic_class))
        } else {
            let _flow_and_length: [u8; 4] = fields.array()?;
            let [_next_header, hop_limit] = fields.array()?;
            let src = Ipv6Addr::from(fields.array::<16>()?).into();
            let dst = Ipv6Addr::from(fields.array::<16>()?).into();
            Some(Self::with_traffic_class(src, dst, hop_limit, (first >> 4) as u8))
        }
    }

    const fn with_traffic_class(src: IpAddr, dst: IpAddr, hop_limit: u8, class: u8) -> Self {
        IpHeader { src, dst, hop_limit, ecn: Ecn::from_bits(class), dscp: class >> 2 }
    }

    /// Writes the header of a packet that carries `tcp_len` bytes of TCP header and payload.
    ///
    /// # Panics
    ///
    /// If the addresses are of different families or the packet does not fit the length field: bugs of
    /// the caller.
    pub(crate) fn emit(&self, tcp_len: usize, out: &mut [u8]) {
        let traffic_class = self.dscp << 2 | self.ecn.bits();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut w = Writer::new(out);
                w.bytes(&[0x45, traffic_class]);
                w.u16(length_field(IPV4_LEN + tcp_len));
                w.u16(0);
                // [8899-3-2]
                w.u16(DONT_FRAGMENT);
                w.bytes(&[self.hop_limit, TCP]);
                w.u16(0);
                w.bytes(&src.octets());
                w.bytes(&dst.octets());
                write_ipv4_checksum(&mut out[..IPV4_LEN]);
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut w = Writer::new(out);
                w.u32(0x6000_0000 | u32::from(traffic_class) << 20);
                w.u16(length_field(tcp_len));
                w.bytes(&[TCP, self.hop_limit]);
                w.bytes(&src.octets());
                w.bytes(&dst.octets());
            }
            (src, dst) => panic!("addresses of two families in one IP header: {src} and {dst}"),
        }
    }
}

fn length_field(len: usize) -> u16 {
    u16::try_from(len)
        .unwrap_or_else(|_| panic!("{len} bytes are too long for one IP packet: send at most 65,535 with the headers"))
}

/// Computes the checksum of an IPv4 header of any length and puts it in its place.
pub(crate) fn write_ipv4_checksum(header: &mut [u8]) {
    header[IPV4_CHECKSUM..][..2].fill(0);
    let mut sum = Checksum::new();
    sum.add_bytes(header);
    header[IPV4_CHECKSUM..][..2].copy_from_slice(&sum.finish().to_be_bytes());
}

/// Where things are in a packet whose IP header has been checked.
#[derive(Copy, Clone, Debug)]
pub(crate) struct IpLayout {
    pub(crate) is_v4: bool,
    /// Length of the IP header with options or extension headers: where TCP begins.
    pub(crate) ip_len: usize,
    /// Length of the whole packet by the IP header; may be more than the bytes at hand.
    pub(crate) total_len: usize,
}

/// Finds the TCP header behind IPv4 options or IPv6 extension headers. Checks everything but the IPv4
/// header checksum.
pub(crate) fn locate(bytes: &[u8]) -> Result<IpLayout, ParseError> {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => locate_v4(bytes),
        Some(6) => locate_v6(bytes),
        Some(version) => Err(ParseError::IpVersion(version)),
        None => Err(ParseError::Truncated { header: "IPv4", have: 0, need: IPV4_LEN }),
    }
}

fn locate_v4(bytes: &[u8]) -> Result<IpLayout, ParseError> {
    let truncated = |need| ParseError::Truncated { header: "IPv4", have: bytes.len(), need };
    let header = bytes.first_chunk::<IPV4_LEN>().ok_or(truncated(IPV4_LEN))?;
    let words = header[0] & 0x0f;
    if words < 5 {
        return Err(ParseError::Ipv4HeaderLength(words));
    }
    // [9293-MUST-50]
    let ip_len = usize::from(words) * 4;
    if bytes.len() < ip_len {
        return Err(truncated(ip_len));
    }
    if u16::from_be_bytes([header[6], header[7]]) & MORE_FRAGMENTS_AND_OFFSET != 0 {
        return Err(ParseError::Fragment);
    }
    if header[9] != TCP {
        return Err(ParseError::NotTcp(header[9]));
    }
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    Ok(IpLayout { is_v4: true, ip_len, total_len })
}

fn locate_v6(bytes: &[u8]) -> Result<IpLayout, ParseError> {
    let truncated = |header, need| ParseError::Truncated { header, have: bytes.len(), need };
    let header = bytes.first_chunk::<IPV6_LEN>().ok_or(truncated("IPv6", IPV6_LEN))?;
    let total_len = IPV6_LEN + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let mut next_header = header[6];
    let mut ip_len = IPV6_LEN;
    while next_header != TCP {
        // RFC 8200 section 4: hop-by-hop options, routing, fragment, destination options.
        if !matches!(next_header, 0 | 43 | 44 | 60) {
            return Err(ParseError::NotTcp(next_header));
        }
        if next_header == 44 {
            return Err(ParseError::Fragment);
        }
        let extension = bytes
            .get(ip_len..)
            .and_then(|rest| rest.first_chunk::<8>())
            .ok_or(truncated("IPv6 extension", ip_len + 8))?;
        if next_header == 43 && extension[3] != 0 {
            return Err(ParseError::SegmentsLeft(extension[3]));
        }
        next_header = extension[0];
        ip_len += 8 + usize::from(extension[1]) * 8;
    }
    if bytes.len() < ip_len {
        return Err(truncated("IPv6 extension", ip_len));
    }
    Ok(IpLayout { is_v4: false, ip_len, total_len })
}
