//! The oracle fails what is wrong: otherwise a thousand transfers that pass say nothing.

use std::time::Duration;

use bytes::Bytes;
use polypath_proto::Instant;
use polypath_sim::middlebox::{Action, Filter};
use polypath_sim::{
    Direction, Failed, Failure, Finish, LinkParams, Middlebox, PathSpec, Pattern, Rate, Report, StreamPlan, Transfer,
};
use polypath_wire::Segment;

fn plan(send: u64, receive: u64) -> StreamPlan {
    StreamPlan {
        send,
        send_pattern: Pattern::Seeded(send),
        receive,
        receive_pattern: Pattern::Seeded(receive),
        write_sizes: 10_000..=10_000,
        zero_copy: 0.5,
        write_pace: None,
        read_sizes: 65_536..=65_536,
        read_pace: None,
        finish: Finish::HalfClose,
    }
}

/// 300 KB down over one path with this box on it.
fn download_through(middlebox: impl Middlebox + 'static) -> Result<Report, Box<Failed>> {
    let path = PathSpec::new("wifi", LinkParams::new(Rate::mbit(20), Duration::from_millis(10)));
    let mut transfer = Transfer::new(1, vec![path], plan(0, 300_000), plan(300_000, 0));
    transfer.boxes.push((0, Box::new(middlebox)));
    transfer.run()
}

/// Passes the first `limit` bytes of payload to the client, then hands the segment to `then`.
fn after(
    limit: usize,
    mut then: impl FnMut(&mut Bytes) -> Action,
) -> Filter<impl FnMut(Instant, Direction, &mut Segment, &mut Bytes) -> Action> {
    let mut seen = 0;
    Filter::new("trouble", move |_, direction, _: &mut Segment, payload: &mut Bytes| {
        if direction == Direction::Backward {
            seen += payload.len();
        }
        if seen > limit { then(payload) } else { Action::Pass }
    })
}

#[test]
fn a_changed_byte_is_found() {
    let flip = after(100_000, |payload| {
        let mut bytes = payload.to_vec();
        let Some(byte) = bytes.last_mut() else {
            return Action::Pass;
        };
        *byte ^= 1;
        *payload = bytes.into();
        Action::Rewrite
    });
    let failed = download_through(flip).unwrap_err();
    let Failure::Stream { host, error } = &failed.failure else { panic!("{failed}") };
    assert!(host == "client" && error.contains("Wrong"), "{failed}");
    assert!(failed.report.client.received >= 90_000, "all before it was right: {failed}");
}

#[test]
fn a_path_that_swallows_everything_is_a_stall_and_not_an_excuse() {
    let failed = download_through(after(100_000, |_| Action::Drop)).unwrap_err();
    assert!(matches!(failed.failure, Failure::Stall { .. }), "{failed}");
}

#[test]
fn without_trouble_it_arrives() {
    let report = download_through(after(100_000, |_| Action::Pass)).unwrap_or_else(|failed| panic!("{failed}"));
    assert_eq!(report.client.received, 300_000);
}
