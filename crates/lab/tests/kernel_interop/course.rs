//! The course of one cell: both ends, and what is done to them in mid-transfer.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use polypath_lab::kernel::MptcpCounters;
use polypath_lab::tshark;
use polypath_net::Host;
use polypath_proto::{ConnectionInfo, FallbackReason, MultipathState, State};

use crate::cell::{Backup, Cell, Event, Fallback};
use crate::kernel_end::{self, Opening};
use crate::network::{self, Network};
use crate::script::{self, PATIENCE, Signals, Stage};
use crate::{expect, polypath_end};

/// How often a condition is looked at that tells nobody when it changes.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What came of a cell.
pub(crate) struct Outcome {
    /// The kernel's counters that moved.
    pub(crate) moved: MptcpCounters,
    /// What was not as it should be.
    pub(crate) wrong: Vec<String>,
    pub(crate) took: Duration,
}

/// Runs a cell; its capture goes to `file`.
pub(crate) fn run(cell: &Cell, file: &Path) -> Outcome {
    let begin = Instant::now();
    let mut outcome = Outcome { moved: MptcpCounters::default(), wrong: Vec::new(), took: Duration::ZERO };
    if let Err(error) = play(cell, file, &mut outcome) {
        outcome.wrong.push(format!("{error:#}"));
    }
    outcome.took = begin.elapsed();
    outcome
}

fn play(cell: &Cell, file: &Path, outcome: &mut Outcome) -> anyhow::Result<()> {
    let network = Network::build(*cell)?;
    let before = MptcpCounters::read(network.kernel())?;
    let opening = Opening::prepare(cell, &network)?;
    network.polypath().run(|| -> anyhow::Result<()> {
        let (host, capture) = polypath_end::start(cell, file)?;
        outcome.wrong.extend(both_ends(cell, &network, &host, opening, &before)?);
        outcome.moved = settled(&network, &before)?;
        let captured = capture.finish()?;
        anyhow::ensure!(captured.dropped == 0, "the capture is incomplete: {captured:?}");
        Ok(())
    })??;
    outcome.wrong.extend(expect::differences(cell, &outcome.moved));
    let multipath = cell.fallback == Fallback::None;
    outcome.wrong.extend(tshark::findings(file, multipath)?.into_iter().map(|finding| format!("tshark: {finding}")));
    Ok(())
}

/// The kernel's counters, once its connections are over.
fn settled(network: &Network, before: &MptcpCounters) -> io::Result<MptcpCounters> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let moved = MptcpCounters::read(network.kernel())?.since(before);
        if moved.get("MPCurrEstab") == 0 || Instant::now() > deadline {
            return Ok(moved);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Plays both ends and the director at the same time. Returns what went wrong.
fn both_ends(
    cell: &Cell,
    network: &Network,
    host: &Host,
    opening: Opening,
    before: &MptcpCounters,
) -> anyhow::Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(polypath_end::listen(cell, host))?;
    let signals = Signals::new();
    let polypath = async {
        let stream = match polypath_end::open(cell, host, listener.as_ref()).await {
            Ok(stream) => stream,
            Err(error) => return vec![format!("polypath cannot open the connection: {error}")],
        };
        let director = Director { cell, network, host, before, signals: &signals };
        let (ours, directed) = tokio::join!(polypath_end::run(cell, stream, &signals), director.direct());
        directed.into_iter().chain(ours.err()).collect()
    };
    let (mut wrong, kernel) = std::thread::scope(|scope| {
        let kernel = scope.spawn(|| network.kernel().run(|| kernel_end::run(cell, opening, &signals)));
        (runtime.block_on(polypath), kernel.join().expect("the kernel's thread"))
    });
    wrong.extend(kernel?.err());
    drop(listener);
    if let Err(error) = runtime.block_on(host.shutdown(PATIENCE)) {
        wrong.push(format!("polypath's host: {error}"));
    }
    Ok(wrong)
}

/// Watches both ends, and does in mid-transfer what the cell says.
struct Director<'a> {
    cell: &'a Cell,
    network: &'a Network,
    host: &'a Host,
    before: &'a MptcpCounters,
    signals: &'a Signals,
}

impl Director<'_> {
    /// Returns what went wrong; the cell goes on all the same.
    async fn direct(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        match self.check_kind() {
            Ok(()) => {
                wrong.extend(self.announced().await.err());
                self.signals.stage.send_replace(Stage::Announced);
                wrong.extend(self.joined().await.err());
            }
            Err(kind) => wrong.push(kind),
        }
        self.signals.stage.send_replace(Stage::Joined);
        if wrong.is_empty() && self.cell.event != Event::None {
            wrong.extend(self.event().await.err());
        }
        if wrong.is_empty() {
            wrong.extend(self.check_backups().err());
        }
        self.signals.stage.send_replace(Stage::Over);
        wrong
    }

    /// Until polypath knows what the kernel announces, where it matters what it knows when it begins to join.
    async fn announced(&self) -> Result<(), String> {
        match script::waits_for_announcement(self.cell) {
            true => self.kernel_counted("EchoAdd").await,
            false => Ok(()),
        }
    }

    /// Until both ends have all subflows that the cell shall have.
    async fn joined(&self) -> Result<(), String> {
        let expected = self.set_of(self.cell.subflows());
        let joins = expected.len() as i64 - 1;
        let counter = if self.cell.polypath_serves() { "MPJoinSynAckRx" } else { "MPJoinAckRx" };
        until(
            || (self.subflows(), self.kernel_counts(counter)),
            |now| *now == (expected.clone(), joins),
            |(subflows, counted)| {
                format!("subflows {subflows:?} and {counter} {counted}, expected {expected:?} and {joins}")
            },
        )
        .await
    }

    /// Whether the connection is Multipath TCP, or plain TCP for the right reason.
    fn check_kind(&self) -> Result<(), String> {
        let expected = match self.cell.fallback {
            Fallback::None => MultipathState::Active,
            Fallback::PolypathPlain => MultipathState::Fallback(FallbackReason::Disabled),
            Fallback::KernelPlain | Fallback::Stripped => MultipathState::Fallback(FallbackReason::NotOffered),
        };
        match self.connection().map(|info| info.multipath) {
            Some(is) if is == expected => Ok(()),
            is => Err(format!("polypath's connection is {is:?}, expected {expected:?}")),
        }
    }

    async fn event(&self) -> Result<(), String> {
        self.under_way().await?;
        match self.cell.event {
            Event::None => Ok(()),
            Event::KernelRemoves => {
                self.network.change_endpoint().map_err(|error| error.to_string())?;
                self.without_hit().await
            }
            Event::PolypathRemoves => {
                let own = self.own_second();
                self.host.remove_address(own).map_err(|error| error.to_string())?;
                self.kernel_counted("RmAddr").await?;
                self.without_hit().await
            }
            Event::KernelPrio => {
                self.network.change_endpoint().map_err(|error| error.to_string())?;
                self.kernel_counted("MPPrioTx").await?;
                self.turned_over().await
            }
            Event::PolypathPrio => {
                let ours = self.cell.client_owns_backup() != self.cell.polypath_serves();
                let backup = !(self.cell.backup == Backup::Yes && ours);
                self.host.set_backup(self.own_second(), backup).map_err(|error| error.to_string())?;
                self.kernel_counted("MPPrioRx").await
            }
        }
    }

    /// Polypath's address that events are about.
    fn own_second(&self) -> IpAddr {
        match self.cell.polypath_serves() {
            true => network::server(self.cell, 1),
            false => network::client(self.cell, 1),
        }
    }

    /// Until a quarter has been read of what is sent last.
    async fn under_way(&self) -> Result<(), String> {
        let quarter = script::bytes(self.cell) / 4;
        let reader = match script::closes_first(self.cell) {
            Some(true) => &self.signals.polypath,
            _ => &self.signals.kernel,
        };
        script::wait(reader, |progress| progress.read >= quarter, "a quarter of the transfer").await
    }

    /// Until the subflows of the address that was removed are gone.
    async fn without_hit(&self) -> Result<(), String> {
        let expected = self.set_of(self.cell.subflows_in_the_end());
        let what = |subflows: &BTreeSet<_>| format!("subflows {subflows:?} after the removal, expected {expected:?}");
        until(|| self.subflows(), |now| *now == expected, what).await
    }

    fn set_of(&self, subflows: Vec<(usize, usize)>) -> BTreeSet<(IpAddr, IpAddr)> {
        subflows.into_iter().map(|subflow| network::ends(self.cell, subflow)).collect()
    }

    /// Until polypath takes the kernel's word for the subflow that MP_PRIO came on.
    async fn turned_over(&self) -> Result<(), String> {
        let cell = self.cell;
        let owner_is_kernel = cell.client_owns_backup() == cell.polypath_serves();
        let becomes = cell.backup == Backup::No || !owner_is_kernel;
        let hit = self.set_of(cell.subflows().into_iter().filter(|subflow| cell.is_hit(*subflow)).collect());
        let flags = || -> Vec<bool> {
            let connection = self.connection();
            let subflows = connection.iter().flat_map(|info| &info.subflows);
            subflows.filter(|s| hit.contains(&self.ends(s.local.ip(), s.remote.ip()))).map(|s| s.backup).collect()
        };
        let what = |flags: &Vec<bool>| format!("backup is {flags:?} after MP_PRIO, expected {becomes}");
        let turned = |flags: &Vec<bool>| flags.iter().filter(|flag| **flag == becomes).count() == 1;
        until(flags, turned, what).await
    }

    /// A backup carries nothing as long as another subflow is there.
    fn check_backups(&self) -> Result<(), String> {
        if self.cell.backup == Backup::No || self.cell.event != Event::None {
            return Ok(());
        }
        let Some(info) = self.connection() else { return Ok(()) };
        for subflow in self.cell.subflows() {
            let ends = network::ends(self.cell, subflow);
            let carried = info.subflows.iter().find(|s| self.ends(s.local.ip(), s.remote.ip()) == ends);
            let carried = carried.map(|s| (s.backup, s.bytes_sent, s.bytes_received));
            let backup = self.cell.is_backup(subflow);
            match carried {
                Some((is, 0, 0)) if is == backup => {}
                Some((false, ..)) if !backup => {}
                other => {
                    return Err(format!(
                        "the subflow {ends:?} is {other:?} (backup, sent, received), backup: {backup}"
                    ));
                }
            }
        }
        Ok(())
    }

    async fn kernel_counted(&self, name: &str) -> Result<(), String> {
        until(|| self.kernel_counts(name), |count| *count > 0, |_| format!("the kernel counted no {name}")).await
    }

    /// A counter of the kernel since the beginning. What cannot be read counts as nothing.
    fn kernel_counts(&self, name: &str) -> i64 {
        MptcpCounters::read(self.network.kernel()).map_or(0, |counters| counters.since(self.before).get(name))
    }

    fn connection(&self) -> Option<ConnectionInfo> {
        self.host.connections().pop()
    }

    /// Both ends of the subflows that polypath has established: the client's address, and the server's.
    fn subflows(&self) -> BTreeSet<(IpAddr, IpAddr)> {
        let connection = self.connection();
        let subflows = connection.iter().flat_map(|info| &info.subflows);
        let established = subflows.filter(|s| matches!(s.state, State::Established | State::CloseWait));
        established.map(|s| self.ends(s.local.ip(), s.remote.ip())).collect()
    }

    fn ends(&self, local: IpAddr, remote: IpAddr) -> (IpAddr, IpAddr) {
        if self.cell.polypath_serves() { (remote, local) } else { (local, remote) }
    }
}

/// Looks until it is as wanted, or says what it is instead.
async fn until<T>(
    mut look: impl FnMut() -> T,
    mut wanted: impl FnMut(&T) -> bool,
    otherwise: impl FnOnce(&T) -> String,
) -> Result<(), String> {
    let deadline = Instant::now() + script::PATIENCE_OF_DIRECTOR;
    loop {
        let now = look();
        if wanted(&now) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(otherwise(&now));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
