//! All virtual sockets, by cookie.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::identity::parking::Mutex;
use crate::socket::{Socket, State};

/// Records are collected first when there are this many.
const COLLECT_AT: usize = 64;

/// The sockets that programs may still hold.
///
/// A close shows as a hang-up only once the program's end is linked and carried by a task. All
/// other records (never connected, failed, reset) are found out by comparing them with the UNIX
/// sockets that still exist, when they have doubled in number.
#[derive(Debug)]
pub(crate) struct Table(Mutex<Contents>);

#[derive(Debug)]
struct Contents {
    sockets: HashMap<u64, Arc<Socket>>,
    collect_at: usize,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table(Mutex::new(Contents { sockets: HashMap::new(), collect_at: COLLECT_AT }))
    }

    pub(crate) fn get(&self, cookie: u64) -> Option<Arc<Socket>> {
        self.0.lock().sockets.get(&cookie).cloned()
    }

    pub(crate) fn insert(&self, socket: Arc<Socket>) {
        let mut contents = self.0.lock();
        contents.sockets.insert(socket.cookie, socket);
        if contents.sockets.len() > contents.collect_at {
            contents.collect();
            contents.collect_at = COLLECT_AT.max(2 * contents.sockets.len());
        }
    }

    pub(crate) fn remove(&self, cookie: u64) {
        self.0.lock().sockets.remove(&cookie);
    }

    /// Forgets sockets that no program holds any more, with the addresses they had bound.
    pub(crate) fn collect(&self) {
        self.0.lock().collect();
    }

    /// Whether a socket holds a bound address without being linked: only collecting frees it.
    pub(crate) fn holds_addresses(&self) -> bool {
        self.0.lock().sockets.values().any(|socket| {
            let inner = socket.lock();
            inner.holds_address && !is_carried(&inner.state)
        })
    }

    /// Whether another user's socket shares `address` (`SO_REUSEPORT`): only with those of its own user.
    pub(crate) fn is_of_another(&self, address: SocketAddr, user: u32) -> bool {
        let overlaps = |other: SocketAddr| {
            let any = address.ip().is_unspecified() || other.ip().is_unspecified();
            other.port() == address.port() && (any || other.ip() == address.ip())
        };
        self.0.lock().sockets.values().any(|socket| {
            let inner = socket.lock();
            inner.holds_address && inner.bound.is_some_and(overlaps) && inner.user.is_some_and(|other| other != user)
        })
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.lock().sockets.len()
    }
}

impl Contents {
    fn collect(&mut self) {
        let Some(alive) = existing_inodes() else { return };
        self.sockets.retain(|_, socket| is_carried(&socket.lock().state) || alive.contains(&socket.inode));
    }
}

/// Whether a task watches over the socket.
fn is_carried(state: &State) -> bool {
    matches!(state, State::Listening | State::Connecting | State::Connected { .. })
}

/// The inodes of the UNIX sockets in this network namespace.
fn existing_inodes() -> Option<HashSet<u64>> {
    let text = fs::read_to_string("/proc/thread-self/net/unix").ok()?;
    // Num RefCount Protocol Flags Type St Inode [Path]
    Some(text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(6)?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_socket_is_collected_when_its_file_is_gone() {
        let table = Table::new();
        let end = crate::sys::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).unwrap();
        let kept = end.try_clone().unwrap();
        let socket = Socket::new(end.as_raw_fd(), libc::AF_INET, 0).unwrap();
        table.insert(Arc::new(socket));
        drop(end);
        table.collect();
        assert_eq!(table.len(), 1, "a duplicate still holds it");
        drop(kept);
        table.collect();
        assert_eq!(table.len(), 0);
    }
}
