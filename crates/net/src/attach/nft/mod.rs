//! A transaction of nf_tables, spoken over a raw `NETLINK_NETFILTER` socket.
//!
//! Only what the rules next door are made of ([`rule`] has the expressions). The values are those of `linux/netfilter/nf_tables.h`; numbers in
//! attributes are big-endian. A transaction changes everything or nothing.

mod attributes;
mod rule;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};

use attributes::Attributes;
pub(super) use rule::{Neighbour, Rule};

// nfnetlink.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NLMSG_ERROR: u16 = 2;

// Flags of messages.
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const EXCL: u16 = 0x200;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const NEW_SET: u16 = 9;
const NEW_ELEMENTS: u16 = 12;
const DELETE_ELEMENTS: u16 = 14;

const FAMILY_NETDEV: u8 = 5;
/// The table goes with the socket that made it, and nobody else may change it.
const TABLE_OWNER: u32 = 2;

/// What `nft` calls `ipv4_addr`, `ipv6_addr` and `inet_service`; types of concatenations have six bits for each.
const TYPE_ADDRESS_V4: u32 = 7;
const TYPE_ADDRESS_V6: u32 = 8;
const TYPE_PORT: u32 = 13;
/// An attribute's length has 16 bits.
const ELEMENTS_AT_ONCE: usize = 1000;

/// Replies repeat the request that they refuse.
const REPLY_LEN: usize = 256 * 1024;
/// A transaction is one message to the kernel, which takes 200 KB of it by default: a router's routes need more.
const SEND_BUFFER: usize = 8 << 20;

/// Which header an offset counts from.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Base {
    Network = 1,
    Transport = 2,
}

/// What becomes of packets that no rule took.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Policy {
    Drop = 0,
    Accept = 1,
}

/// A set of addresses with ports, all of one family.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Set {
    pub(super) name: &'static str,
    pub(super) v6: bool,
}

/// The socket that owns the table.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens one in the calling thread's network namespace.
    pub(super) fn open() -> io::Result<Self> {
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::NETFILTER),
        )?;
        rustix::net::bind(&fd, &netlink::SocketAddrNetlink::new(0, 0))?;
        // Without the right to, there will be no table either.
        let _ = sockopt::set_socket_send_buffer_size_force(&fd, SEND_BUFFER);
        Ok(Self { fd, sequence: 0 })
    }

    /// Does what `transaction` says, or nothing. The error is that of the first message refused, and comes with what
    /// it was about.
    pub(super) fn commit(&mut self, transaction: Transaction) -> Result<(), (&'static str, io::Error)> {
        let (bytes, steps) = transaction.finish(self.sequence);
        let first = self.sequence;
        let last = first + steps.len() as u32 - 1;
        self.sequence = last + 1;
        let fail = |error: rustix::io::Errno| ("talking to nf_tables", io::Error::from(error));
        rustix::net::send(&self.fd, &bytes, SendFlags::empty()).map_err(fail)?;
        let mut buf = vec![0; REPLY_LEN];
        loop {
            let (len, _) = rustix::net::recv(&self.fd, &mut buf[..], RecvFlags::empty()).map_err(fail)?;
            let mut rest = buf.get(..len).unwrap_or(&buf);
            while let Some(reply) = Reply::parse(&mut rest) {
                if reply.kind != NLMSG_ERROR || !(first..=last).contains(&reply.sequence) {
                    continue;
                }
                if reply.errno != 0 {
                    let step = steps.get((reply.sequence - first) as usize).copied().unwrap_or("transaction");
                    return Err((step, io::Error::from_raw_os_error(reply.errno)));
                }
                // Only the last asks for an acknowledgement, and it comes after all errors.
                return Ok(());
            }
        }
    }
}

struct Reply {
    kind: u16,
    sequence: u32,
    errno: i32,
}

impl Reply {
    fn parse(rest: &mut &[u8]) -> Option<Self> {
        let word = |at: usize| rest.get(at..at + 4)?.first_chunk().copied();
        let length = u32::from_ne_bytes(word(0)?) as usize;
        let kind = u16::from_ne_bytes([*rest.get(4)?, *rest.get(5)?]);
        let sequence = u32::from_ne_bytes(word(8)?);
        let errno = word(16).map_or(0, |bytes| -i32::from_ne_bytes(bytes));
        *rest = rest.get(length.next_multiple_of(4).max(16)..).unwrap_or_default();
        Some(Self { kind, sequence, errno })
    }
}

/// Changes to be made together.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    messages: Vec<(u16, u16, &'static str, Vec<u8>)>,
}

impl Transaction {
    /// A table of this socket's own; it must not exist.
    pub(super) fn new_table(&mut self, table: &str) {
        let mut body = Attributes::default();
        body.string(1, table);
        body.number(2, TABLE_OWNER);
        self.push(NEW_TABLE, CREATE | EXCL, "table with an owner", body);
    }

    /// Away with the table and all that is in it.
    pub(super) fn delete_table(&mut self, table: &str) {
        let mut body = Attributes::default();
        body.string(1, table);
        self.push(DELETE_TABLE, 0, "removing the table", body);
    }

    /// A chain for everything that comes in from `device`.
    pub(super) fn new_chain(&mut self, table: &str, chain: &str, device: &str, policy: Policy) {
        let mut body = Attributes::default();
        body.string(1, table);
        body.string(3, chain);
        body.nested(4, |hook| {
            // NF_NETDEV_INGRESS, at the priority that is called "filter".
            hook.number(1, 0);
            hook.number(2, 0);
            hook.string(3, device);
        });
        body.number(5, policy as u32);
        body.string(7, "filter");
        self.push(NEW_CHAIN, CREATE, "chain at a device's ingress", body);
    }

    /// A rule at the end of a chain.
    pub(super) fn new_rule(&mut self, table: &str, chain: &str, rule: &Rule) {
        let mut body = Attributes::default();
        body.string(1, table);
        body.string(2, chain);
        body.nested(4, |list| list.bytes.extend_from_slice(&rule.expressions.bytes));
        self.push(NEW_RULE, CREATE | APPEND, "rule that forwards to a device (fwd)", body);
    }

    /// A set without elements; `id` tells it from the other ones that this transaction makes.
    pub(super) fn new_set(&mut self, table: &str, set: &Set, id: u32) {
        let (address, len) = if set.v6 { (TYPE_ADDRESS_V6, 16) } else { (TYPE_ADDRESS_V4, 4) };
        let mut body = Attributes::default();
        body.string(1, table);
        body.string(2, set.name);
        body.number(3, 0);
        body.number(4, address << 6 | TYPE_PORT);
        body.number(5, len + 4);
        body.number(10, id);
        self.push(NEW_SET, CREATE, "set of addresses and ports", body);
    }

    /// Puts those of `ends` that are of the set's family into it.
    pub(super) fn add_elements(&mut self, table: &str, set: &Set, ends: &[SocketAddr]) {
        self.elements(NEW_ELEMENTS, CREATE, "adding to a set", (table, set), ends);
    }

    /// Takes those of `ends` that are of the set's family out of it.
    pub(super) fn delete_elements(&mut self, table: &str, set: &Set, ends: &[SocketAddr]) {
        self.elements(DELETE_ELEMENTS, 0, "taking out of a set", (table, set), ends);
    }

    fn elements(&mut self, kind: u16, flags: u16, step: &'static str, (table, set): (&str, &Set), ends: &[SocketAddr]) {
        let fit: Vec<&SocketAddr> = ends.iter().filter(|end| end.is_ipv6() == set.v6).collect();
        for some in fit.chunks(ELEMENTS_AT_ONCE) {
            let mut body = Attributes::default();
            body.string(1, table);
            body.string(2, set.name);
            body.nested(3, |list| {
                for end in some {
                    list.nested(1, |element| element.nested(1, |value| value.raw(1, &key(**end))));
                }
            });
            self.push(kind, flags, step, body);
        }
    }

    /// Whether it would change nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn push(&mut self, kind: u16, flags: u16, step: &'static str, body: Attributes) {
        self.messages.push((SUBSYSTEM << 8 | kind, flags, step, body.bytes));
    }

    /// The bytes, and what each message is about, numbered from `sequence`.
    fn finish(self, sequence: u32) -> (Vec<u8>, Vec<&'static str>) {
        let mut bytes = Vec::new();
        let mut steps = vec!["transaction"];
        message(&mut bytes, BATCH_BEGIN, 0, 0, SUBSYSTEM, sequence, &[]);
        let count = self.messages.len();
        for (at, (kind, flags, step, body)) in self.messages.into_iter().enumerate() {
            let flags = if at + 1 == count { flags | ACK } else { flags };
            message(&mut bytes, kind, flags, FAMILY_NETDEV, 0, sequence + steps.len() as u32, &body);
            steps.push(step);
        }
        message(&mut bytes, BATCH_END, 0, 0, SUBSYSTEM, sequence + steps.len() as u32, &[]);
        steps.push("transaction");
        (bytes, steps)
    }
}

/// An element as it stands in registers of 4 bytes: the address, then the port and two bytes of nothing.
fn key(end: SocketAddr) -> Vec<u8> {
    let mut key = octets(end.ip());
    key.extend_from_slice(&end.port().to_be_bytes());
    key.extend_from_slice(&[0, 0]);
    key
}

/// An address as it stands in a header.
pub(super) fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

fn message(out: &mut Vec<u8>, kind: u16, flags: u16, family: u8, resource: u16, sequence: u32, body: &[u8]) {
    // The netlink header is 16 bytes, that of nfnetlink 4.
    out.extend_from_slice(&(20 + body.len() as u32).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&(REQUEST | flags).to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&0_u32.to_ne_bytes());
    out.extend_from_slice(&[family, 0]);
    out.extend_from_slice(&resource.to_be_bytes());
    out.extend_from_slice(body);
}
