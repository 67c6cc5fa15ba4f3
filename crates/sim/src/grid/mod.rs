//! The grid: paths that differ, and what a connection makes of them.
//!
//! - [`scenario`] is the table of experiments, for virtual time here and for real time in the lab; [`figure`] what is
//!   measured in them, by which name and against which bar.
//! - [`run`] runs one of them once in virtual time, [`simulate`] all of them.
//! - [`record`] and [`series`] turn what a run has shown into numbers, [`account`] these into figures, [`report`] tells
//!   them. They know nothing of how it was run.

pub mod account;
mod chart;
mod end;
pub mod figure;
mod page;
pub mod record;
pub mod report;
pub mod run;
pub mod scenario;
pub mod series;
pub mod simulate;
pub mod windows;
