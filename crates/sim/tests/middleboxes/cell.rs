//! One cell of the matrix: which boxes stand where, and what came of it.

use std::fmt;
use std::time::Duration;

use polypath_proto::{ConnectionError, FallbackReason};
use polypath_sim::middlebox::{Spec, TOKEN};

/// Boxes on the paths of a connection, and whether it has DSS checksums.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Cell {
    /// With the path each stands on, 0 or 1; several on one path in this order, seen from the client.
    pub(crate) boxes: Vec<(usize, Spec)>,
    pub(crate) checksums: bool,
}

impl Cell {
    /// All bytes that may come through altered.
    pub(crate) fn replacements(&self) -> Vec<&'static [u8]> {
        self.boxes.iter().filter_map(|(_, spec)| spec.replacement()).collect()
    }

    /// Lengths change, and there are no checksums.
    pub(crate) fn may_be_corrupted(&self) -> bool {
        !self.checksums && self.replacements().iter().any(|with| with.len() != TOKEN.len())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for path in 0..2 {
            let names: Vec<String> =
                self.boxes.iter().filter(|(on, _)| *on == path).map(|(_, spec)| spec.to_string()).collect();
            let name = if names.is_empty() { "-".to_owned() } else { names.join("+") };
            write!(f, "{}{name}", if path == 0 { "" } else { " | " })?;
        }
        f.write_str(if self.checksums { " (checksums)" } else { "" })
    }
}

/// What becomes of a connection.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Outcome {
    /// Multipath TCP to the end, and no subflow was lost.
    Multipath,
    /// Multipath TCP to the end; a subflow was closed, or could not be opened.
    Subflow,
    /// It goes on as plain TCP, or was that from the beginning.
    Fallback,
    /// An application gets an error.
    Reset,
    /// Bytes are out of place, and nobody is aware of it.
    Corrupt,
}

impl Outcome {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Multipath => "multipath",
            Self::Subflow => "subflow",
            Self::Fallback => "fallback",
            Self::Reset => "reset",
            Self::Corrupt => "corrupt",
        }
    }
}

/// A run, seen from outside.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) outcome: Outcome,
    /// Places where an application received something else than was sent: what a gateway, or bad memory, made of it.
    pub(crate) altered: usize,
    /// Why it fell back, at the client and at the server.
    pub(crate) fallback: [Option<FallbackReason>; 2],
    pub(crate) errors: [Option<ConnectionError>; 2],
    /// Longest time in which nothing got on, the applications' own pause left out.
    pub(crate) silence: Duration,
    pub(crate) frames: u64,
}

impl Seen {
    /// As the matrix has it.
    pub(crate) fn letter(&self) -> char {
        match (self.outcome, self.altered > 0) {
            (Outcome::Multipath | Outcome::Subflow, true) => 'a',
            (Outcome::Multipath, false) => 'M',
            (Outcome::Subflow, false) => 's',
            (Outcome::Fallback, true) => 'f',
            (Outcome::Fallback, false) => 'F',
            (Outcome::Reset, _) => 'R',
            (Outcome::Corrupt, _) => 'x',
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.outcome.text())?;
        if self.altered > 0 {
            write!(f, ", {} places altered", self.altered)?;
        }
        for (end, what) in ["client", "server"].iter().zip(&self.fallback) {
            what.map_or(Ok(()), |what| write!(f, ", {end}: {what:?}"))?;
        }
        for (end, what) in ["client", "server"].iter().zip(&self.errors) {
            what.map_or(Ok(()), |what| write!(f, ", {end}: {what:?}"))?;
        }
        write!(f, ", silent for {:.1} s", self.silence.as_secs_f64())
    }
}
