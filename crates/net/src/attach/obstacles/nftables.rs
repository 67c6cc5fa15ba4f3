//! nf_tables chains of others: at the uplinks, where our packets meet them, and in the host's filters, where they do
//! not.

use std::io;

use rustix::net::netlink;

use super::{Effect, Obstacle, Way};
use crate::attach::discover::Path;
use crate::attach::dump::{attribute, attributes, dump, text};
use crate::attach::rules::TABLE_PREFIX;

const SUBSYSTEM: u16 = 10 << 8;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const GET_RULE: u16 = SUBSYSTEM | 7;
/// `nfgenmsg` stands in front of the attributes.
const HEADER_LEN: usize = 4;

// NFPROTO_*.
const UNSPEC: u8 = 0;
const INET: u8 = 1;
const IPV4: u8 = 2;
const NETDEV: u8 = 5;
const IPV6: u8 = 10;

// Verdicts.
const DROP: i32 = 0;
const ACCEPT: i32 = 1;
const QUEUE: i32 = 3;
const CONTINUE: i32 = -1;
const JUMP: i32 = -3;
const GOTO: i32 = -4;
const RETURN: i32 = -5;

/// Chains may call each other this deep (the kernel has the same limit).
const DEPTH: u32 = 16;

/// A chain that the kernel calls by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
struct BaseChain {
    family: u8,
    table: String,
    name: String,
    hook: Hook,
    priority: i32,
    /// Names, some with a `*` at the end.
    devices: Vec<String>,
    /// "filter", "nat", "route".
    kind: String,
    drops_by_policy: bool,
    /// It has a rule.
    in_use: bool,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Hook {
    Device(Way),
    /// What programs of the host send.
    Output,
    /// What comes for them.
    Input,
}

/// A rule, as far as it matters here.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Rule {
    chain: String,
    /// It looks at the packet.
    conditional: bool,
    outcome: Outcome,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Outcome {
    Nothing,
    /// Dropped, rejected, sent elsewhere.
    Lost,
    Passed,
    Returned,
    Called(String),
    /// A map decides.
    Unknown,
}

/// What a chain does to packets.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Filter {
    Passes,
    /// Some are lost: those that a rule names.
    LosesSome,
    /// Some pass: those that a rule names.
    PassesSome,
    LosesAll,
}

/// What stands at the uplinks of `paths`.
pub(super) fn at_uplinks(paths: &[Path]) -> io::Result<Vec<Obstacle>> {
    let mut found = Vec::new();
    for chain in chains()? {
        let Hook::Device(way) = chain.hook else { continue };
        // Another instance takes only what is its own. Of equal priority, the chain loaded last comes first.
        if chain.table.starts_with(TABLE_PREFIX) || (way == Way::In && chain.priority >= 0) {
            continue;
        }
        let mut uplinks: Vec<&str> = paths.iter().map(|path| path.interface.as_str()).collect();
        uplinks.dedup();
        uplinks.retain(|uplink| chain.devices.iter().any(|pattern| names(pattern, uplink)));
        if uplinks.is_empty() {
            continue;
        }
        let (effect, does) = match filter(&chain, &rules(&chain)?) {
            Filter::Passes => continue,
            Filter::LosesSome => (Effect::Note, "drops some of"),
            Filter::PassesSome => (Effect::MayBlock, "drops all but some of"),
            Filter::LosesAll => (Effect::Blocks, "drops"),
        };
        let (family, table, name) = (family(chain.family), &chain.table, &chain.name);
        for uplink in uplinks {
            found.push(Obstacle::on(
                uplink,
                effect,
                format!("the nftables chain `{family} {table} {name}` {does} what {way} there"),
                format!("nft list chain {family} {table} {name}"),
            ));
        }
    }
    Ok(found)
}

/// The host's own filters that do not see our packets: "output `inet filter output` (drop)".
pub(super) fn not_asked() -> io::Result<Vec<Obstacle>> {
    let say = |chain: BaseChain| {
        let way = match chain.hook {
            Hook::Output => "output",
            Hook::Input => "input",
            Hook::Device(_) => return None,
        };
        let filters = chain.kind == "filter" && (chain.drops_by_policy || chain.in_use);
        let (family, table, name) = (family(chain.family), chain.table, chain.name);
        filters.then(|| {
            Obstacle::of_host(
                Effect::Note,
                format!("the host's {way} filter `{family} {table} {name}` does not see polypath's packets"),
                format!("nft list chain {family} {table} {name}"),
            )
        })
    };
    Ok(chains()?.into_iter().filter_map(say).collect())
}

fn chains() -> io::Result<Vec<BaseChain>> {
    Ok(dump(Some(netlink::NETFILTER), GET_CHAIN, &[UNSPEC, 0, 0, 0])?.iter().filter_map(|m| read_chain(m)).collect())
}

fn rules(chain: &BaseChain) -> io::Result<Vec<Rule>> {
    let mut body = vec![chain.family, 0, 0, 0];
    let table = chain.table.as_bytes();
    body.extend_from_slice(&(4 + table.len() as u16 + 1).to_ne_bytes());
    body.extend_from_slice(&1_u16.to_ne_bytes());
    body.extend_from_slice(table);
    body.push(0);
    body.resize(body.len().next_multiple_of(4), 0);
    Ok(dump(Some(netlink::NETFILTER), GET_RULE, &body)?.iter().filter_map(|message| read_rule(message)).collect())
}

/// `None` for a chain that only rules call, or that is called where it does not matter.
fn read_chain(message: &[u8]) -> Option<BaseChain> {
    let (family, body) = (*message.first()?, message.get(HEADER_LEN..)?);
    let hook = attribute(body, 4)?;
    let way = match (family, number(attribute(hook, 1)?)?) {
        (NETDEV, 0) | (INET, 5) => Hook::Device(Way::In),
        (NETDEV, 1) => Hook::Device(Way::Out),
        (INET | IPV4 | IPV6, 1) => Hook::Input,
        (INET | IPV4 | IPV6, 3) => Hook::Output,
        _ => return None,
    };
    let several = attributes(attribute(hook, 4).unwrap_or_default()).map(|(kind, name)| {
        // Since Linux 6.16 a name may be the beginning of one: without its end, or as an attribute of its own.
        if kind == 2 || !name.contains(&0) { text(name) + "*" } else { text(name) }
    });
    Some(BaseChain {
        family,
        table: text(attribute(body, 1)?),
        name: text(attribute(body, 3)?),
        hook: way,
        priority: number(attribute(hook, 2)?)?,
        devices: attribute(hook, 3).map(text).into_iter().chain(several).collect(),
        kind: attribute(body, 7).map(text).unwrap_or_default(),
        drops_by_policy: attribute(body, 5).and_then(number) == Some(DROP),
        in_use: attribute(body, 6).and_then(number).is_some_and(|uses| uses > 0),
    })
}

fn read_rule(message: &[u8]) -> Option<Rule> {
    let body = message.get(HEADER_LEN..)?;
    let mut rule = Rule { chain: text(attribute(body, 2)?), conditional: false, outcome: Outcome::Nothing };
    for (_, expression) in attributes(attribute(body, 4).unwrap_or_default()) {
        let data = attribute(expression, 2).unwrap_or_default();
        match attribute(expression, 1).map(text).unwrap_or_default().as_str() {
            "counter" | "log" | "last" | "dup" => {}
            "fwd" | "reject" | "queue" => rule.outcome = Outcome::Lost,
            "immediate" => {
                // Others only load a register.
                if let Some(verdict) = attribute(data, 2).and_then(|value| attribute(value, 2)) {
                    rule.outcome = outcome(verdict);
                }
            }
            "lookup" if attribute(data, 3).and_then(number) == Some(0) => {
                (rule.conditional, rule.outcome) = (true, Outcome::Unknown);
            }
            _ => rule.conditional = true,
        }
    }
    Some(rule)
}

fn outcome(verdict: &[u8]) -> Outcome {
    match attribute(verdict, 1).and_then(number) {
        Some(ACCEPT) => Outcome::Passed,
        Some(CONTINUE) => Outcome::Nothing,
        Some(RETURN) => Outcome::Returned,
        Some(JUMP | GOTO) => Outcome::Called(attribute(verdict, 2).map(text).unwrap_or_default()),
        // The upper half of a queue's verdict is its number.
        Some(code) if code == DROP || code & 0xff == QUEUE => Outcome::Lost,
        _ => Outcome::Unknown,
    }
}

fn filter(chain: &BaseChain, rules: &[Rule]) -> Filter {
    let (mut loses, mut passes) = (false, false);
    let ended = walk(&chain.name, rules, DEPTH, &mut |outcome| match outcome {
        Outcome::Lost => loses = true,
        Outcome::Passed => passes = true,
        _ => (loses, passes) = (true, true),
    });
    match (ended, chain.drops_by_policy) {
        (Some(Outcome::Lost), _) | (None, true) if !passes => Filter::LosesAll,
        (Some(Outcome::Lost), _) | (None, true) => Filter::PassesSome,
        _ if loses => Filter::LosesSome,
        _ => Filter::Passes,
    }
}

/// Goes through a chain, tells what may become of packets, and returns what becomes of all that come to the end.
fn walk(chain: &str, rules: &[Rule], depth: u32, tell: &mut dyn FnMut(&Outcome)) -> Option<Outcome> {
    for rule in rules.iter().filter(|rule| rule.chain == chain) {
        let end = match &rule.outcome {
            Outcome::Nothing => None,
            Outcome::Called(name) if depth > 0 => walk(name, rules, depth - 1, tell),
            other => Some(other.clone()),
        };
        match end {
            Some(Outcome::Returned) if !rule.conditional => return None,
            // Which packets are left is not followed.
            Some(Outcome::Returned) | None => {}
            Some(end) if rule.conditional => tell(&end),
            Some(end) => return Some(end),
        }
    }
    None
}

fn names(pattern: &str, device: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == device, |start| device.starts_with(start))
}

fn family(number: u8) -> &'static str {
    match number {
        NETDEV => "netdev",
        IPV4 => "ip",
        IPV6 => "ip6",
        _ => "inet",
    }
}

/// Numbers of nf_tables are big-endian.
fn number(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::testing::{in_namespace, ip, run};

    fn path() -> Path {
        let addr = IpAddr::from([10, 1, 0, 2]);
        Path { interface: "u1".into(), index: 1, addr, backup: false, mtu: 1500, routes: Vec::new() }
    }

    /// What is found with this chain at a device's hook.
    fn found(hook: &str, rules: &str) -> Vec<(Effect, String)> {
        let text = format!(
            "table netdev t {{\n chain sub {{ tcp dport 22 drop; }}\n \
             chain c {{ type filter hook {hook}; {rules} }}\n}}\n"
        );
        let file = std::env::temp_dir().join(format!("polypath-obstacles-{:?}", std::thread::current().id()));
        std::fs::write(&file, text).unwrap();
        run("nft", &format!("-f {}", file.display()));
        std::fs::remove_file(&file).unwrap();
        let found = at_uplinks(&[path()]).unwrap();
        run("nft", "delete table netdev t");
        found.into_iter().map(|obstacle| (obstacle.effect, obstacle.to_string())).collect()
    }

    #[test]
    fn chains_at_an_uplink_are_weighed_by_what_they_drop() {
        in_namespace(|| {
            ip("link add u1 type veth peer name p1");
            let ingress = "ingress device u1 priority -10";
            let effect = |hook: &str, rules: &str| found(hook, rules).first().map(|found| found.0);
            assert_eq!(effect(ingress, "policy drop;"), Some(Effect::Blocks));
            assert_eq!(effect(ingress, "counter drop;"), Some(Effect::Blocks));
            assert_eq!(effect(ingress, "policy drop; ip protocol icmp accept;"), Some(Effect::MayBlock));
            assert_eq!(effect(ingress, "tcp dport 1 accept; drop;"), Some(Effect::MayBlock));
            assert_eq!(effect(ingress, "ip saddr { 192.0.2.1, 192.0.2.9 } drop;"), Some(Effect::Note));
            assert_eq!(effect(ingress, "jump sub;"), Some(Effect::Note));
            assert_eq!(effect(ingress, "policy drop; tcp dport vmap { 80 : accept };"), Some(Effect::MayBlock));
            assert_eq!(effect(ingress, "fwd to \"p1\";"), Some(Effect::Blocks));
            assert_eq!(effect(ingress, "counter; accept;"), None);
            assert_eq!(effect(ingress, "tcp dport 22 counter;"), None);
            assert_eq!(effect("egress device u1 priority 10", "policy drop;"), Some(Effect::Blocks));
            // Those come after ours, or at another device.
            assert_eq!(effect("ingress device u1 priority 0", "policy drop;"), None);
            assert_eq!(effect("ingress device p1 priority -10", "policy drop;"), None);
            let text = &found("egress devices = { p1, u1 } priority 0", "policy drop;")[0].1;
            assert_eq!(
                text,
                "u1: the nftables chain `netdev t c` drops what goes out there (see `nft list chain netdev t c`)"
            );
        });
    }

    #[test]
    fn ingress_chains_of_the_family_inet_count_too() {
        in_namespace(|| {
            ip("link add u1 type veth peer name p1");
            run("nft", "add table inet t");
            run("nft", "add chain inet t c { type filter hook ingress device u1 priority -1; policy drop; }");
            let found = at_uplinks(&[path()]).unwrap();
            assert_eq!(found.len(), 1);
            assert!(found[0].effect == Effect::Blocks && found[0].to_string().contains("inet t c"), "{found:?}");
        });
    }

    #[test]
    fn filters_of_the_host_are_named_where_they_filter() {
        in_namespace(|| {
            run("nft", "add table inet f");
            run("nft", "add chain inet f out { type filter hook output priority 0; policy drop; }");
            run("nft", "add chain inet f in { type filter hook input priority 0; }");
            run("nft", "add chain inet f nat { type nat hook output priority 0; }");
            let found: Vec<String> = not_asked().unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains("output filter `inet f out` does not see"), "{found:?}");
            run("nft", "add rule inet f in tcp dport 22 accept");
            assert_eq!(not_asked().unwrap().len(), 2);
        });
    }

    #[test]
    fn a_device_may_be_given_by_the_beginning_of_its_name() {
        assert!(names("u*", "u1") && names("u1", "u1") && !names("u", "u1") && !names("v*", "u1"));
    }
}
