//! Filters of traffic control at the uplinks. They stand between the wire and nf_tables, in both directions.
//!
//! What a filter at the ingress sends through an `ifb` device, as is usual for shaping what comes in, returns past
//! nf_tables: it never gets to us, and the kernel answers it with resets.

use std::io;

use super::{Effect, Obstacle, Way};
use crate::attach::discover::Path;
use crate::attach::dump::{attribute, attributes, dump, text, word};

const GET_QDISC: u16 = 38;
const GET_FILTER: u16 = 46;
/// `tcmsg` stands in front of the attributes.
const HEADER_LEN: usize = 20;
/// The qdiscs `ingress` and `clsact`, of which only the second is at the egress too, and their hooks.
const QDISC: u32 = 0xffff_fff1;
const AT_INGRESS: u32 = 0xffff_fff2;
const AT_EGRESS: u32 = 0xffff_fff3;

const ETH_P_ALL: u16 = 3;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;

// Verdicts of an action.
const SHOT: u32 = 2;
const STOLEN: u32 = 4;

// What `mirred` does.
const EGRESS_REDIRECT: u32 = 1;
const INGRESS_REDIRECT: u32 = 3;

/// A filter that may keep packets.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Filter {
    kind: String,
    /// Only of this family.
    v6: Option<bool>,
    /// It takes whatever comes.
    matches_all: bool,
    action: Action,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Action {
    Passes,
    Drops,
    /// To the interface with this index.
    Redirects(u32),
    /// A program, or something that is not known here.
    Unknown,
}

/// What stands at the uplinks of `paths`. `ifbs` are the devices that give back what they are given.
pub(super) fn at_uplinks(paths: &[Path], ifbs: &[u32]) -> io::Result<Vec<Obstacle>> {
    let qdiscs = qdiscs()?;
    let mut found = Vec::new();
    let mut done: Vec<u32> = Vec::new();
    for path in paths {
        if done.contains(&path.index) {
            continue;
        }
        done.push(path.index);
        let kind = qdiscs.iter().find(|(index, _)| *index == path.index).map_or("", |(_, kind)| kind);
        let ingress = if kind.is_empty() { Vec::new() } else { filters(path.index, AT_INGRESS)? };
        let egress = if kind == "clsact" { filters(path.index, AT_EGRESS)? } else { Vec::new() };
        for (way, hook, all, others) in
            [(Way::In, "ingress", &ingress, &egress), (Way::Out, "egress", &egress, &ingress)]
        {
            for filter in all {
                // Where both directions have filters of the kind u32, the kernel lists those of both for each.
                let alike = |other: &Filter| (&other.kind, other.action) == (&filter.kind, filter.action);
                let sure = filter.matches_all && !others.iter().any(alike);
                let filter = Filter { matches_all: sure, ..filter.clone() };
                if let Some((effect, does)) = judge(&filter, way, ifbs) {
                    let (uplink, kind) = (&path.interface, &filter.kind);
                    let what = format!("a tc filter ({kind}) {does} what {way} there");
                    let look = format!("tc filter show dev {uplink} {hook}");
                    found.push(Obstacle { v6: filter.v6, ..Obstacle::on(uplink, effect, what, look) });
                }
            }
        }
    }
    Ok(found)
}

fn judge(filter: &Filter, way: Way, ifbs: &[u32]) -> Option<(Effect, &'static str)> {
    let sure = if filter.matches_all { Effect::Blocks } else { Effect::MayBlock };
    match filter.action {
        Action::Passes => None,
        // On the way out it comes back where it left.
        Action::Redirects(index) if way == Way::Out && ifbs.contains(&index) => None,
        Action::Redirects(index) if ifbs.contains(&index) => Some((sure, "sends past polypath, for shaping,")),
        Action::Redirects(_) => Some((sure, "redirects")),
        Action::Drops => Some((sure, "drops")),
        Action::Unknown => Some((Effect::MayBlock, "may drop or redirect")),
    }
}

/// The interfaces where there may be filters, and the kind of qdisc that they belong to.
fn qdiscs() -> io::Result<Vec<(u32, String)>> {
    let read = |message: &Vec<u8>| {
        let here = word(message, 12)? == QDISC;
        let kind = attribute(message.get(HEADER_LEN..)?, 1).map(text)?;
        here.then_some((word(message, 4)?, kind))
    };
    match dump(None, GET_QDISC, &[0; HEADER_LEN]) {
        Ok(messages) => Ok(messages.iter().filter_map(read).collect()),
        // A kernel without traffic control has none in the way.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn filters(index: u32, parent: u32) -> io::Result<Vec<Filter>> {
    let mut body = vec![0; 4];
    body.extend_from_slice(&index.to_ne_bytes());
    body.extend_from_slice(&[0; 4]);
    body.extend_from_slice(&parent.to_ne_bytes());
    body.extend_from_slice(&[0; 4]);
    Ok(dump(None, GET_FILTER, &body)?.iter().filter_map(|message| read(message)).collect())
}

/// `None` for the heads of lists, and for what has no IP packets.
fn read(message: &[u8]) -> Option<Filter> {
    let v6 = match u16::from_be(word(message, 16)? as u16) {
        ETH_P_ALL => None,
        ETH_P_IP => Some(false),
        ETH_P_IPV6 => Some(true),
        _ => return None,
    };
    let body = message.get(HEADER_LEN..)?;
    let kind = text(attribute(body, 1)?);
    let options = attribute(body, 2)?;
    let (matches_all, list) = match kind.as_str() {
        "matchall" => (true, 2),
        "u32" => (takes_all(attribute(options, 5)?), 7),
        "flower" => (false, 3),
        // What a program does, it alone knows.
        _ => return Some(Filter { kind, v6, matches_all: false, action: Action::Unknown }),
    };
    let actions = attributes(attribute(options, list).unwrap_or_default());
    let action = actions.map(|(_, action)| read_action(action)).find(|action| *action != Action::Passes);
    Some(Filter { kind, v6, matches_all, action: action.unwrap_or(Action::Passes) })
}

/// A `tc_u32_sel` without a key that looks at anything. A key's mask is its first field.
fn takes_all(selector: &[u8]) -> bool {
    selector.get(16..).unwrap_or_default().chunks_exact(16).all(|key| word(key, 0) == Some(0))
}

fn read_action(action: &[u8]) -> Action {
    let options = attribute(action, 2).unwrap_or_default();
    // `tc_gen`, 20 bytes, in which the verdict is the third number.
    let parameters = attribute(options, 2).unwrap_or_default();
    match attribute(action, 1).map(text).unwrap_or_default().as_str() {
        "gact" if matches!(word(parameters, 8), Some(SHOT | STOLEN)) => Action::Drops,
        "mirred" => match (word(parameters, 20), word(parameters, 24)) {
            (Some(EGRESS_REDIRECT | INGRESS_REDIRECT), Some(index)) => Action::Redirects(index),
            _ => Action::Passes,
        },
        // They count, mark or slow down.
        "gact" | "police" | "skbedit" | "sample" | "csum" | "ctinfo" | "connmark" | "simple" => Action::Passes,
        _ => Action::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::testing::{in_namespace, ip, run};

    #[test]
    fn filters_are_read_as_they_were_set() {
        in_namespace(|| {
            ip("link add u1 type veth peer name p1");
            ip("link add ifb0 type ifb");
            let index = |name: &str| ip(&format!("-o link show {name}")).split(':').next().unwrap().parse().unwrap();
            let (u1, ifb0): (u32, u32) = (index("u1"), index("ifb0"));
            let addr = [10, 1, 0, 2].into();
            let path = Path { interface: "u1".into(), index: u1, addr, backup: false, mtu: 1500, routes: Vec::new() };
            let found = || -> Vec<(Effect, Option<bool>, String)> {
                let all = at_uplinks(&[path.clone(), path.clone()], &[ifb0]).unwrap();
                all.into_iter().map(|o| (o.effect, o.v6, o.to_string())).collect()
            };
            assert_eq!(found(), [], "there is no qdisc");
            run("tc", "qdisc add dev u1 clsact");
            assert_eq!(found(), []);

            let all = "u32 match u32 0 0 action mirred egress";
            run("tc", &format!("filter add dev u1 ingress protocol ip {all} redirect dev ifb0"));
            let text = "u1: a tc filter (u32) sends past polypath, for shaping, what comes in there \
                        (see `tc filter show dev u1 ingress`)";
            assert_eq!(found(), [(Effect::Blocks, Some(false), text.to_owned())]);
            run("tc", "filter del dev u1 ingress");

            run("tc", &format!("filter add dev u1 egress protocol all {all} redirect dev ifb0"));
            assert_eq!(found(), [], "it comes back from there");
            run("tc", "filter add dev u1 ingress protocol ip u32 match ip dport 22 0xffff flowid 1:1");
            assert_eq!(found()[0].0, Effect::MayBlock, "not to be told apart: {:?}", found());
            run("tc", "filter del dev u1 egress");
            run("tc", &format!("filter add dev u1 ingress protocol all {all} mirror dev ifb0"));
            assert_eq!(found(), [], "a copy is no loss");
            run("tc", "filter del dev u1 ingress");

            let ssh = "u32 match ip dport 22 0xffff action mirred egress redirect dev p1";
            run("tc", &format!("filter add dev u1 egress protocol ip {ssh}"));
            assert_eq!(found()[0].0, Effect::MayBlock);
            run("tc", "filter del dev u1 egress");

            let words = "filter add dev u1 egress protocol all bpf bytecode".split(' ');
            let program = ["1,6 0 0 4294967295,", "da"];
            assert!(Command::new("tc").args(words).args(program).status().unwrap().success());
            assert!(found()[0].0 == Effect::MayBlock && found()[0].2.contains("(bpf) may drop"), "{:?}", found());
            run("tc", "qdisc del dev u1 clsact");

            run("tc", "qdisc add dev u1 ingress");
            run("tc", &format!("filter add dev u1 parent ffff: protocol all {all} redirect dev p1"));
            assert_eq!(found().len(), 1, "it is not at the egress: {:?}", found());
            assert_eq!((found()[0].0, found()[0].1), (Effect::Blocks, None));
        });
    }

    #[test]
    fn dropping_is_an_action_and_so_is_what_is_not_known() {
        let filter = |action, matches_all| Filter { kind: "matchall".into(), v6: None, matches_all, action };
        let effect = |filter: &Filter| judge(filter, Way::In, &[]).map(|(effect, _)| effect);
        assert_eq!(effect(&filter(Action::Drops, true)), Some(Effect::Blocks));
        assert_eq!(effect(&filter(Action::Drops, false)), Some(Effect::MayBlock));
        assert_eq!(effect(&filter(Action::Unknown, true)), Some(Effect::MayBlock));
        assert_eq!(effect(&filter(Action::Passes, true)), None);
        // Not in every kernel, so as bytes: "gact" that drops, as `tc` sets it.
        let action = |name: &[u8; 4], verdict: u8| {
            let mut bytes = vec![9, 0, 1, 0, name[0], name[1], name[2], name[3], 0, 0, 0, 0, 28, 0, 2, 0, 24, 0, 2, 0];
            bytes.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, verdict, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            read_action(&bytes)
        };
        assert_eq!(
            [action(b"gact", 2), action(b"gact", 0), action(b"xxxx", 0)],
            [Action::Drops, Action::Passes, Action::Unknown]
        );
    }
}
