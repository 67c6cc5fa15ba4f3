//! Whose descriptor is it? Threads as pidfds, sockets by their cookie.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use parking::Mutex;

use crate::sys;

/// A mutex whose poisoning is ignored: a panicking task must not take the supervisor along.
pub(crate) mod parking {
    use std::sync::{MutexGuard, PoisonError};

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Mutex<T> {
            Mutex(std::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}

/// `PIDFD_THREAD` (Linux 6.9): a pidfd for one thread, which may have a table of its own.
const PIDFD_THREAD: u32 = libc::O_EXCL as u32;

/// Pidfds kept open; beyond it the cache starts afresh.
const CACHE_MAX: usize = 512;

/// A thread whose descriptors we can reach.
pub(crate) type Holder = Arc<OwnedFd>;

/// Pidfds of the threads seen so far. A pidfd never comes to mean another thread, so a stale
/// entry shows as `ESRCH` and is opened again.
#[derive(Debug, Default)]
pub(crate) struct Threads(Mutex<HashMap<u32, Holder>>);

impl Threads {
    /// Duplicates descriptor `fd` of thread `tid`, and says through whom.
    pub(crate) fn take(&self, tid: u32, fd: RawFd) -> io::Result<(OwnedFd, Holder)> {
        let known = self.0.lock().get(&tid).cloned();
        if let Some(holder) = known {
            match sys::pidfd_getfd(holder.as_fd(), fd) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                other => return other.map(|taken| (taken, holder)),
            }
        }
        let holder = Arc::new(open_thread(tid)?);
        let taken = sys::pidfd_getfd(holder.as_fd(), fd);
        let mut cache = self.0.lock();
        if cache.len() >= CACHE_MAX {
            cache.clear();
        }
        cache.insert(tid, Arc::clone(&holder));
        taken.map(|taken| (taken, holder))
    }

    /// Thread `tid`, if its descriptors can be reached.
    pub(crate) fn holder(&self, tid: u32) -> Option<Holder> {
        self.0.lock().get(&tid).cloned()
    }

    /// Looks for the socket with `inode` in the tables of all threads seen so far: for when it is
    /// no longer where it was last used.
    pub(crate) fn search(&self, inode: u64) -> Option<(OwnedFd, Holder, RawFd)> {
        let known: Vec<(u32, Holder)> = self.0.lock().iter().map(|(tid, holder)| (*tid, Arc::clone(holder))).collect();
        known.into_iter().find_map(|(tid, holder)| {
            let fd = *descriptors_of(tid, inode).first()?;
            let taken = sys::pidfd_getfd(holder.as_fd(), fd).ok()?;
            (sys::inode(taken.as_raw_fd()).ok()? == inode).then_some((taken, holder, fd))
        })
    }
}

fn open_thread(tid: u32) -> io::Result<OwnedFd> {
    match sys::pidfd_open(tid, PIDFD_THREAD) {
        // Before 6.9: the process stands for its threads, which nearly always share descriptors.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => sys::pidfd_open(process_of(tid).unwrap_or(tid), 0),
        other => other,
    }
}

/// The process that thread `tid` belongs to.
pub(crate) fn process_of(tid: u32) -> Option<u32> {
    status_field(tid, "Tgid:")?.parse().ok()
}

/// The numbers under which thread `tid` has the socket with `inode`.
pub(crate) fn descriptors_of(tid: u32, inode: u64) -> Vec<RawFd> {
    let wanted = format!("socket:[{inode}]");
    let Ok(entries) = fs::read_dir(format!("/proc/{tid}/fd")) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == &*wanted))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Whether descriptor `fd` of thread `tid` closes on exec.
pub(crate) fn is_cloexec(tid: u32, fd: RawFd) -> bool {
    let Ok(text) = fs::read_to_string(format!("/proc/{tid}/fdinfo/{fd}")) else { return false };
    text.lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| flags & libc::O_CLOEXEC != 0)
}

fn status_field(tid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_socket_is_the_same_by_every_way_to_it() {
        let (a, b) = UnixStream::pair().unwrap();
        let dup = a.try_clone().unwrap();
        let cookie = |s: &UnixStream| sys::cookie(s.as_raw_fd()).unwrap();
        assert_eq!(cookie(&a), cookie(&dup));
        assert_ne!(cookie(&a), cookie(&b));

        let me = std::process::id();
        let threads = Threads::default();
        let (taken, _) = threads.take(me, a.as_raw_fd()).unwrap();
        assert_eq!(sys::cookie(taken.as_raw_fd()).unwrap(), cookie(&a));
        let error = threads.take(me, 1_000_000).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));

        let inode = sys::inode(b.as_raw_fd()).unwrap();
        assert_eq!(descriptors_of(me, inode), [b.as_raw_fd()]);
        let (found, _, fd) = threads.search(inode).unwrap();
        assert_eq!((sys::cookie(found.as_raw_fd()).unwrap(), fd), (cookie(&b), b.as_raw_fd()));
    }

    #[test]
    fn close_on_exec_is_read_from_the_descriptor() {
        let (a, _b) = UnixStream::pair().unwrap();
        let me = std::process::id();
        assert!(is_cloexec(me, a.as_raw_fd()));
        // SAFETY: no pointers.
        sys::check(unsafe { libc::fcntl(a.as_raw_fd(), libc::F_SETFD, 0) }).unwrap();
        assert!(!is_cloexec(me, a.as_raw_fd()));
    }
}
