//! What the kernel knows of interfaces, addresses and routes, dumped by rtnetlink.

use std::fs;
use std::io;
use std::net::IpAddr;

use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHopFlags, RouteType,
};
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::policy::{self, Policy, Refusal};
use crate::device::{Netlink, during};

/// The kernel's table of its own addresses.
const TABLE_LOCAL: u32 = 255;
pub(super) const TABLE_MAIN: u32 = RouteHeader::RT_TABLE_MAIN as u32;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// Up, with a carrier, and not waiting for anything (802.1X, for example).
    pub(super) running: bool,
    pub(super) loopback: bool,
    /// It carries packets inside others: what people call a VPN.
    pub(super) tunnel: bool,
    /// It gives back what traffic control sends to it.
    pub(super) ifb: bool,
    /// Number of the XDP program.
    pub(super) xdp: Option<u32>,
    pub(super) mtu: u32,
    /// The MTU that routers have announced, or the same.
    pub(super) mtu_v6: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Address {
    pub(super) index: u32,
    pub(super) addr: IpAddr,
    pub(super) kind: AddressKind,
}

/// Which address of an interface is the one to speak from: the later, the better.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum AddressKind {
    /// Not to be used for anything new (RFC 4862), or an IPv4 address beside the first of its network.
    Last,
    /// Valid within a site only (RFC 4193).
    Local,
    Ordinary,
    /// Made up for a while so that hosts are not followed around (RFC 8981).
    Temporary,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct KernelRoute {
    pub(super) index: u32,
    pub(super) table: u32,
    pub(super) destination: IpAddr,
    pub(super) prefix_len: u8,
    pub(super) gateway: Option<IpAddr>,
    pub(super) source: Option<IpAddr>,
    pub(super) metric: u32,
    pub(super) mtu: Option<u32>,
}

/// All of it at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) links: Vec<Link>,
    pub(super) addresses: Vec<Address>,
    pub(super) routes: Vec<KernelRoute>,
    pub(super) policy: Policy,
}

impl Snapshot {
    /// Asks the kernel.
    pub(super) fn take(netlink: &mut Netlink) -> io::Result<Self> {
        let mut dump = |what: &str, message| {
            netlink.dump(&message).map_err(|error| during(&error, format_args!("listing the kernel's {what}")))
        };
        let mut this = Self::default();
        for message in dump("interfaces", RouteNetlinkMessage::GetLink(LinkMessage::default()))? {
            if let RouteNetlinkMessage::NewLink(link) = message {
                this.links.extend(read_link(&link));
            }
        }
        for message in dump("addresses", RouteNetlinkMessage::GetAddress(AddressMessage::default()))? {
            if let RouteNetlinkMessage::NewAddress(address) = message {
                this.addresses.extend(read_address(&address));
            }
        }
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut wanted = RouteMessage::default();
            wanted.header.address_family = family;
            for message in dump("routes", RouteNetlinkMessage::GetRoute(wanted))? {
                if let RouteNetlinkMessage::NewRoute(route) = message {
                    read_route(&route, &mut this);
                }
            }
            let mut wanted = RuleMessage::default();
            wanted.header.family = family;
            for message in dump("rules", RouteNetlinkMessage::GetRule(wanted))? {
                if let RouteNetlinkMessage::NewRule(rule) = message {
                    this.policy.rules.extend(policy::read_rule(&rule));
                }
            }
        }
        this.policy.ipsec = policy::ipsec().map_err(|error| during(&error, format_args!("listing IPsec policies")))?;
        Ok(this)
    }
}

fn read_link(message: &LinkMessage) -> Option<Link> {
    let (mut name, mut mtu, mut kind, mut xdp) = (None, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Mtu(value) => mtu = Some(*value),
            LinkAttribute::LinkInfo(infos) => {
                kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.clone()),
                    _ => None,
                });
            }
            LinkAttribute::Xdp(all) => {
                xdp = all.iter().find_map(|about| match about {
                    LinkXdp::ProgId(id) => Some(*id),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let (name, mtu) = (name?, mtu?);
    let flags = message.header.flags;
    // Not PPP and raw-IP modems: those are uplinks like others.
    let tunnels = ["tun", "wireguard", "ipip", "sit", "gre", "vti", "vti6", "xfrm", "ip6tnl"];
    // Of the kind "tun" are also the Ethernet taps of virtual machines.
    let tunnel = message.header.link_layer_type != LinkLayerType::Ether
        && kind.as_ref().is_some_and(|kind| tunnels.contains(&kind.to_string().as_str()));
    let mtu_v6 = fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}/mtu")).ok();
    let mtu_v6 = mtu_v6.and_then(|text| text.trim().parse().ok()).map_or(mtu, |v6: u32| v6.min(mtu));
    Some(Link {
        index: message.header.index,
        running: flags.contains(LinkFlags::Up | LinkFlags::Running),
        loopback: flags.contains(LinkFlags::Loopback),
        tunnel,
        ifb: kind == Some(InfoKind::Ifb),
        xdp,
        name,
        mtu,
        mtu_v6,
    })
}

/// `None` for addresses that nobody outside can answer to, or that are not ready.
fn read_address(message: &AddressMessage) -> Option<Address> {
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point interface the other attribute is the peer's.
            AddressAttribute::Local(addr) => local = Some(*addr),
            AddressAttribute::Address(addr) => address = Some(*addr),
            _ => {}
        }
    }
    let addr = local.or(address)?;
    let flags = message.header.flags;
    let not_ready = AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed;
    if flags.intersects(not_ready) || matches!(message.header.scope, AddressScope::Link | AddressScope::Host) {
        return None;
    }
    let kind = if flags.contains(AddressHeaderFlags::Deprecated) {
        AddressKind::Last
    } else {
        match (addr, flags.contains(AddressHeaderFlags::Secondary)) {
            (IpAddr::V4(_), true) => AddressKind::Last,
            (IpAddr::V4(_), false) => AddressKind::Ordinary,
            (IpAddr::V6(addr), _) if addr.is_unique_local() => AddressKind::Local,
            // The same bit says secondary of IPv4 and temporary of IPv6.
            (IpAddr::V6(_), true) => AddressKind::Temporary,
            (IpAddr::V6(_), false) => AddressKind::Ordinary,
        }
    };
    Some(Address { index: message.header.index, addr, kind })
}

fn read_route(message: &RouteMessage, out: &mut Snapshot) {
    let v6 = message.header.address_family == AddressFamily::Inet6;
    let unspecified = if v6 { IpAddr::V6([0; 16].into()) } else { IpAddr::V4([0; 4].into()) };
    let mut table = u32::from(message.header.table);
    let (mut destination, mut gateway, mut source, mut index) = (unspecified, None, None, None);
    let (mut metric, mut mtu) = (0, None);
    let mut hops = &[][..];
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(value) => table = *value,
            RouteAttribute::Destination(addr) => destination = ip_of(addr).unwrap_or(unspecified),
            RouteAttribute::Gateway(addr) => gateway = ip_of(addr),
            RouteAttribute::Via(via) => gateway = gateway_of_other_family(via),
            RouteAttribute::PrefSource(addr) => source = ip_of(addr),
            RouteAttribute::Oif(value) => index = Some(*value),
            RouteAttribute::Priority(value) => metric = *value,
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu).filter(|mtu| *mtu > 0),
                    _ => None,
                });
            }
            RouteAttribute::MultiPath(all) => hops = all,
            _ => {}
        }
    }
    let link_local = matches!(destination, IpAddr::V6(addr) if addr.is_unicast_link_local() || addr.is_multicast());
    let prefix_len = message.header.destination_prefix_length;
    if let Some(kind) = policy::refusal(message.header.kind) {
        out.policy.refusals.push(Refusal { kind, table, destination, prefix_len, metric });
    }
    if table == TABLE_LOCAL
        || message.header.kind != RouteType::Unicast
        || message.header.flags.intersects(RouteFlags::Dead | RouteFlags::Cloned)
        || link_local
    {
        return;
    }
    let mut push = |index, gateway| {
        out.routes.push(KernelRoute { index, table, destination, prefix_len, gateway, source, metric, mtu });
    };
    if let Some(index) = index {
        push(index, gateway);
    }
    for hop in hops.iter().filter(|hop| !hop.flags.contains(RouteNextHopFlags::Dead)) {
        let gateway = hop.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Gateway(addr) => ip_of(addr),
            RouteAttribute::Via(via) => gateway_of_other_family(via),
            _ => None,
        });
        push(hop.interface_index, gateway);
    }
}

fn ip_of(addr: &RouteAddress) -> Option<IpAddr> {
    match addr {
        RouteAddress::Inet(addr) => Some((*addr).into()),
        RouteAddress::Inet6(addr) => Some((*addr).into()),
        _ => None,
    }
}

fn gateway_of_other_family(via: &netlink_packet_route::route::RouteVia) -> Option<IpAddr> {
    use netlink_packet_route::route::RouteVia;
    match via {
        RouteVia::Inet(addr) => Some((*addr).into()),
        RouteVia::Inet6(addr) => Some((*addr).into()),
        _ => None,
    }
}
