//! `MSG_FASTOPEN`: connect and send in one call (TCP Fast Open, RFC 7413).
//!
//! A call that waits returns when all is written. One that does not returns at once: with so many
//! bytes as taken if the peer has given a cookie, and else with `EINPROGRESS`, as in the kernel.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use crate::address;
use crate::network::Network;
use crate::notify::{Answer, Call};
use crate::socket::{Socket, State};
use crate::supervisor::Shared;
use crate::sys::{self, Errno};
use crate::syscalls::connect::{self, Target};
use crate::syscalls::transfer::{self, Message};

/// Whether a connect that nobody has asked about yet has succeeded: then this is a send like any other, as in the kernel.
fn is_late(socket: &Socket) -> bool {
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
    let Message { name, data, flags } = message;
    let name = if name.0 == 0 { Vec::new() } else { connect::read_name(shared, call, name)? };
    if address::family(&name) == Some(libc::AF_UNSPEC) {
        return Err(libc::EOPNOTSUPP);
    }
    if is_late(&socket) {
        return transfer::send_on(shared, call, end, Message { name: (0, 0), data, flags });
    }
    if matches!(socket.lock().state, State::Connecting) {
        return Err(libc::EALREADY);
    }
    let nonblocking =
        flags & libc::MSG_DONTWAIT != 0 || sys::status_flags(end.as_raw_fd()).is_ok_and(|f| f & libc::O_NONBLOCK != 0);
    connect::proceed(shared, call, socket, end, Target { name, nonblocking, early: Some(data) })
}
