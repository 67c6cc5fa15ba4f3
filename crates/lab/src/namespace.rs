//! Anonymous network namespaces: held by a descriptor, gone with it, whatever ends the process.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::sys;

/// A network namespace without a name. It lives as long as a clone of this value, a thread or a process in it;
/// nothing of it is left in the file system, even after SIGKILL.
#[derive(Clone, Debug)]
pub struct Namespace {
    fd: Arc<OwnedFd>,
}

/// What the kernel counted on an interface (`/proc/net/dev`).
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct InterfaceCounters {
    /// Bytes the namespace received on the interface.
    pub rx_bytes: u64,
    /// Packets the namespace received on the interface.
    pub rx_packets: u64,
    /// Bytes it sent.
    pub tx_bytes: u64,
    /// Packets it sent.
    pub tx_packets: u64,
    /// Packets it could not send: on a TUN, its queue to user space was full.
    pub tx_dropped: u64,
}

impl Namespace {
    /// A new namespace in which only loopback exists, and is up.
    ///
    /// # Errors
    /// Without CAP_SYS_ADMIN, or when `ip` cannot be started.
    pub fn new() -> io::Result<Self> {
        let made = thread::spawn(|| {
            sys::unshare_network()?;
            File::open("/proc/thread-self/ns/net")
        });
        let file = join(made)?.map_err(|error| explain("cannot make a network namespace", &error))?;
        let namespace = Self { fd: Arc::new(file.into()) };
        namespace.ip("link set lo up\n")?;
        Ok(namespace)
    }

    /// Runs `work` on a thread of its own inside the namespace and waits for its result. Sockets and devices it
    /// opens stay in the namespace wherever they are used later.
    ///
    /// # Errors
    /// When no thread can be started or the namespace cannot be entered.
    ///
    /// # Panics
    /// If `work` does.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> io::Result<R> {
        thread::scope(|scope| {
            let inside = thread::Builder::new().spawn_scoped(scope, || {
                sys::enter_network(self.as_fd())?;
                Ok(work())
            })?;
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a thread named `name` inside the namespace.
    ///
    /// # Errors
    /// When the thread cannot be started; its result is an error when it cannot enter the namespace.
    pub fn spawn<R: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> io::Result<JoinHandle<io::Result<R>>> {
        let namespace = self.clone();
        thread::Builder::new().name(name.into()).spawn(move || {
            sys::enter_network(namespace.as_fd())?;
            Ok(work())
        })
    }

    /// A command that will run inside the namespace. The child is killed when the *thread* that spawned it ends, so
    /// spawn it from one that waits for it. This namespace must live until the command has been spawned.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        sys::prepare_child(&mut command, self.as_fd(), None);
        command
    }

    /// Like [`Namespace::command`]; `keep_open` stays open in the child under the same number.
    pub(crate) fn command_keeping(&self, program: &std::ffi::OsStr, keep_open: BorrowedFd<'_>) -> Command {
        let mut command = Command::new(program);
        sys::prepare_child(&mut command, self.as_fd(), Some(keep_open));
        command
    }

    /// Runs lines of `ip` commands (without the word `ip`) inside the namespace, up to the first that fails.
    ///
    /// # Errors
    /// When `ip` cannot be started, or with what it said about the line that failed.
    pub fn ip(&self, lines: &str) -> io::Result<()> {
        self.batch("ip", &["-batch", "-"], lines)
    }

    /// Like [`Namespace::ip`], with `-6`: `rule` and `route` are of IPv6.
    ///
    /// # Errors
    /// As [`Namespace::ip`].
    pub fn ip_v6(&self, lines: &str) -> io::Result<()> {
        self.batch("ip", &["-6", "-batch", "-"], lines)
    }

    /// Like [`Namespace::ip`], of `tc` commands.
    ///
    /// # Errors
    /// As [`Namespace::ip`].
    pub fn tc(&self, lines: &str) -> io::Result<()> {
        self.batch("tc", &["-batch", "-"], lines)
    }

    fn batch(&self, program: &str, arguments: &[&str], lines: &str) -> io::Result<()> {
        let mut child = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| explain(&format!("cannot start {program} (Debian: apt-get install iproute2)"), &error))?;
        let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(lines.as_bytes()));
        let output = child.wait_with_output()?;
        if output.status.success() {
            return written;
        }
        let said = String::from_utf8_lossy(&output.stderr);
        // The line is named: "Command failed -:3".
        let number = said.rsplit(":").next().and_then(|n| n.trim().parse::<usize>().ok());
        let line = number.and_then(|n| lines.lines().nth(n.saturating_sub(1))).unwrap_or(lines);
        Err(io::Error::other(format!("{program} {}: {}", line.trim(), said.lines().next().unwrap_or("failed"))))
    }

    /// Sets kernel parameters inside the namespace: pairs of a name below `/proc/sys` (`net/ipv4/ip_forward`) and a
    /// value.
    ///
    /// # Errors
    /// Names the parameter that could not be written.
    pub fn set_parameters(&self, parameters: &[(&str, &str)]) -> io::Result<()> {
        self.run(|| {
            for (name, value) in parameters {
                let path = format!("/proc/sys/{name}");
                fs::write(&path, value).map_err(|error| explain(&format!("cannot write {value} to {path}"), &error))?;
            }
            Ok(())
        })?
    }

    /// Reads a file whose content depends on the namespace, such as `/proc/thread-self/net/netstat`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_file(&self, path: &str) -> io::Result<String> {
        self.run(|| fs::read_to_string(path))?
    }

    /// What the kernel counted on the interface `name` so far.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn interface(&self, name: &str) -> io::Result<InterfaceCounters> {
        let table = self.read_file("/proc/thread-self/net/dev")?;
        parse_interface(&table, name)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no interface {name} in the namespace")))
    }

    /// The output of `ip` with `arguments` inside the namespace, for people to read.
    ///
    /// # Errors
    /// When `ip` cannot be started.
    pub fn show(&self, arguments: &[&str]) -> io::Result<String> {
        let output = self.command("ip").args(arguments).output()?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let _ = write!(text, "{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(text)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn parse_interface(table: &str, name: &str) -> Option<InterfaceCounters> {
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))?;
    let fields: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // Eight columns for receiving (bytes, packets, errs, drop, …), then eight for sending.
    Some(InterfaceCounters {
        rx_bytes: *fields.first()?,
        rx_packets: *fields.get(1)?,
        tx_bytes: *fields.get(8)?,
        tx_packets: *fields.get(9)?,
        tx_dropped: *fields.get(11)?,
    })
}

fn join<R>(thread: JoinHandle<R>) -> io::Result<R> {
    thread.join().map_err(|_| io::Error::other("a helper thread panicked"))
}

fn explain(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_counters_are_found_by_whole_name() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes packets\n wifi0x: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n \
                     wifi0: 1 2 3 4 5 6 7 8 11 12 13 14 15 16 17 18\n";
        let counters = parse_interface(table, "wifi0").unwrap();
        let expected = InterfaceCounters { rx_bytes: 1, rx_packets: 2, tx_bytes: 11, tx_packets: 12, tx_dropped: 14 };
        assert_eq!(counters, expected);
        assert_eq!(parse_interface(table, "lte0"), None);
    }
}
