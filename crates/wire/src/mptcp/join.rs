//! MP_JOIN (RFC 8684 section 3.2).

use super::{head, subtype};
use crate::cursor::{Reader, Writer};
use crate::keys::Token;

const BACKUP: u8 = 0x1;

/// Joins a subflow to an existing connection, in its first three segments. The forms are told apart by
/// their length.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum MpJoin {
    /// SYN, 12 bytes.
    Syn {
        /// The sender wants this subflow used only when no other can be.
        backup: bool,
        /// ID of the sender's address.
        address_id: u8,
        /// Token of the connection, made from the receiver's key.
        token: Token,
        /// Random number of the sender.
        nonce: u32,
    },
    /// SYN/ACK, 16 bytes.
    SynAck {
        /// The sender wants this subflow used only when no other can be.
        backup: bool,
        /// ID of the sender's address.
        address_id: u8,
        /// Leftmost 64 bits of the sender's HMAC: [`join_synack_hmac`](crate::join_synack_hmac).
        hmac: u64,
        /// Random number of the sender.
        nonce: u32,
    },
    /// Third ACK, 24 bytes.
    Ack {
        /// Leftmost 160 bits of the sender's HMAC: [`join_ack_hmac`](crate::join_ack_hmac).
        hmac: [u8; 20],
    },
}

impl MpJoin {
    pub(super) fn parse(data: &[u8]) -> Option<MpJoin> {
        let mut fields = Reader::new(data);
        let [first, address_id] = fields.array()?;
        let backup = first & BACKUP != 0;
        match data.len() + 2 {
            12 => {
                let (token, nonce) = (Token(fields.u32()?), fields.u32()?);
                Some(MpJoin::Syn { backup, address_id, token, nonce })
            }
            16 => {
                let (hmac, nonce) = (fields.u64()?, fields.u32()?);
                Some(MpJoin::SynAck { backup, address_id, hmac, nonce })
            }
            24 => Some(MpJoin::Ack { hmac: fields.array()? }),
            _ => None,
        }
    }

    pub(super) const fn wire_len(&self) -> usize {
        match self {
            MpJoin::Syn { .. } => 12,
            MpJoin::SynAck { .. } => 16,
            MpJoin::Ack { .. } => 24,
        }
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) {
        match *self {
            MpJoin::Syn { backup, address_id, token, nonce } => {
                out.bytes(&[head(subtype::MP_JOIN, backup.into()), address_id]);
                out.u32(token.0);
                out.u32(nonce);
            }
            MpJoin::SynAck { backup, address_id, hmac, nonce } => {
                out.bytes(&[head(subtype::MP_JOIN, backup.into()), address_id]);
                out.u64(hmac);
                out.u32(nonce);
            }
            MpJoin::Ack { hmac } => {
                // [8684-3.2-5]
                out.bytes(&[head(subtype::MP_JOIN, 0), 0]);
                out.bytes(&hmac);
            }
        }
    }
}
