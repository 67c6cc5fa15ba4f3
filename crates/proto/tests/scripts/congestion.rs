//! Golden curves of the congestion window, in whole packets, one sample for each round trip of 100 ms.

use crate::support::*;
use polypath_proto::congestion::CongestionKind;
use polypath_proto::{Config, ConnectOptions};

/// A plain upload over one path on which these data packets (counted from 1, each once) are lost.
fn curve(congestion: CongestionKind, lost: &'static [u32], round_trips: u32) -> Vec<u64> {
    let options = PairOptions {
        client: Config { congestion, ..Config::default() },
        client_addresses: vec![(WIFI, false)],
        delay: ms(50),
        connect: ConnectOptions { no_multipath: true, ..ConnectOptions::default() },
        ..PairOptions::default()
    };
    let mut pair = Pair::new(&options);
    pair.drive_until(ms(1_000), |p| p.server.id.is_some());
    let mut n = 0;
    pair.lose(move |p| {
        n += u32::from(p.by == Side::Client && !p.payload.is_empty());
        p.by == Side::Client && !p.payload.is_empty() && lost.contains(&n)
    });
    pair.send(Side::Client, 1_000_000_000);
    let mut samples = Vec::new();
    for _ in 0..round_trips {
        // Between two bursts: all of one round trip's acknowledgements have come.
        pair.drive(ms(50));
        samples.push(pair.info(Side::Client).subflows[0].cwnd / u64::from(MSS));
        pair.drive(ms(50));
    }
    assert_eq!(pair.info(Side::Client).subflows[0].counters.timeouts, 0);
    samples
}

// [9293-MUST-19, 6937-3-3, 5681-3.1-1, 5681-3.1-4, 5681-3.1-5]
#[test]
fn reno_doubles_halves_on_loss_and_grows_by_one() {
    let curve = curve(CongestionKind::Reno, &[100, 400], 30);
    #[rustfmt::skip]
    let golden = [
        // Slow start; the loss is noticed at 110 packets.
        10, 20, 40, 80,
        // Half of it, and one more for each round trip.
        55, 55, 56, 57,
        29, 29, 30, 31, 32, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48,
    ];
    assert_eq!(curve, golden);
}

// [9293-MAY-18, 6937-3-3, 9438-4.2-1, 9438-4.4-1, 9438-4.6-1, 9438-4.10-1, 9438-5-1]
#[test]
fn cubic_falls_to_seven_tenths_and_rises_to_the_old_window() {
    // Lost at 110 packets: 77 remain; after K = cbrt(110 * 0.3 / 0.4) = 4.35 s it stands at 110 again.
    let curve = curve(CongestionKind::Cubic, &[100], 60);
    #[rustfmt::skip]
    let golden = [
        10, 20, 40, 80,
        77, 77, 80, 82, 84, 86, 88, 90, 91, 93, 94, 96, 97, 98, 99, 100, 101, 102, 103, 104, 105, 105, 106, 107, 107,
        108, 108, 108, 109, 109, 109,
        110, 110, 110, 110, 110, 110, 110, 110, 110, 110, 110, 110, 110, 110,
        111, 111, 111, 111, 111, 111, 111, 111, 111, 111, 111,
    ];
    assert_eq!(curve, golden);
}

// [9438-4.3-1, 9438-4.3-2]
#[test]
fn cubic_is_no_slower_than_reno_in_small_windows() {
    let curve = curve(CongestionKind::Cubic, &[15], 30);
    #[rustfmt::skip]
    let golden = [
        10, 20,
        // From 26 to 18; 0.53 packets for each round trip (RFC 9438, section 4.3)...
        18, 18, 19, 20, 20, 21, 22, 22, 23, 23, 23, 24, 24, 24, 25, 25, 26,
        // ...and beyond the old window a whole one, as Reno.
        26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36,
    ];
    assert_eq!(curve, golden);
}

// [9438-4.3-2, 9438-4.7-1]
#[test]
fn cubic_grows_no_faster_than_reno_below_the_window_of_the_last_loss() {
    // Two losses, the second at 90 packets, below the first: fast convergence. The window falls to 63, and the
    // plateau of the cubic curve is at 76.
    let curve = curve(CongestionKind::Cubic, &[100, 800], 56);
    assert_eq!(curve[12], 63);
    // RFC 9438, section 4.3: 0.53 packets for each round trip until the window of the last loss (cwnd_prior).
    assert!(curve[52] <= 63 + 40 * 53 / 100 + 2, "{curve:?}");
}

const FULL: usize = MSS as usize;

/// A plain client with this congestion control, and a round trip of 20 ms.
fn client(congestion: CongestionKind) -> Script {
    let config = Config { congestion, ..Config::default() };
    Script::plain_client(&ScriptOptions { config, ..ScriptOptions::default() })
}

fn cwnd(s: &mut Script) -> u64 {
    s.info().subflows[0].cwnd / u64::from(MSS)
}

/// An upload that always has something to send, and where it stands, in segments.
#[derive(Default)]
pub(super) struct Upload {
    written: u32,
    acked: u32,
}

impl Upload {
    /// Lets a window be acknowledged, segment by segment, after `rtt`; returns the next one.
    pub(super) fn round(&mut self, s: &mut Script, rtt: u64) -> u64 {
        let n = cwnd(s) as u32;
        let end = (self.acked + 3 * n).max(self.written);
        while self.written < end && s.conn().write_room() >= FULL {
            let full = (s.conn().write_room() / FULL).min((end - self.written) as usize);
            s.write(u64::from(self.written * MSS), full * FULL);
            self.written += full as u32;
        }
        s.advance(ms(rtt));
        for i in 1..=n {
            s.inject(ack(1 + (self.acked + i) * MSS));
        }
        self.acked += n;
        s.clear();
        cwnd(s)
    }
}

// [5681-3.1-6]
#[test]
fn after_a_timeout_the_window_is_one_segment() {
    for congestion in [CongestionKind::Reno, CongestionKind::Cubic] {
        let mut s = client(congestion);
        s.write(0, 10 * FULL);
        s.advance(ms(300));
        assert_eq!((s.info().subflows[0].counters.timeouts, cwnd(&mut s)), (1, 1));
    }
}

// RFC 5681, section 3.1: whatever it was before.
#[test]
fn after_another_timeout_in_the_same_loss_the_window_is_one_segment_again() {
    for congestion in [CongestionKind::Reno, CongestionKind::Cubic, CongestionKind::Bbr] {
        let mut s = client(congestion);
        s.write(0, 10 * FULL);
        s.advance(ms(300));
        // Three of the ten arrive after all, and then nothing more.
        for n in 1..=3 {
            s.inject(ack((n * FULL + 1) as u32));
        }
        assert!(cwnd(&mut s) > 1, "{congestion:?}");
        let before = s.info().subflows[0].counters.timeouts;
        s.advance(ms(2_000));
        assert!(s.info().subflows[0].counters.timeouts > before);
        assert_eq!(cwnd(&mut s), 1, "{congestion:?}");
    }
}

// [5681-4.1-1]
#[test]
fn after_a_pause_longer_than_the_timeout_the_window_is_the_initial_one() {
    for congestion in [CongestionKind::Reno, CongestionKind::Cubic] {
        let mut s = client(congestion);
        let mut upload = Upload::default();
        assert_eq!([upload.round(&mut s, 20), upload.round(&mut s, 20)], [20, 40]);
        let mut send = |s: &mut Script, pause| {
            s.inject(ack(1 + upload.written * MSS));
            s.advance(pause);
            s.clear();
            s.write(u64::from(upload.written * MSS), 40 * FULL);
            upload.written += 40;
            core::iter::from_fn(|| s.next_packet()).count()
        };
        // Shorter than the timeout of 200 ms: as before.
        assert_eq!(send(&mut s, ms(100)), 40);
        assert_eq!(send(&mut s, ms(1_000)), 10);
        assert_eq!(cwnd(&mut s), 10);
    }
}

// [9438-4.10-2]
#[test]
fn slow_start_of_cubic_ends_where_the_round_trip_grows() {
    let grow = |rtts: [u64; 8]| {
        let mut s = client(CongestionKind::Cubic);
        let mut upload = Upload::default();
        rtts.map(|rtt| upload.round(&mut s, rtt))
    };
    assert_eq!(grow([20; 8])[3], 160);
    // RFC 9406, section 4.2: 4 ms more than in the round before, after eight samples: a quarter of the growth for five
    // rounds, then congestion avoidance.
    let queued = grow([20, 20, 24, 24, 24, 24, 24, 24]);
    assert_eq!(queued[..2], [20, 40]);
    assert!(queued[2] > 50 && queued[2] < 60, "{queued:?}");
    for i in 3..7 {
        let growth = queued[i] * 100 / queued[i - 1];
        assert!((124..=126).contains(&growth), "{growth} per cent in round {i}: {queued:?}");
    }
    assert!(queued[7] < queued[6] + 5, "{queued:?}");
    // Shorter again: it was not the queue, and slow start goes on.
    let chance = grow([20, 20, 24, 20, 20, 20, 20, 20]);
    assert!(chance[4] * 10 >= chance[3] * 19, "{chance:?}");
}

// [9438-4.8-2]
#[test]
fn after_a_timeout_cubic_grows_from_where_it_stands() {
    let options = PairOptions {
        client_addresses: vec![(WIFI, false)],
        delay: ms(50),
        connect: ConnectOptions { no_multipath: true, ..ConnectOptions::default() },
        ..PairOptions::default()
    };
    let mut pair = Pair::connected(&options);
    pair.send(Side::Client, 1_000_000_000);
    pair.drive(ms(350));
    pair.lose(|p| p.by == Side::Client && !p.payload.is_empty());
    pair.drive(ms(1_000));
    pair.lose(|_| false);
    let cwnd = |p: &Pair| p.info(Side::Client).subflows[0].cwnd / u64::from(MSS);
    // Slow start up to 0.7 of the old window.
    pair.drive_until(ms(10_000), |p| cwnd(p) >= 10);
    pair.drive(ms(700));
    let begin = cwnd(&pair);
    pair.drive(ms(2_000));
    // Reno's growth, 0.53 for each round trip, or 0.4 times t cubed: not the leap back to the old window.
    let end = cwnd(&pair);
    assert_eq!(pair.info(Side::Client).subflows[0].counters.spurious_timeouts, 0);
    assert!(begin > 40 && end > begin && end <= begin + 14, "{begin} to {end}");
}

#[test]
fn how_fast_a_path_is_does_not_depend_on_how_much_there_is_to_send() {
    for congestion in [CongestionKind::Reno, CongestionKind::Cubic] {
        let mut s = client(congestion);
        let mut upload = Upload::default();
        let rate = |s: &mut Script| s.info().subflows[0].delivery_rate;
        assert_eq!(rate(&mut s), None);
        let windows = [cwnd(&mut s), upload.round(&mut s, 20), upload.round(&mut s, 20)];
        assert_eq!(windows, [10, 20, 40]);
        // Twenty segments in 20 ms.
        let full = 20 * u64::from(MSS) * 50;
        assert_eq!(rate(&mut s), Some(full));
        s.inject(ack(1 + upload.written * MSS));
        // One in each round trip.
        for i in 1..=50 {
            s.write(u64::from((upload.written + i - 1) * MSS), FULL);
            s.advance(ms(20));
            s.inject(ack(1 + (upload.written + i) * MSS));
            s.clear();
        }
        assert!(rate(&mut s) >= Some(full), "{:?}", rate(&mut s));
    }
}

#[test]
fn another_congestion_control_goes_on_from_the_window_and_the_threshold() {
    let mut s = client(CongestionKind::Cubic);
    let mut upload = Upload::default();
    assert_eq!([upload.round(&mut s, 20), upload.round(&mut s, 20)], [20, 40]);
    s.act(|c| c.set_congestion(CongestionKind::Reno));
    assert_eq!((s.act(|c| c.congestion()), cwnd(&mut s)), ("reno", 40));
    // Slow start is not over, and after a loss it is.
    assert_eq!(upload.round(&mut s, 20), 80);
    s.write(u64::from(upload.written * MSS), 10 * FULL);
    s.advance(ms(300));
    s.inject(ack(1 + upload.written * MSS + 10 * MSS));
    let (window, threshold) = (cwnd(&mut s), s.info().subflows[0].ssthresh);
    assert!(threshold.is_some());
    s.act(|c| c.set_congestion(CongestionKind::Cubic));
    assert_eq!((cwnd(&mut s), s.info().subflows[0].ssthresh), (window, threshold));
    // BBR paces from the start; who comes after it does not.
    s.act(|c| c.set_congestion(CongestionKind::Bbr));
    assert_eq!(cwnd(&mut s), window);
    assert!(s.info().subflows[0].tcp.pacing_rate.is_some());
    s.act(|c| c.set_congestion(CongestionKind::Reno));
    assert_eq!(s.info().subflows[0].tcp.pacing_rate, None);
}

#[test]
fn another_congestion_control_is_for_all_subflows_and_for_those_to_come() {
    let options = PairOptions {
        connect: ConnectOptions { congestion: Some(CongestionKind::Bbr), ..ConnectOptions::default() },
        ..PairOptions::default()
    };
    let mut pair = Pair::connected(&options);
    assert_eq!((pair.info(Side::Client).congestion, pair.info(Side::Server).congestion), ("bbr", "cubic"));
    pair.drive_until(ms(5_000), |p| p.established(Side::Client) == 2);
    let now = pair.now;
    let end = pair.end(Side::Client);
    let id = end.id.unwrap();
    end.stack.connection(now, id).unwrap().set_congestion(CongestionKind::Reno);
    let windows = |pair: &Pair| pair.info(Side::Client).subflows.iter().map(|s| s.cwnd).collect::<Vec<_>>();
    assert!(windows(&pair).iter().all(|window| *window >= 10 * 1_000), "{:?}", windows(&pair));
    pair.send(Side::Client, 1_000_000);
    pair.drive(ms(5_000));
    pair.assert_received(Side::Server, 1_000_000);
}
