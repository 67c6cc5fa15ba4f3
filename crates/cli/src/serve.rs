//! `polypath serve`: test data over HTTP, on a Multipath TCP listener.

use crate::host::HostArgs;
use crate::instruments::InstrumentArgs;
use anyhow::Context as _;
use polypath_config::Rules;
use polypath_net::{Host, ListenOptions, MptcpListener, MptcpStream};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

/// How long connections may take to deliver what was written, once a signal has come.
const LINGER: Duration = Duration::from_secs(5);

/// Serve test data over HTTP: `GET /bytes/N` answers with N bytes that the seed decides.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    #[command(flatten)]
    instruments: InstrumentArgs,
    /// The address to listen on: one of the host's, or all of them.
    #[arg(long, value_name = "ADDRESS", default_value = "::")]
    listen: IpAddr,
    /// The port.
    #[arg(long, default_value_t = 80)]
    port: u16,
    /// Decides the content.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Blocking reads and writes on a stream, for a thread of its own.
struct Blocking {
    stream: MptcpStream,
    runtime: Handle,
}

impl Read for Blocking {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.runtime.block_on(self.stream.read(buf))
    }
}

impl Write for Blocking {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.runtime.block_on(self.stream.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.runtime.block_on(self.stream.flush())
    }
}

pub(crate) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let result = runtime.block_on(async {
        // Before anybody can know of us, so that no signal comes too early.
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let host = args.host.start()?;
        let instruments = args.instruments.start(&host, &format!("serve --port {}", args.port))?;
        let rules = args.host.rules()?;
        let served = tokio::select! {
            served = serve(&host, args, &rules) => served,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        };
        // Connections that are left are reset: it is data for tests.
        let _ = host.shutdown(LINGER).await;
        instruments.finish()?;
        served
    });
    // Threads that serve notice that the host is gone, in their own time.
    runtime.shutdown_background();
    result.map(|()| ExitCode::SUCCESS)
}

/// Accepts connections for as long as it can.
async fn serve(host: &Host, args: &Args, rules: &Arc<Rules>) -> anyhow::Result<()> {
    let policy = (!rules.is_empty()).then(|| rules.accepting(None));
    let options = ListenOptions { policy, ..ListenOptions::default() };
    let local = SocketAddr::new(args.listen, args.port);
    let listener = MptcpListener::bind_with(host, local, options).context("listening")?;
    println!("listening on port {}", args.port);
    loop {
        let (stream, peer) = listener.accept().await.context("accepting a connection")?;
        let seed = args.seed;
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            let mut stream = Blocking { stream, runtime };
            if let Err(error) = polypath_lab::kernel::serve_http(&mut stream, seed) {
                eprintln!("polypath serve: {peer}: {error}");
            }
            let _ = stream.runtime.block_on(stream.stream.shutdown());
        });
    }
}
