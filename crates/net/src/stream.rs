//! [`MptcpStream`], the counterpart of [`tokio::net::TcpStream`].

use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use polypath_proto::congestion::CongestionKind;
use polypath_proto::scheduler::SchedulerKind;
use polypath_proto::{ConnectOptions, ConnectionInfo, Keepalive};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, Interest, ReadBuf, Ready};
use tokio::net::{ToSocketAddrs, lookup_host};

use crate::error;
use crate::handle::ConnectionHandle;
use crate::host::Host;
use crate::socket::Socket;
use crate::split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use crate::waiting::{Phase, Way};

/// A connection between this host and a peer, over as many paths as the two have, or over plain
/// TCP where the peer knows nothing else.
///
/// Methods and errors are those of [`tokio::net::TcpStream`]; what there is beyond them says so.
/// Missing are conversions from and to a kernel socket, of which there is none, and with them
/// `try_io`, `ttl` and `quickack`.
///
/// Dropping the stream closes it: what was written is still delivered, by the [`Host`] in the
/// background. If there is data that was received and not read, the peer sees a reset instead, as
/// with a kernel socket. [`Host::shutdown`] waits for deliveries under way.
///
/// A stream keeps its host running.
#[derive(Debug)]
pub struct MptcpStream {
    socket: Socket,
}

impl MptcpStream {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket }
    }

    /// Connects to `addr`; of several addresses it resolves to, the first that answers.
    ///
    /// Dropping the future gives the attempt up.
    ///
    /// # Errors
    /// As a kernel socket: [`ConnectionRefused`](io::ErrorKind::ConnectionRefused),
    /// [`TimedOut`](io::ErrorKind::TimedOut), [`NetworkUnreachable`](io::ErrorKind::NetworkUnreachable)
    /// where the host has no address of the peer's family,
    /// [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable), and so on; of several addresses, the
    /// last one's error. [`NetworkDown`](io::ErrorKind::NetworkDown) once the host has stopped.
    pub async fn connect<A: ToSocketAddrs>(host: &Host, addr: A) -> io::Result<Self> {
        let mut result = Err(io::Error::new(io::ErrorKind::InvalidInput, "the name resolves to no address"));
        for remote in lookup_host(addr).await? {
            result = Self::connect_with(host, remote, ConnectOptions::default()).await;
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// Connects from a certain local address; port 0 lets the host choose one. The first subflow
    /// starts there, others from the host's other addresses.
    ///
    /// Beyond tokio, where it is `TcpSocket::bind` and `connect`.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable) where
    /// `local` is none of the host's addresses.
    pub async fn connect_from(host: &Host, local: SocketAddr, remote: SocketAddr) -> io::Result<Self> {
        let options = ConnectOptions { local: Some(local), ..ConnectOptions::default() };
        Self::connect_with(host, remote, options).await
    }

    /// Connects with other options than the default ones. Beyond tokio.
    ///
    /// # Errors
    /// As [`connect`](Self::connect) and [`connect_from`](Self::connect_from).
    pub async fn connect_with(host: &Host, remote: SocketAddr, options: ConnectOptions) -> io::Result<Self> {
        Self::connect_and_write(host, remote, options, &[]).await
    }

    /// Connects and writes all of `data`. With [`ConnectOptions::fast_open`] its beginning goes with the SYN where the
    /// server has given a cookie before (TCP Fast Open, RFC 7413), and may then reach the server's application twice.
    /// Beyond tokio.
    ///
    /// # Errors
    /// As [`connect_with`](Self::connect_with), and as a write.
    pub async fn connect_and_write(
        host: &Host,
        remote: SocketAddr,
        mut options: ConnectOptions,
        data: &[u8],
    ) -> io::Result<Self> {
        if options.local.is_none_or(|local| local.ip().is_unspecified())
            && let Some(source) = host.source(remote.ip(), options.paths.as_ref())?
        {
            options.local = Some(SocketAddr::new(source, options.local.map_or(0, |local| local.port())));
        }
        let (socket, written) = host.shared().call(|core, now| {
            let id = core.stack.connect(now, remote, options).map_err(error::connect)?;
            // Before the SYN leaves.
            let written = match core.stack.connection(now, id) {
                Some(mut connection) if !data.is_empty() => connection.write(data).unwrap_or_default(),
                _ => 0,
            };
            Socket::adopt(host, core, now, id, Phase::Connecting).map(|socket| (socket, written))
        })??;
        poll_fn(|cx| socket.poll_connected(cx)).await?;
        let mut stream = Self { socket };
        stream.write_all(&data[written..]).await?;
        Ok(stream)
    }

    /// The local address of the first subflow.
    ///
    /// # Errors
    /// None; the signature is tokio's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.socket.local_addr())
    }

    /// The peer's address of the first subflow.
    ///
    /// # Errors
    /// None; the signature is tokio's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.socket.peer_addr())
    }

    /// The error that ended the connection, if one did.
    ///
    /// # Errors
    /// The host has stopped.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    /// Subflows, fallback and traffic of the connection. Beyond tokio.
    ///
    /// # Errors
    /// The host has stopped.
    pub fn info(&self) -> io::Result<ConnectionInfo> {
        self.handle().info()
    }

    /// Tears the connection down at once on all subflows; the peer's next read fails with
    /// [`ConnectionReset`](io::ErrorKind::ConnectionReset). Beyond tokio.
    ///
    /// # Errors
    /// The host has stopped.
    pub fn abort(&self) -> io::Result<()> {
        self.socket.abort()
    }

    /// Whether small writes are sent at once.
    ///
    /// # Errors
    /// The host is gone.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.handle().nodelay()
    }

    /// Whether small writes are sent at once, also while earlier ones are unacknowledged: no Nagle algorithm (RFC 9293,
    /// section 3.7.4). Off at first, unless [`Config::nodelay`](polypath_proto::Config::nodelay) says otherwise.
    ///
    /// # Errors
    /// The host is gone.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.handle().set_nodelay(nodelay)
    }

    /// Another packet scheduler from here on, for this connection alone: a known one, or the application's own
    /// ([`SchedulerKind::custom`]).
    ///
    /// # Errors
    /// The host is gone.
    pub fn set_scheduler(&self, scheduler: &SchedulerKind) -> io::Result<()> {
        self.handle().set_scheduler(scheduler)
    }

    /// Another congestion control from here on, for this connection alone: for its subflows, which go on from the windows
    /// that they have, and for those to come. Beyond tokio.
    ///
    /// # Errors
    /// The host is gone.
    pub fn set_congestion(&self, congestion: CongestionKind) -> io::Result<()> {
        self.handle().set_congestion(congestion)
    }

    /// Asks a peer that was silent for long whether it lives (RFC 9293, section 3.8.4), on each subflow; none: never. A
    /// subflow without an answer is closed, and with the last one the connection fails with
    /// [`TimedOut`](io::ErrorKind::TimedOut). Beyond tokio.
    ///
    /// # Errors
    /// The host is gone.
    pub fn set_keepalive(&self, keepalive: Option<Keepalive>) -> io::Result<()> {
        self.handle().set_keepalive(keepalive)
    }

    /// How long data that was sent may stay unacknowledged before the connection fails with
    /// [`TimedOut`](io::ErrorKind::TimedOut) (Linux: `TCP_USER_TIMEOUT`); none: 15 minutes. Beyond tokio.
    ///
    /// # Errors
    /// The host is gone.
    pub fn set_user_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.handle().set_user_timeout(timeout)
    }

    /// Hop limit (IPv4: TTL) of every packet from now on, 1 to 255; 0 counts as 1. Beyond tokio.
    ///
    /// # Errors
    /// The host is gone.
    pub fn set_hop_limit(&self, hop_limit: u8) -> io::Result<()> {
        self.handle().set_hop_limit(hop_limit)
    }

    /// Differentiated services code point of every packet from now on, 0 to 63; more counts as 63. Beyond tokio.
    ///
    /// # Errors
    /// The host is gone.
    pub fn set_dscp(&self, dscp: u8) -> io::Result<()> {
        self.handle().set_dscp(dscp)
    }

    /// A handle for settings and questions while the stream is in use somewhere else. Beyond tokio.
    pub fn handle(&self) -> ConnectionHandle {
        self.socket.handle()
    }

    /// What [`set_linger`](Self::set_linger) has set.
    ///
    /// # Errors
    /// None; the signature is tokio's.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.linger())
    }

    /// With zero, dropping the stream resets the connection instead of closing it. A longer time
    /// is remembered only: dropping never blocks, and the host delivers in the background anyway.
    ///
    /// # Errors
    /// None; the signature is tokio's.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.socket.set_linger(linger);
        Ok(())
    }

    /// [`set_linger`](Self::set_linger) with zero: dropping the stream resets the connection.
    ///
    /// # Errors
    /// None; the signature is tokio's.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.set_linger(Some(Duration::ZERO))
    }

    /// Waits until a read or a write, as `interest` says, may succeed. It may be wrong once:
    /// then the call says [`WouldBlock`](io::ErrorKind::WouldBlock), and this waits again.
    ///
    /// # Errors
    /// The host has stopped.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        self.socket.ready(interest).await
    }

    /// Waits until a read may succeed: data, the end of the stream, or an error.
    ///
    /// # Errors
    /// The host has stopped.
    pub async fn readable(&self) -> io::Result<()> {
        self.ready(Interest::READABLE).await.map(drop)
    }

    /// Waits until a write may succeed.
    ///
    /// # Errors
    /// The host has stopped.
    pub async fn writable(&self) -> io::Result<()> {
        self.ready(Interest::WRITABLE).await.map(drop)
    }

    /// Polls for [`readable`](Self::readable). Like `poll_read`, it remembers one task only.
    ///
    /// # Errors
    /// The host has stopped.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_ready(cx, Way::Read)
    }

    /// Polls for [`writable`](Self::writable). Like `poll_write`, it remembers one task only.
    ///
    /// # Errors
    /// The host has stopped.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_ready(cx, Way::Write)
    }

    /// Reads what is there without waiting; 0 is the end of the stream.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) where there is nothing yet; else as a read.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.try_read(buf)
    }

    /// [`try_read`](Self::try_read) into several buffers.
    ///
    /// # Errors
    /// As [`try_read`](Self::try_read).
    pub fn try_read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut total = 0;
        for buf in bufs.iter_mut().filter(|buf| !buf.is_empty()) {
            match self.try_read(buf) {
                Ok(read) => {
                    total += read;
                    if read < buf.len() {
                        break;
                    }
                }
                // What has been read comes first; the error comes again.
                Err(_) if total > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    /// [`try_read`](Self::try_read) into a buffer's free space.
    ///
    /// # Errors
    /// As [`try_read`](Self::try_read).
    pub fn try_read_buf<B: BufMut>(&self, buf: &mut B) -> io::Result<usize> {
        // Through memory that is known to be initialised: `BufMut` lends none such.
        let mut chunk = [0; 16 * 1024];
        let len = chunk.len().min(buf.remaining_mut());
        let read = self.try_read(&mut chunk[..len])?;
        buf.put_slice(&chunk[..read]);
        Ok(read)
    }

    /// Writes what there is room for without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) where there is no room; else as a write.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.socket.try_write(&[IoSlice::new(buf)])
    }

    /// [`try_write`](Self::try_write) from several buffers.
    ///
    /// # Errors
    /// As [`try_write`](Self::try_write).
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.try_write(bufs)
    }

    /// Reads without taking: the next read gets the same bytes. Waits until there is at least one,
    /// or the end of the stream (0).
    ///
    /// # Errors
    /// As a read.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.socket.poll_peek(cx, buf)).await
    }

    /// Polls for [`peek`](Self::peek).
    ///
    /// # Errors
    /// As a read.
    pub fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let space = buf.initialize_unfilled();
        let peeked = std::task::ready!(self.socket.poll_peek(cx, space))?;
        buf.advance(peeked);
        Poll::Ready(Ok(peeked))
    }

    /// Reads up to `max` bytes without copying them; empty is the end of the stream. What comes is
    /// a piece as it arrived, which holds up to 64 KB of memory until it is dropped. Beyond tokio.
    ///
    /// Cancel-safe: nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// As a read.
    pub async fn read_bytes(&mut self, max: usize) -> io::Result<Bytes> {
        poll_fn(|cx| self.poll_read_bytes(cx, max)).await
    }

    /// Polls for [`read_bytes`](Self::read_bytes).
    ///
    /// # Errors
    /// As a read.
    pub fn poll_read_bytes(&self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<Bytes>> {
        self.socket.poll_read_bytes(cx, max)
    }

    /// Writes from the front of `data` what there is room for, without copying it, and advances
    /// `data` past it. The memory is released when the peer has acknowledged it. Beyond tokio.
    ///
    /// Cancel-safe: `data` says what is left.
    ///
    /// # Errors
    /// As a write.
    pub async fn write_bytes(&mut self, data: &mut Bytes) -> io::Result<usize> {
        poll_fn(|cx| self.poll_write_bytes(cx, data)).await
    }

    /// Polls for [`write_bytes`](Self::write_bytes).
    ///
    /// # Errors
    /// As a write.
    pub fn poll_write_bytes(&self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<usize>> {
        self.socket.poll_write_bytes(cx, data)
    }

    /// Lends out both directions, for use in one task.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf::new(self), WriteHalf::new(self))
    }

    /// Takes both directions apart, for use in two tasks. Dropping the write half shuts that
    /// direction down.
    #[must_use]
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        let stream = Arc::new(self);
        (OwnedReadHalf::new(Arc::clone(&stream)), OwnedWriteHalf::new(stream))
    }

    // What the trait implementations here and of the halves come down to.

    pub(crate) fn poll_read_priv(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_read(cx, buf)
    }

    pub(crate) fn poll_write_priv(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.socket.poll_write(cx, bufs)
    }

    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        self.socket.shutdown_write()
    }
}

impl AsyncRead for MptcpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_read_priv(cx, buf)
    }
}

impl AsyncWrite for MptcpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_priv(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_priv(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Every write has been offered to the network already.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown_write())
    }
}
