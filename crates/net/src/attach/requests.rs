//! Those who listen ask the thread that owns the table ([`follow`](super::follow)): it alone changes what is diverted,
//! and its sockets are of the network namespace that the host was started in.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use polypath_proto::{ListenAddr, ListenerId};
use rustix::event::{EventfdFlags, eventfd};

use super::Attachment;
use super::listening::LEFT_FOR;
use crate::error;
use crate::listener::ListenOptions;
use crate::shared::Shared;

/// How often it is looked whether closed listeners have connections left.
const TICK: Duration = LEFT_FOR;

/// What the thread is asked for.
#[derive(Debug)]
pub(super) enum Request {
    Listen { at: ListenAddr, options: ListenOptions, reply: SyncSender<io::Result<(ListenerId, SocketAddr)>> },
    Close(ListenerId),
    Release { port: u16, reply: SyncSender<()> },
    Stop,
}

/// The way to the thread.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    sender: Sender<Request>,
    wake: Arc<OwnedFd>,
}

/// Its end at the thread.
#[derive(Debug)]
pub(super) struct Inbox {
    receiver: Receiver<Request>,
    wake: Arc<OwnedFd>,
}

impl Requests {
    pub(super) fn new() -> io::Result<(Self, Inbox)> {
        let (sender, receiver) = channel();
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        Ok((Self { sender, wake: Arc::clone(&wake) }, Inbox { receiver, wake }))
    }

    /// Listens, and waits until packets from outside come to the listener. It takes as long as the kernel needs; where
    /// interfaces are just changing, some milliseconds.
    pub(crate) fn listen(&self, at: ListenAddr, options: ListenOptions) -> io::Result<(ListenerId, SocketAddr)> {
        let (reply, answer) = sync_channel(1);
        self.send(Request::Listen { at, options, reply });
        answer.recv().map_err(|_| stopped())?
    }

    /// The stack listens there no more. It is not waited for.
    pub(crate) fn close(&self, id: ListenerId) {
        self.send(Request::Close(id));
    }

    /// See [`Host::release_port`](crate::Host::release_port).
    pub(crate) fn release(&self, port: u16) -> io::Result<()> {
        let (reply, answer) = sync_channel(1);
        self.send(Request::Release { port, reply });
        answer.recv().map_err(|_| stopped())
    }

    pub(super) fn stop(&self) {
        self.send(Request::Stop);
    }

    fn send(&self, request: Request) {
        // Where nobody is left to hear it, nothing is diverted any more.
        if self.sender.send(request).is_ok() {
            // It fails only when the counter is full, and then the thread knows.
            let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        }
    }
}

fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::NetworkDown, "the polypath host is down: its paths are not followed any more")
}

impl Inbox {
    /// Readable when there is something in it.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn drain(&self) -> impl Iterator<Item = Request> {
        let mut counter = [0; 8];
        // Empty already: nothing to do then, but to look.
        let _ = rustix::io::read(&*self.wake, &mut counter);
        self.receiver.try_iter()
    }
}

impl Attachment {
    /// Does what was asked for. False: it is over.
    pub(super) fn serve(&mut self, inbox: &Inbox, shared: &Shared) -> bool {
        for request in inbox.drain() {
            match request {
                Request::Listen { at, options, reply } => {
                    // Who asked waits for it.
                    let _ = reply.send(self.listen(shared, at, options));
                }
                Request::Close(id) => {
                    self.listening.close(id);
                    self.settle(shared);
                }
                Request::Release { port, reply } => {
                    self.listening.release(port);
                    let _ = reply.send(());
                }
                Request::Stop => return false,
            }
        }
        self.plan();
        true
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, shared: &Shared) {
        if self.look_at.take_if(|at| *at <= Instant::now()).is_some() {
            self.settle(shared);
            self.plan();
        }
    }

    fn plan(&mut self) {
        if self.listening.is_unsettled() {
            self.look_at.get_or_insert_with(|| Instant::now() + TICK);
        }
    }

    fn listen(
        &mut self,
        shared: &Shared,
        at: ListenAddr,
        options: ListenOptions,
    ) -> io::Result<(ListenerId, SocketAddr)> {
        let paths = self.addresses();
        let addr = at.local.ip();
        if !addr.is_unspecified() && !paths.contains(&addr) {
            let known: Vec<String> = paths.iter().map(ToString::to_string).collect();
            let message = format!("{addr} is not the address of a path; these are: {}", known.join(", "));
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, message));
        }
        let at = self.listening.claim(at, options.held).inspect_err(|_| self.settle(shared))?;
        let ListenOptions { backlog, held, policy, .. } = options;
        let listening = shared.call(|core, _| {
            let id = core.stack.listen(at, backlog).map_err(error::listen)?;
            core.stack.set_accept_policy(id, policy);
            core.waiting.add_listener(id);
            Ok(id)
        });
        let result = listening.and_then(|result| result).and_then(|id| {
            self.listening.add(at, held, id);
            self.divert(shared).inspect_err(|_| {
                let _ = shared.call(|core, now| {
                    core.waiting.remove_listener(id);
                    core.stack.close_listener(now, id);
                });
                self.listening.close(id);
            })?;
            Ok((id, at.local))
        });
        if result.is_err() {
            self.settle(shared);
        }
        result
    }

    /// Forgets what is over, and follows what has changed.
    fn settle(&mut self, shared: &Shared) {
        for port in self.listening.closed() {
            let in_use = shared.look(|core, _| core.stack.addresses_in_use(port).collect::<BTreeSet<IpAddr>>());
            // Where the host has stopped, all is over.
            self.listening.forget(port, &in_use.unwrap_or_default());
        }
        if let Err(error) = self.divert(shared) {
            tracing::warn!(%error, "what the stack listens on could not be brought up to date");
        }
    }

    /// Makes the table and the stack know what is reached.
    fn divert(&mut self, shared: &Shared) -> io::Result<()> {
        let paths = self.addresses();
        self.listening.claim_missing(&paths);
        let ends = self.listening.ends(&paths);
        if self.table.listen(&ends)? {
            shared.call(|core, now| core.stack.set_reach(now, ends))?;
        }
        self.listening.tidy(&paths);
        Ok(())
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.paths.iter().map(|path| path.addr).collect()
    }
}
