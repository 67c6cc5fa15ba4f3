//! `sendto` and `recvfrom` with an address, which a UNIX stream treats otherwise than TCP: TCP
//! ignores the destination and tells no source.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use tokio::io::Interest;

use crate::memory::{self, Waiting};
use crate::network::Network;
use crate::notify::{Answer, Call, Listener};
use crate::parked::{Disturbance, Patrol};
use crate::socket::State;
use crate::supervisor::Shared;
use crate::sys::{self, Errno};
use crate::syscalls::connect::timeout_of;

/// The most that one call moves; a larger one is answered with less, which is legal.
const TRANSFER_MAX: usize = 1 << 20;

/// A transfer being done for the program.
struct Transfer {
    listener: Arc<Listener>,
    call: Call,
    end: OwnedFd,
    data: Vec<u8>,
    done: usize,
    flags: i32,
}

pub(super) fn sendto<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, end)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    let flags = call.int(3);
    if flags & libc::MSG_FASTOPEN != 0 {
        return Err(libc::EOPNOTSUPP);
    }
    if !matches!(socket.lock().state, State::Connected { .. } | State::Connecting) {
        return Err(broken_pipe(call, flags));
    }
    let len = (call.args[2] as usize).min(TRANSFER_MAX);
    let data = memory::read(call.tid, call.args[1], len)?;
    shared.still_waits(call)?;
    run(
        shared,
        Transfer { listener: Arc::clone(&shared.listener), call: *call, end, data, done: 0, flags },
        Transfer::send,
    )
}

pub(super) fn recvfrom<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, end)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    if matches!(socket.lock().state, State::Idle | State::Listening) {
        return Err(libc::ENOTCONN);
    }
    let data = vec![0; (call.args[2] as usize).min(TRANSFER_MAX)];
    run(
        shared,
        Transfer { listener: Arc::clone(&shared.listener), call: *call, end, data, done: 0, flags: call.int(3) },
        Transfer::receive,
    )
}

/// What one more try came to: `None` if it has to wait.
type Step = fn(&mut Transfer) -> Option<Answer>;

/// Tries at once, and parks a blocking call that has to wait.
fn run<N: Network>(shared: &Arc<Shared<N>>, mut transfer: Transfer, step: Step) -> Result<Answer, Errno> {
    if let Some(answer) = step(&mut transfer) {
        return Ok(answer);
    }
    let nonblocking = transfer.flags & libc::MSG_DONTWAIT != 0
        || sys::status_flags(transfer.end.as_raw_fd()).is_ok_and(|f| f & libc::O_NONBLOCK != 0);
    if nonblocking {
        return Ok(transfer.so_far(libc::EAGAIN));
    }
    let shared = Arc::clone(shared);
    shared.runtime.clone().spawn(async move {
        let (id, answer) = (transfer.call.id, wait(&shared, transfer, step).await);
        shared.listener.answer(id, answer);
    });
    Ok(Answer::Later)
}

/// Tries again whenever something changes. Our duplicate keeps the file open meanwhile, as the
/// call itself would in the kernel.
async fn wait<N: Network>(shared: &Shared<N>, mut transfer: Transfer, step: Step) -> Answer {
    let sending = transfer.call.nr == libc::SYS_sendto;
    let (interest, limit) =
        if sending { (Interest::WRITABLE, libc::SO_SNDTIMEO) } else { (Interest::READABLE, libc::SO_RCVTIMEO) };
    let mut patrol = Patrol::new(transfer.call, timeout_of(&transfer.end, limit));
    let watch = transfer.end.try_clone().and_then(|dup| sys::watch(dup, interest));
    let Ok(watch) = watch else { return transfer.so_far(libc::ENOBUFS) };
    loop {
        tokio::select! {
            ready = watch.ready(interest) => {
                let Ok(mut ready) = ready else { return transfer.so_far(libc::EIO) };
                ready.clear_ready();
                // It may write to the program's memory, which may take as long as the program likes.
                let stepped = tokio::task::spawn_blocking(move || {
                    let answer = step(&mut transfer);
                    (transfer, answer)
                });
                let Ok((back, answer)) = stepped.await else { return Answer::Error(libc::EIO) };
                transfer = back;
                if let Some(answer) = answer {
                    return answer;
                }
            }
            disturbance = patrol.disturbed(shared) => return match disturbance {
                Disturbance::Dead => Answer::Later,
                Disturbance::Signal(errno) => transfer.so_far(errno),
                Disturbance::TimedOut => transfer.so_far(libc::EAGAIN),
            },
        }
    }
}

impl Transfer {
    fn send(&mut self) -> Option<Answer> {
        loop {
            let flags = self.flags & !libc::MSG_DONTWAIT;
            match sys::send(self.end.as_raw_fd(), &self.data[self.done..], flags) {
                Ok(sent) => self.done += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) && self.done == 0 => {
                    return Some(Answer::Error(broken_pipe(&self.call, self.flags)));
                }
                Err(error) => return Some(self.so_far(sys::errno_of(&error))),
            }
            if self.done == self.data.len() {
                return Some(self.so_far(0));
            }
        }
    }

    fn receive(&mut self) -> Option<Answer> {
        let whole = self.flags & libc::MSG_WAITALL != 0 && self.flags & libc::MSG_PEEK == 0;
        loop {
            let flags = self.flags & !libc::MSG_WAITALL;
            match sys::recv(self.end.as_raw_fd(), &mut self.data[self.done..], flags) {
                Ok(0) => return Some(self.so_far(0)),
                Ok(got) => self.done += got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // UNIX streams say EINVAL where TCP says ENOTCONN.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    return Some(self.so_far(libc::ENOTCONN));
                }
                Err(error) => return Some(self.so_far(sys::errno_of(&error))),
            }
            if !whole || self.done == self.data.len() {
                return Some(self.so_far(0));
            }
        }
    }

    /// What the call returns with what is done: an error counts only if that is nothing.
    fn so_far(&self, errno: Errno) -> Answer {
        if self.done == 0 && errno != 0 {
            return Answer::Error(errno);
        }
        if self.call.nr == libc::SYS_recvfrom {
            // A TCP socket tells no source: the length becomes 0 and the address stays as it was.
            let (waiting, [_, buffer, _, _, _, len_at]) = (Waiting(&self.listener, &self.call), self.call.args);
            let told = memory::write(waiting, buffer, &self.data[..self.done])
                .and_then(|()| memory::write(waiting, len_at, &0u32.to_ne_bytes()));
            if let Err(errno) = told {
                return Answer::Error(errno);
            }
        }
        Answer::Value(self.done as i64)
    }
}

/// `EPIPE`, with the signal that goes with it.
fn broken_pipe(call: &Call, flags: i32) -> Errno {
    if flags & libc::MSG_NOSIGNAL == 0 {
        // SAFETY: no pointers. The signal goes to the thread that made the call.
        unsafe { libc::syscall(libc::SYS_tkill, call.tid, libc::SIGPIPE) };
    }
    libc::EPIPE
}
