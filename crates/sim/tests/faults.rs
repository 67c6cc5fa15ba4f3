//! Random networks, programs and troubles: every byte once and in order, nothing stuck, nothing left behind.
//!
//! One seed, with every packet (`POLYPATH_TRACE=FILE` writes them into a file):
//! `POLYPATH_SEED=17 POLYPATH_TRACE=1 cargo test -p polypath-sim --test faults a_thousand -- --nocapture`
//! Another range: `POLYPATH_SEEDS=5000..9000`. More at once, and all that fail: `polypath sim faults --seeds 10000`.

use polypath_sim::Trace;
use polypath_sim::faults::{Kind, Scenario, campaign, draw, run};
use polypath_sim::seeds::Seeds;

const REPEAT: &str =
    "POLYPATH_SEED={seed} POLYPATH_TRACE=1 cargo test -p polypath-sim --test faults a_thousand -- --nocapture";

#[test]
fn a_thousand_seeded_scenarios_go_well() {
    let seeds = Seeds::from_env(0..1_000);
    let alone = seeds.range.end - seeds.range.start == 1;
    seeds.run(REPEAT, |seed| {
        if alone {
            let scenario = draw::scenario(seed);
            eprintln!("{scenario}");
            let trace = Trace::from_env().map_err(|error| format!("POLYPATH_TRACE: {error}"))?;
            return run(&scenario, trace)
                .map(|outcome| eprintln!("{outcome:?}"))
                .map_err(|failure| failure.to_string());
        }
        campaign::try_seed(seed).map(drop).map_err(|found| found.to_string())
    });
}

/// Each of these failed once: what was wrong, and the smallest scenario that showed it.
const ONCE_FAILED: &[(&str, &str)] = &[
    (
        "a SYN cookie offered more than the receive buffer holds",
        r#"{"client":{"links":[{"ipv6":true}]},"connections":[{"up":{"bytes":8959}}],"seed":5242,"server":{"links":[{"ipv6":true}],"settings":{"dss_checksum":true,"recv_buffer":3300,"syn_cookies":"always"}}}"#,
    ),
    (
        "data that came before the third ACK was answered with a reset, where SYN cookies keep nothing of the handshake",
        r#"{"client":{"links":[{"up":{"delay_us":997,"queue":12112}}],"settings":{"congestion":"bbr"},"tick_us":1000},"connections":[{"start_ms":45,"up":{"bytes":1498}},{"down":{"bytes":12053},"start_ms":10,"up":{"bytes":60102}}],"seed":7507,"server":{"links":[{"down":{"delay_us":100},"up":{"delay_us":100,"kbit":1000000}}],"settings":{"syn_cookies":"always"}}}"#,
    ),
    (
        "a DATA_FIN that nobody acknowledges was repeated for ever",
        r#"{"client":{"links":[{"down":{"delay_us":16962}}]},"connections":[{}],"events":[{"at":{"ms":338},"link":0,"side":"server","what":{"leave":0}}],"seed":7642,"server":{"links":[{"down":{"delay_us":95930,"jitter_us":7341,"kbit":1147,"loss":11,"reorder":51,"reorder_us":461},"up":{"delay_us":95930}}]}}"#,
    ),
    (
        "a receiver did not notice that its subflow was reset while the path was away, and later had no other",
        r#"{"client":{"links":[{},{}]},"connections":[{"down":{"bytes":305098}}],"events":[{"at":{"bytes":293189},"link":1,"side":"client","what":{"cut":0}},{"at":{"bytes":190164},"link":0,"side":"client","what":{"flap":{"down":723,"times":1,"up":35}}}],"seed":1420,"server":{"links":[{}],"settings":{"send_buffer":17779}}}"#,
    ),
];

#[test]
fn what_once_failed_goes_well() {
    for (what, line) in ONCE_FAILED {
        let scenario: Scenario = line.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
        if let Err(failure) = run(&scenario, Trace::off()) {
            panic!("{what}: {failure}\n{scenario}");
        }
    }
}

/// Otherwise it would say nothing that nothing is found.
#[test]
fn what_cannot_go_well_is_found() {
    let run = |line: &str| run(&line.parse().expect("a scenario"), Trace::off());
    // Changed bits, and no checksum that would show them.
    let worn = r#"{"client":{"links":[{"up":{"corrupt":300}}]},"connections":[{"up":{"bytes":100000}}],"server":{"links":[{}]}}"#;
    let failure = run(worn).expect_err("bytes were changed");
    assert!(matches!(failure.kind, Kind::Bytes | Kind::Wire | Kind::Error), "{failure}");
    // A path that counts as one, and takes longer than anybody waits.
    let slow = r#"{"client":{"links":[{"up":{"delay_us":90000000}}]},"connections":[{"up":{"bytes":10}}],"server":{"links":[{}]}}"#;
    assert_eq!(run(slow).expect_err("nothing gets on").kind, Kind::Stall);
}

/// The same scenario gives the same run, and one that was written down the same as one that was drawn.
#[test]
fn a_scenario_repeats_itself() {
    for seed in 0..30 {
        let scenario = draw::scenario(seed);
        let again: Scenario = scenario.to_line().parse().expect("it was written by us");
        assert_eq!(run(&scenario, Trace::off()), run(&again, Trace::off()), "seed {seed}");
    }
}
