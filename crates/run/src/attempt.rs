//! A connect under way, and what becomes of it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use crate::address;
use crate::bridge::{self, Ended};
use crate::link;
use crate::network::{NetStream, Network};
use crate::notify::{Answer, Call};
use crate::parked::{Disturbance, Patrol};
use crate::reader::Reader;
use crate::runner::PIPE_BUFFER_MIN;
use crate::socket::{Pending, Socket, State};
use crate::supervisor::Shared;
use crate::sys::{self, Errno};

/// A connect being made.
pub(crate) type Connecting<S> = Pin<Box<dyn Future<Output = io::Result<S>> + Send>>;

/// Who waits for it.
pub(crate) enum Waiting {
    /// The program, in a blocking connect. Its end is linked only on success, so that the
    /// descriptor can be used again after a failure.
    Parked { call: Call, timeout: Option<Duration> },
    /// Nobody: the program's end is linked and stuffed.
    Linked { end: StdUnixStream, stuffed: usize },
}

/// One attempt: everything that its task needs.
pub(crate) struct Attempt<N> {
    pub(crate) shared: Arc<Shared<N>>,
    pub(crate) socket: Arc<Socket>,
    pub(crate) remote: SocketAddr,
}

/// What a parked attempt came to.
enum Outcome<S> {
    Done(io::Result<S>),
    /// The call has to return now, with this errno, and the attempt goes on without it.
    Leave(Errno),
    /// The caller is dead.
    Gone,
}

/// Begins an attempt, and fails if that needs no answer from anybody, as when there is no route:
/// then also a non-blocking connect says so itself.
pub(crate) fn begin<S>(mut connecting: Connecting<S>) -> Result<Connecting<S>, Errno>
where
    S: Send + 'static,
{
    match connecting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => Ok(connecting),
        Poll::Ready(Err(error)) if is_local(sys::errno_of(&error)) => Err(sys::errno_of(&error)),
        Poll::Ready(result) => Ok(Box::pin(std::future::ready(result))),
    }
}

/// Errors that no peer causes.
fn is_local(errno: Errno) -> bool {
    use libc::{ECONNABORTED, ECONNREFUSED, ECONNRESET, ETIMEDOUT};
    ![ECONNABORTED, ECONNREFUSED, ECONNRESET, ETIMEDOUT].contains(&errno)
}

impl<N: Network> Attempt<N> {
    /// The whole life of a connection, from the attempt to the close.
    pub(crate) async fn run<S>(self, mut connecting: Connecting<S>, waiting: Waiting)
    where
        S: AsyncRead + AsyncWrite + NetStream + Unpin,
    {
        let (end, stuffed) = match waiting {
            Waiting::Linked { end, stuffed } => (end, stuffed),
            Waiting::Parked { call, timeout } => match self.park(&mut connecting, call, timeout).await {
                Outcome::Done(Ok(stream)) => return self.established(call, stream).await,
                Outcome::Done(Err(error)) => {
                    self.socket.set_state(State::Idle);
                    return self.answer(call, Answer::Error(sys::errno_of(&error)));
                }
                Outcome::Gone => return self.socket.set_state(State::Idle),
                Outcome::Leave(errno) => {
                    let linked = self.link_stuffed();
                    self.answer(call, Answer::Error(errno));
                    let Ok(linked) = linked else {
                        return self.socket.set_state(State::Idle);
                    };
                    linked
                }
            },
        };
        self.go_on(connecting, end, stuffed).await;
    }

    /// Waits on behalf of a blocking connect.
    async fn park<S>(&self, connecting: &mut Connecting<S>, call: Call, timeout: Option<Duration>) -> Outcome<S> {
        let mut patrol = Patrol::new(call, timeout);
        tokio::select! {
            result = &mut *connecting => Outcome::Done(result),
            disturbance = patrol.disturbed(&self.shared) => match disturbance {
                Disturbance::Dead => Outcome::Gone,
                Disturbance::Signal(errno) => Outcome::Leave(errno),
                Disturbance::TimedOut => Outcome::Leave(libc::EINPROGRESS),
            },
        }
    }

    /// Waits while the program does something else.
    async fn go_on<S>(self, connecting: Connecting<S>, end: StdUnixStream, stuffed: usize)
    where
        S: AsyncRead + AsyncWrite + NetStream + Unpin,
    {
        let result = tokio::select! {
            result = connecting => result,
            // The program closed the socket: dropping the attempt gives it up.
            () = bridge::closed(&end) => return self.shared.table.remove(self.socket.cookie),
        };
        match result {
            Ok(stream) => {
                self.set_connected(&stream, false);
                match self.join_stuffed(end, stuffed) {
                    Ok(end) => self.carry(end, stream).await,
                    Err(error) => self.broken(&error),
                }
            }
            Err(error) => {
                // First the errno, then the event: closing our end with the junk unread shows as
                // a refused connection does.
                let errno = sys::errno_of(&error);
                self.socket.set_state(State::Failed(Some(Pending { errno, shown: true })));
                drop(end);
            }
        }
    }

    /// A blocking connect has succeeded.
    async fn established<S>(self, call: Call, stream: S)
    where
        S: AsyncRead + AsyncWrite + NetStream + Unpin,
    {
        let Some(program_end) = self.retake() else {
            // Closed by another thread meanwhile: the connection is closed with it.
            self.answer(call, Answer::Value(0));
            return self.shared.table.remove(self.socket.cookie);
        };
        let linked = self.join(&program_end);
        // Kept any longer, it would hide the program's close.
        drop(program_end);
        match linked {
            Ok(end) => {
                self.set_connected(&stream, true);
                self.answer(call, Answer::Value(0));
                self.carry(end, stream).await;
            }
            Err(error) => {
                self.broken(&error);
                self.answer(call, Answer::Error(sys::errno_of(&error)));
            }
        }
    }

    /// Carries the connection to its end, and leaves the record as the kernel would leave it.
    async fn carry<S>(&self, end: Arc<UnixStream>, stream: S)
    where
        S: AsyncRead + AsyncWrite + NetStream + Unpin,
    {
        link::set_send_buffer(end.as_fd(), self.shared.options.pipe_buffer);
        let local = stream.local_addr().ok().map(address::canonical);
        let peer = stream.peer_addr().map_or(self.remote, address::canonical);
        let ended = bridge::carry(&self.socket, &end, stream).await;
        let peer = (ended == Ended::ShutDown).then_some(peer);
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

    /// Joins the end of a program that waits in its connect.
    fn join(&self, program_end: &OwnedFd) -> io::Result<Arc<UnixStream>> {
        let (end, mut reader) = self.shared.linker.link_kept(program_end.as_fd())?;
        reader.allow_for(self.widen(program_end));
        self.joined(end, reader)
    }

    /// Makes an end writable that was linked and stuffed before.
    fn join_stuffed(&self, end: StdUnixStream, stuffed: usize) -> io::Result<Arc<UnixStream>> {
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

    fn joined(&self, end: StdUnixStream, reader: Reader) -> io::Result<Arc<UnixStream>> {
        let end = Arc::new(UnixStream::from_std(end)?);
        self.socket.join(&end, reader);
        Ok(end)
    }

    /// Links the program's end and makes it look busy.
    fn link_stuffed(&self) -> io::Result<(StdUnixStream, usize)> {
        let program_end = self.retake().ok_or(io::ErrorKind::NotFound)?;
        link_stuffed(&self.shared, &program_end)
    }

    /// Takes the program's end from where it was last seen, or from where it is now.
    fn retake(&self) -> Option<OwnedFd> {
        retake(&self.shared, &self.socket)
    }

    /// Lets the program write as much ahead as it asked for, or as is good for throughput. Returns what it got.
    fn widen(&self, program_end: &OwnedFd) -> i32 {
        let bytes = self.socket.wanted_send_buffer().unwrap_or(self.shared.options.pipe_buffer);
        link::set_send_buffer(program_end.as_fd(), bytes.max(PIPE_BUFFER_MIN))
    }

    fn set_connected(&self, stream: &impl NetStream, confirmed: bool) {
        let local = stream.local_addr().ok().map(address::canonical);
        let peer = stream.peer_addr().map_or(self.remote, address::canonical);
        self.socket.set_state(State::Connected { local, peer, confirmed });
    }

    /// Something of our own failed (out of descriptors, most likely).
    fn broken(&self, error: &io::Error) {
        tracing::warn!(%error, remote = %self.remote, "a connection could not be joined to its program");
        let errno = sys::errno_of(error);
        self.socket.set_state(State::Failed(Some(Pending { errno, shown: false })));
    }

    fn answer(&self, call: Call, answer: Answer) {
        self.shared.listener.answer(call.id, answer);
    }
}

/// Links `program_end` and fills it, for a connect that returns before it is done.
pub(crate) fn link_stuffed<N>(shared: &Shared<N>, program_end: &OwnedFd) -> io::Result<(StdUnixStream, usize)> {
    let end = shared.linker.link(program_end.as_fd())?;
    let stuffed = link::stuff(program_end.as_fd())?;
    Ok((end, stuffed))
}

fn retake<N>(shared: &Shared<N>, socket: &Socket) -> Option<OwnedFd> {
    let hint = socket.lock().holder.clone();
    let is_it = |fd: &OwnedFd| sys::cookie(fd.as_raw_fd()).is_ok_and(|c| c == socket.cookie);
    if let Some((holder, fd)) = hint
        && let Some(taken) = sys::pidfd_getfd(holder.as_fd(), fd).ok().filter(is_it)
    {
        return Some(taken);
    }
    let (taken, holder, fd): (OwnedFd, _, RawFd) = shared.threads.search(socket.inode)?;
    socket.lock().holder = Some((holder, fd));
    Some(taken)
}

/// Waits in a second blocking connect for the attempt that is under way, and answers the call.
pub(crate) async fn join<N: Network>(
    shared: Arc<Shared<N>>,
    socket: Arc<Socket>,
    call: Call,
    timeout: Option<Duration>,
) {
    let mut patrol = Patrol::new(call, timeout);
    let answer = loop {
        let changed = socket.changed.notified();
        if let Some(answer) = settled(&socket) {
            break answer;
        }
        tokio::select! {
            () = changed => {}
            disturbance = patrol.disturbed(&shared) => break match disturbance {
                Disturbance::Dead => return,
                Disturbance::Signal(errno) => Answer::Error(errno),
                Disturbance::TimedOut => Answer::Error(libc::EALREADY),
            },
        }
    };
    shared.listener.answer(call.id, answer);
}

/// What a connect on a socket returns that already had one; `None` while it is under way.
pub(crate) fn settled(socket: &Socket) -> Option<Answer> {
    let mut inner = socket.lock();
    match &mut inner.state {
        State::Connecting => None,
        State::Connected { confirmed: true, .. } => Some(Answer::Error(libc::EISCONN)),
        State::Connected { confirmed, .. } => {
            *confirmed = true;
            Some(Answer::Value(0))
        }
        State::Failed(error) => {
            let errno = error.take().map_or(libc::ECONNABORTED, |pending| pending.errno);
            inner.state = State::Spent;
            Some(Answer::Error(errno))
        }
        State::Idle | State::Spent | State::Over { .. } => Some(Answer::Error(libc::ECONNABORTED)),
    }
}
