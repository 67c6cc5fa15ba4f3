//! Transfers drawn from a seed: two paths, lossy, reordering and cut.

use std::time::Duration;

use polypath_proto::congestion::CongestionKind;
use polypath_proto::{Instant, LocalAddress};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::link::{LinkParams, Rate};
use crate::middlebox::{self, Strip};
use crate::pattern::Pattern;
use crate::rng::{self, Stream};
use crate::schedule::{Change, When};
use crate::stream::{Finish, Pace, StreamPlan};
use crate::topology::{Checksums, LinkSpec};
use crate::transfer::{self, CLIENT, PathSpec, Transfer, client_addr, path_link};

/// Below this many bytes a path never dies for good: the peers may not yet agree on Multipath TCP, and a plain
/// connection does not outlive its path.
const LARGE: u64 = 200_000;

/// The transfer of this seed.
pub fn transfer(seed: u64) -> Transfer {
    let mut rng = rng::stream(seed, Stream::Scenario);
    let rng = &mut rng;
    let (client, server) = plans(rng, seed);
    let total = client.send + server.send;
    let paths = vec![path(rng, "wifi"), path(rng, "lte")];
    let mut transfer = Transfer::new(seed, paths, client, server);
    transfer.server_addresses = rng.random_range(1..=2);
    transfer.ipv6 = rng.random_bool(0.2);
    if rng.random_bool(0.1) {
        transfer.checksums = Checksums::Computed;
    }
    transfer.server_link.coalesce = coalesce(rng);
    boxes(rng, &mut transfer);
    changes(rng, total, &mut transfer);
    // A share of them with a congestion control that paces.
    if seed % 4 == 3 {
        transfer.client.congestion = CongestionKind::Bbr;
        transfer.server.congestion = CongestionKind::Bbr;
    }
    transfer
}

/// Sizes, rhythm and end of both streams.
fn plans(rng: &mut ChaCha8Rng, seed: u64) -> (StreamPlan, StreamPlan) {
    let (up, down) = match rng.random_range(0..3) {
        0 => (size(rng), 0),
        1 => (0, size(rng)),
        _ => (size(rng), size(rng)),
    };
    let patterns = (Pattern::Seeded(seed.wrapping_mul(2)), Pattern::Seeded(seed.wrapping_mul(2) + 1));
    let mut client = plan(rng, (up, patterns.0), (down, patterns.1));
    let mut server = plan(rng, (down, patterns.1), (up, patterns.0));
    match rng.random_range(0..4) {
        0 => client.finish = Finish::AfterPeer,
        1 => server.finish = Finish::AfterPeer,
        2 if down == 0 => client.finish = Finish::CloseWhenWritten,
        2 if up == 0 => server.finish = Finish::CloseWhenWritten,
        _ => {}
    }
    (client, server)
}

/// 10 KB to 4 MB, small ones as likely as large ones.
fn size(rng: &mut ChaCha8Rng) -> u64 {
    let exponent = rng.random_range(10_000f64.ln()..4_000_000f64.ln());
    exponent.exp() as u64
}

fn plan(rng: &mut ChaCha8Rng, send: (u64, Pattern), receive: (u64, Pattern)) -> StreamPlan {
    let total = send.0 + receive.0;
    StreamPlan {
        send: send.0,
        send_pattern: send.1,
        receive: receive.0,
        receive_pattern: receive.1,
        write_sizes: sizes(rng, total),
        zero_copy: [0.0, 0.5, 1.0][rng.random_range(0..3)],
        write_pace: pace(rng, 0.2, send.0),
        read_sizes: sizes(rng, total),
        read_pace: pace(rng, 0.3, receive.0),
        finish: Finish::HalfClose,
    }
}

/// Tiny reads and writes only where there is little to do.
fn sizes(rng: &mut ChaCha8Rng, total: u64) -> std::ops::RangeInclusive<usize> {
    match rng.random_range(0..4) {
        0 if total < 100_000 => 1..=200,
        1 => 500..=5_000,
        2 => 65_536..=65_536,
        _ => 1..=100_000,
    }
}

/// Some rests, at most a few dozen.
fn pace(rng: &mut ChaCha8Rng, probability: f64, total: u64) -> Option<Pace> {
    rng.random_bool(probability).then(|| Pace {
        bytes: (total / rng.random_range(1..=40)).max(1),
        rest: Duration::from_micros(log_uniform(rng, 1_000.0, 1_500_000.0) as u64),
    })
}

fn path(rng: &mut ChaCha8Rng, name: &str) -> PathSpec {
    let rate = Rate::kbit(log_uniform(rng, 1_000.0, 100_000.0) as u64);
    let one_way = Duration::from_micros(log_uniform(rng, 1_000.0, 100_000.0) as u64);
    let (forward, backward) = (params(rng, rate, one_way), params(rng, rate, one_way));
    let mtu = if rng.random_bool(0.2) { rng.random_range(1_280..=1_500) } else { 1_500 };
    let max_segment = if rng.random_bool(0.3) { mtu } else { 65_535 };
    let coalesce = coalesce(rng);
    let link = LinkSpec { name: name.to_owned(), mtu, max_segment, quiet: false, coalesce, forward, backward };
    PathSpec { link, backup: rng.random_bool(0.1) }
}

/// Sometimes the network card gathers and merges.
fn coalesce(rng: &mut ChaCha8Rng) -> Option<Duration> {
    rng.random_bool(0.3).then(|| Duration::from_micros(log_uniform(rng, 10.0, 1_000.0) as u64))
}

fn params(rng: &mut ChaCha8Rng, rate: Rate, delay: Duration) -> LinkParams {
    // A fifth of the bandwidth-delay product up to four times of it, but room for some frames.
    let product = rate.bytes_in(delay * 2) as f64;
    let queue = (product * log_uniform(rng, 0.2, 4.0)) as u64;
    let sometimes = |rng: &mut ChaCha8Rng, probability, most| {
        if rng.random_bool(probability) { rng.random_range(0.0..most) } else { 0.0 }
    };
    LinkParams {
        rate,
        delay,
        queue_bytes: queue.max(8 * 1_514),
        red: None,
        loss: sometimes(rng, 0.6, 0.05),
        duplicate: sometimes(rng, 0.3, 0.02),
        jitter: delay.mul_f64(sometimes(rng, 0.3, 0.5)),
        reorder: sometimes(rng, 0.5, 0.05),
        reorder_delay: delay.mul_f64(rng.random_range(0.1..2.0)),
    }
}

/// In one transfer of eight the way is barred to Multipath TCP in some manner.
fn boxes(rng: &mut ChaCha8Rng, transfer: &mut Transfer) {
    let barred = match rng.random_range(0..32) {
        0 | 1 => Strip::Syn,
        2 => Strip::SynAck,
        3 => {
            transfer.boxes.push((1, Box::new(middlebox::drop_joins())));
            transfer.first_path_only = true;
            return;
        }
        _ => return,
    };
    transfer.first_path_only = true;
    transfer.boxes.push((0, Box::new(middlebox::strip_mptcp(barred))));
}

/// Cuts: mostly of one path at a time, sometimes of both, sometimes with the address gone, sometimes for good.
fn changes(rng: &mut ChaCha8Rng, total: u64, transfer: &mut Transfer) {
    for _ in 0..rng.random_range(0..4) {
        let when = moment(rng, total);
        let path = rng.random_range(0..2);
        let lasting = Duration::from_millis(log_uniform(rng, 100.0, 8_000.0) as u64);
        let cut = Change::Cut { link: path_link(path), lasting: Some(lasting) };
        transfer.changes.push((when, cut));
        if rng.random_bool(0.15) {
            let other = Change::Cut { link: path_link(1 - path), lasting: Some(lasting.mul_f64(0.9)) };
            transfer.changes.push((when, other));
        } else if path == 1 && rng.random_bool(0.3) {
            leave_and_return(rng, transfer, when, path, lasting);
        }
    }
    if total >= LARGE && !transfer.first_path_only && rng.random_bool(0.2) {
        let when = When::Delivered((total as f64 * rng.random_range(0.4..0.9)) as u64);
        death(rng, transfer, when);
    } else if rng.random_bool(0.3) {
        let link = path_link(rng.random_range(0..2));
        let rate = Rate::kbit(log_uniform(rng, 1_000.0, 100_000.0) as u64);
        transfer.changes.push((moment(rng, total), Change::Rate(link, rate)));
    }
}

fn moment(rng: &mut ChaCha8Rng, total: u64) -> When {
    if rng.random_bool(0.5) {
        When::At(Instant::ZERO + Duration::from_micros(log_uniform(rng, 1_000.0, 10_000_000.0) as u64))
    } else {
        When::Delivered((total as f64 * rng.random_range(0.0..1.0)) as u64)
    }
}

/// The client is told that the address has gone. It comes back at a time of its own, drawn generously, since the cut
/// may begin at any time.
fn leave_and_return(rng: &mut ChaCha8Rng, transfer: &mut Transfer, when: When, path: usize, lasting: Duration) {
    let addr = client_addr(path, transfer.ipv6);
    transfer.changes.push((when, Change::RemoveAddress(CLIENT, addr)));
    let back = Instant::ZERO + Duration::from_secs(10) + lasting + Duration::from_millis(rng.random_range(0..2_000));
    let spec = &transfer.paths[path];
    let address = LocalAddress {
        addr,
        link: transfer::client_link(path),
        backup: spec.backup,
        name: Some(spec.link.name.as_str().into()),
    };
    transfer.changes.push((When::At(back), Change::AddAddress(CLIENT, address)));
}

/// One path dies for good, and no other change happens after the one that kills it.
fn death(rng: &mut ChaCha8Rng, transfer: &mut Transfer, when: When) {
    let path = rng.random_range(0..2);
    transfer.changes.retain(|(_, change)| matches!(change, Change::Cut { .. }));
    transfer.changes.push((when, Change::Cut { link: path_link(path), lasting: None }));
    // A cut that ends later would bring it back to life.
    let dead = path_link(path);
    transfer.changes.retain(|(_, change)| !matches!(change, Change::Cut { link, lasting: Some(_) } if *link == dead));
    if rng.random_bool(0.5) {
        transfer.changes.push((when, Change::RemoveAddress(CLIENT, client_addr(path, transfer.ipv6))));
    }
}

/// Uniform in the exponent: as many small values as large ones.
fn log_uniform(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    rng.random_range(low.ln()..high.ln()).exp()
}
