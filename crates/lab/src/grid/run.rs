//! One contender in one experiment, once: the hosts, both ends, the outage, and what came of it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use polypath_sim::grid::scenario::Load;
use tokio::sync::oneshot;

use super::end::{Client, Play, Server};
use super::job::Job;
use super::network::{self, Case};
use super::options::GridOptions;
use super::record::Kept;
use super::watch;
use crate::kernel::MptcpCounters;

/// Requests must all be answered within this.
const ANSWERS: Duration = Duration::from_secs(900);

/// Runs a case.
///
/// # Errors
/// When hosts cannot be made, an end fails, or a byte is not as it was sent.
pub(super) fn run(case: &Case<'_>, options: &GridOptions) -> anyhow::Result<Kept> {
    let scenario = network::build(case)?;
    let before = MptcpCounters::read(scenario.server())?;
    let server = Server::listen(case, &scenario, options).context("the server")?;
    let client = Client::prepare(case, &scenario, options).context("the client")?;
    let host = client.host();
    let duration = match case.row.load {
        Load::Upload(time) | Load::Download(time) => Some(time),
        Load::Requests { .. } => None,
    };

    let start = Instant::now();
    let until = start + duration.unwrap_or(ANSWERS);
    let (client_job, server_job) = Job::pair(case.row.load);
    let (client_done, client_waits) = oneshot::channel();
    let (server_done, server_waits) = oneshot::channel();
    let (seed, window) = (case.seed, case.row.kernel_buffer.is_some());
    let client_play = Play { job: client_job, seed, start, until, window, done: client_done, other: server_waits };
    let server_play = Play { job: server_job, seed, start, until, window, done: server_done, other: client_waits };
    let (client, server, samples) = thread::scope(|scope| {
        let server = scope.spawn(|| server.run(server_play));
        let client = scope.spawn(|| client.run(client_play));
        let over = || client.is_finished() || server.is_finished();
        let samples = watch::watch(case, &scenario, host.as_ref(), start, over);
        let client = client.join().map_err(|_| anyhow!("the client panicked"));
        let server = server.join().map_err(|_| anyhow!("the server panicked"));
        anyhow::Ok((client?.context("the client")?, server?.context("the server")?, samples?))
    })?;
    drop(host);
    let end = duration.unwrap_or_else(|| start.elapsed());
    ensure!(!client.seen.corrupt && !server.seen.corrupt, "data arrived that was not sent");

    let moved = MptcpCounters::read(scenario.server())?.since(&before);
    let mut kept = Kept::new(case, (&client, &server), &samples, &moved, end);
    for path in 0..case.row.paths.len() {
        kept.device_drops += scenario.device_drops(path)?;
    }
    kept.late_ms = scenario.lateness().max.as_millis() as u64;
    Ok(kept)
}
