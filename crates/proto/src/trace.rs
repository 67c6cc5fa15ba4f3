//! Every decision of a stack with its reason, for who wants to know: in the spirit of qlog (RFC-to-be of the QUIC
//! working group), with the events of Multipath TCP.
//!
//! Off unless [`Stack::set_tracing`](crate::Stack::set_tracing) switches it on; then
//! [`Stack::poll_trace`](crate::Stack::poll_trace) gives the events out. DSNs and SSNs are relative: DSN 0 is the
//! connection's first byte, SSN 1 the subflow's. Serialized, an event is an object with `name` (`category:event`) and
//! `data`; durations are in milliseconds.

use crate::congestion::Congestion;
use crate::mptcp::{CloseReason, ConnectionError, FallbackReason, Role};
use crate::time::{Duration, Instant};
use crate::{ConnectionId, SubflowId};
use serde::{Serialize, Serializer};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// An event, and where and when it happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The stack's time.
    pub at: Instant,
    /// The connection.
    pub connection: ConnectionId,
    /// What happened.
    pub event: TraceEvent,
}

/// What happened, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "name", content = "data")]
#[non_exhaustive]
pub enum TraceEvent {
    /// A connection is made.
    #[serde(rename = "connection:started")]
    Started {
        /// Which end opens it.
        role: Role,
        /// Local end of the first subflow.
        local: SocketAddr,
        /// Remote end of the first subflow.
        remote: SocketAddr,
        /// Name of the packet scheduler.
        scheduler: &'static str,
        /// Name of the congestion control.
        congestion_control: &'static str,
        /// Name of the path manager.
        path_manager: &'static str,
    },
    /// The application chose another packet scheduler.
    #[serde(rename = "scheduling:changed")]
    SchedulerChanged {
        /// Its name.
        scheduler: &'static str,
    },
    /// The application chose another congestion control.
    #[serde(rename = "congestion:changed")]
    CongestionChanged {
        /// Its name.
        congestion_control: &'static str,
    },
    /// It is known whether the connection is Multipath TCP; or it is not any more.
    #[serde(rename = "connection:multipath")]
    Multipath {
        /// It is.
        active: bool,
        /// Why it is plain TCP.
        #[serde(serialize_with = "text", skip_serializing_if = "Option::is_none")]
        fallback: Option<FallbackReason>,
    },
    /// The connection is over for the application.
    #[serde(rename = "connection:closed")]
    Closed {
        /// Why, unless in order.
        #[serde(serialize_with = "text")]
        error: Option<ConnectionError>,
    },
    /// A subflow is being opened.
    #[serde(rename = "path:opened")]
    PathOpened {
        /// Which one.
        subflow: SubflowId,
        /// Its path.
        path: Option<Arc<str>>,
        /// Its local end.
        local: SocketAddr,
        /// Its remote end.
        remote: SocketAddr,
        /// This end asks to use it only as a backup.
        backup: bool,
        /// Why there is one.
        reason: OpenReason,
    },
    /// Its handshake is over.
    #[serde(rename = "path:established")]
    PathEstablished {
        /// Which one.
        subflow: SubflowId,
        /// Payload of a full segment, in bytes.
        mss: u64,
        /// Its packets may be marked instead of dropped (RFC 3168).
        ecn: bool,
        /// The round trip of the handshake.
        #[serde(serialize_with = "millis_if", rename = "srtt_ms")]
        srtt: Option<Duration>,
    },
    /// Nothing is acknowledged any more: others get its data.
    #[serde(rename = "path:stalled")]
    PathStalled {
        /// Which one.
        subflow: SubflowId,
    },
    /// It was heard of again.
    #[serde(rename = "path:recovered")]
    PathRecovered {
        /// Which one.
        subflow: SubflowId,
    },
    /// Data is missing that only this path can hold, and nothing is heard: the peer is asked on it.
    #[serde(rename = "path:suspected")]
    PathSuspected {
        /// Which one.
        subflow: SubflowId,
        /// Nothing was heard for so long.
        #[serde(serialize_with = "millis", rename = "silent_ms")]
        silent: Duration,
    },
    /// Either end changed its mind about using it only as a backup.
    #[serde(rename = "path:priority")]
    PathPriority {
        /// Which one.
        subflow: SubflowId,
        /// Only as a backup.
        backup: bool,
        /// Who wants it.
        by: By,
    },
    /// The largest packet that passes is another than was thought.
    #[serde(rename = "path:mtu")]
    PathMtu {
        /// Which one.
        subflow: SubflowId,
        /// In bytes.
        mtu: u32,
        /// How it is known.
        reason: MtuReason,
    },
    /// It is gone.
    #[serde(rename = "path:closed")]
    PathClosed {
        /// Which one.
        subflow: SubflowId,
        /// Why.
        reason: CloseReason,
    },
    /// The path manager was told of something, and decided.
    #[serde(rename = "path:managed")]
    PathManaged {
        /// What it was told.
        because: String,
        /// What it wants done.
        open: Vec<(IpAddr, SocketAddr)>,
        /// And closed.
        close: Vec<(SocketAddr, SocketAddr)>,
        /// What the peer shall be told of.
        announce: Vec<IpAddr>,
    },
    /// A segment with a meaning of its own: SYN, FIN, RST, or an MPTCP option other than DSS.
    #[serde(rename = "segment:sent")]
    SegmentSent {
        /// On which subflow.
        subflow: SubflowId,
        /// Its flags.
        flags: String,
        /// Its MPTCP options.
        options: Vec<String>,
    },
    /// The same, from the peer.
    #[serde(rename = "segment:received")]
    SegmentReceived {
        /// On which subflow.
        subflow: SubflowId,
        /// Its flags.
        flags: String,
        /// Its MPTCP options.
        options: Vec<String>,
    },
    /// The scheduler gave bytes to a subflow.
    #[serde(rename = "scheduling:assigned")]
    Assigned {
        /// Which one.
        subflow: SubflowId,
        /// The first byte.
        dsn: u64,
        /// Bytes.
        len: u64,
        /// Why these bytes.
        reason: AssignReason,
        /// What there was to choose from.
        candidates: Vec<Candidate>,
    },
    /// There is something to send, and it has to wait. Told once, not for as long as it lasts.
    #[serde(rename = "scheduling:waiting")]
    Waiting {
        /// For what.
        reason: WaitReason,
        /// Bytes that wait.
        pending: u64,
    },
    /// Bytes that one subflow was given are to go on another too.
    #[serde(rename = "scheduling:reinjection")]
    ReinjectionQueued {
        /// Who had them; none: a subflow that is gone.
        from: Option<SubflowId>,
        /// The first byte.
        dsn: u64,
        /// Bytes.
        len: u64,
        /// Why.
        reason: ReinjectReason,
    },
    /// A window or a threshold changed.
    #[serde(rename = "congestion:updated")]
    CongestionUpdated {
        /// Of which subflow.
        subflow: SubflowId,
        /// Congestion window, in bytes.
        cwnd: u64,
        /// Slow-start threshold, in bytes; none while there is none.
        ssthresh: Option<u64>,
        /// Bytes in flight.
        in_flight: u64,
        /// Smoothed round-trip time.
        #[serde(serialize_with = "millis_if", rename = "srtt_ms")]
        srtt: Option<Duration>,
        /// Why.
        reason: CongestionReason,
    },
    /// Bytes are believed lost.
    #[serde(rename = "recovery:lost")]
    Lost {
        /// On which subflow.
        subflow: SubflowId,
        /// How many, newly.
        bytes: u64,
        /// By what.
        reason: LossReason,
    },
    /// Fast recovery began.
    #[serde(rename = "recovery:entered")]
    RecoveryEntered {
        /// On which subflow.
        subflow: SubflowId,
    },
    /// All that was out when recovery began is acknowledged.
    #[serde(rename = "recovery:left")]
    RecoveryLeft {
        /// On which subflow.
        subflow: SubflowId,
    },
    /// The retransmission timer expired.
    #[serde(rename = "recovery:timeout")]
    TimedOut {
        /// On which subflow.
        subflow: SubflowId,
        /// The timeout before any doubling.
        #[serde(serialize_with = "millis", rename = "rto_ms")]
        rto: Duration,
        /// So many in a row.
        backoff: u32,
    },
    /// The last timeout was needless: the original arrived.
    #[serde(rename = "recovery:spurious")]
    Spurious {
        /// On which subflow.
        subflow: SubflowId,
    },
    /// Bytes are sent again on the same subflow.
    #[serde(rename = "recovery:retransmitted")]
    Retransmitted {
        /// Which one.
        subflow: SubflowId,
        /// The first byte, in the subflow.
        ssn: u64,
        /// The first byte, in the connection.
        dsn: u64,
        /// Bytes; 0 for a FIN.
        len: u64,
        /// Why.
        reason: RetransmitReason,
    },
    /// Subflow bytes were given their place in the connection's stream, for good.
    #[serde(rename = "mapping:sent")]
    MappingSent {
        /// On which subflow.
        subflow: SubflowId,
        /// The first byte, in the subflow.
        ssn: u64,
        /// The first byte, in the connection.
        dsn: u64,
        /// Bytes.
        len: u64,
    },
    /// A mapping arrived.
    #[serde(rename = "mapping:received")]
    MappingReceived {
        /// On which subflow.
        subflow: SubflowId,
        /// The first byte, in the subflow.
        ssn: u64,
        /// The first byte, in the connection.
        dsn: u64,
        /// Bytes.
        len: u64,
        /// What became of it.
        outcome: MappingOutcome,
    },
    /// Data came in order on its subflow, and without a mapping.
    #[serde(rename = "mapping:missing")]
    MappingMissing {
        /// On which subflow.
        subflow: SubflowId,
        /// The connection goes on as plain TCP; otherwise the subflow is reset.
        fallback: bool,
    },
    /// Data arrived, and was put into the connection's stream.
    #[serde(rename = "data:received")]
    DataReceived {
        /// On which subflow.
        subflow: SubflowId,
        /// Bytes that had not come before.
        fresh: u64,
        /// The next byte in order.
        next: u64,
        /// Bytes that wait for others before them.
        out_of_order: u64,
        /// Bytes in order that the application has not read.
        unread: u64,
    },
    /// The peer acknowledged data.
    #[serde(rename = "data:acknowledged")]
    DataAcknowledged {
        /// On which subflow.
        subflow: SubflowId,
        /// Everything before this.
        dsn: u64,
        /// The peer takes bytes before this.
        window_end: u64,
        /// Bytes written and not acknowledged.
        queued: u64,
    },
    /// The end of the stream (DATA_FIN) was sent or received.
    #[serde(rename = "data:fin")]
    DataFin {
        /// By whom.
        by: By,
        /// Where the stream ends.
        dsn: u64,
    },
}

/// Who did it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// This end.
    Here,
    /// The other.
    Peer,
}

/// Why there is a subflow.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenReason {
    /// The connection begins with it.
    First,
    /// The path manager wants it.
    PathManager,
    /// The peer joined.
    Peer,
}

/// What tells how large packets may be.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MtuReason {
    /// A router said so (RFC 8201).
    PacketTooBig,
    /// Large segments were lost again and again, and nobody said why (RFC 8899).
    BlackHole,
    /// A probe passed.
    Probe,
}

/// Why bytes were given to a subflow.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AssignReason {
    /// They are next.
    New,
    /// Another subflow was given them, and may not deliver them.
    Reinjection,
}

/// Why nothing is sent.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// The peer's window is shut.
    PeerWindow,
    /// No subflow can carry data.
    NoPath,
    /// Every congestion window is full, or the scheduler waits for a better subflow.
    Scheduler,
    /// Too little room for a whole segment.
    Sliver,
    /// Too little for a whole segment, while an earlier small piece is unacknowledged.
    Nagle,
    /// Too little for a whole super-segment, while others are on the way and soon acknowledged.
    SuperSegment,
}

/// Why bytes go on another subflow.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReinjectReason {
    /// The subflow's retransmission timer expired.
    Timeout,
    /// The subflow is gone, or is being reset.
    Closed,
    /// The peer says that the subflow's address is gone.
    AddressRemoved,
    /// Its subflow has delivered it, and the DATA_ACK stands still.
    DataAckStuck,
    /// The scheduler sends copies.
    Redundant,
    /// The subflow's acknowledgements are overdue.
    Overdue,
    /// The subflow keeps the peer's window shut, or the send buffer full.
    WindowBlocked,
    /// It was lost on a slow subflow, and arrives sooner on a fast one.
    Lost,
}

/// Why a congestion window changed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CongestionReason {
    /// The subflow is new, or its congestion control.
    Start,
    /// Data was acknowledged.
    Ack,
    /// Loss was found.
    Loss,
    /// A timeout.
    Timeout,
    /// Packets were marked (ECN).
    Ecn,
    /// The last reduction was taken back.
    Spurious,
    /// Nothing was sent for longer than a timeout.
    Idle,
}

impl From<Congestion> for CongestionReason {
    fn from(what: Congestion) -> Self {
        match what {
            Congestion::Loss => CongestionReason::Loss,
            Congestion::Timeout => CongestionReason::Timeout,
            Congestion::Ecn => CongestionReason::Ecn,
        }
    }
}

/// What shows that bytes are lost.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LossReason {
    /// Acknowledgements: later bytes have arrived (RACK), or three duplicates came.
    Acknowledgements,
    /// The reordering window is over (RACK).
    ReorderingTimer,
    /// The retransmission timer expired.
    Timeout,
}

/// Why bytes are sent again.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetransmitReason {
    /// They are believed lost.
    Lost,
    /// To see whether the end of what was sent arrived.
    TailLossProbe,
}

/// What became of a mapping.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MappingOutcome {
    /// It is kept, or was known.
    Taken,
    /// It is not for bytes that the segment brings.
    Ignored,
    /// It contradicts an earlier one: the subflow is reset.
    Conflict,
}

/// A subflow that bytes might have gone to.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Which one.
    pub subflow: SubflowId,
    /// Smoothed round-trip time.
    #[serde(serialize_with = "millis", rename = "srtt_ms")]
    pub srtt: Duration,
    /// Congestion window, in bytes.
    pub cwnd: u64,
    /// Bytes in flight.
    pub in_flight: u64,
    /// Bytes that may be sent now.
    pub room: u64,
    /// Only as a backup.
    pub backup: bool,
    /// It does not answer.
    pub stalled: bool,
}

fn millis<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_micros() as f64 / 1000.0)
}

fn millis_if<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => millis(duration, to),
        None => to.serialize_none(),
    }
}

fn text<S: Serializer>(reason: &Option<impl core::fmt::Display>, to: S) -> Result<S::Ok, S::Error> {
    match reason {
        Some(reason) => to.collect_str(reason),
        None => to.serialize_none(),
    }
}
