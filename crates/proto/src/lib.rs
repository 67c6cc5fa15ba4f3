//! A sans-I/O Multipath TCP stack (RFC 8684 over RFC 9293).
//!
//! The caller owns memory, clock and randomness: packets and the time go in through [`Stack::handle_packet`]
//! and [`Stack::handle_timeout`], packets come out of [`Stack::poll_transmit`], the next deadline out of
//! [`Stack::poll_timeout`], and news for the application out of [`Stack::poll_event`]. One mutation, then
//! drain all of them. The same code runs on a host (`polypath-net`) and under a virtual clock
//! (`polypath-sim`).
//!
//! Rooms, each using only those to its left: `seq`, `time`, `buffer` <- `tcp` <- `mptcp` <- `stack`;
//! [`congestion`], [`scheduler`] and [`path_manager`] see read-only views and answer with decisions.
#![forbid(unsafe_code)]

mod buffer;
mod config;
pub mod congestion;
mod ends;
mod journal;
pub mod mib;
mod mptcp;
pub mod path_manager;
mod path_policy;
pub mod scheduler;
pub mod seq;
mod stack;
mod tcp;
pub mod time;
pub mod trace;

pub use config::{Config, ConnectOptions, EcnMode, Keepalive, LinkConfig, LocalAddress, Mechanisms};
pub use ends::Ends;
pub use mptcp::{
    CloseReason, ConnectionError, ConnectionInfo, FallbackReason, MultipathState, Role, SessionInfo, SteeringError,
    SubflowInfo,
};
pub use path_policy::{PathName, PathPolicy, PathUse};
pub use polypath_wire::{ChecksumMode, HeaderBuf};
pub use stack::{
    AcceptPolicy, ConnectError, Connection, ConnectionId, DataHoldings, Event, Holdings, ListenAddr, ListenError,
    ListenerId, Received, RxChecksum, Stack, SubflowEvent, SynCookies, Transmit, TransmitBuf,
};
pub use tcp::{Counters, State, TcpInfo};
pub use time::{Duration, Instant};

/// A network attachment of the stack: a TUN queue on a host, an interface in a simulation.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// A subflow within its connection. Numbers are used again after a subflow is gone.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct SubflowId(pub u16);
