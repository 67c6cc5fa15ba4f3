//! Joins the program's end of a UNIX socket to one of ours, and makes it look busy meanwhile.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use crate::identity::parking::Mutex;
use crate::sys;

/// What fills the send buffer of a socket that is still connecting. Never seen by anybody.
const JUNK: [u8; 4000] = [0; 4000];

/// A private listener: the only thing that program ends are ever linked to.
#[derive(Debug)]
pub(crate) struct Linker {
    listener: Mutex<OwnedFd>,
    address: libc::sockaddr_un,
    len: libc::socklen_t,
}

impl Linker {
    /// Listens on an abstract name of the kernel's choice.
    pub(crate) fn new() -> io::Result<Linker> {
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
        let listener = sys::socket(libc::AF_UNIX, kind, 0)?;
        // SAFETY: an all-zero sockaddr_un is valid.
        let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        // An address of nothing but the family asks for a unique abstract name (unix(7)).
        let mut len = size_of::<libc::sa_family_t>() as libc::socklen_t;
        let fd = listener.as_raw_fd();
        // SAFETY: pointer and length describe `address`.
        sys::check(unsafe { libc::bind(fd, (&raw const address).cast(), len) })?;
        // SAFETY: no pointers.
        sys::check(unsafe { libc::listen(fd, 128) })?;
        len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
        // SAFETY: pointer and length describe `address`.
        sys::check(unsafe { libc::getsockname(fd, (&raw mut address).cast(), &raw mut len) })?;
        Ok(Linker { listener: Mutex::new(listener), address, len })
    }

    /// Connects `end` and returns the other end, non-blocking. Never waits: nobody else's
    /// connections are left in the queue.
    pub(crate) fn link(&self, end: BorrowedFd<'_>) -> io::Result<UnixStream> {
        let listener = self.listener.lock();
        while let Ok(stranger) = accept(&listener) {
            drop(stranger);
        }
        let address = (&raw const self.address).cast();
        // SAFETY: pointer and length describe `self.address`.
        sys::check(unsafe { libc::connect(end.as_raw_fd(), address, self.len) })?;
        loop {
            let accepted = accept(&listener)?;
            // An abstract name is open to everyone; what we linked has our own credentials.
            if peer_pid(accepted.as_fd())? == std::process::id() as libc::pid_t {
                return Ok(accepted.into());
            }
        }
    }
}

fn accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let none = std::ptr::null_mut();
    // SAFETY: null pointers ask for no address.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), none, none.cast(), flags) };
    // SAFETY: a new descriptor, ours alone.
    sys::check(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

fn peer_pid(fd: BorrowedFd<'_>) -> io::Result<libc::pid_t> {
    let mut credentials = [0; size_of::<libc::ucred>()];
    sys::get_option(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, &mut credentials)?;
    // The first field is the pid.
    Ok(i32::from_ne_bytes([credentials[0], credentials[1], credentials[2], credentials[3]]))
}

/// Fills the send buffer of `end` at its smallest, so that it shows no `POLLOUT` and answers
/// `EAGAIN`, as a TCP socket that is still connecting. Returns how much to [`drain`].
pub(crate) fn stuff(end: BorrowedFd<'_>) -> io::Result<usize> {
    // The kernel raises it to its minimum (4,608 bytes with bookkeeping).
    sys::set_int_option(end.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, 1)?;
    let mut stuffed = 0;
    loop {
        match sys::send(end.as_raw_fd(), &JUNK, 0) {
            Ok(sent) => stuffed += sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(stuffed),
            Err(error) => return Err(error),
        }
    }
}

/// Takes exactly the junk out of our end: the program's end becomes writable, with one edge. The
/// bytes after it are the program's.
pub(crate) fn drain(ours: BorrowedFd<'_>, mut stuffed: usize) -> io::Result<()> {
    let mut buffer = JUNK;
    while stuffed > 0 {
        let piece = stuffed.min(buffer.len());
        match sys::recv(ours.as_raw_fd(), &mut buffer[..piece], 0)? {
            0 => return Ok(()),
            got => stuffed -= got,
        }
    }
    Ok(())
}

/// Gives a UNIX socket a send buffer of `bytes` (the kernel doubles it for its bookkeeping), with
/// privilege beyond the system's limit. Only after [`drain`]: otherwise there are two edges.
pub(crate) fn set_send_buffer(end: BorrowedFd<'_>, bytes: i32) {
    let fd = end.as_raw_fd();
    if sys::set_int_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes).is_err() {
        // Smaller at worst: slower, not wrong.
        let _ = sys::set_int_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(fd: BorrowedFd<'_>) -> i16 {
        let events = libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP;
        let mut fds = [libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 }];
        sys::poll(&mut fds, 0).unwrap();
        fds[0].revents
    }

    fn end() -> OwnedFd {
        sys::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).unwrap()
    }

    #[test]
    fn connecting_shows_nothing_and_establishment_shows_writable() {
        let (linker, end) = (Linker::new().unwrap(), end());
        assert_eq!(events(end.as_fd()), libc::POLLOUT | libc::POLLHUP, "as TCP unconnected");
        let ours = linker.link(end.as_fd()).unwrap();
        let stuffed = stuff(end.as_fd()).unwrap();
        assert_eq!(events(end.as_fd()), 0);
        let send = sys::send(end.as_raw_fd(), b"early", 0).unwrap_err();
        assert_eq!(send.raw_os_error(), Some(libc::EAGAIN));
        drain(ours.as_fd(), stuffed).unwrap();
        assert_eq!(events(end.as_fd()), libc::POLLOUT);
        set_send_buffer(end.as_fd(), 1 << 17);
        assert_eq!(sys::send(end.as_raw_fd(), b"data", 0).unwrap(), 4);
        let mut got = [0; 16];
        assert_eq!(sys::recv(ours.as_raw_fd(), &mut got, 0).unwrap(), 4);
    }

    #[test]
    fn failure_looks_like_a_refused_connection() {
        let (linker, end) = (Linker::new().unwrap(), end());
        let ours = linker.link(end.as_fd()).unwrap();
        stuff(end.as_fd()).unwrap();
        drop(ours);
        let all = libc::POLLIN | libc::POLLOUT | libc::POLLERR | libc::POLLHUP | libc::POLLRDHUP;
        assert_eq!(events(end.as_fd()), all);
    }

    #[test]
    fn strangers_in_the_queue_are_turned_away() {
        let linker = Linker::new().unwrap();
        let (stranger, end) = (end(), end());
        // SAFETY: pointer and length describe the address.
        sys::check(unsafe { libc::connect(stranger.as_raw_fd(), (&raw const linker.address).cast(), linker.len) })
            .unwrap();
        let ours = linker.link(end.as_fd()).unwrap();
        sys::send(end.as_raw_fd(), b"me", 0).unwrap();
        let mut got = [0; 4];
        assert_eq!(sys::recv(ours.as_raw_fd(), &mut got, 0).unwrap(), 2);
        assert!(sys::hung_up(stranger.as_fd()));
    }
}
