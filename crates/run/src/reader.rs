//! Reads what the program wrote, and leaves the last byte of it unread.
//!
//! Our end of a UNIX socket shows the program a reset if it closes with something unread, and an end of file if not. A
//! connection that fails must never look like one that has ended, whatever ends it: the peer, the network, or the death of
//! this process. So from the beginning there is a byte in our queue: first a keeper that we have put there, later the last
//! byte that the program has written, which is passed on (it can be peeked at) but stays where it is until there are more.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use crate::pass;
use crate::sys;

/// The queue keeps a whole packet for one byte of it, and the kernel takes a socket for writable only while no more than a
/// quarter of its send buffer is in use. Packets have up to 68 KiB (17 pages of a file), and before Linux 6.5 up to 36 KiB
/// in front of that. It is what an unprivileged process may ask for at the least.
const SEND_BUFFER_MIN: i32 = 4 * 104 * 1024;

/// What is known of the queue of one of our ends.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Reader {
    /// A byte is left unread.
    keeps: bool,
    /// The first byte of the queue has been passed on, or is a keeper.
    passed: bool,
    /// A keeper is in the queue, and a descriptor attached to it.
    keeper: bool,
}

impl Reader {
    /// Of a queue that begins with a keeper.
    pub(crate) fn after_keeper() -> Reader {
        Reader { keeps: true, passed: true, keeper: false }
    }

    /// Of a queue without a keeper: what the program writes is kept, once it has.
    pub(crate) fn without_keeper() -> Reader {
        Reader { keeps: true, passed: false, keeper: false }
    }

    /// Of a queue with a keeper in it that is known by what is attached to it. It is the first byte unless the program was
    /// faster.
    pub(crate) fn before_keeper() -> Reader {
        Reader { keeps: true, passed: false, keeper: true }
    }

    /// The program's end has a send buffer of `bytes`, as the kernel tells it: where that is small, nothing can be kept
    /// without making the program wait for ever.
    pub(crate) fn allow_for(&mut self, bytes: i32) {
        self.keeps &= bytes >= SEND_BUFFER_MIN;
    }

    /// How many bytes of the program's wait to be passed on.
    pub(crate) fn waiting(&self, ours: BorrowedFd<'_>) -> io::Result<usize> {
        let keeper = usize::from(self.passed || self.keeper);
        Ok(sys::readable(ours.as_raw_fd())?.saturating_sub(keeper))
    }

    /// Reads into `buffer`, which is not empty. 0: the program writes no more.
    pub(crate) fn read(&mut self, ours: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        let fd = ours.as_raw_fd();
        if self.keeper
            && let Some(got) = self.find_keeper(ours, buffer)?
        {
            return Ok(got);
        }
        // Before the count: what it wrote last is then in it.
        let over = sys::peer_shut_write(ours);
        let there = sys::readable(fd)?;
        let new = there - usize::from(self.passed && there > 0);
        match (new, over) {
            (0, true) => return Ok(0),
            // Also finds out why there is nothing.
            (0, false) if there == 0 => return sys::recv(fd, buffer, 0),
            (0, false) => return Err(io::ErrorKind::WouldBlock.into()),
            _ => {}
        }
        let wanted = new.min(buffer.len());
        let keep = self.keeps && wanted == new;
        let (taken, last) = buffer[..wanted].split_at_mut(wanted - usize::from(keep));
        let mut got = 0;
        if self.passed || !taken.is_empty() {
            got = sys::recv_behind(fd, usize::from(self.passed), taken)?;
        }
        if got == 0 && !taken.is_empty() {
            // Reading ends behind what has a descriptor attached: the keeper.
            got = sys::recv(fd, taken, 0)?;
        }
        self.passed = false;
        if got == taken.len() && keep {
            got += self.keep(fd, last);
        }
        Ok(got)
    }

    /// Peeks at the next byte, and leaves it. Returns how many that were.
    fn keep(&mut self, fd: RawFd, last: &mut [u8]) -> usize {
        // What has been taken is passed on, whatever becomes of this one.
        match pass::receive(fd, last, libc::MSG_PEEK) {
            // Descriptors that the program has attached are held by the packet, and one may be that of its own socket.
            Ok((1, Some(_attached))) => sys::recv(fd, last, 0).unwrap_or(0),
            Ok((1, None)) => {
                self.passed = true;
                1
            }
            _ => 0,
        }
    }

    /// Looks for the keeper. `None` once it has been found at the front; else how much came before it.
    fn find_keeper(&mut self, ours: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let fd = ours.as_raw_fd();
        // A peek looks further than it reads: it can be told what the byte is only where there is no other.
        let there = sys::readable(fd)?;
        if there == 1 {
            let (_, attached) = pass::receive(fd, &mut [0], libc::MSG_PEEK)?;
            if attached.is_some() {
                (self.keeper, self.passed) = (false, true);
                return Ok(None);
            }
        }
        // Reading ends behind what has a descriptor attached. The keeper itself stays if it is the last.
        let room = there.saturating_sub(1).clamp(1, buffer.len());
        let (got, attached) = pass::receive(fd, &mut buffer[..room], 0)?;
        if attached.is_none() {
            return Ok(Some(got));
        }
        self.keeper = false;
        Ok((got > 1).then_some(got - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{self, Linker};
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream;

    fn end() -> OwnedFd {
        sys::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).unwrap()
    }

    fn write(end: &OwnedFd, data: &[u8]) {
        assert_eq!(sys::send(end.as_raw_fd(), data, 0).unwrap(), data.len());
    }

    fn shut(end: &OwnedFd) {
        // SAFETY: no pointers.
        sys::check(unsafe { libc::shutdown(end.as_raw_fd(), libc::SHUT_WR) }).unwrap();
    }

    /// All that can be read now, in pieces of up to `piece` bytes, and whether the end has come.
    fn all(reader: &mut Reader, ours: &UnixStream, piece: usize) -> (Vec<u8>, bool) {
        let (mut all, mut buffer) = (Vec::new(), vec![0; piece]);
        loop {
            match reader.read(ours.as_fd(), &mut buffer) {
                Ok(0) => return (all, true),
                Ok(got) => all.extend_from_slice(&buffer[..got]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (all, false),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits for the other end's close. A child that another test of this process has just forked holds it a little longer.
    fn hangs_up(ours: &UnixStream) -> bool {
        let mut fds = [libc::pollfd { fd: ours.as_raw_fd(), events: 0, revents: 0 }];
        sys::poll(&mut fds, 5000).unwrap();
        fds[0].revents & libc::POLLHUP != 0
    }

    /// What the program sees once our end has gone.
    fn fate(end: &OwnedFd, ours: UnixStream) -> io::Result<usize> {
        drop(ours);
        sys::recv(end.as_raw_fd(), &mut [0; 8], 0)
    }

    fn is_reset(fate: io::Result<usize>) -> bool {
        fate.is_err_and(|error| error.raw_os_error() == Some(libc::ECONNRESET))
    }

    #[test]
    fn every_byte_is_passed_on_at_once_and_one_is_left() {
        for piece in [1, 2, 3, 5, 64] {
            let (ours, end, mut reader) = link::pair().unwrap();
            assert_eq!(all(&mut reader, &ours, piece), (vec![], false), "the keeper is not the program's");
            for text in [&b"a"[..], b"bc", b"defgh", b"i"] {
                write(&end, text);
                assert_eq!(reader.waiting(ours.as_fd()).unwrap(), text.len());
                assert_eq!(all(&mut reader, &ours, piece), (text.to_vec(), false), "pieces of {piece}");
                assert_eq!(reader.waiting(ours.as_fd()).unwrap(), 0);
            }
            write(&end, b"last");
            shut(&end);
            assert_eq!(all(&mut reader, &ours, piece), (b"last".to_vec(), true));
            assert!(is_reset(fate(&end, ours)));
        }
    }

    #[test]
    fn a_program_that_never_writes_sees_a_reset_too() {
        let (ours, end, mut reader) = link::pair().unwrap();
        shut(&end);
        assert_eq!(all(&mut reader, &ours, 64), (vec![], true));
        assert!(is_reset(fate(&end, ours)));
    }

    #[test]
    fn an_orderly_end_is_none() {
        let (ours, end, mut reader) = link::pair().unwrap();
        write(&end, b"all");
        all(&mut reader, &ours, 64);
        link::discard_unread(ours.as_fd());
        assert_eq!(fate(&end, ours).unwrap(), 0);
    }

    #[test]
    fn the_keeper_is_found_behind_what_overtook_it() {
        for early in [&b""[..], b"x", b"early"] {
            for piece in [1, 3, 64] {
                let (linker, end) = (Linker::new().unwrap(), end());
                let ours = linker.link(end.as_fd()).unwrap();
                if !early.is_empty() {
                    write(&end, early);
                }
                let mut reader = linker.put_keeper(end.as_fd()).unwrap();
                assert_eq!(all(&mut reader, &ours, piece).0, early, "pieces of {piece}");
                write(&end, b"and more");
                assert_eq!(all(&mut reader, &ours, piece).0, b"and more");
                assert!(is_reset(fate(&end, ours)));
            }
        }
    }

    #[test]
    fn a_program_that_waits_for_room_gets_it() {
        let (ours, end, mut reader) = link::pair().unwrap();
        reader.allow_for(link::set_send_buffer(end.as_fd(), 256 * 1024));
        let writable = || {
            let mut fds = [libc::pollfd { fd: end.as_raw_fd(), events: libc::POLLOUT, revents: 0 }];
            sys::poll(&mut fds, 0).unwrap();
            fds[0].revents & libc::POLLOUT != 0
        };
        for _ in 0..3 {
            while sys::send(end.as_raw_fd(), &[7; 100_000], 0).is_ok() {}
            assert!(!writable());
            all(&mut reader, &ours, 1 << 16);
            assert!(writable(), "what is kept leaves room");
        }
        // With a small buffer nothing is kept.
        let (ours, end, mut reader) = link::pair().unwrap();
        reader.allow_for(link::set_send_buffer(end.as_fd(), 4096));
        write(&end, &[7; 1000]);
        assert_eq!(all(&mut reader, &ours, 64).0.len(), 1000);
        assert_eq!(sys::readable(ours.as_raw_fd()).unwrap(), 0);
    }

    #[test]
    fn out_of_band_bytes_take_their_place() {
        for piece in [1, 2, 3, 64] {
            let (ours, end, mut reader) = link::pair().unwrap();
            let mut got = Vec::new();
            let send = |data: &[u8], flags| {
                sys::send(end.as_raw_fd(), data, flags).unwrap();
            };
            send(b"abc", 0);
            send(b"x", libc::MSG_OOB);
            send(b"more", 0);
            got.extend(all(&mut reader, &ours, piece).0);
            send(b"y", libc::MSG_OOB);
            got.extend(all(&mut reader, &ours, piece).0);
            send(b"end", 0);
            got.extend(all(&mut reader, &ours, piece).0);
            assert_eq!(String::from_utf8_lossy(&got), "abcxmoreyend", "pieces of {piece}");
        }
    }

    #[test]
    fn a_descriptor_that_the_program_attaches_is_not_held() {
        let (ours, end, mut reader) = link::pair().unwrap();
        pass::send(end.as_raw_fd(), b"x", Some(end.as_fd())).unwrap();
        assert_eq!(all(&mut reader, &ours, 64).0, b"x");
        drop(end);
        assert!(hangs_up(&ours), "it keeps itself open");
    }

    #[test]
    fn the_kept_byte_does_not_hide_a_close() {
        let (ours, end, mut reader) = link::pair().unwrap();
        write(&end, b"bye");
        all(&mut reader, &ours, 64);
        assert!(!sys::hung_up(ours.as_fd()));
        drop(end);
        assert!(hangs_up(&ours));
        assert_eq!(all(&mut reader, &ours, 64), (vec![], true));
    }
}
