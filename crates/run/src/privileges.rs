//! What this process may do once everything is set up: nothing beyond what carrying programs takes.
//!
//! Capabilities belong to threads, and a thread can lay down only its own. So each is sent a signal, whose handler does it,
//! as the C library does to change the user of a process.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::rights::{self, Word};
use crate::sys;

/// What is kept, of linux/capability.h, as far as it is there.
const KEPT: u64 = 1 << 2 // CAP_DAC_READ_SEARCH: the descriptors of programs that run as somebody else
    | 1 << 5 // CAP_KILL: their SIGPIPE
    | 1 << 10 // CAP_NET_BIND_SERVICE: a port that a program may bind
    | 1 << 12 // CAP_NET_ADMIN: paths that come and go
    | 1 << 13 // CAP_NET_RAW: an interface that a program may bind to
    | 1 << 19; // CAP_SYS_PTRACE: their memory and sockets

/// The last of the real-time signals, which nobody else uses here.
fn signal() -> i32 {
    libc::SIGRTMAX()
}

/// How long a thread may take to run the handler.
const PATIENCE: Duration = Duration::from_secs(5);

/// Threads that have done it, and those that could not.
static DONE: AtomicU32 = AtomicU32::new(0);
static FAILED: AtomicU32 = AtomicU32::new(0);

/// Lays down, in every thread, all capabilities but those that are needed from now on, and the way to any by programs that
/// have them. Threads that are begun later have no more.
pub(crate) fn reduce() -> io::Result<()> {
    // SAFETY: an all-zero sigaction is valid, and the handler only makes system calls and counts.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = reduce_thread as extern "C" fn(i32) as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: as above.
    sys::check(unsafe { libc::sigaction(signal(), &raw const action, std::ptr::null_mut()) })?;
    let mut reduced: Vec<i32> = Vec::new();
    loop {
        let threads = fs::read_dir("/proc/self/task")?;
        let all = threads.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let new: Vec<i32> = all.filter(|tid| !reduced.contains(tid)).collect();
        if new.is_empty() {
            break;
        }
        for tid in new {
            reduce_other(tid)?;
            reduced.push(tid);
        }
    }
    match FAILED.swap(0, Ordering::Relaxed) {
        0 => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::EPERM)),
    }
}

fn reduce_other(tid: i32) -> io::Result<()> {
    let before = DONE.load(Ordering::Acquire);
    // SAFETY: no pointers.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), tid, signal()) };
    if sent < 0 {
        // It has ended meanwhile.
        return Ok(());
    }
    let begun = Instant::now();
    while DONE.load(Ordering::Acquire) == before && fs::exists(format!("/proc/self/task/{tid}"))? {
        if begun.elapsed() > PATIENCE {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("thread {tid} does not lay down its privileges"),
            ));
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    Ok(())
}

/// Runs in each thread, as a signal handler: it allocates nothing and locks nothing.
extern "C" fn reduce_thread(_signal: i32) {
    let reduced = rights::get().and_then(|words| {
        rights::set(&only(KEPT, words))?;
        // SAFETY: no pointers.
        sys::check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
    });
    if reduced.is_err() {
        FAILED.fetch_add(1, Ordering::Relaxed);
    }
    DONE.fetch_add(1, Ordering::Release);
}

/// What of a thread's sets is in `kept`, and nothing to hand on.
fn only(kept: u64, mut words: [Word; 2]) -> [Word; 2] {
    for (word, kept) in words.iter_mut().zip([kept as u32, (kept >> 32) as u32]) {
        word.effective &= kept;
        word.permitted &= kept;
        word.inheritable = 0;
    }
    words
}
