//! Scenarios drawn from a seed.
//!
//! Most parts are quiet in most scenarios: what goes wrong is found more easily where few things happen at once, and some
//! things only go wrong where others go right.

use polypath_proto::congestion::CongestionKind;
use polypath_proto::scheduler::SchedulerKind;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::scenario::{
    Access, At, BoxPlan, ConnectionPlan, Cookies, Ecn, Ending, Flow, Happening, HostPlan, Quit, Scenario, Settings,
    Side, Trouble, Way,
};
use crate::rng::{self, Stream};

/// Longest time that anything is out of order, in milliseconds: a lone subflow tries again within twice that.
const LONGEST_OUTAGE: f64 = 15_000.0;

/// The scenario of this seed.
pub fn scenario(seed: u64) -> Scenario {
    let rng = &mut rng::stream(seed, Stream::Scenario);
    let client_links = rng.random_range(1..=4);
    let server_links = [1, 1, 1, 2, 2, 3][rng.random_range(0..6)];
    // One kind of address for all, or a mixture that begins with one both have.
    let ipv6 = rng.random_bool(0.3);
    let mixed = rng.random_bool(0.3);
    let mut client = host(rng, client_links, ipv6, mixed);
    let mut server = host(rng, server_links, ipv6, mixed);
    if rng.random_bool(0.5) {
        // The server stands in a data centre.
        server.links.iter_mut().for_each(fast);
    }
    options(rng, &mut client, &mut server);
    boxes(rng, &mut client);
    let count = [1, 1, 1, 1, 1, 2, 2, 3, 4][rng.random_range(0..9)];
    let connections: Vec<_> = (0..count).map(|_| connection(rng, &client, &server, count)).collect();
    let total = connections.iter().map(|plan| plan.up.bytes + plan.down.bytes).sum();
    let sides = [(Side::Client, client.links.len()), (Side::Server, server.links.len())];
    let many = [0, 0, 1, 1, 2, 3, 6][rng.random_range(0..7)];
    let events = (0..many).map(|_| happening(rng, total, sides)).collect();
    let corrupts = |host: &HostPlan| host.links.iter().any(|link| link.up.corrupt + link.down.corrupt > 0);
    let sound = |host: &mut HostPlan| host.links.iter_mut().for_each(|l| (l.up.corrupt, l.down.corrupt) = (0, 0));
    let coalesces = |host: &HostPlan| host.links.iter().any(|link| link.coalesce_us > 0);
    // Two changed bits may look right to a checksum, and who puts segments together makes a new one.
    if corrupts(&client) || coalesces(&client) {
        sound(&mut server);
    }
    if coalesces(&client) || coalesces(&server) {
        sound(&mut client);
    }
    if coalesces(&server) {
        sound(&mut server);
    }
    // Without checksums nobody would notice.
    let checksums = corrupts(&client) || corrupts(&server) || rng.random_bool(0.1);
    Scenario { seed, client, server, connections, events, checksums }
}

fn host(rng: &mut ChaCha8Rng, links: usize, ipv6: bool, mixed: bool) -> HostPlan {
    let mut link = |number| {
        let other = number > 0 && mixed && rng.random_bool(0.5);
        access(rng, ipv6 ^ other)
    };
    let links = (0..links).map(&mut link).collect();
    let tick_us = pick(rng, &[(5, 0), (2, 1_000), (1, 4_000), (1, 10_000)]);
    HostPlan { links, settings: Settings::default(), tick_us }
}

fn access(rng: &mut ChaCha8Rng, ipv6: bool) -> Access {
    let (kbit, delay_us) = (log(rng, 300.0, 100_000.0), log(rng, 500.0, 100_000.0));
    let up = way(rng, kbit, delay_us);
    // Every fourth is much faster down than up, or the other way round.
    let down = if rng.random_bool(0.25) { log(rng, 300.0, 100_000.0) } else { kbit };
    let down = way(rng, down, delay_us);
    let mtu = if rng.random_bool(0.2) { rng.random_range(if ipv6 { 1_280 } else { 600 }..=1_500) } else { 1_500 };
    let coalesce_us = if rng.random_bool(0.2) { log(rng, 10.0, 1_000.0) as u32 } else { 0 };
    let (backup, offload) = (rng.random_bool(0.1), rng.random_bool(0.7));
    Access { ipv6, backup, mtu, offload, coalesce_us, up, down, boxes: Vec::new() }
}

fn way(rng: &mut ChaCha8Rng, kbit: u64, delay_us: u64) -> Way {
    // A fifth of the bandwidth-delay product up to four of them, but room for some frames.
    let product = kbit as f64 * delay_us as f64 * 2.0 / 8_000.0;
    let queue = ((product * log(rng, 200.0, 4_000.0) as f64 / 1_000.0) as u64).max(8 * 1_514);
    let mut way = Way { kbit, delay_us, queue, ..Way::default() };
    if rng.random_bool(0.5) {
        return way;
    }
    way.loss = sometimes(rng, 0.6, 60);
    way.duplicate = sometimes(rng, 0.3, 30);
    way.reorder = sometimes(rng, 0.5, 60);
    way.reorder_us = log(rng, 100.0, 2.0 * delay_us as f64 + 200.0);
    way.jitter_us = if rng.random_bool(0.3) { rng.random_range(0..=delay_us / 2) } else { 0 };
    way.corrupt = sometimes(rng, 0.15, 20);
    way.mark = sometimes(rng, 0.1, 100);
    way
}

/// No limit worth mentioning.
fn fast(link: &mut Access) {
    for way in [&mut link.up, &mut link.down] {
        *way = Way { kbit: 1_000_000, delay_us: 100, queue: 10_000_000, ..Way::default() };
    }
}

/// What both stacks are told.
fn options(rng: &mut ChaCha8Rng, client: &mut HostPlan, server: &mut HostPlan) {
    let schedulers: Vec<_> = SchedulerKind::NAMES.iter().map(|name| (1, *name)).collect();
    let controls: Vec<_> = CongestionKind::NAMES.iter().map(|name| (1, *name)).collect();
    for host in [client, server] {
        let settings = &mut host.settings;
        settings.scheduler = pick(rng, &schedulers).to_owned();
        settings.congestion = pick(rng, &controls).to_owned();
        settings.multipath = !rng.random_bool(0.06);
        settings.dss_checksum = rng.random_bool(0.15);
        settings.allow_join_initial = !rng.random_bool(0.1);
        settings.announce = !rng.random_bool(0.2);
        settings.announce_port = rng.random_bool(0.1).then_some(8_000);
        settings.ecn = pick(rng, &[(3, Ecn::Accept), (1, Ecn::Off), (1, Ecn::Request)]);
        settings.mechanisms = !rng.random_bool(0.2);
        settings.syn_cookies = pick(rng, &[(8, Cookies::UnderPressure), (1, Cookies::Off), (1, Cookies::Always)]);
        settings.max_subflows = pick(rng, &[(6, 8), (1, 1), (1, 2), (1, 3)]);
        settings.nodelay = rng.random_bool(0.3);
        settings.keepalive_s = rng.random_bool(0.1).then(|| rng.random_range(1..=20));
        settings.backlog = pick(rng, &[(2, 16), (1, 1), (1, 2)]);
        for buffer in [&mut settings.send_buffer, &mut settings.recv_buffer] {
            if rng.random_bool(0.3) {
                *buffer = log(rng, 2_000.0, 2_000_000.0) as usize;
            }
        }
    }
}

/// In one scenario of four something on the client's links changes or drops segments.
fn boxes(rng: &mut ChaCha8Rng, client: &mut HostPlan) {
    if !rng.random_bool(0.25) {
        return;
    }
    let plan = pick(
        rng,
        &[
            (3, BoxPlan::NoSack),
            (3, BoxPlan::NoTimestamps),
            (3, BoxPlan::NoWindowScale),
            (2, BoxPlan::NoMss),
            (1, BoxPlan::NoEcn),
            (1, BoxPlan::NoMultipath),
            (1, BoxPlan::NoMultipathInAnswers),
            (1, BoxPlan::NoMultipathInData),
            (1, BoxPlan::NoJoins),
        ],
    );
    let only = rng.random_bool(0.5).then(|| rng.random_range(0..client.links.len()));
    for (number, link) in client.links.iter_mut().enumerate() {
        if only.is_none_or(|only| only == number) {
            link.boxes.push(plan);
        }
    }
}

fn connection(rng: &mut ChaCha8Rng, client: &HostPlan, server: &HostPlan, count: usize) -> ConnectionPlan {
    let pairs: Vec<(usize, usize)> = (0..client.links.len())
        .flat_map(|from| (0..server.links.len()).map(move |to| (from, to)))
        .filter(|(from, to)| client.links[*from].ipv6 == server.links[*to].ipv6)
        .collect();
    let (from, to) = if rng.random_bool(0.6) { (0, 0) } else { pairs[rng.random_range(0..pairs.len())] };
    let most = 1_500_000.0 / count as f64;
    let (up, down) = match rng.random_range(0..4) {
        0 => (log(rng, 1_000.0, most), 0),
        1 => (0, log(rng, 1_000.0, most)),
        2 => (log(rng, 1_000.0, most), log(rng, 1_000.0, most)),
        // A request and its answer.
        _ => (log(rng, 10.0, 1_000.0), log(rng, 10.0, most)),
    };
    let ending = match rng.random_range(0..6) {
        0 => Ending::ClientLast,
        1 => Ending::ServerLast,
        2 if down == 0 => Ending::ClientLeaves,
        2 if up == 0 => Ending::ServerLeaves,
        _ => Ending::BothAtOnce,
    };
    let quit = rng.random_bool(0.12).then(|| {
        let side = if rng.random_bool(0.5) { Side::Client } else { Side::Server };
        Quit { side, after: (rng.random_range(0.0..1.0) * (up + down) as f64) as u64, reset: rng.random_bool(0.5) }
    });
    let start_ms = if count > 1 || rng.random_bool(0.1) { log(rng, 1.0, 3_000.0) } else { 0 };
    let (up, down) = (flow(rng, up), flow(rng, down));
    ConnectionPlan { start_ms, from, to, plain: rng.random_bool(0.03), up, down, ending, quit }
}

fn flow(rng: &mut ChaCha8Rng, bytes: u64) -> Flow {
    let (write, read) = (pieces(rng, bytes), pieces(rng, bytes));
    let (write_pause_after, write_pause_ms) = pause(rng, 0.2, bytes);
    let (read_pause_after, read_pause_ms) = pause(rng, 0.3, bytes);
    let zero_copy = pick(rng, &[(1, 0), (1, 500), (1, 1_000)]);
    Flow { bytes, write, zero_copy, write_pause_after, write_pause_ms, read, read_pause_after, read_pause_ms }
}

/// Tiny reads and writes only where there is little to do.
fn pieces(rng: &mut ChaCha8Rng, bytes: u64) -> (usize, usize) {
    match rng.random_range(0..5) {
        0 if bytes < 2_000 => (1, 1),
        0 if bytes < 100_000 => (1, 200),
        1 => (500, 5_000),
        2 => (65_536, 65_536),
        3 => (1_000_000, 1_000_000),
        _ => (1, 100_000),
    }
}

/// Rests, at most a few dozen: short ones, and long ones in which windows shut and paths fall idle.
fn pause(rng: &mut ChaCha8Rng, probability: f64, bytes: u64) -> (u64, u64) {
    if bytes == 0 || !rng.random_bool(probability) {
        return (0, 0);
    }
    let parts = pick(rng, &[(2, 2), (2, 8), (1, 40)]);
    ((bytes / parts).max(1), log(rng, 1.0, 40_000.0 / parts as f64))
}

fn happening(rng: &mut ChaCha8Rng, total: u64, sides: [(Side, usize); 2]) -> Happening {
    let at = match rng.random_bool(0.5) {
        true => At::Ms(log(rng, 1.0, 10_000.0)),
        false => At::Bytes((total as f64 * rng.random_range(0.0..1.0)) as u64),
    };
    let (side, links) = sides[usize::from(rng.random_bool(0.25))];
    let link = rng.random_range(0..links);
    let lasting = log(rng, 50.0, LONGEST_OUTAGE);
    let what = match rng.random_range(0..13) {
        0..4 => Trouble::Cut(lasting),
        4 => Trouble::Cut(0),
        5 | 6 => {
            let times = rng.random_range(2..=12);
            let each = (LONGEST_OUTAGE / f64::from(times)).min(2_000.0);
            Trouble::Flap { down: log(rng, 10.0, each), up: log(rng, 10.0, 2_000.0), times }
        }
        7 | 8 => {
            let (up, down) = [(true, true), (true, false), (false, true)][rng.random_range(0..3)];
            let loss = if rng.random_bool(0.5) { 1_000 } else { rng.random_range(200..900) };
            Trouble::Lossy { up, down, loss, ms: lasting }
        }
        9 => match rng.random_bool(0.5) {
            true => Trouble::Rate(log(rng, 300.0, 100_000.0)),
            false => Trouble::Delay(log(rng, 500.0, 150_000.0)),
        },
        10 => Trouble::Leave(lasting),
        11 => Trouble::Leave(0),
        _ => Trouble::Backup(rng.random_bool(0.5)),
    };
    Happening { at, side, link, what }
}

/// Mostly nothing, sometimes up to so many in a thousand.
fn sometimes(rng: &mut ChaCha8Rng, probability: f64, most: u32) -> u32 {
    if rng.random_bool(probability) { rng.random_range(1..=most) } else { 0 }
}

/// Uniform in the exponent: as many small values as large ones.
fn log(rng: &mut ChaCha8Rng, low: f64, high: f64) -> u64 {
    rng.random_range(low.ln()..high.ln()).exp() as u64
}

/// One of several, by weight.
fn pick<T: Clone>(rng: &mut ChaCha8Rng, choices: &[(u32, T)]) -> T {
    let mut left = rng.random_range(0..choices.iter().map(|(weight, _)| weight).sum::<u32>());
    for (weight, choice) in choices {
        match left.checked_sub(*weight) {
            None => return choice.clone(),
            Some(rest) => left = rest,
        }
    }
    unreachable!("the draw is less than the sum of the weights")
}
