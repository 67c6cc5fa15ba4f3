//! The physics of a link: rate, delay, queue, loss, order, cuts.

use std::time::Duration;

use polypath_proto::Instant;
use polypath_sim::link::{DropReason, FRAME_OVERHEAD, LinkDirection, Verdict};
use polypath_sim::{LinkParams, Rate, rng};

const MS: Duration = Duration::from_millis(1);

fn link(params: LinkParams) -> LinkDirection {
    LinkDirection::new(params, 1_500, rng::stream(1, rng::Stream::Link(0)))
}

fn at(time: Duration) -> Instant {
    Instant::ZERO + time
}

/// When a frame arrives that is not lost.
fn arrival(verdict: Verdict) -> Duration {
    match verdict {
        Verdict::Deliver { at, .. } => at - Instant::ZERO,
        Verdict::Dropped(reason) => panic!("dropped: {reason:?}"),
    }
}

#[test]
fn frames_leave_one_after_the_other_at_the_rate_and_arrive_after_the_delay() {
    // 1,250 bytes with the frame's overhead take 1 ms at 10 Mbit/s.
    let mut link = link(LinkParams::new(Rate::mbit(10), 20 * MS));
    let len = 1_250 - FRAME_OVERHEAD;
    let times: Vec<_> = (0..5).map(|_| arrival(link.offer(at(3 * MS), len))).collect();
    assert_eq!(times, [24 * MS, 25 * MS, 26 * MS, 27 * MS, 28 * MS]);
    assert_eq!(link.queued(at(3 * MS)), 4 * 1_250, "the frame being sent does not wait");
    assert_eq!(link.queued(at(5 * MS)), 2 * 1_250);
    assert_eq!(arrival(link.offer(at(30 * MS), len)), 51 * MS, "an idle link sends at once");
}

#[test]
fn a_long_run_takes_exactly_as_long_as_the_rate_says() {
    let mut link = link(LinkParams::new(Rate::mbit(8), Duration::ZERO).queue(u64::MAX));
    let last = (0..1_000).map(|_| arrival(link.offer(Instant::ZERO, 986))).max();
    assert_eq!(last, Some(1_000 * MS), "1,000 frames of 1,000 bytes at a byte in a microsecond");
}

#[test]
fn the_queue_drops_the_frame_that_would_go_over_its_bytes() {
    let mut link = link(LinkParams::new(Rate::mbit(8), Duration::ZERO).queue(2_500));
    let verdicts: Vec<_> = (0..4).map(|_| link.offer(Instant::ZERO, 986)).collect();
    assert_eq!(verdicts[3], Verdict::Dropped(DropReason::QueueFull), "one is being sent, two wait");
    assert!(matches!(link.offer(Instant::ZERO, 400), Verdict::Deliver { .. }), "a short one still fits");
    assert_eq!(link.stats().queue_full, 1);
    assert!(matches!(link.offer(at(MS), 986), Verdict::Deliver { .. }), "there is room again after 1 ms");
}

#[test]
fn frames_over_the_mtu_are_dropped() {
    let mut link = link(LinkParams::new(Rate::UNLIMITED, MS));
    assert_eq!(arrival(link.offer(Instant::ZERO, 1_500)), MS);
    assert_eq!(link.offer(Instant::ZERO, 1_501), Verdict::Dropped(DropReason::TooBig));
}

#[test]
fn loss_is_as_frequent_as_asked_for() {
    let mut link = link(LinkParams::new(Rate::UNLIMITED, MS).loss(0.03));
    for _ in 0..100_000 {
        link.offer(Instant::ZERO, 100);
    }
    let lost = link.stats().lost;
    assert!((2_700..3_300).contains(&lost), "3 % of 100,000, but {lost} were lost");
    assert_eq!(link.stats().delivered + lost, 100_000);
}

#[test]
fn jitter_delays_but_does_not_reorder() {
    let mut link = link(LinkParams { jitter: 5 * MS, ..LinkParams::new(Rate::UNLIMITED, 10 * MS) });
    let times: Vec<_> = (0..1_000).map(|i| arrival(link.offer(at(MS / 10 * i), 100))).collect();
    assert!(times.is_sorted());
    assert!(times.iter().zip(0..).any(|(time, i)| *time > MS / 10 * i + 13 * MS));
    assert!(times.iter().zip(0..).all(|(time, i)| *time <= MS / 10 * i + 15 * MS));
}

#[test]
fn some_frames_are_overtaken_and_some_arrive_twice_if_asked_for() {
    let params =
        LinkParams { reorder: 0.1, reorder_delay: 5 * MS, duplicate: 0.05, ..LinkParams::new(Rate::UNLIMITED, MS) };
    let mut link = link(params);
    let mut late = 0;
    let mut twice = 0;
    for i in 0..10_000 {
        let Verdict::Deliver { at: arrival, copy } = link.offer(at(MS * i), 100) else { panic!("dropped") };
        late += u32::from(arrival - Instant::ZERO > MS * i + MS);
        twice += u32::from(copy.is_some());
    }
    assert!((850..1_150).contains(&late), "{late} of 10,000 were held up");
    assert!((400..600).contains(&twice), "{twice} of 10,000 came twice");
}

#[test]
fn a_cut_empties_the_queue_and_drops_until_it_ends() {
    let mut link = link(LinkParams::new(Rate::mbit(8), Duration::ZERO));
    link.offer(Instant::ZERO, 986);
    link.offer(Instant::ZERO, 986);
    let before = link.cuts();
    link.set_up(at(MS / 2), false);
    assert_ne!(link.cuts(), before, "what was under way is known to be lost by the count");
    assert_eq!(link.offer(at(MS), 986), Verdict::Dropped(DropReason::Down));
    link.set_up(at(100 * MS), true);
    assert_eq!(link.queued(at(100 * MS)), 0);
    assert_eq!(arrival(link.offer(at(100 * MS), 986)), 101 * MS);
}

#[test]
fn a_rate_and_its_inverse_agree() {
    let rate = Rate::kbit(2_500);
    assert_eq!(rate.time_for(1_000_000), Duration::from_millis(3_200));
    assert_eq!(rate.bytes_in(Duration::from_millis(3_200)), 1_000_000);
    assert_eq!(Rate::UNLIMITED.time_for(u64::MAX), Duration::ZERO);
    assert!(Rate::bits(0).time_for(1) > Duration::from_secs(1), "no rate divides by zero");
}
