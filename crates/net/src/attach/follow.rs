//! The host changes: a thread that hears of it, looks again, and tells the stack what came of it.
//!
//! The kernel's messages are not believed in detail: default routes vanish without one when an address does, and IPv6
//! addresses with the interface that goes down. Any message about them, rules or traffic control means a new dump, and
//! only what is different then counts. So a DHCP renewal, which says the same address again, is nothing.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::discover::Path;
use super::requests::{Inbox, Requests};
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
    requests: Requests,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    pub(crate) fn start(attachment: Attachment, shared: Arc<Shared>, tun: &str) -> io::Result<Self> {
        let (requests, inbox) = Requests::new()?;
        let run = move || follow(attachment, &shared, &inbox);
        let thread = std::thread::Builder::new().name(format!("paths {tun}")).spawn(run)?;
        Ok(Self { requests, thread: Some(thread) })
    }

    /// For those who listen.
    pub(crate) fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Ends the thread; table and ports are gone afterwards.
    pub(crate) fn stop(&mut self) {
        self.requests.stop();
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

fn follow(mut attachment: Attachment, shared: &Shared, inbox: &Inbox) {
    loop {
        let due = attachment.look_at.map(|at| at.saturating_duration_since(Instant::now()));
        match news(&attachment, inbox, due) {
            Ok(News::Host) => {}
            Ok(News::Requests) if attachment.serve(inbox, shared) => continue,
            Ok(News::Requests) => return,
            Ok(News::None) => {
                attachment.tick(shared);
                continue;
            }
            Err(error) => {
                tracing::error!(%error, "changes of interfaces and routes are not followed any more");
                return;
            }
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match news(&attachment, inbox, Some(QUIET)) {
                Ok(News::Host) => {}
                Ok(News::Requests) if attachment.serve(inbox, shared) => {}
                Ok(News::Requests) => return,
                Ok(News::None) | Err(_) => break,
            }
        }
        if let Err(error) = attachment.update(shared) {
            tracing::warn!(%error, "the paths could not be brought up to date");
        }
    }
}

enum News {
    /// It has changed.
    Host,
    Requests,
    /// The time is up, or it was nothing.
    None,
}

fn news(attachment: &Attachment, inbox: &Inbox, timeout: Option<Duration>) -> io::Result<News> {
    let (news, requests) = (attachment.news.as_fd(), inbox.as_fd());
    let mut fds = [PollFd::new(&news, PollFlags::IN), PollFd::new(&requests, PollFlags::IN)];
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    if !fds[1].revents().is_empty() {
        return Ok(News::Requests);
    }
    Ok(if attachment.news.drain_news() { News::Host } else { News::None })
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
            let addresses: Vec<IpAddr> = paths.iter().map(|path| path.addr).collect();
            self.listening.claim_missing(&addresses);
            let ends = self.listening.ends(&addresses);
            match self.table.load(&paths, &ends) {
                Err(error) if tries < TRIES => tracing::debug!(%error, "the host has changed meanwhile"),
                result => {
                    result?;
                    shared.call(|core, now| core.stack.set_reach(now, ends))?;
                    self.announce(shared, paths)?;
                    self.listening.tidy(&addresses);
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
