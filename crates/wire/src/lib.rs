//! Packets as values: IPv4, IPv6, TCP and every Multipath TCP option (RFC 8684).
//!
//! Two levels. Bytes from the network become plain values ([`Segment`] and what it holds) that can be
//! built, compared and emitted again: `parse(emit(x)) == x`. What moves whole packets about, such as
//! segmentation ([`gso`]), works on the header bytes themselves, as network hardware does.
//!
//! Nothing here knows the time, keeps state of a connection or panics on bytes from outside. Functions
//! that emit assert what a caller of ours must keep to; their documentation says what.
//!
//! The way in is [`parse_headers`], the way out [`fit`] (who gets into the 40 bytes of options) and
//! [`emit_headers`].

#![forbid(unsafe_code)]

mod cursor;

pub mod budget;
pub mod checksum;
pub mod error;
pub mod gso;
pub mod icmp;
pub mod ip;
pub mod keys;
pub mod mptcp;
pub mod options;
pub mod packet;
pub mod seq;
pub mod tcp;

pub use budget::{Fitted, SynOptions, Wanted, fit};
pub use checksum::{Checksum, dss_checksum, pseudo_header};
pub use error::ParseError;
pub use gso::{Coalesced, Coalescer, HeaderBytes, Payload, split};
pub use icmp::{IcmpError, IcmpErrorKind};
pub use ip::{Ecn, IpHeader};
pub use keys::{Key, Token, add_addr_hmac, join_ack_hmac, join_synack_hmac};
pub use mptcp::{
    AddAddr, CapableFlags, CapableKeys, Dss, DssMapping, MpCapable, MpFail, MpFastclose, MpJoin, MpPrio, MpTcprst,
    MptcpOption, RemoveAddr, ResetReason, WireDsn,
};
pub use options::{FastOpenCookie, MAX_OPTIONS_LEN, SackBlock, TcpOptions, Timestamps, UnknownOption};
pub use packet::{
    ChecksumMode, HeaderBuf, MAX_HEADER_LEN, Segment, emit_headers, header_len, parse_headers, verify_checksum,
};
pub use seq::SeqNum;
pub use tcp::{TcpFlags, TcpHeader};
