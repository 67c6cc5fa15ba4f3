//! Runs a scenario to its end, and judges after every event.
//!
//! A connection has to deliver every byte, once and in order, and to end. It is excused where it cannot: where one end
//! quits, where an address goes that it needs, where no path is left for long. Then both ends have to hear of it, or to be
//! let go of by programs whose patience ends. Nothing may ever be left in a stack.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use polypath_proto::Instant;

use super::bounds::{self, Storm, Work};
use super::build;
use super::paths::{Paths, Way};
use super::program::{Program, Session, describe_error};
use super::scenario::{Cookies, Happening, Scenario, Side, Trouble};
use crate::host::Fault;
use crate::network::Network;
use crate::seeds;
use crate::stream::StreamError;
use crate::trace::Trace;

/// No way for so long, and a connection may fail (it does after 60 s at the earliest, most of which may have passed when
/// the way was there, but something had to be repeated).
const EXCUSED_AFTER: Duration = Duration::from_secs(20);
/// So long a program waits for a peer that is gone: longer than a stack that has something to send.
const PATIENCE: Duration = Duration::from_secs(1_200);
/// Longest run, and longest time that stacks may keep something after it.
const LONGEST: Duration = Duration::from_secs(5_000);
const LONGEST_REST: Duration = Duration::from_secs(1_800);
/// What is known of a connection's state is asked for anew after this.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// What kind of thing went wrong.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A byte is wrong, missing or out of place, or an end of stream came early.
    Bytes,
    /// A connection failed without need.
    Error,
    /// No progress for too long.
    Stall,
    /// A packet that must not be sent.
    Wire,
    /// More in memory than may be.
    Memory,
    /// More packets than may be.
    Storm,
    /// Something was left in a stack.
    Leftover,
    /// A stack panicked, or does not come to rest.
    Crash,
}

/// Why a run failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What kind of thing.
    pub kind: Kind,
    /// When, since the start.
    pub at: Duration,
    /// What it was.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} after {:.6} s: {}", self.kind, self.at.as_secs_f64(), self.what)
    }
}

/// A run in which nothing went wrong.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Until every connection was over.
    pub elapsed: Duration,
    /// Until the stacks had forgotten all of it.
    pub rested: Duration,
    /// Bytes that applications received.
    pub bytes: u64,
    /// Packets that the stacks sent.
    pub packets: u64,
    /// Connections that delivered everything.
    pub whole: u64,
    /// Connections that were excused.
    pub excused: u64,
}

/// Runs a scenario.
///
/// # Errors
/// What went wrong first.
pub fn run(scenario: &Scenario, trace: Trace) -> Result<Outcome, Failure> {
    let run = || Judge::new(scenario, trace).run();
    // Nothing of the run is seen again after a panic.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let what = format!("panic: {}", seeds::message_of(&*panic));
        Err(Failure { kind: Kind::Crash, at: Duration::ZERO, what })
    })
}

/// What the judge remembers of a connection.
struct Watch {
    progress: u64,
    /// When it last made any.
    progressed: Instant,
    /// Since when it makes none, without an excuse.
    since: Instant,
    /// Whether it had one after the last event.
    was_excused: bool,
    /// Since when it has no way.
    no_way_since: Option<Instant>,
    /// Both ends were done with it after the last event.
    was_over: bool,
    /// Why it may fail.
    excuse: Option<&'static str>,
    /// How many addresses the client was told of, if both ends know that it is Multipath TCP; and when that was asked.
    known: (Instant, Option<usize>),
}

struct Judge<'a> {
    scenario: &'a Scenario,
    network: Network<Program>,
    /// What waits for bytes, the next one last.
    waiting: Vec<(u64, Happening)>,
    watches: Vec<Watch>,
    storm: Storm,
    stall: Duration,
}

impl<'a> Judge<'a> {
    fn new(scenario: &'a Scenario, trace: Trace) -> Self {
        let (network, waiting) = build::network(scenario, trace);
        let watch = || Watch {
            progress: 0,
            progressed: Instant::ZERO,
            since: Instant::ZERO,
            was_excused: true,
            no_way_since: None,
            was_over: false,
            excuse: None,
            known: (Instant::ZERO, None),
        };
        let watches = scenario.connections.iter().map(|_| watch()).collect();
        Self { scenario, network, waiting, watches, storm: Storm::new(scenario), stall: patience(scenario) }
    }

    fn run(mut self) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::default();
        self.network.start();
        self.judge()?;
        let mut given_up = false;
        while !self.is_over() {
            if self.step()? {
                given_up = false;
            } else if given_up || !self.give_up_excused() {
                return Err(self.failure(Kind::Stall, "no packet is under way and no timer is set".to_owned()));
            } else {
                given_up = true;
            }
            if self.network.elapsed() > LONGEST {
                return Err(self.failure(Kind::Stall, "the run does not end".to_owned()));
            }
        }
        outcome.elapsed = self.network.elapsed();
        self.rest()?;
        outcome.rested = self.network.elapsed();
        (outcome.bytes, outcome.packets) = (self.received(), self.work().packets);
        let whole = |index: &usize| {
            self.sessions(*index).iter().all(|session| session.stream.error().is_none())
                && self.sessions(*index).iter().all(|session| session.stream.is_done() && !session.has_quit)
        };
        outcome.whole = (0..self.watches.len()).filter(whole).count() as u64;
        outcome.excused = self.watches.len() as u64 - outcome.whole;
        Ok(outcome)
    }

    fn failure(&self, kind: Kind, what: String) -> Failure {
        Failure { kind, at: self.network.elapsed(), what }
    }

    /// Lets the next event happen, and judges. `false`: there is none.
    fn step(&mut self) -> Result<bool, Failure> {
        let more = self.network.step().map_err(|fault| {
            let (host, what) = match fault {
                Fault::EndlessTransmit { host, .. } => (host, "poll_transmit gives packets without end"),
                Fault::StuckTimer { host, .. } => (host, "poll_timeout stays in the past after handle_timeout"),
            };
            self.failure(Kind::Crash, format!("{host}: {what}"))
        })?;
        if more {
            self.judge()?;
            self.trouble();
        }
        Ok(more)
    }

    /// Everything is over for the applications: stacks have to come to rest, and to hold nothing.
    fn rest(&mut self) -> Result<(), Failure> {
        self.network.with_app(build::node(Side::Server), Program::stop_listening);
        let end = self.network.now() + LONGEST_REST;
        while self.network.next_at().is_some_and(|at| at <= end) {
            self.step()?;
        }
        for side in Side::BOTH {
            let held = self.network.host(build::node(side)).stack.holdings();
            if !held.is_empty() || self.network.next_at().is_some() {
                return Err(self.failure(Kind::Leftover, format!("{side:?} still holds {held:?}")));
            }
        }
        match self.is_over() {
            true => Ok(()),
            false => Err(self.failure(Kind::Leftover, "a connection came after all was over".to_owned())),
        }
    }

    /// What happens as soon as so much has been received.
    fn trouble(&mut self) {
        let received = self.received();
        while self.waiting.last().is_some_and(|(bytes, _)| *bytes <= received) {
            let Some((_, happening)) = self.waiting.pop() else { return };
            for (after, change) in build::changes(self.scenario, &happening) {
                self.network.schedule(self.network.now() + after, change);
            }
        }
    }

    fn program(&self, side: Side) -> &Program {
        &self.network.host(build::node(side)).app
    }

    fn sessions(&self, index: usize) -> [&Session; 2] {
        Side::BOTH.map(|side| &self.program(side).sessions[index])
    }

    fn received(&self) -> u64 {
        let all = Side::BOTH.into_iter().flat_map(|side| &self.program(side).sessions);
        all.map(|session| session.stream.received()).sum()
    }

    fn work(&self) -> Work {
        let mut work = Work::default();
        for side in Side::BOTH {
            let program = self.program(side);
            work.packets += program.wire.sent();
            work.outstanding += self.network.host(build::node(side)).stack.holdings().data.outstanding as u64;
            for session in &program.sessions {
                work.bytes += session.stream.received() + session.stream.written();
                work.calls += session.stream.calls();
            }
        }
        work
    }

    fn is_over(&self) -> bool {
        (0..self.watches.len()).all(|index| self.is_connection_over(index))
    }

    /// A server that never heard of a connection has nothing to end.
    fn is_connection_over(&self, index: usize) -> bool {
        let [client, server] = self.sessions(index);
        client.is_over() && (server.is_over() || !server.has_begun())
    }

    fn judge(&mut self) -> Result<(), Failure> {
        for side in Side::BOTH {
            let host = self.network.host(build::node(side));
            if let Some(violation) = host.app.wire.violation() {
                return Err(self.failure(Kind::Wire, format!("{side:?}: {violation}")));
            }
            let held = host.stack.holdings();
            bounds::check_memory(self.scenario, self.scenario.host(side), &held)
                .map_err(|what| self.failure(Kind::Memory, format!("{side:?}: {what}")))?;
        }
        let (now, work) = (self.network.now(), self.work());
        self.storm.observe(now, work).map_err(|what| self.failure(Kind::Storm, what))?;
        (0..self.watches.len()).try_for_each(|index| self.judge_connection(index))
    }

    fn judge_connection(&mut self, index: usize) -> Result<(), Failure> {
        let over = self.is_connection_over(index);
        if over && self.watches[index].was_over {
            return Ok(());
        }
        self.watches[index].was_over = over;
        self.look_for_excuses(index);
        for (side, session) in Side::BOTH.into_iter().zip(self.sessions(index)) {
            self.judge_end(index, side, session)?;
        }
        self.judge_progress(index)
    }

    fn look_for_excuses(&mut self, index: usize) {
        let now = self.network.now();
        let [client, server] = self.sessions(index);
        let quits = client.has_quit || server.has_quit;
        // A cookie's third ACK is not repeated: where it was lost, and the client has nothing to say, neither end knows.
        let cookies = self.scenario.server.settings.syn_cookies == Cookies::Always;
        let unheard = cookies && !server.has_begun() && self.scenario.connections[index].up.bytes == 0;
        let begun = client.has_begun();
        let ids = [(Side::Client, client.id), (Side::Server, server.id)];
        let plan = &self.scenario.connections[index];
        let paths = Paths { network: &self.network, scenario: self.scenario };
        let watch = &self.watches[index];
        let mut known = watch.known;
        let way = paths.way(plan, || {
            if now - known.0 >= ASK_AGAIN {
                known = (now, paths.known(ids));
            }
            known.1
        });
        let watch = &mut self.watches[index];
        watch.known = known;
        let since = *watch.no_way_since.get_or_insert(now);
        if way == Way::Open {
            watch.no_way_since = None;
        }
        let excuse = match way {
            _ if quits => Some("one end quit"),
            _ if unheard => Some("the server keeps nothing of the handshake"),
            Way::Gone => Some("an address that it needs was gone"),
            Way::Down if begun && now - since > EXCUSED_AFTER => Some("it had no path for long"),
            _ => None,
        };
        watch.excuse = watch.excuse.or(excuse);
    }

    /// What an end was told.
    fn judge_end(&self, index: usize, side: Side, session: &Session) -> Result<(), Failure> {
        let name = || format!("connection {index}, {side:?}");
        // What is under way of a connection that was reset looks like the answer to a cookie.
        let cookies = self.scenario.server.settings.syn_cookies == Cookies::Always;
        if session.doubled && !(cookies && session.is_over()) {
            return Err(self.failure(Kind::Error, format!("{}: it came twice", name())));
        }
        let excused = self.watches[index].excuse.is_some();
        if let Some(refused) = session.refused.as_ref().filter(|_| !excused) {
            return Err(self.failure(Kind::Error, format!("{}: {refused}", name())));
        }
        let Some(error) = session.stream.error() else { return Ok(()) };
        let [client, server] = self.sessions(index);
        let (peer, flow) = match side {
            Side::Client => (server, &self.scenario.connections[index].down),
            Side::Server => (client, &self.scenario.connections[index].up),
        };
        let kind = match error {
            StreamError::Connection(_) | StreamError::Vanished if excused => return Ok(()),
            StreamError::Connection(_) | StreamError::Vanished => Kind::Error,
            // A close is an end in order of what was written before.
            StreamError::EndedEarly { received, .. } if peer.has_quit && peer.stream.written() == *received => {
                return Ok(());
            }
            StreamError::EndedEarly { .. } | StreamError::Wrong { .. } | StreamError::TooMany { .. } => Kind::Bytes,
        };
        Err(self.failure(kind, format!("{}: {}", name(), describe_error(error, flow))))
    }

    fn judge_progress(&mut self, index: usize) -> Result<(), Failure> {
        let now = self.network.now();
        let [client, server] = self.sessions(index);
        let progress = client.stream.progress() + server.stream.progress();
        let rests = client.stream.rests(now) || server.stream.rests(now);
        let half_over = client.is_over() != server.is_over();
        let over = self.is_connection_over(index);
        let begun = client.has_begun();
        let watch = &mut self.watches[index];
        let excused = over || rests || !begun || watch.no_way_since.is_some();
        // The time up to this event belongs to the state after the last one.
        if watch.was_excused || progress != watch.progress {
            watch.since = now;
        }
        if progress != watch.progress || !begun {
            watch.progressed = now;
        }
        (watch.was_excused, watch.progress) = (excused, progress);
        let waited = now - watch.since;
        if watch.excuse.is_some() {
            // A reset may get lost, and who only reads does not notice. Programs have a limit.
            if now - watch.progressed > PATIENCE && !over {
                self.give_up(index);
            }
            return Ok(());
        }
        if waited > self.stall {
            let what =
                format!("connection {index}: no progress since {:.6} s", (now - Instant::ZERO - waited).as_secs_f64());
            let half = if half_over { ", and one end is done" } else { "" };
            return Err(self.failure(Kind::Stall, what + half));
        }
        Ok(())
    }

    /// Nothing will ever happen again: programs let go of what may fail. Whether there was any such.
    fn give_up_excused(&mut self) -> bool {
        let excused = |index: &usize| self.watches[*index].excuse.is_some();
        let excused: Vec<usize> = (0..self.watches.len()).filter(excused).collect();
        excused.iter().for_each(|index| self.give_up(*index));
        !excused.is_empty()
    }

    fn give_up(&mut self, index: usize) {
        for side in Side::BOTH {
            let session = &self.program(side).sessions[index];
            if session.has_begun() && !session.is_over() {
                self.network.with_app(build::node(side), |app, cx| app.give_up(cx, index));
            }
        }
        self.watches[index].progressed = self.network.now();
    }
}

/// How long there may be no progress: retransmissions back off to the length of the outages there were, and joins that
/// were refused are tried again after up to a minute.
fn patience(scenario: &Scenario) -> Duration {
    let outage = |what: &Trouble| match *what {
        Trouble::Cut(ms) | Trouble::Leave(ms) => ms,
        Trouble::Flap { down, up, times } => (down + up) * u64::from(times),
        Trouble::Lossy { ms, .. } => ms,
        Trouble::Rate(_) | Trouble::Delay(_) | Trouble::Backup(_) => 0,
    };
    let outages: u64 = scenario.events.iter().map(|event| outage(&event.what)).sum();
    let joins = if scenario.events.is_empty() { 0 } else { 60 };
    Duration::from_secs(60 + joins) + Duration::from_millis((3 * outages).min(120_000))
}
