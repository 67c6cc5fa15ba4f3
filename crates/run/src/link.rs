//! Joins the program's end of a UNIX socket to one of ours, and makes it look busy meanwhile.
//!
//! A UNIX socket shows a reset only if the other end closes with something unread. So that ours can always show one, even
//! if the process is killed, [something is left unread](crate::reader) in it from the moment that it is joined.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use crate::identity::parking::Mutex;
use crate::pass;
use crate::reader::Reader;
use crate::sys;

/// What fills the send buffer of a socket that is still connecting. Never seen by anybody.
const JUNK: [u8; 4000] = [0; 4000];

/// A private listener: the only thing that program ends are ever linked to.
#[derive(Debug)]
pub(crate) struct Linker {
    listener: Mutex<OwnedFd>,
    address: libc::sockaddr_un,
    len: libc::socklen_t,
    /// Before Linux 6.5, `sendfile` puts its data into the packet that is last in the queue, be it a keeper with a
    /// descriptor, so that nobody could tell it from that.
    keeps_from_the_start: bool,
    /// What is attached to a keeper. Not a socket: that would keep itself open from inside a queue.
    token: OwnedFd,
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
        let token = std::fs::File::open("/dev/null")?.into();
        let keeps_from_the_start = sys::kernel_release().is_some_and(|release| release >= (6, 5));
        Ok(Linker { listener: Mutex::new(listener), address, len, keeps_from_the_start, token })
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
                take_urgent_inline(accepted.as_fd())?;
                return Ok(accepted.into());
            }
        }
    }

    /// Puts a keeper into an end that is [linked](Self::link) and that its program may write to already: a byte that is never
    /// passed on, so that there is something unread. A descriptor attached to it tells it from the program's own, should
    /// another of its threads have written meanwhile.
    pub(crate) fn put_keeper(&self, end: BorrowedFd<'_>) -> io::Result<Reader> {
        if !self.keeps_from_the_start {
            return Ok(Reader::without_keeper());
        }
        pass::send(end.as_raw_fd(), &[0], Some(self.token.as_fd()))?;
        Ok(Reader::before_keeper())
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

/// A byte that a program sends out of band comes in its place: it would be dropped on the way, and miscounted.
fn take_urgent_inline(ours: BorrowedFd<'_>) -> io::Result<()> {
    sys::set_int_option(ours.as_raw_fd(), libc::SOL_SOCKET, libc::SO_OOBINLINE, 1)
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

/// Takes all of the junk but one byte out of our end; the bytes after it are the program's. The last byte takes the
/// place of a keeper. Done after the program's end was given a [larger buffer](set_send_buffer), which makes it writable,
/// with one edge.
pub(crate) fn drain(ours: BorrowedFd<'_>, stuffed: usize) -> io::Result<Reader> {
    take(ours, stuffed.saturating_sub(1))?;
    Ok(Reader::after_keeper())
}

/// Takes all of the junk: the program's end becomes writable by that alone, for want of a way to give it a larger buffer.
pub(crate) fn drain_all(ours: BorrowedFd<'_>, stuffed: usize) -> io::Result<Reader> {
    take(ours, stuffed)?;
    Ok(Reader::default())
}

fn take(ours: BorrowedFd<'_>, mut left: usize) -> io::Result<()> {
    let mut buffer = JUNK;
    while left > 0 {
        let piece = left.min(buffer.len());
        match sys::recv(ours.as_raw_fd(), &mut buffer[..piece], 0)? {
            0 => return Ok(()),
            got => left -= got,
        }
    }
    Ok(())
}

/// Gives a UNIX socket a send buffer of `bytes` (the kernel doubles it for its bookkeeping), with privilege beyond the
/// system's limit. Returns what the kernel made of it: smaller at worst.
pub(crate) fn set_send_buffer(end: BorrowedFd<'_>, bytes: i32) -> i32 {
    let set = |name| sys::set_int_option(end.as_raw_fd(), libc::SOL_SOCKET, name, bytes);
    if set(libc::SO_SNDBUFFORCE).is_err() {
        let _ = set(libc::SO_SNDBUF);
    }
    sys::get_int_option(end.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF).unwrap_or(0)
}

/// A pair of joined ends, for a connection that has come in: ours, non-blocking, and the program's.
pub(crate) fn pair() -> io::Result<(UnixStream, OwnedFd, Reader)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    take_urgent_inline(ours.as_fd())?;
    sys::send(theirs.as_raw_fd(), &[0], 0)?;
    Ok((ours, theirs.into(), Reader::after_keeper()))
}

/// Takes away what is unread, so that our end can close without showing a reset.
pub(crate) fn discard_unread(ours: BorrowedFd<'_>) {
    let mut buffer = JUNK;
    while sys::recv(ours.as_raw_fd(), &mut buffer, 0).is_ok_and(|got| got > 0) {}
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
        set_send_buffer(end.as_fd(), 1 << 17);
        let mut reader = drain(ours.as_fd(), stuffed).unwrap();
        assert_eq!(events(end.as_fd()), libc::POLLOUT);
        assert_eq!(sys::send(end.as_raw_fd(), b"data", 0).unwrap(), 4);
        let mut got = [0; 16];
        assert_eq!(reader.read(ours.as_fd(), &mut got).unwrap(), 4);
        assert_eq!(&got[..4], b"data");
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

    #[test]
    fn where_there_is_no_larger_buffer_all_is_drained() {
        let (linker, end) = (Linker::new().unwrap(), end());
        let ours = linker.link(end.as_fd()).unwrap();
        let stuffed = stuff(end.as_fd()).unwrap();
        let mut reader = drain_all(ours.as_fd(), stuffed).unwrap();
        assert_eq!(events(end.as_fd()), libc::POLLOUT);
        assert_eq!(sys::send(end.as_raw_fd(), b"data", 0).unwrap(), 4);
        let mut got = [0; 16];
        assert_eq!(reader.read(ours.as_fd(), &mut got).unwrap(), 4);
        assert_eq!(sys::readable(ours.as_raw_fd()).unwrap(), 0);
    }
}
