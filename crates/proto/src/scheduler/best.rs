//! polypath's own.

use super::{Decision, PathView, Scheduler, View};

/// Two unequal paths are never worse than the better one.
///
/// It fills the fastest subflow first. What does not fit goes to the next one, unless
///
/// - it would arrive sooner by waiting for a faster one: what is pending is so little that the faster ones, at the rates
///   of their windows, have it delivered first (as ECF);
/// - or it would block a faster one: until its acknowledgement comes back, the faster ones use up the rest of the
///   connection's window, and then stand still for it (as BLEST, by rates and for any number of subflows).
#[derive(Copy, Clone, Debug, Default)]
pub struct Best;

impl Scheduler for Best {
    fn name(&self) -> &'static str {
        "default"
    }

    fn schedule(&mut self, view: &View<'_>) -> Decision {
        let Some(next) = view.fastest_with_room() else { return Decision::Wait };
        let faster = view.eligible().filter(|p| (p.srtt, p.id) < (next.srtt, next.id) && !p.srtt.is_zero());
        if view.reinjection_of.is_some() {
            return Decision::on(Some(next));
        }
        let rate: f64 = faster.clone().map(PathView::rate).sum();
        if rate > 0.0 && (arrives_sooner_by_waiting(view, next, faster) || blocks(view, next, rate)) {
            return Decision::Wait;
        }
        Decision::on(Some(next))
    }
}

/// One way is half a round trip; what is pending leaves at the rates of the windows.
fn arrives_sooner_by_waiting<'a>(view: &View<'_>, next: &PathView, faster: impl Iterator<Item = &'a PathView>) -> bool {
    let (mut rate, mut way) = (0.0_f64, 0.0_f64);
    for path in faster {
        rate += path.rate();
        way = way.max(path.srtt.as_secs_f64() / 2.0);
    }
    view.pending as f64 / rate + way < next.srtt.as_secs_f64() / 2.0
}

/// The faster ones' bytes in one round trip of `next`, and what `next` itself has under way, in one window.
fn blocks(view: &View<'_>, next: &PathView, rate: f64) -> bool {
    let during = rate * next.srtt.as_secs_f64();
    during + (next.in_flight + next.mss) as f64 > view.window as f64
}
