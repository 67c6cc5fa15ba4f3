//! What the tests share: a network namespace, the kernel's TCP as the network, programs to run.

#![expect(dead_code, reason = "each test file uses its part of this")]

pub(crate) mod obedient;
pub(crate) mod peers;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use polypath_run::{Listen, NetListener, Network, Options, Runner};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The address that the tests' servers have, and that is not a loopback address.
pub(crate) const HOST: &str = "10.77.0.1";
/// A neighbour whose packets lead nowhere: nobody answers.
pub(crate) const SILENT: &str = "10.77.0.99";

/// The kernel's TCP, counting what goes through.
#[derive(Clone, Default)]
pub(crate) struct KernelTcp(Arc<AtomicUsize>);

impl KernelTcp {
    /// How many connections have been asked for.
    pub(crate) fn connects(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// How far below a program's port the network has it: the kernel's own listens there as well.
pub(crate) const BELOW: u16 = 20_000;

/// The kernel's TCP as a network that connections come in over: at [`HOST`], [`BELOW`] the program's port.
pub(crate) struct KernelListener(TcpListener);

impl NetListener for KernelListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }
}

impl Network for KernelTcp {
    type Stream = TcpStream;
    type Listener = KernelListener;

    fn listen(&self, local: SocketAddr, with: Listen) -> io::Result<Option<KernelListener>> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(HOST.parse().unwrap(), local.port() - BELOW))?;
        Ok(Some(KernelListener(socket.listen(u32::try_from(with.backlog).unwrap())?)))
    }

    async fn connect(&self, remote: SocketAddr, local: Option<SocketAddr>) -> io::Result<TcpStream> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(local) = local {
            socket.set_reuseaddr(true)?;
            socket.bind(local)?;
        }
        socket.connect(remote).await
    }
}

/// One test at a time: a child that another test forks holds copies of all our descriptors until
/// it execs, and signals go to the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// Waits for the other tests of this process.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `test`, alone, in a thread with a network namespace of its own: loopback, and an interface
/// with [`HOST`] behind which there is nobody. Threads started inside belong to it, too.
pub(crate) fn isolated<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    let _alone = alone();
    thread::scope(|scope| {
        let handle = scope.spawn(|| {
            // SAFETY: no pointers; it concerns this thread alone.
            let left = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(left, 0, "tests run as root: {}", io::Error::last_os_error());
            for arguments in [
                "link set lo up",
                "tuntap add dev d0 mode tun",
                "addr add 10.77.0.1/24 dev d0",
                "addr add fd77::1/64 dev d0 nodad",
                "link set d0 up",
            ] {
                let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
                assert!(status.success(), "ip {arguments}");
            }
            // What the kernel chooses is never what the network has for another.
            std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "41000 60999").unwrap();
            test()
        });
        handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs `command` under the supervisor, and returns what it printed and its status.
pub(crate) fn run(command: Command) -> Output {
    run_counting(command).0
}

/// The same, giving the program `held` as its standard input: a pipe that closes when it exits.
pub(crate) fn run_holding(command: Command, held: Stdio) -> Output {
    start(command, held).0
}

/// The same, with the number of connections that went into the network.
pub(crate) fn run_counting(command: Command) -> (Output, usize) {
    start(command, Stdio::null())
}

fn start(mut command: Command, input: Stdio) -> (Output, usize) {
    let network = KernelTcp::default();
    let (mut out, their_out) = io::pipe().unwrap();
    let (mut err, their_err) = io::pipe().unwrap();
    command.stdin(input).stdout(their_out).stderr(their_err);
    let out = thread::spawn(move || {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut out, &mut bytes).unwrap();
        bytes
    });
    let err = thread::spawn(move || {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut err, &mut bytes).unwrap();
        bytes
    });
    let status = runtime()
        .block_on(Runner::new(command, network.clone()).options(Options::default().forward_signals(false)).run());
    let status = status.unwrap();
    let output = Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() };
    (output, network.connects())
}

/// A runtime whose threads belong to the caller's namespace.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A Python program with arguments.
pub(crate) fn python(code: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(python_path());
    command.args(["-c", code]).args(arguments);
    command
}

/// The interpreter itself: what is found in PATH may be a script that starts others.
fn python_path() -> &'static str {
    for path in ["/usr/bin/python3", "/usr/local/bin/python3"] {
        if std::path::Path::new(path).exists() {
            return path;
        }
    }
    "python3"
}

/// Standard output, after checking that the program succeeded.
pub(crate) fn stdout(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{}\nstdout: {stdout}\nstderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

/// Runs the same program on kernel sockets and under the supervisor, and checks that both print
/// the same. Returns what they printed.
pub(crate) fn same_as_kernel(command: impl Fn() -> Command) -> String {
    let kernel = stdout(&command().stdin(Stdio::null()).output().unwrap());
    let (output, connects) = run_counting(command());
    assert_eq!(stdout(&output), kernel, "under `run` (left) and on the kernel (right)");
    assert!(connects > 0, "nothing went through the network");
    kernel
}

/// The same for a Python program whose connections come in over the network: it adds its first argument to a port where it
/// listens to get the one to connect to.
pub(crate) fn serves_as_kernel(code: &str) -> String {
    let kernel = stdout(&python(code, &["0"]).stdin(Stdio::null()).output().unwrap());
    let (output, connects) = run_counting(python(code, &[&format!("-{BELOW}")]));
    assert_eq!(stdout(&output), kernel, "under `run` (left) and on the kernel (right)");
    assert!(connects > 0, "nothing went through the network");
    kernel
}

/// Compiles a C program, statically linked.
pub(crate) fn compile_static(name: &str, code: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (source, binary) = (folder.join(format!("{name}.c")), folder.join(name));
    std::fs::File::create(&source).unwrap().write_all(code.as_bytes()).unwrap();
    let status = Command::new("gcc")
        .args(["-static", "-O1", "-pthread", "-Wall", "-Werror", "-o"])
        .args([&binary, &source])
        .status()
        .unwrap();
    assert!(status.success(), "gcc needs the static C library");
    binary
}
