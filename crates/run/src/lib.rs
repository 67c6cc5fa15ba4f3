//! Unmodified programs over polypath, by seccomp user notification.

mod address;
mod attempt;
mod bpf;
mod bridge;
mod identity;
mod link;
mod memory;
mod network;
mod notify;
mod preflight;
mod runner;
mod signals;
mod socket;
mod spawn;
mod stack_network;
mod supervisor;
mod sys;
mod syscalls;
mod table;

pub use network::{NetStream, Network};
pub use preflight::{Missing, preflight};
pub use runner::{Options, RunError, Runner};
pub use stack_network::StackNetwork;
