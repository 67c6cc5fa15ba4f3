//! `setsockopt` and `getsockopt`: asked of the shadow, a kernel socket, so that values are
//! checked, kept and told exactly as with TCP.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use crate::bpf;
use crate::memory;
use crate::network::Network;
use crate::notify::{Answer, Call};
use crate::socket::{Pending, Socket, State};
use crate::supervisor::Shared;
use crate::sys::{self, Errno};

/// No option of a TCP socket is longer (the longest are source filters).
const VALUE_MAX: usize = 64 * 1024;

/// From linux/tcp.h, not all in `libc`.
const TCP_ULP: i32 = 31;
const TCP_REPAIR: i32 = 19;
const TCP_FASTOPEN_CONNECT: i32 = 30;
const TCP_ZEROCOPY_RECEIVE: i32 = 35;
/// From linux/mptcp.h: asks the kernel to follow pointers, which would lead into our own memory.
const MPTCP_FULL_INFO: i32 = 4;
/// `IPT_BASE_CTL` and what follows of netfilter's: tables with pointers in them.
const NETFILTER: std::ops::Range<i32> = 64..80;
/// `tcpi_state`, the first byte of `TCP_INFO` (linux/tcp_states.h).
const TCP_ESTABLISHED: u8 = 1;
const TCP_CLOSE: u8 = 7;

pub(super) fn setsockopt<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, _)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    let (level, name) = (call.int(1), call.int(2));
    let len = usize::try_from(call.int(4)).map_err(|_| libc::EINVAL)?;
    if let Some(errno) = refusal(level, name) {
        return Err(errno);
    }
    if len > VALUE_MAX {
        return Err(libc::EINVAL);
    }
    let value = memory::read(call.tid, call.args[3], len)?;
    shared.still_waits(call)?;
    socket.set_option(call.tid, level, name, value).map_err(|error| sys::errno_of(&error))?;
    Ok(Answer::Value(0))
}

/// Options that would change how data flows, which the shadow does not see, or whose value holds
/// pointers or descriptors of the program. Refused as a kernel without the feature does.
fn refusal(level: i32, name: i32) -> Option<Errno> {
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_ZEROCOPY) => Some(libc::EOPNOTSUPP),
        (
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER
            | libc::SO_ATTACH_BPF
            | libc::SO_ATTACH_REUSEPORT_CBPF
            | libc::SO_ATTACH_REUSEPORT_EBPF,
        ) => Some(libc::ENOPROTOOPT),
        (libc::IPPROTO_TCP, TCP_FASTOPEN_CONNECT) => Some(libc::EOPNOTSUPP),
        (libc::IPPROTO_TCP, TCP_REPAIR) => Some(libc::EPERM),
        (libc::IPPROTO_IP | libc::IPPROTO_IPV6, name) if NETFILTER.contains(&name) => Some(libc::ENOPROTOOPT),
        // What a kernel without TLS answers.
        (libc::IPPROTO_TCP, TCP_ULP) => Some(libc::ENOENT),
        _ => None,
    }
}

pub(super) fn getsockopt<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, end)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    let (level, name) = (call.int(1), call.int(2));
    let room = memory::read_u32(call.tid, call.args[4])? as usize;
    if i32::try_from(room).is_err() {
        return Err(libc::EINVAL);
    }
    let value = match (level, name) {
        (libc::SOL_SOCKET, libc::SO_ERROR) => {
            // Asking the UNIX socket clears its error, too.
            let native = sys::get_int_option(end.as_raw_fd(), level, name);
            take_error(&socket, native.unwrap_or(0)).to_ne_bytes().to_vec()
        }
        (libc::SOL_SOCKET, libc::SO_PROTOCOL) if socket.protocol == libc::IPPROTO_MPTCP => {
            socket.protocol.to_ne_bytes().to_vec()
        }
        (libc::IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE) => return Err(libc::ENOPROTOOPT),
        (bpf::SOL_MPTCP, MPTCP_FULL_INFO) => return Err(libc::EOPNOTSUPP),
        _ => ask_shadow(&socket, level, name, room.min(VALUE_MAX))?,
    };
    let told = value.len().min(room);
    memory::write_sized(shared.waiting(call), call.args[3], call.args[4], &value, told)?;
    Ok(Answer::Value(0))
}

/// The pending error, told once: ours is the true one, the UNIX socket's is always `ECONNRESET`.
fn take_error(socket: &Socket, native: Errno) -> Errno {
    match &mut socket.lock().state {
        State::Failed(error) | State::Over { error, .. } => match error.take() {
            // A read has told the program already.
            Some(Pending { shown: true, .. }) if native == 0 => 0,
            Some(Pending { errno, .. }) => errno,
            None => 0,
        },
        _ => native,
    }
}

fn ask_shadow(socket: &Socket, level: i32, name: i32, room: usize) -> Result<Vec<u8>, Errno> {
    let inner = socket.lock();
    let mut value = vec![0; room];
    let len =
        sys::get_option(inner.shadow.as_raw_fd(), level, name, &mut value).map_err(|error| sys::errno_of(&error))?;
    value.truncate(len);
    // The shadow of a connection through the network is not connected itself.
    if (level, name) == (libc::IPPROTO_TCP, libc::TCP_INFO)
        && matches!(inner.state, State::Connected { .. })
        && value.first() == Some(&TCP_CLOSE)
    {
        value[0] = TCP_ESTABLISHED;
    }
    Ok(value)
}
