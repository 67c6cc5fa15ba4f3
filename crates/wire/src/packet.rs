//! Whole headers: IP, TCP and options, read and written in one go.

use arrayvec::ArrayVec;
use bytes::Bytes;

use crate::checksum::{Checksum, pseudo_header};
use crate::cursor::Writer;
use crate::error::ParseError;
use crate::ip::{self, IpHeader, IpLayout};
use crate::options::{MAX_OPTIONS_LEN, TcpOptions};
use crate::tcp::{self, TCP_HEADER_LEN, TcpHeader};

/// Length of the longest headers we emit: IPv6, TCP and all of its options.
pub const MAX_HEADER_LEN: usize = ip::IPV6_LEN + TCP_HEADER_LEN + MAX_OPTIONS_LEN;

/// Room for the headers of one packet of ours.
pub type HeaderBuf = ArrayVec<u8, MAX_HEADER_LEN>;

/// The headers of one packet as values.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Segment {
    /// The IP header.
    pub ip: IpHeader,
    /// The TCP header.
    pub tcp: TcpHeader,
    /// The TCP options.
    pub options: TcpOptions,
}

/// What goes into the TCP checksum field. (The IPv4 header checksum is always computed.)
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum ChecksumMode {
    /// The checksum over pseudo-header, header and payload.
    #[default]
    Full,
    /// The sum of the pseudo-header alone, not inverted: the device adds the rest (checksum offload).
    Partial,
    /// Zero, where nobody looks at it.
    Zero,
}

/// Where the parts of a packet are.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) ip: IpLayout,
    /// Length of all headers, in bytes.
    pub(crate) headers: usize,
}

impl Layout {
    /// Checks the bytes up to the end of the TCP header.
    #[inline]
    pub(crate) fn of(bytes: &[u8]) -> Result<Layout, ParseError> {
        let ip = ip::locate(bytes)?;
        let truncated = |need| ParseError::Truncated { header: "TCP", have: bytes.len(), need };
        let tcp = bytes.get(ip.ip_len..).unwrap_or_default();
        let fixed = tcp.first_chunk::<TCP_HEADER_LEN>().ok_or(truncated(ip.ip_len + TCP_HEADER_LEN))?;
        let words = fixed[tcp::DATA_OFFSET] >> 4;
        if words < 5 {
            return Err(ParseError::DataOffset(words));
        }
        let headers = ip.ip_len + usize::from(words) * 4;
        if bytes.len() < headers {
            return Err(truncated(headers));
        }
        Ok(Layout { ip, headers })
    }

    /// Length of the TCP header with its options, in bytes.
    pub(crate) const fn tcp_len(&self) -> usize {
        self.headers - self.ip.ip_len
    }
}

/// Length of IP and TCP headers together, in bytes, of an IP packet that begins with `bytes`.
///
/// # Errors
///
/// If `bytes` do not begin with the whole headers of a TCP/IP packet.
pub fn header_len(bytes: &[u8]) -> Result<usize, ParseError> {
    Layout::of(bytes).map(|layout| layout.headers)
}

/// Reads the headers of an IP packet. Returns them with their length and that of the payload behind them,
/// in bytes, by the IP header: `bytes` may hold less than that (the headers only) or more (padding of the
/// link).
///
/// IPv4 options and the IPv6 extension headers hop-by-hop, routing and destination options are skipped.
/// The IPv4 header checksum is verified; for that of TCP see [`verify_checksum`].
///
/// # Errors
///
/// If `bytes` do not begin with the whole headers of an unfragmented TCP/IP packet.
pub fn parse_headers(bytes: &[u8]) -> Result<(Segment, usize, usize), ParseError> {
    let layout = Layout::of(bytes)?;
    let Layout { ip: IpLayout { is_v4, ip_len, total_len }, headers } = layout;
    let payload_len = total_len.checked_sub(headers).ok_or(ParseError::TotalLength { total: total_len, headers })?;
    if is_v4 && !sums_to_ones(&bytes[..ip_len]) {
        return Err(ParseError::Ipv4Checksum);
    }
    // Not reached: the layout has been checked.
    let cut = ParseError::Truncated { header: "TCP", have: bytes.len(), need: headers };
    let mut segment = Segment {
        ip: IpHeader::parse(bytes).ok_or(cut)?,
        tcp: TcpHeader::parse(&bytes[ip_len..]).ok_or(cut)?,
        options: TcpOptions::default(),
    };
    // [9293-MUST-5]
    segment.options.read(&bytes[ip_len + TCP_HEADER_LEN..headers]);
    Ok((segment, headers, payload_len))
}

fn sums_to_ones(header: &[u8]) -> bool {
    let mut sum = Checksum::new();
    sum.add_bytes(header);
    sum.fold() == 0xffff
}

/// Writes the headers of a packet that will carry `payload`; what was in `out` before is gone.
///
/// # Panics
///
/// If the addresses are of different families, the options longer than 40 bytes (see
/// [`fit`](crate::fit)) or the packet longer than its IP length field can say.
pub fn emit_headers(seg: &Segment, payload: &[Bytes], mode: ChecksumMode, out: &mut HeaderBuf) {
    let Segment { ip, tcp, options } = seg;
    let options_len = options.emitted_len();
    assert!(options_len <= MAX_OPTIONS_LEN, "{options_len} bytes of options: use `fit`");
    let ip_len = ip.emitted_len();
    let header_len = TCP_HEADER_LEN + options_len;
    let tcp_len = header_len + payload.iter().map(Bytes::len).sum::<usize>();

    *out = HeaderBuf::from([0; MAX_HEADER_LEN]);
    out.truncate(ip_len + header_len);
    let (ip_bytes, tcp_bytes) = out.split_at_mut(ip_len);
    ip.emit(tcp_len, ip_bytes);
    tcp.emit(header_len, &mut Writer::new(tcp_bytes));
    options.emit(&mut tcp_bytes[TCP_HEADER_LEN..]);

    let pseudo = pseudo_header(ip.src, ip.dst, tcp_len as u32);
    write_tcp_checksum(tcp_bytes, pseudo, payload, mode);
}

/// Fills in the checksum field of a TCP header in which it is zero.
pub(crate) fn write_tcp_checksum(tcp_header: &mut [u8], pseudo: Checksum, payload: &[Bytes], mode: ChecksumMode) {
    let value = match mode {
        ChecksumMode::Zero => 0,
        ChecksumMode::Partial => pseudo.fold(),
        // [9293-MUST-2]
        ChecksumMode::Full => {
            let mut sum = pseudo;
            sum.add_bytes(tcp_header);
            for piece in payload {
                sum.add_bytes(piece);
            }
            sum.finish()
        }
    };
    tcp_header[tcp::CHECKSUM_OFFSET..][..2].copy_from_slice(&value.to_be_bytes());
}

/// The sum over the pseudo-header of a packet with these header bytes and `payload_len` bytes behind them.
pub(crate) fn pseudo_header_of(headers: &[u8], layout: &Layout, payload_len: usize) -> Checksum {
    // Both addresses stand together: after 12 bytes in IPv4, after 8 in IPv6.
    let addresses = if layout.ip.is_v4 { &headers[12..20] } else { &headers[8..40] };
    let mut sum = Checksum::new();
    sum.add_bytes(addresses);
    sum.add_u16(6);
    sum.add_u32((layout.tcp_len() + payload_len) as u32);
    sum
}

/// Whether the TCP checksum of a packet is right, given its IP and TCP headers and all of its payload.
/// `false` too if `headers` are none.
#[must_use]
pub fn verify_checksum(headers: &[u8], payload: &[u8]) -> bool {
    let Ok(layout) = Layout::of(headers) else {
        return false;
    };
    let mut sum = pseudo_header_of(headers, &layout, payload.len());
    sum.add_bytes(&headers[layout.ip.ip_len..layout.headers]);
    sum.add_bytes(payload);
    sum.fold() == 0xffff
}
