//! Joins the program's end of a UNIX socket to one of ours, and makes it look busy meanwhile.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use crate::identity::parking::Mutex;
use crate::pass;
use crate::sys;

/// What fills the send buffer of a socket that is still connecting. Never seen by anybody.
const JUNK: [u8; 4000] = [0; 4000];

/// What a mark may take in a send buffer.
const MARK_ROOM: i32 = 4096;

/// A private listener: the only thing that program ends are ever linked to.
#[derive(Debug)]
pub(crate) struct Linker {
    listener: Mutex<OwnedFd>,
    address: libc::sockaddr_un,
    len: libc::socklen_t,
    /// What is attached to a mark. Not a socket: that would keep itself open from inside a queue.
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
        Ok(Linker { listener: Mutex::new(listener), address, len, token })
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

    /// Puts the mark behind everything that the program has written: one byte that is never read, so
    /// that our end can still show the program a reset once it has shut its write side, when nothing
    /// can be put there any more. A descriptor attached to the byte tells it from the program's own,
    /// should another of its threads write at the same time. Returns what it adds to `SIOCOUTQ`.
    pub(crate) fn mark(&self, end: BorrowedFd<'_>) -> io::Result<i32> {
        let fd = end.as_raw_fd();
        let before = sys::queued(fd)?;
        // A full buffer gets the room that the mark needs.
        let room = sys::get_int_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF)?.max(before).saturating_add(MARK_ROOM);
        if sys::set_int_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, room).is_err() {
            sys::set_int_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, room)?;
        }
        pass::send(fd, &[0], Some(self.token.as_fd()))?;
        Ok(sys::queued(fd)? - before)
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
    let set = |name, bytes| sys::set_int_option(end.as_raw_fd(), libc::SOL_SOCKET, name, bytes);
    if set(libc::SO_SNDBUFFORCE, bytes).is_ok() {
        return;
    }
    // Smaller at worst: slower, not wrong. Just below the limit, a [mark](Linker::mark) finds room.
    let granted = set(libc::SO_SNDBUF, bytes)
        .and_then(|()| sys::get_int_option(end.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF));
    if let Ok(granted) = granted
        && granted / 2 < bytes
    {
        let _ = set(libc::SO_SNDBUF, granted / 2 - MARK_ROOM);
    }
}

/// Reads what the program wrote, but not the [mark](Linker::mark): that is the end of file.
pub(crate) fn read_to_mark(ours: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let fd = ours.as_raw_fd();
    loop {
        let (room, peek) = match sys::readable(fd)? {
            0 => return sys::recv(fd, buffer, 0),
            1 => (1, libc::MSG_PEEK),
            n => ((n - 1).min(buffer.len()), 0),
        };
        let (got, marked) = pass::receive(fd, &mut buffer[..room], peek)?;
        match (marked.is_some(), peek != 0) {
            // Only the mark is left, and the program can add nothing.
            (true, true) if sys::peer_shut_write(ours) => return Ok(0),
            (true, true) => return Err(io::ErrorKind::WouldBlock.into()),
            // A write has overtaken the shutdown: the mark was in the middle, and is gone.
            (true, false) if got > 1 => return Ok(got - 1),
            (true, false) => {}
            (false, true) => return sys::recv(fd, &mut buffer[..1], 0),
            (false, false) => return Ok(got),
        }
    }
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

    fn marked() -> (Linker, OwnedFd, UnixStream, i32) {
        let (linker, end) = (Linker::new().unwrap(), end());
        let ours = linker.link(end.as_fd()).unwrap();
        sys::send(end.as_raw_fd(), b"before", 0).unwrap();
        let charge = linker.mark(end.as_fd()).unwrap();
        (linker, end, ours, charge)
    }

    fn shut(end: &OwnedFd) {
        // SAFETY: no pointers.
        sys::check(unsafe { libc::shutdown(end.as_raw_fd(), libc::SHUT_WR) }).unwrap();
    }

    #[test]
    fn the_mark_is_the_end_of_file_and_shows_a_reset() {
        let (_linker, end, ours, charge) = marked();
        shut(&end);
        let mut got = [0; 64];
        assert_eq!(read_to_mark(ours.as_fd(), &mut got).unwrap(), 6);
        assert_eq!(&got[..6], b"before");
        assert_eq!(read_to_mark(ours.as_fd(), &mut got).unwrap(), 0);
        assert_eq!(sys::queued(end.as_raw_fd()).unwrap(), charge);
        drop(ours);
        let read = sys::recv(end.as_raw_fd(), &mut got, 0).unwrap_err();
        assert_eq!(read.raw_os_error(), Some(libc::ECONNRESET));
    }

    #[test]
    fn a_write_that_overtakes_the_shutdown_is_not_mixed_with_the_mark() {
        let (_linker, end, ours, _) = marked();
        sys::send(end.as_raw_fd(), b"after", 0).unwrap();
        shut(&end);
        let (mut all, mut got) = (Vec::new(), [0; 64]);
        while let n @ 1.. = read_to_mark(ours.as_fd(), &mut got).unwrap() {
            all.extend_from_slice(&got[..n]);
        }
        assert_eq!(all, b"beforeafter");
    }

    #[test]
    fn the_mark_does_not_hide_the_close() {
        let (_linker, end, ours, _) = marked();
        shut(&end);
        assert!(!sys::hung_up(ours.as_fd()));
        drop(end);
        assert!(sys::hung_up(ours.as_fd()));
    }

    #[test]
    fn a_full_buffer_has_room_for_the_mark() {
        let (linker, end) = (Linker::new().unwrap(), end());
        let ours = linker.link(end.as_fd()).unwrap();
        let stuffed = stuff(end.as_fd()).unwrap();
        linker.mark(end.as_fd()).unwrap();
        shut(&end);
        let (mut total, mut got) = (0, [0; 512]);
        while let n @ 1.. = read_to_mark(ours.as_fd(), &mut got).unwrap() {
            total += n;
        }
        assert_eq!(total, stuffed);
        discard_unread(ours.as_fd());
        drop(ours);
        assert_eq!(sys::recv(end.as_raw_fd(), &mut got, 0).unwrap(), 0, "no reset");
    }
}
