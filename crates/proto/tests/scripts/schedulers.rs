//! Which subflow gets what: each scheduler by its answers, and a connection under one of the application's own.

use crate::support::*;
use polypath_proto::scheduler::{Decision, PathView, Scheduler, SchedulerKind, SubflowSet, View};
use polypath_proto::{Config, Duration, Instant, SubflowId};

const MSS: u64 = 1_428;
const FAST: SubflowId = SubflowId(0);
const SLOW: SubflowId = SubflowId(1);

/// With a window of so many segments, and so many of them in flight, the first of which has just been sent.
fn path(id: SubflowId, rtt: u64, cwnd: u64, in_flight: u64) -> PathView {
    PathView {
        id,
        srtt: ms(rtt),
        min_rtt: ms(rtt),
        rttvar: ms(1),
        cwnd: cwnd * MSS,
        in_flight: in_flight * MSS,
        room: (cwnd - in_flight) * MSS,
        oldest_sent: (in_flight > 0).then_some(Instant::from_millis(1_000)),
        heard: None,
        delivery_rate: 0,
        mss: MSS,
        backup: false,
        stalled: false,
        suspected: false,
    }
}

/// A window of 1 MB, nearly unused.
fn view(paths: &[PathView], pending: u64) -> View<'_> {
    View {
        now: Instant::from_millis(1_000),
        paths,
        pending,
        window: 1_000_000,
        in_flight: paths.iter().map(|p| p.in_flight).sum(),
        reinjection_of: None,
    }
}

/// Each with state of its own, asked by the name that users know.
fn named(name: &str) -> impl FnMut(&View<'_>) -> Decision {
    use polypath_proto::scheduler::{Best, Blest, Ecf, Linux, MinRtt, Redundant, RoundRobin};
    let mut scheduler: Box<dyn Scheduler> = match name.parse::<SchedulerKind>().expect(name) {
        SchedulerKind::MinRtt => Box::new(MinRtt),
        SchedulerKind::Linux => Box::new(Linux),
        SchedulerKind::RoundRobin => Box::new(RoundRobin::default()),
        SchedulerKind::Redundant => Box::new(Redundant),
        SchedulerKind::Blest => Box::new(Blest::default()),
        SchedulerKind::Ecf => Box::new(Ecf::default()),
        _ => Box::new(Best),
    };
    assert_eq!(scheduler.name(), name);
    move |view| scheduler.schedule(view)
}

fn target(decision: Decision) -> Option<SubflowId> {
    match decision {
        Decision::Send { on, .. } => on.iter().next(),
        Decision::Wait => None,
    }
}

#[test]
fn every_name_is_known_and_any_other_is_refused_with_the_list() {
    for name in SchedulerKind::NAMES {
        let _ = named(name);
    }
    let error = "fastest".parse::<SchedulerKind>().unwrap_err();
    assert!(error.contains("'fastest'") && SchedulerKind::NAMES.iter().all(|name| error.contains(name)), "{error}");
}

/// Backups rest while anything else works, paths that do not answer rest while anything else exists: none of them is for
/// overflow. [8684-3.3.8-1]
#[test]
fn no_scheduler_uses_a_backup_or_a_silent_path_for_overflow() {
    for name in SchedulerKind::NAMES {
        let mut ask = named(name);
        for (backup, stalled) in [(true, false), (false, true)] {
            let spare = PathView { backup, stalled, ..path(SLOW, 20, 10, 0) };
            let full = [path(FAST, 10, 10, 10), spare];
            assert_eq!(ask(&view(&full, 1_000_000)), Decision::Wait, "{name}");
            let only = [spare];
            assert_eq!(target(ask(&view(&only, 1_000_000))), Some(SLOW), "{name}");
            let both = [PathView { stalled: true, ..path(FAST, 10, 10, 0) }, PathView { backup: true, ..spare }];
            let expected = if stalled { FAST } else { SLOW };
            assert_eq!(target(ask(&view(&both, 1_000_000))), Some(expected), "{name}");
        }
    }
}

#[test]
fn data_sent_again_never_goes_to_the_subflow_that_had_it() {
    for name in SchedulerKind::NAMES {
        let mut ask = named(name);
        let paths = [path(FAST, 10, 10, 0), path(SLOW, 100, 10, 0)];
        let again = View { reinjection_of: Some(FAST), ..view(&paths, 5 * MSS) };
        assert_eq!(target(ask(&again)), Some(SLOW), "{name}");
        let alone = View { reinjection_of: Some(FAST), ..view(&paths[..1], 5 * MSS) };
        assert_eq!(ask(&alone), Decision::Wait, "{name}");
    }
}

#[test]
fn minrtt_fills_the_fastest_and_then_the_next() {
    let mut ask = named("minrtt");
    assert_eq!(target(ask(&view(&[path(FAST, 10, 10, 5), path(SLOW, 100, 10, 0)], 10_000))), Some(FAST));
    assert_eq!(target(ask(&view(&[path(FAST, 10, 10, 10), path(SLOW, 100, 10, 0)], 10_000))), Some(SLOW));
    // Less than a segment of room is none, unless that is all there is to send.
    let sliver = PathView { room: 500, ..path(FAST, 10, 10, 9) };
    assert_eq!(target(ask(&view(&[sliver, path(SLOW, 100, 10, 0)], 10_000))), Some(SLOW));
    assert_eq!(target(ask(&view(&[sliver, path(SLOW, 100, 10, 0)], 400))), Some(FAST));
}

#[test]
fn linux_takes_the_queue_that_drains_first_and_waits_for_it() {
    let mut ask = named("linux");
    // 8 of 10 segments in 10 ms are gone in 8 ms, 10 of 100 in 100 ms in 10.
    assert_eq!(target(ask(&view(&[path(FAST, 10, 10, 8), path(SLOW, 100, 100, 10)], 100_000))), Some(FAST));
    assert_eq!(target(ask(&view(&[path(FAST, 10, 10, 8), path(SLOW, 100, 100, 5)], 100_000))), Some(SLOW));
    assert_eq!(ask(&view(&[path(FAST, 10, 10, 10), path(SLOW, 100, 100, 50)], 100_000)), Decision::Wait);
    let wide = [path(FAST, 10, 1_000, 0)];
    assert_eq!(ask(&view(&wide, 1_000_000)), Decision::Send { on: SubflowSet::only(FAST), limit: 65_428 });
}

#[test]
fn round_robin_gives_each_its_turn() {
    let mut ask = named("round-robin");
    let paths = [path(FAST, 10, 50, 0), path(SLOW, 100, 50, 0)];
    let turns: Vec<_> = (0..4).map(|_| target(ask(&view(&paths, 100_000))).unwrap()).collect();
    assert_eq!(turns, [FAST, SLOW, FAST, SLOW]);
    let full = [path(FAST, 10, 50, 50), paths[1]];
    assert_eq!(target(ask(&view(&full, 100_000))), Some(SLOW));
}

#[test]
fn blest_keeps_the_window_for_the_fast_one() {
    let mut ask = named("blest");
    // In the slow one's 100 ms the fast one sends ten windows of ten segments, and some more as it grows: about 208 KB.
    let paths = [path(FAST, 10, 10, 10), path(SLOW, 100, 10, 0)];
    assert_eq!(ask(&View { window: 200_000, ..view(&paths, 50_000) }), Decision::Wait);
    assert_eq!(target(ask(&View { window: 300_000, ..view(&paths, 50_000) })), Some(SLOW));
}

#[test]
fn ecf_waits_where_the_fast_one_is_done_sooner() {
    let mut ask = named("ecf");
    // The fast one needs two more round trips for ten segments, the slow one five times as long.
    let paths = [path(FAST, 10, 10, 10), path(SLOW, 100, 10, 0)];
    assert_eq!(ask(&view(&paths, 10 * MSS)), Decision::Wait);
    assert_eq!(target(ask(&view(&paths, 200 * MSS))), Some(SLOW));
}

#[test]
fn the_default_leaves_to_the_fast_one_what_that_delivers_as_soon() {
    let mut ask = named("default");
    // Until a byte on the slow one is there (50 ms), the fast one has its acknowledgement after 10 ms and delivers ten
    // segments, and ten more every 10 ms. Each segment on the slow one, at its rate, takes another millisecond.
    let paths = [path(FAST, 10, 10, 10), path(SLOW, 100, 100, 0)];
    assert_eq!(ask(&view(&paths, 30 * MSS)), Decision::Wait);
    let Decision::Send { on, limit } = ask(&view(&paths, 80 * MSS)) else { panic!("it waits") };
    assert_eq!((on, limit), (SubflowSet::only(SLOW), 16 * MSS), "only what is there as soon");
}

#[test]
fn the_default_keeps_the_window_for_the_fast_one() {
    let mut ask = named("default");
    // A hundred segments of the fast one in the slow one's round trip.
    let paths = [path(FAST, 10, 10, 10), path(SLOW, 100, 100, 0)];
    assert_eq!(ask(&View { window: 100 * MSS, ..view(&paths, 1_000_000) }), Decision::Wait);
    assert_eq!(target(ask(&View { window: 120 * MSS, ..view(&paths, 1_000_000) })), Some(SLOW));
}

#[test]
fn the_default_does_not_wait_for_a_path_that_has_nothing_under_way() {
    let mut ask = named("default");
    // The peer's window on that subflow is shut: no acknowledgement will come.
    let shut = PathView { room: 0, ..path(FAST, 10, 10, 0) };
    assert_eq!(target(ask(&view(&[shut, path(SLOW, 100, 10, 0)], 1_000))), Some(SLOW));
}

const BYTES: u64 = 400_000;

fn pair_with(scheduler: SchedulerKind) -> Pair {
    Pair::connected(&PairOptions { client: Config { scheduler, ..Config::default() }, ..PairOptions::default() })
}

#[test]
fn redundant_sends_every_byte_on_every_path() {
    let mut pair = pair_with(SchedulerKind::Redundant);
    pair.drive(ms(100));
    pair.send(Side::Client, BYTES);
    pair.drive(ms(3_000));
    pair.assert_received(Side::Server, BYTES);
    let info = pair.info(Side::Client);
    // A path that is behind leaves out what is acknowledged already.
    let sent: u64 = info.subflows.iter().map(|s| s.bytes_sent).sum();
    assert!(sent > BYTES * 19 / 10, "{sent} bytes on two paths: {info:?}");
    // So a path that is cut is not missed at all.
    let cut = pair.now;
    pair.cut(WIFI);
    pair.send(Side::Client, BYTES);
    pair.drive(ms(3_000));
    pair.assert_received(Side::Server, 2 * BYTES);
    assert!(pair.now - cut <= ms(3_000));
}

/// Only ever the second one.
#[derive(Debug)]
struct Second;

impl Scheduler for Second {
    fn name(&self) -> &'static str {
        "second"
    }

    fn schedule(&mut self, view: &View<'_>) -> Decision {
        Decision::on(view.paths.iter().find(|p| p.id == SLOW && p.fits(view.pending)))
    }
}

#[test]
fn a_scheduler_that_always_waits_stalls_nobody() {
    let mut pair = pair_with(SchedulerKind::custom(|| Box::new(Never)));
    pair.send(Side::Client, BYTES);
    pair.drive(ms(60_000));
    pair.assert_received(Side::Server, BYTES);
}

#[test]
fn an_application_brings_its_own_and_changes_it_for_one_connection() {
    let mut pair = pair_with(SchedulerKind::custom(|| Box::new(Second)));
    pair.drive(ms(100));
    let before = pair.now;
    pair.send(Side::Client, BYTES);
    pair.drive(ms(3_000));
    pair.assert_received(Side::Server, BYTES);
    let since = |pair: &Pair, path, at| pair.data_packets(Side::Client, path, at);
    assert_eq!(since(&pair, WIFI, before), 0);
    assert!(since(&pair, LTE, before) > 200);
    let (id, now) = (pair.client.id.expect("connected"), pair.now);
    pair.client.stack.connection(now, id).expect("it lives").set_scheduler(&SchedulerKind::MinRtt);
    pair.send(Side::Client, BYTES);
    pair.drive(ms(3_000));
    assert!(since(&pair, WIFI, now) > 100);
}

#[test]
fn an_answer_goes_the_way_the_question_came_where_that_is_as_fast() {
    let heard = |at: u64| Some(Instant::from_millis(at));
    let (fast, slow) =
        (path(FAST, 10, 10, 0), PathView { srtt: ms(10) + Duration::from_micros(900), ..path(SLOW, 10, 10, 0) });
    let answer = |paths: &[PathView], pending| target(named("default")(&view(paths, pending)));
    let back = [PathView { heard: heard(1), ..fast }, PathView { heard: heard(2), ..slow }];
    assert_eq!(answer(&back, 100), Some(SLOW));
    // More than a segment is no answer, and what is far away no way for one.
    assert_eq!(answer(&back, 100_000), Some(FAST));
    let far = [fast, PathView { heard: heard(2), srtt: ms(12), ..slow }];
    assert_eq!(answer(&far, 100), Some(FAST));
    // Nor does the end of something long go there, because the fast one is full for the moment.
    let full = [path(FAST, 10, 10, 10), PathView { heard: heard(2), srtt: ms(60), min_rtt: ms(60), ..slow }];
    assert_eq!(answer(&full, 100), None);
}
