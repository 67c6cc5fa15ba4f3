//! Middleboxes that remove Multipath TCP options, from some segments, in one direction or both: every byte arrives
//! once and in order, as plain TCP where it must (RFC 8684, section 3.7).

use bytes::Bytes;
use polypath_proto::MultipathState;
use polypath_sim::middlebox::{Action, Filter};
use polypath_sim::{Direction, Finish, LinkParams, PathSpec, Pattern, Rate, Report, StreamPlan, Transfer};
use polypath_wire::{Segment, TcpFlags};
use std::time::Duration;

const BYTES: u64 = 300_000;

fn plan(send: u64, receive: u64, seeds: (u64, u64), finish: Finish) -> StreamPlan {
    StreamPlan {
        send,
        send_pattern: Pattern::Seeded(seeds.0),
        receive,
        receive_pattern: Pattern::Seeded(seeds.1),
        write_sizes: 10_000..=10_000,
        zero_copy: 0.5,
        write_pace: None,
        read_sizes: 65_536..=65_536,
        read_pace: None,
        finish,
    }
}

/// `strips` says from which segments the options are removed.
fn transfer((up, down): (u64, u64), finish: Finish, strips: impl Fn(Direction, &Segment) -> bool + 'static) -> Report {
    let params = LinkParams::new(Rate::mbit(20), Duration::from_millis(10));
    let paths = vec![PathSpec::new("wifi", params.clone()), PathSpec::new("lte", params)];
    let client = plan(up, down, (1, 2), finish);
    let server = plan(down, up, (2, 1), Finish::HalfClose);
    let mut transfer = Transfer::new(1, paths, client, server);
    let filter = Filter::new("strip", move |_, direction, segment: &mut Segment, _: &mut Bytes| {
        if segment.options.mptcp.is_empty() || !strips(direction, segment) {
            return Action::Pass;
        }
        segment.options.mptcp.clear();
        Action::Rewrite
    });
    transfer.boxes.push((0, Box::new(filter)));
    transfer.first_path_only = true;
    transfer.trace = polypath_sim::Trace::from_env().expect("POLYPATH_TRACE names a file that can be written");
    transfer.run().unwrap_or_else(|failed| panic!("{failed}"))
}

fn is_syn(segment: &Segment) -> bool {
    segment.tcp.flags.contains(TcpFlags::SYN)
}

fn is_fallback(report: &Report) -> bool {
    let fallback = |info: &Option<polypath_proto::ConnectionInfo>| {
        info.as_ref().is_some_and(|info| matches!(info.multipath, MultipathState::Fallback(_)))
    };
    fallback(&report.client.info) && fallback(&report.server.info)
}

// [8684-3.7-1, 8684-6-2]
#[test]
fn whatever_is_stripped_every_byte_arrives() {
    type Strips = fn(Direction, &Segment) -> bool;
    let cases: [(&str, Strips); 7] = [
        ("SYN", |d, s| d == Direction::Forward && is_syn(s)),
        ("SYN/ACK", |d, s| d == Direction::Backward && is_syn(s)),
        ("everything", |_, _| true),
        ("all but SYNs", |_, s| !is_syn(s)),
        ("all but SYNs, to the server", |d, s| d == Direction::Forward && !is_syn(s)),
        ("all but SYNs, to the client", |d, s| d == Direction::Backward && !is_syn(s)),
        ("everything to the client", |d, _| d == Direction::Backward),
    ];
    for (what, strips) in cases {
        for amounts in [(BYTES, 0), (0, BYTES), (BYTES, BYTES)] {
            for finish in [Finish::HalfClose, Finish::AfterPeer] {
                eprintln!("options stripped from {what}; {amounts:?} bytes; the client's end: {finish:?}");
                let report = transfer(amounts, finish, strips);
                assert_eq!((report.server.received, report.client.received), amounts);
                assert!(is_fallback(&report), "still Multipath TCP with options stripped from {what}: {report}");
            }
        }
    }
}
