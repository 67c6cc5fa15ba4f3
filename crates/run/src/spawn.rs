//! Starts the program with the filter in place and brings the listener back.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use libc::{sock_filter, sock_fprog};

use crate::bpf;
use crate::sys;

/// Why the program did not start.
#[derive(Debug)]
pub(crate) enum SpawnError {
    /// The kernel refused the filter.
    Filter(io::Error),
    /// Everything else, above all that there is no such program.
    Program(io::Error),
}

/// Starts `command`, and returns it with the descriptor on which its calls are announced.
/// `files` is the limit of open files that it gets.
pub(crate) fn spawn(mut command: Command, files: libc::rlimit) -> Result<(Child, OwnedFd), SpawnError> {
    let (ours, theirs) = UnixDatagram::pair().map_err(SpawnError::Program)?;
    let filter = bpf::filter();
    // SAFETY: between fork and exec only system calls are made, on memory allocated before.
    unsafe {
        command.pre_exec(move || {
            let listener = restore(files).and_then(|()| install(&filter));
            report(theirs.as_raw_fd(), &listener)?;
            listener.map(drop)
        });
    }
    let spawned = command.spawn();
    // The command owns the child's end: while that is open we could wait for ever.
    drop(command);
    ours.set_nonblocking(true).map_err(SpawnError::Program)?;
    match (receive(&ours), spawned) {
        (Ok(Ok(listener)), Ok(child)) => Ok((child, listener)),
        (Ok(Err(refused)), _) => Err(SpawnError::Filter(refused)),
        (_, Err(error)) => Err(SpawnError::Program(error)),
        (Err(error), Ok(mut child)) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(SpawnError::Filter(error))
        }
    }
}

/// The program gets the limit that we were started with, not the one raised for ourselves.
fn restore(files: libc::rlimit) -> io::Result<()> {
    // SAFETY: the pointer is to a live rlimit.
    sys::check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const files) }).map(drop)
}

/// Installs the filter in the calling process. Unprivileged users have to give up gaining
/// privileges by setuid programs; root keeps them working.
pub(crate) fn install(filter: &[sock_filter]) -> io::Result<OwnedFd> {
    let program = sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    let best = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    match seccomp(best, &program) {
        // Before Linux 5.19: signals may disturb a call that is being answered.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            seccomp(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER, &program)
        }
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            // SAFETY: no pointers.
            sys::check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
            seccomp(best, &program)
        }
        other => other,
    }
}

fn seccomp(flags: libc::c_ulong, program: &sock_fprog) -> io::Result<OwnedFd> {
    let operation = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: `program` describes a live filter, which the kernel copies.
    let fd = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, program) };
    // SAFETY: a new descriptor, ours alone.
    sys::check(fd as libc::c_int).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Tells the parent: four bytes of errno, 0 with the listener attached.
fn report(to: RawFd, listener: &io::Result<OwnedFd>) -> io::Result<()> {
    let errno = match listener {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    };
    let mut bytes = errno.to_ne_bytes();
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = Control::new();
    let mut message = control.message(&mut vector);
    if let Ok(listener) = listener {
        control.put(&message, listener.as_raw_fd());
    } else {
        message.msg_control = std::ptr::null_mut();
        message.msg_controllen = 0;
    }
    // SAFETY: all pointers in `message` are to live locals.
    let sent = unsafe { libc::sendmsg(to, &raw const message, libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The child's report: the listener, or why the filter was refused.
fn receive(from: &UnixDatagram) -> io::Result<io::Result<OwnedFd>> {
    let mut bytes = [0u8; 4];
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = Control::new();
    let mut message = control.message(&mut vector);
    // SAFETY: all pointers in `message` are to live locals.
    let got = unsafe { libc::recvmsg(from.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    match i32::from_ne_bytes(bytes) {
        0 => control.get(&message).map(Ok),
        errno => Ok(Err(io::Error::from_raw_os_error(errno))),
    }
}

/// Room for one descriptor as ancillary data, aligned as its header demands.
#[repr(align(8))]
struct Control([u8; 32]);

impl Control {
    fn new() -> Control {
        Control([0; 32])
    }

    fn message(&mut self, vector: &mut libc::iovec) -> libc::msghdr {
        // SAFETY: an all-zero msghdr is valid.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = vector;
        message.msg_iovlen = 1;
        message.msg_control = self.0.as_mut_ptr().cast();
        // SAFETY: only arithmetic; it is 24 of our 32 bytes.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) } as _;
        message
    }

    fn put(&mut self, message: &libc::msghdr, fd: RawFd) {
        // SAFETY: `message` is built above around this buffer, which has room for one header and
        // one descriptor.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd);
        }
    }

    fn get(&self, message: &libc::msghdr) -> io::Result<OwnedFd> {
        // SAFETY: the kernel has filled the buffer that `message` describes; a header is there
        // only if it is whole, and the descriptor in it is ours.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(message);
            if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
                return Err(io::Error::other("the child sent no listener"));
            }
            let fd = libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned();
            Ok(OwnedFd::from_raw_fd(fd))
        }
    }
}
