//! What the host has decided beside plain routes: routes and rules that refuse (the kill switches of VPNs), and IPsec.
//!
//! The kernel's own packets obey it, ours would not. So what it refuses is no route of ours, and what IPsec covers is
//! left to the kernel, as long as nobody names interfaces.

use std::io;
use std::net::IpAddr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::RouteType;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use rustix::net::netlink;

use super::discover::contains;
use super::dump::{attribute, dump, word};
use super::snapshot::{KernelRoute, TABLE_MAIN};

const XFRM_GET_POLICY: u16 = 0x15;
/// A `xfrm_userpolicy_id` of nothing in particular.
const POLICY_ID_LEN: usize = 64;
/// A `xfrm_userpolicy_info` stands in front of the attributes.
const POLICY_LEN: usize = 168;
const DIRECTION_OUT: u8 = 1;
const ACTION_BLOCK: u8 = 1;
const TEMPLATES: u16 = 5;

/// All of it at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Policy {
    pub(super) refusals: Vec<Refusal>,
    /// Those that hold for packets like ours, in no order.
    pub(super) rules: Vec<Rule>,
    pub(super) ipsec: Vec<Selector>,
}

/// A route that leads nowhere on purpose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    /// As `ip route` has it: "blackhole".
    pub(super) kind: &'static str,
    pub(super) table: u32,
    pub(super) destination: IpAddr,
    pub(super) prefix_len: u8,
    pub(super) metric: u32,
}

/// A routing rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rule {
    pub(super) v6: bool,
    pub(super) priority: u32,
    pub(super) target: Target,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Target {
    Table(u32),
    /// As `ip rule` has it: "prohibit".
    Refuse(&'static str),
}

/// What packets an IPsec policy is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Selector {
    pub(super) source: (IpAddr, u8),
    pub(super) destination: (IpAddr, u8),
}

impl Policy {
    /// What keeps the kernel from using `route`, where it leads everywhere.
    pub(super) fn hides(&self, route: &KernelRoute, routes: &[KernelRoute]) -> Option<String> {
        if route.prefix_len > 1 || route.table != TABLE_MAIN {
            return None;
        }
        let v6 = route.destination.is_ipv6();
        let wins = |refusal: &&Refusal| {
            let same = (refusal.destination, refusal.prefix_len) == (route.destination, route.prefix_len);
            let halves = refusal.prefix_len == 1 && route.prefix_len == 0;
            refusal.destination.is_ipv6() == v6
                && refusal.table == TABLE_MAIN
                && (halves || same && refusal.metric < route.metric)
        };
        self.before_main(v6, routes).or_else(|| self.refusals.iter().find(wins).map(Refusal::to_string))
    }

    /// What refuses everything before the main table is asked.
    fn before_main(&self, v6: bool, routes: &[KernelRoute]) -> Option<String> {
        let mut rules: Vec<&Rule> = self.rules.iter().filter(|rule| rule.v6 == v6).collect();
        rules.sort_by_key(|rule| rule.priority);
        for rule in rules {
            let table = match rule.target {
                Target::Refuse(kind) => return Some(format!("rule {}: {kind}", rule.priority)),
                Target::Table(TABLE_MAIN) => return None,
                Target::Table(table) => table,
            };
            let here = |t: u32, to: IpAddr, len: u8| t == table && len == 0 && to.is_ipv6() == v6;
            let refusals = self.refusals.iter().filter(|r| here(r.table, r.destination, r.prefix_len));
            let open = routes.iter().filter(|r| here(r.table, r.destination, r.prefix_len)).map(|r| r.metric).min();
            if let Some(refusal) = refusals.min_by_key(|r| r.metric)
                && open.is_none_or(|metric| refusal.metric < metric)
            {
                return Some(refusal.to_string());
            }
            if open.is_some() {
                return None;
            }
        }
        None
    }

    /// Whether the kernel would refuse `remote` by a route more specific than `prefix_len`.
    pub(super) fn refuses(&self, remote: IpAddr, prefix_len: u8) -> bool {
        let refuses = |r: &Refusal| {
            r.table == TABLE_MAIN && r.prefix_len > prefix_len && contains(r.destination, r.prefix_len, remote)
        };
        self.refusals.iter().any(refuses)
    }

    /// Whether IPsec may hold for packets to `remote` from a host with these addresses.
    pub(super) fn protects(&self, remote: IpAddr, own: &[IpAddr]) -> bool {
        let holds = |selector: &Selector| {
            contains(selector.destination.0, selector.destination.1, remote) && selector.is_for(own)
        };
        self.ipsec.iter().any(holds)
    }
}

/// `blackhole default (table 51820)`.
impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.prefix_len {
            0 => write!(f, "{} default", self.kind)?,
            len => write!(f, "{} {}/{len}", self.kind, self.destination)?,
        }
        if self.table == TABLE_MAIN { Ok(()) } else { write!(f, " (table {})", self.table) }
    }
}

impl Selector {
    pub(super) fn is_for(&self, own: &[IpAddr]) -> bool {
        own.iter().any(|addr| contains(self.source.0, self.source.1, *addr))
    }
}

/// The name of a kind of route that refuses.
pub(super) fn refusal(kind: RouteType) -> Option<&'static str> {
    match kind {
        RouteType::BlackHole => Some("blackhole"),
        RouteType::Unreachable => Some("unreachable"),
        RouteType::Prohibit => Some("prohibit"),
        _ => None,
    }
}

/// `None` for rules that are not for packets like ours: from any address, for any, by no particular user, unmarked.
pub(super) fn read_rule(message: &RuleMessage) -> Option<Rule> {
    let header = &message.header;
    let inverted = header.flags.contains(RuleFlags::Invert);
    let (mut priority, mut table, mut mark) = (0, u32::from(header.table), 0);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(value) => priority = *value,
            RuleAttribute::Table(value) => table = *value,
            RuleAttribute::FwMark(value) => mark = *value,
            RuleAttribute::FwMask(_) | RuleAttribute::Protocol(_) => {}
            // It is always there, and says "none" so. After a rule that uses only a part of a table, the next decides.
            RuleAttribute::SuppressPrefixLen(u32::MAX) => {}
            _ => return None,
        }
    }
    let anything = header.src_len == 0 && header.dst_len == 0 && header.tos == 0;
    // Inverted, it has to exclude something: a mark, which ours have not.
    if !anything || inverted != (mark != 0) {
        return None;
    }
    let target = match header.action {
        RuleAction::ToTable => Target::Table(table),
        RuleAction::Blackhole => Target::Refuse("blackhole"),
        RuleAction::Unreachable => Target::Refuse("unreachable"),
        RuleAction::Prohibit => Target::Refuse("prohibit"),
        _ => return None,
    };
    Some(Rule { v6: header.family == AddressFamily::Inet6, priority, target })
}

/// What leaves this host encrypted or not at all. A kernel without IPsec has none.
pub(super) fn ipsec() -> io::Result<Vec<Selector>> {
    match dump(Some(netlink::XFRM), XFRM_GET_POLICY, &[0; POLICY_ID_LEN]) {
        Ok(messages) => Ok(messages.iter().filter_map(|message| read_policy(message)).collect()),
        Err(error) => match error.raw_os_error() {
            Some(libc::EPROTONOSUPPORT | libc::EOPNOTSUPP | libc::ECONNREFUSED) => Ok(Vec::new()),
            // Without privileges: the next step says so.
            Some(libc::EPERM) => Ok(Vec::new()),
            _ => Err(error),
        },
    }
}

/// `None` for what is not about our segments, or lets them pass as they are.
fn read_policy(message: &[u8]) -> Option<Selector> {
    let (direction, action) = (*message.get(160)?, *message.get(161)?);
    let acts = action == ACTION_BLOCK || attribute(message.get(POLICY_LEN..)?, TEMPLATES).is_some();
    let (family, protocol) = (word(message, 40)? & 0xffff, *message.get(44)?);
    if direction != DIRECTION_OUT || !acts || !matches!(protocol, 0 | 6) {
        return None;
    }
    let address = |at: usize| -> Option<IpAddr> {
        let bytes: &[u8; 16] = message.get(at..)?.first_chunk()?;
        Some(if family == libc::AF_INET6 as u32 {
            IpAddr::from(*bytes)
        } else {
            IpAddr::from(*bytes.first_chunk::<4>()?)
        })
    };
    Some(Selector { source: (address(16)?, *message.get(43)?), destination: (address(0)?, *message.get(42)?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::snapshot::Snapshot;
    use crate::device::Netlink;
    use crate::testing::{in_namespace, ip};

    /// What keeps the kernel from using the uplink's default route.
    fn hidden() -> Option<String> {
        let all = Snapshot::take(&mut Netlink::open().unwrap()).unwrap();
        let route = all.routes.iter().find(|route| route.prefix_len == 0 && route.table == TABLE_MAIN).unwrap();
        all.policy.hides(route, &all.routes)
    }

    #[test]
    fn kill_switches_hide_the_default_route() {
        in_namespace(|| {
            ip("link add u1 type veth peer name p1");
            ip("link set u1 up");
            ip("link set p1 up");
            ip("addr add 10.1.0.2/24 dev u1");
            ip("route add default via 10.1.0.1 dev u1 metric 100");
            assert_eq!(hidden(), None);
            // A last resort comes after it.
            ip("route add unreachable default metric 4000");
            assert_eq!(hidden(), None);
            ip("route add blackhole default metric 50");
            assert_eq!(hidden().as_deref(), Some("blackhole default"));
            ip("route del blackhole default metric 50");
            ip("route add prohibit 0.0.0.0/1");
            assert_eq!(hidden().as_deref(), Some("prohibit 0.0.0.0/1"));
            ip("route del prohibit 0.0.0.0/1");
            // As wg-quick does, and what is left when its device has gone.
            ip("route add blackhole default metric 9999 table 51820");
            ip("rule add not fwmark 51820 table 51820 priority 100");
            ip("rule add table main suppress_prefixlength 0 priority 99");
            assert_eq!(hidden().as_deref(), Some("blackhole default (table 51820)"));
            ip("route add default dev p1 table 51820");
            assert_eq!(hidden(), None, "the tunnel has it");
            ip("rule add prohibit priority 101");
            assert_eq!(hidden(), None, "nothing comes as far");
            ip("rule flush");
            ip("rule add from all lookup main priority 32766");
            ip("rule add prohibit from 10.7.0.0/24 priority 10");
            ip("rule add prohibit fwmark 7 priority 10");
            assert_eq!(hidden(), None, "they are for others");
            ip("rule add prohibit priority 11");
            assert_eq!(hidden().as_deref(), Some("rule 11: prohibit"));
        });
    }

    #[test]
    fn ipsec_policies_are_for_some_destinations() {
        in_namespace(|| {
            ip("xfrm policy add dir out src 0.0.0.0/0 dst 198.51.100.0/24 action block");
            ip(
                "xfrm policy add dir out src 10.1.0.2/32 dst 203.0.113.0/24 tmpl src 10.1.0.2 dst 10.1.0.1 proto esp mode tunnel",
            );
            ip("xfrm policy add dir out src 0.0.0.0/0 dst 192.0.2.0/24");
            ip("xfrm policy add dir in src 192.0.2.0/24 dst 0.0.0.0/0 action block");
            ip("xfrm policy add dir out src ::/0 dst 2001:db8:7::/48 action block");
            let policy = Policy { ipsec: ipsec().unwrap(), ..Policy::default() };
            assert_eq!(policy.ipsec.len(), 3, "{policy:?}");
            let protects = |remote: &str, own: &str| policy.protects(remote.parse().unwrap(), &[own.parse().unwrap()]);
            assert!(protects("198.51.100.9", "10.7.0.2") && protects("2001:db8:7::1", "2001:db8::1"));
            assert!(protects("203.0.113.1", "10.1.0.2") && !protects("203.0.113.1", "10.1.0.3"));
            assert!(!protects("192.0.2.1", "10.1.0.2"), "it passes as it is");
        });
    }
}
