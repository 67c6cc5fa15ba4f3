//! Paths that differ, or change: nobody waits for ever, nothing is doubled, one is never held down by what the other needed.

use crate::support::*;
use polypath_proto::scheduler::{Decision, Scheduler, SchedulerKind, SubflowSet, View};
use polypath_proto::{CloseReason, Config, Duration, Mechanisms, SubflowEvent, SubflowId};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

fn mbit(n: u64) -> u64 {
    n * 125_000
}

fn options(client: Config) -> PairOptions {
    PairOptions { client, ..PairOptions::default() }
}

fn with_lte(mut o: PairOptions, delay: Duration) -> PairOptions {
    o.delays = vec![(LTE, delay)];
    o
}

fn lone(address: IpAddr) -> PairOptions {
    PairOptions { client_addresses: vec![(address, false)], ..PairOptions::default() }
}

fn acked_within(pair: &mut Pair, time: Duration) -> u64 {
    let before = pair.server.received.len();
    pair.drive(time);
    (pair.server.received.len() - before) as u64
}

/// Penalised, and no queue limit.
#[test]
fn a_penalty_ends_with_the_other_subflow_and_without_a_queue_limit() {
    let run = |mechanisms: Mechanisms, remove: bool| {
        let mut o = options(Config { mechanisms, scheduler: SchedulerKind::RoundRobin, ..Config::default() });
        o.server.recv_buffer_max = 1_000_000;
        let mut pair = Pair::connected(&with_lte(o.clone(), ms(100)));
        pair.rates.insert(WIFI, mbit(100));
        pair.rates.insert(LTE, mbit(20));
        pair.send(Side::Client, 200_000_000);
        pair.drive(ms(5_000));
        if remove {
            pair.client.stack.remove_address(pair.now, WIFI);
        } else {
            pair.cut(WIFI);
        }
        pair.drive(ms(5_000));
        let got = acked_within(&mut pair, ms(5_000));
        got * 8 / 5_000
    };
    let without = run(Mechanisms { queue_limit: None, penalisation: false, ..Mechanisms::default() }, false);
    let with = run(Mechanisms { queue_limit: None, ..Mechanisms::default() }, false);
    let removed = run(Mechanisms::default(), true);
    assert!(
        with * 10 >= without * 9 && removed * 10 >= without * 9,
        "{with} and {removed} kbit/s, and {without} without penalties"
    );
}

/// Names what has no room.
#[derive(Debug)]
struct Names(SubflowId, u64);
impl Scheduler for Names {
    fn name(&self) -> &'static str {
        "names"
    }
    fn schedule(&mut self, _: &View<'_>) -> Decision {
        Decision::Send { on: SubflowSet::only(self.0), limit: self.1 }
    }
}

fn survives(make: impl Fn() -> Box<dyn Scheduler> + Send + Sync + 'static, remove: bool) {
    let mut pair = Pair::connected(&options(Config { scheduler: SchedulerKind::custom(make), ..Config::default() }));
    pair.send(Side::Client, 400_000);
    pair.drive(ms(100));
    if remove {
        pair.client.stack.remove_address(pair.now, WIFI);
    }
    pair.cut(WIFI);
    pair.drive(ms(300_000));
    pair.assert_received(Side::Server, 400_000);
}

#[test]
fn a_scheduler_that_never_sends_survives_a_cut() {
    survives(|| Box::new(Never), false);
}

#[test]
fn a_scheduler_that_never_sends_survives_an_address_that_vanishes() {
    survives(|| Box::new(Never), true);
}

#[test]
fn one_that_knows_only_the_first_path_survives_its_end() {
    survives(|| Box::new(Names(SubflowId(0), u64::MAX)), false);
}

#[test]
fn one_that_names_nobody_is_overruled() {
    survives(|| Box::new(Names(SubflowId(7), u64::MAX)), false);
}

#[test]
fn one_that_sends_nothing_is_overruled() {
    survives(|| Box::new(Names(SubflowId(1), 0)), false);
}

#[derive(Debug)]
struct Steered(Arc<AtomicU16>);
impl Scheduler for Steered {
    fn name(&self) -> &'static str {
        "steered"
    }
    fn schedule(&mut self, view: &View<'_>) -> Decision {
        if view.reinjection_of.is_some() {
            return Decision::on(view.fastest_with_room());
        }
        let id = SubflowId(self.0.load(Ordering::Relaxed));
        Decision::on(view.paths.iter().find(|p| p.id == id && p.fits(view.pending)))
    }
}

#[test]
fn a_fast_subflow_is_suspected_in_time_whatever_a_slow_one_has_out() {
    let run = |slow_first: bool| {
        let on = Arc::new(AtomicU16::new(0));
        let make = {
            let on = on.clone();
            move || Box::new(Steered(on.clone())) as Box<dyn Scheduler>
        };
        let mut pair =
            Pair::connected(&options(Config { scheduler: SchedulerKind::custom(make), ..Config::default() }));
        pair.delays.insert(LTE, ms(150));
        // Round trips are measured, acknowledgements known to be prompt.
        for i in 0..60 {
            on.store(i % 2, Ordering::Relaxed);
            pair.send(Side::Client, 3_000);
            pair.drive(ms(500));
        }
        if slow_first {
            on.store(1, Ordering::Relaxed);
            pair.send(Side::Client, 3_000);
            pair.drive(ms(5));
        }
        on.store(0, Ordering::Relaxed);
        let cut = pair.now;
        pair.cut(WIFI);
        let before = pair.info(Side::Client).bytes_reinjected;
        pair.send(Side::Client, 3_000);
        pair.drive_until(ms(2_000), |p| p.info(Side::Client).bytes_reinjected > before);
        (pair.now - cut).as_millis()
    };
    let (alone, behind) = (run(false), run(true));
    assert!(behind <= alone + 5, "{alone} ms, and {behind} ms with something on the slow one");
}

#[test]
fn a_live_subflow_is_not_reset_because_acknowledgements_are_late() {
    let config = Config { scheduler: SchedulerKind::Redundant, send_buffer_max: 256 << 10, ..Config::default() };
    let mut pair = Pair::connected(&with_lte(options(config), ms(150)));
    pair.rates.insert(WIFI, mbit(20));
    pair.send(Side::Client, 40_000_000);
    pair.drive(ms(6_000));
    // Round trips are 180 ms longer from here on: below any timeout.
    pair.delays.insert(LTE, ms(240));
    pair.drive(ms(3_000));
    let mut events = pair.subflow_events(Side::Client);
    events.retain(|(at, ..)| at.as_millis() > 6_500);
    let stalled = events.iter().any(|(_, p, e)| *p == LTE && *e == SubflowEvent::Stalled);
    let closed = events.iter().any(|(_, p, e)| *p == LTE && *e == SubflowEvent::Closed(CloseReason::Silent));
    assert!(!closed, "stalled: {stalled}");
}

#[test]
fn redundant_sends_nothing_twice_on_one_path() {
    for slow in [WIFI, LTE] {
        let config = Config { scheduler: SchedulerKind::Redundant, send_buffer_max: 64 << 10, ..Config::default() };
        let mut pair = Pair::connected(&with_lte(options(config), ms(10)));
        pair.delays.insert(slow, ms(60));
        let start = pair.now;
        pair.send(Side::Client, 3_000_000);
        pair.drive(ms(20_000));
        pair.assert_received(Side::Server, 3_000_000);
        let fast = if slow == WIFI { LTE } else { WIFI };
        let on = |path: IpAddr| {
            let sent = pair.log.iter().filter(|p| p.by == Side::Client && p.path() == path && p.at >= start);
            sent.map(|p| p.payload.len()).sum::<usize>()
        };
        assert!(on(fast) < 3_100_000, "{}", on(fast));
    }
}

#[test]
fn one_that_is_alone_is_not_looked_at_each_millisecond() {
    let on = Arc::new(AtomicU16::new(1));
    let make = {
        let on = on.clone();
        move || Box::new(Steered(on.clone())) as Box<dyn Scheduler>
    };
    let mut pair = Pair::connected(&options(Config { scheduler: SchedulerKind::custom(make), ..Config::default() }));
    pair.cut(LTE);
    pair.send(Side::Client, 3_000);
    pair.drive(ms(2_000));
    assert_eq!(pair.server.received.len(), 3_000);
    on.store(0, Ordering::Relaxed);
    for rtt in [10, 100, 300] {
        pair.mend(WIFI);
        pair.delays.insert(WIFI, ms(rtt));
        for _ in 0..40 {
            pair.send(Side::Client, 3_000);
            pair.drive(ms(1_000));
        }
        pair.cut(WIFI);
        pair.send(Side::Client, 3_000);
        let before = pair.timeouts;
        pair.drive(ms(3_000));
        assert!(pair.timeouts - before < 60);
    }
}

/// A backup.
#[test]
fn a_backup_is_not_used_for_a_late_acknowledgement() {
    let mut o = options(Config::default());
    o.client_addresses = vec![(WIFI, false), (LTE, true)];
    let mut pair = Pair::connected(&with_lte(o.clone(), ms(10)));
    pair.rates.insert(WIFI, mbit(20));
    pair.send(Side::Client, 40_000_000);
    pair.drive(ms(2_000));
    for _ in 0..20 {
        pair.delays.insert(WIFI, ms(40));
        pair.drive(ms(250));
        pair.delays.insert(WIFI, ms(10));
        pair.drive(ms(250));
    }
    let bytes: usize =
        pair.log.iter().filter(|p| p.by == Side::Client && p.path() == LTE).map(|p| p.payload.len()).sum();
    assert!(bytes < 20_000);
}

/// A message now and then, over a path that could carry it alone and a very slow one besides.
#[test]
fn messages_are_not_slower_for_a_very_slow_second_path() {
    let median = |both: bool, lte: (u64, u64), bytes: u64| {
        let mut o = if both { options(Config::default()) } else { lone(WIFI) };
        o.delays = vec![(LTE, ms(lte.1 / 2))];
        let mut pair = Pair::connected(&o);
        pair.rates.insert(WIFI, mbit(50));
        pair.queues.insert(WIFI, ms(100));
        pair.rates.insert(LTE, mbit(lte.0));
        pair.queues.insert(LTE, ms(1_000));
        pair.send(Side::Client, 3_000_000);
        pair.drive(ms(4_000));
        let mut took = Vec::new();
        for _ in 0..30 {
            let (start, want) = (pair.now, pair.server.received.len() + bytes as usize);
            pair.send(Side::Client, bytes);
            pair.drive_until(ms(10_000), |p| p.server.received.len() >= want);
            took.push((pair.now - start).as_millis());
            pair.drive(ms(600));
        }
        took.sort_unstable();
        took[15]
    };
    for (lte, bytes) in [((2, 100), 40_000), ((2, 100), 400_000), ((20, 60), 150_000)] {
        let (both, one) = (median(true, lte, bytes), median(false, lte, bytes));
        assert!(both * 10 <= one * 11, "{bytes} bytes, {lte:?}: {both} ms, and {one} ms on one path");
    }
}
