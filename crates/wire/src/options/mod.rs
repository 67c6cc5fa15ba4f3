//! TCP options: bytes to values and back.

mod emit;
mod parse;

use arrayvec::ArrayVec;

use crate::mptcp::{Dss, MpCapable, MpJoin, MptcpOption};
use crate::seq::SeqNum;

/// All the room there is for options, in bytes: a TCP header has at most 60 (RFC 9293 section 3.1).
pub const MAX_OPTIONS_LEN: usize = 40;

/// The largest shift of the window scale option (RFC 7323 section 2.3).
pub const MAX_WINDOW_SCALE: u8 = 14;

/// Option kinds, by the IANA registry of TCP parameters.
mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const NOP: u8 = 1;
    pub(super) const MSS: u8 = 2;
    pub(super) const WINDOW_SCALE: u8 = 3;
    pub(super) const SACK_PERMITTED: u8 = 4;
    pub(super) const SACK: u8 = 5;
    pub(super) const TIMESTAMPS: u8 = 8;
    pub(super) const MPTCP: u8 = crate::mptcp::KIND;
    pub(super) const FAST_OPEN: u8 = 34;
}

/// The timestamps option (RFC 7323 section 3).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Timestamps {
    /// The sender's clock, TSval.
    pub val: u32,
    /// The clock value it echoes, TSecr.
    pub ecr: u32,
}

/// One block of the SACK option (RFC 2018 section 3).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct SackBlock {
    /// First sequence number of the block.
    pub left: SeqNum,
    /// Sequence number after its last.
    pub right: SeqNum,
}

/// The Fast Open option (RFC 7413 section 4.1.1): a cookie of 4 to 16 bytes, an even number; or none, which asks
/// for one.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct FastOpenCookie {
    bytes: [u8; 16],
    len: u8,
}

impl FastOpenCookie {
    /// Asks for a cookie.
    pub const REQUEST: FastOpenCookie = FastOpenCookie { bytes: [0; 16], len: 0 };

    /// A cookie, or for no bytes the request for one; `None` for a length that no cookie has.
    #[must_use]
    pub fn new(cookie: &[u8]) -> Option<FastOpenCookie> {
        // [7413-4.1.1-1]
        if !(cookie.is_empty() || (4..=16).contains(&cookie.len()) && cookie.len().is_multiple_of(2)) {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[..cookie.len()].copy_from_slice(cookie);
        Some(FastOpenCookie { bytes, len: cookie.len() as u8 })
    }

    /// The cookie; empty where one is asked for.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether it asks for a cookie.
    #[must_use]
    pub fn is_request(&self) -> bool {
        self.len == 0
    }

    /// With kind and length.
    fn wire_len(&self) -> usize {
        2 + usize::from(self.len)
    }
}

/// An option that is not understood, or whose body is malformed: kept, never acted on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UnknownOption {
    /// Its kind, 2 to 255 (0 and 1 are padding).
    pub kind: u8,
    /// What follows kind and length.
    pub data: ArrayVec<u8, 38>,
}

/// The options of one segment.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct TcpOptions {
    /// Maximum segment size in bytes (RFC 9293 section 3.7.1).
    pub mss: Option<u16>,
    /// Window scale, the shift count, 0 to 14: a larger one is read and sent as 14 (RFC 7323 section
    /// 2.3).
    pub window_scale: Option<u8>,
    /// SACK may be used towards the sender (RFC 2018 section 2).
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// Blocks received out of order.
    pub sack: ArrayVec<SackBlock, 4>,
    /// A Fast Open cookie, or the request for one, in a SYN or SYN/ACK.
    pub fast_open: Option<FastOpenCookie>,
    /// The well-formed options of Multipath TCP, in their order.
    pub mptcp: ArrayVec<MptcpOption, 4>,
    /// All others, and any fifth of Multipath TCP, in their order. More than fit here are dropped.
    pub unknown: ArrayVec<UnknownOption, 4>,
}

impl TcpOptions {
    /// The first MP_CAPABLE, if there is one.
    #[must_use]
    pub fn mp_capable(&self) -> Option<&MpCapable> {
        self.mptcp.iter().find_map(|option| match option {
            MptcpOption::MpCapable(capable) => Some(capable),
            _ => None,
        })
    }

    /// The first MP_JOIN, if there is one.
    #[must_use]
    pub fn mp_join(&self) -> Option<&MpJoin> {
        self.mptcp.iter().find_map(|option| match option {
            MptcpOption::MpJoin(join) => Some(join),
            _ => None,
        })
    }

    /// The first DSS, if there is one.
    #[must_use]
    pub fn dss(&self) -> Option<&Dss> {
        self.mptcp.iter().find_map(|option| match option {
            MptcpOption::Dss(dss) => Some(dss),
            _ => None,
        })
    }
}
