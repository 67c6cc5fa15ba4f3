//! REMOVE_ADDR (RFC 8684 section 3.4.2).

use arrayvec::ArrayVec;

use super::{head, subtype};
use crate::cursor::Writer;

/// Withdraws addresses that the sender announced or used before.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct RemoveAddr {
    /// IDs of the addresses, at least one. A received option with more than fit here is treated as
    /// malformed; Linux sends and reads no more than eight.
    pub ids: ArrayVec<u8, 17>,
}

impl RemoveAddr {
    pub(super) fn parse(data: &[u8]) -> Option<RemoveAddr> {
        let (_, ids) = data.split_first()?;
        if ids.is_empty() {
            return None;
        }
        ArrayVec::try_from(ids).ok().map(|ids| RemoveAddr { ids })
    }

    pub(super) const fn wire_len(&self) -> usize {
        3 + self.ids.len()
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) {
        out.u8(head(subtype::REMOVE_ADDR, 0));
        out.bytes(&self.ids);
    }
}

impl FromIterator<u8> for RemoveAddr {
    /// Takes the first 17 IDs.
    fn from_iter<I: IntoIterator<Item = u8>>(ids: I) -> Self {
        RemoveAddr { ids: ids.into_iter().take(17).collect() }
    }
}
