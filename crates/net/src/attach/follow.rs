//! The host changes: a thread that hears of it, looks again, and tells the stack what came of it.
//!
//! The kernel's messages are not believed in detail: default routes vanish without one when an address does, and IPv6
//! addresses with the interface that goes down. Any message about them, rules or traffic control means a new dump, and
//! only what is different then counts. So a DHCP renewal, which says the same address again, is nothing.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::discover::Path;
use super::{Attachment, Survey};
use crate::shared::Shared;

/// A change is several messages, and some clients take an address away to give it back at once: no more news for this
/// long, and it is over. It is part of the time that a lost address costs.
const QUIET: Duration = Duration::from_millis(20);
/// In a storm of news (hundreds of containers starting) we look this often all the same.
const PATIENCE: Duration = Duration::from_millis(100);
/// A device may vanish between the dump and the new table; later news will tell.
const TRIES: u32 = 3;

/// The thread, as long as this lives.
#[derive(Debug)]
pub(crate) struct Follower {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    pub(crate) fn start(attachment: Attachment, shared: Arc<Shared>, tun: &str) -> io::Result<Self> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let for_thread = Arc::clone(&stop);
        let run = move || follow(attachment, &shared, &for_thread);
        let thread = std::thread::Builder::new().name(format!("paths {tun}")).spawn(run)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends the thread; table and ports are gone afterwards.
    pub(crate) fn stop(&mut self) {
        // It fails only when the counter is full, and then the thread knows.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop();
    }
}

fn follow(mut attachment: Attachment, shared: &Shared, stop: &OwnedFd) {
    loop {
        match news(&attachment, stop, None) {
            Ok(News::Some) => {}
            Ok(News::None) => continue,
            Ok(News::Stop) => return,
            Err(error) => {
                tracing::error!(%error, "changes of interfaces and routes are not followed any more");
                return;
            }
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match news(&attachment, stop, Some(QUIET)) {
                Ok(News::Some) => {}
                Ok(News::Stop) => return,
                Ok(News::None) | Err(_) => break,
            }
        }
        if let Err(error) = attachment.update(shared) {
            tracing::warn!(%error, "the paths could not be brought up to date");
        }
    }
}

enum News {
    Some,
    /// The time is up.
    None,
    Stop,
}

fn news(attachment: &Attachment, stop: &OwnedFd, timeout: Option<Duration>) -> io::Result<News> {
    let news = attachment.news.as_fd();
    let mut fds = [PollFd::new(&news, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
    let timeout = timeout.map(|t| Timespec { tv_sec: 0, tv_nsec: t.subsec_nanos().into() });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    if !fds[1].revents().is_empty() {
        return Ok(News::Stop);
    }
    Ok(if attachment.news.drain_news() { News::Some } else { News::None })
}

impl Attachment {
    /// Looks again, and makes of the stack and the table what the host is now.
    fn update(&mut self, shared: &Shared) -> io::Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            let Survey { snapshot, paths, obstacles } = Survey::take(&mut self.netlink, &self.options, &self.paths)?;
            for obstacle in obstacles.iter().filter(|new| !self.obstacles.contains(new)) {
                tracing::warn!(%obstacle, "the host has changed");
            }
            self.obstacles = obstacles;
            if paths == self.paths {
                self.view.set(snapshot, paths);
                return Ok(());
            }
            // First what is gone: the sooner peers know, the shorter the gap.
            let gone: Vec<Path> = self.paths.iter().filter(|old| !continues(old, &paths)).cloned().collect();
            self.view.set(snapshot, paths.clone());
            for path in &gone {
                tracing::info!(interface = path.interface, addr = %path.addr, "path lost");
                shared.call(|core, now| core.stack.remove_address(now, path.addr))?;
            }
            self.paths.retain(|path| !gone.contains(path));
            match self.table.load(&paths) {
                Err(error) if tries < TRIES => tracing::debug!(%error, "the host has changed meanwhile"),
                result => {
                    result?;
                    self.announce(shared, paths)?;
                    return Ok(());
                }
            }
        }
    }

    /// Gives the stack what is new or different.
    fn announce(&mut self, shared: &Shared, paths: Vec<Path>) -> io::Result<()> {
        for path in &paths {
            let before = self.paths.iter().find(|old| old.addr == path.addr);
            if before.is_none_or(|old| (old.index, old.backup, old.mtu) != (path.index, path.backup, path.mtu)) {
                tracing::info!(interface = path.interface, addr = %path.addr, mtu = path.mtu, "path found");
                shared.call(|core, now| self.add(&mut core.stack, now, path))?;
            }
        }
        self.paths = paths;
        Ok(())
    }
}

/// Whether subflows of `old` go on. They do not where their segments would be too large from now on: those vanish.
fn continues(old: &Path, paths: &[Path]) -> bool {
    paths.iter().any(|new| new.addr == old.addr && new.index == old.index && new.mtu >= old.mtu)
}
