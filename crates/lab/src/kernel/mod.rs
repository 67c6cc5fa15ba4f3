//! The real kernel at the ends: servers and clients with ordinary sockets inside a namespace, and what the kernel
//! counted of Multipath TCP.

mod client;
mod counters;
mod http;
mod info;
mod server;
mod transfer;

use std::io;

use socket2::{Domain, Protocol, Socket, Type};

pub use client::KernelClient;
pub use counters::MptcpCounters;
pub use http::serve as serve_http;
pub use info::{SentBytes, receive_window, sent_bytes};
pub use server::{KernelServer, ServerConfig, Service, listen};
pub use transfer::{Transfer, exchange};

/// What a kernel socket speaks.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Transport {
    /// IPPROTO_TCP.
    Tcp,
    /// IPPROTO_MPTCP.
    Mptcp,
}

impl Transport {
    /// A socket in the calling thread's namespace.
    fn socket(self, domain: Domain) -> io::Result<Socket> {
        let protocol = match self {
            Self::Tcp => Protocol::TCP,
            Self::Mptcp => Protocol::MPTCP,
        };
        Socket::new(domain, Type::STREAM, Some(protocol))
            .map_err(|error| io::Error::new(error.kind(), format!("cannot open a {self:?} socket: {error}")))
    }
}
