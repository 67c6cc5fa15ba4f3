//! What is run: a load, who speaks at its two ends, over how many subflows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the applications do.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Load {
    /// One connection carries data one way without end.
    Bulk(Way),
    /// Requests of `size` bytes, each answered by as many, one at a time on each of `connections`.
    Rpc {
        /// Bytes of a request, and of an answer.
        size: usize,
        /// At once.
        connections: usize,
    },
    /// Connections that are opened, carry 1 KB each way, and are closed.
    Connect,
    /// Connections that are there and do nothing.
    Idle {
        /// So many.
        connections: usize,
    },
}

impl Load {
    /// Its group, by which `--only` knows it.
    #[must_use]
    pub const fn group(self) -> Group {
        match self {
            Self::Bulk(_) => Group::Bulk,
            Self::Rpc { .. } => Group::Rpc,
            Self::Connect => Group::Connect,
            Self::Idle { .. } => Group::Idle,
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bulk(Way::Up) => write!(f, "bulk"),
            Self::Bulk(Way::Down) => write!(f, "bulk back"),
            Self::Rpc { size, connections } if size % 1024 == 0 => write!(f, "{} KB x{connections}", size / 1024),
            Self::Rpc { size, connections } => write!(f, "{size} B x{connections}"),
            Self::Connect => write!(f, "connect"),
            Self::Idle { connections } => write!(f, "idle x{connections}"),
        }
    }
}

/// Where bulk data goes.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// The parts of a run of `polypath bench`.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Group {
    /// How much, for how much work.
    Bulk,
    /// How many requests, how fast answered.
    Rpc,
    /// How many connections.
    Connect,
    /// How much memory for each, and whether many cost time.
    Idle,
}

impl Group {
    /// All of them, in the order of a report.
    pub const ALL: [Self; 4] = [Self::Bulk, Self::Rpc, Self::Connect, Self::Idle];

    /// As `--only` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Rpc => "rpc",
            Self::Connect => "connect",
            Self::Idle => "idle",
        }
    }

    /// What its rate is measured in.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Bulk => "Gbit/s",
            Self::Rpc => "requests/s",
            Self::Connect => "connections/s",
            Self::Idle => "bytes/end",
        }
    }
}

/// Who speaks at an end.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Who {
    /// A kernel TCP socket.
    KernelTcp,
    /// A kernel Multipath TCP socket.
    KernelMptcp,
    /// polypath's library, its stack in a task of the program's runtime.
    Library,
    /// The same with the stack in a thread of its own, as it is by default.
    Thread,
    /// The same, in which applications hand over pieces of memory and are handed them, instead of copying.
    Pieces,
    /// The same without any offload, and with small packets.
    NoOffload,
    /// A kernel TCP socket in a program under `polypath run`.
    Run,
}

impl Who {
    /// Whether a stack in user space has the addresses for itself.
    #[must_use]
    pub const fn owns_addresses(self) -> bool {
        matches!(self, Self::Library | Self::Thread | Self::Pieces | Self::NoOffload)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::KernelTcp => "kernel TCP",
            Self::KernelMptcp => "kernel MPTCP",
            Self::Library => "polypath",
            Self::Thread => "polypath in a thread",
            Self::Pieces => "polypath, no copies",
            Self::NoOffload => "polypath without offload",
            Self::Run => "polypath run",
        }
    }
}

/// One contender with one load.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Case {
    /// What is done.
    pub load: Load,
    /// Who connects.
    pub client: Who,
    /// Who listens.
    pub server: Who,
    /// Subflows of each connection, 1 to 8.
    pub paths: usize,
}

impl Case {
    /// The same at both ends.
    #[must_use]
    pub const fn between(load: Load, who: Who, paths: usize) -> Self {
        Self { load, client: who, server: who, paths }
    }

    /// Both ends and the subflows: `polypath x2`, `polypath run -> kernel MPTCP x2`.
    #[must_use]
    pub fn who(&self) -> String {
        let (client, server) = (self.client.name(), self.server.name());
        let (from, to) = if self.load == Load::Bulk(Way::Down) { (server, client) } else { (client, server) };
        let ends = if from == to { from.to_owned() } else { format!("{from} -> {to}") };
        if self.client == Who::KernelTcp { ends } else { format!("{ends} x{}", self.paths) }
    }

    /// Whether no byte of it goes through polypath.
    pub(crate) fn is_kernel_alone(&self) -> bool {
        [self.client, self.server].iter().all(|who| matches!(who, Who::KernelTcp | Who::KernelMptcp))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.load, self.who())
    }
}
