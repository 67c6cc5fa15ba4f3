//! The stack as the network of a program.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};

use polypath_net::{Host, MptcpStream};

use crate::network::{NetStream, Network};

/// Connections of programs, over a [`Host`].
#[derive(Clone, Debug)]
pub struct StackNetwork {
    host: Host,
}

impl StackNetwork {
    /// Over `host`, whose [`shutdown`](Host::shutdown) delivers what programs have left behind.
    #[must_use]
    pub fn new(host: Host) -> StackNetwork {
        StackNetwork { host }
    }
}

impl Network for StackNetwork {
    type Stream = MptcpStream;

    fn connect(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
    ) -> impl Future<Output = io::Result<MptcpStream>> + Send {
        let host = self.host.clone();
        async move {
            match local {
                Some(local) => MptcpStream::connect_from(&host, local, remote).await,
                None => MptcpStream::connect(&host, remote).await,
            }
        }
    }

    fn owns(&self, address: IpAddr) -> bool {
        self.host.has_address(address)
    }
}

impl NetStream for MptcpStream {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        MptcpStream::local_addr(self)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        MptcpStream::peer_addr(self)
    }

    fn abort(&self) {
        // Fails on a stream that has ended, where there is nothing left to reset.
        let _ = MptcpStream::abort(self);
    }
}
