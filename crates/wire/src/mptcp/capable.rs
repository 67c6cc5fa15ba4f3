//! MP_CAPABLE (RFC 8684 section 3.1).

use super::{head, subtype};
use crate::cursor::{Reader, Writer};
use crate::keys::Key;

bitflags::bitflags! {
    /// The flags A to H of MP_CAPABLE. Bits without a name are kept as they came.
    #[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
    pub struct CapableFlags: u8 {
        /// A: the sender requires DSS checksums.
        const CHECKSUM_REQUIRED = 0x80;
        /// B: an extension we do not know; the option must then be ignored.
        const EXTENSIBILITY = 0x40;
        /// C: do not open subflows to the address and port of this one.
        const NO_JOIN_INITIAL = 0x20;
        /// H: HMAC-SHA256, the only algorithm there is.
        const HMAC_SHA256 = 0x01;
    }
}

/// Offers Multipath TCP in the first three segments of a connection and hands over the keys.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct MpCapable {
    /// Protocol version, 0 to 15; [`VERSION`](super::VERSION) is the one this crate describes.
    pub version: u8,
    /// Flags A to H.
    pub flags: CapableFlags,
    /// What the option carries, which tells its four forms apart.
    pub keys: CapableKeys,
}

/// The four forms of MP_CAPABLE, told apart by their length.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum CapableKeys {
    /// SYN, 4 bytes.
    Syn,
    /// SYN/ACK, 12 bytes. A SYN of version 0 has this form too: look at the version first.
    SynAck {
        /// Key of the host that sends the SYN/ACK.
        sender: Key,
    },
    /// Third ACK, 20 bytes.
    Ack {
        /// Key of the host that sends the ACK.
        sender: Key,
        /// Key of its peer.
        receiver: Key,
    },
    /// The first segment with data, 22 or 24 bytes; acts as the mapping of that data too.
    Data {
        /// Key of the host that sends the data.
        sender: Key,
        /// Key of its peer.
        receiver: Key,
        /// Length of the mapping in octets; it starts at IDSN + 1.
        data_len: u16,
        /// Checksum of the mapping, if negotiated.
        checksum: Option<u16>,
    },
}

impl MpCapable {
    pub(super) fn parse(data: &[u8]) -> Option<MpCapable> {
        let mut fields = Reader::new(data);
        let [first, flags] = fields.array()?;
        // [8684-3.1-4]
        let keys = match data.len() + 2 {
            4 => CapableKeys::Syn,
            12 => CapableKeys::SynAck { sender: Key(fields.u64()?) },
            20 => CapableKeys::Ack { sender: Key(fields.u64()?), receiver: Key(fields.u64()?) },
            22 | 24 => CapableKeys::Data {
                sender: Key(fields.u64()?),
                receiver: Key(fields.u64()?),
                data_len: fields.u16()?,
                checksum: fields.u16(),
            },
            _ => return None,
        };
        let flags = CapableFlags::from_bits_retain(flags);
        Some(MpCapable { version: first & 0x0f, flags, keys })
    }

    pub(super) const fn wire_len(&self) -> usize {
        match self.keys {
            CapableKeys::Syn => 4,
            CapableKeys::SynAck { .. } => 12,
            CapableKeys::Ack { .. } => 20,
            CapableKeys::Data { checksum: None, .. } => 22,
            CapableKeys::Data { checksum: Some(_), .. } => 24,
        }
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) {
        // [8684-3.1-7]
        out.u8(head(subtype::MP_CAPABLE, self.version));
        out.u8(self.flags.bits());
        match self.keys {
            CapableKeys::Syn => {}
            CapableKeys::SynAck { sender } => out.u64(sender.0),
            CapableKeys::Ack { sender, receiver } => {
                out.u64(sender.0);
                out.u64(receiver.0);
            }
            CapableKeys::Data { sender, receiver, data_len, checksum } => {
                out.u64(sender.0);
                out.u64(receiver.0);
                out.u16(data_len);
                if let Some(checksum) = checksum {
                    out.u16(checksum);
                }
            }
        }
    }
}
