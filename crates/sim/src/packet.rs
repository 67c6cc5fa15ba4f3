//! A packet on its way: header bytes as on the wire, payload by reference.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{Bytes, BytesMut};
use polypath_proto::{Transmit, TransmitBuf};
use polypath_wire::{ChecksumMode, HeaderBuf, ParseError, Segment, emit_headers, parse_headers};

/// One IP packet. The payload is moved from hop to hop, never copied.
#[derive(Clone, Debug)]
pub struct Packet {
    /// IP and TCP header.
    pub headers: HeaderBuf,
    /// What follows them.
    pub payload: Bytes,
}

/// What routers see of a packet.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Flow {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
}

impl Packet {
    /// Builds a packet from header values.
    pub fn new(segment: &Segment, payload: Bytes, checksum: ChecksumMode) -> Self {
        let mut headers = HeaderBuf::new();
        emit_headers(segment, std::slice::from_ref(&payload), checksum, &mut headers);
        Self { headers, payload }
    }

    /// The packet with other headers and payload, as a box makes it that mends the checksum by what it changed: one that
    /// was wrong stays wrong.
    #[must_use]
    pub fn rewrite(&self, segment: &Segment, payload: Bytes) -> Self {
        let mut new = Self::new(segment, payload, ChecksumMode::Full);
        if !self.is_sound() {
            let at = new.checksum_offset();
            new.headers[at] ^= 0x55;
        }
        new
    }

    /// Whether its TCP checksum is right, or left to hardware that is not simulated.
    pub(crate) fn is_sound(&self) -> bool {
        let at = self.checksum_offset();
        let offloaded = self.headers.get(at..at + 2).is_none_or(|sum| sum == [0, 0]);
        offloaded || polypath_wire::verify_checksum(&self.headers, &self.payload)
    }

    fn checksum_offset(&self) -> usize {
        let ip = match self.headers.first() {
            Some(first) if first >> 4 == 4 => usize::from(first & 0xf) * 4,
            _ => 40,
        };
        ip + 16
    }

    /// Length of the IP packet in bytes.
    pub fn len(&self) -> u32 {
        (self.headers.len() + self.payload.len()) as u32
    }

    /// Whether there is no packet: never true.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The headers as values.
    ///
    /// # Errors
    /// Whatever is wrong with the headers; nothing is for a packet that a stack made.
    pub fn segment(&self) -> Result<Segment, ParseError> {
        parse_headers(&self.headers).map(|(segment, _, _)| segment)
    }

    /// Addresses and ports, read at fixed offsets; `None` for a packet that is not TCP over IP.
    pub fn flow(&self) -> Option<Flow> {
        let bytes = &self.headers[..];
        let (src, dst, tcp) = match bytes.first()? >> 4 {
            4 => {
                let addresses: &[u8; 8] = bytes.get(12..20)?.try_into().ok()?;
                let [a, b, c, d, e, f, g, h] = *addresses;
                let tcp = usize::from(bytes[0] & 0xf) * 4;
                (Ipv4Addr::new(a, b, c, d).into(), Ipv4Addr::new(e, f, g, h).into(), tcp)
            }
            6 => {
                let src: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
                let dst: [u8; 16] = bytes.get(24..40)?.try_into().ok()?;
                (IpAddr::from(Ipv6Addr::from(src)), IpAddr::from(Ipv6Addr::from(dst)), 40)
            }
            _ => return None,
        };
        let port = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        Some(Flow { src, dst, src_port: port(tcp)?, dst_port: port(tcp + 2)? })
    }
}

impl Flow {
    /// The same connection, seen from the other end.
    #[must_use]
    pub fn reverse(self) -> Self {
        Self { src: self.dst, dst: self.src, src_port: self.dst_port, dst_port: self.src_port }
    }

    /// A number that is the same for all packets of this direction of the connection and differs between ports: for
    /// equal-cost multipath.
    pub fn hash(&self) -> u64 {
        let mut hash = Digest::default();
        for addr in [self.src, self.dst] {
            match addr {
                IpAddr::V4(addr) => hash.add(&addr.octets()),
                IpAddr::V6(addr) => hash.add(&addr.octets()),
            }
        }
        hash.add(&self.src_port.to_be_bytes());
        hash.add(&self.dst_port.to_be_bytes());
        hash.value()
    }
}

/// Cuts what a stack sent into the packets that leave the network interface. Cheap: the payload is sliced, and copied
/// only where a packet spans two of the stack's buffers.
pub(crate) fn cut(transmit: &Transmit, sent: &TransmitBuf, checksum: ChecksumMode, packets: &mut Vec<Packet>) {
    match transmit.segment_size {
        None => {
            let headers = sent.headers.clone();
            packets.push(Packet { headers, payload: join(&sent.payload) });
        }
        Some(size) => {
            polypath_wire::gso::split(&sent.headers, &sent.payload, size, checksum, |headers, payload| {
                let headers = headers.try_into().expect("the headers of a segment are those of its super-segment");
                packets.push(Packet { headers, payload: join(&payload) });
            });
        }
    }
}

/// Several pieces of payload as one; copied only if there are several.
pub(crate) fn join(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [] => Bytes::new(),
        [piece] => piece.clone(),
        pieces => {
            let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
            for piece in pieces {
                whole.extend_from_slice(piece);
            }
            whole.freeze()
        }
    }
}

/// A running 64-bit digest of what happened, to compare two runs. Not cryptographic.
#[derive(Copy, Clone, Debug)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Adds bytes, eight at a time.
    pub fn add(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.add_u64(u64::from_le_bytes(chunk.try_into().expect("chunks of eight")));
        }
        let mut last = [0; 8];
        let rest = chunks.remainder();
        last[..rest.len()].copy_from_slice(rest);
        self.add_u64(u64::from_le_bytes(last) ^ ((bytes.len() as u64) << 56));
    }

    /// Adds a number.
    pub fn add_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    /// The digest of what was added so far.
    pub fn value(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 29)
    }
}
