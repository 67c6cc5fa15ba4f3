//! The stack as the network of programs: which of their connections go over it.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};

use polypath_net::{Host, ListenOptions, MptcpListener, MptcpStream};

use crate::network::{Listen, NetListener, NetStream, Network};

/// Connections of programs over a [`Host`], attached to interfaces or with addresses of its own.
#[derive(Clone, Debug)]
pub struct HostNetwork {
    host: Host,
}

impl HostNetwork {
    /// Over `host`, whose [`shutdown`](Host::shutdown) delivers what programs have left behind.
    #[must_use]
    pub fn new(host: Host) -> HostNetwork {
        HostNetwork { host }
    }
}

impl Network for HostNetwork {
    type Stream = MptcpStream;
    type Listener = MptcpListener;

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
            let stream = match local.filter(|local| !local.ip().is_unspecified() || local.port() != 0) {
                Some(local) => MptcpStream::connect_from(&host, local, remote).await?,
                None => MptcpStream::connect(&host, remote).await?,
            };
            // Whether the program has set TCP_NODELAY shows nowhere on the way of its data, and may change: what it
            // writes is never held back. The pipe to the supervisor gathers what the network does not take at once.
            stream.set_nodelay(true)?;
            Ok(stream)
        }
    }

    fn listen(&self, local: SocketAddr, with: Listen) -> io::Result<Option<MptcpListener>> {
        if !local.ip().is_unspecified() && !self.host.has_address(local.ip().to_canonical()) {
            return Ok(None);
        }
        // The shadow holds the address.
        let options = ListenOptions { backlog: with.backlog, v6only: with.v6_only, held: true };
        let listener = MptcpListener::bind_with(&self.host, local, options)?;
        listener.set_fast_open(with.fast_open)?;
        Ok(Some(listener))
    }

    fn release_port(&self, port: u16) {
        // Where the host has stopped it holds nothing.
        let _ = self.host.release_port(port);
    }

    fn carries(&self, remote: IpAddr) -> bool {
        self.host.carries(remote.to_canonical())
    }

    fn owns(&self, address: IpAddr) -> bool {
        !self.host.is_attached() && self.host.has_address(address)
    }
}

impl NetListener for MptcpListener {
    type Stream = MptcpStream;

    async fn accept(&self) -> io::Result<(MptcpStream, SocketAddr)> {
        let (stream, peer) = MptcpListener::accept(self).await?;
        // As for connections that go out.
        stream.set_nodelay(true)?;
        Ok((stream, peer))
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
