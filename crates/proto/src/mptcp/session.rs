//! What the two ends agreed on: keys and numbers of a Multipath TCP connection, or why there is none.

use crate::buffer::Chunks;
use crate::seq::{Dsn, DsnSpace};
use polypath_wire::{Key, MpTcprst, MptcpOption, ResetReason, Token, WireDsn};

/// Why a connection is plain TCP (RFC 8684, section 3.7).
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum FallbackReason {
    /// Multipath TCP was switched off here.
    Disabled,
    /// The peer's SYN or SYN/ACK had no MP_CAPABLE that we could use.
    NotOffered,
    /// Our MP_CAPABLE SYNs went unanswered: something on the path may drop them.
    SynDropped,
    /// SYNs with MP_CAPABLE were not answered on this path lately.
    Blackhole,
    /// The handshake's last segment came without MP_CAPABLE: a middlebox removed it.
    ThirdAckWithoutCapable,
    /// Data, or its acknowledgement, came without DSS: a middlebox removes options.
    NoDss,
    /// Data did not match its checksum, here or at the peer: a middlebox changes it.
    ChecksumFailed,
    /// Data was acknowledged on its subflow, and the peer has not got it: a middlebox changes lengths, or acknowledges
    /// by itself.
    NotDelivered,
    /// The peer sent an infinite mapping.
    PeerFellBack,
    /// Both ends opened the connection at once.
    SimultaneousOpen,
}

impl core::fmt::Display for FallbackReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            FallbackReason::Disabled => "multipath is switched off here",
            FallbackReason::NotOffered => "the peer does not offer Multipath TCP",
            FallbackReason::ChecksumFailed => "data is changed on the way",
            FallbackReason::NotDelivered => "what was acknowledged on the way did not arrive",
            FallbackReason::PeerFellBack => "the peer ended the use of Multipath TCP",
            FallbackReason::SimultaneousOpen => "both ends opened the connection at once",
            FallbackReason::SynDropped => "SYNs with MP_CAPABLE went unanswered",
            FallbackReason::Blackhole => "SYNs with MP_CAPABLE went unanswered lately",
            FallbackReason::ThirdAckWithoutCapable => "the handshake's last ACK lost its MP_CAPABLE on the way",
            FallbackReason::NoDss => "DSS options are removed on the way",
        })
    }
}

/// The keys of both ends and what follows from them.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Session {
    pub(crate) local_key: Key,
    pub(crate) remote_key: Key,
    pub(crate) remote_token: Token,
    pub(crate) local_dsn: DsnSpace,
    pub(crate) remote_dsn: DsnSpace,
    /// Bytes that went with our SYN, before the numbers begin.
    pub(crate) unnumbered: u64,
    /// The peer has shown that it knows both keys (RFC 8684, section 3.1: fully established).
    pub(crate) confirmed: bool,
    /// Our mappings and DATA_FINs have 64-bit DSNs.
    pub(crate) long_dsns: bool,
    /// Mappings carry checksums.
    pub(crate) checksum: bool,
    /// The peer's last mapping had a 64-bit DSN: so have our DATA_ACKs (RFC 8684, section 3.3.2).
    pub(crate) long_acks: bool,
    /// The peer does not want joins to the address and port of the first subflow (the C flag).
    pub(crate) deny_join_initial: bool,
}

impl Session {
    pub(crate) fn new(local_key: Key, remote_key: Key) -> Self {
        Session {
            local_key,
            remote_key,
            remote_token: remote_key.token(),
            local_dsn: DsnSpace::new(local_key.idsn()),
            remote_dsn: DsnSpace::new(remote_key.idsn()),
            unnumbered: 0,
            confirmed: false,
            long_dsns: false,
            checksum: false,
            long_acks: false,
            deny_join_initial: false,
        }
    }

    /// What went with the SYNs has no numbers: they begin after it (RFC 8684, appendix B). [8684-B-1]
    pub(crate) fn after_syn_data(self, sent: u64, received: u64) -> Self {
        Session {
            local_dsn: DsnSpace::new(self.local_key.idsn().wrapping_sub(sent)),
            remote_dsn: DsnSpace::new(self.remote_key.idsn().wrapping_sub(received)),
            unnumbered: sent,
            ..self
        }
    }

    /// In 32 bits where the peer's numbers are: it expands them, and 4 bytes more are left for SACK.
    pub(crate) fn data_ack(&self, rcv_nxt: Dsn) -> WireDsn {
        match self.long_acks {
            true => WireDsn::Long(self.remote_dsn.wrap(rcv_nxt)),
            false => self.remote_dsn.short(rcv_nxt),
        }
    }

    /// A DSN of ours, as wide as it has to be.
    pub(crate) fn number(&self, dsn: Dsn) -> WireDsn {
        match self.long_dsns {
            true => WireDsn::Long(self.local_dsn.wrap(dsn)),
            false => self.local_dsn.short(dsn),
        }
    }

    /// What a DSS with a mapping takes, padded.
    pub(crate) fn dss_bytes(&self) -> usize {
        20 + 4 * usize::from(self.long_acks) + 4 * usize::from(self.long_dsns)
    }

    /// The checksum of a mapping, if any.
    pub(crate) fn checksum_of(&self, dsn: Dsn, ssn: u32, len: u16, payload: &Chunks) -> Option<u16> {
        let pieces = payload.pieces().iter().map(AsRef::as_ref);
        self.checksum.then(|| polypath_wire::dss_checksum(self.local_dsn.wrap(dsn), ssn, len, pieces))
    }
}

/// Whether a connection is Multipath TCP.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Multipath {
    /// The handshake is under way; our key is what MP_CAPABLE will carry (or has).
    Negotiating {
        local_key: Key,
    },
    Active(Session),
    Fallback(FallbackReason),
}

impl Multipath {
    pub(crate) fn session(&self) -> Option<&Session> {
        match self {
            Multipath::Active(session) => Some(session),
            Multipath::Negotiating { .. } | Multipath::Fallback(_) => None,
        }
    }

    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        match self {
            Multipath::Active(session) => Some(session),
            Multipath::Negotiating { .. } | Multipath::Fallback(_) => None,
        }
    }
}

/// The MP_TCPRST option that goes with a RST (RFC 8684, section 3.6).
pub(crate) fn tcprst(reason: ResetReason, transient: bool) -> MptcpOption {
    // [8684-3.6-1]
    MptcpOption::MpTcprst(MpTcprst { transient, reason })
}
