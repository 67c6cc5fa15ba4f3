//! Rules as lists of expressions, which work on registers.

use super::attributes::Attributes;
use super::{Base, Set};

/// Registers of 16 bytes.
const REG_1: u32 = 1;
const REG_2: u32 = 2;
/// Registers of 4 bytes. The first four of them are `REG_1`, the next four `REG_2`.
const REG32_01: u32 = 9;
const REG32_04: u32 = 12;

/// Where a packet is sent on the link that it is forwarded to: the neighbour's address.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Neighbour<'a> {
    /// This one.
    Fixed(&'a [u8]),
    /// The packet's own destination.
    Destination,
}

/// A rule: comparisons, all of which must hold, and an action.
#[derive(Debug, Default)]
pub(crate) struct Rule {
    pub(super) expressions: Attributes,
}

impl Rule {
    /// The frame's protocol (`ETH_P_*`).
    pub(crate) fn protocol(self, ethertype: u16) -> Self {
        self.meta(1).compare(0, &ethertype.to_be_bytes())
    }

    /// The transport protocol (`IPPROTO_*`).
    pub(crate) fn transport(self, protocol: u8) -> Self {
        self.meta(16).compare(0, &[protocol])
    }

    /// Bytes of a header.
    pub(crate) fn bytes(self, base: Base, offset: u32, bytes: &[u8]) -> Self {
        self.load(REG_1, base, offset, bytes.len()).compare(0, bytes)
    }

    /// Bytes of a header, where `mask` has ones.
    pub(crate) fn masked(mut self, base: Base, offset: u32, bytes: &[u8], mask: &[u8]) -> Self {
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
    pub(crate) fn between(self, base: Base, offset: u32, first: u16, last: u16) -> Self {
        self.load(REG_1, base, offset, 2).compare(5, &first.to_be_bytes()).compare(3, &last.to_be_bytes())
    }

    /// An address and a port of the packet's, at these offsets, stand in `set`.
    pub(crate) fn in_set(mut self, set: &Set, address: (Base, u32), port: u32) -> Self {
        let (len, next) = if set.v6 { (16, REG32_04) } else { (4, REG32_01) };
        self = self.load(REG_1, address.0, address.1, len).load(next, Base::Transport, port, 2);
        self.push("lookup", |data| {
            data.string(1, set.name);
            data.number(2, REG_1);
        });
        self
    }

    /// Out of the device with this index, to a neighbour there; `family` is `NFPROTO_*`.
    pub(crate) fn forward(mut self, device: u32, neighbour: Neighbour<'_>, v6: bool) -> Self {
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
