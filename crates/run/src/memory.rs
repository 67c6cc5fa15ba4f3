//! The memory of a stopped program: arguments in, results out.

use std::io;

use crate::notify::{Call, Listener};
use crate::sys::Errno;

/// Reads `len` bytes at `address` of the thread `tid`.
///
/// The caller checks that the notification is still valid before acting on what it read: the
/// thread may have died and its number been given to another.
pub(crate) fn read(tid: u32, address: u64, len: usize) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; len];
    if len == 0 {
        return Ok(buffer);
    }
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: len };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: len };
    // SAFETY: the local vector describes `buffer`; the remote one is checked by the kernel.
    let got = unsafe { libc::process_vm_readv(tid as libc::pid_t, &raw const local, 1, &raw const remote, 1, 0) };
    whole(got, len)?;
    Ok(buffer)
}

/// The same, but less where the memory ends before: then as much as there is.
pub(crate) fn read_some(tid: u32, address: u64, len: usize) -> Vec<u8> {
    /// As small as a page may be: what the kernel copies as a whole or not at all.
    const PAGE: usize = 4096;
    if let Ok(all) = read(tid, address, len) {
        return all;
    }
    let mut out = Vec::new();
    while out.len() < len {
        let at = address + out.len() as u64;
        let piece = (PAGE - at as usize % PAGE).min(len - out.len());
        match read(tid, at, piece) {
            Ok(bytes) => out.extend(bytes),
            Err(_) => break,
        }
    }
    out
}

/// Writes `bytes` at `address` of the thread that waits in `call`. Done before the answer is sent, so that the program
/// finds its result when the call returns.
///
/// Whatever was done before may have taken any time, in which the thread may have died and its number been given to
/// another: it is made sure that it waits, directly before its memory is looked up.
pub(crate) fn write(waiting: Waiting<'_>, address: u64, bytes: &[u8]) -> Result<(), Errno> {
    if bytes.is_empty() {
        return Ok(());
    }
    let Waiting(listener, call) = waiting;
    if !listener.is_valid(call.id) {
        return Err(libc::ESRCH);
    }
    write_now(call.tid, address, bytes)
}

/// A call, and where it is known whether it waits.
#[derive(Copy, Clone)]
pub(crate) struct Waiting<'a>(pub(crate) &'a Listener, pub(crate) &'a Call);

fn write_now(tid: u32, address: u64, bytes: &[u8]) -> Result<(), Errno> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: the local vector describes `bytes` and is only read; the kernel checks the remote.
    let put = unsafe { libc::process_vm_writev(tid as libc::pid_t, &raw const local, 1, &raw const remote, 1, 0) };
    whole(put, bytes.len())
}

/// Reads a 32-bit number, such as a `socklen_t`.
pub(crate) fn read_u32(tid: u32, address: u64) -> Result<u32, Errno> {
    let bytes = read(tid, address, 4)?;
    Ok(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Gives a result of variable length: as much of `bytes` as the program's buffer holds.
/// `reported` is the length written back, which for addresses is the untruncated one.
pub(crate) fn write_sized(
    waiting: Waiting<'_>,
    buffer: u64,
    len_at: u64,
    bytes: &[u8],
    reported: usize,
) -> Result<(), Errno> {
    let room = read_u32(waiting.1.tid, len_at)? as usize;
    if i32::try_from(room).is_err() {
        return Err(libc::EINVAL);
    }
    write(waiting, buffer, &bytes[..bytes.len().min(room)])?;
    write(waiting, len_at, &(reported as u32).to_ne_bytes())
}

/// A pointer that leads nowhere is the program's `EFAULT`; a thread that is gone gets no answer.
fn whole(done: isize, wanted: usize) -> Result<(), Errno> {
    match usize::try_from(done) {
        Ok(done) if done == wanted => Ok(()),
        Ok(_) => Err(libc::EFAULT),
        Err(_) => Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EFAULT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_a_process() {
        let me = std::process::id();
        let mut target = [1u8, 2, 3, 4];
        let at = (&raw mut target) as u64;
        assert_eq!(read(me, at, 4), Ok(vec![1, 2, 3, 4]));
        assert_eq!(write_now(me, at, &[9, 8]), Ok(()));
        assert_eq!(read(me, at, 4), Ok(vec![9, 8, 3, 4]));
        assert_eq!(read(me, 8, 4), Err(libc::EFAULT));
    }
}
