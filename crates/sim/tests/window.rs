//! Windows and news of them that are lost.

use bytes::Bytes;
use polypath_proto::scheduler::SchedulerKind;
use polypath_sim::middlebox::{Action, Filter};
use polypath_sim::{Direction, Finish, LinkParams, Pace, PathSpec, Pattern, Rate, StreamPlan, Transfer};
use polypath_wire::Segment;
use std::time::Duration;

const BYTES: u64 = 10_000_000;

#[test]
fn a_subflow_that_missed_the_opening_of_the_window_is_used_again() {
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
    // So that the window, which the fast path can fill alone, shuts now and then.
    let rests = Pace { bytes: 2_000_000, rest: Duration::from_millis(100) };
    let server = StreamPlan { read_pace: Some(rests), ..plan(0, BYTES) };
    let path = |name, ms| PathSpec::new(name, LinkParams::new(Rate::mbit(50), Duration::from_millis(ms)));
    let mut transfer = Transfer::new(1, vec![path("near", 5), path("far", 50)], plan(BYTES, 0), server);
    transfer.client.scheduler = SchedulerKind::MinRtt;
    transfer.server.recv_buffer_max = 32 * 1024;
    // The first news that the window is open again is lost on the near path.
    let (mut shut, mut lost) = (false, false);
    let lose = move |_, direction, segment: &mut Segment, _: &mut Bytes| {
        let opens = direction == Direction::Backward && shut && segment.tcp.window > 0;
        shut |= direction == Direction::Backward && segment.tcp.window == 0;
        if opens && !lost {
            lost = true;
            return Action::Drop;
        }
        Action::Pass
    };
    transfer.boxes.push((0, Box::new(Filter::new("loss", lose))));
    transfer.trace = polypath_sim::Trace::from_env().expect("POLYPATH_TRACE names a file that can be written");
    let report = transfer.run().unwrap_or_else(|failed| panic!("{failed}"));
    let (near, far) = (report.links[0].up.delivered_bytes, report.links[1].up.delivered_bytes);
    assert!(near > 9 * far, "{near} bytes on the near path, {far} on the far one");
}
