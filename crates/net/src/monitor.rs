//! [`Monitor`]: keeps account of a host and tells how things stand.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use polypath_proto::{ConnectionInfo, Counters, Instant, MultipathState, Role, State};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::host::Host;
use crate::ledger::{Account, Ended, Ledger, path_name};
use crate::mib;
use crate::shared::Core;
use crate::snapshot::{ConnectionSnapshot, EndedSubflow, PathSnapshot, Snapshot, SubflowSnapshot};

/// How often rates are measured.
const TICK: Duration = Duration::from_secs(1);

/// Keeps account of what happens on a [`Host`] from its start on. It is a handle: clones are the same monitor. It
/// keeps the host running.
#[derive(Clone, Debug)]
pub struct Monitor {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    host: Host,
    program: String,
    started: SystemTime,
    ticker: JoinHandle<()>,
}

impl Monitor {
    /// Starts to keep account. `program` is for people: what this process runs. A host has one monitor; a further one
    /// takes its place and begins anew.
    ///
    /// # Panics
    /// Outside a tokio runtime with time.
    #[must_use]
    pub fn start(host: &Host, program: impl Into<String>) -> Monitor {
        host.shared().configure(|core| core.ledger = Some(Box::default()));
        let ticker = {
            let host = host.clone();
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(TICK);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    with_ledger(&host, |now, core, ledger| ledger.look_at_all(now, &core.stack, true));
                }
            })
        };
        let inner = Inner { host: host.clone(), program: program.into(), started: SystemTime::now(), ticker };
        Monitor { inner: Arc::new(inner) }
    }

    /// The host that it keeps account of.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.inner.host
    }

    /// How things stand; after the host has stopped, as they were then.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let Inner { host, program, started, .. } = &*self.inner;
        let wall = SystemTime::now();
        let mut snapshot = with_ledger(host, |now, core, ledger| {
            ledger.look_at_all(now, &core.stack, false);
            let seen = Seen { now, wall: unix(wall) };
            let connections = seen.connections(core, ledger);
            Snapshot {
                paths: paths(core, ledger),
                counters: mib::counters(&core.stack.mib(), &connections),
                connections,
                ended: ledger.ended.iter().map(|ended| seen.ended(ended)).collect(),
                finished: ledger.finished.clone(),
                device: core.stats,
                ..Snapshot::default()
            }
        });
        snapshot.version = env!("CARGO_PKG_VERSION").into();
        snapshot.pid = std::process::id();
        snapshot.program.clone_from(program);
        snapshot.tun = host.tun_name().into();
        snapshot.started = unix(*started);
        snapshot.uptime = wall.duration_since(*started).unwrap_or_default().as_secs_f64();
        snapshot
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.ticker.abort();
        self.host.shared().configure(|core| core.ledger = None);
    }
}

/// Takes the ledger out of the stack's hands for a moment, so that both can be looked at.
fn with_ledger<R>(host: &Host, look: impl FnOnce(Instant, &mut Core, &mut Ledger) -> R) -> R {
    let now = host.shared().now();
    host.shared().configure(|core| {
        let mut ledger = core.ledger.take().unwrap_or_default();
        let result = look(now, core, &mut ledger);
        core.ledger = Some(ledger);
        result
    })
}

fn unix(at: SystemTime) -> f64 {
    let since_1970 = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    // Milliseconds are enough, and read better.
    since_1970.as_millis() as f64 / 1000.0
}

/// The moment of a snapshot on both clocks.
#[derive(Copy, Clone)]
struct Seen {
    now: Instant,
    wall: f64,
}

impl Seen {
    fn age(&self, since: Instant) -> f64 {
        self.now.saturating_duration_since(since).as_millis() as f64 / 1000.0
    }

    fn connections(&self, core: &Core, ledger: &mut Ledger) -> Vec<ConnectionSnapshot> {
        let mut connections: Vec<_> = core
            .stack
            .connections()
            .map(|(id, info)| self.connection(id.number().into(), &info, ledger.account(self.now, id)))
            .collect();
        connections.sort_by_key(|connection| connection.id);
        connections
    }

    fn connection(&self, id: u64, info: &ConnectionInfo, account: &mut Account) -> ConnectionSnapshot {
        let (multipath, fallback_reason) = match info.multipath {
            MultipathState::Negotiating => ("negotiating", None),
            MultipathState::Active => ("active", None),
            MultipathState::Fallback(reason) => ("fallback", Some(reason.to_string())),
        };
        ConnectionSnapshot {
            id,
            role: match info.role {
                Role::Client => "client".into(),
                Role::Server => "server".into(),
            },
            orphaned: info.orphaned,
            state: connection_state(info, account.closed).into(),
            local: Some(info.local),
            remote: Some(info.remote),
            multipath: multipath.into(),
            fallback_reason,
            age: self.age(account.since),
            bytes_sent: info.bytes_sent,
            bytes_acked: info.bytes_acked,
            bytes_received: info.bytes_received,
            bytes_reinjected: info.bytes_reinjected,
            send_queue: info.send_queue as u64,
            recv_queue: info.recv_queue as u64,
            recv_buffer: info.recv_buffer as u64,
            congestion_control: info.congestion.to_owned(),
            scheduler: info.scheduler.to_owned(),
            subflows: info.subflows.iter().map(|s| self.subflow(s, account)).collect(),
        }
    }

    fn subflow(&self, s: &polypath_proto::SubflowInfo, account: &mut Account) -> SubflowSnapshot {
        let known = account.subflow(self.now, (s.local, s.remote));
        let (rate_sent, rate_received) = known.rates(self.now, s.bytes_sent, s.bytes_received);
        SubflowSnapshot {
            id: s.id.0,
            name: path_name(s.name.as_ref(), s.local.ip()),
            local: Some(s.local),
            remote: Some(s.remote),
            state: state_name(s.state).into(),
            backup: s.backup,
            stalled: s.stalled,
            age: self.age(known.since),
            srtt_ms: s.srtt.map(|srtt| srtt.as_micros() as f64 / 1000.0),
            cwnd: s.cwnd,
            in_flight: s.in_flight,
            rate_sent,
            rate_received,
            bytes_sent: s.bytes_sent,
            bytes_received: s.bytes_received,
            retransmits: s.counters.retransmits,
            bytes_retransmitted: s.counters.bytes_retransmitted,
            timeouts: s.counters.timeouts,
            loss_probes: s.counters.loss_probes,
            bytes_reinjected: s.counters.bytes_reinjected,
            segments_sent: s.counters.segments_sent,
            segments_received: s.counters.segments_received,
        }
    }

    fn ended(&self, ended: &Ended) -> EndedSubflow {
        EndedSubflow {
            at: ((self.wall - self.age(ended.at)) * 1000.0).round() / 1000.0,
            connection: ended.connection,
            name: ended.name.clone(),
            local: Some(ended.local),
            remote: Some(ended.remote),
            reason: format!("{:?}", ended.reason),
            established: ended.established,
            count: ended.count,
            bytes_sent: ended.counters.bytes_sent,
            bytes_received: ended.counters.bytes_received,
            retransmits: ended.counters.retransmits,
            timeouts: ended.counters.timeouts,
        }
    }
}

/// The paths that there are, and those that there were.
fn paths(core: &Core, ledger: &Ledger) -> Vec<PathSnapshot> {
    let mut paths: Vec<PathSnapshot> = Vec::new();
    for address in core.stack.addresses() {
        let path = find_path(&mut paths, &path_name(address.name.as_ref(), address.addr));
        path.addresses.push(address.addr);
        path.backup |= address.backup;
    }
    for (name, gone) in &ledger.paths {
        let path = find_path(&mut paths, name);
        path.add(&gone.counters);
        path.joins = gone.joins;
        path.failed = gone.failed;
    }
    for (_, info) in core.stack.connections() {
        for subflow in &info.subflows {
            let path = find_path(&mut paths, &path_name(subflow.name.as_ref(), subflow.local.ip()));
            path.add(&subflow.counters);
            path.subflows += 1;
        }
    }
    paths
}

fn find_path<'a>(paths: &'a mut Vec<PathSnapshot>, name: &str) -> &'a mut PathSnapshot {
    let at = paths.iter().position(|path| path.name == name).unwrap_or_else(|| {
        paths.push(PathSnapshot { name: name.into(), ..PathSnapshot::default() });
        paths.len() - 1
    });
    &mut paths[at]
}

impl PathSnapshot {
    fn add(&mut self, counters: &Counters) {
        self.bytes_sent += counters.bytes_sent;
        self.bytes_received += counters.bytes_received;
        self.retransmits += counters.retransmits;
        self.bytes_retransmitted += counters.bytes_retransmitted;
        self.timeouts += counters.timeouts;
        self.loss_probes += counters.loss_probes;
        self.bytes_reinjected += counters.bytes_reinjected;
    }
}

/// The stack does not tell a connection's own state: it is that of the subflow that has come furthest without ending.
fn connection_state(info: &ConnectionInfo, closed: bool) -> &'static str {
    let rank = |state: State| match state {
        State::Established => 0,
        State::CloseWait => 1,
        State::SynReceived => 2,
        State::SynSent => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::Closing => 6,
        State::LastAck => 7,
        State::TimeWait => 8,
        State::Closed => 9,
    };
    match info.subflows.iter().map(|s| s.state).min_by_key(|state| rank(*state)) {
        Some(state) => state_name(state),
        None if closed => "CLOSED",
        None => "NO-SUBFLOW",
    }
}

/// As `ss` has them.
fn state_name(state: State) -> &'static str {
    match state {
        State::SynSent => "SYN-SENT",
        State::SynReceived => "SYN-RECV",
        State::Established => "ESTAB",
        State::FinWait1 => "FIN-WAIT-1",
        State::FinWait2 => "FIN-WAIT-2",
        State::CloseWait => "CLOSE-WAIT",
        State::Closing => "CLOSING",
        State::LastAck => "LAST-ACK",
        State::TimeWait => "TIME-WAIT",
        State::Closed => "CLOSED",
    }
}
