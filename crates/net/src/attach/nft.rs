//! A transaction of nf_tables, spoken over a raw `NETLINK_NETFILTER` socket.
//!
//! Only what the rules next door are made of. The values are those of `linux/netfilter/nf_tables.h`; numbers in
//! attributes are big-endian. A transaction changes everything or nothing.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

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

const FAMILY_NETDEV: u8 = 5;
/// The table goes with the socket that made it, and nobody else may change it.
const TABLE_OWNER: u32 = 2;
const NESTED: u16 = 0x8000;

/// Registers of 16 bytes.
const REG_1: u32 = 1;
const REG_2: u32 = 2;

/// Replies repeat the request that they refuse.
const REPLY_LEN: usize = 256 * 1024;

/// Which header an offset counts from.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Base {
    Network = 1,
    Transport = 2,
}

/// What becomes of packets that no rule took.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Policy {
    Drop = 0,
    Accept = 1,
}

/// Where a packet is sent on the link that it is forwarded to: the neighbour's address.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Neighbour<'a> {
    /// This one.
    Fixed(&'a [u8]),
    /// The packet's own destination.
    Destination,
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

/// A rule: comparisons, all of which must hold, and an action.
#[derive(Debug, Default)]
pub(super) struct Rule {
    expressions: Attributes,
}

impl Rule {
    /// The frame's protocol (`ETH_P_*`).
    pub(super) fn protocol(self, ethertype: u16) -> Self {
        self.meta(1).compare(0, &ethertype.to_be_bytes())
    }

    /// The transport protocol (`IPPROTO_*`).
    pub(super) fn transport(self, protocol: u8) -> Self {
        self.meta(16).compare(0, &[protocol])
    }

    /// Bytes of a header.
    pub(super) fn bytes(self, base: Base, offset: u32, bytes: &[u8]) -> Self {
        self.load(REG_1, base, offset, bytes.len()).compare(0, bytes)
    }

    /// Bytes of a header, where `mask` has ones.
    pub(super) fn masked(mut self, base: Base, offset: u32, bytes: &[u8], mask: &[u8]) -> Self {
        self = self.load(REG_1, base, offset, bytes.len());
        let nothing = vec![0; bytes.len()];
        self.push("bitwise", |data| {
            data.number(1, REG_1);
            data.number(2, REG_1);
            data.number(3, bytes.len() as u32);
            data.nested(4, |value| value.raw(1, mask));
            data.nested(5, |value| value.raw(1, &nothing));
        });
        self.compare(0, bytes)
    }

    /// A 16-bit field between two values, both included.
    pub(super) fn between(self, base: Base, offset: u32, first: u16, last: u16) -> Self {
        self.load(REG_1, base, offset, 2).compare(5, &first.to_be_bytes()).compare(3, &last.to_be_bytes())
    }

    /// Out of the device with this index, to a neighbour there; `family` is `NFPROTO_*`.
    pub(super) fn forward(mut self, device: u32, neighbour: Neighbour<'_>, v6: bool) -> Self {
        self = self.immediate(REG_1, &device.to_ne_bytes());
        let (offset, len, family) = if v6 { (24, 16, 10) } else { (16, 4, 2) };
        self = match neighbour {
            Neighbour::Fixed(address) => self.immediate(REG_2, address),
            Neighbour::Destination => self.load(REG_2, Base::Network, offset, len),
        };
        self.push("fwd", |data| {
            data.number(1, REG_1);
            data.number(2, REG_2);
            data.number(3, family);
        });
        self
    }

    fn meta(mut self, key: u32) -> Self {
        self.push("meta", |data| {
            data.number(1, REG_1);
            data.number(2, key);
        });
        self
    }

    fn load(mut self, register: u32, base: Base, offset: u32, len: usize) -> Self {
        self.push("payload", |data| {
            data.number(1, register);
            data.number(2, base as u32);
            data.number(3, offset);
            data.number(4, len as u32);
        });
        self
    }

    /// `operation`: 0 equal, 3 at most, 5 at least.
    fn compare(mut self, operation: u32, value: &[u8]) -> Self {
        self.push("cmp", |data| {
            data.number(1, REG_1);
            data.number(2, operation);
            data.nested(3, |nested| nested.raw(1, value));
        });
        self
    }

    fn immediate(mut self, register: u32, value: &[u8]) -> Self {
        self.push("immediate", |data| {
            data.number(1, register);
            data.nested(2, |nested| nested.raw(1, value));
        });
        self
    }

    fn push(&mut self, name: &str, data: impl FnOnce(&mut Attributes)) {
        self.expressions.nested(1, |element| {
            element.string(1, name);
            element.nested(2, data);
        });
    }
}

/// Netlink attributes: length, type, value, padded to 4 bytes.
#[derive(Debug, Default)]
struct Attributes {
    bytes: Vec<u8>,
}

impl Attributes {
    fn raw(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn number(&mut self, kind: u16, value: u32) {
        self.raw(kind, &value.to_be_bytes());
    }

    fn string(&mut self, kind: u16, value: &str) {
        self.raw(kind, &[value.as_bytes(), &[0]].concat());
    }

    fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.raw(kind | NESTED, &inner.bytes);
    }
}
