//! One go of an entry: what it has at hand to start programs at both ends and to look at what arrived.

use crate::entries::Role;
use crate::packages;
use crate::process::{Process, until};
use crate::programs::Workshop;
use crate::stage::{HOST_V4, PEER_V4, Stage};
use anyhow::{Context as _, bail, ensure};
use polypath_lab::Namespace;
use polypath_lab::kernel::{KernelClient, KernelServer, ServerConfig, Service, Transfer, Transport};
use polypath_lab::payload::{Hasher, Payload};
use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What the zoo's files and the lab's servers have in them.
const SEED: u64 = 7;
/// Nothing that is tried takes longer, on however busy a machine.
const MOST: Duration = Duration::from_secs(180);
/// The same for a server's start.
const START: Duration = Duration::from_secs(60);

/// An entry at work. Command lines are split at spaces, and nothing in them is quoted: files are named from the
/// folder of the act, which is where everything runs.
pub(crate) struct Act<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) workshop: &'a Workshop,
    role: Role,
    polypath: &'a Path,
    folder: PathBuf,
    /// Whether a path is cut in mid-work, which has to be long enough for that.
    cut: bool,
    started: Cell<usize>,
    servers: RefCell<Vec<Process>>,
}

impl<'a> Act<'a> {
    pub(crate) fn new(
        stage: &'a Stage,
        workshop: &'a Workshop,
        role: Role,
        polypath: &'a Path,
        folder: PathBuf,
        cut: bool,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self { stage, workshop, role, polypath, folder, cut, started: Cell::new(0), servers: RefCell::default() })
    }

    /// Which end is under `polypath run`.
    pub(crate) const fn role(&self) -> Role {
        self.role
    }

    /// Bytes of the main transfer: more than both paths carry until the one that was cut is back.
    pub(crate) const fn bytes(&self) -> u64 {
        if self.cut { 45_000_000 } else { 12_000_000 }
    }

    /// Bytes of what is tried besides.
    pub(crate) const fn little(&self) -> u64 {
        self.bytes() / 4
    }

    /// Seconds, for a program that works by the clock.
    pub(crate) const fn seconds(&self) -> u64 {
        if self.cut { 7 } else { 2 }
    }

    // Files.

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file of payload, with the folders above it.
    pub(crate) fn payload(&self, name: &str, bytes: u64) -> anyhow::Result<()> {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
        let mut file = BufWriter::new(File::create(path)?);
        Payload::new(SEED).write_to(&mut file, bytes)?;
        Ok(file.flush()?)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        fs::write(self.path(name), text).with_context(|| format!("writing {name}"))
    }

    pub(crate) fn read(&self, name: &str) -> anyhow::Result<String> {
        fs::read_to_string(self.path(name)).with_context(|| format!("reading {name}"))
    }

    /// The SHA-256 of this much payload, in hexadecimal.
    pub(crate) fn digest(bytes: u64) -> String {
        Payload::sha256(SEED, bytes).to_string()
    }

    /// A file has to be this much payload.
    pub(crate) fn verify(&self, name: &str, bytes: u64) -> anyhow::Result<()> {
        let mut hasher = Hasher::default();
        hasher.update(&fs::read(self.path(name)).with_context(|| format!("reading {name}"))?);
        ensure!(hasher.len() == bytes, "{name} has {} bytes instead of {bytes}", hasher.len());
        ensure!(hasher.finish() == Payload::sha256(SEED, bytes), "{name} has other content than was sent");
        Ok(())
    }

    // Programs at both ends.

    /// Starts the server, and waits until it can be connected to. It is stopped at the end of the act.
    pub(crate) fn server(&self, line: &str, port: u16) -> anyhow::Result<()> {
        let server = match self.role {
            Role::Client => {
                let mut server = self.start(of_kernel(self.stage.peer(), Transport::Mptcp, line)?)?;
                self.until_it_listens(&mut server, port)?;
                server
            }
            Role::Server => {
                let mut server = self.start(self.under_polypath(line)?)?;
                self.until_it_accepts(&mut server, port)?;
                server
            }
        };
        self.servers.borrow_mut().push(server);
        Ok(())
    }

    /// Starts a server of the peer's that opens Multipath TCP sockets by itself.
    pub(crate) fn peer_server(&self, line: &str, port: u16) -> anyhow::Result<()> {
        let mut server = self.start(of_kernel(self.stage.peer(), Transport::Tcp, line)?)?;
        self.until_it_listens(&mut server, port)?;
        self.servers.borrow_mut().push(server);
        Ok(())
    }

    /// Starts one of the lab's own servers with kernel MPTCP sockets.
    pub(crate) fn peer_service(&self, service: Service) -> anyhow::Result<KernelServer> {
        let config = ServerConfig { transport: Transport::Mptcp, port: 0, service, seed: SEED };
        KernelServer::start(self.stage.peer(), config).context("a server of the peer's")
    }

    /// Runs the client to its end, which has to be a good one, and returns what it printed.
    pub(crate) fn client(&self, line: &str) -> anyhow::Result<String> {
        self.to_the_end(self.of_client(Transport::Mptcp, line)?, None, None)
    }

    /// The same with files as its standard input and output.
    pub(crate) fn client_with(&self, line: &str, input: Option<&str>, output: &str) -> anyhow::Result<()> {
        self.to_the_end(self.of_client(Transport::Mptcp, line)?, input, Some(output)).map(drop)
    }

    /// The same once more, in plain TCP if the kernel is the client.
    pub(crate) fn plain_client(&self, line: &str) -> anyhow::Result<String> {
        self.to_the_end(self.of_client(Transport::Tcp, line)?, None, None)
    }

    /// A kernel client's connection to a server that sends back what it reads: this much payload, both ways at once.
    pub(crate) fn echo(&self, how: Transport, port: u16, bytes: u64) -> anyhow::Result<()> {
        let remote = SocketAddr::new(self.address(), port);
        let transfer =
            self.stage.peer().run(|| KernelClient::connect_here(how, None, remote)?.exchange(SEED, bytes))?;
        let transfer = transfer.with_context(|| format!("a {how:?} client of the kernel's"))?;
        check_transfer(&transfer, bytes)
    }

    /// Where the server is, for the client.
    pub(crate) const fn address(&self) -> IpAddr {
        match self.role {
            Role::Client => IpAddr::V4(PEER_V4),
            Role::Server => IpAddr::V4(HOST_V4),
        }
    }

    /// Runs a program that has nothing to do with the network.
    pub(crate) fn aside(&self, words: &[&str]) -> anyhow::Result<String> {
        let (program, arguments) = words.split_first().context("an empty command")?;
        let mut command = Command::new(packages::find(program).unwrap_or_else(|| program.into()));
        command.args(arguments);
        self.to_the_end(command, None, None)
    }

    /// Stops the servers.
    pub(crate) fn finish(&self) -> anyhow::Result<()> {
        let servers = self.servers.take();
        servers.into_iter().rev().map(|mut server| server.stop()).fold(Ok(()), anyhow::Result::and)
    }

    fn of_client(&self, how: Transport, line: &str) -> anyhow::Result<Command> {
        match self.role {
            Role::Client => self.under_polypath(line),
            Role::Server => of_kernel(self.stage.peer(), how, line),
        }
    }

    fn under_polypath(&self, line: &str) -> anyhow::Result<Command> {
        let mut command = self.stage.host().command(self.polypath);
        let events = format!("events-{}", self.started.get());
        command.args(["run", "--config", "none", "--events", &events, "--"]).args(words(line)?);
        Ok(command)
    }

    fn until_it_listens(&self, server: &mut Process, port: u16) -> anyhow::Result<()> {
        until(&format!("nobody listens on port {port}"), START, || {
            server.still_runs()?;
            listens(self.stage.peer(), port)
        })
    }

    fn until_it_accepts(&self, server: &mut Process, port: u16) -> anyhow::Result<()> {
        let address = SocketAddr::new(self.address(), port);
        until(&format!("{address} accepts no connection"), START, || {
            server.still_runs()?;
            let attempt = || TcpStream::connect_timeout(&address, Duration::from_secs(1));
            Ok(self.stage.peer().run(attempt)?.is_ok())
        })
    }

    fn to_the_end(&self, mut command: Command, input: Option<&str>, output: Option<&str>) -> anyhow::Result<String> {
        let number = self.prepare(&mut command);
        if let Some(name) = input {
            command.stdin(File::open(self.path(name)).with_context(|| format!("reading {name}"))?);
        }
        let printed = self.path(output.unwrap_or(&format!("output-{number}")));
        Process::start(command, &self.path(&format!("log-{number}")), Some(&printed))?.finish(MOST)?;
        // What was to go to a file is not text.
        let text = if output.is_some() { Vec::new() } else { fs::read(printed)? };
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn start(&self, mut command: Command) -> anyhow::Result<Process> {
        let number = self.prepare(&mut command);
        Process::start(command, &self.path(&format!("log-{number}")), None)
    }

    /// What all have in common; the number of this start.
    fn prepare(&self, command: &mut Command) -> usize {
        command.stdin(Stdio::null()).current_dir(&self.folder);
        // Nobody's own settings, and no words in other languages.
        command.env("HOME", &self.folder).env("LC_ALL", "C").env_remove("XDG_CONFIG_HOME");
        self.started.replace(self.started.get() + 1)
    }
}

/// A program with the sockets of the kernel: as it is, or with Multipath TCP in the place of TCP.
fn of_kernel(namespace: &Namespace, how: Transport, line: &str) -> anyhow::Result<Command> {
    let mut command = match how {
        Transport::Tcp => namespace.command("env"),
        Transport::Mptcp => {
            let mut command = namespace.command(packages::find("mptcpize").context("mptcpize is missing")?);
            command.arg("run");
            command
        }
    };
    command.args(words(line)?);
    Ok(command)
}

/// The words of a line, the first of which is a program that is looked for.
fn words(line: &str) -> anyhow::Result<Vec<String>> {
    let mut words: Vec<String> = line.split_whitespace().map(String::from).collect();
    let Some(program) = words.first_mut() else { bail!("an empty command") };
    if let Some(path) = packages::find(program) {
        *program = path.to_string_lossy().into_owned();
    }
    Ok(words)
}

/// Whether a kernel socket listens on this port, without connecting to it.
fn listens(namespace: &Namespace, port: u16) -> anyhow::Result<bool> {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    for table in ["tcp", "tcp6"] {
        let table = namespace.read_file(&format!("/proc/thread-self/net/{table}"))?;
        let listening = |line: &str| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next().is_some_and(|local| local.ends_with(&port)) && fields.nth(1) == Some(LISTEN)
        };
        if table.lines().any(listening) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What came over a connection has to be this much payload.
pub(crate) fn check_transfer(transfer: &Transfer, bytes: u64) -> anyhow::Result<()> {
    ensure!(transfer.received == bytes, "{} bytes arrived instead of {bytes}", transfer.received);
    ensure!(transfer.received_sha256 == Payload::sha256(SEED, bytes), "other content arrived than was sent");
    Ok(())
}
