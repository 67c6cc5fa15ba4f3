//! `MSG_FASTOPEN`: connect and send in one call (TCP Fast Open, RFC 7413).
//!
//! A call that waits returns when all is written. One that does not returns at once: with so many
//! bytes as taken if the peer has given a cookie, and else with `EINPROGRESS`, as in the kernel.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use crate::address::Given;
use crate::network::Network;
use crate::notify::{Answer, Call};
use crate::socket::{Socket, State};
use crate::supervisor::Shared;
use crate::sys::{self, Errno};
use crate::syscalls::connect::{self, Target};
use crate::syscalls::transfer::Message;

/// Whether a connect that nobody has asked about yet has succeeded: then this is a send like any other, as in the kernel.
pub(super) fn is_late(socket: &Socket) -> bool {
    match &mut socket.lock().state {
        State::Connected { confirmed, .. } => !std::mem::replace(confirmed, true),
        _ => false,
    }
}

/// Connects to the message's name, and sends its data.
pub(super) fn open<N: Network>(
    shared: &Arc<Shared<N>>,
    call: &Call,
    socket: Arc<Socket>,
    end: OwnedFd,
    message: Message,
) -> Result<Answer, Errno> {
    match socket.lock().state {
        State::Connected { .. } => return Err(libc::EISCONN),
        State::Connecting => return Err(libc::EALREADY),
        _ => {}
    }
    let Message { name, data, flags } = message;
    if name.0 == 0 {
        return Err(libc::EINVAL);
    }
    let Given::Internet(asked) = connect::read_address(shared, call, name, socket.domain)? else {
        return Err(libc::EOPNOTSUPP);
    };
    let nonblocking =
        flags & libc::MSG_DONTWAIT != 0 || sys::status_flags(end.as_raw_fd()).is_ok_and(|f| f & libc::O_NONBLOCK != 0);
    connect::proceed(shared, call, socket, end, Target { asked, nonblocking, early: Some(data) })
}
