//! Segmentation offload in software: [`split`] cuts a super-segment up as a network card does, and
//! [`Coalescer`] puts segments together again as GRO does.
//!
//! Both work on header bytes, not on values: options travel as they are, known or not.

mod coalesce;
mod split;

pub use coalesce::{Coalesced, Coalescer};
pub use split::split;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::checksum::Checksum;
use crate::ip::{self, IPV4_TOTAL_LENGTH, IPV6_PAYLOAD_LENGTH};
use crate::packet::{ChecksumMode, Layout, pseudo_header_of, write_tcp_checksum};
use crate::tcp;

/// The payload of one packet, in pieces that lie one behind the other.
pub type Payload = SmallVec<[Bytes; 2]>;

/// IP and TCP header bytes of one packet; on the heap only with long IPv6 extension headers.
pub type HeaderBytes = SmallVec<[u8; 128]>;

/// Makes lengths and checksums of `headers` right for `payload`.
///
/// `headers` are exactly those that `layout` describes, and the packet is within what its length field
/// can say.
fn finish_headers(headers: &mut [u8], layout: &Layout, payload: &[Bytes], mode: ChecksumMode) {
    let ip_len = layout.ip.ip_len;
    let payload_len = payload.iter().map(Bytes::len).sum::<usize>();
    let total = headers.len() + payload_len;
    if layout.ip.is_v4 {
        headers[IPV4_TOTAL_LENGTH..][..2].copy_from_slice(&(total as u16).to_be_bytes());
        ip::write_ipv4_checksum(&mut headers[..ip_len]);
    } else {
        let length = total - ip::IPV6_LEN;
        headers[IPV6_PAYLOAD_LENGTH..][..2].copy_from_slice(&(length as u16).to_be_bytes());
    }
    let pseudo: Checksum = pseudo_header_of(headers, layout, payload_len);
    let tcp_header = &mut headers[ip_len..];
    tcp_header[tcp::CHECKSUM_OFFSET..][..2].fill(0);
    write_tcp_checksum(tcp_header, pseudo, payload, mode);
}

/// The sequence number in a TCP header.
fn sequence_of(tcp_header: &[u8]) -> u32 {
    let field = &tcp_header[tcp::SEQ_OFFSET..][..4];
    field.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}
