//! Who is compared.

use std::fmt;

use polypath_proto::Config;
use polypath_proto::congestion::CongestionKind;
use polypath_proto::path_manager::PathManagerKind;

/// polypath's stack in one of its ways, at both ends of all flows.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Contender {
    /// Plain TCP.
    Tcp,
    /// Multipath TCP with so many subflows between the two addresses.
    Mptcp(usize),
}

impl Contender {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Mptcp(2), Self::Mptcp(4)];

    /// How many subflows a connection is meant to have.
    #[must_use]
    pub const fn subflows(self) -> usize {
        match self {
            Self::Tcp => 1,
            Self::Mptcp(subflows) => subflows,
        }
    }

    /// As the stack comes, but for the subflows and their congestion control. Coupled ones are NewReno in plain TCP.
    pub(super) fn config(self, congestion: CongestionKind) -> Config {
        let config = Config { congestion, ..Config::default() };
        match self {
            Self::Tcp => Config { multipath: false, ..config },
            Self::Mptcp(subflows) => Config { path_manager: PathManagerKind::Ndiffports(subflows), ..config },
        }
    }
}

/// What its figures are called: `tcp`, `mptcp4`.
impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Mptcp(subflows) => write!(f, "mptcp{subflows}"),
        }
    }
}
