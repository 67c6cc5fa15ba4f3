//! A cell played: two hosts, two paths, boxes on them, one connection with data both ways.

use std::net::SocketAddr;
use std::time::Duration;

use polypath_proto::{Config, FallbackReason, Instant, MultipathState};
use polypath_sim::middlebox::{Kind, TOKEN};
use polypath_sim::{
    Checksums, LinkParams, LinkSpec, Network, NodeId, PORT, Pattern, Rate, Trace, client_addr, server_addr,
};

use crate::cell::{Cell, Outcome, Seen};
use crate::end::{End, Opening, PAUSE};

/// Bytes each way.
const BYTES: usize = 120_000;
/// From one token in the stream to the next.
const TOKEN_EVERY: usize = 9_001;
/// Nobody waits longer for anything: 15 minutes of retransmissions, and a minute for another subflow.
const LONGEST: Duration = Duration::from_secs(20 * 60);
/// Far more than any run needs.
const MOST_FRAMES: u64 = 50_000;

/// What an end sends: bytes that differ from place to place, with something in them that gateways look for.
fn stream(seed: u64) -> Vec<u8> {
    let mut bytes = Pattern::Seeded(seed).bytes(0, BYTES).to_vec();
    for at in (3_000..BYTES - TOKEN.len()).step_by(TOKEN_EVERY) {
        bytes[at..at + TOKEN.len()].copy_from_slice(TOKEN);
    }
    bytes
}

/// The bytes received are those sent, but for tokens replaced and bits turned over; how many there are of these. `Err`:
/// where that is not so.
fn compare(sent: &[u8], received: &[u8], cell: &Cell) -> Result<usize, String> {
    let replacements = cell.replacements();
    let flips = cell.boxes.iter().any(|(_, spec)| matches!(spec.kind, Kind::CorruptMended));
    let (mut at, mut from, mut altered) = (0, 0, 0);
    while at < received.len() {
        if from >= sent.len() {
            return Err(format!("{} bytes more than were sent", received.len() - at));
        }
        let rest = &received[at..];
        let replaced = replacements.iter().find(|with| sent[from..].starts_with(TOKEN) && begins(rest, with));
        if let Some(with) = replaced.filter(|_| !begins(rest, TOKEN)) {
            at += with.len().min(rest.len());
            from += TOKEN.len();
            altered += 1;
        } else if rest[0] == sent[from] || (flips && rest[0] == sent[from] ^ 0x40) {
            altered += usize::from(rest[0] != sent[from]);
            at += 1;
            from += 1;
        } else {
            return Err(format!("byte {at} is not what was sent"));
        }
    }
    Ok(altered)
}

/// One is the beginning of the other: the end of what was received may lie anywhere.
fn begins(rest: &[u8], with: &[u8]) -> bool {
    let len = rest.len().min(with.len());
    rest[..len] == with[..len]
}

struct Run {
    network: Network<End>,
    progress: usize,
    since: Instant,
    silence: Duration,
}

fn build(cell: &Cell, trace: Trace) -> Run {
    let mut network = Network::new(1, Checksums::Computed, trace);
    let remote = SocketAddr::new(server_addr(0, false), PORT);
    let local = SocketAddr::new(client_addr(0, false), 0);
    let config = Config { dss_checksum: cell.checksums, ..Config::default() };
    let client = network.add_host("client", config.clone(), End::new(Opening::Connect { local, remote }, stream(1)));
    let server = network.add_host("server", config, End::new(Opening::Listen(remote), stream(2)));
    let switch = network.add_switch("switch");
    for (path, name) in ["wifi", "lte"].into_iter().enumerate() {
        let params = LinkParams::new(Rate::mbit(20), Duration::from_millis(10 + 5 * path as u64));
        let link = network.add_link(client, switch, LinkSpec::new(name, params));
        let addr = client_addr(path, false);
        network.add_address(client, link, addr, name, false);
        network.add_route(switch, Some(addr), link);
        for (_, spec) in cell.boxes.iter().filter(|(on, _)| *on == path) {
            network.add_middlebox(link, spec.build());
        }
    }
    let params = LinkParams::new(Rate::UNLIMITED, Duration::ZERO);
    let link = network.add_link(server, switch, LinkSpec { quiet: true, ..LinkSpec::new("lan", params) });
    network.add_address(server, link, remote.ip(), "lan", false);
    network.add_route(switch, Some(remote.ip()), link);
    Run { network, progress: 0, since: Instant::ZERO, silence: Duration::ZERO }
}

const ENDS: [NodeId; 2] = [polypath_sim::CLIENT, polypath_sim::SERVER];

impl Run {
    fn ends(&self) -> [&End; 2] {
        ENDS.map(|id| &self.network.host(id).app)
    }

    /// The server is over, too, where no connection came before the client gave up.
    fn is_over(&self) -> bool {
        let [client, server] = self.ends();
        client.is_over() && (server.is_over() || (server.waits() && client.error.is_some()))
    }

    /// Until both ends are over. `Err`: they never are.
    fn play(&mut self) -> Result<(), String> {
        self.network.start();
        while !self.is_over() {
            if !self.network.step().map_err(|fault| format!("{fault:?}"))? {
                return Err("nothing will ever happen again, and the applications wait".to_owned());
            }
            self.watch()?;
        }
        // What the stacks do by themselves.
        let end = self.network.now() + Duration::from_secs(10);
        while self.network.next_at().is_some_and(|at| at <= end) {
            self.network.step().map_err(|fault| format!("{fault:?}"))?;
            self.watch_frames()?;
        }
        Ok(())
    }

    fn watch(&mut self) -> Result<(), String> {
        let now = self.network.now();
        let silent = (now - self.since).saturating_sub(PAUSE);
        self.silence = self.silence.max(silent);
        if silent > LONGEST {
            return Err(format!("a stall: nothing gets on since {:?}", self.since));
        }
        let progress = self.ends().iter().map(|end| end.progress()).sum();
        if progress != self.progress {
            self.progress = progress;
            self.since = now;
        }
        self.watch_frames()
    }

    fn watch_frames(&self) -> Result<(), String> {
        match self.network.frames() {
            frames if frames > MOST_FRAMES => Err(format!("a packet storm: {frames} frames")),
            _ => Ok(()),
        }
    }
}

/// Plays a cell. `Err`: what must not be, whatever boxes there are.
pub(crate) fn play(cell: &Cell, trace: Trace) -> Result<Seen, String> {
    let mut run = build(cell, trace);
    run.play()?;
    let [client, server] = run.ends();
    let sent = [stream(2), stream(1)];
    let (mut altered, mut corrupt) = (0, false);
    for (name, end, sent) in [("client", client, &sent[0]), ("server", server, &sent[1])] {
        match compare(sent, &end.received, cell) {
            Ok(places) => altered += places,
            // The application knows that it cannot trust what it has.
            Err(_) if end.error.is_some() => altered += 1,
            // Only checksums could have shown it (RFC 8684, section 3.3.1).
            Err(_) if cell.may_be_corrupted() => corrupt = true,
            Err(what) => return Err(format!("{name}: {what}")),
        }
        if end.ended && altered == 0 && !corrupt && end.received.len() < sent.len() {
            return Err(format!("{name}: the stream ended after {} bytes", end.received.len()));
        }
    }
    let fallback = [client, server].map(|end| match end.info.as_ref().map(|info| info.multipath) {
        Some(MultipathState::Fallback(reason)) => Some(reason),
        _ => None,
    });
    let outcome = if corrupt { Outcome::Corrupt } else { judge([client, server], fallback) };
    let unnoticed = altered > 0 && cell.checksums && fallback.iter().all(Option::is_none) && outcome != Outcome::Reset;
    if unnoticed {
        return Err("data was altered, and with checksums nobody noticed".to_owned());
    }
    let errors = [client.error, server.error];
    Ok(Seen { outcome, altered, fallback, errors, silence: run.silence, frames: run.network.frames() })
}

fn judge(ends: [&End; 2], fallback: [Option<FallbackReason>; 2]) -> Outcome {
    let paths = [0, 1].map(|path| client_addr(path, false));
    let missing = paths.iter().any(|addr| !ends[0].joined.iter().any(|joined| joined.ip() == *addr));
    if ends.iter().any(|end| end.error.is_some()) {
        Outcome::Reset
    } else if fallback.iter().any(Option::is_some) {
        Outcome::Fallback
    } else if missing || ends.iter().any(|end| !end.lost.is_empty()) {
        Outcome::Subflow
    } else {
        Outcome::Multipath
    }
}
