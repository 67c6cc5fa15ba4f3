//! What the supervisor asks of the network under it.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, ready};
use std::io;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use polypath_config::Program;
use polypath_proto::{ConnectionInfo, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::settings::Settings;

/// A network that can open streams: the stack, or in tests the kernel's TCP.
pub trait Network: Send + Sync + 'static {
    /// An established connection. Dropping it closes it in order: what was written is still
    /// delivered in the background, followed by a FIN.
    type Stream: AsyncRead + AsyncWrite + NetStream + Unpin + Send + 'static;

    /// Takes connections that come in; [`NoListener`] for a network of clients.
    type Listener: NetListener<Stream = Self::Stream>;

    /// Opens a connection to `remote`. `local` is what the program bound: its address may be
    /// unspecified and its port may be 0.
    ///
    /// # Errors
    /// The error becomes the program's errno: `raw_os_error` if there is one, else the
    /// [`io::ErrorKind`] is mapped (refused, timed out, unreachable, …).
    fn connect(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// [`connect`](Self::connect) as the program wants it. The default knows no settings and writes the data afterwards.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and as a write.
    fn open(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        opening: Opening,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send {
        async move {
            let mut stream = self.connect(remote, local).await?;
            stream.write_all(&opening.data).await?;
            Ok(stream)
        }
    }

    /// Whether data would go with the SYN of a connection to `remote` (TCP Fast Open): a program that does not wait for its
    /// connection may then give some before it is there.
    fn takes_early_data(&self, remote: IpAddr) -> bool {
        let _ = remote;
        false
    }

    /// Whether it matters which program opens a connection or listens. To find out costs some microseconds.
    fn asks_for_programs(&self) -> bool {
        false
    }

    /// Name of the congestion control of connections that choose none; none where nobody knows.
    fn congestion(&self) -> Option<&'static str> {
        None
    }

    /// Takes connections that come in over the network for `local`, whose address may be unspecified and whose port the
    /// kernel has given to the program. `None`: nothing comes in there but what the kernel's own socket takes, which
    /// listens as well, for connections from this host above all.
    ///
    /// # Errors
    /// The error becomes the errno of the program's `listen`.
    fn listen(&self, local: SocketAddr, with: Listen) -> io::Result<Option<Self::Listener>> {
        let _ = (local, with);
        Ok(None)
    }

    /// Lets go in the kernel of what the network itself holds of `port`, for a program that binds there.
    fn release_port(&self, port: u16) {
        let _ = port;
    }

    /// Whether connections to `remote` belong to this network. Those that do not, and those to
    /// loopback addresses whatever this says, are made with the kernel's TCP.
    fn carries(&self, remote: IpAddr) -> bool {
        let _ = remote;
        true
    }

    /// Whether `address` is an address of this network that the kernel does not know: the kernel
    /// is then not asked when a program binds to it.
    fn owns(&self, address: IpAddr) -> bool {
        let _ = address;
        false
    }

    /// Completes when everything written to streams that have since been dropped has been
    /// acknowledged. `run` waits for it, with a cap, after the last program has exited. The
    /// default suits a network that outlives this process, as the kernel does.
    fn drained(&self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}

/// How a program listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// How many connections may wait to be accepted.
    pub backlog: usize,
    /// An unspecified IPv6 address does not stand for those of IPv4, too (`IPV6_V6ONLY`).
    pub v6_only: bool,
    /// Of so many connections at once data is taken that comes with their SYNs (`TCP_FASTOPEN`); 0: of none.
    pub fast_open: usize,
    /// Which it is, where the network [asks](Network::asks_for_programs).
    pub program: Option<Arc<Program>>,
}

/// A listening socket of a network. Dropping it refuses further connections.
pub trait NetListener: Send + Sync + 'static {
    /// Its connections.
    type Stream;

    /// Waits for a connection; with it comes the peer's address. No connection is lost if the future is dropped.
    ///
    /// # Errors
    /// The network has ended.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

/// The listener of a network that has none.
pub struct NoListener<S>(Infallible, PhantomData<fn() -> S>);

impl<S: 'static> NetListener for NoListener<S> {
    type Stream = S;

    async fn accept(&self) -> io::Result<(S, SocketAddr)> {
        match self.0 {}
    }
}

/// How a program wants a connection opened.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// What it has set on its socket.
    pub settings: Settings,
    /// It asked for TCP Fast Open (`MSG_FASTOPEN`).
    pub fast_open: bool,
    /// What it wants to be sent first.
    pub data: Vec<u8>,
    /// Which program it is, where the network [asks](Network::asks_for_programs).
    pub program: Option<Program>,
}

/// What a stream must tell beyond reading and writing.
pub trait NetStream {
    /// The local address and port.
    ///
    /// # Errors
    /// Whatever keeps the address from being known; the program then sees an unspecified address.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The peer's address and port.
    ///
    /// # Errors
    /// Whatever keeps the address from being known; the program then sees what it asked for.
    fn peer_addr(&self) -> io::Result<SocketAddr>;

    /// Resets the connection when it is dropped, instead of closing it in order: what a program
    /// asks for with `SO_LINGER` 0, or by closing a socket with unread data.
    fn abort(&self);

    /// For what the program asks and sets while the stream carries its data. None: the kernel socket that keeps the
    /// program's options answers alone.
    fn control(&self) -> Option<Arc<dyn Control>> {
        None
    }
}

/// A connection's settings, and what it tells of itself, while its stream is in use.
pub trait Control: fmt::Debug + Send + Sync {
    /// Changes what `settings` says, and nothing else. On a connection that is gone it does nothing.
    fn apply(&self, settings: &Settings);

    /// Name of the congestion control in use; none once the connection is gone.
    fn congestion(&self) -> Option<&'static str>;

    /// The connection at this moment; none once it is gone.
    fn look(&self) -> Option<Look>;
}

/// A connection at one moment.
#[derive(Clone, Debug)]
pub struct Look {
    /// The network's time.
    pub now: Instant,
    /// The connection.
    pub info: ConnectionInfo,
}

impl NetStream for TcpStream {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpStream::local_addr(self)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        TcpStream::peer_addr(self)
    }

    fn abort(&self) {
        // Fails on a socket that is closed already, where there is nothing left to reset.
        let _ = self.set_zero_linger();
    }
}

/// Connects a kernel TCP socket made by the supervisor: for destinations outside the network.
pub(crate) async fn connect_kernel(socket: OwnedFd, remote: SocketAddr) -> io::Result<TcpStream> {
    TcpSocket::from_std_stream(socket.into()).connect(remote).await
}

/// Waits for a connect that has begun on a kernel TCP socket, and then writes `rest`.
pub(crate) async fn finish_kernel(socket: OwnedFd, rest: Vec<u8>) -> io::Result<TcpStream> {
    let mut stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    stream.write_all(&rest).await?;
    Ok(stream)
}
