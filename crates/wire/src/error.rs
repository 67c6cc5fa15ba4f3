//! Why bytes are not a TCP/IP packet.

/// Why a packet from the network was refused. The culprit is whoever sent it (or a broken path): drop the
/// packet and count it.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    /// The bytes end inside a header.
    #[error("the packet ends inside its {header} header: {have} bytes where at least {need} are needed")]
    Truncated {
        /// The header that is cut off: "IPv4", "IPv6", "IPv6 extension" or "TCP".
        header: &'static str,
        /// How many bytes of the packet there are.
        have: usize,
        /// How many there would have to be, as far as is known.
        need: usize,
    },
    /// Neither 4 nor 6.
    #[error("IP version {0} where 4 or 6 is expected")]
    IpVersion(u8),
    /// An IPv4 header length (in 32-bit words) below the minimum of 5.
    #[error("IPv4 header length of {0} words where at least 5 are needed")]
    Ipv4HeaderLength(u8),
    /// The IPv4 header checksum does not add up (RFC 1122 section 3.2.1.2: discard).
    #[error("the IPv4 header checksum is wrong")]
    Ipv4Checksum,
    /// A fragment of a datagram; TCP with path MTU discovery has none.
    #[error("an IP fragment, which this stack does not reassemble")]
    Fragment,
    /// An IPv6 routing header that says the packet is to travel on.
    #[error("an IPv6 routing header with {0} segments left: the packet is for someone else")]
    SegmentsLeft(u8),
    /// The packet carries another protocol.
    #[error("IP protocol {0} where TCP (6) is expected")]
    NotTcp(u8),
    /// The length in the IP header is smaller than the headers themselves.
    #[error("the IP header says {total} bytes, the headers alone have {headers}")]
    TotalLength {
        /// Length of the packet by its IP header, in bytes.
        total: usize,
        /// Length of the IP and TCP headers, in bytes.
        headers: usize,
    },
    /// A TCP data offset (in 32-bit words) below the minimum of 5.
    #[error("TCP data offset of {0} words where at least 5 are needed")]
    DataOffset(u8),
}
