//! The ends of a connection: kernel sockets, or polypath's hosts in the same namespaces.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use polypath_net::{Host, MptcpListener, MptcpStream};
use polypath_proto::congestion::CongestionKind;
use polypath_proto::{Config, ConnectOptions, MultipathState};
use polypath_sim::grid::scenario::Load;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::contender::Contender;
use super::job::{self, Job, Seen};
use super::network::Case;
use super::options::GridOptions;
use crate::kernel::{self, KernelClient, SentBytes, Transport, receive_window, sent_bytes};
use crate::scenario::{SERVER_V4, Scenario, client_v4};

const PORT: u16 = 5001;
/// How long a connection may take to be opened, losses included.
const OPENING: Duration = Duration::from_secs(20);
/// How often the window is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What an end did and saw.
#[derive(Clone, Default, Debug)]
pub(super) struct Account {
    pub(super) seen: Seen,
    /// What it sent in Multipath TCP; none where nobody counts it.
    pub(super) sent: Option<SentBytes>,
    /// The largest window it advertised, in bytes, where it is the kernel.
    pub(super) window: Option<u32>,
    /// Whether polypath's connection was Multipath TCP in the end.
    pub(super) multipath: Option<bool>,
}

/// Who waits for a connection.
pub(super) enum Server {
    Kernel(std::net::TcpListener),
    Polypath(MptcpListener, Host),
}

impl Server {
    pub(super) fn listen(case: &Case<'_>, scenario: &Scenario, options: &GridOptions) -> anyhow::Result<Self> {
        if case.polypath_serves() {
            let addresses = [(SERVER_V4, "server", false)];
            let host = start_host(scenario.server(), &addresses, config(case, options)?)?;
            let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
            return Ok(Self::Polypath(MptcpListener::bind_with_backlog(&host, any, 8)?, host));
        }
        let listener = kernel::listen(scenario.server(), transport(case.contender), PORT)?;
        listener.set_nonblocking(true)?;
        Ok(Self::Kernel(listener))
    }

    /// Takes one connection and plays `job` over it. It listens to the end: Linux resets a join once the listening
    /// socket is closed.
    pub(super) fn run(self, play: Play) -> io::Result<Account> {
        runtime()?.block_on(async {
            match self {
                Self::Kernel(listener) => {
                    let listener = TcpListener::from_std(listener)?;
                    let (stream, _) = soon(listener.accept()).await?;
                    play.over_kernel(stream).await
                }
                Self::Polypath(listener, _host) => {
                    let (stream, _) = soon(listener.accept()).await?;
                    play.over_polypath(stream).await
                }
            }
        })
    }
}

/// Who connects.
pub(super) enum Client<'a> {
    Kernel(&'a Scenario, Transport, SocketAddr),
    Polypath(Host, ConnectOptions),
}

impl<'a> Client<'a> {
    pub(super) fn prepare(case: &Case<'_>, scenario: &'a Scenario, options: &GridOptions) -> anyhow::Result<Self> {
        let local = SocketAddr::from((client_v4(case.contender.single_path().unwrap_or(0)), 0));
        if case.contender.is_kernel() {
            return Ok(Self::Kernel(scenario, transport(case.contender), local));
        }
        let address = |path: usize| (client_v4(path), case.row.paths[path].name, case.row.paths[path].backup);
        let addresses: Vec<_> = case.paths().into_iter().map(address).collect();
        let host = start_host(scenario.client(), &addresses, config(case, options)?)?;
        let no_multipath = case.contender.single_path().is_some();
        Ok(Self::Polypath(host, ConnectOptions { local: Some(local), no_multipath, ..ConnectOptions::default() }))
    }

    /// polypath's host, if it is one.
    pub(super) fn host(&self) -> Option<Host> {
        match self {
            Self::Kernel(..) => None,
            Self::Polypath(host, _) => Some(host.clone()),
        }
    }

    /// Connects and plays `job`.
    pub(super) fn run(self, play: Play) -> io::Result<Account> {
        let remote = SocketAddr::from((SERVER_V4, PORT));
        runtime()?.block_on(async {
            match self {
                Self::Kernel(scenario, transport, local) => {
                    let client = KernelClient::connect(scenario.client(), transport, Some(local), remote)?;
                    let stream = client.into_stream();
                    stream.set_nonblocking(true)?;
                    play.over_kernel(TcpStream::from_std(stream)?).await
                }
                Self::Polypath(host, options) => {
                    let stream = soon(MptcpStream::connect_with(&host, remote, options)).await?;
                    play.over_polypath(stream).await
                }
            }
        })
    }
}

/// What an end has to do, and its tie to the other one: each keeps its connection until both are done.
pub(super) struct Play {
    pub(super) job: Job,
    pub(super) seed: u64,
    pub(super) start: Instant,
    pub(super) until: Instant,
    /// Whether the window that a kernel advertises is looked at.
    pub(super) window: bool,
    pub(super) done: oneshot::Sender<()>,
    pub(super) other: oneshot::Receiver<()>,
}

impl Play {
    async fn over_kernel(self, mut stream: TcpStream) -> io::Result<Account> {
        if matches!(self.job, Job::Request { .. } | Job::Answer { .. }) {
            stream.set_nodelay(true)?;
        }
        let mut window = None;
        let socket = stream.as_fd().try_clone_to_owned()?;
        let watching = async {
            if !self.window {
                std::future::pending::<()>().await;
            }
            loop {
                window = window.max(receive_window(socket.as_fd()).ok());
                tokio::time::sleep(LOOK).await;
            }
        };
        let seen = tokio::select! {
            seen = job::play(self.job, &mut stream, self.seed, self.start, self.until) => seen?,
            () = watching => Seen::default(),
        };
        let sent = sent_bytes(stream.as_fd()).ok();
        self.part().await;
        Ok(Account { seen, sent, window, ..Account::default() })
    }

    async fn over_polypath(self, mut stream: MptcpStream) -> io::Result<Account> {
        let seen = job::play(self.job, &mut stream, self.seed, self.start, self.until).await?;
        let info = stream.info().ok();
        let multipath = info.as_ref().map(|info| info.multipath == MultipathState::Active);
        let sent = info.map(|info| SentBytes { sent: info.bytes_sent, again: info.bytes_reinjected });
        self.part().await;
        let _ = stream.abort();
        Ok(Account { seen, sent, multipath, window: None })
    }

    /// Says that this end is done and waits for the other one, however that ends.
    async fn part(self) {
        let _ = self.done.send(());
        let _ = self.other.await;
    }
}

fn transport(contender: Contender) -> Transport {
    if contender.single_path().is_some() { Transport::Tcp } else { Transport::Mptcp }
}

/// polypath as a case has it: one configuration for all rows, but for what a row names.
fn config(case: &Case<'_>, options: &GridOptions) -> anyhow::Result<Config> {
    let mut config = Config { nodelay: matches!(case.row.load, Load::Requests { .. }), ..Config::default() };
    if let Some(name) = case.congestion.or(options.congestion.as_deref()) {
        config.congestion = name.parse::<CongestionKind>().map_err(anyhow::Error::msg)?;
    }
    if let Some(name) = &options.scheduler {
        config.scheduler = name.parse().map_err(anyhow::Error::msg)?;
    }
    if let Some(bytes) = case.row.kernel_buffer {
        config.send_buffer_max = bytes as usize;
    }
    config.multipath = case.contender.single_path().is_none();
    Ok(config)
}

fn start_host(
    namespace: &crate::Namespace,
    addresses: &[(Ipv4Addr, &str, bool)],
    config: Config,
) -> anyhow::Result<Host> {
    let start = || {
        let builder = Host::builder().tun("pp0").config(config);
        let with = |builder: polypath_net::HostBuilder, &(address, name, backup): &(Ipv4Addr, &str, bool)| {
            builder.address(address.into(), Some(name), backup)
        };
        addresses.iter().fold(builder, with).start()
    };
    Ok(namespace.run(start)??)
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn soon<T>(opening: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "no connection came about"));
    tokio::time::timeout(OPENING, opening).await.unwrap_or_else(late)
}
