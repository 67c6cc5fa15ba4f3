//! Thin safe wrappers over the system calls that the standard library does not offer.

use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// An errno, positive, as `libc` names them.
pub(crate) type Errno = i32;

/// Turns `-1` into the errno that goes with it.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The errno that a program should see for `error`.
pub(crate) fn errno_of(error: &io::Error) -> Errno {
    use io::ErrorKind as Kind;
    if let Some(raw) = error.raw_os_error() {
        return raw;
    }
    match error.kind() {
        Kind::ConnectionRefused => libc::ECONNREFUSED,
        Kind::ConnectionReset => libc::ECONNRESET,
        Kind::ConnectionAborted => libc::ECONNABORTED,
        Kind::TimedOut => libc::ETIMEDOUT,
        Kind::AddrInUse => libc::EADDRINUSE,
        Kind::AddrNotAvailable => libc::EADDRNOTAVAIL,
        Kind::HostUnreachable => libc::EHOSTUNREACH,
        Kind::NetworkUnreachable => libc::ENETUNREACH,
        Kind::NetworkDown => libc::ENETDOWN,
        Kind::PermissionDenied => libc::EACCES,
        Kind::InvalidInput => libc::EINVAL,
        Kind::Unsupported => libc::EOPNOTSUPP,
        Kind::OutOfMemory => libc::ENOBUFS,
        _ => libc::EIO,
    }
}

/// `socket(2)`, always close-on-exec on our side.
pub(crate) fn socket(domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; a new descriptor is ours alone.
    let fd = check(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the kernel just returned it and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `bind(2)` with a raw address.
pub(crate) fn bind(fd: RawFd, name: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length describe `name`.
    let result = unsafe { libc::bind(fd, name.as_ptr().cast(), name.len() as libc::socklen_t) };
    check(result).map(drop)
}

/// `setsockopt(2)` with raw bytes.
pub(crate) fn set_option(fd: RawFd, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length describe `value`.
    let result = unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), value.len() as libc::socklen_t) };
    check(result).map(drop)
}

/// `setsockopt(2)` with a value that cannot be read, for the errno that goes with it.
pub(crate) fn set_option_from_nowhere(fd: RawFd, level: i32, name: i32, len: usize) -> io::Result<()> {
    // SAFETY: nothing is ever mapped at this address, so that the kernel finds nothing to read there.
    let result = unsafe { libc::setsockopt(fd, level, name, std::ptr::without_provenance(8), len as libc::socklen_t) };
    check(result).map(drop)
}

/// `setsockopt(2)` with an int.
pub(crate) fn set_int_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    set_option(fd, level, name, &value.to_ne_bytes())
}

/// `getsockopt(2)` into `value`; returns the length the kernel reports.
pub(crate) fn get_option(fd: RawFd, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
    let mut len = value.len() as libc::socklen_t;
    // SAFETY: pointer and length describe `value`, which the kernel fills up to `len`.
    let result = unsafe { libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), &raw mut len) };
    check(result)?;
    Ok(len as usize)
}

/// `getsockopt(2)` with a length that is negative, or nowhere.
pub(crate) fn get_option_oddly(
    fd: RawFd,
    (level, name): (i32, i32),
    value: &mut [u8],
    len: Option<i32>,
) -> io::Result<&[u8]> {
    let mut told = len.unwrap_or(0);
    let len_at = if len.is_some() { &raw mut told } else { std::ptr::without_provenance_mut(8) };
    // SAFETY: a negative length the kernel takes for none or for one beyond all values, which are shorter than `value`;
    // nothing is ever mapped at the other address.
    let result = unsafe { libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), len_at.cast()) };
    check(result)?;
    Ok(value.get(..usize::try_from(told).unwrap_or(0)).unwrap_or_default())
}

/// `getsockopt(2)` of an int.
pub(crate) fn get_int_option(fd: RawFd, level: i32, name: i32) -> io::Result<i32> {
    let mut value = [0; size_of::<i32>()];
    get_option(fd, level, name, &mut value)?;
    Ok(i32::from_ne_bytes(value))
}

/// Gives socket `to` an option of `from`'s, whose value has at most 16 bytes.
pub(crate) fn copy_option(from: RawFd, to: RawFd, level: i32, name: i32) -> io::Result<()> {
    let mut value = [0; 16];
    let len = get_option(from, level, name, &mut value)?;
    set_option(to, level, name, &value[..len])
}

/// The socket's cookie: unique since boot, never used again.
pub(crate) fn cookie(fd: RawFd) -> io::Result<u64> {
    let mut value = [0; size_of::<u64>()];
    get_option(fd, libc::SOL_SOCKET, libc::SO_COOKIE, &mut value)?;
    Ok(u64::from_ne_bytes(value))
}

/// The inode number: how `/proc` names a socket.
pub(crate) fn inode(fd: RawFd) -> io::Result<u64> {
    // SAFETY: an all-zero stat is a valid value for the kernel to overwrite.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live stat.
    check(unsafe { libc::fstat(fd, &raw mut stat) })?;
    Ok(stat.st_ino)
}

/// The file status flags (`F_GETFL`), shared by all who hold the open file.
pub(crate) fn status_flags(fd: RawFd) -> io::Result<i32> {
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(fd, libc::F_GETFL) })
}

/// Sets or clears `O_NONBLOCK`.
pub(crate) fn set_nonblocking(fd: RawFd, on: bool) -> io::Result<()> {
    let flags = status_flags(fd)?;
    let flags = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) }).map(drop)
}

/// Sends without blocking and without SIGPIPE.
pub(crate) fn send(fd: RawFd, data: &[u8], flags: i32) -> io::Result<usize> {
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: pointer and length describe `data`.
    let sent = unsafe { libc::send(fd, data.as_ptr().cast(), data.len(), flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// The same, to an address.
pub(crate) fn send_to(fd: RawFd, data: &[u8], flags: i32, name: &[u8]) -> io::Result<usize> {
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let (to, len) = (name.as_ptr().cast(), name.len() as libc::socklen_t);
    // SAFETY: the pointers and lengths describe `data` and `name`.
    let sent = unsafe { libc::sendto(fd, data.as_ptr().cast(), data.len(), flags, to, len) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives without blocking.
pub(crate) fn recv(fd: RawFd, buffer: &mut [u8], flags: i32) -> io::Result<usize> {
    let flags = flags | libc::MSG_DONTWAIT;
    // SAFETY: pointer and length describe `buffer`.
    let got = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), flags) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

/// Receives without blocking what comes after the first `skipped` bytes (at most one), which are forgotten. Returns the
/// number of bytes in `buffer`.
pub(crate) fn recv_behind(fd: RawFd, skipped: usize, buffer: &mut [u8]) -> io::Result<usize> {
    let mut forgotten = [0u8; 1];
    let mut pieces = [
        libc::iovec { iov_base: forgotten.as_mut_ptr().cast(), iov_len: skipped.min(1) },
        libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() },
    ];
    // SAFETY: an all-zero msghdr is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = pieces.as_mut_ptr();
    message.msg_iovlen = pieces.len() as _;
    // SAFETY: all pointers in `message` are to live buffers of the lengths given.
    let got = unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_DONTWAIT) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    Ok(got.saturating_sub(skipped.min(1)))
}

/// Waits until one of `fds` has something, or for `timeout_ms` (-1: for ever).
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout_ms: i32) -> io::Result<()> {
    // SAFETY: pointer and length describe `fds`.
    match check(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) }) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        other => other.map(drop),
    }
}

/// Whether both directions of a UNIX stream socket are shut: its peer closed, or shut both ways.
pub(crate) fn hung_up(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [libc::pollfd { fd: fd.as_raw_fd(), events: 0, revents: 0 }];
    poll(&mut fds, 0).is_ok() && fds[0].revents & libc::POLLHUP != 0
}

/// Whether the peer of a UNIX stream socket writes no more.
pub(crate) fn peer_shut_write(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 }];
    poll(&mut fds, 0).is_ok() && fds[0].revents & (libc::POLLRDHUP | libc::POLLHUP) != 0
}

/// How many bytes can be read.
pub(crate) fn readable(fd: RawFd) -> io::Result<usize> {
    ask_int(fd, libc::FIONREAD).map(|n| usize::try_from(n).unwrap_or(0))
}

pub(crate) fn ask_int(fd: RawFd, command: libc::Ioctl) -> io::Result<i32> {
    let mut value: libc::c_int = 0;
    // SAFETY: all commands that are asked write one int.
    check(unsafe { libc::ioctl(fd, command, &raw mut value) })?;
    Ok(value)
}

/// Opens a pidfd.
pub(crate) fn pidfd_open(pid: u32, flags: libc::c_uint) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, flags) };
    let fd = check(fd as libc::c_int)?;
    // SAFETY: a new descriptor, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes a duplicate of another process's descriptor (close-on-exec).
pub(crate) fn pidfd_getfd(pidfd: BorrowedFd<'_>, fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) };
    let fd = check(fd as libc::c_int)?;
    // SAFETY: a new descriptor, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Registers a descriptor with the runtime.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open, and the same file, for as long as it lives.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest)? })
}

/// The kernel's release, such as "6.18.5-generic".
pub(crate) fn kernel_release_text() -> String {
    // SAFETY: an all-zero utsname is valid.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live utsname, whose strings the kernel ends with a zero.
    unsafe {
        libc::uname(&raw mut name);
        CStr::from_ptr(name.release.as_ptr()).to_string_lossy().into_owned()
    }
}

/// The first two numbers of that.
pub(crate) fn kernel_release() -> Option<(u32, u32)> {
    parse_release(&kernel_release_text())
}

pub(crate) fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
