//! Who serves the file: the real kernel, or a polypath server where the kernel has no MPTCP.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::options::{DemoOptions, Peer, SERVER_PORT};
use crate::kernel::{KernelServer, ServerConfig, Service, Transport};
use crate::preflight::Machine;
use crate::scenario::{Owner, Scenario};

/// How long a polypath server may take to say that it listens.
const START: Duration = Duration::from_secs(10);

/// Who serves, once that is decided.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum ServerKind {
    Linux,
    Polypath,
}

impl ServerKind {
    /// Who it will be.
    pub(super) fn choose(options: &DemoOptions, machine: &Machine) -> anyhow::Result<Self> {
        let kind = Self::decide(options.peer, machine.has_mptcp(), !options.polypath_server.is_empty());
        match kind {
            Some(kind) => Ok(kind),
            None if options.peer == Peer::Polypath => bail!("no polypath server was given to serve the file"),
            None => bail!("{}", machine.without_mptcp()),
        }
    }

    /// `mptcp`: the kernel has it; `server`: a polypath server was given.
    const fn decide(peer: Peer, mptcp: bool, server: bool) -> Option<Self> {
        match peer {
            Peer::Auto | Peer::Linux if mptcp => Some(Self::Linux),
            Peer::Auto | Peer::Polypath if server => Some(Self::Polypath),
            _ => None,
        }
    }

    /// Who has the server's addresses.
    pub(super) const fn owner(self) -> Owner {
        match self {
            Self::Linux => Owner::Kernel,
            Self::Polypath => Owner::Stack,
        }
    }

    /// For machines.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Polypath => "polypath",
        }
    }

    /// For people.
    pub(super) fn describe(self, machine: &Machine) -> String {
        match self {
            Self::Linux => format!("Linux {} (kernel MPTCP)", machine.kernel()),
            Self::Polypath if machine.has_mptcp() => "polypath".into(),
            Self::Polypath => format!("polypath (this kernel, {}, has no MPTCP)", machine.kernel()),
        }
    }
}

/// A running server; it ends when this is dropped.
pub(super) enum Server {
    Kernel { _server: KernelServer },
    Polypath(Child),
}

impl Server {
    pub(super) fn start(scenario: &Scenario, options: &DemoOptions, kind: ServerKind) -> anyhow::Result<Self> {
        if kind == ServerKind::Polypath {
            return Self::start_polypath(scenario, options);
        }
        let config =
            ServerConfig { transport: Transport::Mptcp, port: SERVER_PORT, service: Service::Http, seed: options.seed };
        let server = KernelServer::start(scenario.server(), config).context("starting the server")?;
        Ok(Self::Kernel { _server: server })
    }

    fn start_polypath(scenario: &Scenario, options: &DemoOptions) -> anyhow::Result<Self> {
        let seed: OsString = options.seed.to_string().into();
        let word = |word: &OsString| {
            if word == "{seed}" { seed.clone() } else { word.clone() }
        };
        let line: Vec<OsString> = options.polypath_server.iter().map(word).collect();
        let (executable, arguments) = line.split_first().context("no polypath server was given")?;
        let mut child = scenario
            .server()
            .command(executable)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", executable.to_string_lossy()))?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let server = Self::Polypath(child);
        let (sender, ready) = mpsc::channel();
        // Reads on to the end, so that the server never waits for its output to be read.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        ready.recv_timeout(START).context("the polypath server did not say that it listens")?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Self::Polypath(child) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polypath_takes_the_kernels_place_only_where_it_must_or_is_told_to() {
        use ServerKind::{Linux, Polypath};
        assert_eq!(ServerKind::decide(Peer::Auto, true, true), Some(Linux));
        assert_eq!(ServerKind::decide(Peer::Auto, false, true), Some(Polypath));
        assert_eq!(ServerKind::decide(Peer::Auto, false, false), None);
        assert_eq!(ServerKind::decide(Peer::Linux, true, false), Some(Linux));
        assert_eq!(ServerKind::decide(Peer::Linux, false, true), None);
        assert_eq!(ServerKind::decide(Peer::Polypath, true, true), Some(Polypath));
        assert_eq!(ServerKind::decide(Peer::Polypath, true, false), None);
    }
}
