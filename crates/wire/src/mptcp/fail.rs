//! MP_FAIL (RFC 8684 section 3.7).

use super::{head, subtype};
use crate::cursor::{Reader, Writer};

/// Says that a checksum failed: the receiver falls back, or resets the subflow.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct MpFail {
    /// Data sequence number where the mapping that failed begins.
    pub dsn: u64,
}

impl MpFail {
    pub(super) const WIRE_LEN: usize = 12;

    pub(super) fn parse(data: &[u8]) -> Option<MpFail> {
        let mut fields = Reader::new(data);
        let _reserved = fields.u16()?;
        let dsn = fields.u64()?;
        fields.is_empty().then_some(MpFail { dsn })
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) {
        out.bytes(&[head(subtype::MP_FAIL, 0), 0]);
        // [8684-3.7-19]
        out.u64(self.dsn);
    }
}
