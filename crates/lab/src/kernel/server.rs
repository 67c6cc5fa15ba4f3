//! Programs with kernel sockets in a namespace, as servers.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::Domain;

use super::transfer::{echo, sink};
use super::{Transfer, Transport, exchange, http};
use crate::namespace::Namespace;
use crate::payload::Hasher;
use crate::sys::{self, ReadableSet};

/// What a server does with each connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Service {
    /// HTTP; see [`super::serve_http`].
    Http,
    /// Sends this many bytes of the payload and ends, while it reads and hashes whatever the client sends.
    Exchange {
        /// Bytes to send; 0 closes the sending side at once.
        send: u64,
    },
    /// Reads to the end, then answers with the 32 bytes of the SHA-256.
    Sink,
    /// Sends back what it reads.
    Echo,
}

/// How a server listens.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ServerConfig {
    /// What its sockets speak.
    pub transport: Transport,
    /// The port; 0 lets the kernel choose.
    pub port: u16,
    /// What it does.
    pub service: Service,
    /// The seed of what it sends.
    pub seed: u64,
}

/// A server inside a namespace on all its addresses, IPv4 and IPv6. It listens until it is dropped: Linux resets a
/// join (RFC 8684 section 3.2) once the listening socket of its connection is closed.
pub struct KernelServer {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

struct Shared {
    wake: OwnedFd,
    stop: AtomicBool,
    finished: Mutex<Vec<(SocketAddr, Result<Transfer, String>)>>,
    changed: Condvar,
}

impl KernelServer {
    /// Starts listening.
    ///
    /// # Errors
    /// Those of the sockets; MPTCP sockets need `net.mptcp.enabled=1` in the namespace.
    pub fn start(namespace: &Namespace, config: ServerConfig) -> io::Result<Self> {
        let listener = listen(namespace, config.transport, config.port)?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            wake: sys::event_fd()?,
            stop: AtomicBool::new(false),
            finished: Mutex::default(),
            changed: Condvar::new(),
        });
        let for_thread = Arc::clone(&shared);
        let accept = move || for_thread.accept(&listener, config);
        let thread = thread::Builder::new().name("server".into()).spawn(accept)?;
        Ok(Self { port, shared, thread: Some(thread) })
    }

    /// The port it listens on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Where a client reaches it at `address`.
    #[must_use]
    pub fn at(&self, address: impl Into<IpAddr>) -> SocketAddr {
        SocketAddr::new(address.into(), self.port)
    }

    /// Waits until `count` connections have ended, at most for `timeout`, and returns those that have: the client's
    /// address, and what was transferred or why it failed.
    #[must_use]
    pub fn finished(&self, count: usize, timeout: Duration) -> Vec<(SocketAddr, Result<Transfer, String>)> {
        let finished = self.shared.finished.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.changed.wait_timeout_while(finished, timeout, |finished| finished.len() < count);
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

impl Drop for KernelServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        sys::signal(&self.shared.wake);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Accepts connections and gives each a thread. A thread ends with its connection, not with the server.
    fn accept(self: Arc<Self>, listener: &TcpListener, config: ServerConfig) -> io::Result<()> {
        let mut readable = ReadableSet::new([self.wake.as_fd(), listener.as_fd()]);
        while !self.stop.load(Relaxed) {
            readable.wait(None)?;
            match listener.accept() {
                Ok((stream, peer)) => {
                    let shared = Arc::clone(&self);
                    thread::Builder::new()
                        .name("connection".into())
                        .spawn(move || shared.serve(&stream, peer, config))?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The connection died in the queue; others wait.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn serve(&self, stream: &TcpStream, peer: SocketAddr, config: ServerConfig) {
        let result = stream.set_nonblocking(false).and_then(|()| match config.service {
            Service::Http => {
                let mut stream = stream;
                let nothing = Hasher::default().finish();
                http::serve(&mut stream, config.seed).map(|sent| Transfer {
                    sent,
                    received: 0,
                    received_sha256: nothing,
                })
            }
            Service::Exchange { send } => exchange(stream, config.seed, send),
            Service::Sink => sink(stream),
            Service::Echo => echo(stream),
        });
        let result = result.map_err(|error| error.to_string());
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).push((peer, result));
        self.changed.notify_all();
    }
}

/// A listening socket inside `namespace` on all its addresses, IPv4 and IPv6; port 0 lets the kernel choose.
///
/// # Errors
/// Those of the socket.
pub fn listen(namespace: &Namespace, transport: Transport, port: u16) -> io::Result<TcpListener> {
    namespace.run(|| {
        // One socket for both families: joins may come over either.
        let socket = transport.socket(Domain::IPV6)?;
        socket.set_only_v6(false)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
        socket.listen(1024)?;
        Ok(socket.into())
    })?
}
