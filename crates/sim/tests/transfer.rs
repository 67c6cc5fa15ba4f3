//! Transfers over two lossy, reordering paths with cuts: no byte wrong, no stall.
//!
//! One seed, with every packet:
//! `POLYPATH_SEED=17 POLYPATH_TRACE=1 cargo test -p polypath-sim --test transfer a_thousand -- --nocapture`
//! (`POLYPATH_TRACE=FILE` writes the log into a file). All that fail of another range, with one line for each:
//! `POLYPATH_SEEDS=0..10000 POLYPATH_KEEP_GOING=1 cargo test -p polypath-sim --test transfer a_thousand`

use polypath_sim::seeds::Seeds;
use polypath_sim::{LinkParams, Rate, Trace, random};

const REPEAT: &str =
    "POLYPATH_SEED={seed} POLYPATH_TRACE=1 cargo test -p polypath-sim --test transfer a_thousand -- --nocapture";

#[test]
fn a_thousand_seeded_transfers_arrive_whole() {
    Seeds::from_env(0..1_000).run(REPEAT, |seed| {
        let mut transfer = random::transfer(seed);
        transfer.trace = Trace::from_env().map_err(|error| format!("POLYPATH_TRACE: {error}"))?;
        let report = transfer.run().map_err(|failed| failed.to_string())?;
        if std::env::var_os("POLYPATH_SEED").is_some() {
            eprintln!("{report}");
        }
        Ok(())
    });
}

/// Each found a fault once: stalls behind shut windows, lost fourth ACKs, paths that stall twice, wrong fallbacks.
#[test]
fn seeds_that_once_failed_arrive_whole() {
    for seed in [1180, 1802, 5046, 6521, 8869, 9317, 10_830, 13_961] {
        if let Err(failed) = random::transfer(seed).run() {
            panic!("{failed}");
        }
    }
}

/// The plainest case, to be looked at first when everything fails.
#[test]
fn a_megabyte_each_way_over_two_clean_paths() {
    use polypath_sim::{Finish, PathSpec, Pattern, StreamPlan, Transfer};
    use std::time::Duration;

    let plan = |send, receive| StreamPlan {
        send: 1_000_000,
        send_pattern: Pattern::Seeded(send),
        receive: 1_000_000,
        receive_pattern: Pattern::Seeded(receive),
        write_sizes: 10_000..=10_000,
        zero_copy: 0.5,
        write_pace: None,
        read_sizes: 65_536..=65_536,
        read_pace: None,
        finish: Finish::HalfClose,
    };
    let params = LinkParams::new(Rate::mbit(20), Duration::from_millis(10));
    let paths = vec![PathSpec::new("wifi", params.clone()), PathSpec::new("lte", params)];
    let mut transfer = Transfer::new(1, paths, plan(1, 2), plan(2, 1));
    transfer.trace = Trace::from_env().expect("POLYPATH_TRACE names a file that can be written");
    let report = transfer.run().unwrap_or_else(|failed| panic!("{failed}"));
    assert_eq!((report.client.received, report.server.received), (1_000_000, 1_000_000));
}
