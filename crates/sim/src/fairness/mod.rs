//! Fairness: what a connection over several paths takes from others, and gets itself, by its congestion control.
//!
//! [`scenario`] is the table: links, who is on them, what is asked. [`run`] runs one of them once over the [`network`] with
//! the programs of `bulk`; [`simulate`] all of them with each congestion control, each beside its controls, in which
//! single-path flows take the places of the connections with several. [`account`] makes figures, told by the grid's report.

pub mod account;
mod bulk;
pub mod network;
pub mod run;
pub mod scenario;
pub mod simulate;
