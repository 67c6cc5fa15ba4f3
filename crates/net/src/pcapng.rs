//! Writing pcapng (draft-ietf-opsawg-pcapng): the three blocks that a capture needs, without copying packets together.

use std::io::{self, Write};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
/// Reads back differently in the other byte order. We write little-endian.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// Packets begin with an IPv4 or IPv6 header.
const LINKTYPE_RAW: u16 = 101;

const OPTION_END: u16 = 0;
const SECTION_USER_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_TIMESTAMP_RESOLUTION: u16 = 9;
const PACKET_FLAGS: u16 = 2;
const PACKET_DROP_COUNT: u16 = 4;
/// A power of ten: nanoseconds.
const NANOSECONDS: u8 = 9;

/// Which way a packet went.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    Received,
    Sent,
}

/// A packet and what is known of it.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Packet<'a, P> {
    /// The number of its interface, in the order in which they were described.
    pub(crate) interface: u32,
    /// Nanoseconds since 1970.
    pub(crate) at: u64,
    pub(crate) direction: Direction,
    /// Packets missing since the one before.
    pub(crate) dropped: u64,
    pub(crate) headers: &'a [u8],
    pub(crate) payload: &'a [P],
}

/// Writes one section.
#[derive(Debug)]
pub(crate) struct PcapngWriter<W> {
    out: W,
    /// The block being put together, without packet data.
    block: Vec<u8>,
}

impl<W: Write> PcapngWriter<W> {
    /// Begins a section written by `application`.
    pub(crate) fn new(out: W, application: &str) -> io::Result<Self> {
        let mut writer = Self { out, block: Vec::with_capacity(256) };
        writer.u32(BYTE_ORDER_MAGIC);
        // Version 1.0; the section's length is not known.
        writer.u16(1);
        writer.u16(0);
        writer.block.extend_from_slice(&(-1_i64).to_le_bytes());
        writer.option(SECTION_USER_APPLICATION, application.as_bytes());
        writer.option(OPTION_END, &[]);
        writer.end_block(SECTION_HEADER)?;
        Ok(writer)
    }

    /// Describes the next interface.
    pub(crate) fn interface(&mut self, name: &str) -> io::Result<()> {
        self.u16(LINKTYPE_RAW);
        self.u16(0);
        // Packets are never cut short.
        self.u32(0);
        self.option(INTERFACE_NAME, name.as_bytes());
        self.option(INTERFACE_TIMESTAMP_RESOLUTION, &[NANOSECONDS]);
        self.option(OPTION_END, &[]);
        self.end_block(INTERFACE_DESCRIPTION)
    }

    pub(crate) fn packet<P: AsRef<[u8]>>(&mut self, packet: &Packet<'_, P>) -> io::Result<()> {
        let Packet { interface, at, direction, dropped, headers, payload } = *packet;
        let len = headers.len() + payload.iter().map(|piece| piece.as_ref().len()).sum::<usize>();
        let padding = len.next_multiple_of(4) - len;
        let options = if dropped > 0 { 8 + 12 + 4 } else { 8 + 4 };
        let total = (4 + 4 + 20 + len + padding + options + 4) as u32;
        for value in [ENHANCED_PACKET, total, interface, (at >> 32) as u32, at as u32, len as u32, len as u32] {
            self.u32(value);
        }
        self.block.extend_from_slice(headers);
        self.out.write_all(&self.block)?;
        self.block.clear();
        for piece in payload {
            self.out.write_all(piece.as_ref())?;
        }
        self.block.resize(padding, 0);
        let flags: u32 = match direction {
            Direction::Received => 1,
            Direction::Sent => 2,
        };
        self.option(PACKET_FLAGS, &flags.to_le_bytes());
        if dropped > 0 {
            self.option(PACKET_DROP_COUNT, &dropped.to_le_bytes());
        }
        self.option(OPTION_END, &[]);
        self.u32(total);
        self.out.write_all(&self.block)?;
        self.block.clear();
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn u16(&mut self, value: u16) {
        self.block.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.block.extend_from_slice(&value.to_le_bytes());
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        // Names are interface names: far shorter than what the length field can say.
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.u16(code);
        self.u16(value.len() as u16);
        self.block.extend_from_slice(value);
        let padding = value.len().next_multiple_of(4) - value.len();
        self.block.resize(self.block.len() + padding, 0);
    }

    /// Writes what is in `block` with its type around it.
    fn end_block(&mut self, kind: u32) -> io::Result<()> {
        let total = (self.block.len() + 12) as u32;
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&total.to_le_bytes())?;
        self.out.write_all(&self.block)?;
        self.block.clear();
        self.out.write_all(&total.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type, body and length of each block; both length fields checked.
    fn blocks(mut bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            let total = word(4) as usize;
            assert_eq!((total % 4, word(total - 4) as usize), (0, total));
            found.push((word(0), bytes[8..total - 4].to_vec()));
            bytes = &bytes[total..];
        }
        found
    }

    #[test]
    fn every_block_says_its_length_twice_and_is_padded() {
        for (payload, dropped) in [(&b""[..], 0), (b"a", 0), (b"abc", 7), (b"abcd", 7)] {
            let mut bytes = Vec::new();
            let mut writer = PcapngWriter::new(&mut bytes, "test").unwrap();
            writer.interface("wifi").unwrap();
            let at = 0x0123_4567_89ab_cdef;
            let payload = [payload];
            let packet =
                Packet { interface: 0, at, direction: Direction::Sent, dropped, headers: b"head", payload: &payload };
            writer.packet(&packet).unwrap();
            let blocks = blocks(&bytes);
            assert_eq!(blocks.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [SECTION_HEADER, 1, 6]);
            let body = &blocks[2].1;
            assert_eq!(body[4..8], 0x0123_4567_u32.to_le_bytes());
            assert_eq!(body[8..12], 0x89ab_cdef_u32.to_le_bytes());
            assert_eq!(body[20..24], *b"head");
            assert_eq!(body[24..24 + payload[0].len()], *payload[0]);
        }
    }

    #[test]
    fn an_interface_has_a_name_and_nanoseconds() {
        let mut bytes = Vec::new();
        PcapngWriter::new(&mut bytes, "test").unwrap().interface("lte").unwrap();
        let body = &blocks(&bytes)[1].1;
        assert_eq!(body[..2], LINKTYPE_RAW.to_le_bytes());
        assert_eq!(body[8..16], [2, 0, 3, 0, b'l', b't', b'e', 0]);
        assert_eq!(body[16..24], [9, 0, 1, 0, 9, 0, 0, 0]);
    }
}
