//! From a scenario that fails to a small one that fails in the same way.
//!
//! Whatever can be left out is left out, and what cannot is made plainer, over and over until nothing more can be: each
//! step is kept only if the run still fails with the same [`Kind`].

use super::judge::{self, Failure, Kind};
use super::scenario::{Access, ConnectionPlan, Flow, HostPlan, Scenario, Settings, Side, Trouble, Way};
use crate::trace::Trace;

/// More runs are not worth it.
const MOST_RUNS: u32 = 600;

/// A small scenario that fails as this one does, and how.
pub fn shrink(scenario: &Scenario, failure: &Failure) -> (Scenario, Failure) {
    shrink_by(scenario, failure, |candidate| judge::run(candidate, Trace::off()).err())
}

/// The same, with another way to find out whether a scenario fails.
fn shrink_by(
    scenario: &Scenario,
    failure: &Failure,
    mut fails: impl FnMut(&Scenario) -> Option<Failure>,
) -> (Scenario, Failure) {
    let (mut best, mut how) = (scenario.clone(), failure.clone());
    let kind: Kind = failure.kind;
    let mut runs = 0;
    loop {
        let before = best.clone();
        for step in STEPS {
            // What a step proposes depends on what is left: it goes on from there after each success.
            let mut next = 0;
            while let Some(candidate) = step(&best).into_iter().nth(next) {
                if runs == MOST_RUNS {
                    return (best, how);
                }
                runs += 1;
                match fails(&candidate).filter(|found| found.kind == kind) {
                    Some(found) => (best, how) = (candidate, found),
                    None => next += 1,
                }
            }
        }
        if best == before {
            return (best, how);
        }
    }
}

/// Proposes scenarios that are smaller by one thing; none once there is nothing of the kind left.
type Step = fn(&Scenario) -> Vec<Scenario>;

/// The most effective ones first.
const STEPS: [Step; 7] =
    [fewer_connections, fewer_events, fewer_links, fewer_boxes, plainer_links, plainer_hosts, less];

/// All that differ from the scenario itself.
fn variants(scenario: &Scenario, changes: impl IntoIterator<Item = impl FnOnce(&mut Scenario)>) -> Vec<Scenario> {
    let changed = changes.into_iter().map(|change| {
        let mut variant = scenario.clone();
        change(&mut variant);
        variant
    });
    changed.filter(|variant| variant != scenario).collect()
}

fn fewer_connections(scenario: &Scenario) -> Vec<Scenario> {
    let count = scenario.connections.len();
    let all = if count > 1 { 0..count } else { 0..0 };
    let without = |index| {
        move |s: &mut Scenario| {
            s.connections.remove(index);
        }
    };
    variants(scenario, all.map(without))
}

fn fewer_events(scenario: &Scenario) -> Vec<Scenario> {
    let without = |index| {
        move |s: &mut Scenario| {
            s.events.remove(index);
        }
    };
    variants(scenario, (0..scenario.events.len()).map(without))
}

/// Links that no connection begins on.
fn fewer_links(scenario: &Scenario) -> Vec<Scenario> {
    let mut smaller = Vec::new();
    for side in Side::BOTH {
        for number in 0..scenario.host(side).links.len() {
            let used = |plan: &ConnectionPlan| own_link(plan, side) == number;
            if !scenario.connections.iter().any(used) {
                smaller.push(without_link(scenario, side, number));
            }
        }
    }
    smaller
}

fn own_link(plan: &ConnectionPlan, side: Side) -> usize {
    match side {
        Side::Client => plan.from,
        Side::Server => plan.to,
    }
}

fn without_link(scenario: &Scenario, side: Side, number: usize) -> Scenario {
    let mut smaller = scenario.clone();
    smaller.host_mut(side).links.remove(number);
    let moved = |link: &mut usize| *link -= usize::from(*link > number);
    for plan in &mut smaller.connections {
        match side {
            Side::Client => moved(&mut plan.from),
            Side::Server => moved(&mut plan.to),
        }
    }
    smaller.events.retain(|event| event.side != side || event.link != number);
    smaller.events.iter_mut().filter(|event| event.side == side).for_each(|event| moved(&mut event.link));
    smaller
}

fn fewer_boxes(scenario: &Scenario) -> Vec<Scenario> {
    let each = each_link(scenario);
    variants(scenario, each.map(|(side, link)| move |s: &mut Scenario| s.host_mut(side).links[link].boxes.clear()))
}

fn each_link(scenario: &Scenario) -> impl Iterator<Item = (Side, usize)> + use<> {
    let (client, server) = (scenario.client.links.len(), scenario.server.links.len());
    (0..client).map(|link| (Side::Client, link)).chain((0..server).map(|link| (Side::Server, link)))
}

fn plainer_links(scenario: &Scenario) -> Vec<Scenario> {
    const PARTS: [fn(&mut Access); 6] = [
        |link| (link.up, link.down) = (Way::default(), Way::default()),
        |link| link.backup = false,
        |link| (link.mtu, link.offload) = (1_500, true),
        |link| link.coalesce_us = 0,
        |link| link.up = Way::default(),
        |link| link.down = Way::default(),
    ];
    const WAYS: [fn(&mut Way); 10] = [
        |way| (way.duplicate, way.reorder, way.corrupt, way.mark) = (0, 0, 0, 0),
        |way| way.loss = 0,
        |way| way.duplicate = 0,
        |way| (way.reorder, way.reorder_us) = (0, 0),
        |way| way.jitter_us = 0,
        |way| way.corrupt = 0,
        |way| way.mark = 0,
        |way| way.kbit = Way::default().kbit,
        |way| way.delay_us = Way::default().delay_us,
        |way| way.queue = Way::default().queue,
    ];
    let mut smaller = Vec::new();
    for (side, link) in each_link(scenario) {
        smaller.extend(variants(
            scenario,
            PARTS.map(|part| move |s: &mut Scenario| part(&mut s.host_mut(side).links[link])),
        ));
        smaller.extend(variants(
            scenario,
            WAYS.map(|part| move |s: &mut Scenario| part(&mut s.host_mut(side).links[link].up)),
        ));
        smaller.extend(variants(
            scenario,
            WAYS.map(|part| move |s: &mut Scenario| part(&mut s.host_mut(side).links[link].down)),
        ));
    }
    smaller.extend(variants(scenario, [|s: &mut Scenario| s.checksums = false]));
    // Without checksums corruption is no failure of a stack's.
    smaller.retain(|s| s.checksums || each_link(s).all(|(side, link)| !corrupts(&s.host(side).links[link])));
    smaller
}

fn corrupts(link: &Access) -> bool {
    link.up.corrupt + link.down.corrupt > 0
}

fn plainer_hosts(scenario: &Scenario) -> Vec<Scenario> {
    const PARTS: [fn(&mut HostPlan, &Settings); 18] = [
        |host, usual| host.settings = usual.clone(),
        |host, _| host.tick_us = 0,
        |host, usual| host.settings.multipath = usual.multipath,
        |host, usual| host.settings.dss_checksum = usual.dss_checksum,
        |host, usual| host.settings.allow_join_initial = usual.allow_join_initial,
        |host, usual| host.settings.send_buffer = usual.send_buffer,
        |host, usual| host.settings.recv_buffer = usual.recv_buffer,
        |host, usual| host.settings.congestion.clone_from(&usual.congestion),
        |host, usual| host.settings.ecn = usual.ecn,
        |host, usual| host.settings.scheduler.clone_from(&usual.scheduler),
        |host, usual| host.settings.mechanisms = usual.mechanisms,
        |host, usual| host.settings.syn_cookies = usual.syn_cookies,
        |host, usual| host.settings.max_subflows = usual.max_subflows,
        |host, usual| host.settings.announce = usual.announce,
        |host, usual| host.settings.announce_port = usual.announce_port,
        |host, usual| host.settings.nodelay = usual.nodelay,
        |host, usual| host.settings.keepalive_s = usual.keepalive_s,
        |host, usual| host.settings.backlog = usual.backlog,
    ];
    let usual = &Settings::default();
    let each = Side::BOTH.into_iter().flat_map(|side| PARTS.map(|part| (side, part)));
    variants(scenario, each.map(|(side, part)| move |s: &mut Scenario| part(s.host_mut(side), usual)))
}

/// Fewer bytes, fewer rests, shorter troubles.
fn less(scenario: &Scenario) -> Vec<Scenario> {
    const PLANS: [fn(&mut ConnectionPlan); 5] = [
        |plan| plan.quit = None,
        |plan| plan.plain = false,
        |plan| plan.start_ms = 0,
        |plan| plan.ending = super::scenario::Ending::BothAtOnce,
        |plan| {
            if let Some(quit) = &mut plan.quit {
                quit.after /= 2;
            }
        },
    ];
    const FLOWS: [fn(&mut Flow); 8] = [
        |flow| flow.bytes = 0,
        |flow| flow.bytes /= 2,
        |flow| flow.bytes -= flow.bytes / 8,
        |flow| (flow.write_pause_after, flow.write_pause_ms) = (0, 0),
        |flow| (flow.read_pause_after, flow.read_pause_ms) = (0, 0),
        |flow| flow.write = Flow::default().write,
        |flow| flow.read = Flow::default().read,
        |flow| flow.zero_copy = 0,
    ];
    const TROUBLES: [fn(&mut Trouble); 1] = [|trouble| match trouble {
        Trouble::Cut(ms) | Trouble::Leave(ms) | Trouble::Lossy { ms, .. } if *ms > 100 => *ms /= 2,
        Trouble::Flap { times, .. } => *times -= *times / 2,
        _ => {}
    }];
    let mut smaller = Vec::new();
    for index in 0..scenario.connections.len() {
        smaller.extend(variants(scenario, PLANS.map(|part| move |s: &mut Scenario| part(&mut s.connections[index]))));
        smaller
            .extend(variants(scenario, FLOWS.map(|part| move |s: &mut Scenario| part(&mut s.connections[index].up))));
        smaller
            .extend(variants(scenario, FLOWS.map(|part| move |s: &mut Scenario| part(&mut s.connections[index].down))));
    }
    for index in 0..scenario.events.len() {
        smaller
            .extend(variants(scenario, TROUBLES.map(|part| move |s: &mut Scenario| part(&mut s.events[index].what))));
    }
    smaller
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::draw;
    use super::*;

    /// Fails wherever a link is cut, and 100 bytes or more go up on some connection.
    fn fails(scenario: &Scenario) -> Option<Failure> {
        let cut = scenario.events.iter().any(|event| matches!(event.what, Trouble::Cut(_)));
        let sent = scenario.connections.iter().any(|plan| plan.up.bytes >= 100);
        let failure = || Failure { kind: Kind::Stall, at: Duration::ZERO, what: String::new() };
        (cut && sent).then(failure)
    }

    #[test]
    fn nothing_is_left_that_does_not_matter() {
        let mut tried = 0;
        for scenario in (0..300).map(draw::scenario) {
            let Some(failure) = fails(&scenario) else { continue };
            let (small, _) = shrink_by(&scenario, &failure, fails);
            assert!(small.to_line().parse::<Scenario>().is_ok(), "{}", small.to_line());
            let [plan] = &small.connections[..] else { panic!("{}", small.to_line()) };
            assert!((100..120).contains(&plan.up.bytes) && plan.down.bytes == 0, "{}", small.to_line());
            assert_eq!(small.events.len(), 1);
            assert_eq!(small.client.settings, Settings::default());
            tried += 1;
        }
        assert!(tried > 50, "{tried}");
    }

    #[test]
    fn another_kind_of_failure_is_not_taken_for_the_same() {
        let scenario = draw::scenario(1);
        let failure = Failure { kind: Kind::Stall, at: Duration::ZERO, what: String::new() };
        let other = Failure { kind: Kind::Wire, ..failure.clone() };
        let (small, _) = shrink_by(&scenario, &failure, |_| Some(other.clone()));
        assert_eq!(small, scenario);
    }
}
