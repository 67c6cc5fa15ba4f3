//! One subflow as the connection sees it: a TCP engine and its part in the multipath handshake.

use super::in_flight_limit::InFlightLimit;
use super::mapping::RxMappings;
use super::placement::Refusals;
use super::timers::UNANSWERED_SYNS;
use crate::seq::Dsn;
use crate::tcp::{State, Tcp};
use crate::time::Instant;
use polypath_wire::{MpFail, ResetReason};
use std::sync::Arc;

/// How far the subflow's own handshake has come (RFC 8684, sections 3.1 and 3.2).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// The first subflow: MP_CAPABLE, or none.
    Capable,
    /// We sent, or will send, MP_JOIN.
    JoinSyn {
        nonce: u32,
    },
    /// Our third ACK is out; nothing may be sent before the fourth comes.
    JoinAck {
        nonce: u32,
        remote_nonce: u32,
    },
    /// The peer joined; its third ACK is awaited.
    JoinSynAck {
        nonce: u32,
        remote_nonce: u32,
    },
    Done,
}

/// What a segment that the peer must answer asks.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Is the window open? Does the path work?
    Window,
    /// Is anybody there, after a long silence?
    Keepalive,
}

/// Why a subflow ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// Both ends closed it in order.
    Finished,
    /// The peer reset it.
    ResetByPeer,
    /// Nobody answered.
    TimedOut,
    /// A router on the way knows no way.
    Unreachable,
    /// Nothing was heard on it while others carried data.
    Silent,
    /// The local address is gone.
    AddressRemoved,
    /// The peer took its address back.
    RemoteAddressRemoved,
    /// A join failed its authentication, or the peer broke the protocol.
    ProtocolError,
    /// The connection was aborted, or ended while the subflow was being opened.
    Aborted,
    /// The application, or an external path manager, asked for it.
    Asked,
}

/// One path of a connection.
#[derive(Debug)]
pub(crate) struct Subflow {
    pub(crate) tcp: Tcp,
    pub(crate) handshake: Handshake,
    /// Established and announced as such.
    pub(crate) established: bool,
    pub(crate) local_id: u8,
    pub(crate) remote_id: u8,
    /// We want the peer to use it only as a backup.
    pub(crate) backup: bool,
    /// The peer knows that, from the SYN or by MP_PRIO.
    pub(crate) priority_said: bool,
    /// The peer asked us to.
    pub(crate) remote_backup: bool,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) rx: RxMappings,
    /// Bytes that came without a place in the stream.
    pub(crate) refusals: Option<Box<Refusals>>,
    /// The retransmission timer expired, and nothing was acknowledged since.
    pub(crate) stalled: Option<Instant>,
    /// The congestion window that the last timeout left, in bytes.
    pub(super) loss_window: u64,
    /// Its acknowledgements are overdue, and others carry its data meanwhile.
    pub(crate) suspected: Option<Instant>,
    /// Its probe has had the time to be answered, and others were told.
    pub(crate) probe_judged: bool,
    /// Suspicions that were wrong.
    pub(crate) false_suspicions: u32,
    /// Lone segments in a row that were acknowledged without delay.
    pub(crate) prompt_acks: u32,
    /// When it last delivered something.
    pub(crate) last_delivered: Instant,
    /// What it may have in flight, besides the congestion window, while it carries data beside others.
    pub(crate) limit: Option<Box<InFlightLimit>>,
    /// Since when a question to a silent peer is on its way, and how often it was asked.
    pub(crate) probed_at: Option<(Instant, u32)>,
    /// What the peer is to be asked, with a segment below its window.
    pub(crate) question: Option<Question>,
    /// Keep-alives without an answer.
    pub(crate) keepalives: u32,
    /// The tail loss probe is due.
    pub(crate) tail_probe_due: bool,
    pub(crate) send_syn: bool,
    /// To be closed by FIN, after all that was given to it.
    pub(crate) close_wanted: bool,
    /// To be closed by RST.
    pub(crate) reset: Option<(ResetReason, CloseReason)>,
    /// What the reset shall say of data that did not match its checksum.
    pub(crate) failed: Option<MpFail>,
    /// What the peer's reset says of why: it may pass (RFC 8684, section 3.6, flag T).
    pub(crate) reset_is_transient: Option<bool>,
    /// The peer says that its address is gone, and was asked whether that is so.
    /// When, and how often.
    pub(crate) doubted_at: Option<(Instant, u32)>,
    /// The peer's FIN came without any MPTCP option.
    pub(crate) plain_fin: bool,
    /// A DATA_ACK has come on it: options survive the way here.
    pub(crate) data_ack_seen: bool,
    /// When the last one did.
    pub(crate) data_ack_at: Instant,
    /// Acknowledgements of data in a row that had no MPTCP option.
    pub(crate) bare_acks: u32,
    /// The peer acknowledges less than was acknowledged in its name.
    pub(crate) retracted: bool,
    /// How often data was missing then.
    pub(crate) swallowed: u32,
    /// Everything before this was given to another subflow too.
    pub(crate) reinjected_to: Dsn,
    /// What was lost before this was.
    pub(crate) lost_to: Dsn,
    pub(crate) persist_backoff: u32,
    /// Since when zero-window probes go without an answer.
    pub(crate) persist_since: Option<Instant>,
    /// Its path was in use before, or goes where the application wanted: its SYN may go at a steady pace.
    pub(crate) worked_before: bool,
    pub(crate) last_data: Option<Instant>,
    pub(crate) opened_at: Instant,
}

impl Subflow {
    pub(crate) fn new(now: Instant, tcp: Tcp, handshake: Handshake, local_id: u8, remote_id: u8) -> Self {
        Subflow {
            tcp,
            handshake,
            established: false,
            local_id,
            remote_id,
            backup: false,
            priority_said: true,
            remote_backup: false,
            name: None,
            rx: RxMappings::default(),
            refusals: None,
            stalled: None,
            loss_window: 0,
            suspected: None,
            probe_judged: false,
            false_suspicions: 0,
            prompt_acks: 0,
            last_delivered: now,
            limit: None,
            probed_at: None,
            question: None,
            keepalives: 0,
            tail_probe_due: false,
            send_syn: true,
            close_wanted: false,
            reset: None,
            failed: None,
            reset_is_transient: None,
            doubted_at: None,
            plain_fin: false,
            data_ack_seen: false,
            data_ack_at: now,
            bare_acks: 0,
            retracted: false,
            swallowed: 0,
            reinjected_to: Dsn::FIRST,
            lost_to: Dsn::FIRST,
            persist_backoff: 0,
            persist_since: None,
            worked_before: false,
            last_data: None,
            opened_at: now,
        }
    }

    /// May carry data and signals.
    pub(crate) fn is_usable(&self) -> bool {
        // [8684-3.2-12]
        self.established && self.reset.is_none() && self.tcp.can_send() && !self.close_wanted
    }

    /// Nothing sent on it is acknowledged, nor its SYN answered where one has been before: others may be sent anywhere.
    pub(super) fn gets_nothing_through(&self) -> bool {
        let opening = self.tcp.state == State::SynSent && self.worked_before;
        self.stalled.is_some() || (opening && self.tcp.backoff() >= UNANSWERED_SYNS)
    }

    /// Either end wants it used only where nothing else works.
    pub(crate) fn is_backup(&self) -> bool {
        self.backup || self.remote_backup
    }

    /// How much of a congestion window may be used.
    pub(crate) fn usable_window(&self, cwnd: u64) -> u64 {
        self.limit.as_ref().map_or(cwnd, |limit| limit.of(cwnd))
    }

    /// How much more may be in flight, as far as the congestion window does not say it.
    pub(crate) fn limit_room(&self) -> u64 {
        self.limit.as_ref().map_or(u64::MAX, |limit| limit.room(self.tcp.in_flight()))
    }

    /// Nothing is under way: gives back what is only there for data.
    pub(super) fn give_back(&mut self) {
        self.tcp.give_back();
        self.rx.give_back();
        self.limit.take_if(|limit| limit.is_none());
    }

    /// Nothing is overdue on it.
    pub(crate) fn answers(&self) -> bool {
        self.stalled.is_none() && self.suspected.is_none()
    }

    /// The peer can still hear us on it.
    pub(crate) fn is_alive(&self) -> bool {
        self.established
            && self.reset.is_none()
            && self.tcp.state.is_synchronized()
            && self.tcp.state != State::TimeWait
    }
}
