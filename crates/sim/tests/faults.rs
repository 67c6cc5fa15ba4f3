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
    (
        "a server with one place gave it away for joins that never came to be",
        r#"{"client":{"links":[{"down":{"delay_us":27100,"kbit":399},"up":{"delay_us":27100,"kbit":399,"queue":12112}},{"down":{"delay_us":993,"kbit":406,"queue":12112},"mtu":1208,"up":{"delay_us":993,"kbit":757}},{"down":{"duplicate":14,"loss":44}}],"settings":{"max_subflows":2}},"connections":[{"down":{"bytes":12177},"from":1,"start_ms":6,"up":{"bytes":9023}},{"down":{"bytes":16807},"from":1,"start_ms":4},{"down":{"bytes":6285},"up":{"bytes":34979}}],"seed":2467,"server":{"links":[{"down":{"delay_us":100},"up":{"delay_us":100}}],"settings":{"max_subflows":1}}}"#,
    ),
    (
        "a server that only listens kept places for subflows that were dead",
        r#"{"client":{"links":[{"ipv6":true},{"ipv6":true}]},"connections":[{"down":{"bytes":3814},"start_ms":66},{"down":{"bytes":1,"read_pause_after":1,"read_pause_ms":701},"ending":"client_last","from":1}],"events":[{"at":{"ms":62},"link":1,"side":"client","what":{"cut":0}},{"at":{"bytes":3695},"link":0,"side":"client","what":{"leave":51}}],"seed":8125,"server":{"links":[{"down":{"delay_us":100},"ipv6":true,"up":{"delay_us":100}}],"settings":{"max_subflows":2}}}"#,
    ),
    (
        "a server whose only subflow was stalled refused the join that would have replaced it",
        r#"{"client":{"links":[{},{"boxes":["no_multipath_in_data"]}]},"connections":[{"down":{"bytes":282542}}],"events":[{"at":{"bytes":21200},"link":0,"side":"client","what":{"flap":{"down":779,"times":1,"up":1866}}}],"seed":8887,"server":{"links":[{}],"settings":{"max_subflows":1}}}"#,
    ),
    (
        "a SYN cookie made a second connection of a subflow that was lost with its address",
        r#"{"client":{"links":[{"down":{"delay_us":1784},"up":{"delay_us":1784,"kbit":1297}}]},"connections":[{"up":{"bytes":674}}],"events":[{"at":{"ms":12},"link":0,"side":"server","what":{"leave":71}}],"seed":101679,"server":{"links":[{"down":{"delay_us":100},"up":{"delay_us":100}}],"settings":{"syn_cookies":"always"}}}"#,
    ),
    (
        "the first address was taken back, came again, and was not joined",
        r#"{"client":{"links":[{}]},"connections":[{"down":{"bytes":239233},"up":{"bytes":110544}}],"events":[{"at":{"bytes":75784},"link":0,"side":"server","what":{"cut":125}},{"at":{"bytes":326842},"link":1,"side":"server","what":{"cut":0}}],"seed":104312,"server":{"links":[{},{}]}}"#,
    ),
    (
        "an end of stream that was due while there was no subflow was never said",
        r#"{"client":{"links":[{},{"ipv6":true}]},"connections":[{"ending":"server_last","from":1,"to":1,"up":{"bytes":55951,"read_pause_after":1598,"read_pause_ms":70}}],"events":[{"at":{"ms":38},"link":0,"side":"client","what":{"cut":0}},{"at":{"bytes":54076},"link":1,"side":"server","what":{"leave":74}}],"seed":107781,"server":{"links":[{},{"ipv6":true}]}}"#,
    ),
    (
        "a probe of the window went beyond a FIN",
        r#"{"client":{"links":[{"up":{"queue":12112}},{"up":{"delay_us":1577,"loss":43,"reorder":3,"reorder_us":1167}},{"down":{"delay_us":531},"up":{"delay_us":531}}],"settings":{"scheduler":"round-robin"}},"connections":[{"down":{"bytes":4988},"up":{"bytes":15993}}],"events":[{"at":{"ms":111},"link":0,"side":"client","what":{"leave":65}}],"seed":115025,"server":{"links":[{"down":{"delay_us":100},"up":{"delay_us":100}}]}}"#,
    ),
    (
        "SYNs without an answer held all places, and another address of the peer was not joined",
        r#"{"client":{"links":[{"ipv6":true},{"ipv6":true}],"settings":{"max_subflows":2}},"connections":[{"down":{"bytes":14688}}],"events":[{"at":{"bytes":10927},"link":0,"side":"server","what":{"cut":0}}],"seed":118646,"server":{"links":[{"ipv6":true},{"ipv6":true}]}}"#,
    ),
    (
        "an announced address whose join was refused for now was never joined again",
        r#"{"client":{"links":[{"ipv6":true},{"ipv6":true}]},"connections":[{"down":{"bytes":114177}}],"events":[{"at":{"bytes":98706},"link":0,"side":"server","what":{"cut":0}}],"seed":120668,"server":{"links":[{"ipv6":true},{"ipv6":true}],"settings":{"max_subflows":2}}}"#,
    ),
    (
        "segments became longer with a fallback than the congestion window, and nothing was sent",
        r#"{"client":{"links":[{"boxes":["no_multipath_in_data"],"up":{"jitter_us":108,"loss":46}}]},"connections":[{"down":{"bytes":148891}},{"down":{"bytes":209648},"up":{"bytes":105126}},{}],"seed":136828,"server":{"links":[{}],"settings":{"recv_buffer":2033}}}"#,
    ),
    (
        "a join that was answered and then reset without a reason was never tried again",
        r#"{"client":{"links":[{"down":{"queue":12112}},{}]},"connections":[{"down":{"bytes":144158},"from":1}],"events":[{"at":{"bytes":71986},"link":0,"side":"server","what":{"cut":0}}],"seed":206433,"server":{"links":[{"down":{"delay_us":100},"up":{"delay_us":100,"kbit":1000000}},{"down":{"delay_us":100},"up":{"delay_us":100}}],"settings":{"max_subflows":2}}}"#,
    ),
    (
        "an echo of ADD_ADDR on a subflow that was gone became a connection by a SYN cookie",
        r#"{"client":{"links":[{"ipv6":true,"up":{"delay_us":907}}]},"connections":[{"up":{"bytes":11828}},{"down":{"bytes":5962}}],"events":[{"at":{"ms":180},"link":0,"side":"server","what":{"flap":{"down":252,"times":1,"up":579}}}],"seed":214000,"server":{"links":[{"down":{"delay_us":29644,"kbit":2020},"ipv6":true,"up":{"delay_us":29644}},{"down":{"delay_us":6243},"ipv6":true,"up":{"delay_us":6243}}],"settings":{"max_subflows":1,"send_buffer":5503,"syn_cookies":"always"}}}"#,
    ),
    (
        "joins whose option is removed were tried seven times a second for ever",
        r#"{"client":{"links":[{"down":{"delay_us":24210,"loss":53,"reorder":5,"reorder_us":30513}},{"boxes":["no_multipath"]}],"settings":{"congestion":"lia"}},"connections":[{"down":{"bytes":1602},"start_ms":196},{"down":{"bytes":13852},"start_ms":10,"up":{"bytes":34725,"write":[1,200],"write_pause_after":4960,"write_pause_ms":3}},{"start_ms":36,"up":{"bytes":18163}}],"events":[{"at":{"bytes":39664},"link":0,"side":"client","what":{"leave":0}}],"seed":300420,"server":{"links":[{"down":{"duplicate":15,"kbit":335,"loss":53,"queue":12112,"reorder":25,"reorder_us":242},"up":{"kbit":335,"queue":12112}}]}}"#,
    ),
    (
        "a FIN that was sent again did not say the end of the stream, and the peer forgot the connection without it",
        r#"{"client":{"links":[{"down":{"delay_us":955},"ipv6":true,"up":{"delay_us":955,"duplicate":1,"jitter_us":73,"loss":44}}]},"connections":[{"down":{"bytes":62},"start_ms":12},{"down":{"bytes":4504,"read_pause_after":2941,"read_pause_ms":15717}}],"events":[{"at":{"bytes":58},"link":0,"side":"server","what":{"flap":{"down":507,"times":4,"up":337}}}],"seed":19219,"server":{"links":[{"down":{"delay_us":32930},"ipv6":true,"up":{"delay_us":32930,"jitter_us":6825,"loss":23,"reorder":14,"reorder_us":996}}]}}"#,
    ),
    (
        "the same where no join is possible",
        r#"{"client":{"links":[{"boxes":["no_joins"],"ipv6":true,"up":{"delay_us":2175}}]},"connections":[{}],"events":[{"at":{"ms":3},"link":0,"side":"client","what":{"lossy":{"down":true,"loss":1000,"ms":279,"up":true}}}],"seed":100794,"server":{"links":[{"down":{"delay_us":100},"ipv6":true,"up":{"delay_us":100}}]}}"#,
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
