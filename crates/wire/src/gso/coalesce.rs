//! Consecutive segments into one super-segment.

use bytes::Bytes;

use super::{HeaderBytes, Payload, finish_headers, sequence_of};
use crate::ip::{IPV4_CHECKSUM, IPV4_FRAGMENT, IPV4_TOTAL_LENGTH, IPV6_PAYLOAD_LENGTH};
use crate::packet::{ChecksumMode, Layout};
use crate::tcp::{CHECKSUM_OFFSET, FLAGS_OFFSET, SEQ_OFFSET, TcpFlags};

/// The longest packet that coalescing makes, in bytes: what an IPv4 length field can say.
const MAX_PACKET: usize = 65_535;

/// A segment with one of these ends the super-segment it is merged into.
const LAST: TcpFlags = TcpFlags::FIN.union(TcpFlags::PSH);

/// A segment with one of these is merged with nothing.
const ALONE: TcpFlags = TcpFlags::SYN.union(TcpFlags::RST).union(TcpFlags::URG);

/// One packet as it leaves the [`Coalescer`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Coalesced {
    /// IP and TCP headers, lengths and checksums right for the whole.
    pub headers: HeaderBytes,
    /// The payload of all its segments.
    pub payload: Payload,
    /// Payload of each of its segments but the last, in bytes. `None` if there is only one segment; it is
    /// then as it came in, checksum included.
    pub segment_size: Option<u16>,
}

/// Merges consecutive segments of a flow into super-segments, as GRO does.
///
/// One packet is held at a time. A segment is merged into it if its payload follows immediately and its
/// headers are the same, options, window and acknowledgment included, but for PSH and FIN, which end the
/// packet, and a CWR on the first. No checksum is verified: do that first, as GRO does, and offer only
/// what is right.
#[derive(Clone, Debug, Default)]
pub struct Coalescer {
    mode: ChecksumMode,
    held: Option<Held>,
}

#[derive(Clone, Debug)]
struct Held {
    headers: HeaderBytes,
    payload: Payload,
    payload_len: usize,
    /// Payload of the first segment, in bytes.
    segment_size: usize,
    /// `None`: these headers are not TCP/IP, or nothing more may be merged into the first segment.
    layout: Option<Layout>,
    /// Nothing may follow in the same packet.
    complete: bool,
}

impl Coalescer {
    /// An empty coalescer. `mode` says what is put into the checksum field of merged packets.
    #[must_use]
    pub const fn new(mode: ChecksumMode) -> Self {
        Coalescer { mode, held: None }
    }

    /// Takes the next packet, given as its IP and TCP headers and its payload. If it cannot be merged into
    /// the packet held until now, returns that one and holds the new one instead.
    ///
    /// What is not TCP/IP is held like any other and merged with nothing.
    pub fn push(&mut self, headers: &[u8], payload: Bytes) -> Option<Coalesced> {
        if let Some(held) = &mut self.held
            && let Some(flags) = held.successor(headers, payload.len())
        {
            held.merge(flags, payload);
            return None;
        }
        let earlier = self.flush();
        self.held = Some(Held::new(headers, payload));
        earlier
    }

    /// Returns the packet held until now, as is to be done when no more are at hand.
    pub fn flush(&mut self) -> Option<Coalesced> {
        self.held.take().map(|held| held.finish(self.mode))
    }
}

impl Held {
    fn new(headers: &[u8], payload: Bytes) -> Self {
        let layout = Layout::of(headers).ok().filter(|layout| {
            let flags = flags_of(headers, layout);
            !payload.is_empty() && !flags.intersects(ALONE | LAST)
        });
        Held {
            headers: HeaderBytes::from_slice(layout.map_or(headers, |l| &headers[..l.headers])),
            payload_len: payload.len(),
            segment_size: payload.len(),
            layout,
            complete: layout.is_none(),
            payload: Payload::from_iter([payload]),
        }
    }

    /// The flags of the segment with these headers if it may be merged, that is if this packet, split
    /// again, would give it back.
    fn successor(&self, headers: &[u8], payload_len: usize) -> Option<TcpFlags> {
        let layout = self.layout.filter(|_| !self.complete)?;
        let total = layout.headers + self.payload_len + payload_len;
        if payload_len == 0 || payload_len > self.segment_size || total > MAX_PACKET {
            return None;
        }
        let new = Layout::of(headers).ok()?;
        if (new.ip.is_v4, new.ip.ip_len, new.headers) != (layout.ip.is_v4, layout.ip.ip_len, layout.headers) {
            return None;
        }
        let (held_ip, held_tcp) = self.headers.split_at(layout.ip.ip_len);
        let (ip, tcp) = headers[..new.headers].split_at(new.ip.ip_len);
        let expected = sequence_of(held_tcp).wrapping_add(self.payload_len as u32);
        let (held_flags, flags) = (flags_of(&self.headers, &layout), flags_of(headers, &new));
        // A CWR stays on the first segment when the packet is split again, so a later one cannot have it.
        let differing = held_flags.difference(TcpFlags::CWR) ^ flags;
        let same_flags = differing.difference(LAST).is_empty();
        (sequence_of(tcp) == expected
            && same_flags
            && same_ip_header(held_ip, ip, layout.ip.is_v4)
            && same_tcp_header(held_tcp, tcp))
        .then_some(flags)
    }

    fn merge(&mut self, flags: TcpFlags, payload: Bytes) {
        if let Some(layout) = &self.layout {
            self.headers[layout.ip.ip_len + FLAGS_OFFSET] |= (flags & LAST).bits();
        }
        self.complete = payload.len() < self.segment_size || flags.intersects(LAST);
        self.payload_len += payload.len();
        self.payload.push(payload);
    }

    fn finish(mut self, mode: ChecksumMode) -> Coalesced {
        let mut segment_size = None;
        if let Some(layout) = &self.layout
            && self.payload.len() > 1
        {
            finish_headers(&mut self.headers, layout, &self.payload, mode);
            segment_size = u16::try_from(self.segment_size).ok();
        }
        Coalesced { headers: self.headers, payload: self.payload, segment_size }
    }
}

fn flags_of(headers: &[u8], layout: &Layout) -> TcpFlags {
    TcpFlags::from_bits_retain(headers[layout.ip.ip_len + FLAGS_OFFSET])
}

/// Compares all but length, identification and checksum. Both are of the same length and version.
fn same_ip_header(a: &[u8], b: &[u8], is_v4: bool) -> bool {
    if is_v4 {
        a[..IPV4_TOTAL_LENGTH] == b[..IPV4_TOTAL_LENGTH]
            && a[IPV4_FRAGMENT..IPV4_CHECKSUM] == b[IPV4_FRAGMENT..IPV4_CHECKSUM]
            && a[IPV4_CHECKSUM + 2..] == b[IPV4_CHECKSUM + 2..]
    } else {
        a[..IPV6_PAYLOAD_LENGTH] == b[..IPV6_PAYLOAD_LENGTH]
            && a[IPV6_PAYLOAD_LENGTH + 2..] == b[IPV6_PAYLOAD_LENGTH + 2..]
    }
}

/// Compares all but sequence number, flags and checksum. Both are of the same length.
fn same_tcp_header(a: &[u8], b: &[u8]) -> bool {
    a[..SEQ_OFFSET] == b[..SEQ_OFFSET]
        && a[SEQ_OFFSET + 4..FLAGS_OFFSET] == b[SEQ_OFFSET + 4..FLAGS_OFFSET]
        && a[FLAGS_OFFSET + 1..CHECKSUM_OFFSET] == b[FLAGS_OFFSET + 1..CHECKSUM_OFFSET]
        && a[CHECKSUM_OFFSET + 2..] == b[CHECKSUM_OFFSET + 2..]
}
