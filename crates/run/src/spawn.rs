//! Starts the program with the filter in place and brings the listener back.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use libc::{sock_filter, sock_fprog};

use crate::bpf;
use crate::pass;
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
    match install_best(&program) {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            // SAFETY: no pointers.
            sys::check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
            install_best(&program)
        }
        other => other,
    }
}

/// With all that the kernel offers. Before Linux 5.19 signals may disturb a call that is being
/// answered.
fn install_best(program: &sock_fprog) -> io::Result<OwnedFd> {
    let plain = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    match seccomp(plain | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, program) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => seccomp(plain, program),
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
    let (errno, attached) = match listener {
        Ok(listener) => (0, Some(listener.as_fd())),
        Err(error) => (error.raw_os_error().unwrap_or(libc::EIO), None),
    };
    pass::send(to, &errno.to_ne_bytes(), attached).map(drop)
}

/// The child's report: the listener, or why the filter was refused.
fn receive(from: &UnixDatagram) -> io::Result<io::Result<OwnedFd>> {
    let mut bytes = [0u8; 4];
    let (_, attached) = pass::receive(from.as_raw_fd(), &mut bytes, 0)?;
    match (i32::from_ne_bytes(bytes), attached) {
        (0, Some(listener)) => Ok(Ok(listener)),
        (0, None) => Err(io::Error::other("the child sent no listener")),
        (errno, _) => Ok(Err(io::Error::from_raw_os_error(errno))),
    }
}
