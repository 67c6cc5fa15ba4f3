//! MP_TCPRST (RFC 8684 section 3.6).

use super::{head, subtype};
use crate::cursor::Writer;

const TRANSIENT: u8 = 0x1;

/// Travels on a RST and says why the subflow is reset. The flags U, V and W, which have no meaning yet,
/// are sent as zero and ignored.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct MpTcprst {
    /// T: the condition will pass; trying again later makes sense.
    pub transient: bool,
    /// The reason.
    pub reason: ResetReason,
}

/// Reason codes of MP_TCPRST (RFC 8684 section 3.6 and the registry of its section 7.4).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum ResetReason {
    /// 0x00: no further detail.
    Unspecified,
    /// 0x01: an error in the use of Multipath TCP.
    MptcpSpecific,
    /// 0x02: not enough resources.
    LackOfResources,
    /// 0x03: forbidden by policy.
    AdministrativelyProhibited,
    /// 0x04: too much data outstanding at the sender's side.
    TooMuchOutstandingData,
    /// 0x05: the subflow performs too badly to be kept.
    UnacceptablePerformance,
    /// 0x06: a middlebox on the path interferes.
    MiddleboxInterference,
    /// Any other code. Make it with [`From<u8>`]: a known code in here would not compare equal to the
    /// reason it means.
    Unknown(u8),
}

impl From<u8> for ResetReason {
    fn from(code: u8) -> Self {
        match code {
            // [8684-3.6-6]
            0x00 => ResetReason::Unspecified,
            0x01 => ResetReason::MptcpSpecific,
            0x02 => ResetReason::LackOfResources,
            0x03 => ResetReason::AdministrativelyProhibited,
            0x04 => ResetReason::TooMuchOutstandingData,
            0x05 => ResetReason::UnacceptablePerformance,
            0x06 => ResetReason::MiddleboxInterference,
            code => ResetReason::Unknown(code),
        }
    }
}

impl From<ResetReason> for u8 {
    fn from(reason: ResetReason) -> u8 {
        match reason {
            ResetReason::Unspecified => 0x00,
            ResetReason::MptcpSpecific => 0x01,
            ResetReason::LackOfResources => 0x02,
            ResetReason::AdministrativelyProhibited => 0x03,
            ResetReason::TooMuchOutstandingData => 0x04,
            ResetReason::UnacceptablePerformance => 0x05,
            ResetReason::MiddleboxInterference => 0x06,
            ResetReason::Unknown(code) => code,
        }
    }
}

impl MpTcprst {
    pub(super) const WIRE_LEN: usize = 4;

    pub(super) fn parse(data: &[u8]) -> Option<MpTcprst> {
        match data {
            // [8684-3.6-5]
            [first, reason] => Some(MpTcprst { transient: first & TRANSIENT != 0, reason: ResetReason::from(*reason) }),
            _ => None,
        }
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) {
        // [8684-3.6-4]
        out.u8(head(subtype::MP_TCPRST, self.transient.into()));
        out.u8(self.reason.into());
    }
}
