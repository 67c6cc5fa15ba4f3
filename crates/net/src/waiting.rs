//! Who waits for what: the wakers of every connection and listener, and the readiness that events
//! of the stack set and fruitless calls clear (edge-triggered, as tokio does with epoll).

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use polypath_proto::{ConnectionError, ConnectionId, Event, ListenerId};
use smallvec::SmallVec;
use tokio::sync::Notify;

/// Tasks to wake once the lock is released: a woken task may run, and call us, at once.
#[derive(Debug, Default)]
pub(crate) struct Wakeups {
    wakers: SmallVec<[Waker; 4]>,
    notifies: SmallVec<[Arc<Notify>; 4]>,
}

impl Wakeups {
    pub(crate) fn wake_all(self) {
        for notify in self.notifies {
            notify.notify_waiters();
        }
        for waker in self.wakers {
            waker.wake();
        }
    }

    fn add_slot(&mut self, slot: &mut Option<Waker>) {
        self.wakers.extend(slot.take());
    }

    pub(crate) fn add_notify(&mut self, notify: &Arc<Notify>) {
        self.notifies.push(Arc::clone(notify));
    }
}

/// Where the handshake stands, from the application's view.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Phase {
    Connecting,
    Connected,
    /// Over; with the reason, unless both sides closed in order.
    Closed(Option<ConnectionError>),
}

/// Which way a call moves data, and so what it waits for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    Read,
    Write,
}

/// One direction of a connection.
#[derive(Debug)]
pub(crate) struct Direction {
    /// A call may succeed. True until one did not.
    ready: bool,
    /// The task of the last `poll_read` or `poll_write`; as with tokio there is only one.
    waker: Option<Waker>,
    /// Any number of tasks in `readable()` or `writable()`; none where nobody ever was.
    waiters: Option<Arc<Notify>>,
}

impl Direction {
    fn new() -> Self {
        Self {
            // Unknown, so let a call find out.
            ready: true,
            waker: None,
            waiters: None,
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    /// A call found nothing to do.
    pub(crate) fn clear_ready(&mut self) {
        self.ready = false;
    }

    /// Registers the one polling task.
    pub(crate) fn register<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    pub(crate) fn waiters(&mut self) -> Arc<Notify> {
        Arc::clone(self.waiters.get_or_insert_default())
    }

    fn set_ready(&mut self, wakeups: &mut Wakeups) {
        self.ready = true;
        wakeups.add_slot(&mut self.waker);
        if let Some(waiters) = &self.waiters {
            wakeups.add_notify(waiters);
        }
    }
}

/// Everything that waits on one connection.
#[derive(Debug)]
pub(crate) struct ConnectionWait {
    pub(crate) phase: Phase,
    pub(crate) read: Direction,
    pub(crate) write: Direction,
    /// Taken from the stack by a peek, and still to be read.
    pub(crate) peeked: Bytes,
}

impl ConnectionWait {
    pub(crate) fn direction(&mut self, way: Way) -> &mut Direction {
        match way {
            Way::Read => &mut self.read,
            Way::Write => &mut self.write,
        }
    }

    fn set_all_ready(&mut self, wakeups: &mut Wakeups) {
        self.read.set_ready(wakeups);
        self.write.set_ready(wakeups);
    }
}

/// Everything that waits on one listener.
#[derive(Debug, Default)]
struct ListenerWait {
    waker: Option<Waker>,
    waiters: Arc<Notify>,
}

/// The waiting tasks of a whole host.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// On their own: the table is larger than what is in it.
    connections: HashMap<ConnectionId, Box<ConnectionWait>>,
    listeners: HashMap<ListenerId, ListenerWait>,
}

impl Waiting {
    pub(crate) fn add_connection(&mut self, id: ConnectionId, phase: Phase) {
        let wait = ConnectionWait { phase, read: Direction::new(), write: Direction::new(), peeked: Bytes::new() };
        self.connections.insert(id, Box::new(wait));
    }

    pub(crate) fn connection(&mut self, id: ConnectionId) -> Option<&mut ConnectionWait> {
        self.connections.get_mut(&id).map(|wait| &mut **wait)
    }

    /// Connections that applications hold.
    pub(crate) fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Forgets a connection that its application has let go. Nobody waits on it any more.
    pub(crate) fn remove_connection(&mut self, id: ConnectionId) -> Option<Box<ConnectionWait>> {
        self.connections.remove(&id)
    }

    pub(crate) fn add_listener(&mut self, id: ListenerId) {
        self.listeners.insert(id, ListenerWait::default());
    }

    pub(crate) fn remove_listener(&mut self, id: ListenerId) {
        self.listeners.remove(&id);
    }

    /// All listeners. Who waits on them finds out when the host stops.
    pub(crate) fn listener_ids(&self) -> Vec<ListenerId> {
        self.listeners.keys().copied().collect()
    }

    /// Registers the one task in `poll_accept`.
    pub(crate) fn register_accept<T>(&mut self, id: ListenerId, cx: &Context<'_>) -> Poll<T> {
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Where the tasks in `accept()` wait.
    pub(crate) fn accept_waiters(&self, id: ListenerId) -> Option<Arc<Notify>> {
        self.listeners.get(&id).map(|wait| Arc::clone(&wait.waiters))
    }

    /// Turns an event of the stack into readiness and wake-ups. Connections that have not been
    /// accepted are not here yet, and start as ready.
    pub(crate) fn on_event(&mut self, event: &Event, wakeups: &mut Wakeups) {
        match event {
            Event::Acceptable(id) => {
                if let Some(listener) = self.listeners.get_mut(id) {
                    wakeups.add_slot(&mut listener.waker);
                    wakeups.add_notify(&listener.waiters);
                }
            }
            Event::Connected(id) => {
                if let Some(wait) = self.connections.get_mut(id) {
                    wait.phase = Phase::Connected;
                    wait.set_all_ready(wakeups);
                }
            }
            Event::Readable(id) => {
                if let Some(wait) = self.connections.get_mut(id) {
                    wait.read.set_ready(wakeups);
                }
            }
            Event::Writable(id) => {
                if let Some(wait) = self.connections.get_mut(id) {
                    wait.write.set_ready(wakeups);
                }
            }
            Event::Closed { id, error } => {
                if let Some(wait) = self.connections.get_mut(id) {
                    wait.phase = Phase::Closed(*error);
                    wait.set_all_ready(wakeups);
                }
            }
            Event::Subflow { .. } => {}
        }
    }

    /// The host has stopped: every waiting task has to find that out.
    pub(crate) fn wake_everyone(&mut self) -> Wakeups {
        let mut wakeups = Wakeups::default();
        for wait in self.connections.values_mut() {
            wait.set_all_ready(&mut wakeups);
        }
        for listener in self.listeners.values_mut() {
            wakeups.add_slot(&mut listener.waker);
            wakeups.add_notify(&listener.waiters);
        }
        wakeups
    }
}
