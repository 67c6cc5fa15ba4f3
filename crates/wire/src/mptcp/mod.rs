//! The options of Multipath TCP version 1 (RFC 8684 section 3), one file for each.

mod add_addr;
mod capable;
mod dss;
mod fail;
mod fastclose;
mod join;
mod prio;
mod remove_addr;
mod tcprst;
mod text;

pub use add_addr::AddAddr;
pub use capable::{CapableFlags, CapableKeys, MpCapable};
pub use dss::{Dss, DssMapping, WireDsn};
pub use fail::MpFail;
pub use fastclose::MpFastclose;
pub use join::MpJoin;
pub use prio::MpPrio;
pub use remove_addr::RemoveAddr;
pub use tcprst::{MpTcprst, ResetReason};

use crate::cursor::Writer;

/// The TCP option kind of Multipath TCP (RFC 8684 section 7.1).
pub const KIND: u8 = 30;

/// The version this crate speaks (RFC 8684 section 3.1).
pub const VERSION: u8 = 1;

/// Option subtypes (RFC 8684 section 7.2): the upper four bits of the option's third byte.
mod subtype {
    pub(super) const MP_CAPABLE: u8 = 0x0;
    pub(super) const MP_JOIN: u8 = 0x1;
    pub(super) const DSS: u8 = 0x2;
    pub(super) const ADD_ADDR: u8 = 0x3;
    pub(super) const REMOVE_ADDR: u8 = 0x4;
    pub(super) const MP_PRIO: u8 = 0x5;
    pub(super) const MP_FAIL: u8 = 0x6;
    pub(super) const MP_FASTCLOSE: u8 = 0x7;
    pub(super) const MP_TCPRST: u8 = 0x8;
}

/// Any option of Multipath TCP.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum MptcpOption {
    /// Offers or accepts Multipath TCP on a new connection.
    MpCapable(MpCapable),
    /// Joins a new subflow to a connection.
    MpJoin(MpJoin),
    /// Maps subflow to connection sequence numbers, and acknowledges at the connection.
    Dss(Dss),
    /// Announces an address, or echoes an announcement.
    AddAddr(AddAddr),
    /// Withdraws addresses.
    RemoveAddr(RemoveAddr),
    /// Changes a subflow's priority.
    MpPrio(MpPrio),
    /// Reports a failed checksum, or a fallback.
    MpFail(MpFail),
    /// Closes the connection at once.
    MpFastclose(MpFastclose),
    /// Says why a subflow is reset.
    MpTcprst(MpTcprst),
}

impl MptcpOption {
    /// Reads an option from what follows its kind and length bytes. `None` if the subtype is unknown or
    /// the body malformed: RFC 8684 section 3 has such an option ignored.
    #[must_use]
    pub fn parse(data: &[u8]) -> Option<MptcpOption> {
        // [8684-3-5]
        match data.first()? >> 4 {
            subtype::MP_CAPABLE => MpCapable::parse(data).map(Self::MpCapable),
            subtype::MP_JOIN => MpJoin::parse(data).map(Self::MpJoin),
            subtype::DSS => Dss::parse(data).map(Self::Dss),
            subtype::ADD_ADDR => AddAddr::parse(data).map(Self::AddAddr),
            subtype::REMOVE_ADDR => RemoveAddr::parse(data).map(Self::RemoveAddr),
            subtype::MP_PRIO => MpPrio::parse(data).map(Self::MpPrio),
            subtype::MP_FAIL => MpFail::parse(data).map(Self::MpFail),
            subtype::MP_FASTCLOSE => MpFastclose::parse(data).map(Self::MpFastclose),
            subtype::MP_TCPRST => MpTcprst::parse(data).map(Self::MpTcprst),
            _ => None,
        }
    }

    /// Length on the wire in bytes, kind and length included, padding not.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        match self {
            Self::MpCapable(o) => o.wire_len(),
            Self::MpJoin(o) => o.wire_len(),
            Self::Dss(o) => o.wire_len(),
            Self::AddAddr(o) => o.wire_len(),
            Self::RemoveAddr(o) => o.wire_len(),
            Self::MpPrio(_) => MpPrio::WIRE_LEN,
            Self::MpFail(_) => MpFail::WIRE_LEN,
            Self::MpFastclose(_) => MpFastclose::WIRE_LEN,
            Self::MpTcprst(_) => MpTcprst::WIRE_LEN,
        }
    }

    pub(crate) fn emit(&self, out: &mut Writer<'_>) {
        // An option is at most 40 bytes long wherever it is emitted, so its length fits.
        out.bytes(&[KIND, self.wire_len() as u8]);
        match self {
            Self::MpCapable(o) => o.emit(out),
            Self::MpJoin(o) => o.emit(out),
            Self::Dss(o) => o.emit(out),
            Self::AddAddr(o) => o.emit(out),
            Self::RemoveAddr(o) => o.emit(out),
            Self::MpPrio(o) => o.emit(out),
            Self::MpFail(o) => o.emit(out),
            Self::MpFastclose(o) => o.emit(out),
            Self::MpTcprst(o) => o.emit(out),
        }
    }
}

/// The option's third byte: subtype and the four bits that follow it.
const fn head(subtype: u8, low: u8) -> u8 {
    subtype << 4 | low & 0x0f
}

macro_rules! into_option {
    ($($name:ident),*) => {$(
        impl From<$name> for MptcpOption {
            fn from(option: $name) -> MptcpOption {
                MptcpOption::$name(option)
            }
        }
    )*};
}

into_option!(MpCapable, MpJoin, Dss, AddAddr, RemoveAddr, MpPrio, MpFail, MpFastclose, MpTcprst);
