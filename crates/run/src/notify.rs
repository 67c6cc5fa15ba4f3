//! The seccomp notification descriptor: receive a stopped call, answer it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use libc::{seccomp_notif, seccomp_notif_addfd, seccomp_notif_resp};

use crate::sys::{self, Errno};

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (Linux 6.6), which `libc` does not name.
const SYNC_WAKE_UP: u64 = 1;

/// The kernel's own "restart if the signal handler says so" (`ERESTARTSYS`), which no program
/// sees: the signal's delivery turns it into a restart or into `EINTR`.
pub(crate) const RESTART: Errno = 512;

/// One stopped call.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Call {
    /// The notification's number.
    pub(crate) id: u64,
    /// The calling thread, as numbered here.
    pub(crate) tid: u32,
    /// The call's number.
    pub(crate) nr: i64,
    /// The architecture it was made by.
    pub(crate) arch: u32,
    /// Its arguments.
    pub(crate) args: [u64; 6],
}

impl Call {
    /// Argument `n` where the kernel takes an `int`.
    pub(crate) fn int(&self, n: usize) -> i32 {
        self.args[n] as i32
    }
}

/// How to answer a call.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It returns this.
    Value(i64),
    /// It fails with this errno.
    Error(Errno),
    /// The kernel runs it as if nobody had looked.
    Continue,
    /// Somebody else has answered or will.
    Later,
}

/// The listener of a filter. Each method may be called from any thread.
#[derive(Debug)]
pub(crate) struct Listener(OwnedFd);

impl Listener {
    /// Takes the descriptor and asks for synchronous wake-ups, which make a stopped call about
    /// five times cheaper; kernels before 6.6 do without.
    pub(crate) fn new(fd: OwnedFd) -> Listener {
        // SAFETY: this ioctl takes the flags by value.
        let set = unsafe { libc::ioctl(fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
        if set < 0 {
            tracing::debug!("no synchronous wake-up of stopped calls: it needs Linux 6.6");
        }
        Listener(fd)
    }

    /// The next stopped call; `None` if it went away. Call it when the descriptor is readable:
    /// otherwise it blocks.
    pub(crate) fn receive(&self) -> io::Result<Option<Call>> {
        // SAFETY: the kernel demands an all-zero structure, and every field is an integer.
        let mut notif: seccomp_notif = unsafe { std::mem::zeroed() };
        match self.ioctl(libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut notif) {
            Ok(_) => Ok(Some(Call {
                id: notif.id,
                tid: notif.pid,
                nr: i64::from(notif.data.nr),
                arch: notif.data.arch,
                args: notif.data.args,
            })),
            // The caller was killed meanwhile.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the call is still waiting. What was read of its memory before is then its own.
    pub(crate) fn is_valid(&self, id: u64) -> bool {
        let mut id = id;
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw mut id).is_ok()
    }

    /// Answers a call. Its caller may have died: then there is nobody to tell.
    pub(crate) fn answer(&self, id: u64, answer: Answer) {
        let (val, error, flags) = match answer {
            Answer::Value(value) => (value, 0, 0),
            Answer::Error(errno) => (0, -errno, 0),
            Answer::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            Answer::Later => return,
        };
        let mut response = seccomp_notif_resp { id, val, error, flags };
        if let Err(error) = self.ioctl(libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response)
            && error.raw_os_error() != Some(libc::ENOENT)
        {
            tracing::warn!(%error, "a stopped call could not be answered");
        }
    }

    /// Puts `fd` into the caller's table and answers the call with its number there, in one step:
    /// no descriptor is left behind if the caller dies in between. Returns the number.
    pub(crate) fn answer_with_fd(&self, id: u64, fd: BorrowedFd<'_>, cloexec: bool) -> io::Result<RawFd> {
        self.add(id, fd, libc::SECCOMP_ADDFD_FLAG_SEND as u32, 0, cloexec)
    }

    /// Puts `fd` in the place of the caller's descriptor `at`, as `dup3` does.
    pub(crate) fn replace_fd(&self, id: u64, fd: BorrowedFd<'_>, at: RawFd, cloexec: bool) -> io::Result<()> {
        let at = u32::try_from(at).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
        self.add(id, fd, libc::SECCOMP_ADDFD_FLAG_SETFD as u32, at, cloexec).map(drop)
    }

    fn add(&self, id: u64, fd: BorrowedFd<'_>, flags: u32, newfd: u32, cloexec: bool) -> io::Result<i32> {
        let mut request = seccomp_notif_addfd {
            id,
            flags,
            srcfd: fd.as_raw_fd() as u32,
            newfd,
            newfd_flags: if cloexec { libc::O_CLOEXEC as u32 } else { 0 },
        };
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw mut request)
    }

    fn ioctl<T>(&self, request: libc::Ioctl, argument: *mut T) -> io::Result<i32> {
        // SAFETY: each request above goes with the structure that the kernel expects for it, which
        // the caller holds on its stack.
        sys::check(unsafe { libc::ioctl(self.0.as_raw_fd(), request, argument) })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
