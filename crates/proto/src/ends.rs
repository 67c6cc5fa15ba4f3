//! The two ends of a connection or a subflow, where they are kept for long.

use core::fmt;
use std::net::{SocketAddr, SocketAddrV4};

/// A local and a remote end. Most are IPv4: those take 16 bytes instead of the 64 of two [`SocketAddr`]s.
#[derive(Clone, PartialEq, Eq)]
pub struct Ends(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    V4 { local: SocketAddrV4, remote: SocketAddrV4 },
    Other(Box<(SocketAddr, SocketAddr)>),
}

impl Ends {
    /// Keeps both.
    pub fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Ends(match (local, remote) {
            (SocketAddr::V4(local), SocketAddr::V4(remote)) => Kind::V4 { local, remote },
            both => Kind::Other(Box::new(both)),
        })
    }

    /// Ours.
    pub fn local(&self) -> SocketAddr {
        match &self.0 {
            Kind::V4 { local, .. } => SocketAddr::V4(*local),
            Kind::Other(both) => both.0,
        }
    }

    /// The peer's.
    pub fn remote(&self) -> SocketAddr {
        match &self.0 {
            Kind::V4 { remote, .. } => SocketAddr::V4(*remote),
            Kind::Other(both) => both.1,
        }
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}", self.local(), self.remote())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_come_back_and_ipv4_takes_little() {
        let ends = ["192.0.2.1:1", "192.0.2.2:2", "[2001:db8::1]:1", "[2001:db8::2]:2"];
        let ends = ends.map(|end| end.parse::<SocketAddr>().unwrap());
        for (local, remote) in ends.iter().flat_map(|local| ends.iter().map(move |remote| (*local, *remote))) {
            let kept = Ends::new(local, remote);
            assert_eq!((kept.local(), kept.remote()), (local, remote));
        }
        assert_eq!(size_of::<Ends>(), 16);
    }
}
