//! Random networks, programs and troubles: every byte once and in order, nothing stuck, nothing left behind.
//!
//! One seed, with every packet (`POLYPATH_TRACE=FILE` writes them into a file):
//! `POLYPATH_SEED=17 POLYPATH_TRACE=1 cargo test -p polypath-sim --test faults a_thousand -- --nocapture`
//! Another range: `POLYPATH_SEEDS=5000..9000`. More at once, and all that fail: `polypath sim faults --seeds 10000`.

use polypath_sim::Trace;
use polypath_sim::faults::{campaign, draw, run};
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
            return run(&scenario, trace).map(|outcome| eprintln!("{outcome:?}")).map_err(|failure| failure.to_string());
        }
        campaign::try_seed(seed).map(drop).map_err(|found| found.to_string())
    });
}
