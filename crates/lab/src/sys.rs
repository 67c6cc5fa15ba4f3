//! The few system calls that the standard library does not offer, each behind a safe function.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// `Ok` for a result of zero or more, the calling thread's `errno` otherwise.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Moves the calling thread into a new, empty network namespace.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: takes no pointers; it changes the namespace of this thread only.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map(drop)
}

/// Moves the calling thread into the network namespace `fd` stands for.
pub(crate) fn enter_network(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointers, and the descriptor is open for the duration of the call.
    check(unsafe { libc::setns(fd.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Makes `command` start in the network namespace `fd` stands for, and die with the thread that starts it.
///
/// `keep_open` stays open in the child under the same number. The caller keeps the descriptors open until the
/// child has been spawned.
pub(crate) fn prepare_child(command: &mut Command, fd: BorrowedFd<'_>, keep_open: Option<BorrowedFd<'_>>) {
    let namespace = fd.as_raw_fd();
    let keep_open = keep_open.map(|fd| fd.as_raw_fd());
    let in_child = move || {
        // SAFETY: system calls without pointers, all async-signal-safe, on descriptors open since before the fork.
        unsafe {
            check(libc::setns(namespace, libc::CLONE_NEWNET))?;
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            if let Some(fd) = keep_open {
                check(libc::fcntl(fd, libc::F_SETFD, 0))?;
            }
        }
        Ok(())
    };
    // SAFETY: `in_child` allocates nothing, takes no lock and makes async-signal-safe calls only.
    unsafe { command.pre_exec(in_child) };
}

/// Opens the TUN device `name` (at most 15 bytes) in the calling thread's network namespace: IP packets without any
/// header, no offloads, non-blocking. The device exists as long as the file is open.
pub(crate) fn open_tun(name: &str) -> io::Result<File> {
    let file = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an interface name has 1 to 15 bytes"));
    }
    // SAFETY: `ifreq` is a C structure for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(file)
}

/// Reads the option `name` of `socket` into `value`, which may say what is wanted; returns the length that it has now.
pub(crate) fn socket_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut len = value.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, which `value` has, and the length itself.
    check(unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut len) })?;
    Ok((len as usize).min(value.len()))
}

/// A descriptor that becomes readable when [`signal`] is called on it.
pub(crate) fn event_fd() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the descriptor was just made and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes an [`event_fd`] readable.
pub(crate) fn signal(event: &OwnedFd) {
    let one = 1_u64;
    // SAFETY: writes eight bytes from a local. A full counter (EAGAIN) is as good as a signal.
    unsafe { libc::write(event.as_raw_fd(), (&raw const one).cast(), 8) };
}

/// Takes the signal of an [`event_fd`] back.
pub(crate) fn clear(event: &OwnedFd) {
    let mut count = 0_u64;
    // SAFETY: reads eight bytes into a local. Nothing to read (EAGAIN) is fine.
    unsafe { libc::read(event.as_raw_fd(), (&raw mut count).cast(), 8) };
}

/// What [`wait_readable`] waits on.
pub(crate) struct ReadableSet(Vec<libc::pollfd>);

impl ReadableSet {
    /// The descriptors must stay open as long as the set is waited on: otherwise waiting reports them as readable.
    pub(crate) fn new<'a>(fds: impl IntoIterator<Item = BorrowedFd<'a>>) -> Self {
        let pollfd = |fd: BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        Self(fds.into_iter().map(pollfd).collect())
    }

    /// Sleeps until one of the descriptors can be read (or has failed), or until `timeout` has passed.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|t| libc::timespec {
            tv_sec: libc::time_t::try_from(t.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(t.subsec_nanos() as i32),
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the array and the timeout live through the call; no signal mask is passed.
        let result =
            unsafe { libc::ppoll(self.0.as_mut_ptr(), self.0.len() as libc::nfds_t, timeout, std::ptr::null()) };
        match check(result) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the last [`ReadableSet::wait`] found the descriptor at `index` readable.
    pub(crate) fn is_readable(&self, index: usize) -> bool {
        self.0.get(index).is_some_and(|pollfd| pollfd.revents != 0)
    }
}

/// Gives the calling thread exact timers.
pub(crate) fn set_exact_timers() {
    // SAFETY: takes no pointers; 1 ns is the smallest slack.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}

/// Places the calling thread before ordinary ones (SCHED_FIFO); returns whether that was granted (CAP_SYS_NICE).
pub(crate) fn run_first() -> bool {
    // SAFETY: `sched_param` is a C structure for which all zeroes is valid, and outlives the call.
    unsafe {
        let mut parameter: libc::sched_param = std::mem::zeroed();
        parameter.sched_priority = 1;
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameter) == 0
    }
}

/// Keeps idle processors from sleeping as long as the file is open, so that they answer within a few microseconds
/// instead of 30 to 200. `None` where the system does not allow it (root).
pub(crate) fn keep_processors_awake() -> Option<File> {
    let mut file = File::options().write(true).open("/dev/cpu_dma_latency").ok()?;
    // The latency wanted, in microseconds, as 32 bits.
    file.write_all(&0_i32.to_ne_bytes()).ok()?;
    Some(file)
}

/// A pipe: its reading end, and its writing end.
pub(crate) fn pipe() -> io::Result<(File, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((File::from(OwnedFd::from(reader)), OwnedFd::from(writer)))
}

/// The kernel's release, for example `6.18.0`.
pub(crate) fn kernel_release() -> String {
    // SAFETY: `utsname` is an array of characters, for which all zeroes is valid.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: writes one `utsname`, which lives through the call.
    if unsafe { libc::uname(&raw mut name) } != 0 {
        return "unknown".into();
    }
    // SAFETY: the kernel ends the field with a zero byte.
    unsafe { CStr::from_ptr(name.release.as_ptr()) }.to_string_lossy().into_owned()
}
