//! The same seed gives the same run: every packet, at the same nanosecond.

use polypath_sim::{Trace, random};

fn digest(seed: u64) -> Option<u64> {
    let mut transfer = random::transfer(seed);
    transfer.trace = Trace::off().with_digest();
    match transfer.run() {
        Ok(report) => report.digest,
        Err(failed) => failed.report.digest,
    }
}

#[test]
fn the_same_seed_gives_the_same_packets() {
    for seed in 0..20 {
        let first = digest(seed);
        assert!(first.is_some());
        assert_eq!(first, digest(seed), "seed {seed} went another way the second time");
    }
}

#[test]
fn another_seed_gives_other_packets() {
    assert_ne!(digest(1), digest(2));
}
