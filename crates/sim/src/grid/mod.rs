//! The grid: paths that differ, and what a connection makes of them.
//!
//! [`scenario`] is the table of experiments, for virtual time here and for real time in the lab; [`figure`] what is
//! measured in them, by which name and against which bar.

pub mod figure;
pub mod report;
pub mod scenario;
