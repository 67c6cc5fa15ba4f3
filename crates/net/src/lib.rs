//! The polypath stack on a Linux host: TUN device, event loop, tokio streams.
//!
//! A [`Host`] is one stack with addresses of its own, attached to the kernel by a TUN device.
//! [`MptcpStream`] and [`MptcpListener`] are used like their counterparts in [`tokio::net`], and
//! take the host as their first argument.
//!
//! Packets of up to 64 KB pass the device in one read or write: segmentation, checksums and their
//! counterparts on the way in are left to the kernel and the network card (`IFF_VNET_HDR`). The
//! device is read by one thread of its own; writes go out from the thread that wrote.
//!
//! It needs `CAP_NET_ADMIN` in the network namespace, `/dev/net/tun`, and Linux 5.11.

mod attach;
mod buffer;
mod capture;
mod clock;
pub mod control;
mod device;
mod driver;
mod error;
mod event_json;
mod handle;
mod host;
mod ledger;
mod listener;
mod mib;
mod monitor;
mod pcapng;
mod poller;
mod shared;
mod snapshot;
mod socket;
mod split;
mod spool;
mod stats;
mod stream;
mod task;
#[cfg(test)]
#[path = "../tests/kernel/namespace.rs"]
mod testing;
mod trace;
mod transmit;
mod waiting;

pub use attach::{
    AttachOptions, Effect, FoundPath, Obstacle, PathOptions, probe_filters, probe_instances, probe_nftables,
    probe_paths, probe_tun,
};
pub use capture::{Capture, Captured};
pub use event_json::event_json;
pub use handle::ConnectionHandle;
pub use host::{Host, HostBuilder};
pub use listener::{ListenOptions, MptcpListener};
pub use monitor::Monitor;
pub use snapshot::{ConnectionSnapshot, EndedSubflow, FinishedConnections, PathSnapshot, Snapshot, SubflowSnapshot};
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use stats::DeviceStats;
pub use stream::MptcpStream;
pub use trace::TraceFile;
