//! [`MptcpListener`], the counterpart of [`tokio::net::TcpListener`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use polypath_proto::{AcceptPolicy, ListenAddr, ListenerId};
use tokio::net::{ToSocketAddrs, lookup_host};

use crate::error;
use crate::host::Host;
use crate::socket::Socket;
use crate::stream::MptcpStream;
use crate::waiting::Phase;

/// Connections that may wait to be accepted, as in tokio.
const BACKLOG: usize = 1024;

/// How to listen.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// So many connections may wait to be accepted; 0 counts as 1. 1,024 unless set.
    pub backlog: usize,
    /// At the unspecified address of IPv6: no IPv4 (the socket option `IPV6_V6ONLY`). Then another listener may take
    /// that. Off unless set.
    pub v6only: bool,
    /// On an [attached](crate::HostBuilder::attach) host: the caller has bound a kernel socket to this address and
    /// port, and keeps it for as long as the listener lives. Off unless set: then the host binds one. See
    /// [`Host::release_port`].
    pub held: bool,
    /// Says how each connection is accepted. None unless set: all as the stack's [`Config`](polypath_proto::Config) has it.
    pub policy: Option<Arc<dyn AcceptPolicy>>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { backlog: BACKLOG, v6only: false, held: false, policy: None }
    }
}

/// Takes connections from Multipath TCP and from plain TCP clients.
///
/// It keeps its host running; dropping it refuses further connections.
#[derive(Debug)]
pub struct MptcpListener {
    host: Host,
    id: ListenerId,
    local: SocketAddr,
}

impl MptcpListener {
    /// Listens on `addr`: one of the host's addresses, or the unspecified one for all of them; that
    /// of IPv6 takes IPv4 clients too, which then show up with their IPv4 addresses. Port 0 lets the host choose; see [`local_addr`](Self::local_addr).
    ///
    /// On an [attached](crate::HostBuilder::attach) host, connections from outside to the addresses of its paths are
    /// taken, whatever the host's input filter says; programs of this host do not get there. Address and port are held
    /// by a kernel socket that does not listen, so that no program of this host has them, and none loses them. On a
    /// single address, connections are joined over the other paths as far as nobody else has the port there. All that
    /// stays so after the listener is dropped, until its last connection is gone (and has been for a minute: TIME-WAIT).
    ///
    /// # Errors
    /// [`AddrInUse`](io::ErrorKind::AddrInUse), [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable)
    /// where the host does not own the address, [`NetworkDown`](io::ErrorKind::NetworkDown) once it
    /// has stopped; on an attached host [`PermissionDenied`](io::ErrorKind::PermissionDenied) for a port below 1,024
    /// without `CAP_NET_BIND_SERVICE`, and what the kernel has against a change of the table. Where `addr` resolves to
    /// several addresses, the last one's error.
    pub async fn bind<A: ToSocketAddrs>(host: &Host, addr: A) -> io::Result<Self> {
        let mut result = Err(io::Error::new(io::ErrorKind::InvalidInput, "the name resolves to no address"));
        for local in lookup_host(addr).await? {
            result = Self::bind_with_backlog(host, local, BACKLOG);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// [`bind`](Self::bind) with a bound on the connections that wait to be accepted. In tokio it
    /// is `TcpSocket::listen`.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_with_backlog(host: &Host, local: SocketAddr, backlog: usize) -> io::Result<Self> {
        Self::bind_with(host, local, ListenOptions { backlog, ..ListenOptions::default() })
    }

    /// [`bind`](Self::bind) with everything that can be chosen. An IPv4 address in IPv6's clothes (`::ffff:192.0.2.1`)
    /// is that of IPv4. On an attached host this waits for the thread that follows the paths: mostly well below a
    /// millisecond.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); [`InvalidInput`](io::ErrorKind::InvalidInput) for port 0 that is said to be held.
    pub fn bind_with(host: &Host, local: SocketAddr, options: ListenOptions) -> io::Result<Self> {
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        let v6only = options.v6only && local.is_ipv6() && local.ip().is_unspecified();
        let (id, local) = host.listen(ListenAddr { local, v6only }, options)?;
        Ok(Self { host: host.clone(), id, local })
    }

    /// Where it listens, with the port chosen.
    ///
    /// # Errors
    /// None; the signature is tokio's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    /// Takes data that comes with SYNs (TCP Fast Open, RFC 7413) of so many connections at once whose handshakes are
    /// under way; 0: of none, as at first. Such data may come twice: the application has to stand that. As the socket
    /// option `TCP_FASTOPEN`.
    ///
    /// # Errors
    /// The host has stopped.
    pub fn set_fast_open(&self, limit: usize) -> io::Result<()> {
        self.host.shared().call(|core, _| core.stack.set_fast_open(self.id, limit))
    }

    /// Waits for a connection; with it comes the peer's address. Any number of tasks may wait.
    ///
    /// Cancel-safe: no connection is lost if the future is dropped.
    ///
    /// # Errors
    /// The host has stopped.
    pub async fn accept(&self) -> io::Result<(MptcpStream, SocketAddr)> {
        loop {
            let waiters = self
                .host
                .shared()
                .look(|core, _| core.waiting.accept_waiters(self.id))?
                .ok_or_else(error::not_connected)?;
            let notified = waiters.notified();
            tokio::pin!(notified);
            // Enlisted before looking, so that nothing falls between.
            notified.as_mut().enable();
            if let Some(accepted) = self.try_accept()? {
                return Ok(accepted);
            }
            notified.await;
        }
    }

    /// Polls for [`accept`](Self::accept). It remembers the last polling task only.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(MptcpStream, SocketAddr)>> {
        // Enlisted before looking, as in `accept`.
        let _: Poll<()> = self.host.shared().look(|core, _| core.waiting.register_accept(self.id, cx))?;
        match self.try_accept()? {
            Some(accepted) => Poll::Ready(Ok(accepted)),
            None => Poll::Pending,
        }
    }

    fn try_accept(&self) -> io::Result<Option<(MptcpStream, SocketAddr)>> {
        let socket = self.host.shared().call(|core, now| {
            // One that ended before it was accepted is passed over.
            while let Some(id) = core.stack.accept(self.id) {
                if let Ok(socket) = Socket::adopt(&self.host, core, now, id, Phase::Connected) {
                    return Some(socket);
                }
            }
            None
        })?;
        Ok(socket.map(|socket| {
            let peer = socket.peer_addr();
            (MptcpStream::new(socket), peer)
        }))
    }
}

impl Drop for MptcpListener {
    fn drop(&mut self) {
        // Where the host has stopped nobody listens any more.
        let _ = self.host.shared().call(|core, now| {
            core.waiting.remove_listener(self.id);
            core.stack.close_listener(now, self.id);
        });
        self.host.listener_closed(self.id);
    }
}
