//! What [`Monitor`](crate::Monitor) tells: a host at one moment, as plain data that becomes JSON.
//!
//! Times are in seconds, those named `started` and `at` since 1970; rates in bits of payload per second over about the
//! last second. Fields that a reader does not know are to be passed over, and missing ones are zero: older and newer
//! versions understand each other.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::stats::DeviceStats;

/// A host and everything on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Snapshot {
    /// polypath's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// What it runs, for people.
    pub program: String,
    /// Name of the TUN device.
    pub tun: String,
    /// When the monitor was started.
    pub started: f64,
    /// How long ago that was.
    pub uptime: f64,
    /// The paths, with all that went over them.
    pub paths: Vec<PathSnapshot>,
    /// Connections that exist.
    pub connections: Vec<ConnectionSnapshot>,
    /// The last 64 subflows that ended, oldest first.
    pub ended: Vec<EndedSubflow>,
    /// Connections that are over.
    pub finished: FinishedConnections,
    /// By the names of Linux's MIB, as `nstat` shows them.
    pub counters: BTreeMap<String, u64>,
    /// What passed through the device.
    pub device: DeviceStats,
}

/// A path: all addresses of one name, and what subflows on it have done so far, ended ones included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct PathSnapshot {
    /// Its name; the address where it has none.
    pub name: String,
    /// The stack's addresses on it; none once they are taken away.
    pub addresses: Vec<IpAddr>,
    /// To be used only as a backup.
    pub backup: bool,
    /// Subflows that exist.
    pub subflows: u64,
    /// Payload bytes sent, each once.
    pub bytes_sent: u64,
    /// Payload bytes received, each once.
    pub bytes_received: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Payload bytes sent again.
    pub bytes_retransmitted: u64,
    /// Retransmission timeouts.
    pub timeouts: u64,
    /// Tail loss probes.
    pub loss_probes: u64,
    /// Payload bytes sent on it because another subflow had them and might not deliver them.
    pub bytes_reinjected: u64,
    /// Subflows that joined a connection.
    pub joins: u64,
    /// Subflows that ended before they were established.
    pub failed: u64,
}

/// A connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ConnectionSnapshot {
    /// Its number: 0 for the first one.
    pub id: u64,
    /// `client` if it was opened here, `server` if it was accepted.
    pub role: String,
    /// The program has closed it; what it wrote is still being delivered.
    pub orphaned: bool,
    /// As `ss` calls TCP's states; `NO-SUBFLOW` while it has none, `CLOSED` when it is over and still held.
    pub state: String,
    /// Local end of the first subflow.
    pub local: Option<SocketAddr>,
    /// Remote end of the first subflow.
    pub remote: Option<SocketAddr>,
    /// `negotiating`, `active` or `fallback`.
    pub multipath: String,
    /// Why it is plain TCP, if it is.
    pub fallback_reason: Option<String>,
    /// Since when it has been known.
    pub age: f64,
    /// Bytes of the application sent, each once.
    pub bytes_sent: u64,
    /// Of those, acknowledged by the peer.
    pub bytes_acked: u64,
    /// Bytes received in order.
    pub bytes_received: u64,
    /// Bytes sent again on another subflow.
    pub bytes_reinjected: u64,
    /// Bytes written and not yet acknowledged.
    pub send_queue: u64,
    /// Bytes received in order and not yet read.
    pub recv_queue: u64,
    /// The receive buffer.
    pub recv_buffer: u64,
    /// Name of its congestion control.
    pub congestion_control: String,
    /// Name of its packet scheduler.
    pub scheduler: String,
    /// Its subflows.
    pub subflows: Vec<SubflowSnapshot>,
}

/// A subflow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SubflowSnapshot {
    /// Its number in the connection; used again after it is gone.
    pub id: u16,
    /// Name of its path; the local address where that has none.
    pub name: String,
    /// Local end.
    pub local: Option<SocketAddr>,
    /// Remote end.
    pub remote: Option<SocketAddr>,
    /// As `ss` calls TCP's states.
    pub state: String,
    /// Either end wants it only as a backup.
    pub backup: bool,
    /// Timed out, and not heard of since.
    pub stalled: bool,
    /// Since when it has been known.
    pub age: f64,
    /// Smoothed round-trip time, in milliseconds.
    pub srtt_ms: Option<f64>,
    /// Congestion window, in bytes.
    pub cwnd: u64,
    /// Bytes in flight.
    pub in_flight: u64,
    /// Sending rate, in bit/s.
    pub rate_sent: u64,
    /// Receiving rate, in bit/s.
    pub rate_received: u64,
    /// Payload bytes sent, each once.
    pub bytes_sent: u64,
    /// Payload bytes received, each once.
    pub bytes_received: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Payload bytes sent again.
    pub bytes_retransmitted: u64,
    /// Retransmission timeouts.
    pub timeouts: u64,
    /// Tail loss probes.
    pub loss_probes: u64,
    /// Payload bytes sent on it because another subflow had them and might not deliver them.
    pub bytes_reinjected: u64,
    /// Segments (or super-segments) sent.
    pub segments_sent: u64,
    /// Segments (or super-segments) received.
    pub segments_received: u64,
}

/// A subflow that is gone, or a run of failed attempts at one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct EndedSubflow {
    /// When it ended.
    pub at: f64,
    /// Number of its connection.
    pub connection: u64,
    /// Name of its path; the local address where that has none.
    pub name: String,
    /// Local end.
    pub local: Option<SocketAddr>,
    /// Remote end.
    pub remote: Option<SocketAddr>,
    /// Why: a [`CloseReason`](polypath_proto::CloseReason) by its name.
    pub reason: String,
    /// It was established.
    pub established: bool,
    /// More than 1: so many attempts in a row ended like this; the last one is shown.
    pub count: u64,
    /// Payload bytes sent, each once.
    pub bytes_sent: u64,
    /// Payload bytes received, each once.
    pub bytes_received: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Retransmission timeouts.
    pub timeouts: u64,
}

/// Connections that are over, by what they were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FinishedConnections {
    /// Multipath TCP.
    pub multipath: u64,
    /// Plain TCP, by reason.
    pub fallback: BTreeMap<String, u64>,
    /// Never established.
    pub failed: u64,
    /// Bytes that they sent again on another subflow.
    pub bytes_reinjected: u64,
}
