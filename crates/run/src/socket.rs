//! One virtual socket: what the program believes to be TCP and is a UNIX socket.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, Weak};

use polypath_proto::congestion::CongestionKind;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::address;
use crate::identity::Holder;
use crate::identity::parking::Mutex;
use crate::network::Control;
use crate::reader::Reader;
use crate::rights;
use crate::settings::Settings;
use crate::sys::{self, Errno};

/// Where a virtual socket stands.
#[derive(Debug)]
pub(crate) enum State {
    /// Neither connected nor trying to.
    Idle,
    /// Connections come in and wait to be accepted.
    Listening,
    /// A connect is under way. If it is a blocking one the program's end is not linked yet.
    Connecting,
    /// Established. `confirmed` once a connect has returned 0: like Linux, the first connect after
    /// a non-blocking one succeeded returns 0, the next `EISCONN`.
    Connected { local: Option<SocketAddr>, peer: SocketAddr, confirmed: bool },
    /// A connect that the program did not wait for has failed, and `SO_ERROR` has not been asked
    /// yet (then `None`). The program's file is dead.
    Failed(Option<Pending>),
    /// Free to connect again, but the program's file is dead and has to be replaced.
    Spent,
    /// Reset, or closed in both directions, or shut both ways: only then TCP still tells the peer.
    Over { local: Option<SocketAddr>, peer: Option<SocketAddr>, error: Option<Pending> },
}

/// An error that the program has not been told yet.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) errno: Errno,
    /// Whether the UNIX socket has an error pending in its place. Whoever sees that, be it by a
    /// read, has been told.
    pub(crate) shown: bool,
}

/// Which directions the program has shut.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Shut {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// The connection through the network under a socket.
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) control: Option<Arc<dyn Control>>,
    /// The settings that it has.
    pub(crate) applied: Settings,
    /// The peer's address is IPv4.
    pub(crate) to_v4: bool,
    /// Our end of the UNIX socket.
    pub(crate) pipe: Weak<UnixStream>,
}

/// What changes about a socket.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) state: State,
    /// A kernel TCP socket that never speaks, unless the program listens or connects outside the
    /// network: it checks and keeps options and bound addresses exactly as the kernel does.
    pub(crate) shadow: OwnedFd,
    /// The options set on it, in order: to make another like it.
    options: Vec<(i32, i32, Vec<u8>)>,
    /// The congestion control that the program asked for, of the network's.
    pub(crate) congestion: Option<CongestionKind>,
    /// The shadow speaks: it is what the connection is made with.
    pub(crate) by_kernel: bool,
    /// What carries the connection, while it is established.
    pub(crate) carried: Option<Carried>,
    /// What the program bound, as the kernel tells it.
    pub(crate) bound: Option<SocketAddr>,
    /// Whether the program chose the port: one that the kernel chose is given up when a connection or a listener has ended.
    pub(crate) chose_port: bool,
    /// The user who bound it, where it shares its port (`SO_REUSEPORT`).
    pub(crate) user: Option<u32>,
    /// The name before the port was given up: it is told until there is another.
    pub(crate) former: Option<SocketAddr>,
    /// Where it was last connected to, or tried to.
    pub(crate) destination: Option<SocketAddr>,
    /// Whether the shadow keeps others from that address.
    pub(crate) holds_address: bool,
    pub(crate) shut: Shut,
    /// Where the program's end was last seen. Only a hint: closes are invisible.
    pub(crate) holder: Option<(Holder, RawFd)>,
    /// The task that connects or carries this socket.
    pub(crate) task: Option<AbortHandle>,
}

/// Our end of a virtual socket.
#[derive(Debug)]
struct Joined {
    end: Weak<UnixStream>,
    reader: Reader,
}

/// A virtual socket, shared by the supervisor and the task that carries its data.
#[derive(Debug)]
pub(crate) struct Socket {
    /// The UNIX socket's cookie: its identity.
    pub(crate) cookie: u64,
    /// The UNIX socket's inode, by which `/proc` tells whether it still exists.
    pub(crate) inode: u64,
    /// `AF_INET` or `AF_INET6`.
    pub(crate) domain: i32,
    /// The protocol that the program asked for.
    pub(crate) protocol: i32,
    inner: Mutex<Inner>,
    /// Our end of it, once joined. Held while reading what the program wrote.
    joined: Mutex<Option<Joined>>,
    /// Bytes taken from the program and not given to the network yet. Raised with `joined` held.
    pub(crate) passing: AtomicUsize,
    /// Told whenever a connect ends.
    pub(crate) changed: Notify,
}

impl Socket {
    /// A record for the UNIX socket `end`.
    pub(crate) fn new(end: RawFd, domain: i32, protocol: i32) -> io::Result<Socket> {
        let shadow = new_shadow(domain, protocol)?;
        Ok(Socket {
            cookie: sys::cookie(end)?,
            inode: sys::inode(end)?,
            domain,
            protocol,
            inner: Mutex::new(Inner {
                state: State::Idle,
                shadow,
                options: Vec::new(),
                congestion: None,
                by_kernel: false,
                carried: None,
                bound: None,
                chose_port: false,
                user: None,
                former: None,
                destination: None,
                holds_address: false,
                shut: Shut::default(),
                holder: None,
                task: None,
            }),
            joined: Mutex::new(None),
            passing: AtomicUsize::new(0),
            changed: Notify::new(),
        })
    }

    /// A record for a fresh UNIX socket in the place of this one, with the same options.
    pub(crate) fn successor(&self, end: RawFd) -> io::Result<Socket> {
        let fresh = self.alike(end)?;
        let old = self.lock();
        let mut inner = fresh.lock();
        (inner.bound, inner.chose_port) = (old.bound, old.chose_port);
        drop(inner);
        Ok(fresh)
    }

    /// A record for a connection that this socket has accepted, whose UNIX socket is `end`.
    pub(crate) fn accepted(&self, end: RawFd) -> io::Result<Socket> {
        self.alike(end)
    }

    /// A record with the same options.
    fn alike(&self, end: RawFd) -> io::Result<Socket> {
        let fresh = Socket::new(end, self.domain, self.protocol)?;
        let old = self.lock();
        let mut inner = fresh.lock();
        for (level, name, value) in &old.options {
            sys::set_option(inner.shadow.as_raw_fd(), *level, *name, value)?;
        }
        inner.options.clone_from(&old.options);
        inner.congestion = old.congestion;
        drop(inner);
        Ok(fresh)
    }

    /// The shadow listens no more. It stays bound.
    pub(crate) fn stop_shadow(&self) {
        let shadow = self.lock().shadow.as_raw_fd();
        // SAFETY: no pointers. It fails if it does not listen.
        unsafe { libc::shutdown(shadow, libc::SHUT_RD) };
    }

    /// The pending error, told once: ours is the true one, that of the UNIX socket `end` is always `ECONNRESET`. 0: none.
    pub(crate) fn take_error(&self, end: BorrowedFd<'_>) -> Errno {
        // Asking the UNIX socket clears its error, too.
        let native = sys::get_int_option(end.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ERROR).unwrap_or(0);
        match &mut self.lock().state {
            State::Failed(error) | State::Over { error, .. } => match error.take() {
                // A read has told the program already.
                Some(Pending { shown: true, .. }) if native == 0 => 0,
                Some(Pending { errno, .. }) => errno,
                None => 0,
            },
            State::Spent => 0,
            _ => native,
        }
    }

    /// The connection or the listener has ended, and with it goes a port that the program has not chosen.
    pub(crate) fn give_up_port(&self) {
        let mut inner = self.lock();
        if inner.bound.is_none() || inner.chose_port {
            return;
        }
        inner.former = inner.bound;
        // The address stays, where it is one.
        inner.bound =
            inner.bound.filter(|bound| !bound.ip().is_unspecified()).map(|bound| SocketAddr::new(bound.ip(), 0));
        drop(inner);
        // Where that fails, the port stays held until the program closes the socket.
        if let Err(error) = self.release_address() {
            tracing::warn!(%error, "a port could not be given up");
        }
    }

    /// The program has closed it: nothing is kept from others any more, whoever still knows the record.
    pub(crate) fn let_go(&self) {
        let mut inner = self.lock();
        if let Ok(fresh) = new_shadow(self.domain, self.protocol) {
            inner.shadow = fresh;
        }
        inner.holds_address = false;
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Sets an option in the name of thread `caller`: the kernel checks it, and it is kept for a
    /// successor of the shadow.
    pub(crate) fn set_option(&self, caller: u32, level: i32, name: i32, value: Vec<u8>) -> io::Result<()> {
        let mut inner = self.lock();
        let shadow = inner.shadow.as_raw_fd();
        rights::as_caller(caller, || sys::set_option(shadow, level, name, &value))?;
        inner.options.retain(|(l, n, _)| (*l, *n) != (level, name));
        inner.options.push((level, name, value));
        Ok(())
    }

    /// Brings the connection in line with what the program has set.
    pub(crate) fn steer(&self) {
        let mut inner = self.lock();
        let Some((to_v4, applied)) = inner.carried.as_ref().map(|carried| (carried.to_v4, carried.applied)) else {
            return;
        };
        let wanted = Settings::of(&inner, to_v4);
        let news = wanted.since(applied);
        let Some(carried) = &mut inner.carried else { return };
        if let Some(control) = carried.control.clone().filter(|_| news != Settings::default()) {
            carried.applied = wanted;
            drop(inner);
            control.apply(&news);
        }
    }

    /// For questions to the connection through the network, while there is one.
    pub(crate) fn control(&self) -> Option<Arc<dyn Control>> {
        self.lock().carried.as_ref()?.control.clone()
    }

    /// Frees the address that the shadow holds, for the network to use, by giving it a successor
    /// with the same options. To the program the socket stays bound.
    pub(crate) fn release_address(&self) -> io::Result<()> {
        let mut inner = self.lock();
        if !std::mem::take(&mut inner.holds_address) {
            return Ok(());
        }
        let fresh = new_shadow(self.domain, self.protocol)?;
        for (level, name, value) in &inner.options {
            sys::set_option(fresh.as_raw_fd(), *level, *name, value)?;
        }
        inner.shadow = fresh;
        Ok(())
    }

    /// Takes the address back that was [released](Self::release_address): the program has turned to
    /// the kernel after all.
    pub(crate) fn retake_address(&self) -> io::Result<()> {
        let mut inner = self.lock();
        let Some(bound) = inner.bound.filter(|_| !inner.holds_address) else { return Ok(()) };
        let name = address::emit(bound, self.domain);
        sys::bind(inner.shadow.as_raw_fd(), &name)?;
        inner.holds_address = true;
        Ok(())
    }

    /// Whether the program asked, by `SO_LINGER` with a time of 0, for a reset at close.
    pub(crate) fn resets_on_close(&self) -> bool {
        let shadow = self.lock().shadow.as_raw_fd();
        let mut value = [0; size_of::<libc::linger>()];
        // onoff != 0 and linger == 0.
        sys::get_option(shadow, libc::SOL_SOCKET, libc::SO_LINGER, &mut value).is_ok()
            && value[..4] != [0; 4]
            && value[4..] == [0; 4]
    }

    /// The send buffer that the program asked for, if it did, within what the system allows it.
    pub(crate) fn wanted_send_buffer(&self) -> Option<i32> {
        self.lock().wanted_buffer(libc::SO_SNDBUF, libc::SO_SNDBUFFORCE)
    }

    /// The receive buffer that it asked for.
    pub(crate) fn wanted_receive_buffer(&self) -> Option<i32> {
        self.lock().wanted_buffer(libc::SO_RCVBUF, libc::SO_RCVBUFFORCE)
    }

    /// Notes our end of it and what is known of the queue there.
    pub(crate) fn join(&self, end: &Arc<UnixStream>, reader: Reader) {
        *self.joined.lock() = Some(Joined { end: Arc::downgrade(end), reader });
    }

    /// Reads what the program wrote. Errors as those of `recv`.
    pub(crate) fn read(&self, end: &UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut *self.joined.lock() {
            Some(joined) => {
                let read = joined.reader.read(end.as_fd(), buffer);
                if let Ok(got) = &read {
                    self.passing.store(*got, Ordering::Relaxed);
                }
                read
            }
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// How many bytes the program has written that the network has not taken yet.
    pub(crate) fn waiting(&self) -> usize {
        let joined = self.joined.lock();
        let waiting = joined.as_ref().and_then(|joined| joined.reader.waiting(joined.end.upgrade()?.as_fd()).ok());
        waiting.unwrap_or(0) + self.passing.load(Ordering::Relaxed)
    }

    /// Replaces the state and tells who waits for it.
    pub(crate) fn set_state(&self, state: State) {
        self.lock().state = state;
        self.changed.notify_waiters();
    }

    /// The name that `getsockname` tells.
    pub(crate) fn name(&self) -> SocketAddr {
        let inner = self.lock();
        let known = match &inner.state {
            State::Connected { local, .. } | State::Over { local, .. } => *local,
            _ => None,
        };
        known
            .or(inner.bound.filter(|bound| bound.port() != 0))
            .or(inner.former)
            .or_else(|| address::kernel_name(inner.shadow.as_raw_fd()).ok())
            .unwrap_or_else(|| address::unspecified(self.domain))
    }
}

impl Inner {
    pub(crate) fn shadow_fd(&self) -> RawFd {
        self.shadow.as_raw_fd()
    }

    /// Whether the program has set this option.
    pub(crate) fn has_set(&self, level: i32, name: i32) -> bool {
        self.options.iter().any(|(l, n, _)| (*l, *n) == (level, name))
    }

    fn wanted_buffer(&self, name: i32, by_force: i32) -> Option<i32> {
        if !self.has_set(libc::SOL_SOCKET, name) && !self.has_set(libc::SOL_SOCKET, by_force) {
            return None;
        }
        // The kernel tells the double of what it granted.
        sys::get_int_option(self.shadow_fd(), libc::SOL_SOCKET, name).ok().map(|granted| granted / 2)
    }
}

/// A kernel socket of the kind that the program asked for; plain TCP where the kernel was built
/// without MPTCP.
fn new_shadow(domain: i32, protocol: i32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
    match sys::socket(domain, kind, protocol) {
        Err(_) if protocol == libc::IPPROTO_MPTCP => sys::socket(domain, kind, libc::IPPROTO_TCP),
        other => other,
    }
}
