//! Golden curves of coupled congestion control: the windows of two subflows, in whole packets, one sample for each round
//! trip.

use super::congestion::Upload;
use crate::support::*;
use polypath_proto::congestion::CongestionKind;
use polypath_proto::scheduler::SchedulerKind;
use polypath_proto::{Config, Mechanisms};

/// An upload over two paths on which these data packets (counted from 1 on each, each once) are lost: both windows after
/// each 100 ms. `far`: the second path's round trip, in ms.
fn curves(congestion: CongestionKind, lost: [&'static [u32]; 2], far: u64, round_trips: u32) -> [Vec<u64>; 2] {
    // Nothing but congestion control decides how much is in flight.
    let (scheduler, mechanisms) = (SchedulerKind::MinRtt, Mechanisms::OFF);
    let options = PairOptions {
        client: Config { congestion, scheduler, mechanisms, ..Config::default() },
        delay: ms(50),
        delays: vec![(LTE, ms(far / 2))],
        ..PairOptions::default()
    };
    let mut pair = Pair::connected(&options);
    pair.drive_until(ms(5_000), |p| p.established(Side::Client) == 2);
    let mut seen = [0; 2];
    pair.lose(move |p| {
        let data = p.by == Side::Client && !p.payload.is_empty();
        let path = usize::from(p.path() == LTE);
        seen[path] += u32::from(data);
        data && lost[path].contains(&seen[path])
    });
    pair.send(Side::Client, 1_000_000_000);
    let mut samples = [Vec::new(), Vec::new()];
    // Ten packets to begin with.
    let packet = pair.info(Side::Client).subflows[0].cwnd / 10;
    for _ in 0..round_trips {
        // Between two bursts: all of one round trip's acknowledgements have come.
        pair.drive(ms(50));
        for (samples, subflow) in samples.iter_mut().zip(&pair.info(Side::Client).subflows) {
            samples.push(subflow.cwnd / packet);
        }
        pair.drive(ms(50));
    }
    assert!(pair.info(Side::Client).subflows.iter().all(|s| s.counters.timeouts == 0));
    samples
}

/// Reno's growth, one packet for each round trip, is what a connection of one path would have.
#[test]
fn lia_shares_the_growth_of_one_tcp_by_windows() {
    let [large, small] = curves(CongestionKind::Lia, [&[100], &[20]], 100, 40);
    #[rustfmt::skip]
    let golden = [
        // Slow start is that of TCP; the losses are noticed at 112 and 32 packets.
        10, 20, 40, 80,
        // 56 of 72 squared for each packet acknowledged: 0.6 for each round trip...
        56, 56, 56, 57, 58, 58, 59, 59, 60, 60, 61, 62, 62, 63, 63, 64, 65, 65, 66, 66, 67, 68, 68, 69, 69, 70, 71, 71,
        72, 72, 73, 74, 74, 75, 75, 76,
    ];
    assert_eq!(large, golden);
    #[rustfmt::skip]
    let golden = [
        10, 20,
        // ...and by as much less on the other as its window is smaller.
        16, 16, 16, 16, 16, 16, 16, 17, 17, 17, 17, 17, 17, 18, 18, 18, 18, 18, 18, 19, 19, 19, 19, 19, 19, 20, 20, 20,
        20, 20, 20, 21, 21, 21, 21, 21, 21, 22,
    ];
    assert_eq!(small, golden);
}

#[test]
fn lia_measures_itself_by_the_best_path() {
    let [near, far] = curves(CongestionKind::Lia, [&[100], &[100]], 300, 40);
    #[rustfmt::skip]
    let golden = [
        10, 20, 40, 80, 56, 56, 56,
        // The far path gives a third of what the near one does, and that much less than one packet it grows by: 9 of 16
        // for each of its round trips.
        57, 58, 58, 59, 59, 60, 60, 60, 61, 61, 62, 62, 63, 63, 64, 65, 65, 66, 66, 67, 68, 68, 69, 69, 70, 71, 71, 72,
        72, 73, 74, 74, 75,
    ];
    assert_eq!(near, golden);
    #[rustfmt::skip]
    let golden = [
        10, 10, 10, 20, 20, 20, 40, 40, 40, 80, 80, 80, 56, 56, 56, 56, 56, 56, 56, 56, 56, 57, 57, 57, 57, 57, 57, 58,
        58, 58, 58, 58, 58, 59, 59, 59, 59, 59, 59, 60,
    ];
    assert_eq!(far, golden);
}

#[test]
fn olia_takes_from_the_largest_window_for_the_best_path() {
    let [largest, best] = curves(CongestionKind::Olia, [&[100, 600, 1500], &[60]], 100, 60);
    #[rustfmt::skip]
    let golden = [
        10, 20, 40, 80,
        // It has the largest window, and is the best path too: (56 of 92) squared for each round trip, and no more.
        56, 56, 56, 56, 57, 57, 57, 58,
        // Lost again. Now the other one is the largest, and this one the best by the bytes between its losses: half a
        // packet more for it, and half a packet less for the other.
        29, 29, 30, 30, 31, 31, 31, 32, 32, 32, 32, 32, 33, 33, 33, 33, 33, 34, 34, 34, 34, 34, 35, 35, 35, 35, 35,
        18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 19, 19, 19, 19, 19, 19, 19,
    ];
    assert_eq!(largest, golden);
    #[rustfmt::skip]
    let golden = [
        10, 20, 40,
        36, 36, 36, 36, 36, 36, 36, 36, 37, 36, 36, 36, 36, 36, 36, 36, 37, 37, 37, 37, 38, 38, 38, 39, 39, 39, 39, 40,
        40, 40, 41, 41, 41, 41, 42, 42, 42, 43, 43, 44, 44, 45, 45, 46, 46, 47, 47, 48, 48, 49, 49, 50, 50, 51, 51, 52,
        53,
    ];
    assert_eq!(best, golden);
}

#[test]
fn olia_leaves_a_congested_path_nearly_alone() {
    let [good, bad] = curves(CongestionKind::Olia, [&[100], &[20]], 100, 60);
    // 16 of 72 squared, times 16: less than a twentieth of a packet for each round trip, where LIA has 0.15.
    assert_eq!((good[59], bad[2], bad[59]), (91, 16, 18));
}

#[test]
fn balia_grows_faster_and_falls_further_on_the_slower_path() {
    let [fast, slow] = curves(CongestionKind::Balia, [&[100], &[20, 100]], 100, 40);
    #[rustfmt::skip]
    let golden = [
        10, 20, 40, 80,
        56, 56, 56, 57, 58, 59, 60, 61, 62, 62, 63, 64, 65, 66, 67, 68, 69, 69, 70, 71, 72, 73, 74, 75, 75, 76, 77, 78,
        79, 80, 81, 81, 82, 83, 84, 85,
    ];
    assert_eq!(fast, golden);
    #[rustfmt::skip]
    let golden = [
        // Noticed at 32 packets, when the other one had 80: not half of it is left, but less.
        10, 20, 12, 12, 12, 12, 12,
        // A quarter...
        3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 
        // ...from where it returns by more than its share: a lone window of LIA's of 3 beside 70 would take 25 round trips.
        4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5, 6, 6, 6,
    ];
    assert_eq!(slow, golden);
}

/// One window and one round trip after the other, on a path of 20 ms without a queue.
#[test]
fn wvegas_follows_the_queue() {
    let config = Config { congestion: CongestionKind::Wvegas, ..Config::default() };
    let mut s = Script::plain_client(&ScriptOptions { config, ..ScriptOptions::default() });
    let mut upload = Upload::default();
    let mut rounds = |rtt: u64, n: usize| -> Vec<u64> { (0..n).map(|_| upload.round(&mut s, rtt)).collect() };
    assert_eq!(rounds(20, 3), [20, 40, 80]);
    // A twenty-first of what is under way waits in a queue: slow start is over, and as much of the window taken back. With
    // less than ten packets waiting it grows.
    assert_eq!(rounds(21, 8), [160, 153, 154, 155, 156, 157, 158, 159]);
    // More than ten, and one less in each round until they are ten.
    assert_eq!(rounds(22, 6), [160, 159, 158, 157, 156, 155]);
    // 2 ms were the least that a full queue took. At 5 it is drained for once: the window falls to 61 packets, so that
    // nothing is sent for a while, and the acknowledgements of what is in flight lead it back.
    assert_eq!(rounds(25, 4), [154, 153, 152, 151]);
}
