//! Data calls that a UNIX stream treats otherwise than TCP: with an address (TCP ignores the
//! destination and tells no source), with urgent data, with the queue of errors.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use tokio::io::Interest;

use crate::bpf;
use crate::memory::{self, Waiting};
use crate::network::Network;
use crate::notify::{Answer, Call, Listener};
use crate::parked::{Disturbance, Patrol};
use crate::socket::{Socket, State};
use crate::supervisor::Shared;
use crate::sys::{self, Errno};
use crate::syscalls::connect::timeout_of;
use crate::syscalls::fast_open;

/// The most that one call moves; a larger one is answered with less, which is legal.
const TRANSFER_MAX: usize = 1 << 20;

/// What a program sends, gathered from its memory.
pub(super) struct Message {
    /// Where its destination is, and how long.
    pub(super) name: (u64, i32),
    pub(super) data: Vec<u8>,
    pub(super) flags: i32,
}

impl Message {
    /// Reads a `struct msghdr`.
    fn read(tid: u32, at: u64, flags: i32) -> Result<Message, Errno> {
        /// `UIO_MAXIOV`.
        const PIECES_MAX: usize = 1024;
        let header = memory::read(tid, at, size_of::<libc::msghdr>())?;
        let word = |bytes: &[u8], at: usize| bytes[at..at + 8].try_into().map_or(0, u64::from_ne_bytes);
        let name_len = word(&header, offset_of!(libc::msghdr, msg_namelen)) as i32;
        let pieces = word(&header, offset_of!(libc::msghdr, msg_iovlen)) as usize;
        if pieces > PIECES_MAX {
            return Err(libc::EMSGSIZE);
        }
        let list =
            memory::read(tid, word(&header, offset_of!(libc::msghdr, msg_iov)), pieces * size_of::<libc::iovec>())?;
        let mut data = Vec::new();
        for piece in list.chunks_exact(size_of::<libc::iovec>()) {
            let len = (word(piece, 8) as usize).min(TRANSFER_MAX - data.len());
            data.extend(memory::read(tid, word(piece, 0), len)?);
        }
        Ok(Message { name: (word(&header, offset_of!(libc::msghdr, msg_name)), name_len), data, flags })
    }
}

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
    if flags & libc::MSG_OOB != 0 {
        return Err(refuse_urgent(shared, &socket, &end, call, flags));
    }
    let len = (call.args[2] as usize).min(TRANSFER_MAX);
    if flags & libc::MSG_FASTOPEN == 0 && !can_send(&socket) {
        return Err(unsendable(&socket, &end, call, flags));
    }
    let data = memory::read(call.tid, call.args[1], len)?;
    shared.still_waits(call)?;
    let message = Message { name: (call.args[4], call.int(5)), data, flags };
    match flags & libc::MSG_FASTOPEN {
        0 => send_on(shared, call, end, message),
        _ => fast_open::open(shared, call, socket, end, message),
    }
}

/// Sends a message on a connection that there is, or will be: the name in it counts for nothing.
pub(super) fn send_on<N: Network>(
    shared: &Arc<Shared<N>>,
    call: &Call,
    end: OwnedFd,
    message: Message,
) -> Result<Answer, Errno> {
    let (listener, flags) = (Arc::clone(&shared.listener), message.flags & !libc::MSG_FASTOPEN);
    run(shared, Transfer { listener, call: *call, end, data: message.data, done: 0, flags }, Transfer::send)
}

/// `sendmsg` stops only with [flags](bpf::SEND_FLAGS).
pub(super) fn sendmsg<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, end)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    let flags = call.int(2);
    if flags & libc::MSG_OOB != 0 {
        return Err(refuse_urgent(shared, &socket, &end, call, flags));
    }
    let message = Message::read(call.tid, call.args[1], flags)?;
    shared.still_waits(call)?;
    fast_open::open(shared, call, socket, end, message)
}

/// The same with several messages, which no program opens a connection with.
pub(super) fn sendmmsg<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, end)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    let flags = call.int(3);
    match flags & libc::MSG_OOB {
        0 => Err(libc::EOPNOTSUPP),
        _ => Err(refuse_urgent(shared, &socket, &end, call, flags)),
    }
}

/// Urgent data would have to be sent in its place in the stream, which the pipe to the network does not tell.
fn refuse_urgent<N: Network>(shared: &Shared<N>, socket: &Socket, end: &OwnedFd, call: &Call, flags: i32) -> Errno {
    if !can_send(socket) {
        return unsendable(socket, end, call, flags);
    }
    shared.notice_once("MSG_OOB", "MSG_OOB is refused: urgent data is not carried.");
    libc::EOPNOTSUPP
}

fn can_send(socket: &Socket) -> bool {
    let inner = socket.lock();
    matches!(inner.state, State::Connected { .. } | State::Connecting) && !inner.shut.write
}

/// Why nothing can be sent: the pending error, told once, or a broken pipe.
fn unsendable(socket: &Socket, end: &OwnedFd, call: &Call, flags: i32) -> Errno {
    match socket.take_error(end.as_fd()) {
        0 => broken_pipe(call, flags),
        errno => errno,
    }
}

/// A call that stops with [flags](bpf::RECEIVE_FLAGS): none of what it asks for ever comes.
pub(super) fn flagged_receive<N: Network>(shared: &Arc<Shared<N>>, call: &Call, flags: i32) -> Result<Answer, Errno> {
    match shared.identify(call, call.int(0))? {
        None => Ok(Answer::Continue),
        Some(_) if flags & libc::MSG_ERRQUEUE != 0 => Err(libc::EAGAIN),
        Some((socket, _)) if matches!(socket.lock().state, State::Listening) => Err(libc::ENOTCONN),
        Some(_) => Err(libc::EINVAL),
    }
}

pub(super) fn recvfrom<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, end)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    if call.int(3) & bpf::RECEIVE_FLAGS != 0 {
        return flagged_receive(shared, call, call.int(3));
    }
    match socket.lock().state {
        State::Idle | State::Listening | State::Spent => return Err(libc::ENOTCONN),
        _ => {}
    }
    if matches!(socket.lock().state, State::Failed(_)) {
        match socket.take_error(end.as_fd()) {
            0 => {}
            errno => return Err(errno),
        }
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
    let sending = transfer.call.nr != libc::SYS_recvfrom;
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
            let flags = self.flags & !libc::MSG_WAITALL & !bpf::DISCARD;
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
            let got = if self.flags & bpf::DISCARD == 0 { &self.data[..self.done] } else { &[] };
            let told = memory::write(waiting, buffer, got).and_then(|()| match len_at {
                0 => Ok(()),
                _ => memory::write(waiting, len_at, &0u32.to_ne_bytes()),
            });
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
