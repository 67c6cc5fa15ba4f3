//! One end of a run: this program, started again inside a namespace, told what to do by its parent.
//!
//! It prints lines of JSON and answers words on its standard input: `go` (a client begins), `mark` (how things stand),
//! `joined` (how many subflows there are beyond each connection's first). The end of its input is its own end.

mod job;
mod network;
mod pattern;
mod tally;

use std::io::{self, BufRead as _, Write as _};
use std::net::Ipv4Addr;
use std::process;
use std::sync::Arc;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

pub(crate) use job::{AT_ONCE, PORTS, READ, WRITE};
pub(crate) use tally::Mark;

use crate::case::Load;
use network::Network;
use tally::{Device, Tally};

/// Descriptors that an end has open besides its connections.
const DESCRIPTORS: u64 = 100;

/// Which end.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Side {
    Client,
    Server,
}

/// By which means.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Means {
    KernelTcp,
    KernelMptcp,
    Polypath { addresses: Vec<Ipv4Addr>, mtu: u32, offload: bool, in_runtime: bool, pieces: bool },
}

/// All that an end has to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) side: Side,
    pub(crate) means: Means,
    pub(crate) load: Load,
}

/// What it says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    /// A server listens; a client could begin.
    Ready,
    /// A client has all the connections of its load.
    Connected,
    Mark(Mark),
    Joined(u64),
    Failed(String),
}

/// Plays the part that `json` describes until the standard input ends.
///
/// # Errors
/// When the part is not understood, or the end cannot be set up. What fails later is told on the standard output.
pub fn main(json: &str) -> anyhow::Result<()> {
    let part: Part = serde_json::from_str(json).context("the part of an end")?;
    if !matches!(part.means, Means::Polypath { .. }) {
        allow_descriptors(part.load)?;
    }
    let tally = Arc::new(Tally::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let network = {
        // A polypath host and kernel sockets need the runtime, or do no harm in it.
        let _inside = runtime.enter();
        Arc::new(Network::start(&part)?)
    };
    let (go, begin) = tokio::sync::oneshot::channel();
    std::thread::spawn({
        let (tally, network) = (Arc::clone(&tally), Arc::clone(&network));
        move || obey(&tally, &network, go)
    });
    let playing = async {
        match part.side {
            Side::Server => job::serve(&network, part.load, &tally).await,
            Side::Client => {
                say(&Said::Ready);
                if begin.await.is_ok() { job::request(&network, part.load, &tally).await } else { Ok(()) }
            }
        }
    };
    if let Err(error) = runtime.block_on(playing) {
        say(&Said::Failed(error.to_string()));
    }
    // What has been said is to be read, and marks to be answered, until the parent has done with us.
    loop {
        std::thread::park();
    }
}

/// How many connections of the kernel a process may hold: each is a descriptor.
pub(crate) fn most_kernel_connections() -> usize {
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX).saturating_sub(DESCRIPTORS);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// At first fewer are allowed than may be.
fn allow_descriptors(load: Load) -> anyhow::Result<()> {
    let Load::Idle { connections } = load else { return Ok(()) };
    let wanted = connections as u64 + DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit })
            .with_context(|| format!("{wanted} open files (ulimit -Hn)"))?;
    }
    Ok(())
}

/// Answers the parent.
fn obey(tally: &Tally, network: &Network, go: tokio::sync::oneshot::Sender<()>) {
    let mut go = Some(go);
    for word in io::stdin().lock().lines().map_while(Result::ok) {
        match word.as_str() {
            "go" => drop(go.take().map(|go| go.send(()))),
            "mark" => say(&Said::Mark(Mark { device: network.device(), ..tally.mark() })),
            "joined" => say(&Said::Joined(network.joined())),
            _ => say(&Said::Failed(format!("what is '{word}'?"))),
        }
    }
    // At once: connections need no orderly end, the namespace goes with us.
    process::exit(0);
}

fn say(what: &Said) {
    let line = serde_json::to_string(what).unwrap_or_default();
    let mut out = io::stdout().lock();
    // Without a parent there is nobody to complain to; its end of our input tells.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
