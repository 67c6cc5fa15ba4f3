//! Experiments in real time: namespaces, emulated links, real kernels and real programs.
//!
//! - [`scenario`]: a client and a server in namespaces of their own, with an emulated link for each path between
//!   them ([`link`] is its arithmetic);
//! - [`kernel`]: servers and clients with kernel sockets in such a namespace, and what the kernel counted;
//! - [`payload`]: content that can be checked by its hash;
//! - [`physics`]: whether the links are true;
//! - [`demo`]: an unmodified curl downloads over Wi-Fi and LTE while Wi-Fi dies and comes back;
//! - [`grid`]: paths that differ, and what kernel TCP, kernel Multipath TCP and polypath make of them;
//! - [`soak`]: a program with many connections for a long time, while paths come and go;
//! - [`fairness`]: what coupled congestion control takes from kernel TCP on a bottleneck that both share;
//! - [`ecmp`]: eight hosts behind routers with several paths of equal cost, TCP beside Multipath TCP;
//! - [`preflight`]: what a machine must offer for all this.
//!
//! Everything needs CAP_NET_ADMIN and CAP_SYS_ADMIN, touches nothing outside the namespaces it makes, and leaves
//! nothing behind.

pub mod demo;
pub mod ecmp;
mod emulator;
pub mod fairness;
pub mod grid;
pub mod kernel;
pub mod link;
mod namespace;
pub mod payload;
pub mod physics;
pub mod preflight;
pub mod scenario;
mod setup;
pub mod soak;
mod sys;
pub mod tshark;
mod tun;

pub use emulator::{Direction, Lateness};
pub use namespace::{InterfaceCounters, Namespace};
pub use scenario::{Owner, PathSpec, Scenario};
