//! The configuration file, and the rules in it: which connections are treated how.
//!
//! [`File`] reads TOML: settings, which are the command's long flags by the same names, and `[[rule]]` tables. [`Rules`]
//! holds connections against these; what comes of it is the [`ConnectOptions`](polypath_proto::ConnectOptions) of a
//! connection that is opened, or an [`AcceptPolicy`](polypath_proto::AcceptPolicy) for those that are accepted. Nothing
//! here knows sockets or processes: who opens a connection says whose it is.
#![forbid(unsafe_code)]

mod conditions;
mod file;
mod metered;
mod prefix;
mod program;
mod rule;
mod rules;
mod table;

pub use conditions::{Conditions, Direction, Subject};
pub use file::{Error, File, Setting, Value};
pub use metered::{Metered, MeteredPath};
pub use prefix::Prefix;
pub use program::Program;
pub use rule::{Rule, RulePath, Treatment};
pub use rules::Rules;
