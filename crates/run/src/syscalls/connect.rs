//! `connect`, blocking and not, into the network or with the kernel's TCP.
//!
//! Loopback destinations are connected with the kernel's TCP, but bridged like all others instead
//! of putting a kernel socket in the place of the descriptor: programs register a socket with
//! epoll, or duplicate it, before they connect, and a replaced file would lose both. The kernel
//! socket used is the shadow, with the program's options and bound address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::address::{self, Given};
use crate::attempt::{self, Connecting, Waiting};
use crate::connection::Connection;
use crate::identity;
use crate::memory;
use crate::network::{self, NetStream, Network, Opening};
use crate::notify::{Answer, Call};
use crate::program;
use crate::settings::Settings;
use crate::socket::{Socket, State};
use crate::supervisor::Shared;
use crate::sys::{self, Errno};
use crate::syscalls::{closing, shutdown};

pub(super) fn connect<N: Network>(shared: &Arc<Shared<N>>, call: &Call) -> Result<Answer, Errno> {
    let Some((socket, end)) = shared.identify(call, call.int(0))? else {
        return Ok(Answer::Continue);
    };
    let name = read_name(shared, call, (call.args[1], call.int(2)))?;
    match address::family(&name) {
        None => return Err(libc::EINVAL),
        Some(libc::AF_UNSPEC) => return disconnect(shared, call, &socket, &end),
        Some(_) => {}
    }
    let nonblocking = sys::status_flags(end.as_raw_fd()).is_ok_and(|f| f & libc::O_NONBLOCK != 0);
    proceed(shared, call, socket, end, Target { name, nonblocking, early: None })
}

/// Connects, if the socket is free to.
pub(super) fn proceed<N: Network>(
    shared: &Arc<Shared<N>>,
    call: &Call,
    socket: Arc<Socket>,
    end: OwnedFd,
    target: Target,
) -> Result<Answer, Errno> {
    let nonblocking = target.nonblocking;
    let stands = match &socket.lock().state {
        State::Idle => Stands::Free,
        State::Spent => Stands::Spent,
        State::Over { .. } | State::Listening => return Err(libc::EISCONN),
        State::Connecting => Stands::Connecting,
        State::Connected { .. } | State::Failed(_) => Stands::Settled,
    };
    match stands {
        Stands::Free => begin(shared, call, &socket, end, target),
        Stands::Spent => {
            address::parse(&target.name, socket.domain)?;
            let (socket, end) = replace(shared, call, &socket, &end)?;
            begin(shared, call, &socket, end, target)
        }
        Stands::Connecting if nonblocking => Err(libc::EALREADY),
        Stands::Connecting => {
            let (shared, call, timeout) = (Arc::clone(shared), *call, send_timeout(&end));
            shared.runtime.clone().spawn(attempt::join(shared, socket, call, timeout));
            Ok(Answer::Later)
        }
        Stands::Settled => attempt::settled(&socket).ok_or(libc::EALREADY),
    }
}

/// Options that the program's file has and the shadow has not.
const NATIVE: [i32; 4] = [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO, libc::SO_RCVLOWAT, libc::SO_PEEK_OFF];

/// What a connect finds.
enum Stands {
    Free,
    Spent,
    Connecting,
    Settled,
}

/// Reads a `sockaddr`, which is there and so long. Whether it is a good one counts only where it is used.
pub(super) fn read_name<N: Network>(shared: &Shared<N>, call: &Call, (at, len): (u64, i32)) -> Result<Vec<u8>, Errno> {
    let len = usize::try_from(len).map_err(|_| libc::EINVAL)?;
    if len > address::STORAGE_LEN {
        return Err(libc::EINVAL);
    }
    let bytes = memory::read(call.tid, at, len)?;
    shared.still_waits(call)?;
    Ok(bytes)
}

/// What a program wants to be connected to, and how.
pub(super) struct Target {
    /// A `sockaddr`.
    pub(super) name: Vec<u8>,
    pub(super) nonblocking: bool,
    /// Data that comes with the call (`MSG_FASTOPEN`).
    pub(super) early: Option<Vec<u8>>,
}

/// A connect as it was begun.
struct Begun<S> {
    connecting: Connecting<S>,
    /// What the call returns if it waits.
    returns: usize,
    /// What it returns if it does not: so many bytes were taken, if any.
    taken: usize,
    settings: Settings,
}

/// Chooses the route.
fn begin<N: Network>(
    shared: &Arc<Shared<N>>,
    call: &Call,
    socket: &Arc<Socket>,
    end: OwnedFd,
    target: Target,
) -> Result<Answer, Errno> {
    let Target { name, nonblocking, early } = target;
    let Given::Internet(asked) = address::parse(&name, socket.domain)? else { return Err(libc::EINVAL) };
    let remote = address::destination(asked);
    let by_kernel = remote.ip().is_loopback() || !shared.network.carries(remote.ip());
    socket.lock().by_kernel = by_kernel;
    if by_kernel {
        socket.retake_address().map_err(|e| sys::errno_of(&e))?;
        let shadow = socket.lock().shadow.try_clone().map_err(|e| sys::errno_of(&e))?;
        let mut begun = through_kernel(socket, shadow, remote, early, nonblocking).map_err(|e| sys::errno_of(&e))?;
        begun.connecting = after_closes(shared, remote.port(), begun.connecting);
        return start(shared, call, socket, end, remote, begun, nonblocking);
    }
    if remote.is_ipv4() && socket.domain == libc::AF_INET6 && is_v6_only(socket) {
        return Err(libc::ENETUNREACH);
    }
    let local = bound_for(socket, remote)?;
    let network = Arc::clone(&shared.network);
    let settings = Settings::of(&socket.lock(), remote.is_ipv4());
    let program = shared.network.asks_for_programs().then(|| program::of(call.tid));
    let mut opening = Opening { settings, fast_open: early.is_some(), data: early.unwrap_or_default(), program };
    if nonblocking && !shared.network.takes_early_data(remote.ip()) {
        opening.data.clear();
    }
    let length = opening.data.len();
    let connecting = Box::pin(async move { network.open(remote, local, opening).await });
    let begun = Begun { connecting, returns: length, taken: length, settings };
    start(shared, call, socket, end, remote, begun, nonblocking)
}

/// Begins with the shadow, which has the program's options and speaks from now on.
fn through_kernel(
    socket: &Socket,
    shadow: OwnedFd,
    remote: SocketAddr,
    early: Option<Vec<u8>>,
    nonblocking: bool,
) -> io::Result<Begun<TcpStream>> {
    let target = in_family(remote, socket.domain);
    let settings = Settings::default();
    let Some(data) = early else {
        let connecting = Box::pin(network::connect_kernel(shadow, target));
        return Ok(Begun { connecting, returns: 0, taken: 0, settings });
    };
    let name = address::emit(target, socket.domain);
    let taken = match sys::send_to(shadow.as_raw_fd(), &data, libc::MSG_FASTOPEN, &name) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => 0,
        other => other?,
    };
    let returns = data.len();
    let rest = if nonblocking { Vec::new() } else { data[taken..].to_vec() };
    let connecting = Box::pin(network::finish_kernel(shadow, rest));
    Ok(Begun { connecting, returns, taken, settings })
}

/// Starts the attempt: parked if the program waits, linked if it does not.
fn start<N: Network, S>(
    shared: &Arc<Shared<N>>,
    call: &Call,
    socket: &Arc<Socket>,
    end: OwnedFd,
    remote: SocketAddr,
    begun: Begun<S>,
    nonblocking: bool,
) -> Result<Answer, Errno>
where
    S: AsyncRead + AsyncWrite + NetStream + Unpin + Send + 'static,
{
    let Begun { connecting, returns, taken, settings: opened } = begun;
    let connecting = attempt::begin(connecting)?;
    let (waiting, answer) = if nonblocking {
        let (ours, stuffed) = attempt::link_stuffed(shared, &end).map_err(|error| sys::errno_of(&error))?;
        let answer = if taken > 0 { Answer::Value(taken as i64) } else { Answer::Error(libc::EINPROGRESS) };
        (Waiting::Linked { end: ours, stuffed }, answer)
    } else {
        (Waiting::Parked { call: *call, timeout: send_timeout(&end) }, Answer::Later)
    };
    // Kept any longer, our duplicate would hide the program's close.
    drop(end);
    {
        let mut inner = socket.lock();
        (inner.state, inner.destination) = (State::Connecting, Some(remote));
    }
    let (shared_too, socket_too) = (Arc::clone(shared), Arc::clone(socket));
    let attempt = Connection { shared: shared_too, socket: socket_too, remote, returns: returns as i64, opened };
    let active = shared.activity.begin();
    let task = shared.runtime.spawn(async move {
        attempt.run(connecting, waiting).await;
        drop(active);
    });
    socket.lock().task = Some(task.abort_handle());
    Ok(answer)
}

/// Who connects to a listener that its program has closed is refused, though the close is seen a moment later.
fn after_closes<N: Network, S: Send + 'static>(
    shared: &Arc<Shared<N>>,
    port: u16,
    connecting: Connecting<S>,
) -> Connecting<S> {
    if !shared.listenings.has(port) {
        return connecting;
    }
    let shared = Arc::clone(shared);
    Box::pin(async move {
        closing::ended(&shared, port).await;
        connecting.await
    })
}

/// The local address to connect from, freed from the kernel for the network to use.
fn bound_for(socket: &Socket, remote: SocketAddr) -> Result<Option<SocketAddr>, Errno> {
    let Some(bound) = socket.lock().bound else { return Ok(None) };
    let mut bound = address::canonical(bound);
    if bound.ip().is_unspecified() {
        bound.set_ip(match remote.ip() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        });
    }
    if bound.is_ipv4() != remote.is_ipv4() {
        return Err(libc::EINVAL);
    }
    socket.release_address().map_err(|error| sys::errno_of(&error))?;
    Ok(Some(bound))
}

/// `connect` with `AF_UNSPEC`: back to the beginning.
fn disconnect<N: Network>(
    shared: &Arc<Shared<N>>,
    call: &Call,
    socket: &Arc<Socket>,
    end: &OwnedFd,
) -> Result<Answer, Errno> {
    let (is_idle, is_listening) = {
        let inner = socket.lock();
        (matches!(inner.state, State::Idle), matches!(inner.state, State::Listening))
    };
    if is_listening {
        return Ok(shutdown::stop_listening(shared, call, socket));
    }
    if !is_idle {
        socket.give_up_port();
        replace(shared, call, socket, end)?;
    }
    Ok(Answer::Value(0))
}

/// Gives the program a fresh UNIX socket under all its numbers for a dead one: it loses its epoll
/// registrations, which is why this is the last resort.
pub(super) fn replace<N: Network>(
    shared: &Arc<Shared<N>>,
    call: &Call,
    old: &Arc<Socket>,
    old_end: &OwnedFd,
) -> Result<(Arc<Socket>, OwnedFd), Errno> {
    let task = old.lock().task.take();
    if let Some(task) = task {
        task.abort();
    }
    let end = sys::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).map_err(|e| sys::errno_of(&e))?;
    let nonblocking = sys::status_flags(old_end.as_raw_fd()).is_ok_and(|f| f & libc::O_NONBLOCK != 0);
    let fresh = old
        .successor(end.as_raw_fd())
        .and_then(|fresh| sys::set_nonblocking(end.as_raw_fd(), nonblocking).map(|()| fresh))
        .map_err(|error| sys::errno_of(&error))?;
    for name in NATIVE {
        // Not all are known everywhere.
        let _ = sys::copy_option(old_end.as_raw_fd(), end.as_raw_fd(), libc::SOL_SOCKET, name);
    }
    put_in_place(shared, call, old.inode, &end)?;
    let fresh = Arc::new(fresh);
    shared.table.remove(old.cookie);
    shared.table.insert(Arc::clone(&fresh));
    fresh.lock().holder = old.lock().holder.clone();
    Ok((fresh, end))
}

/// Puts `file` under every number by which the caller knows the socket with `inode`.
pub(super) fn put_in_place<N: Network>(
    shared: &Shared<N>,
    call: &Call,
    inode: u64,
    file: &OwnedFd,
) -> Result<(), Errno> {
    for number in identity::descriptors_of(call.tid, inode) {
        let cloexec = identity::is_cloexec(call.tid, number);
        shared.listener.replace_fd(call.id, file.as_fd(), number, cloexec).map_err(|error| sys::errno_of(&error))?;
    }
    Ok(())
}

/// The destination as a socket of `domain` has to be told.
fn in_family(remote: SocketAddr, domain: i32) -> SocketAddr {
    match remote {
        SocketAddr::V4(v4) if domain == libc::AF_INET6 => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
        other => other,
    }
}

fn is_v6_only(socket: &Socket) -> bool {
    let shadow = socket.lock().shadow.as_raw_fd();
    sys::get_int_option(shadow, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY).is_ok_and(|on| on != 0)
}

/// `SO_SNDTIMEO`, which bounds a blocking connect. It is native: the UNIX socket has it.
fn send_timeout(end: &OwnedFd) -> Option<Duration> {
    timeout_of(end, libc::SO_SNDTIMEO)
}

/// A native timeout of the program's end; `None` is for ever.
pub(super) fn timeout_of(end: &OwnedFd, name: i32) -> Option<Duration> {
    let mut value = [0; size_of::<libc::timeval>()];
    sys::get_option(end.as_raw_fd(), libc::SOL_SOCKET, name, &mut value).ok()?;
    let seconds = i64::from_ne_bytes(value[..8].try_into().ok()?);
    let micros = i64::from_ne_bytes(value[8..16].try_into().ok()?);
    let timeout =
        Duration::from_secs(u64::try_from(seconds).ok()?) + Duration::from_micros(u64::try_from(micros).ok()?);
    (!timeout.is_zero()).then_some(timeout)
}
