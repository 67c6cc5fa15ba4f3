//! TCP sequence numbers (RFC 9293 section 3.4).

/// A 32-bit TCP sequence number.
///
/// It has no `Ord`: an order modulo 2^32 is not transitive. [`before`](Self::before) and
/// [`after`](Self::after) are meaningful for two numbers less than 2^31 apart, as those of one window
/// always are.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct SeqNum(pub u32);

impl SeqNum {
    /// The number `n` octets later.
    #[must_use]
    pub const fn wrapping_add(self, n: u32) -> Self {
        SeqNum(self.0.wrapping_add(n))
    }

    /// The number `n` octets earlier.
    #[must_use]
    pub const fn wrapping_sub(self, n: u32) -> Self {
        SeqNum(self.0.wrapping_sub(n))
    }

    /// Octets from `earlier` to `self`; negative if `earlier` is in fact later.
    #[must_use]
    pub const fn distance(self, earlier: SeqNum) -> i32 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }

    /// Whether `self` comes before `other`.
    #[must_use]
    pub const fn before(self, other: SeqNum) -> bool {
        self.distance(other) < 0
    }

    /// Whether `self` comes after `other`. Two numbers exactly 2^31 apart are each before, and neither
    /// after, the other.
    #[must_use]
    pub const fn after(self, other: SeqNum) -> bool {
        self.distance(other) > 0
    }
}
