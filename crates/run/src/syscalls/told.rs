//! Options that the connection through the network answers, and not the shadow.

use std::os::fd::AsRawFd;

use crate::address;
use crate::bpf;
use crate::info::{mptcp, tcp};
use crate::memory::{self, Waiting};
use crate::network::{Look, Network};
use crate::notify::Call;
use crate::socket::{Socket, State};
use crate::supervisor::Shared;
use crate::sys::{self, Errno};
use polypath_proto::MultipathState;
use polypath_proto::congestion::CongestionKind;

/// From linux/tcp.h and linux/in6.h, not all in `libc`.
const TCP_CC_INFO: i32 = 26;
const IPV6_MTU: i32 = 24;
/// `TCP_CA_NAME_MAX`.
const NAME_LEN: usize = 16;

/// The answer of the network to `getsockopt`; `None`: the shadow knows better. `room` is the program's buffer.
pub(super) fn by_network<N: Network>(
    shared: &Shared<N>,
    socket: &Socket,
    call: &Call,
    room: usize,
) -> Option<Result<Vec<u8>, Errno>> {
    let (level, name) = (call.int(1), call.int(2));
    if (level, name) == (libc::IPPROTO_TCP, libc::TCP_CONGESTION) {
        return congestion(shared, socket).map(|name| Ok(padded(name)));
    }
    let asks = matches!(
        (level, name),
        (libc::IPPROTO_TCP, libc::TCP_INFO | libc::TCP_MAXSEG | TCP_CC_INFO)
            | (libc::IPPROTO_IP, libc::IP_MTU)
            | (libc::IPPROTO_IPV6, IPV6_MTU)
            | (bpf::SOL_MPTCP, _)
    );
    let look = asks.then(|| socket.control()).flatten()?.look()?;
    let int = |value: u32| Some(Ok(value.to_ne_bytes().to_vec()));
    match (level, name) {
        (libc::IPPROTO_TCP, libc::TCP_INFO) => Some(Ok(tcp::of_connection(&look, tcp_info_len(socket)))),
        (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => int(tcp::sizes(&look)?.0.try_into().unwrap_or(u32::MAX)),
        // Only BBR of the kernel's has something to tell there.
        (libc::IPPROTO_TCP, TCP_CC_INFO) => Some(Ok(Vec::new())),
        (bpf::SOL_MPTCP, _) => Some(multipath(socket, &look, shared.waiting(call), room)),
        // The question is only for the family that the connection has.
        (libc::IPPROTO_IP, _) if look.info.remote.is_ipv6() => None,
        (libc::IPPROTO_IPV6, _) if socket.domain != libc::AF_INET6 => None,
        _ => int(tcp::sizes(&look)?.1),
    }
}

/// Name of the congestion control that is in use, or would be.
fn congestion<N: Network>(shared: &Shared<N>, socket: &Socket) -> Option<&'static str> {
    let (asked, by_kernel) = {
        let inner = socket.lock();
        let by_kernel = inner.by_kernel && matches!(inner.state, State::Connecting | State::Connected { .. });
        (inner.congestion, by_kernel)
    };
    if by_kernel {
        return None;
    }
    let used = socket.control().and_then(|control| control.congestion());
    used.or(asked.map(CongestionKind::name)).or_else(|| shared.network.congestion())
}

/// A name as the kernel tells it.
fn padded(name: &str) -> Vec<u8> {
    let mut out = name.as_bytes().to_vec();
    out.resize(NAME_LEN, 0);
    out
}

/// How long `struct tcp_info` is for the kernel here.
fn tcp_info_len(socket: &Socket) -> usize {
    let mut room = [0; 1024];
    let shadow = socket.lock().shadow_fd();
    sys::get_option(shadow, libc::IPPROTO_TCP, libc::TCP_INFO, &mut room).unwrap_or(tcp::LEAST)
}

/// The options of `SOL_MPTCP`. On a connection that is plain TCP: what the kernel says there.
fn multipath(socket: &Socket, look: &Look, waiting: Waiting<'_>, room: usize) -> Result<Vec<u8>, Errno> {
    let call = waiting.1;
    if look.info.multipath != MultipathState::Active {
        return Err(libc::EOPNOTSUPP);
    }
    let given = |at_least: usize| match room < at_least {
        true => Err(libc::EINVAL),
        false => memory::read(call.tid, call.args[3], room.min(super::options::VALUE_MAX)),
    };
    match call.int(2) {
        mptcp::MPTCP_INFO => Ok(mptcp::info(look)),
        mptcp::MPTCP_TCPINFO => mptcp::tcp_infos(look, &given(0)?, tcp_info_len(socket)),
        mptcp::MPTCP_SUBFLOW_ADDRS => mptcp::subflow_addrs(look, &given(0)?),
        mptcp::MPTCP_FULL_INFO => {
            let arrays = mptcp::Arrays::parse(&given(mptcp::FULL_HEAD_LEN)?[..mptcp::FULL_HEAD_LEN])?;
            let full = mptcp::full(look, &arrays, tcp_info_len(socket));
            memory::write(waiting, arrays.tcp_at, &full.tcp)?;
            memory::write(waiting, arrays.subflows_at, &full.subflows)?;
            Ok(full.head)
        }
        _ => Err(libc::EOPNOTSUPP),
    }
}

/// `MPTCP_FULL_INFO` of the shadow: the kernel fills arrays of ours, which go to those of the program.
pub(super) fn full_of_shadow(socket: &Socket, waiting: Waiting<'_>, room: usize) -> Result<Vec<u8>, Errno> {
    let call = waiting.1;
    /// More subflows than a connection can have.
    const MOST: usize = 64;
    let shadow = socket.lock().shadow_fd();
    let mut value = memory::read(call.tid, call.args[3], room.min(super::options::VALUE_MAX))?;
    let Ok(arrays) = mptcp::Arrays::parse(&value) else {
        return sys::get_option(shadow, bpf::SOL_MPTCP, mptcp::MPTCP_FULL_INFO, &mut value)
            .map(|_| Vec::new())
            .map_err(|error| sys::errno_of(&error));
    };
    let count = arrays.room.min(MOST);
    let array = |len: usize| vec![0u8; count * len.min(super::options::VALUE_MAX)];
    let (mut subflows, mut tcps) = (array(arrays.subflow_len), array(arrays.tcp_len));
    value[20..24].copy_from_slice(&(count as u32).to_ne_bytes());
    value[24..32].copy_from_slice(&(subflows.as_mut_ptr() as u64).to_ne_bytes());
    value[32..40].copy_from_slice(&(tcps.as_mut_ptr() as u64).to_ne_bytes());
    let len = sys::get_option(shadow, bpf::SOL_MPTCP, mptcp::MPTCP_FULL_INFO, &mut value)
        .map_err(|error| sys::errno_of(&error))?;
    value.truncate(len);
    let word = |at: usize| u32::from_ne_bytes([value[at], value[at + 1], value[at + 2], value[at + 3]]) as usize;
    let (tcp_len, subflow_len, filled) = (word(4), word(12), word(16).min(count));
    memory::write(waiting, arrays.tcp_at, &tcps[..filled * tcp_len])?;
    memory::write(waiting, arrays.subflows_at, &subflows[..filled * subflow_len])?;
    value[20..24].copy_from_slice(&(arrays.room as u32).to_ne_bytes());
    value[24..32].copy_from_slice(&arrays.subflows_at.to_ne_bytes());
    value[32..40].copy_from_slice(&arrays.tcp_at.to_ne_bytes());
    Ok(value)
}

/// `SO_PEERNAME`: `getpeername` by another way, which has to fit.
pub(super) fn peer_name(socket: &Socket, room: usize) -> Result<Vec<u8>, Errno> {
    // Also where the connection is not there yet, or no more.
    let peer = socket.lock().destination.ok_or(libc::ENOTCONN)?;
    let bytes = address::emit(peer, socket.domain);
    if bytes.len() < room { Err(libc::EINVAL) } else { Ok(bytes) }
}

/// What the shadow says, which is not connected where its socket is: `tcpi_state` is the socket's.
pub(super) fn by_shadow(socket: &Socket, level: i32, name: i32, mut value: Vec<u8>) -> Result<Vec<u8>, Errno> {
    let inner = socket.lock();
    let len =
        sys::get_option(inner.shadow.as_raw_fd(), level, name, &mut value).map_err(|error| sys::errno_of(&error))?;
    value.truncate(len);
    if (level, name) == (libc::IPPROTO_TCP, libc::TCP_INFO)
        && let Some(state) = value.first_mut().filter(|state| **state == tcp::CLOSE)
    {
        *state = match inner.state {
            State::Connecting => tcp::SYN_SENT,
            State::Connected { .. } => tcp::ESTABLISHED,
            _ => tcp::CLOSE,
        };
    }
    Ok(value)
}
