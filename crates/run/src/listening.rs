//! Connections that have come in and wait to be accepted.
//!
//! A program's listening socket is a UNIX socket too. It is linked, its send buffer is full, so that it never shows
//! `POLLOUT`, and it has something to read as long as a connection waits: a byte that we have put there, and take back when
//! the program accepts. Connections come from the network and, since the shadow listens as well, from the kernel: those
//! are given to the program as they are.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use tokio::io::Interest;
use tokio::sync::{Notify, watch};

use crate::address;
use crate::bridge;
use crate::hub::{Hub, Seat};
use crate::identity::parking::Mutex;
use crate::network::NetStream;
use crate::sys;

/// No more bytes than this say that connections wait: each takes room, and one would do but for edge-triggered epoll,
/// which wants one for each connection as long as they are taken as they come.
const SHOWN_MAX: usize = 64;

/// A connection that waits.
pub(crate) enum Arrival<S> {
    /// It came over the network.
    Network { stream: S, peer: SocketAddr },
    /// It came to the kernel's socket: from this host, or by an address that is not the network's.
    Kernel { socket: OwnedFd, peer: SocketAddr },
}

/// A socket that listens.
pub(crate) struct Listening<S> {
    queue: Mutex<Queue<S>>,
    port: u16,
    /// So many wait in accept.
    pub(crate) awaited: AtomicUsize,
    /// One has come: tells one of those who wait in accept.
    pub(crate) arrived: Notify,
    /// Accepting has made room.
    room: Arc<Notify>,
    /// Whether it has ended: closed by the program, or shut down.
    ended: watch::Sender<bool>,
}

struct Queue<S> {
    arrivals: VecDeque<Arrival<S>>,
    /// As many may wait.
    backlog: usize,
    /// Our end. None once nothing is taken any more.
    end: Option<Arc<UnixStream>>,
    /// So many bytes are there for the program to see.
    shown: usize,
}

impl<S: NetStream> Listening<S> {
    /// On `port`; `end` is linked to the program's, which is stuffed.
    pub(crate) fn new(port: u16, end: UnixStream, backlog: usize, room: Arc<Notify>) -> Listening<S> {
        let end = Some(Arc::new(end));
        Listening {
            queue: Mutex::new(Queue { arrivals: VecDeque::new(), backlog, end, shown: 0 }),
            port,
            awaited: AtomicUsize::new(0),
            arrived: Notify::new(),
            room,
            ended: watch::Sender::new(false),
        }
    }

    pub(crate) fn set_backlog(&self, backlog: usize) {
        self.queue.lock().backlog = backlog;
        self.room.notify_waiters();
    }

    pub(crate) fn has_room(&self) -> bool {
        let queue = self.queue.lock();
        queue.end.is_some() && queue.arrivals.len() < queue.backlog
    }

    /// Whether the program has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        self.queue.lock().end.as_ref().is_none_or(|end| sys::hung_up(end.as_fd()))
    }

    /// Completes when it has ended, and its addresses are free.
    pub(crate) async fn ended(&self) {
        // The sender is here.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// A connection has come, which waits behind the others.
    pub(crate) fn push(&self, arrival: Arrival<S>) {
        self.put(arrival, VecDeque::push_back);
    }

    /// It could not be given to the one who asked for it: it comes first again.
    pub(crate) fn put_back(&self, arrival: Arrival<S>) {
        self.put(arrival, VecDeque::push_front);
    }

    /// Where nothing is taken any more, it is reset.
    fn put(&self, arrival: Arrival<S>, put: fn(&mut VecDeque<Arrival<S>>, Arrival<S>)) {
        let mut queue = self.queue.lock();
        if queue.end.is_none() {
            return arrival.refuse();
        }
        put(&mut queue.arrivals, arrival);
        queue.show();
        drop(queue);
        self.arrived.notify_one();
    }

    /// The connection that has waited longest, for the program whose end is `program_end`.
    pub(crate) fn take(&self, program_end: BorrowedFd<'_>) -> Option<Arrival<S>> {
        let mut queue = self.queue.lock();
        let arrival = queue.arrivals.pop_front()?;
        let too_many = queue.arrivals.len() < queue.shown;
        queue.shown -= usize::from(too_many);
        drop(queue);
        self.room.notify_waiters();
        if too_many {
            // It waits for a reader of the program's own, should there be one: nothing is locked. Where that one has
            // taken the byte, there is nothing to take.
            let _ = sys::recv(program_end.as_raw_fd(), &mut [0], 0);
        }
        Some(arrival)
    }

    /// Takes no more: those who wait in accept fail, and what waits to be accepted is reset.
    pub(crate) fn stop(&self) {
        let mut queue = self.queue.lock();
        let Some(end) = queue.end.take() else { return };
        let arrivals = std::mem::take(&mut queue.arrivals);
        drop(queue);
        arrivals.into_iter().for_each(Arrival::refuse);
        crate::link::discard_unread(end.as_fd());
        drop(end);
        self.arrived.notify_waiters();
        self.room.notify_waiters();
    }

    /// Whether an accept has an answer: a connection, unless others are faster, or that nothing is taken any more.
    pub(crate) fn has_news(&self) -> bool {
        let queue = self.queue.lock();
        queue.end.is_none() || !queue.arrivals.is_empty()
    }

    /// Whether nothing is taken any more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.queue.lock().end.is_none()
    }

    /// Takes what comes to the kernel's socket, until the program has closed its own or it is stopped.
    pub(crate) async fn attend(&self, kernel: OwnedFd) {
        let Some(end) = self.queue.lock().end.clone() else { return };
        let mut closed = std::pin::pin!(bridge::closed(&*end));
        let kernel = sys::watch(kernel, Interest::READABLE).inspect_err(|error| {
            tracing::warn!(%error, "connections from this host are not taken");
        });
        loop {
            let room = self.room.notified();
            let mut room = std::pin::pin!(room);
            room.as_mut().enable();
            if self.is_stopped() {
                return;
            }
            let Some(kernel) = kernel.as_ref().ok().filter(|_| self.has_room()) else {
                tokio::select! {
                    () = &mut closed => return,
                    () = room => continue,
                }
            };
            tokio::select! {
                () = &mut closed => return,
                () = room => {}
                ready = kernel.readable() => {
                    let Ok(mut ready) = ready else { return closed.await };
                    match ready.try_io(|kernel| accept(kernel.get_ref().as_fd())) {
                        Ok(Ok((socket, peer))) => self.push(Arrival::Kernel { socket, peer }),
                        // A connection that has ended already, or no descriptor for it: the next try may do better.
                        Ok(Err(error)) if sys::errno_of(&error) == libc::ECONNABORTED => {}
                        Ok(Err(error)) => {
                            tracing::warn!(%error, "a connection from this host could not be taken");
                            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                        }
                        Err(_would_block) => {}
                    }
                }
            }
        }
    }

    /// To be called once nothing of it holds an address any more.
    pub(crate) fn finish(&self) {
        self.ended.send_replace(true);
    }
}

impl<S> Queue<S> {
    /// Shows the program that connections wait. More than one for each would not be taken back.
    fn show(&mut self) {
        if self.shown < SHOWN_MAX.min(self.arrivals.len())
            && let Some(end) = &self.end
            && sys::send(end.as_raw_fd(), &[0], 0).is_ok()
        {
            self.shown += 1;
        }
    }
}

impl<S: NetStream> Arrival<S> {
    /// Resets the connection: nobody is going to accept it.
    fn refuse(self) {
        match self {
            Arrival::Network { stream, .. } => stream.abort(),
            Arrival::Kernel { socket, .. } => {
                let at_once = [1_i32.to_ne_bytes(), 0_i32.to_ne_bytes()].concat();
                // It fails on a connection that has ended.
                let _ = sys::set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, &at_once);
            }
        }
    }
}

/// Takes a connection of the kernel's, which is close-on-exec and blocking.
fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    let mut name = [0_u8; address::STORAGE_LEN];
    let mut len = name.len() as libc::socklen_t;
    let (fd, at) = (listener.as_raw_fd(), name.as_mut_ptr().cast());
    // SAFETY: pointer and length describe `name`, large enough for any address.
    let socket = sys::check(unsafe { libc::accept4(fd, at, &raw mut len, libc::SOCK_CLOEXEC) })?;
    // SAFETY: a new descriptor, ours alone.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    Ok((socket, address::from_kernel(&name[..len as usize])?))
}

/// All sockets that listen, by cookie, and what shares out connections among those on one address.
pub(crate) struct Listenings<S> {
    sockets: Mutex<HashMap<u64, Arc<Listening<S>>>>,
    hubs: Mutex<HashMap<HubKey, Weak<Hub<S>>>>,
}

/// An address, and whether it is for IPv6 alone.
type HubKey = (SocketAddr, bool);

impl<S> Default for Listenings<S> {
    fn default() -> Self {
        Listenings { sockets: Mutex::new(HashMap::new()), hubs: Mutex::new(HashMap::new()) }
    }
}

impl<S: NetStream + Send + 'static> Listenings<S> {
    pub(crate) fn get(&self, cookie: u64) -> Option<Arc<Listening<S>>> {
        self.sockets.lock().get(&cookie).cloned()
    }

    pub(crate) fn insert(&self, cookie: u64, listening: Arc<Listening<S>>) {
        self.sockets.lock().insert(cookie, listening);
    }

    pub(crate) fn remove(&self, cookie: u64) {
        self.sockets.lock().remove(&cookie);
    }

    /// Whether one listens on `port`, or did until a moment ago.
    pub(crate) fn has(&self, port: u16) -> bool {
        !self.at(port).is_empty()
    }

    /// Whether somebody waits in accept on `port`, and so keeps a listener open.
    pub(crate) fn is_awaited(&self, port: u16) -> bool {
        self.at(port).iter().any(|listening| listening.awaited.load(Ordering::Relaxed) > 0)
    }

    /// Those on `port` that their programs have closed, which is not over here yet.
    pub(crate) fn closed(&self, port: u16) -> Vec<Arc<Listening<S>>> {
        self.at(port).into_iter().filter(|listening| listening.is_closed()).collect()
    }

    fn at(&self, port: u16) -> Vec<Arc<Listening<S>>> {
        self.sockets.lock().values().filter(|listening| listening.port == port).cloned().collect()
    }

    /// A place at the hub of an address, or at the one that `make` makes.
    pub(crate) fn seat(
        &self,
        key: HubKey,
        make: impl FnOnce() -> io::Result<Option<Arc<Hub<S>>>>,
    ) -> io::Result<Option<Seat<S>>> {
        let mut hubs = self.hubs.lock();
        hubs.retain(|_, hub| hub.strong_count() > 0);
        if let Some(seat) = hubs.get(&key).and_then(Weak::upgrade).and_then(|hub| hub.seat()) {
            return Ok(Some(seat));
        }
        let Some(hub) = make()? else { return Ok(None) };
        hubs.insert(key, Arc::downgrade(&hub));
        Ok(hub.seat())
    }
}
