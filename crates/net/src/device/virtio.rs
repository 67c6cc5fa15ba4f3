//! The virtio-net header in front of every packet on a TUN device opened with `IFF_VNET_HDR`.
//!
//! It carries what a network card would be told in a descriptor: where the checksum is to be
//! filled in, and how large the segments are into which a super-packet is to be cut. The layout is
//! that of VIRTIO 1.x section 5.1.6 without `num_buffers`, in the byte order of the host (legacy).

use polypath_wire::HeaderBuf;

/// Length of the encoded header in bytes; told to the kernel by `TUNSETVNETHDRSZ`.
pub(crate) const VIRTIO_NET_HDR_LEN: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum field holds the pseudo-header sum only.
const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_F_DATA_VALID`: the checksum has been verified further down.
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
/// Set beside the type where the first segment carries CWR (RFC 3168: on that one only).
const GSO_ECN: u8 = 0x80;

/// Offset of the checksum field inside the TCP header.
const TCP_CHECKSUM_OFFSET: u16 = 16;
/// Offset of the flags byte inside the TCP header.
const TCP_FLAGS_OFFSET: usize = 13;
const TCP_CWR: u8 = 0x80;

/// The header as a value. All fields are as the kernel means them; see `virtio_net.h`.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct VirtioNetHdr {
    pub(crate) flags: u8,
    pub(crate) gso_type: u8,
    /// Length of IP and TCP header together. Not reliable on packets read: parse those.
    pub(crate) hdr_len: u16,
    /// Payload bytes of each segment.
    pub(crate) gso_size: u16,
    /// Where the checksum starts: the IP header's length.
    pub(crate) csum_start: u16,
    /// Where the checksum goes, from `csum_start`.
    pub(crate) csum_offset: u16,
}

impl VirtioNetHdr {
    /// The header for a TCP packet whose checksum field holds the pseudo-header sum.
    ///
    /// `payload_len` bytes follow `headers`; with `segment_size` the packet is to be cut into
    /// segments of that many payload bytes. A packet that fits one segment is not marked for
    /// segmentation: the kernel drops such silently where it is longer than the MTU.
    pub(crate) fn for_tcp(headers: &HeaderBuf, payload_len: usize, segment_size: Option<u16>) -> Self {
        let v6 = headers.first().is_some_and(|byte| byte >> 4 == 6);
        let ip_len = if v6 { 40 } else { usize::from(headers.first().map_or(0, |byte| byte & 0x0f)) * 4 };
        let mut header = Self {
            flags: NEEDS_CSUM,
            gso_type: GSO_NONE,
            hdr_len: headers.len() as u16,
            gso_size: 0,
            csum_start: ip_len as u16,
            csum_offset: TCP_CHECKSUM_OFFSET,
        };
        if let Some(size) = segment_size.filter(|size| payload_len > usize::from(*size)) {
            header.gso_size = size;
            header.gso_type = if v6 { GSO_TCPV6 } else { GSO_TCPV4 };
            let flags = headers.get(ip_len + TCP_FLAGS_OFFSET).copied().unwrap_or(0);
            if flags & TCP_CWR != 0 {
                header.gso_type |= GSO_ECN;
            }
        }
        header
    }

    /// Whether the transport checksum of a packet read needs no check in user space: either the
    /// packet never left this machine (`NEEDS_CSUM`), or a card has verified it (`DATA_VALID`).
    pub(crate) fn checksum_is_good(&self) -> bool {
        self.flags & (NEEDS_CSUM | DATA_VALID) != 0
    }

    /// Whether the packet is a super-packet, longer than what went over a wire.
    pub(crate) fn is_super_packet(&self) -> bool {
        self.gso_type & !GSO_ECN != GSO_NONE
    }

    pub(crate) fn encode(&self) -> [u8; VIRTIO_NET_HDR_LEN] {
        let Self { flags, gso_type, hdr_len, gso_size, csum_start, csum_offset } = *self;
        let mut out = [0; VIRTIO_NET_HDR_LEN];
        out[0] = flags;
        out[1] = gso_type;
        for (slot, value) in out[2..].chunks_exact_mut(2).zip([hdr_len, gso_size, csum_start, csum_offset]) {
            slot.copy_from_slice(&value.to_ne_bytes());
        }
        out
    }

    /// `None` where `bytes` is too short.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; VIRTIO_NET_HDR_LEN] = bytes.first_chunk()?;
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Some(Self {
            flags: bytes[0],
            gso_type: bytes[1],
            hdr_len: word(2),
            gso_size: word(4),
            csum_start: word(6),
            csum_offset: word(8),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First bytes of an IP and TCP header: what the header is made from.
    fn headers(version: u8, ip_len: usize, tcp_len: usize, flags: u8) -> HeaderBuf {
        let mut bytes = vec![0_u8; ip_len + tcp_len];
        bytes[0] = version << 4 | if version == 4 { (ip_len / 4) as u8 } else { 0 };
        bytes[ip_len + TCP_FLAGS_OFFSET] = flags;
        bytes.iter().copied().collect()
    }

    #[test]
    fn encoding_round_trips_every_field() {
        let header = VirtioNetHdr {
            flags: 1,
            gso_type: 0x81,
            hdr_len: 0x0102,
            gso_size: 0x0304,
            csum_start: 0x0506,
            csum_offset: 0x0708,
        };
        assert_eq!(VirtioNetHdr::decode(&header.encode()), Some(header));
        assert_eq!(VirtioNetHdr::decode(&[0; VIRTIO_NET_HDR_LEN - 1]), None);
    }

    #[test]
    fn fields_lie_where_the_kernel_reads_them() {
        let bytes = VirtioNetHdr::for_tcp(&headers(4, 20, 32, 0x10), 64_000, Some(1448)).encode();
        assert_eq!(bytes[..2], [NEEDS_CSUM, GSO_TCPV4]);
        assert_eq!(bytes[2..4], 52_u16.to_ne_bytes());
        assert_eq!(bytes[4..6], 1448_u16.to_ne_bytes());
        assert_eq!(bytes[6..8], 20_u16.to_ne_bytes());
        assert_eq!(bytes[8..10], 16_u16.to_ne_bytes());
    }

    #[test]
    fn a_super_packet_says_its_family_and_congestion_window_reduced() {
        let v6 = VirtioNetHdr::for_tcp(&headers(6, 40, 20, 0x10), 10_000, Some(1428));
        assert_eq!((v6.gso_type, v6.csum_start, v6.hdr_len), (GSO_TCPV6, 40, 60));
        let cwr = VirtioNetHdr::for_tcp(&headers(4, 20, 20, 0x90), 10_000, Some(1460));
        assert_eq!(cwr.gso_type, GSO_TCPV4 | GSO_ECN);
        assert!(cwr.is_super_packet());
    }

    #[test]
    fn a_packet_of_one_segment_is_not_marked_for_segmentation() {
        for segment_size in [None, Some(1460)] {
            let header = VirtioNetHdr::for_tcp(&headers(4, 20, 20, 0x90), 1460, segment_size);
            assert_eq!((header.gso_type, header.gso_size), (GSO_NONE, 0));
            assert!(!header.is_super_packet());
            assert_eq!(header.flags, NEEDS_CSUM);
        }
    }

    #[test]
    fn only_marked_packets_are_trusted() {
        for (flags, good) in [(0, false), (1, true), (2, true), (3, true), (4, false)] {
            let header = VirtioNetHdr { flags, ..Default::default() };
            assert_eq!(header.checksum_is_good(), good, "flags {flags}");
        }
    }
}
