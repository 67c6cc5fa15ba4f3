//! One super-segment into segments.

use bytes::Bytes;

use super::{HeaderBytes, Payload, finish_headers, sequence_of};
use crate::ip::{IPV4_FRAGMENT, IPV4_ID};
use crate::packet::{ChecksumMode, Layout};
use crate::tcp::{FLAGS_OFFSET, SEQ_OFFSET, TcpFlags};

/// Cuts a packet into segments of at most `segment_size` bytes of payload each and hands them to `f` in
/// order: headers and payload. Returns how many there were.
///
/// This is what a network card does: every segment has the same headers, options included, but for
/// lengths, checksums and sequence number; FIN and PSH stay on the last only, CWR on the first only (RFC
/// 3168 section 6.1.2). IPv4 identification counts up unless DF makes it meaningless.
///
/// `headers` is an IP and a TCP header; what follows them is ignored, as are the lengths and checksums in
/// them. A payload no longer than `segment_size`, or a `segment_size` of zero, makes one segment. Headers
/// that are none of TCP/IP, or a segment too long for its length field, make no segment at all.
pub fn split(
    headers: &[u8],
    payload: &[Bytes],
    segment_size: u16,
    mode: ChecksumMode,
    mut f: impl FnMut(&[u8], Payload),
) -> usize {
    let Ok(layout) = Layout::of(headers) else {
        return 0;
    };
    let headers = &headers[..layout.headers];
    let total: usize = payload.iter().map(Bytes::len).sum();
    let size = if segment_size == 0 { total } else { usize::from(segment_size) };
    if headers.len() + size.min(total) > usize::from(u16::MAX) {
        return 0;
    }
    let count = total.div_ceil(size.max(1)).max(1);
    let mut pieces = Pieces { rest: payload, offset: 0 };
    for index in 0..count {
        let payload = pieces.take(size);
        let mut bytes = HeaderBytes::from_slice(headers);
        adapt(&mut bytes, &layout, index, count, index * size);
        finish_headers(&mut bytes, &layout, &payload, mode);
        f(&bytes, payload);
    }
    count
}

/// Makes the headers those of segment `index` of `count`, which begins `offset` bytes into the payload.
fn adapt(bytes: &mut [u8], layout: &Layout, index: usize, count: usize, offset: usize) {
    if layout.ip.is_v4 && bytes[IPV4_FRAGMENT] & 0x40 == 0 {
        let id = u16::from_be_bytes([bytes[IPV4_ID], bytes[IPV4_ID + 1]]).wrapping_add(index as u16);
        bytes[IPV4_ID..][..2].copy_from_slice(&id.to_be_bytes());
    }
    let tcp = &mut bytes[layout.ip.ip_len..];
    let seq = sequence_of(tcp).wrapping_add(offset as u32);
    tcp[SEQ_OFFSET..][..4].copy_from_slice(&seq.to_be_bytes());
    let mut flags = TcpFlags::from_bits_retain(tcp[FLAGS_OFFSET]);
    if index > 0 {
        flags.remove(TcpFlags::CWR);
    }
    if index + 1 < count {
        flags.remove(TcpFlags::FIN | TcpFlags::PSH);
    }
    tcp[FLAGS_OFFSET] = flags.bits();
}

/// Hands out the payload bit by bit, sharing its memory.
struct Pieces<'a> {
    rest: &'a [Bytes],
    /// How much of the first piece is gone.
    offset: usize,
}

impl Pieces<'_> {
    /// The next `size` bytes, or what is left.
    fn take(&mut self, mut size: usize) -> Payload {
        let mut payload = Payload::new();
        while let [first, rest @ ..] = self.rest
            && size > 0
        {
            let len = size.min(first.len() - self.offset);
            if len > 0 {
                payload.push(first.slice(self.offset..self.offset + len));
            }
            size -= len;
            self.offset += len;
            if self.offset == first.len() {
                self.rest = rest;
                self.offset = 0;
            }
        }
        payload
    }
}
