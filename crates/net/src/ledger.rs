//! The account of connections and subflows, kept under the stack's lock: what live infos do not tell, because it is
//! over, or because it is a rate.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use polypath_proto::{
    CloseReason, ConnectionId, ConnectionInfo, Counters, Duration, Event, Instant, MultipathState, Stack, SubflowEvent,
};

use crate::snapshot::FinishedConnections;

/// Ended subflows remembered.
const ENDED: usize = 64;
/// Up to so many connections all of them are looked at whenever something happens; beyond it, with every tick.
const LOOK_ALWAYS: usize = 64;
/// A rate is measured over at least this.
const RATE_OVER: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    connections: HashMap<ConnectionId, Account>,
    pub(crate) ended: VecDeque<Ended>,
    /// Of subflows that are gone, by path.
    pub(crate) paths: Vec<(String, PathTotals)>,
    pub(crate) finished: FinishedConnections,
    round: u64,
}

/// One connection's.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) since: Instant,
    /// The application has been told of its end.
    pub(crate) closed: bool,
    subflow_established: bool,
    last: Option<(MultipathState, u64)>,
    subflows: Vec<SubflowAccount>,
    round: u64,
}

/// One subflow's.
#[derive(Debug)]
pub(crate) struct SubflowAccount {
    local: SocketAddr,
    remote: SocketAddr,
    pub(crate) since: Instant,
    established: bool,
    /// Bytes sent and received at the last two ticks, the later one first.
    ticks: [Option<(Instant, u64, u64)>; 2],
}

/// A subflow that is gone.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) at: Instant,
    pub(crate) connection: u64,
    pub(crate) name: String,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) reason: CloseReason,
    pub(crate) established: bool,
    pub(crate) count: u64,
    pub(crate) counters: Counters,
}

/// What subflows on one path have done.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct PathTotals {
    pub(crate) counters: Counters,
    pub(crate) joins: u64,
    pub(crate) failed: u64,
}

/// What people call the path of a subflow.
pub(crate) fn path_name(name: Option<&Arc<str>>, local: IpAddr) -> String {
    name.map_or_else(|| local.to_string(), ToString::to_string)
}

impl Ledger {
    /// The stack has something to say.
    pub(crate) fn on_event(&mut self, now: Instant, event: &Event, stack: &Stack) {
        match event {
            Event::Connected(id) => {
                self.account(now, *id);
            }
            // It may have been the last to be heard of one whose account is closed already.
            Event::Closed { id, .. } => {
                if let Some(account) = self.connections.get_mut(id) {
                    account.closed = true;
                }
            }
            Event::Subflow { connection, local, remote, name, counters, what, .. } => {
                let name = path_name(name.as_ref(), local.ip());
                match what {
                    SubflowEvent::Established => self.on_established(now, *connection, name, (*local, *remote)),
                    SubflowEvent::Stalled | SubflowEvent::Recovered => {}
                    SubflowEvent::Closed(reason) => {
                        self.on_ended(now, *connection, name, (*local, *remote), **counters, *reason);
                    }
                }
            }
            Event::Acceptable(_) | Event::Readable(_) | Event::Writable(_) => return,
        }
        self.look(now, stack);
    }

    fn on_established(&mut self, now: Instant, id: ConnectionId, name: String, ends: (SocketAddr, SocketAddr)) {
        let account = self.account(now, id);
        account.subflow(now, ends).established = true;
        if std::mem::replace(&mut account.subflow_established, true) {
            self.path(name).joins += 1;
        }
    }

    fn on_ended(
        &mut self,
        now: Instant,
        id: ConnectionId,
        name: String,
        ends: (SocketAddr, SocketAddr),
        counters: Counters,
        reason: CloseReason,
    ) {
        let account = self.account(now, id);
        let connection = id.number().into();
        account.subflow(now, ends);
        let at = account.subflows.iter().position(|s| (s.local, s.remote) == ends);
        let Some(subflow) = at.map(|at| account.subflows.swap_remove(at)) else { return };
        let established = subflow.established;
        let path = self.path(name.clone());
        path.counters += counters;
        path.failed += u64::from(!established);
        let (local, remote) = ends;
        let mut ended = Ended { at: now, connection, name, local, remote, reason, established, count: 1, counters };
        // A silent path is tried again and again: its failures shall not push out all the others.
        let same = |other: &Ended| {
            !other.established
                && (other.connection, &other.name, other.remote, other.reason)
                    == (ended.connection, &ended.name, ended.remote, ended.reason)
        };
        if !established && let Some(at) = self.ended.iter().rposition(same) {
            ended.count += self.ended.remove(at).map_or(0, |other| other.count);
        }
        if self.ended.len() == ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(ended);
    }

    /// Looks at all connections, unless they are too many for that.
    pub(crate) fn look(&mut self, now: Instant, stack: &Stack) {
        if stack.connection_count() <= LOOK_ALWAYS {
            self.look_at_all(now, stack, false);
        }
    }

    /// Looks at all connections; `tick`: rates are measured from here on. To be called about once a second.
    pub(crate) fn look_at_all(&mut self, now: Instant, stack: &Stack, tick: bool) {
        self.round += 1;
        for (id, info) in stack.connections() {
            let round = self.round;
            let account = self.account(now, id);
            account.round = round;
            account.update(now, &info, tick);
        }
        let Self { connections, finished, round, .. } = self;
        connections.retain(|_, account| {
            // The news of its subflows' ends may come after that of its own.
            let alive = account.round == *round || (!tick && !account.subflows.is_empty());
            if !alive {
                account.finish(finished);
            }
            alive
        });
    }

    /// The account of a connection, opened where there is none.
    pub(crate) fn account(&mut self, now: Instant, id: ConnectionId) -> &mut Account {
        self.connections.entry(id).or_insert_with(|| Account {
            since: now,
            closed: false,
            subflow_established: false,
            last: None,
            subflows: Vec::new(),
            round: self.round,
        })
    }

    fn path(&mut self, name: String) -> &mut PathTotals {
        let at = self.paths.iter().position(|(path, _)| *path == name).unwrap_or_else(|| {
            self.paths.push((name, PathTotals::default()));
            self.paths.len() - 1
        });
        &mut self.paths[at].1
    }
}

impl Account {
    fn update(&mut self, now: Instant, info: &ConnectionInfo, tick: bool) {
        self.last = Some((info.multipath, info.bytes_reinjected));
        for s in &info.subflows {
            let subflow = self.subflow(now, (s.local, s.remote));
            if tick {
                subflow.ticks = [Some((now, s.bytes_sent, s.bytes_received)), subflow.ticks[0]];
            }
        }
    }

    /// The account of a subflow, opened where there is none.
    pub(crate) fn subflow(&mut self, now: Instant, ends: (SocketAddr, SocketAddr)) -> &mut SubflowAccount {
        let at = self.subflows.iter().position(|s| (s.local, s.remote) == ends).unwrap_or_else(|| {
            let (local, remote) = ends;
            let new = SubflowAccount { local, remote, since: now, established: false, ticks: [None; 2] };
            self.subflows.push(new);
            self.subflows.len() - 1
        });
        &mut self.subflows[at]
    }

    fn finish(&self, finished: &mut FinishedConnections) {
        let (multipath, reinjected) = self.last.unwrap_or((MultipathState::Negotiating, 0));
        finished.bytes_reinjected += reinjected;
        match multipath {
            _ if !self.subflow_established => finished.failed += 1,
            MultipathState::Active => finished.multipath += 1,
            MultipathState::Fallback(reason) => *finished.fallback.entry(reason.to_string()).or_default() += 1,
            MultipathState::Negotiating => finished.failed += 1,
        }
    }
}

impl SubflowAccount {
    /// What it sends and receives, in bit/s: since the last tick, or the one before where that was only just, or
    /// since it came.
    pub(crate) fn rates(&self, now: Instant, sent: u64, received: u64) -> (u64, u64) {
        let [last, before] = self.ticks;
        let last_is_old = last.filter(|(at, ..)| now.saturating_duration_since(*at) >= RATE_OVER);
        let (since, sent_then, received_then) = last_is_old.or(before).unwrap_or((self.since, 0, 0));
        let elapsed = now.saturating_duration_since(since).as_secs_f64();
        let rate = |bytes: u64| if elapsed > 0.0 { (bytes as f64 * 8.0 / elapsed) as u64 } else { 0 };
        (rate(sent.saturating_sub(sent_then)), rate(received.saturating_sub(received_then)))
    }
}

#[cfg(test)]
mod tests {
    use polypath_proto::{ConnectOptions, LinkConfig, LocalAddress, SubflowId};

    use super::*;

    fn ends(port: u16) -> (SocketAddr, SocketAddr) {
        (SocketAddr::new([10, 1, 0, 2].into(), port), SocketAddr::new([10, 9, 0, 1].into(), 80))
    }

    /// A stack with one connection that has sent nothing yet.
    fn stack() -> (Stack, ConnectionId) {
        let mut stack = Stack::new(polypath_proto::Config::default(), [0; 32]);
        let checksum = polypath_proto::ChecksumMode::Full;
        let link = stack.add_link(LinkConfig { mtu: 1500, max_segment: 1500, checksum });
        let address = LocalAddress { addr: ends(0).0.ip(), link, backup: false, name: Some("wifi".into()) };
        stack.add_address(Instant::ZERO, address);
        let id = stack.connect(Instant::ZERO, ends(0).1, ConnectOptions::default()).unwrap();
        (stack, id)
    }

    fn subflow(connection: ConnectionId, port: u16, bytes_received: u64, what: SubflowEvent) -> Event {
        let (local, remote) = ends(port);
        let (subflow, name) = (SubflowId(0), Some("wifi".into()));
        let counters = Box::new(Counters { bytes_received, ..Counters::default() });
        Event::Subflow { connection, subflow, local, remote, name, counters, what }
    }

    #[test]
    fn a_path_keeps_what_its_ended_subflows_did() {
        let (stack, id) = stack();
        let mut ledger = Ledger::default();
        for (port, bytes) in [(1, 100), (2, 20)] {
            ledger.on_event(Instant::ZERO, &subflow(id, port, 0, SubflowEvent::Established), &stack);
            let closed = SubflowEvent::Closed(CloseReason::Silent);
            ledger.on_event(Instant::ZERO, &subflow(id, port, bytes, closed), &stack);
        }
        let (name, totals) = &ledger.paths[0];
        assert_eq!((name.as_str(), totals.counters.bytes_received), ("wifi", 120));
        assert_eq!((totals.joins, totals.failed), (1, 0), "the first subflow is no join");
        assert_eq!(ledger.ended.len(), 2);
    }

    #[test]
    fn failed_attempts_in_a_row_are_one_entry_and_the_list_is_bounded() {
        let (stack, id) = stack();
        let mut ledger = Ledger::default();
        let failed = SubflowEvent::Closed(CloseReason::TimedOut);
        for port in 1..=200 {
            ledger.on_event(Instant::ZERO, &subflow(id, port, 0, failed), &stack);
        }
        assert_eq!((ledger.ended.len(), ledger.ended[0].count, ledger.paths[0].1.failed), (1, 200, 200));
        for port in 1..=200 {
            ledger.on_event(Instant::ZERO, &subflow(id, port, 0, SubflowEvent::Established), &stack);
            ledger.on_event(Instant::ZERO, &subflow(id, port, 0, failed), &stack);
        }
        assert_eq!(ledger.ended.len(), ENDED);
    }

    #[test]
    fn a_connection_that_is_gone_is_counted_by_what_it_was() {
        let (stack, id) = stack();
        let mut ledger = Ledger::default();
        ledger.on_event(Instant::ZERO, &subflow(id, 1, 0, SubflowEvent::Established), &stack);
        ledger.account(Instant::ZERO, id).last = Some((MultipathState::Active, 7));
        let empty = Stack::new(polypath_proto::Config::default(), [0; 32]);
        ledger.look_at_all(Instant::ZERO, &empty, true);
        assert_eq!((ledger.finished.multipath, ledger.finished.bytes_reinjected), (1, 7));
        assert!(ledger.connections.is_empty());
        // The last word on it is no second one.
        ledger.on_event(Instant::ZERO, &Event::Closed { id, error: None }, &empty);
        ledger.look_at_all(Instant::ZERO, &empty, true);
        assert_eq!((ledger.finished.multipath, ledger.finished.failed), (1, 0));
    }

    #[test]
    fn an_aborted_connection_is_counted_once_though_its_subflows_are_heard_of_after_it() {
        let (stack, id) = stack();
        let empty = Stack::new(polypath_proto::Config::default(), [0; 32]);
        let mut ledger = Ledger::default();
        for port in [1, 2] {
            ledger.on_event(Instant::ZERO, &subflow(id, port, 0, SubflowEvent::Established), &stack);
        }
        ledger.account(Instant::ZERO, id).last = Some((MultipathState::Active, 0));
        ledger.on_event(Instant::ZERO, &Event::Closed { id, error: None }, &empty);
        for port in [1, 2] {
            let aborted = SubflowEvent::Closed(CloseReason::Aborted);
            ledger.on_event(Instant::ZERO, &subflow(id, port, 0, aborted), &empty);
        }
        ledger.look_at_all(Instant::ZERO, &empty, true);
        assert_eq!((ledger.finished.multipath, ledger.finished.failed, ledger.paths[0].1.failed), (1, 0, 0));
        assert!(ledger.connections.is_empty());
    }

    #[test]
    fn a_rate_is_never_measured_over_a_moment() {
        let at = Instant::from_millis;
        let (local, remote) = ends(1);
        let mut subflow = SubflowAccount { local, remote, since: at(0), established: true, ticks: [None; 2] };
        assert_eq!(subflow.rates(at(0), 0, 0), (0, 0));
        assert_eq!(subflow.rates(at(1000), 1000, 0), (8000, 0), "since it came");
        subflow.ticks[0] = Some((at(1000), 1000, 0));
        assert_eq!(subflow.rates(at(2000), 1000, 500), (0, 4000), "since the tick");
        subflow.ticks = [Some((at(2000), 1000, 500)), subflow.ticks[0]];
        assert_eq!(subflow.rates(at(2010), 1000, 500).1, 3960, "since the tick before");
    }
}
