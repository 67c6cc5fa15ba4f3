//! One descriptor as ancillary data of a message on a UNIX socket.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Sends `bytes`, with `attached` if there is one. Never waits; allocates nothing, so that it may
/// be called between fork and exec.
pub(crate) fn send(to: RawFd, bytes: &[u8], attached: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = Control::new();
    let mut message = control.message(&mut vector);
    if let Some(attached) = attached {
        control.put(&message, attached.as_raw_fd());
    } else {
        message.msg_control = std::ptr::null_mut();
        message.msg_controllen = 0;
    }
    // SAFETY: all pointers in `message` are to live locals, and the data is only read.
    let sent = unsafe { libc::sendmsg(to, &raw const message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives into `bytes`, without waiting, and what is attached. `flags` are those of recvmsg.
pub(crate) fn receive(from: RawFd, bytes: &mut [u8], flags: i32) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = Control::new();
    let mut message = control.message(&mut vector);
    let flags = flags | libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: all pointers in `message` are to live locals.
    let got = unsafe { libc::recvmsg(from, &raw mut message, flags) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    Ok((got, Control::get(&message)))
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

    fn get(message: &libc::msghdr) -> Option<OwnedFd> {
        // SAFETY: the kernel has filled the buffer that `message` describes; a header is there
        // only if it is whole, and the descriptor in it is ours.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(message);
            if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
                return None;
            }
            let fd = libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned();
            Some(OwnedFd::from_raw_fd(fd))
        }
    }
}
