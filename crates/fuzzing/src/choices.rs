//! Decisions, read off the fuzzer's bytes one after the other.

/// The bytes that are left. Once there are none, every decision is the first of its kind.
pub(crate) struct Choices<'a> {
    rest: &'a [u8],
}

impl<'a> Choices<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Choices { rest: bytes }
    }

    /// All bytes are used up.
    pub(crate) fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from(self.u32()) << 32 | u64::from(self.u32())
    }

    /// Less than `n`, which is at most 256.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n.max(1)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// One of them.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A number that is mostly near zero, and sometimes at an edge of 32 bits.
    pub(crate) fn offset(&mut self) -> u32 {
        match self.below(8) {
            0 => 1,
            1 => u32::MAX,
            2 => u32::from(self.byte()),
            3 => u32::from(self.byte()).wrapping_neg(),
            4 => u32::from(self.u16()),
            5 => u32::from(self.u16()).wrapping_neg(),
            6 => 0x8000_0000u32.wrapping_add(u32::from(self.byte())).wrapping_sub(128),
            _ => self.u32(),
        }
    }
}
