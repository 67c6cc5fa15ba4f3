//! What the caller itself may do: a bind or an option done in its name must not succeed by the
//! supervisor's privileges.
//!
//! Capabilities belong to threads. The supervisor's lays down those that concern sockets for the
//! operation; if the kernel then refuses, the operation is tried again with those that the caller
//! has as well.

use std::fs;
use std::io;

use crate::sys;

/// `CAP_NET_BIND_SERVICE`, `CAP_NET_ADMIN` and `CAP_NET_RAW` (linux/capability.h).
const OVER_SOCKETS: u64 = 1 << 10 | 1 << 12 | 1 << 13;

/// `_LINUX_CAPABILITY_VERSION_3`: two 32-bit words for each set.
const VERSION: u32 = 0x2008_0522;

/// `struct __user_cap_header_struct`; pid 0 is the calling thread.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) effective: u32,
    pub(crate) permitted: u32,
    pub(crate) inheritable: u32,
}

/// Does `operation` as thread `tid` could do it. It may be done twice, the second time after a
/// refusal for want of privilege.
pub(crate) fn as_caller<T>(tid: u32, operation: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let ours = get()?;
    if effective(&ours) & OVER_SOCKETS == 0 {
        return operation();
    }
    let refused = match with(&ours, 0, &operation) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES)) => error,
        other => return other,
    };
    match effective_of(tid) & OVER_SOCKETS {
        0 => Err(refused),
        theirs => with(&ours, theirs, &operation),
    }
}

/// Runs `operation` with no capabilities over sockets but `kept`.
fn with<T>(ours: &[Word; 2], kept: u64, operation: &impl Fn() -> io::Result<T>) -> io::Result<T> {
    let mut fewer = *ours;
    // All of them are in the first word.
    fewer[0].effective &= !(OVER_SOCKETS as u32) | kept as u32;
    set(&fewer)?;
    let result = operation();
    set(ours)?;
    result
}

/// The effective capabilities of thread `tid`. Those in another user namespace count for nothing
/// over sockets that belong to ours.
fn effective_of(tid: u32) -> u64 {
    let namespace = |who: &str| fs::read_link(format!("/proc/{who}/ns/user")).ok();
    let theirs = namespace(&tid.to_string());
    if theirs.is_none() || theirs != namespace("self") {
        return 0;
    }
    let status = fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// The user as whom thread `tid` makes sockets (its fsuid), as numbered here.
pub(crate) fn user_of(tid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(3)?.parse().ok()
}

fn effective(words: &[Word; 2]) -> u64 {
    u64::from(words[0].effective) | u64::from(words[1].effective) << 32
}

/// The calling thread's own sets.
pub(crate) fn get() -> io::Result<[Word; 2]> {
    let (mut header, mut words) = (Header { version: VERSION, pid: 0 }, [Word::default(); 2]);
    // SAFETY: version 3 takes a header and two words, both live and laid out as the kernel says.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
    sys::check(result as libc::c_int).map(|_| words)
}

/// Changes them.
pub(crate) fn set(words: &[Word; 2]) -> io::Result<()> {
    let mut header = Header { version: VERSION, pid: 0 };
    // SAFETY: as above; the words are only read.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) };
    sys::check(result as libc::c_int).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    #[test]
    fn rights_come_back_and_are_the_callers_meanwhile() {
        let before = get().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mark = || sys::set_int_option(listener.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MARK, 1);
        // This thread has the privilege, so that it gets it; without any it would not.
        as_caller(std::process::id(), mark).unwrap();
        assert_eq!(with(&before, 0, &mark).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(get().unwrap(), before);
    }

    #[test]
    fn a_thread_that_is_gone_has_no_rights() {
        assert_eq!(effective_of(u32::MAX), 0);
    }
}
