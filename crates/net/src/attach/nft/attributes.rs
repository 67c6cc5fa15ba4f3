//! Netlink attributes.

const NESTED: u16 = 0x8000;

/// Length, type, value, padded to 4 bytes.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    pub(super) bytes: Vec<u8>,
}

impl Attributes {
    pub(super) fn raw(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.raw(kind, &value.to_be_bytes());
    }

    pub(super) fn string(&mut self, kind: u16, value: &str) {
        self.raw(kind, &[value.as_bytes(), &[0]].concat());
    }

    pub(super) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.raw(kind | NESTED, &inner.bytes);
    }
}
