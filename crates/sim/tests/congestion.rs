//! Congestion controls on whole paths: what they get of one, what queue they make, and when packets leave.

use bytes::Bytes;
use polypath_proto::congestion::{CongestionKind, pacing_quantum};
use polypath_proto::{Config, Duration, Instant};
use polypath_sim::middlebox::{Action, Filter};
use polypath_sim::{Direction, Finish, LinkParams, Pace, PathSpec, Pattern, Rate, Report, StreamPlan, Trace, Transfer};
use polypath_wire::Segment;
use std::cell::RefCell;
use std::rc::Rc;

/// Payload of a full segment: timestamps take 12 bytes.
const MSS: u64 = 1_448;

/// What passed at the client.
#[derive(Default)]
struct Seen {
    /// Data that left: when, and how many bytes.
    sent: Vec<(Instant, u64)>,
    /// From sending to acknowledgement by timestamps, in milliseconds, with an offset that is always the same.
    round_trips: Vec<(Instant, u32)>,
}

impl Seen {
    /// How long packets waited that were acknowledged from `from` to `to` seconds after the start: the median, in
    /// milliseconds.
    fn median_wait(&self, from: u64, to: u64) -> u32 {
        let least = self.round_trips.iter().map(|(_, ms)| *ms).min().unwrap();
        let between = |at: &Instant| (from * 1_000..to * 1_000).contains(&at.as_millis());
        let mut waits: Vec<u32> =
            self.round_trips.iter().filter(|(at, _)| between(at)).map(|(_, ms)| ms - least).collect();
        waits.sort_unstable();
        waits[waits.len() / 2]
    }

    /// Bytes that left at one instant, for each from `from` seconds on.
    fn bursts(&self, from: u64) -> Vec<(Instant, u64)> {
        let mut bursts: Vec<(Instant, u64)> = Vec::new();
        for &(at, bytes) in self.sent.iter().filter(|(at, _)| at.as_millis() >= from * 1_000) {
            match bursts.last_mut() {
                Some(last) if last.0 == at => last.1 += bytes,
                _ => bursts.push((at, bytes)),
            }
        }
        bursts
    }
}

/// A path the same in both directions.
struct Path {
    mbit: u64,
    rtt_ms: u64,
    queue_ms: u64,
    loss: f64,
}

const WIFI: Path = Path { mbit: 50, rtt_ms: 20, queue_ms: 20, loss: 0.01 };
const LTE: Path = Path { mbit: 20, rtt_ms: 60, queue_ms: 300, loss: 0.0 };

/// A plain upload of so many bytes.
fn upload(congestion: CongestionKind, path: &Path, bytes: u64, pace: Option<Pace>) -> (Report, Seen) {
    let plan = |send, receive| StreamPlan {
        send,
        send_pattern: Pattern::Blank,
        receive,
        receive_pattern: Pattern::Blank,
        write_sizes: 65_536..=65_536,
        zero_copy: 1.0,
        write_pace: None,
        read_sizes: 1 << 20..=1 << 20,
        read_pace: None,
        finish: Finish::HalfClose,
    };
    let rate = Rate::mbit(path.mbit);
    let params = LinkParams::new(rate, Duration::from_micros(path.rtt_ms * 500))
        .queue(rate.bytes_in(Duration::from_millis(path.queue_ms)))
        .loss(path.loss);
    let client = StreamPlan { write_pace: pace, ..plan(bytes, 0) };
    let mut transfer = Transfer::new(1, vec![PathSpec::new("path", params)], client, plan(0, bytes));
    transfer.client = Config { congestion, multipath: false, ..Config::default() };
    transfer.trace = Trace::from_env().expect("POLYPATH_TRACE names a file that can be written");
    let seen = Rc::new(RefCell::new(Seen::default()));
    let tap = Rc::clone(&seen);
    let look = move |now, direction, segment: &mut Segment, payload: &mut Bytes| {
        let mut seen = tap.borrow_mut();
        match (direction, segment.options.timestamps) {
            (Direction::Forward, _) if !payload.is_empty() => seen.sent.push((now, payload.len() as u64)),
            (Direction::Backward, Some(ts)) if segment.options.sack.is_empty() => {
                seen.round_trips.push((now, (now.as_millis() as u32).wrapping_sub(ts.ecr)));
            }
            _ => {}
        }
        Action::Pass
    };
    transfer.boxes.push((0, Box::new(Filter::new("tap", look))));
    let report = transfer.run().unwrap_or_else(|failed| panic!("{failed}"));
    assert_eq!(report.server.received, bytes);
    let seen = std::mem::take(&mut *seen.borrow_mut());
    (report, seen)
}

fn mbit(report: &Report) -> f64 {
    report.server.received as f64 * 8.0 / report.elapsed.as_secs_f64() / 1e6
}

/// Bytes that go in this time at this rate.
fn worth(mbit: u64, time: Duration) -> u64 {
    Rate::mbit(mbit).bytes_in(time)
}

#[test]
fn one_loss_in_a_hundred_does_not_slow_bbr_down() {
    let (bbr, _) = upload(CongestionKind::Bbr, &WIFI, worth(44, Duration::from_secs(10)), None);
    assert!(mbit(&bbr) >= 44.0, "{:.1} Mbit/s: {bbr}", mbit(&bbr));
    // What it would be otherwise.
    let (cubic, _) = upload(CongestionKind::Cubic, &WIFI, worth(15, Duration::from_secs(10)), None);
    assert!(mbit(&cubic) < 15.0, "{:.1} Mbit/s: {cubic}", mbit(&cubic));
}

#[test]
fn bbr_fills_a_path_and_not_its_queue() {
    let bytes = worth(18, Duration::from_secs(10));
    let (bbr, seen) = upload(CongestionKind::Bbr, &LTE, bytes, None);
    assert!(mbit(&bbr) >= 18.0, "{:.1} Mbit/s: {bbr}", mbit(&bbr));
    let wait = seen.median_wait(1, 10);
    assert!(wait < 100, "{wait} ms");
    let (cubic, seen) = upload(CongestionKind::Cubic, &LTE, bytes, None);
    assert!(mbit(&cubic) >= 18.0, "{:.1} Mbit/s: {cubic}", mbit(&cubic));
    assert!(seen.median_wait(1, 10) > 100);
}

#[test]
fn bbr_empties_the_path_every_ten_seconds_to_see_its_round_trip() {
    let (_, seen) = upload(CongestionKind::Bbr, &LTE, worth(18, Duration::from_secs(14)), None);
    // In each tenth of a second.
    let sent = |i: u64| {
        let within = seen.sent.iter().filter(|(at, _)| at.as_millis() / 100 == i);
        within.map(|(_, bytes)| bytes).sum::<u64>()
    };
    let full = worth(15, Duration::from_millis(100));
    // Four segments for each round trip of 60 ms.
    let next_to_nothing = 2 * 4 * MSS;
    for i in 20..100 {
        assert!(sent(i) > full, "{} bytes after {i}00 ms", sent(i));
    }
    let dip: Vec<u64> = (100..125).filter(|i| sent(*i) <= next_to_nothing).collect();
    assert!((1..=3).contains(&dip.len()), "{dip:?}");
    // And goes on as before.
    for i in dip[dip.len() - 1] + 5..dip[dip.len() - 1] + 10 {
        assert!(sent(i) > full, "{} bytes after {i}00 ms", sent(i));
    }
}

#[test]
fn bbr_spreads_what_it_sends() {
    let bytes = worth(18, Duration::from_secs(5));
    let largest = |congestion, from| {
        let (_, seen) = upload(congestion, &LTE, bytes, None);
        seen.bursts(from).iter().map(|(_, bytes)| *bytes).max().unwrap()
    };
    // At 2.89 times the path's rate, from the first packet on; when that is found, at 1.25 times.
    let quantum = |gain| pacing_quantum(worth(LTE.mbit, Duration::from_secs(1)) * gain / 100, MSS);
    for (from, gain) in [(0, 289), (2, 125)] {
        let largest = largest(CongestionKind::Bbr, from);
        assert!(largest <= quantum(gain), "{largest} bytes at once, and not {}, after {from} s", quantum(gain));
    }
    assert!(largest(CongestionKind::Cubic, 0) > quantum(289));
}

#[test]
fn bbr_remembers_the_path_over_the_pauses_of_the_application() {
    let path = Path { loss: 0.0, ..WIFI };
    // A piece takes 84 ms at the path's rate; then comes a rest that is longer than the retransmission timeout.
    let pace = Pace { bytes: 500_000, rest: Duration::from_millis(400) };
    let (bbr, seen) = upload(CongestionKind::Bbr, &path, 15_000_000, Some(pace));
    let rate = bbr.client.info.unwrap().subflows[0].delivery_rate.unwrap();
    assert!(rate * 8 > 45_000_000, "{rate} bytes per second");
    let bursts = seen.bursts(2);
    let pieces: Vec<_> = bursts.chunk_by(|a, b| b.0 - a.0 < Duration::from_millis(200)).collect();
    assert!(pieces.len() > 20);
    for piece in &pieces[..pieces.len() - 1] {
        let took = (piece[piece.len() - 1].0 - piece[0].0).as_millis();
        assert!((75..95).contains(&took), "{took} ms");
    }
}

#[test]
fn a_thin_stream_does_not_teach_bbr_a_thin_path() {
    let path = Path { loss: 0.0, ..WIFI };
    // A sixth of what the path holds in each round trip.
    let pace = Pace { bytes: 20_000, rest: Duration::from_millis(25) };
    let (bbr, _) = upload(CongestionKind::Bbr, &path, 4_000_000, Some(pace));
    let rate = bbr.client.info.unwrap().subflows[0].delivery_rate.unwrap();
    assert!(rate * 8 > 35_000_000, "{rate} bytes per second");
}
