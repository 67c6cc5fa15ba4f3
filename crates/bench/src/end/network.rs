//! The same streams and listeners for the load generator, whoever makes them: kernel sockets or polypath's library.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use polypath_net::{Host, MptcpListener, MptcpStream};
use polypath_proto::mib::Counter;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{Device, Means, Part};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Whose sockets.
pub(super) enum Network {
    Kernel(Protocol),
    /// Its streams are [`Stream::Pieces`] where so said.
    Polypath(Host, bool),
}

pub(super) enum Listener {
    Kernel(TcpListener),
    Polypath(MptcpListener, bool),
}

pub(super) enum Stream {
    Kernel(TcpStream),
    Polypath(MptcpStream),
    /// One for who hands over pieces of memory.
    Pieces(MptcpStream),
}

/// A connection that is only held: nothing of a runtime belongs to it.
pub(super) enum Held {
    Kernel(#[expect(dead_code, reason = "held, not used")] std::net::TcpStream),
    Polypath(#[expect(dead_code, reason = "held, not used")] MptcpStream),
}

impl Network {
    pub(super) fn start(part: &Part) -> io::Result<Self> {
        match &part.means {
            Means::KernelTcp => Ok(Self::Kernel(Protocol::TCP)),
            Means::KernelMptcp => Ok(Self::Kernel(Protocol::MPTCP)),
            Means::Polypath { addresses, mtu, offload, in_runtime, pieces } => {
                let builder = Host::builder().tun("pp0").mtu(*mtu).offload(*offload).in_runtime(*in_runtime);
                let with = |builder: polypath_net::HostBuilder, address: &Ipv4Addr| {
                    builder.address((*address).into(), None, false)
                };
                Ok(Self::Polypath(addresses.iter().fold(builder, with).start()?, *pieces))
            }
        }
    }

    pub(super) async fn connect(&self, remote: SocketAddr) -> io::Result<Stream> {
        match self {
            Self::Kernel(protocol) => {
                let socket = TcpSocket::from_std_stream(kernel_socket(*protocol)?.into());
                Ok(Stream::Kernel(socket.connect(remote).await?))
            }
            Self::Polypath(host, pieces) => Ok(Stream::of(MptcpStream::connect(host, remote).await?, *pieces)),
        }
    }

    pub(super) fn listen(&self, at: SocketAddr) -> io::Result<Listener> {
        match self {
            Self::Kernel(protocol) => {
                let socket = kernel_socket(*protocol)?;
                socket.bind(&at.into())?;
                socket.listen(BACKLOG)?;
                Ok(Listener::Kernel(TcpListener::from_std(socket.into())?))
            }
            Self::Polypath(host, pieces) => {
                Ok(Listener::Polypath(MptcpListener::bind_with_backlog(host, at, BACKLOG as usize)?, *pieces))
            }
        }
    }

    /// Subflows that were joined to connections so far, where polypath has opened them.
    pub(super) fn joined(&self) -> u64 {
        let Self::Polypath(host, _) = self else { return 0 };
        host.mib().get(Counter::MPTcpExtMPJoinSynAckRx)
    }

    pub(super) fn device(&self) -> Device {
        let Self::Polypath(host, _) = self else { return Device::default() };
        let stats = host.device_stats();
        let (read, written) = ((stats.packets_read, stats.bytes_read), (stats.packets_written, stats.bytes_written));
        Device { read, written }
    }
}

fn kernel_socket(protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Listener {
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Kernel(listener) => Stream::Kernel(listener.accept().await?.0),
            Self::Polypath(listener, pieces) => Stream::of(listener.accept().await?.0, *pieces),
        })
    }
}

impl Stream {
    fn of(stream: MptcpStream, pieces: bool) -> Self {
        if pieces { Self::Pieces(stream) } else { Self::Polypath(stream) }
    }

    pub(super) fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Kernel(stream) => stream.set_nodelay(true),
            Self::Polypath(stream) | Self::Pieces(stream) => stream.set_nodelay(true),
        }
    }

    pub(super) fn hold(self) -> io::Result<Held> {
        Ok(match self {
            Self::Kernel(stream) => Held::Kernel(stream.into_std()?),
            Self::Polypath(stream) | Self::Pieces(stream) => Held::Polypath(stream),
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Kernel(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Polypath(stream) | Self::Pieces(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Kernel(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Polypath(stream) | Self::Pieces(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Kernel(stream) => Pin::new(stream).poll_flush(cx),
            Self::Polypath(stream) | Self::Pieces(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Kernel(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Polypath(stream) | Self::Pieces(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
