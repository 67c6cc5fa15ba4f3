//! A path that is cut in mid-work, and comes back.

use crate::stage::{CUT, Stage};
use anyhow::bail;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// How long the path stays away.
const AWAY: Duration = Duration::from_secs(2);
/// Bytes that only data can be: more than all handshakes, probes and acknowledgements.
const DATA: u64 = 300_000;
/// How often is looked.
const LOOK: Duration = Duration::from_millis(5);

/// Cuts the path as soon as data is going over both, and brings it back when the other one has carried data without
/// it. `over` says that the work has ended.
///
/// # Errors
/// If the work was over too early: before both paths were used, before the path came back, or before it carried
/// data again.
pub(crate) fn cut_and_return(stage: &Stage, over: &AtomicBool) -> anyhow::Result<()> {
    let other = 1 - CUT;
    let carries = |path: usize, begin: u64| stage.delivered(path) > begin + DATA;
    let begin = [0, 1].map(|path| stage.delivered(path));
    wait(over, "both paths were used", || carries(0, begin[0]) && carries(1, begin[1]))?;

    let (cut, before) = (Instant::now(), stage.delivered(other));
    stage.set_up(CUT, false);
    let meanwhile = wait(over, "the path that was cut came back", || cut.elapsed() >= AWAY && carries(other, before));
    let begin = stage.delivered(CUT);
    stage.set_up(CUT, true);
    meanwhile?;
    wait(over, "the path that was cut carried data again", || carries(CUT, begin))
}

fn wait(over: &AtomicBool, what: &str, mut done: impl FnMut() -> bool) -> anyhow::Result<()> {
    while !done() {
        if over.load(Relaxed) {
            bail!("the work was over before {what}");
        }
        thread::sleep(LOOK);
    }
    Ok(())
}
