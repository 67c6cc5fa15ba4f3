//! A connection of a program's, from its joining to the close.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Weak};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use crate::address;
use crate::bridge::{self, Ended};
use crate::link;
use crate::network::{NetStream, Network};
use crate::reader::Reader;
use crate::runner::PIPE_BUFFER_MIN;
use crate::settings::Settings;
use crate::socket::{Carried, Pending, Socket, State};
use crate::supervisor::Shared;
use crate::sys;

/// Everything that its task needs.
pub(crate) struct Connection<N: Network> {
    pub(crate) shared: Arc<Shared<N>>,
    pub(crate) socket: Arc<Socket>,
    pub(crate) remote: SocketAddr,
    /// What the call returns that waits for it.
    pub(crate) returns: i64,
    /// The settings that it was begun with.
    pub(crate) opened: Settings,
}

impl<N: Network> Connection<N> {
    /// Joins the end of a program that waits in its connect.
    pub(crate) fn join(&self, program_end: &OwnedFd) -> io::Result<Arc<UnixStream>> {
        let end = self.shared.linker.link(program_end.as_fd())?;
        let mut reader = self.shared.linker.put_keeper(program_end.as_fd())?;
        reader.allow_for(self.widen(program_end));
        self.joined(end, reader)
    }

    /// Makes an end writable that was linked and stuffed before.
    pub(crate) fn join_stuffed(&self, end: StdUnixStream, stuffed: usize) -> io::Result<Arc<UnixStream>> {
        let reader = match self.retake() {
            Some(program_end) => {
                let room = self.widen(&program_end);
                let mut reader = link::drain(end.as_fd(), stuffed)?;
                reader.allow_for(room);
                reader
            }
            None => link::drain_all(end.as_fd(), stuffed)?,
        };
        self.joined(end, reader)
    }

    /// Joins the end of a pair that the program is going to get.
    pub(crate) fn join_pair(
        &self,
        end: StdUnixStream,
        program_end: &OwnedFd,
        mut reader: Reader,
    ) -> io::Result<Arc<UnixStream>> {
        reader.allow_for(self.widen(program_end));
        self.joined(end, reader)
    }

    fn joined(&self, end: StdUnixStream, reader: Reader) -> io::Result<Arc<UnixStream>> {
        let end = Arc::new(UnixStream::from_std(end)?);
        self.socket.join(&end, reader);
        Ok(end)
    }

    /// Lets the program write as much ahead as it asked for, or as is good for throughput. Returns what it got.
    fn widen(&self, program_end: &OwnedFd) -> i32 {
        let bytes = self.socket.wanted_send_buffer().unwrap_or(self.shared.options.pipe_buffer);
        link::set_send_buffer(program_end.as_fd(), bytes.max(PIPE_BUFFER_MIN))
    }

    pub(crate) fn set_connected(&self, stream: &impl NetStream, confirmed: bool) {
        let local = stream.local_addr().ok().map(address::canonical);
        let peer = stream.peer_addr().map_or(self.remote, address::canonical);
        let mut inner = self.socket.lock();
        inner.destination = Some(peer);
        inner.carried =
            Some(Carried { control: stream.control(), applied: self.opened, to_v4: peer.is_ipv4(), pipe: Weak::new() });
        drop(inner);
        self.socket.set_state(State::Connected { local, peer, confirmed });
        // What was set before there was a connection to steer.
        self.socket.steer();
    }

    /// Carries the connection to its end, and leaves the record as the kernel would leave it.
    pub(crate) async fn carry<S>(&self, end: Arc<UnixStream>, stream: S)
    where
        S: AsyncRead + AsyncWrite + NetStream + Unpin,
    {
        let ahead = self.socket.wanted_receive_buffer().unwrap_or(self.shared.options.pipe_buffer);
        link::set_send_buffer(end.as_fd(), ahead);
        if let Some(carried) = &mut self.socket.lock().carried {
            carried.pipe = Arc::downgrade(&end);
        }
        let local = stream.local_addr().ok().map(address::canonical);
        let peer = stream.peer_addr().map_or(self.remote, address::canonical);
        let ended = bridge::carry(&self.socket, &end, stream).await;
        self.socket.lock().carried = None;
        let peer = (ended == Ended::ShutDown).then_some(peer);
        if ended != Ended::ShutDown {
            self.socket.give_up_port();
        }
        match ended {
            Ended::Closed => self.shared.table.remove(self.socket.cookie),
            Ended::Finished | Ended::ShutDown => {
                self.socket.set_state(State::Over { local, peer, error: None });
                link::discard_unread(end.as_fd());
            }
            Ended::Failed(errno) => {
                let shown = self.show_reset(&end);
                self.socket.set_state(State::Over { local, peer, error: Some(Pending { errno, shown }) });
            }
        }
    }

    /// Sees to it that our end closes with something unread: only then the program sees a reset
    /// and not an end of file.
    fn show_reset(&self, end: &UnixStream) -> bool {
        if sys::readable(end.as_raw_fd()).is_ok_and(|unread| unread > 0) {
            return true;
        }
        let sent = self.retake().map(|program_end| sys::send(program_end.as_raw_fd(), &[0], 0));
        if !matches!(sent, Some(Ok(_))) {
            tracing::warn!(remote = %self.remote, "a reset shows as an end of file: the program's socket was not found");
        }
        matches!(sent, Some(Ok(_)))
    }

    /// Something of our own failed (out of descriptors, most likely).
    pub(crate) fn broken(&self, error: &io::Error) {
        tracing::warn!(%error, remote = %self.remote, "a connection could not be joined to its program");
        let errno = sys::errno_of(error);
        self.socket.set_state(State::Failed(Some(Pending { errno, shown: false })));
    }

    /// Takes the program's end from where it was last seen, or from where it is now.
    pub(crate) fn retake(&self) -> Option<OwnedFd> {
        let hint = self.socket.lock().holder.clone();
        let is_it = |fd: &OwnedFd| sys::cookie(fd.as_raw_fd()).is_ok_and(|c| c == self.socket.cookie);
        if let Some((holder, fd)) = hint
            && let Some(taken) = sys::pidfd_getfd(holder.as_fd(), fd).ok().filter(is_it)
        {
            return Some(taken);
        }
        let (taken, holder, fd): (OwnedFd, _, RawFd) = self.shared.threads.search(self.socket.inode)?;
        self.socket.lock().holder = Some((holder, fd));
        Some(taken)
    }
}
