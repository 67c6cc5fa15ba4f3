//! A deterministic network under a virtual clock for the polypath stack.
//!
//! Hosts with real stacks, links with rate, delay, queue and loss, switches and middleboxes, all driven by one event
//! heap: no wall-clock time, no threads, no sockets. Every draw comes from one seed, so the same experiment gives the
//! same packets at the same nanoseconds, always.
//!
//! - [`Transfer`] is the standard experiment: one connection between two hosts over some paths. [`random::transfer`]
//!   draws one from a seed.
//! - [`Network`] is what it is built on: any hosts, switches and links, with an [`Application`] on each host.
//! - The oracle fails a run on a wrong byte, a stall, a deadlock, a packet storm or a stack that does not come to
//!   rest: [`Failure`].
//! - [`Trace`] writes what happened, packet by packet.
//!
//! Payload is made from its position ([`Pattern`]) and moved by reference; nobody copies or sums it unless an
//! experiment asks for that.

#![forbid(unsafe_code)]

mod app;
mod event;
pub mod fairness;
pub mod faults;
pub mod grid;
mod host;
pub mod link;
pub mod middlebox;
mod network;
mod oracle;
mod packet;
mod packet_text;
mod pattern;
mod peer;
pub mod random;
mod red;
mod report;
pub mod rng;
mod schedule;
pub mod seeds;
mod slab;
mod stream;
mod topology;
mod trace;
mod transfer;

pub use app::{Application, Context, Seen};
pub use event::EventHeap;
pub use host::{Fault, Host};
pub use link::{LinkParams, Rate};
pub use middlebox::{Direction, Middlebox};
pub use network::Network;
pub use oracle::{Failure, Limits, Observation, Oracle};
pub use packet::{Digest, Flow, Packet};
pub use pattern::{Mismatch, Pattern};
pub use peer::Peer;
pub use red::{Red, RedState};
pub use report::{EndReport, Failed, LinkReport, Report};
pub use schedule::{Change, When};
pub use stream::{Finish, Pace, Stream, StreamError, StreamPlan};
pub use topology::{Checksums, LinkIndex, LinkSpec, NodeId};
pub use trace::Trace;
pub use transfer::{CLIENT, PORT, PathSpec, SERVER, Transfer, client_addr, client_link, path_link, server_addr};
