//! What the kernel must know about our TUN device: its MTU, its queue, that it is up, and which
//! addresses live behind it.
//!
//! The addresses are *routed*: the stack owns them, no interface carries them, and a host route
//! for each leads into the TUN. Whether packets from there go on to another interface is up to the
//! host (`net.ipv4.ip_forward`, `net.ipv6.conf.all.forwarding`).

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::Netlink;
use super::tun::during;

/// Packets the kernel holds for us before it drops silently. 500, the default, is less than two
/// windows of a fast path in single segments.
const TX_QUEUE_LEN: u32 = 2_000;

/// The kernel's side of one TUN device.
#[derive(Debug)]
pub(crate) struct Interface {
    netlink: Netlink,
    index: u32,
    name: String,
}

impl Interface {
    /// Finds `name` in the calling thread's network namespace.
    pub(crate) fn find(name: &str) -> io::Result<Self> {
        let netlink = Netlink::open().map_err(|error| during(&error, format_args!("rtnetlink socket")))?;
        let index =
            netlink.interface_index(name).map_err(|error| during(&error, format_args!("no interface {name}")))?;
        Ok(Self { netlink, index, name: name.to_owned() })
    }

    /// Its number in the kernel.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Sets MTU and queue length, keeps IPv6 from making up a link-local address, and brings the
    /// interface up.
    pub(crate) fn bring_up(&mut self, mtu: u32) -> io::Result<()> {
        // Before it is up: the address is generated at that moment.
        let quiet = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
            In6AddrGenMode::None,
        )])]);
        if let Err(error) = self.set_link(vec![quiet], LinkFlags::empty()) {
            // A kernel without IPv6, or an MTU below 1,280, has nothing to be kept from.
            tracing::debug!(%error, name = self.name, "address generation stays as it is");
        }
        self.set_link(vec![LinkAttribute::Mtu(mtu), LinkAttribute::TxQueueLen(TX_QUEUE_LEN)], LinkFlags::empty())
            .map_err(|error| during(&error, format_args!("MTU {mtu} on {}", self.name)))?;
        self.set_link(Vec::new(), LinkFlags::Up)
            .map_err(|error| during(&error, format_args!("cannot bring up {}", self.name)))
    }

    /// Leads packets for `addr` into this interface.
    pub(crate) fn add_route(&mut self, addr: IpAddr) -> io::Result<()> {
        let message = RouteNetlinkMessage::NewRoute(self.host_route(addr));
        self.netlink.request(message, NLM_F_CREATE | NLM_F_EXCL).map_err(|error| {
            let advice = match error.raw_os_error() {
                Some(libc::EEXIST) => " (somebody has a route of this kind already)",
                _ => "",
            };
            during(&error, format_args!("route to {addr} dev {}{advice}", self.name))
        })
    }

    /// Takes the route back. The others go with the interface.
    pub(crate) fn remove_route(&mut self, addr: IpAddr) -> io::Result<()> {
        let message = RouteNetlinkMessage::DelRoute(self.host_route(addr));
        self.netlink
            .request(message, 0)
            .map_err(|error| during(&error, format_args!("no route to {addr} dev {} to remove", self.name)))
    }

    fn set_link(&mut self, attributes: Vec<LinkAttribute>, flags: LinkFlags) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = self.index;
        message.header.flags = flags;
        message.header.change_mask = flags;
        message.attributes = attributes;
        self.netlink.request(RouteNetlinkMessage::SetLink(message), 0)
    }

    fn host_route(&self, addr: IpAddr) -> RouteMessage {
        let mut message = RouteMessage::default();
        let (family, prefix_len, destination) = match addr {
            IpAddr::V4(addr) => (AddressFamily::Inet, 32, RouteAddress::Inet(addr)),
            IpAddr::V6(addr) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(addr)),
        };
        message.header.address_family = family;
        message.header.destination_prefix_length = prefix_len;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Link;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![RouteAttribute::Destination(destination), RouteAttribute::Oif(self.index)];
        message
    }
}
