//! The physics of one direction of a link, under a clock that the test drives.

use std::time::Duration;

use polypath_lab::link::{Count, ETHERNET_HEADER, Link, LinkCounters, LinkSpec, Nanos, Rate};
use polypath_sim::Red;

const MS: Nanos = 1_000_000;
/// 1500 bytes of IP are 1514 on the link: 242.24 us at 50 Mbit/s.
const PACKET: usize = 1500;
const SENDING: Nanos = 242_240;

const fn spec() -> LinkSpec {
    LinkSpec { rate: Some(Rate::mbit(50)), delay: Duration::from_millis(10), queue: 1_000_000, red: None, loss: 0.0 }
}

fn link(spec: LinkSpec) -> Link<u32> {
    Link::new(spec, [7; 32])
}

/// Everything that comes out up to `until`, each at the moment it is due.
fn drain(link: &mut Link<u32>, until: Nanos) -> Vec<(Nanos, u32)> {
    let mut out = Vec::new();
    while let Some(at) = link.next_delivery().filter(|&at| at <= until) {
        out.extend(link.deliver(at));
    }
    out
}

#[test]
fn a_frame_takes_its_sending_time_and_the_delay() {
    let mut link = link(spec());
    assert!(link.arrive(MS, PACKET, 1));
    assert_eq!(link.next_delivery(), Some(MS + SENDING + 10 * MS));
    assert_eq!(link.deliver(MS + SENDING + 10 * MS - 1), None);
    assert_eq!(link.deliver(MS + SENDING + 10 * MS), Some((MS + SENDING + 10 * MS, 1)));
    assert_eq!(link.next_delivery(), None);
}

#[test]
fn frames_follow_each_other_at_the_rate_however_late_they_are_fetched() {
    let mut link = link(spec());
    for i in 0..100 {
        assert!(link.arrive(0, PACKET, i));
    }
    // The caller oversleeps: all that is due comes at once, and the rest is on time.
    let due = 49 * SENDING + 10 * MS;
    let mut early = 0;
    while link.deliver(due).is_some() {
        early += 1;
    }
    assert_eq!(early, 49);
    let rest = drain(&mut link, 1000 * MS);
    assert_eq!(rest.last(), Some(&(100 * SENDING + 10 * MS, 99)));
    // A link that has been idle starts at once.
    assert!(link.arrive(500 * MS, PACKET, 100));
    assert_eq!(link.next_delivery(), Some(500 * MS + SENDING + 10 * MS));
}

#[test]
fn each_direction_counts_whole_frames() {
    let mut link = link(LinkSpec { delay: Duration::ZERO, ..spec() });
    assert!(link.arrive(0, 40, 1));
    let ethernet = (40 + ETHERNET_HEADER as u64) * 8 * 20;
    assert_eq!(link.next_delivery(), Some(ethernet));
}

#[test]
fn without_a_rate_there_is_only_the_delay() {
    let mut link = link(LinkSpec { rate: None, queue: 0, ..spec() });
    for i in 0..1000 {
        assert!(link.arrive(5, PACKET, i), "a link that sends at once needs no queue");
    }
    assert_eq!(drain(&mut link, 5 + 10 * MS).len(), 1000);
}

#[test]
fn the_queue_is_bounded_in_bytes_that_wait() {
    let frame = (PACKET + ETHERNET_HEADER) as u64;
    let mut link = link(LinkSpec { queue: 3 * frame, ..spec() });
    // One is being sent, three wait, the fifth does not fit.
    let taken: Vec<bool> = (0..5).map(|i| link.arrive(0, PACKET, i)).collect();
    assert_eq!(taken, [true, true, true, true, false]);
    assert_eq!(link.waiting_bytes(0), 3 * frame);
    assert_eq!(link.counters().dropped_by_queue, Count { packets: 1, bytes: 1500 });
    // A small one would still not fit: the bound is in bytes, and they are all taken.
    assert!(!link.arrive(SENDING - 1, 40, 5));
    // The next begins to be sent, and leaves room for exactly one.
    assert!(link.arrive(SENDING, PACKET, 6));
    assert!(!link.arrive(SENDING, PACKET, 7));
    assert_eq!(link.waiting_bytes(3 * SENDING), frame);
    let out: Vec<u32> = drain(&mut link, 1000 * MS).into_iter().map(|(_, item)| item).collect();
    assert_eq!(out, [0, 1, 2, 3, 6]);
    assert_eq!(link.waiting_bytes(1000 * MS), 0);
}

#[test]
fn the_queueing_delay_is_what_is_still_to_be_sent() {
    let mut link = link(spec());
    assert_eq!(link.queueing_delay(0), 0);
    for i in 0..3 {
        assert!(link.arrive(0, PACKET, i));
    }
    assert_eq!(link.queueing_delay(SENDING / 2), 2 * SENDING + SENDING / 2);
    assert_eq!(link.queueing_delay(3 * SENDING), 0);
    link.set_up(false);
    assert_eq!(link.queueing_delay(SENDING), 0);
}

#[test]
fn loss_is_random_repeatable_and_takes_time() {
    let lossy = LinkSpec { loss: 0.1, ..spec() };
    let run = |seed: u8| {
        let mut link = Link::new(lossy, [seed; 32]);
        let mut out = Vec::new();
        for i in 0..20_000 {
            link.arrive(u64::from(i) * SENDING, PACKET, i);
            out.extend(drain(&mut link, u64::from(i) * SENDING));
        }
        out.extend(drain(&mut link, Nanos::MAX));
        (out, *link.counters())
    };
    let (out, counters) = run(1);
    // 2,000 expected, with a standard deviation of 42.
    assert!((1800..2200).contains(&counters.lost.packets), "{} lost", counters.lost.packets);
    assert_eq!(counters.delivered.packets as usize, out.len());
    assert_eq!(counters.delivered.packets + counters.lost.packets, 20_000);
    assert!(out.iter().all(|&(at, item)| at == u64::from(item + 1) * SENDING + 10 * MS), "a gap stays a gap");
    assert_eq!(run(1).0, out);
    assert_ne!(run(2).0, out);
}

/// With early detection between mean waits of 20 and 40 ms, and room for 200.
fn early() -> LinkSpec {
    let [from, to] = [20, 40].map(Duration::from_millis);
    LinkSpec { red: Some(Red::new(polypath_sim::Rate::mbit(50), from, to)), queue: 1_250_000, ..spec() }
}

/// The part of the frames that is dropped while so much waits all the time: what is dropped, or sent, is replaced at once.
fn dropped_at(wait: Duration) -> f64 {
    let (mut link, kept) = (link(early()), Rate::mbit(50).bytes_in(wait));
    let mut counted = LinkCounters::default();
    for step in 0..12_000 {
        let now = step * SENDING;
        drain(&mut link, now);
        while link.waiting_bytes(now) < kept {
            link.arrive(now, PACKET, 0);
        }
        // The mean has come to rest after a few tenths of a second.
        if step == 2_000 {
            counted = *link.counters();
        }
    }
    let packets = |count: fn(&LinkCounters) -> Count| count(link.counters()).packets - count(&counted).packets;
    packets(|counters| counters.dropped_by_queue) as f64 / packets(|counters| counters.arrived) as f64
}

#[test]
fn early_detection_drops_the_more_the_longer_the_queue_is() {
    let [short, quarter, half, whole] = [19, 25, 30, 40].map(Duration::from_millis).map(dropped_at);
    assert_eq!(short, 0.0);
    // Drops are uniform over 1 to 1/p frames, (1/p + 1)/2 in the mean, and p is 2.5, 5 and 10 %.
    for (seen, expected) in [(quarter, 0.049), (half, 0.095), (whole, 0.182)] {
        assert!((seen / expected - 1.0_f64).abs() < 0.15, "{seen} instead of {expected}");
    }
}

#[test]
fn early_detection_lets_a_burst_pass_and_forgets_it_while_the_link_is_idle() {
    let mut link = link(early());
    let burst = |link: &mut Link<u32>, now: Nanos| (0..200).filter(|i| link.arrive(now, PACKET, *i)).count();
    // 48 ms each, of which the mean sees little. Without a pause they add up.
    for round in 0..20 {
        assert_eq!(burst(&mut link, round * 1000 * MS), 200);
    }
    let passed: usize = (0..20).map(|round| burst(&mut link, 30_000 * MS + round * 48 * MS)).sum();
    assert!((3_000..3_950).contains(&passed), "{passed} of 4000");
    // Nor does a link without a rate, which has no queue.
    let mut open = Link::new(LinkSpec { rate: None, ..early() }, [7; 32]);
    assert_eq!(burst(&mut open, 0), 200);
}

#[test]
fn a_cut_takes_everything_and_a_return_starts_afresh() {
    let mut link = link(spec());
    for i in 0..50 {
        link.arrive(0, PACKET, i);
    }
    assert_eq!(drain(&mut link, 10 * MS + 2 * SENDING).len(), 2);
    link.set_up(false);
    assert_eq!(link.next_delivery(), None);
    assert_eq!(link.waiting_bytes(11 * MS), 0);
    assert!(!link.arrive(11 * MS, PACKET, 50));
    assert_eq!(link.counters().dropped_by_cut, Count { packets: 49, bytes: 49 * 1500 });
    link.set_up(true);
    assert!(link.is_up());
    // The queue of before does not delay what comes now.
    assert!(link.arrive(12 * MS, PACKET, 51));
    assert_eq!(drain(&mut link, 1000 * MS), [(12 * MS + SENDING + 10 * MS, 51)]);
}

#[test]
fn every_frame_is_accounted_for() {
    let narrow = LinkSpec { queue: 20_000, loss: 0.05, ..spec() };
    let mut link = link(narrow);
    let mut delivered = 0;
    let mut now = 0;
    for i in 0..50_000_u32 {
        // Bursts and pauses, cuts and returns, all sizes; any fixed pattern does.
        now += u64::from(i.wrapping_mul(2_654_435_761) >> 15);
        delivered += drain(&mut link, now).len() as u64;
        link.arrive(now, 40 + (i as usize * 131) % 1461, i);
        if i % 5000 == 4000 {
            link.set_up(i % 10_000 == 9000);
        }
        assert!(link.waiting_bytes(now) <= narrow.queue);
    }
    link.set_up(true);
    delivered += drain(&mut link, Nanos::MAX).len() as u64;
    let c = *link.counters();
    assert_eq!(c.delivered.packets, delivered);
    let ends = [c.delivered, c.dropped_by_queue, c.lost, c.dropped_by_cut];
    assert_eq!(ends.iter().map(|count| count.packets).sum::<u64>(), c.arrived.packets);
    assert_eq!(ends.iter().map(|count| count.bytes).sum::<u64>(), c.arrived.bytes);
    assert!(ends.iter().all(|count| count.packets > 500), "all fates occur: {c:?}");
}

#[test]
fn rates_and_times_convert_both_ways() {
    assert_eq!(Rate::mbit(50).bytes_in(Duration::from_millis(20)), 125_000);
    assert_eq!(Rate::mbit(50).transmission_time(125_000), 20 * MS);
    assert_eq!(Rate::bits_per_second(0).as_bits_per_second(), 1);
    assert_eq!(Rate::mbit(u64::MAX).transmission_time(u64::MAX), 8 * 1_000_000_000);
}
