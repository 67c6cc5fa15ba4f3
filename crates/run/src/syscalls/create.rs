//! `socket`: the program gets a UNIX socket for TCP.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use crate::network::Network;
use crate::notify::{Answer, Call};
use crate::socket::Socket;
use crate::supervisor::Shared;
use crate::sys::{self, Errno};

pub(super) fn socket<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let (domain, kind, protocol) = (call.int(0), call.int(1), call.int(2));
    if !matches!(protocol, 0 | libc::IPPROTO_TCP | libc::IPPROTO_MPTCP) {
        // SCTP streams, and nonsense, are the kernel's.
        return Ok(Answer::Continue);
    }
    let flags = kind & (libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
    if kind & !(0xf | flags) != 0 {
        return Err(libc::EINVAL);
    }
    let end = sys::socket(libc::AF_UNIX, libc::SOCK_STREAM | flags, 0).map_err(|error| sys::errno_of(&error))?;
    let socket = Socket::new(end.as_raw_fd(), domain, protocol).map_err(|error| sys::errno_of(&error))?;
    let cookie = socket.cookie;
    shared.table.insert(Arc::new(socket));
    let cloexec = flags & libc::SOCK_CLOEXEC != 0;
    match shared.listener.answer_with_fd(call.id, end.as_fd(), cloexec) {
        Ok(_) => Ok(Answer::Later),
        Err(error) => {
            shared.table.remove(cookie);
            // The program's own limit of descriptors, or its death.
            Err(sys::errno_of(&error))
        }
    }
}
