//! A segment as a test writes it: numbers relative to the initial ones, unnamed parts left to the script.

use polypath_wire::{
    AddAddr, CapableFlags, CapableKeys, Ecn, FastOpenCookie, Key, MpCapable, MpFastclose, MpJoin, MpPrio, MpTcprst,
    MptcpOption, RemoveAddr, ResetReason, TcpFlags,
};
use std::net::IpAddr;

/// An MPTCP option; data sequence numbers count from the initial one (1 is the first byte).
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Opt {
    /// Anything without data sequence numbers.
    Raw(MptcpOption),
    /// A DSS, in 32-bit numbers.
    Dss {
        /// DATA_ACK.
        ack: Option<u64>,
        /// DSN, relative SSN, length.
        map: Option<(u64, u32, u16)>,
        /// DATA_FIN.
        fin: bool,
    },
    /// A DSS with a checksum, over the stream's bytes at the DSN.
    SumDss {
        /// DATA_ACK.
        ack: Option<u64>,
        /// DSN, relative SSN, length with DATA_FIN.
        map: (u64, u32, u16),
        /// DATA_FIN.
        fin: bool,
        /// Added to the right checksum.
        error: u16,
    },
    /// A DSS, in 64-bit numbers.
    LongDss {
        /// DATA_ACK.
        ack: Option<u64>,
        /// DSN, relative SSN, length.
        map: Option<(u64, u32, u16)>,
    },
}

/// What of the MPTCP options is expected (or sent).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Mptcp {
    /// Expected: anything. Sent: none.
    #[default]
    Any,
    /// These, in this order.
    Exactly(Vec<Opt>),
}

/// A segment to send to the stack, or a pattern for one that it shall send.
#[derive(Clone, Debug)]
pub(crate) struct Seg {
    pub(crate) flags: TcpFlags,
    pub(crate) seq: Option<u32>,
    pub(crate) ack: Option<u32>,
    pub(crate) len: Option<usize>,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) window: Option<u16>,
    pub(crate) sack: Option<Vec<(u32, u32)>>,
    pub(crate) mptcp: Mptcp,
    pub(crate) tsval: Option<u32>,
    pub(crate) tsecr: Option<u32>,
    pub(crate) no_timestamps: bool,
    pub(crate) mss: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack_permitted: bool,
    /// The codepoint in the IP header. Expected: any, if not said. Sent: none.
    pub(crate) ecn: Option<Ecn>,
    /// The Fast Open cookie; empty: the request for one. Expected: any, if not said. Sent: none.
    pub(crate) fast_open: Option<FastOpenCookie>,
}

fn seg(flags: TcpFlags) -> Seg {
    Seg {
        flags,
        seq: None,
        ack: None,
        len: None,
        payload: None,
        window: None,
        sack: None,
        mptcp: Mptcp::Any,
        tsval: None,
        tsecr: None,
        no_timestamps: false,
        mss: None,
        window_scale: None,
        sack_permitted: false,
        ecn: None,
        fast_open: None,
    }
}

/// A SYN (as sent by the script: with MSS 1460, SACK permitted, timestamps and a window scale of 8).
pub(crate) fn syn() -> Seg {
    Seg { mss: Some(1460), window_scale: Some(8), sack_permitted: true, ..seg(TcpFlags::SYN).seq(0) }
}

/// A SYN/ACK.
pub(crate) fn syn_ack() -> Seg {
    Seg { flags: TcpFlags::SYN | TcpFlags::ACK, ..syn().ack(1) }
}

/// A segment without payload that acknowledges `n`.
pub(crate) fn ack(n: u32) -> Seg {
    seg(TcpFlags::ACK).ack(n).len(0)
}

/// A segment with `len` bytes at `seq`; sent, the bytes are those of the plain stream at that place.
pub(crate) fn data(seq: u32, len: usize) -> Seg {
    seg(TcpFlags::ACK).seq(seq).len(len)
}

/// A FIN at `seq`.
pub(crate) fn fin(seq: u32) -> Seg {
    seg(TcpFlags::FIN | TcpFlags::ACK).seq(seq).len(0)
}

/// A reset without ACK.
pub(crate) fn rst(seq: u32) -> Seg {
    seg(TcpFlags::RST).seq(seq).len(0)
}

/// A reset with ACK.
pub(crate) fn rst_ack() -> Seg {
    seg(TcpFlags::RST | TcpFlags::ACK).len(0)
}

impl Seg {
    #[must_use]
    pub(crate) fn seq(self, seq: u32) -> Seg {
        Seg { seq: Some(seq), ..self }
    }
    #[must_use]
    pub(crate) fn ack(self, ack: u32) -> Seg {
        Seg { ack: Some(ack), ..self }
    }
    #[must_use]
    pub(crate) fn len(self, len: usize) -> Seg {
        Seg { len: Some(len), ..self }
    }
    #[must_use]
    pub(crate) fn payload(self, bytes: &[u8]) -> Seg {
        Seg { payload: Some(bytes.to_vec()), len: Some(bytes.len()), ..self }
    }
    /// The window field, unscaled.
    #[must_use]
    pub(crate) fn window(self, window: u16) -> Seg {
        Seg { window: Some(window), ..self }
    }
    #[must_use]
    pub(crate) fn sack(self, blocks: &[(u32, u32)]) -> Seg {
        Seg { sack: Some(blocks.to_vec()), ..self }
    }
    #[must_use]
    pub(crate) fn tsval(self, val: u32) -> Seg {
        Seg { tsval: Some(val), ..self }
    }
    #[must_use]
    pub(crate) fn tsecr(self, ecr: u32) -> Seg {
        Seg { tsecr: Some(ecr), ..self }
    }
    #[must_use]
    pub(crate) fn no_timestamps(self) -> Seg {
        Seg { no_timestamps: true, ..self }
    }
    /// With these flags too.
    #[must_use]
    pub(crate) fn with(self, flags: TcpFlags) -> Seg {
        Seg { flags: self.flags | flags, ..self }
    }
    #[must_use]
    pub(crate) fn ecn(self, ecn: Ecn) -> Seg {
        Seg { ecn: Some(ecn), ..self }
    }
    #[must_use]
    pub(crate) fn fast_open(self, cookie: &[u8]) -> Seg {
        Seg { fast_open: Some(FastOpenCookie::new(cookie).expect("a length that a cookie has")), ..self }
    }
    /// Without any MPTCP option.
    #[must_use]
    pub(crate) fn plain(self) -> Seg {
        Seg { mptcp: Mptcp::Exactly(Vec::new()), ..self }
    }
    /// With one more MPTCP option.
    #[must_use]
    pub(crate) fn opt(mut self, opt: impl Into<Opt>) -> Seg {
        match &mut self.mptcp {
            Mptcp::Exactly(opts) => opts.push(opt.into()),
            any => *any = Mptcp::Exactly(vec![opt.into()]),
        }
        self
    }
}

impl<T: Into<MptcpOption>> From<T> for Opt {
    fn from(option: T) -> Opt {
        Opt::Raw(option.into())
    }
}

/// A DSS with nothing but a DATA_ACK.
pub(crate) fn dack(n: u64) -> Opt {
    Opt::Dss { ack: Some(n), map: None, fin: false }
}

/// A DSS with mapping and DATA_ACK.
pub(crate) fn map(dsn: u64, ssn: u32, len: usize, ack: u64) -> Opt {
    Opt::Dss { ack: Some(ack), map: Some((dsn, ssn, len as u16)), fin: false }
}

/// A DSS with mapping, its checksum and DATA_ACK.
pub(crate) fn map_sum(dsn: u64, ssn: u32, len: usize, ack: u64) -> Opt {
    Opt::SumDss { ack: Some(ack), map: (dsn, ssn, len as u16), fin: false, error: 0 }
}

/// The same, with a wrong checksum.
pub(crate) fn map_wrong_sum(dsn: u64, ssn: u32, len: usize, ack: u64) -> Opt {
    Opt::SumDss { ack: Some(ack), map: (dsn, ssn, len as u16), fin: false, error: 1 }
}

/// The infinite mapping.
pub(crate) fn infinite_map(dsn: u64, ssn: u32, ack: u64) -> Opt {
    Opt::Dss { ack: Some(ack), map: Some((dsn, ssn, 0)), fin: false }
}

/// What the first data after a fallback carries.
pub(crate) fn farewell(dsn: u64, ssn: u32) -> Opt {
    Opt::Dss { ack: None, map: Some((dsn, ssn, 0)), fin: false }
}

/// MP_CAPABLE that asks for checksums.
pub(crate) fn capable_with_sum(keys: CapableKeys) -> MpCapable {
    MpCapable { version: 1, flags: CapableFlags::HMAC_SHA256 | CapableFlags::CHECKSUM_REQUIRED, keys }
}

/// A DATA_FIN that stands alone.
pub(crate) fn data_fin(dsn: u64, ack: u64) -> Opt {
    Opt::Dss { ack: Some(ack), map: Some((dsn, 0, 1)), fin: true }
}

/// MP_CAPABLE, as this stack and Linux have it: version 1, HMAC-SHA256.
pub(crate) fn capable(keys: CapableKeys) -> MpCapable {
    MpCapable { version: 1, flags: CapableFlags::HMAC_SHA256, keys }
}

pub(crate) fn capable_syn() -> MpCapable {
    capable(CapableKeys::Syn)
}

pub(crate) fn capable_syn_ack(sender: Key) -> MpCapable {
    capable(CapableKeys::SynAck { sender })
}

pub(crate) fn capable_ack(sender: Key, receiver: Key) -> MpCapable {
    capable(CapableKeys::Ack { sender, receiver })
}

pub(crate) fn capable_data(sender: Key, receiver: Key, data_len: usize) -> MpCapable {
    capable(CapableKeys::Data { sender, receiver, data_len: data_len as u16, checksum: None })
}

pub(crate) fn tcprst(reason: ResetReason) -> MpTcprst {
    MpTcprst { transient: false, reason }
}

/// The path may be tried again.
pub(crate) fn tcprst_for_now(reason: ResetReason) -> MpTcprst {
    MpTcprst { transient: true, reason }
}

pub(crate) fn fastclose(receiver_key: Key) -> MpFastclose {
    MpFastclose { receiver_key }
}

pub(crate) fn prio(backup: bool) -> MpPrio {
    MpPrio { backup }
}

pub(crate) fn remove_addr(id: u8) -> RemoveAddr {
    [id].into_iter().collect()
}

pub(crate) fn add_addr(id: u8, addr: IpAddr, hmac: u64) -> AddAddr {
    AddAddr { echo: false, address_id: id, addr, port: None, hmac: Some(hmac) }
}

pub(crate) fn add_addr_echo(id: u8, addr: IpAddr) -> AddAddr {
    AddAddr { echo: true, address_id: id, addr, port: None, hmac: None }
}

pub(crate) fn join(option: MpJoin) -> Opt {
    option.into()
}
