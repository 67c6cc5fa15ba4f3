//! `bind`: done on the shadow, so that the kernel finds what is wrong with it, and keeps others from the address.

use std::io;
use std::os::fd::AsRawFd;
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
use crate::syscalls::closing;

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
    if !is_free(&socket) {
        // What is wrong with the address comes first.
        return Err(fault(call.tid, &socket, bytes).unwrap_or(libc::EINVAL));
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
    let port = match address::parse(&bytes, socket.domain) {
        Ok(Given::Internet(asked)) => asked.port(),
        _ => 0,
    };
    closing::attempt(shared, call, port, {
        let (shared, call) = (Arc::clone(shared), *call);
        move || bind_shadow(&shared, &call, &socket, port, &bytes)
    })
}

/// Whether it has no port, and neither is nor becomes connected.
fn is_free(socket: &Socket) -> bool {
    let inner = socket.lock();
    let is_closed = match inner.state {
        State::Idle | State::Failed(_) | State::Spent | State::Over { peer: None, .. } => true,
        State::Over { .. } | State::Listening | State::Connecting | State::Connected { .. } => false,
    };
    is_closed && inner.bound.is_none_or(|bound| bound.port() == 0)
}

/// What the kernel finds wrong with an address, whatever the port, in the name of thread `caller`.
fn fault(caller: u32, socket: &Socket, mut name: Vec<u8>) -> Option<Errno> {
    let other = sys::socket(socket.domain, libc::SOCK_STREAM, libc::IPPROTO_TCP).ok()?;
    if let Some(port) = name.get_mut(2..4) {
        port.fill(0);
    }
    rights::as_caller(caller, || sys::bind(other.as_raw_fd(), &name)).err().map(|error| sys::errno_of(&error))
}

/// Binds, and once more if the address was only held by a socket that its program has closed.
fn bind_shadow<N: Network>(
    shared: &Shared<N>,
    call: &Call,
    socket: &Socket,
    port: u16,
    bytes: &[u8],
) -> io::Result<()> {
    let attempt = || -> io::Result<()> {
        let shares = sys::get_int_option(socket.lock().shadow_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT)? != 0;
        // To the kernel all shadows are ours.
        let user = shares.then(|| rights::user_of(call.tid)).flatten();
        if let (Some(user), Ok(Given::Internet(asked))) = (user, address::parse(bytes, socket.domain))
            && shared.table.is_of_another(asked, user)
        {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let mut inner = socket.lock();
        let shadow = inner.shadow.as_raw_fd();
        rights::as_caller(call.tid, || sys::bind(shadow, bytes))?;
        inner.bound = address::kernel_name(shadow).ok();
        (inner.holds_address, inner.chose_port, inner.user, inner.former) = (true, port != 0, user, None);
        if let State::Over { local, .. } = &mut inner.state {
            *local = None;
        }
        Ok(())
    };
    let bound = match attempt() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            shared.table.collect();
            shared.network.release_port(port);
            attempt()
        }
        other => other,
    };
    shared.has_bound.store(true, Ordering::Relaxed);
    bound
}
