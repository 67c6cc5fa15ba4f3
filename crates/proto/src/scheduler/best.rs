//! polypath's own.

use super::{Decision, PathView, Scheduler, SubflowSet, View};
use crate::time::Duration;

/// Estimates this close count as the same: then the faster path has it.
const PREFERENCE: f64 = 1.125;

/// Round trips that differ by less are as good as the same to a conversation.
const CLOSE: Duration = Duration::from_millis(1);

/// Two unequal paths are never worse than the better one.
///
/// It fills the fastest subflow first. What does not fit goes to the next one, but for
///
/// - what faster ones deliver as soon, at their next acknowledgements (as ECF waits, by arrival and not by completion of
///   all): only what is left of that is sent;
/// - what would block a faster one: until its acknowledgement comes back, the faster ones use up the rest of the
///   connection's window, and then stand still for it (as BLEST, by rates and for any number of subflows).
#[derive(Copy, Clone, Debug, Default)]
pub struct Best;

impl Scheduler for Best {
    fn name(&self) -> &'static str {
        "default"
    }

    fn schedule(&mut self, view: &View<'_>) -> Decision {
        let Some(next) = view.fastest_with_room() else { return Decision::Wait };
        if view.reinjection_of.is_some() {
            return Decision::on(Some(next));
        }
        if let Some(back) = way_back(view) {
            return Decision::on(Some(back));
        }
        if let Some(main) = in_need_of_window(view, next) {
            return Decision::on(Some(main));
        }
        // What has nothing in flight will not have room sooner by waiting.
        let is_faster = |p: &&PathView| (p.srtt, p.id) < (next.srtt, next.id) && !p.srtt.is_zero() && p.in_flight > 0;
        let faster = view.eligible().filter(is_faster);
        if faster.clone().next().is_none() {
            return Decision::on(Some(next));
        }
        if blocks(view, next, faster.clone().map(PathView::capacity).sum()) {
            return Decision::Wait;
        }
        match worth_sending(view, next, &faster) {
            0 => Decision::Wait,
            bytes => Decision::Send { on: SubflowSet::only(next.id), limit: bytes.min(next.room) },
        }
    }
}

/// Where data came from last, if what is pending may be the answer to it and gets there as fast: it carries the
/// acknowledgement, which would otherwise be a packet of its own.
fn way_back<'a>(view: &View<'a>) -> Option<&'a PathView> {
    let latest = view.eligible().filter(|p| p.heard.is_some() && p.fits(view.pending)).max_by_key(|p| p.heard)?;
    let as_fast = latest.srtt.saturating_sub(view.fastest()?.srtt) < CLOSE;
    (view.pending <= latest.mss && as_fast).then_some(latest)
}

/// How much of what is pending is there on `next` before the faster ones could have delivered it: the more is sent on it,
/// the later the last byte gets out, and the more the faster ones deliver meanwhile. In whole segments, the last of which
/// takes with it what the faster ones could have had.
fn worth_sending<'a>(view: &View<'_>, next: &PathView, faster: &(impl Iterator<Item = &'a PathView> + Clone)) -> u64 {
    let worth = |segments: u64| {
        let bytes = segments * next.mss;
        let there = (next.one_way() + bytes.min(view.pending) as f64 / next.capacity().max(1.0)) * PREFERENCE;
        let covered: u64 = faster.clone().map(|p| delivered_within(view, p, there)).sum();
        bytes < view.pending.saturating_sub(covered) + next.mss
    };
    let (mut low, mut high) = (0, view.pending.min(next.room).div_ceil(next.mss));
    while low < high {
        let middle = (low + high).div_ceil(2);
        if worth(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low * next.mss
}

/// What a subflow without room delivers within `seconds`: as much as it has in flight when the oldest of that is
/// acknowledged, and again each round trip after that.
fn delivered_within(view: &View<'_>, path: &PathView, seconds: f64) -> u64 {
    let first = path.acknowledgement_due(view.now).as_secs_f64() + path.one_way();
    if first > seconds {
        return 0;
    }
    let windows = 1.0 + ((seconds - first) / path.srtt.as_secs_f64()).floor();
    (windows * path.in_flight as f64) as u64
}

/// A subflow that delivers more than `next`, though each byte takes longer, and needs what is left of the window: bytes of
/// `next` would wait in the receiver's buffer for those before them, as long as it takes the slower one.
fn in_need_of_window<'a>(view: &View<'a>, next: &PathView) -> Option<&'a PathView> {
    let most = view.eligible().filter(|p| p.fits(view.pending)).max_by(|a, b| a.rate().total_cmp(&b.rate()))?;
    let missing = (most.rate() * most.min_rtt.as_secs_f64() - most.in_flight as f64).max(0.0);
    let free = view.window.saturating_sub(view.in_flight) as f64;
    let in_need = most.id != next.id && most.rate() > next.rate() && missing > 0.0 && free < missing + next.mss as f64;
    in_need.then_some(most)
}

/// The faster ones' bytes in one round trip of `next`, and what `next` itself has under way, in one window.
fn blocks(view: &View<'_>, next: &PathView, rate: f64) -> bool {
    let during = rate * next.srtt.as_secs_f64();
    rate > 0.0 && during + (next.in_flight + next.mss) as f64 > view.window as f64
}
