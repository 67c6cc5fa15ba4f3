//! What this system must have, asked before anything is started.

use std::ffi::CStr;
use std::io;

use crate::bpf;
use crate::spawn;
use crate::sys;

/// Linux 5.14 is the first that puts a descriptor into a program and answers its call in one step.
const KERNEL_MIN: (u32, u32) = (5, 14);

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
    let release = kernel_release();
    if parse_release(&release).is_some_and(|version| version < KERNEL_MIN) {
        return Err(Missing {
            sentence: format!("`run` needs Linux {}.{} or later, and this is {release}.", KERNEL_MIN.0, KERNEL_MIN.1),
            command: "apt-get install linux-image-amd64  # or boot a later kernel".into(),
        });
    }
    try_filter().map_err(|error| explain_filter(&error))
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

/// Installs the filter in a child that does nothing else.
fn try_filter() -> io::Result<()> {
    let filter = bpf::filter();
    // SAFETY: the child makes only system calls, on memory allocated before, and exits.
    let child = sys::check(unsafe { libc::fork() })?;
    if child == 0 {
        let errno = spawn::install(&filter).err().map_or(0, |e| e.raw_os_error().unwrap_or(255));
        // SAFETY: ends the child at once, without running the parent's exit handlers.
        unsafe { libc::_exit(errno) };
    }
    let mut status = 0;
    // SAFETY: the pointer is to a live int; the child is ours.
    while unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
        (true, 0) => Ok(()),
        (true, errno) => Err(io::Error::from_raw_os_error(errno)),
        (false, _) => Err(io::Error::from_raw_os_error(libc::EACCES)),
    }
}

fn kernel_release() -> String {
    // SAFETY: an all-zero utsname is valid.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live utsname, whose strings the kernel ends with a zero.
    unsafe {
        libc::uname(&raw mut name);
        CStr::from_ptr(name.release.as_ptr()).to_string_lossy().into_owned()
    }
}

/// The first two numbers of a kernel release.
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
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
        assert_eq!(parse_release("6.18.44-fc"), Some((6, 18)));
        assert!(parse_release("5.4.0").unwrap() < KERNEL_MIN);
        assert!(parse_release("5.14.0-el9").unwrap() >= KERNEL_MIN);
    }

    #[test]
    fn each_refusal_is_one_sentence_with_a_remedy() {
        for errno in [libc::EBUSY, libc::EACCES, libc::ENOSYS, libc::ENOMEM] {
            let missing = explain_filter(&io::Error::from_raw_os_error(errno));
            assert!(missing.sentence.ends_with('.'), "{missing}");
            assert!(!missing.command.is_empty());
        }
    }
}
