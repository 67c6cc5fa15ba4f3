//! A network namespace for each test, with a kernel that has an address to speak from.
//!
//! A namespace belongs to a thread: everything in a test that makes sockets, devices or threads
//! does so from the thread that [`in_namespace`] started, or from one that it started in turn.

use std::process::Command;
use std::time::{Duration, Instant};

/// The kernel's own addresses in the namespace.
pub(crate) const KERNEL_V4: &str = "192.0.2.1";
pub(crate) const KERNEL_V6: &str = "2001:db8::1";

/// Runs `test` in a fresh network namespace and passes its panic on.
pub(crate) fn in_namespace<R: Send + 'static>(test: impl FnOnce() -> R + Send + 'static) -> R {
    let thread = std::thread::spawn(move || {
        // SAFETY: unshare changes no memory; the namespace is this thread's own from here on.
        let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(result, 0, "a network namespace needs root: {}", std::io::Error::last_os_error());
        ip("link set lo up");
        ip(&format!("address add {KERNEL_V4}/32 dev lo"));
        ip(&format!("address add {KERNEL_V6}/128 dev lo nodad"));
        // The kernel makes the route to it a little later; until then it says that there is none.
        let begun = Instant::now();
        while !ip("-6 route show table local").contains(KERNEL_V6) {
            assert!(begun.elapsed() < Duration::from_secs(10), "no route to {KERNEL_V6}");
        }
        test()
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs `ip` with these arguments and returns what it printed.
pub(crate) fn ip(arguments: &str) -> String {
    run("ip", arguments)
}

/// Waits until the kernel has removed the interface. A closed device goes at once, unless another
/// test was just starting a program: until that has begun, it holds a copy of every descriptor.
pub(crate) fn wait_until_gone(interface: &str) {
    let begun = Instant::now();
    while ip("link").contains(interface) {
        assert!(begun.elapsed() < Duration::from_secs(10), "{interface} is still there");
    }
}

/// Runs a program in the calling thread's namespace and returns what it printed.
pub(crate) fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
