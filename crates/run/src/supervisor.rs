//! The loop: receives stopped calls and has them answered. It never waits for one program.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::bpf;
use crate::identity::Threads;
use crate::identity::parking::Mutex;
use crate::link::Linker;
use crate::listening::Listenings;
use crate::memory::Waiting;
use crate::network::Network;
use crate::notify::{Answer, Call, Listener};
use crate::runner::Options;
use crate::socket::Socket;
use crate::sys::{self, Errno};
use crate::syscalls;
use crate::table::Table;
use crate::turn::Turn;

/// How often addresses are freed that programs bound on sockets they then closed without
/// connecting or listening. Programs here get them at once, because a bind that fails collects.
const COLLECT_EVERY_MS: i32 = 1000;

/// What the loop and all tasks share.
pub(crate) struct Shared<N: Network> {
    pub(crate) listener: Arc<Listener>,
    pub(crate) network: Arc<N>,
    pub(crate) threads: Threads,
    pub(crate) table: Table,
    pub(crate) listenings: Listenings<N::Stream>,
    pub(crate) linker: Linker,
    pub(crate) runtime: Handle,
    pub(crate) turn: Turn,
    /// Those who watch over parked calls look at once.
    pub(crate) patrols: Notify,
    pub(crate) options: Options,
    /// Connections that still have something to do.
    pub(crate) activity: Arc<Activity>,
    /// Set by each bind: there may be an address to free.
    pub(crate) has_bound: AtomicBool,
    /// What the user has been told once.
    noticed: Mutex<HashSet<&'static str>>,
}

impl<N: Network> Shared<N> {
    pub(crate) fn new(listener: OwnedFd, network: Arc<N>, options: Options) -> io::Result<Self> {
        Ok(Shared {
            listener: Arc::new(Listener::new(listener)),
            network,
            threads: Threads::default(),
            table: Table::new(),
            listenings: Listenings::default(),
            linker: Linker::new()?,
            runtime: Handle::current(),
            turn: Turn::new(),
            patrols: Notify::new(),
            options,
            activity: Arc::default(),
            has_bound: AtomicBool::new(false),
            noticed: Mutex::default(),
        })
    }

    /// Runs until the last program under the filter has exited (then it is `true`), or it is another thread's turn.
    pub(crate) fn supervise(self: &Arc<Self>, thread: u32) -> io::Result<bool> {
        if !self.turn.take_over(thread) {
            return Ok(false);
        }
        // What is done for calls may register descriptors.
        let _in_runtime = self.runtime.enter();
        loop {
            let collecting = self.has_bound.load(Ordering::Relaxed);
            let timeout = if collecting { COLLECT_EVERY_MS } else { -1 };
            let fd = self.listener.as_fd().as_raw_fd();
            let mut fds = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
            sys::poll(&mut fds, timeout)?;
            if fds[0].revents & libc::POLLIN != 0 {
                // Receiving waits for a call: only one thread may.
                if !self.turn.begin(thread) {
                    return Ok(false);
                }
                if let Some(call) = self.listener.receive()? {
                    let answer = self.handle(&call);
                    self.listener.answer(call.id, answer);
                }
                if !self.turn.end(thread) {
                    return Ok(false);
                }
            } else if fds[0].revents & (libc::POLLHUP | libc::POLLERR) != 0 {
                return Ok(true);
            } else if collecting {
                self.table.collect();
                self.has_bound.store(self.table.holds_addresses(), Ordering::Relaxed);
            }
        }
    }

    fn handle(self: &Arc<Self>, call: &Call) -> Answer {
        if call.arch != bpf::NATIVE_ARCH {
            return self.refuse_foreign(call);
        }
        syscalls::dispatch(self, call).unwrap_or_else(Answer::Error)
    }

    /// A 32-bit program's calls have other numbers, and its socket calls would slip through.
    fn refuse_foreign(&self, call: &Call) -> Answer {
        self.options.notice(&format!(
            "process {} is a 32-bit program, which `run` cannot carry; it was ended. \
             Use a 64-bit build of it.",
            call.tid
        ));
        // SAFETY: no pointers. Its own exit would be refused as well, so it cannot go by itself.
        unsafe { libc::kill(call.tid as libc::pid_t, libc::SIGKILL) };
        Answer::Error(libc::ENOSYS)
    }

    /// Which virtual socket the caller's descriptor `fd` is, with a duplicate of the program's
    /// end. `None`: the call is none of our business.
    ///
    /// A failure never lets the call continue: the kernel would run it on a UNIX socket.
    pub(crate) fn identify(&self, call: &Call, fd: i32) -> Result<Option<(Arc<Socket>, OwnedFd)>, Errno> {
        let (end, holder) = self.threads.take(call.tid, fd).map_err(|e| sys::errno_of(&e))?;
        let Ok(cookie) = sys::cookie(end.as_raw_fd()) else { return Ok(None) };
        let Some(socket) = self.table.get(cookie) else { return Ok(None) };
        socket.lock().holder = Some((holder, fd));
        Ok(Some((socket, end)))
    }

    /// Tells the user something that concerns all the run, the first time that it happens.
    pub(crate) fn notice_once(&self, kind: &'static str, text: &str) {
        if self.noticed.lock().insert(kind) {
            self.options.notice(text);
        }
    }

    /// For writing to the caller's memory.
    pub(crate) fn waiting<'a>(&'a self, call: &'a Call) -> Waiting<'a> {
        Waiting(&self.listener, call)
    }

    /// Makes sure that what was read of the caller's memory was the caller's.
    pub(crate) fn still_waits(&self, call: &Call) -> Result<(), Errno> {
        if self.listener.is_valid(call.id) { Ok(()) } else { Err(libc::ESRCH) }
    }
}

/// Counts what is still under way.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    count: AtomicUsize,
    idle: Notify,
}

/// One thing under way, until dropped.
#[derive(Debug)]
pub(crate) struct Active(Arc<Activity>);

impl Activity {
    pub(crate) fn begin(self: &Arc<Self>) -> Active {
        self.count.fetch_add(1, Ordering::AcqRel);
        Active(Arc::clone(self))
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Completes when nothing is under way.
    pub(crate) async fn wait_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.count() == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
