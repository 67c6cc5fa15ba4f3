//! What this system must have, asked before anything is started.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};

use crate::bpf;
use crate::memory;
use crate::spawn;
use crate::sys;

/// Linux 5.14 is the first that puts a descriptor into a program and answers its call in one step.
static KERNEL_MIN: (u32, u32) = (5, 14);

/// Something that this system lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}\n    {command}")]
pub struct Missing {
    /// What is missing, in one sentence.
    pub sentence: String,
    /// The command that gives it.
    pub command: String,
}

/// Checks that programs can be run here.
///
/// # Errors
/// The first thing that is missing.
pub fn preflight() -> Result<(), Missing> {
    let release = sys::kernel_release_text();
    if sys::kernel_release().is_some_and(|version| version < KERNEL_MIN) {
        return Err(Missing {
            sentence: format!("`run` needs Linux {}.{} or later, and this is {release}.", KERNEL_MIN.0, KERNEL_MIN.1),
            command: "apt-get install linux-image-amd64  # or boot a later kernel".into(),
        });
    }
    try_child()
}

/// What it means that the kernel refused the filter.
pub(crate) fn explain_filter(error: &io::Error) -> Missing {
    let (sentence, command) = match error.raw_os_error() {
        Some(libc::EBUSY) => (
            "`run` does not work inside another `run`, or under another supervisor that uses \
             seccomp user notification: the kernel allows one listener for each program.",
            "start the program directly: the outer `run` covers it already",
        ),
        Some(libc::EACCES | libc::EPERM) => {
            ("this user may not install a seccomp filter.", "unshare -Urn polypath run …  # or as root")
        }
        Some(libc::ENOSYS | libc::EINVAL) => (
            "this kernel, or the container around it, has no seccomp user notification.",
            "docker run --security-opt seccomp=unconfined …  # or a kernel with CONFIG_SECCOMP_FILTER=y",
        ),
        _ => {
            return Missing {
                sentence: format!("the seccomp filter could not be installed: {error}."),
                command: "zgrep SECCOMP /proc/config.gz  # CONFIG_SECCOMP_FILTER=y is needed".into(),
            };
        }
    };
    Missing { sentence: sentence.into(), command: command.into() }
}

/// Installs the filter in a child that does nothing else, and looks into it as the supervisor does.
fn try_child() -> Result<(), Missing> {
    let broken = |error: io::Error| explain_filter(&error);
    let (mut told, tells) = io::pipe().map_err(broken)?;
    let (waits, release) = io::pipe().map_err(broken)?;
    let filter = bpf::filter();
    // SAFETY: the child makes only system calls, on memory allocated before, and exits.
    let child = sys::check(unsafe { libc::fork() }).map_err(broken)?;
    if child == 0 {
        // Our copy would keep us waiting for ourselves.
        drop(release);
        be_child(&filter, tells.as_raw_fd(), waits.as_raw_fd());
    }
    drop(tells);
    let mut errno = [0; 4];
    let installed = told.read_exact(&mut errno).map(|()| i32::from_ne_bytes(errno));
    let reached = reach(child as u32, waits.as_raw_fd());
    drop(release);
    // SAFETY: a null pointer asks for no status; the child is ours, and about to exit.
    while unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
    match installed {
        Ok(0) => reached.map_err(|error| explain_reach(&error)),
        Ok(errno) => Err(explain_filter(&io::Error::from_raw_os_error(errno))),
        // Something killed it at the first call.
        Err(_) => Err(explain_filter(&io::Error::from_raw_os_error(libc::EACCES))),
    }
}

/// Says how the filter was taken, and waits to be let go.
fn be_child(filter: &[libc::sock_filter], tells: i32, waits: i32) -> ! {
    let errno = spawn::install(filter).err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
    let mut byte = 0u8;
    // SAFETY: pointers and lengths describe live locals; `_exit` ends the child at once, without
    // running the parent's exit handlers.
    unsafe {
        libc::write(tells, (&raw const errno).cast(), size_of::<i32>());
        libc::read(waits, (&raw mut byte).cast(), 1);
        libc::_exit(0)
    }
}

/// Takes a descriptor of the child, and reads some of its memory: a constant, which it has at the same
/// place as we.
fn reach(child: u32, fd: i32) -> io::Result<()> {
    let pidfd = sys::pidfd_open(child, 0)?;
    sys::pidfd_getfd(pidfd.as_fd(), fd)?;
    let here = (&raw const KERNEL_MIN) as u64;
    memory::read(child, here, 1).map(drop).map_err(io::Error::from_raw_os_error)
}

/// What it means that the kernel lets nobody look into a child.
fn explain_reach(error: &io::Error) -> Missing {
    let container = fs::exists("/.dockerenv").unwrap_or(false) || fs::exists("/run/.containerenv").unwrap_or(false);
    let command = match container {
        true => "docker run --cap-add SYS_PTRACE …",
        false => "sysctl kernel.yama.ptrace_scope=1  # or run it as root",
    };
    Missing {
        sentence: format!("this system does not let `run` reach into the programs that it starts: {error}."),
        command: command.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_system_will_do() {
        assert_eq!(preflight(), Ok(()));
    }

    #[test]
    fn releases_compare_as_numbers() {
        assert_eq!(sys::parse_release("6.18.44-fc"), Some((6, 18)));
        assert!(sys::parse_release("5.4.0").unwrap() < KERNEL_MIN);
        assert!(sys::parse_release("5.14.0-el9").unwrap() >= KERNEL_MIN);
    }

    #[test]
    fn each_refusal_is_one_sentence_with_a_remedy() {
        let refused = [libc::EBUSY, libc::EACCES, libc::ENOSYS, libc::ENOMEM].map(io::Error::from_raw_os_error);
        let unreached = explain_reach(&io::Error::from_raw_os_error(libc::EPERM));
        for missing in refused.iter().map(explain_filter).chain([unreached]) {
            assert!(missing.sentence.ends_with('.'), "{missing}");
            assert!(!missing.command.is_empty());
        }
    }
}
