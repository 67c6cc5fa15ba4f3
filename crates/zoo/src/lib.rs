//! The test zoo: unmodified programs under `polypath run`, over two emulated paths, against the kernel.
//!
//! Each [`Entry`] is a program in one role: as a client of a server with kernel Multipath TCP, or as a server for
//! clients with kernel Multipath TCP and with plain TCP. It works once undisturbed, and once while one of the paths is
//! cut silently and comes back in mid-work. What arrives is compared with what was sent; polypath's events, the
//! uplinks' counters and those of the peer's kernel show that it was polypath that carried it, over both paths.
//!
//! - [`entries`]: what is tried;
//! - [`packages`]: what has to be installed for that;
//! - [`enclose`]: a place of its own for all the processes and files;
//! - [`run`]: tries it;
//! - [`report`]: what came of it.

mod act;
mod disturb;
mod enclosure;
pub mod entries;
mod evidence;
pub mod packages;
mod process;
mod programs;
pub mod report;
mod run;
mod stage;

pub use enclosure::{Enclosure, enclose};
pub use entries::{Entry, Role};
pub use evidence::Evidence;
pub use run::{Options, run};
