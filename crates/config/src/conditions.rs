//! When a rule applies.

use crate::prefix::Prefix;
use crate::program::Program;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Who began the connection.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A program here.
    Out,
    /// The peer.
    In,
}

impl FromStr for Direction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "out" => Ok(Direction::Out),
            "in" => Ok(Direction::In),
            _ => Err(format!("unknown direction '{text}'; known: out, in")),
        }
    }
}

/// A connection, before it is there.
#[derive(Copy, Clone, Debug)]
pub struct Subject<'a> {
    program: Option<&'a Program>,
    direction: Direction,
    port: u16,
    remote: IpAddr,
}

impl<'a> Subject<'a> {
    /// One that `program` opens to `remote`.
    #[must_use]
    pub fn outgoing(program: Option<&'a Program>, remote: SocketAddr) -> Self {
        Subject { program, direction: Direction::Out, port: remote.port(), remote: remote.ip().to_canonical() }
    }

    /// One from `remote` to `local`, where `program` listens.
    #[must_use]
    pub fn incoming(program: Option<&'a Program>, local: SocketAddr, remote: SocketAddr) -> Self {
        Subject { program, direction: Direction::In, port: local.port(), remote: remote.ip().to_canonical() }
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.program.map_or("a connection", Program::name);
        match self.direction {
            Direction::Out => write!(f, "{program} to {}", SocketAddr::new(self.remote, self.port)),
            Direction::In => write!(f, "{program} on port {} from {}", self.port, self.remote),
        }
    }
}

/// All of them have to hold; of several values of one, any. An empty list always holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions {
    /// Names or paths of programs.
    pub programs: Vec<String>,
    /// The server's port: the peer's where a program connects, its own where it listens.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Where the peer is.
    pub remotes: Vec<Prefix>,
    /// Who began it.
    pub direction: Option<Direction>,
}

impl Conditions {
    /// Whether they hold. Where the program is not known, no condition on it does.
    #[must_use]
    pub fn hold(&self, subject: &Subject<'_>) -> bool {
        let Conditions { programs, ports, remotes, direction } = self;
        let named = |program: &Program| programs.iter().any(|wanted| program.is(wanted));
        (programs.is_empty() || subject.program.is_some_and(named))
            && (ports.is_empty() || ports.iter().any(|range| range.contains(&subject.port)))
            && (remotes.is_empty() || remotes.iter().any(|prefix| prefix.contains(subject.remote)))
            && direction.is_none_or(|direction| direction == subject.direction)
    }
}
