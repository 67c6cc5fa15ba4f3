//! Fault simulation: random networks, programs and troubles, with oracles after every event.
//!
//! One way: [`draw`] (a seed becomes a scenario) -> [`scenario`] (a plain value; text and back) -> `build` (a network of it,
//! with the `boxes` on its links) -> [`judge`] (runs it; `program` is what runs on the hosts, `wire` watches their packets,
//! `bounds` their memory and their number, `paths` says what may be expected) -> [`mod@shrink`] (the smallest scenario that
//! still fails) -> [`campaign`] (many seeds on all cores).

pub mod campaign;
pub mod draw;
pub mod judge;
pub mod scenario;
pub mod shrink;

mod bounds;
mod boxes;
mod build;
mod describe;
mod paths;
mod program;
mod wire;

pub use judge::{Failure, Kind, Outcome, run};
pub use scenario::Scenario;
