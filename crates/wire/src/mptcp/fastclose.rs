//! MP_FASTCLOSE (RFC 8684 section 3.5).

use super::{head, subtype};
use crate::cursor::{Reader, Writer};
use crate::keys::Key;

/// Closes the whole connection at once, as RST does a subflow.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct MpFastclose {
    /// Key of the host this is sent to, as proof.
    pub receiver_key: Key,
}

impl MpFastclose {
    pub(super) const WIRE_LEN: usize = 12;

    pub(super) fn parse(data: &[u8]) -> Option<MpFastclose> {
        let mut fields = Reader::new(data);
        let _reserved = fields.u16()?;
        let receiver_key = Key(fields.u64()?);
        fields.is_empty().then_some(MpFastclose { receiver_key })
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) {
        out.bytes(&[head(subtype::MP_FASTCLOSE, 0), 0]);
        out.u64(self.receiver_key.0);
    }
}
