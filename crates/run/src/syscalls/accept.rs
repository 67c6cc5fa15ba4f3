//! `accept` and `accept4`: one of the connections that wait, as a descriptor of the caller's.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::address;
use crate::connection::Connection;
use crate::link;
use crate::listening::{Arrival, Listening};
use crate::memory;
use crate::network::Network;
use crate::notify::{Answer, Call};
use crate::parked::{Disturbance, Patrol};
use crate::settings::Settings;
use crate::socket::Socket;
use crate::supervisor::Shared;
use crate::sys::{self, Errno};
use crate::syscalls::connect::timeout_of;

/// What a connection has from its listener that the shadow does not know.
const TIMEOUTS: [i32; 2] = [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO];

/// An accept that is to be answered.
struct Accept<N: Network> {
    shared: Arc<Shared<N>>,
    call: Call,
    /// The socket that listens, and the program's end of it.
    socket: Arc<Socket>,
    end: OwnedFd,
    listening: Arc<Listening<N::Stream>>,
}

pub(super) fn accept<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, end)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    if flags(call) & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) != 0 {
        return Err(libc::EINVAL);
    }
    let Some(listening) = shared.listenings.get(socket.cookie) else { return Err(libc::EINVAL) };
    let accept = Accept { shared: Arc::clone(shared), call: *call, socket, end, listening };
    if let Some(answer) = accept.attempt() {
        return Ok(answer);
    }
    if sys::status_flags(accept.end.as_raw_fd()).is_ok_and(|f| f & libc::O_NONBLOCK != 0) {
        return Err(libc::EAGAIN);
    }
    shared.runtime.spawn(async move {
        let accept = Arc::new(accept);
        accept.listening.awaited.fetch_add(1, Ordering::Relaxed);
        let answer = accept.wait().await;
        accept.listening.awaited.fetch_sub(1, Ordering::Relaxed);
        accept.shared.listener.answer(accept.call.id, answer);
    });
    Ok(Answer::Later)
}

fn flags(call: &Call) -> i32 {
    if call.nr == libc::SYS_accept4 { call.int(3) } else { 0 }
}

impl<N: Network> Accept<N> {
    /// Waits for a connection; the first who waits gets it.
    async fn wait(self: &Arc<Self>) -> Answer {
        let mut patrol = Patrol::new(self.call, timeout_of(&self.end, libc::SO_RCVTIMEO));
        loop {
            let mut arrived = std::pin::pin!(self.listening.arrived.notified());
            arrived.as_mut().enable();
            if self.listening.has_news() {
                // Writing to the program's memory may take as long as it likes.
                let this = Arc::clone(self);
                let attempt = tokio::task::spawn_blocking(move || this.attempt()).await;
                if let Some(answer) = attempt.unwrap_or(Some(Answer::Error(libc::EINTR))) {
                    return answer;
                }
            }
            tokio::select! {
                () = arrived => {}
                disturbance = patrol.disturbed(&self.shared) => return match disturbance {
                    Disturbance::Dead => Answer::Later,
                    Disturbance::Signal(errno) => Answer::Error(errno),
                    Disturbance::TimedOut => Answer::Error(libc::EAGAIN),
                },
            }
        }
    }

    /// `None`: nobody is there yet.
    fn attempt(&self) -> Option<Answer> {
        if self.listening.is_stopped() {
            return Some(Answer::Error(libc::EINVAL));
        }
        let arrival = self.listening.take(self.end.as_fd())?;
        Some(match self.give(arrival) {
            Ok(()) => Answer::Later,
            // The caller may be dead, or has no room for a descriptor. The connection is the next one's.
            Err((errno, arrival)) => {
                self.listening.put_back(arrival);
                Answer::Error(errno)
            }
        })
    }

    /// Gives a connection to the caller, or back.
    fn give(&self, arrival: Arrival<N::Stream>) -> Result<(), (Errno, Arrival<N::Stream>)> {
        match arrival {
            Arrival::Kernel { socket, peer } => {
                for name in TIMEOUTS {
                    // They are native to both; the kernel's socket has none of its own.
                    let _ = sys::copy_option(self.end.as_raw_fd(), socket.as_raw_fd(), libc::SOL_SOCKET, name);
                }
                let given = sys::set_nonblocking(socket.as_raw_fd(), flags(&self.call) & libc::SOCK_NONBLOCK != 0)
                    .and_then(|()| self.answer(socket.as_fd(), peer));
                match given {
                    Ok(_) => Ok(()),
                    Err(error) => Err((sys::errno_of(&error), Arrival::Kernel { socket, peer })),
                }
            }
            Arrival::Network { stream, peer } => {
                match self.prepare(peer) {
                    Ok((connection, end, theirs)) => {
                        // Before the program can ask.
                        connection.set_connected(&stream, true);
                        self.shared.table.insert(Arc::clone(&connection.socket));
                        // The program may be gone as soon as it has it, and what it wrote must be waited for.
                        let active = self.shared.activity.begin();
                        match self.answer(theirs.as_fd(), peer) {
                            Ok(number) => {
                                let holder = self.shared.threads.holder(self.call.tid);
                                connection.socket.lock().holder = holder.map(|holder| (holder, number));
                                self.shared.runtime.spawn(async move {
                                    connection.carry(end, stream).await;
                                    drop(active);
                                });
                                Ok(())
                            }
                            Err(error) => {
                                self.shared.table.remove(connection.socket.cookie);
                                Err((sys::errno_of(&error), Arrival::Network { stream, peer }))
                            }
                        }
                    }
                    Err(error) => Err((sys::errno_of(&error), Arrival::Network { stream, peer })),
                }
            }
        }
    }

    /// What a connection from `peer` needs: its record, our end, and the program's.
    fn prepare(&self, peer: SocketAddr) -> io::Result<(Connection<N>, Arc<tokio::net::UnixStream>, OwnedFd)> {
        let (ours, theirs, reader) = link::pair()?;
        sys::set_nonblocking(theirs.as_raw_fd(), flags(&self.call) & libc::SOCK_NONBLOCK != 0)?;
        for name in TIMEOUTS {
            sys::copy_option(self.end.as_raw_fd(), theirs.as_raw_fd(), libc::SOL_SOCKET, name)?;
        }
        let socket = Arc::new(self.socket.accepted(theirs.as_raw_fd())?);
        let shared = Arc::clone(&self.shared);
        let connection = Connection { shared, socket, remote: peer, returns: 0, opened: Settings::default() };
        let end = connection.join_pair(ours, &theirs, reader)?;
        Ok((connection, end, theirs))
    }

    /// Tells the peer's address, if that is asked for, and answers the call with a descriptor. Returns its number.
    fn answer(&self, fd: BorrowedFd<'_>, peer: SocketAddr) -> io::Result<i32> {
        let [_, name_at, len_at, ..] = self.call.args;
        if name_at != 0 {
            let name = address::emit(peer, self.socket.domain);
            self.shared
                .still_waits(&self.call)
                .and_then(|()| memory::write_sized(self.shared.waiting(&self.call), name_at, len_at, &name, name.len()))
                .map_err(io::Error::from_raw_os_error)?;
        }
        let cloexec = flags(&self.call) & libc::SOCK_CLOEXEC != 0;
        self.shared.listener.answer_with_fd(self.call.id, fd, cloexec)
    }
}
