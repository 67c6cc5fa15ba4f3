//! `bind` and `listen`.
//!
//! A bind is done on the shadow, so that the kernel finds what is wrong with it. At listen the
//! shadow itself takes the place of the UNIX socket: from then on it is the kernel's server, and
//! nothing of it is intercepted. It is done no sooner, because a program that binds may still
//! connect. An epoll registration made before listen is lost.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::address::{self, Given};
use crate::memory;
use crate::network::Network;
use crate::notify::{Answer, Call};
use crate::rights;
use crate::socket::{Socket, State};
use crate::supervisor::Shared;
use crate::sys::{self, Errno};
use crate::syscalls::connect::put_in_place;

/// From linux/in6.h, not in `libc`.
const IPV6_FREEBIND: i32 = 78;

pub(super) fn bind<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, _end)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    let len = usize::try_from(call.int(2)).map_err(|_| libc::EINVAL)?;
    if len > address::STORAGE_LEN {
        return Err(libc::EINVAL);
    }
    let bytes = memory::read(call.tid, call.args[1], len)?;
    shared.still_waits(call)?;
    let free = {
        let inner = socket.lock();
        matches!(inner.state, State::Idle) && inner.bound.is_none()
    };
    if !free {
        return Err(libc::EINVAL);
    }
    let shadow = socket.lock().shadow.as_raw_fd();
    if let Ok(Given::Internet(asked)) = address::parse(&bytes, socket.domain)
        && shared.network.owns(asked.ip().to_canonical())
    {
        // The kernel does not know the address, but it can choose and guard the port.
        let _ = match socket.domain {
            libc::AF_INET6 => sys::set_int_option(shadow, libc::IPPROTO_IPV6, IPV6_FREEBIND, 1),
            _ => sys::set_int_option(shadow, libc::IPPROTO_IP, libc::IP_FREEBIND, 1),
        };
    }
    bind_shadow(shared, call, shadow, &bytes).map_err(|error| sys::errno_of(&error))?;
    let mut inner = socket.lock();
    inner.bound = address::kernel_name(shadow).ok();
    inner.holds_address = true;
    shared.has_bound.store(true, Ordering::Relaxed);
    Ok(Answer::Value(0))
}

/// Binds, and once more if the address was only held by a socket that its program has closed.
fn bind_shadow<N: Network>(shared: &Shared<N>, call: &Call, shadow: i32, bytes: &[u8]) -> io::Result<()> {
    let attempt = || rights::as_caller(call.tid, || sys::bind(shadow, bytes));
    match attempt() {
        Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => {
            shared.table.collect();
            attempt()
        }
        other => other,
    }
}

pub(super) fn listen<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, end)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    if !matches!(socket.lock().state, State::Idle) {
        return Err(libc::EINVAL);
    }
    let bound = socket.lock().bound;
    if let Some(bound) = bound.filter(|bound| shared.network.owns(bound.ip().to_canonical())) {
        shared.options.notice(&format!(
            "listening on {bound} is not possible: the address belongs to polypath, which does \
             not carry servers yet. Bind to 0.0.0.0 or to an address of the kernel.",
        ));
        return Err(libc::EADDRNOTAVAIL);
    }
    socket.retake_address().map_err(|error| sys::errno_of(&error))?;
    become_kernel_server(&socket, &end, call.int(1)).map_err(|error| sys::errno_of(&error))?;
    let kernel_socket = socket.lock().shadow.try_clone().map_err(|e| sys::errno_of(&e))?;
    put_in_place(shared, call, socket.inode, &kernel_socket)?;
    shared.table.remove(socket.cookie);
    Ok(Answer::Value(0))
}

/// Makes the shadow listen, with all that was native to the UNIX socket.
fn become_kernel_server(socket: &Socket, end: &OwnedFd, backlog: i32) -> io::Result<()> {
    let shadow = socket.lock().shadow.as_raw_fd();
    // SAFETY: no pointers.
    sys::check(unsafe { libc::listen(shadow, backlog) })?;
    let flags = sys::status_flags(end.as_raw_fd())?;
    sys::set_nonblocking(shadow, flags & libc::O_NONBLOCK != 0)?;
    for name in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO, libc::SO_RCVLOWAT] {
        let mut value = [0; size_of::<libc::timeval>()];
        let len = sys::get_option(end.as_raw_fd(), libc::SOL_SOCKET, name, &mut value)?;
        sys::set_option(shadow, libc::SOL_SOCKET, name, &value[..len])?;
    }
    Ok(())
}
