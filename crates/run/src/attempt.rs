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
use tokio::time::{Instant, MissedTickBehavior};

use crate::address;
use crate::bridge::{self, Ended};
use crate::identity;
use crate::link;
use crate::network::{NetStream, Network};
use crate::notify::{Answer, Call, RESTART};
use crate::socket::{Socket, State};
use crate::supervisor::Shared;
use crate::sys::{self, Errno};

/// How often a parked call looks for signals. The kernel keeps them from a call that we have
/// received, so that this bounds how late a handler runs.
const SIGNAL_CHECK: Duration = Duration::from_millis(20);

/// A connect being made.
pub(crate) type Connecting<S> = Pin<Box<dyn Future<Output = io::Result<S>> + Send>>;

/// Who waits for it.
pub(crate) enum Waiting {
    /// The program, in a blocking connect. Its end is linked only on success, so that the
    /// descriptor can be used again after a failure.
    Parked { call: Call, deadline: Option<Instant> },
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
    use libc::{EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EINVAL, EMFILE, ENETUNREACH};
    [EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EINVAL, EMFILE, ENETUNREACH].contains(&errno)
}

impl<N: Network> Attempt<N> {
    /// The whole life of a connection, from the attempt to the close.
    pub(crate) async fn run<S>(self, mut connecting: Connecting<S>, waiting: Waiting)
    where
        S: AsyncRead + AsyncWrite + NetStream + Unpin,
    {
        let (end, stuffed) = match waiting {
            Waiting::Linked { end, stuffed } => (end, stuffed),
            Waiting::Parked { call, deadline } => match self.park(&mut connecting, call, deadline).await {
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
    async fn park<S>(&self, connecting: &mut Connecting<S>, call: Call, deadline: Option<Instant>) -> Outcome<S> {
        let mut patience = pin_patience(deadline);
        let mut checks = signal_checks();
        loop {
            tokio::select! {
                result = &mut *connecting => return Outcome::Done(result),
                () = &mut patience => return Outcome::Leave(libc::EINPROGRESS),
                _ = checks.tick() => match self.shared.interruption(&call) {
                    Some(Interruption::Dead) => return Outcome::Gone,
                    Some(Interruption::Signal) => return Outcome::Leave(RESTART),
                    None => {}
                }
            }
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
                // Draining makes the program's end writable, and so does widening: done one right
                // after the other they are one event to nearly everyone.
                let program_end = self.retake();
                let drained = link::drain(end.as_fd(), stuffed);
                self.widen(program_end);
                let end = drained.and_then(|()| UnixStream::from_std(end));
                match end {
                    Ok(end) => self.carry(end, stream).await,
                    Err(error) => self.broken(&error),
                }
            }
            Err(error) => {
                // First the errno, then the event: closing our end with the junk unread shows as
                // a refused connection does.
                self.socket.set_state(State::Failed(Some(sys::errno_of(&error))));
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
        let linked = self.shared.linker.link(program_end.as_fd()).and_then(|end| UnixStream::from_std(end));
        self.widen(Some(program_end));
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
    async fn carry<S>(&self, end: UnixStream, stream: S)
    where
        S: AsyncRead + AsyncWrite + NetStream + Unpin,
    {
        link::set_send_buffer(end.as_fd(), self.shared.options.pipe_buffer);
        let local = stream.local_addr().ok().map(address::canonical);
        match bridge::carry(&self.socket, &end, stream).await {
            Ended::Closed => self.shared.table.remove(self.socket.cookie),
            Ended::Finished => self.socket.set_state(State::Over { local, error: None }),
            Ended::Failed(errno) => {
                self.socket.set_state(State::Over { local, error: Some(errno) });
                // Our end must close with something unread for the program to see a reset and not
                // an end of file. If there is no room for a byte there is something unread.
                if let Some(program_end) = self.retake() {
                    let _ = sys::send(program_end.as_raw_fd(), &[0], 0);
                }
            }
        }
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

    /// Lets the program write as much ahead as it asked for, or as is good for throughput.
    fn widen(&self, program_end: Option<OwnedFd>) {
        let bytes = self.socket.wanted_send_buffer().unwrap_or(self.shared.options.pipe_buffer);
        if let Some(program_end) = program_end {
            link::set_send_buffer(program_end.as_fd(), bytes);
        }
    }

    fn set_connected(&self, stream: &impl NetStream, confirmed: bool) {
        let local = stream.local_addr().ok().map(address::canonical);
        let peer = stream.peer_addr().map_or(self.remote, address::canonical);
        self.socket.set_state(State::Connected { local, peer, confirmed });
    }

    /// Something of our own failed (out of descriptors, most likely).
    fn broken(&self, error: &io::Error) {
        tracing::warn!(%error, remote = %self.remote, "a connection could not be joined to its program");
        self.socket.set_state(State::Failed(Some(sys::errno_of(error))));
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
pub(crate) async fn join<N: Network>(shared: Arc<Shared<N>>, socket: Arc<Socket>, call: Call) {
    let mut checks = signal_checks();
    loop {
        let changed = socket.changed.notified();
        if let Some(answer) = settled(&socket) {
            return shared.listener.answer(call.id, answer);
        }
        tokio::select! {
            () = changed => {}
            _ = checks.tick() => match shared.interruption(&call) {
                Some(Interruption::Dead) => return,
                Some(Interruption::Signal) => {
                    return shared.listener.answer(call.id, Answer::Error(RESTART));
                }
                None => {}
            }
        }
    }
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
            let errno = error.take().unwrap_or(libc::ECONNABORTED);
            inner.state = State::Spent;
            Some(Answer::Error(errno))
        }
        State::Idle | State::Spent | State::Over { .. } => Some(Answer::Error(libc::ECONNABORTED)),
    }
}

/// Why a parked call cannot stay parked.
pub(crate) enum Interruption {
    /// Its thread is dead, or its notification void.
    Dead,
    /// A signal waits to be handled.
    Signal,
}

impl<N> Shared<N> {
    /// Whether a parked call has to be let go.
    pub(crate) fn interruption(&self, call: &Call) -> Option<Interruption> {
        if !self.listener.is_valid(call.id) {
            return Some(Interruption::Dead);
        }
        identity::has_pending_signal(call.tid).then_some(Interruption::Signal)
    }
}

/// The ticks at which a parked call looks for signals.
pub(crate) fn signal_checks() -> tokio::time::Interval {
    let mut checks = tokio::time::interval_at(Instant::now() + SIGNAL_CHECK, SIGNAL_CHECK);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    checks
}

/// Completes at `deadline`, or never.
pub(crate) fn pin_patience(deadline: Option<Instant>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    match deadline {
        Some(deadline) => Box::pin(tokio::time::sleep_until(deadline)),
        None => Box::pin(std::future::pending()),
    }
}
