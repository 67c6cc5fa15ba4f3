//! One address of the network, and all the sockets that listen on it: several do where each has `SO_REUSEPORT`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::identity::parking::Mutex;
use crate::listening::{Arrival, Listening};
use crate::network::{NetListener, NetStream};

/// Shares out what comes in among its members.
pub(crate) struct Hub<S> {
    members: Mutex<Members<S>>,
    /// Who gets the next connection.
    turn: AtomicUsize,
    room: Arc<Notify>,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Members<S> {
    all: Vec<Weak<Listening<S>>>,
    /// So many are about to be.
    coming: usize,
    /// The last of them has left: nobody comes any more.
    closed: bool,
}

/// The place of a socket that is about to listen. Nothing is left of it if that fails.
pub(crate) struct Seat<S>(Arc<Hub<S>>);

/// A connection on its way to a member. It is reset if it does not get there.
struct Next<S: NetStream>(Option<(S, SocketAddr)>);

impl<S: NetStream> Drop for Next<S> {
    fn drop(&mut self) {
        if let Some((stream, _)) = &self.0 {
            stream.abort();
        }
    }
}

impl<S> Seat<S> {
    /// What the socket tells of room.
    pub(crate) fn room(&self) -> Arc<Notify> {
        Arc::clone(&self.0.room)
    }

    /// It listens.
    pub(crate) fn take(self, member: &Arc<Listening<S>>) -> Arc<Hub<S>> {
        self.0.members.lock().all.push(Arc::downgrade(member));
        self.0.room.notify_waiters();
        Arc::clone(&self.0)
    }
}

impl<S> Drop for Seat<S> {
    fn drop(&mut self) {
        self.0.members.lock().coming -= 1;
        drop(self.0.close_if_empty());
    }
}

impl<S> Hub<S> {
    /// Ends the task if nobody is left, and nobody about to come; what there is to wait for then.
    fn close_if_empty(&self) -> Option<JoinHandle<()>> {
        let mut members = self.members.lock();
        members.all.retain(|member| member.strong_count() > 0);
        members.closed = members.all.is_empty() && members.coming == 0;
        self.task.lock().take_if(|task| {
            if members.closed {
                task.abort();
            }
            members.closed
        })
    }
}

impl<S: NetStream + Send + 'static> Hub<S> {
    pub(crate) fn new() -> Arc<Hub<S>> {
        let members = Mutex::new(Members { all: Vec::new(), coming: 0, closed: false });
        Arc::new(Hub { members, turn: AtomicUsize::new(0), room: Arc::default(), task: Mutex::new(None) })
    }

    /// A place for one more. `None`: it is over.
    pub(crate) fn seat(self: &Arc<Self>) -> Option<Seat<S>> {
        let mut members = self.members.lock();
        (!members.closed).then(|| {
            members.coming += 1;
            Seat(Arc::clone(self))
        })
    }

    /// A member has ended. When it was the last, the network's listener is gone afterwards.
    pub(crate) async fn leave(&self, member: &Arc<Listening<S>>) {
        self.members.lock().all.retain(|other| !other.ptr_eq(&Arc::downgrade(member)));
        let task = self.close_if_empty();
        if let Some(task) = task {
            // It was aborted.
            let _ = task.await;
        }
    }

    /// Shares out what comes to `listener`, as a task, until the last member has left.
    pub(crate) fn serve<L: NetListener<Stream = S>>(self: &Arc<Self>, runtime: &Handle, listener: L) {
        let hub = Arc::clone(self);
        let task = runtime.spawn(async move {
            let mut next = Next(None);
            loop {
                let mut room = std::pin::pin!(hub.room.notified());
                room.as_mut().enable();
                let Some(member) = hub.ready() else {
                    room.await;
                    continue;
                };
                // It may have come while there was room that others have taken since: then it waits here.
                if let Some((stream, peer)) = next.0.take() {
                    member.push(Arrival::Network { stream, peer });
                    hub.turn.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                match listener.accept().await {
                    Ok(accepted) => next.0 = Some(accepted),
                    Err(error) => {
                        tracing::warn!(%error, "no more connections come in over the network");
                        return;
                    }
                }
            }
        });
        *self.task.lock() = Some(task);
    }

    /// Whose turn it is of those that have room.
    fn ready(&self) -> Option<Arc<Listening<S>>> {
        let members = self.members.lock();
        let ready: Vec<_> = members.all.iter().filter_map(Weak::upgrade).filter(|member| member.has_room()).collect();
        let turn = self.turn.load(Ordering::Relaxed);
        ready.get(turn % ready.len().max(1)).cloned()
    }
}
