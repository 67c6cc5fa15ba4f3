//! MP_PRIO (RFC 8684 section 3.3.8).

use super::{head, subtype};
use crate::cursor::Writer;

const BACKUP: u8 = 0x1;

/// Changes the priority of the subflow that carries it.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct MpPrio {
    /// Use this subflow for data to the sender only when no other can be used.
    pub backup: bool,
}

impl MpPrio {
    pub(super) const WIRE_LEN: usize = 3;

    pub(super) fn parse(data: &[u8]) -> Option<MpPrio> {
        match data {
            [first] => Some(MpPrio { backup: first & BACKUP != 0 }),
            _ => None,
        }
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) {
        out.u8(head(subtype::MP_PRIO, self.backup.into()));
    }
}
