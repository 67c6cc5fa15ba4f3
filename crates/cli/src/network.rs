//! Which of a program's connections go over the stack.

use polypath_net::{Host, MptcpStream};
use polypath_run::Network;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Connections of programs over a [`Host`], attached to interfaces or with addresses of its own.
#[derive(Clone, Debug)]
pub(crate) struct HostNetwork {
    host: Host,
}

impl HostNetwork {
    pub(crate) fn new(host: Host) -> HostNetwork {
        HostNetwork { host }
    }
}

impl Network for HostNetwork {
    type Stream = MptcpStream;

    fn connect(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
    ) -> impl Future<Output = io::Result<MptcpStream>> + Send {
        let host = self.host.clone();
        // A port that the kernel has given the program is the kernel's: what comes for it would not reach the stack.
        let port = |local: SocketAddr| if host.is_attached() { 0 } else { local.port() };
        let local = local.map(|local| SocketAddr::new(local.ip(), port(local)));
        async move {
            match local.filter(|local| !local.ip().is_unspecified() || local.port() != 0) {
                Some(local) => MptcpStream::connect_from(&host, local, remote).await,
                None => MptcpStream::connect(&host, remote).await,
            }
        }
    }

    fn carries(&self, remote: IpAddr) -> bool {
        self.host.carries(remote.to_canonical())
    }

    fn owns(&self, address: IpAddr) -> bool {
        !self.host.is_attached() && self.host.has_address(address)
    }
}
