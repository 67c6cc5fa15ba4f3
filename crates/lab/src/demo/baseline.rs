//! What plain TCP gets from each path alone, without a cut: kernel TCP over the same links, in namespaces of its own.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::options::DemoOptions;
use super::report::rounded;
use crate::kernel::{KernelClient, KernelServer, ServerConfig, Service, Transport};
use crate::scenario::{Owner, SERVER_V4, Scenario, client_v4};

/// Plain TCP on one path.
#[derive(Clone, Debug, Serialize)]
pub struct Baseline {
    /// The path.
    pub name: String,
    /// What the program received, in Mbit/s, from the connection's start to the end of the measurement.
    pub mbit: f64,
}

/// Measures all paths at the same time; they share nothing.
pub(super) fn measure(options: &DemoOptions) -> anyhow::Result<Vec<Baseline>> {
    let mut builder = Scenario::builder().client(Owner::Kernel).seed(options.seed);
    for path in &options.paths {
        builder = builder.path(path.clone());
    }
    let scenario = builder.build()?;
    let config = ServerConfig { transport: Transport::Tcp, port: 0, service: Service::Http, seed: options.seed };
    let server = KernelServer::start(scenario.server(), config)?;
    let results: Vec<io::Result<f64>> = thread::scope(|scope| {
        let one = |index| {
            let (scenario, remote) = (&scenario, server.at(SERVER_V4));
            scope.spawn(move || download(scenario, index, remote, options.baseline))
        };
        let all: Vec<_> = (0..options.paths.len()).map(one).collect();
        let joined = all.into_iter().map(thread::ScopedJoinHandle::join);
        joined.map(|result| result.unwrap_or_else(|_| Err(io::Error::other("a measurement panicked")))).collect()
    });
    let named = options.paths.iter().zip(results);
    named.map(|(path, mbit)| Ok(Baseline { name: path.name.clone(), mbit: rounded(mbit?) })).collect()
}

/// Downloads over one path for `time`; the goodput in Mbit/s.
fn download(scenario: &Scenario, index: usize, remote: SocketAddr, time: Duration) -> io::Result<f64> {
    let start = Instant::now();
    let local = Some((client_v4(index), 0).into());
    let client = KernelClient::connect(scenario.client(), Transport::Tcp, local, remote)?;
    // Shutting the stream down from outside is how an endless download ends.
    let stopper = client.stream().try_clone()?;
    let mut last = (0, start);
    let mut received = 0;
    let result = client.get(&format!("/bytes/{}", u64::MAX / 2), |bytes| {
        received += bytes.len() as u64;
        if start.elapsed() <= time {
            last = (received, Instant::now());
        } else {
            let _ = stopper.shutdown(std::net::Shutdown::Both);
        }
    });
    match (result, last) {
        (Err(error), (0, _)) => Err(error),
        (_, (bytes, end)) => Ok(bytes as f64 * 8.0 / 1e6 / (end - start).as_secs_f64()),
    }
}
