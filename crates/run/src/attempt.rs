//! A connect under way, and what becomes of it.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::bridge;
use crate::connection::Connection;
use crate::link;
use crate::network::{NetStream, Network};
use crate::notify::{Answer, Call};
use crate::parked::{Disturbance, Patrol};
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

impl<N: Network> Connection<N> {
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
                    self.socket.give_up_port();
                    self.socket.lock().destination = None;
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
                self.socket.give_up_port();
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
            self.answer(call, Answer::Value(self.returns));
            return self.shared.table.remove(self.socket.cookie);
        };
        let linked = self.join(&program_end);
        // Kept any longer, it would hide the program's close.
        drop(program_end);
        match linked {
            Ok(end) => {
                self.set_connected(&stream, true);
                self.answer(call, Answer::Value(self.returns));
                self.carry(end, stream).await;
            }
            Err(error) => {
                self.broken(&error);
                self.answer(call, Answer::Error(sys::errno_of(&error)));
            }
        }
    }

    /// Links the program's end and makes it look busy.
    fn link_stuffed(&self) -> io::Result<(StdUnixStream, usize)> {
        let program_end = self.retake().ok_or(io::ErrorKind::NotFound)?;
        link_stuffed(&self.shared, &program_end)
    }

    fn answer(&self, call: Call, answer: Answer) {
        self.shared.listener.answer(call.id, answer);
    }
}

/// Links `program_end` and fills it, for a connect that returns before it is done.
pub(crate) fn link_stuffed<N: Network>(
    shared: &Shared<N>,
    program_end: &OwnedFd,
) -> io::Result<(StdUnixStream, usize)> {
    let end = shared.linker.link(program_end.as_fd())?;
    let stuffed = link::stuff(program_end.as_fd())?;
    Ok((end, stuffed))
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
        State::Idle | State::Listening | State::Spent | State::Over { .. } => Some(Answer::Error(libc::ECONNABORTED)),
    }
}
