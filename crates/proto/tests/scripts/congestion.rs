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
