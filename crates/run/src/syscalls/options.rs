//! `setsockopt` and `getsockopt`.
//!
//! Values are checked, kept and told by the shadow, a kernel socket, exactly as with TCP. What steers
//! a connection is passed on to the network; what tells of one, the network [tells](super::told); what
//! cannot be done is [refused](super::refused).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use polypath_proto::congestion::CongestionKind;

use crate::bpf;
use crate::info::mptcp;
use crate::link;
use crate::memory::{self, Waiting};
use crate::network::Network;
use crate::notify::{Answer, Call};
use crate::socket::{Socket, State};
use crate::supervisor::Shared;
use crate::sys::{self, Errno};
use crate::syscalls::refused::{TCP_FASTOPEN_CONNECT, TCP_ULP, refusal};
use crate::syscalls::told;

/// No option of a TCP socket is longer (the longest are source filters).
pub(super) const VALUE_MAX: usize = 64 * 1024;

/// From linux/tcp.h, not in `libc`.
const TCP_FASTOPEN_NO_COOKIE: i32 = 34;
const TCP_ZEROCOPY_RECEIVE: i32 = 35;
/// From asm-generic/socket.h.
const SO_PEERNAME: i32 = 28;

pub(super) fn setsockopt<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, end)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    let (level, name) = (call.int(1), call.int(2));
    let len = usize::try_from(call.int(4)).map_err(|_| libc::EINVAL)?;
    let value = memory::read_some(call.tid, call.args[3], len.min(VALUE_MAX));
    shared.still_waits(call)?;
    if value.is_empty() && len > 0 {
        // Whether the address is looked at first, the kernel knows.
        let shadow = socket.lock().shadow_fd();
        return Err(sys::set_option_from_nowhere(shadow, level, name, len)
            .err()
            .map_or(libc::EFAULT, |e| sys::errno_of(&e)));
    }
    let on = value.iter().take(4).any(|byte| *byte != 0);
    if is_too_late(&socket, level, name) {
        return Err(libc::EINVAL);
    }
    if let Some(refusal) = refusal(level, name, on) {
        let shadow = socket.lock().shadow_fd();
        let is_short = value.len() < size_of::<i32>() && (name != TCP_ULP || value.is_empty());
        if is_short && let Err(error) = sys::set_option(shadow, level, name, &value) {
            // What is too short is wrong in the kernel's own way.
            return Err(sys::errno_of(&error));
        }
        if let Some((option, follows)) = refusal.notice {
            shared.notice_once(option, &format!("{option} is refused: {follows}."));
        }
        return Err(refusal.errno);
    }
    if (level, name) == (libc::IPPROTO_TCP, libc::TCP_CONGESTION) && !value.is_empty() && !is_by_kernel(&socket) {
        choose_congestion(&socket, &value)?;
        return Ok(Answer::Value(0));
    }
    if (level, name) == (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) && socket.domain == libc::AF_INET6 && is_named(&socket)
    {
        return Err(libc::EINVAL);
    }
    socket.set_option(call.tid, level, name, value).map_err(|error| sys::errno_of(&error))?;
    socket.steer();
    if level == libc::SOL_SOCKET {
        resize(&socket, &end, name);
    }
    Ok(Answer::Value(0))
}

/// Whether the shadow carries the connection.
fn is_by_kernel(socket: &Socket) -> bool {
    let inner = socket.lock();
    inner.by_kernel && matches!(inner.state, State::Connecting | State::Connected { .. })
}

/// Whether this is for sockets that are not connected, and it is.
fn is_too_late(socket: &Socket, level: i32, name: i32) -> bool {
    level == libc::IPPROTO_TCP
        && [libc::TCP_FASTOPEN, TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_NO_COOKIE].contains(&name)
        && match socket.lock().state {
            State::Connecting | State::Connected { .. } | State::Over { peer: Some(_), .. } => true,
            State::Listening => name == TCP_FASTOPEN_CONNECT,
            _ => false,
        }
}

/// Whether the socket has a port, which the shadow has not while another speaks in its place.
fn is_named(socket: &Socket) -> bool {
    let inner = socket.lock();
    inner.bound.is_some() || matches!(inner.state, State::Connecting | State::Connected { .. })
}

/// `TCP_CONGESTION`: one of the network's.
fn choose_congestion(socket: &Socket, value: &[u8]) -> Result<(), Errno> {
    // As much of it as the kernel looks at.
    let name = value.iter().take(15).copied().take_while(|byte| *byte != 0).collect();
    let kind: CongestionKind = String::from_utf8(name).ok().and_then(|name| name.parse().ok()).ok_or(libc::ENOENT)?;
    let shadow = {
        let mut inner = socket.lock();
        inner.congestion = Some(kind);
        inner.shadow_fd()
    };
    // For a connection with the kernel's TCP, if it has that.
    let _ = sys::set_option(shadow, libc::IPPROTO_TCP, libc::TCP_CONGESTION, kind.name().as_bytes());
    socket.steer();
    Ok(())
}

/// Buffers of an established connection: what waits in the pipe, in either direction.
fn resize(socket: &Socket, end: &OwnedFd, name: i32) {
    if !matches!(socket.lock().state, State::Connected { .. }) {
        return;
    }
    match name {
        libc::SO_SNDBUF | libc::SO_SNDBUFFORCE => {
            if let Some(bytes) = socket.wanted_send_buffer() {
                link::set_send_buffer(end.as_fd(), bytes);
            }
        }
        libc::SO_RCVBUF | libc::SO_RCVBUFFORCE => {
            let ours = socket.lock().carried.as_ref().and_then(|carried| carried.pipe.upgrade());
            if let (Some(ours), Some(bytes)) = (ours, socket.wanted_receive_buffer()) {
                link::set_send_buffer(ours.as_fd(), bytes);
            }
        }
        _ => {}
    }
}

pub(super) fn getsockopt<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, end)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    let (level, name) = (call.int(1), call.int(2));
    let asked = memory::read_u32(call.tid, call.args[4]).map(|room| room as i32);
    let Some(room) = asked.ok().and_then(|room| usize::try_from(room).ok()) else {
        return ask_oddly(&socket, shared.waiting(call), asked);
    };
    let value = match (level, name) {
        (libc::SOL_SOCKET, libc::SO_ERROR) => socket.take_error(end.as_fd()).to_ne_bytes().to_vec(),
        (libc::SOL_SOCKET, libc::SO_PROTOCOL) if socket.protocol == libc::IPPROTO_MPTCP => {
            socket.protocol.to_ne_bytes().to_vec()
        }
        (libc::SOL_SOCKET, SO_PEERNAME) => told::peer_name(&socket, room)?,
        (libc::IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE) => return Err(libc::ENOPROTOOPT),
        _ => match told::by_network(shared, &socket, call, room) {
            Some(told) => told?,
            None => ask_shadow(&socket, shared.waiting(call), room)?,
        },
    };
    let told = value.len().min(room);
    memory::write_sized(shared.waiting(call), call.args[3], call.args[4], &value, told)?;
    Ok(Answer::Value(0))
}

/// With a length that is none: what that comes to, and whether it is looked at first, the kernel knows.
fn ask_oddly(socket: &Socket, waiting: Waiting<'_>, room: Result<i32, Errno>) -> Result<Answer, Errno> {
    let call = waiting.1;
    let (shadow, level, name) = (socket.lock().shadow_fd(), call.int(1), call.int(2));
    let mut value = [0; VALUE_MAX];
    let told = sys::get_option_oddly(shadow, (level, name), &mut value, room.ok()).map_err(|e| sys::errno_of(&e))?;
    memory::write(waiting, call.args[3], told)?;
    memory::write(waiting, call.args[4], &(told.len() as u32).to_ne_bytes())?;
    Ok(Answer::Value(0))
}

fn ask_shadow(socket: &Socket, waiting: Waiting<'_>, room: usize) -> Result<Vec<u8>, Errno> {
    let call = waiting.1;
    let (level, name, room) = (call.int(1), call.int(2), room.min(VALUE_MAX));
    let value = match (level, name) {
        (bpf::SOL_MPTCP, mptcp::MPTCP_FULL_INFO) => return told::full_of_shadow(socket, waiting, room),
        // These begin with what the program asks for. Whether the kernel looks there, it knows.
        (bpf::SOL_MPTCP, mptcp::MPTCP_TCPINFO | mptcp::MPTCP_SUBFLOW_ADDRS)
        | (libc::IPPROTO_IP, libc::IP_MSFILTER | libc::MCAST_MSFILTER)
        | (libc::IPPROTO_IPV6, libc::IPV6_FLOWLABEL_MGR | libc::MCAST_MSFILTER) => {
            let mut value = memory::read_some(call.tid, call.args[3], room);
            value.resize(room, 0);
            value
        }
        _ => vec![0; room],
    };
    told::by_shadow(socket, level, name, value)
}
