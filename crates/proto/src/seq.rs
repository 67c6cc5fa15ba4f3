//! Sequence numbers without wrap-around.
//!
//! On the wire, numbers are modular and have no order ([`SeqNum`] deliberately has no `Ord`). Inside the
//! stack every number is a 64-bit position that never wraps and so has one: it is unwrapped once, next to a
//! position already known, when a segment arrives, and wrapped once when one leaves.
//!
//! Positions start at 2^32 for the SYN (or for the IDSN, which stands in the same place at the data level),
//! so that a number from before the start is still a position, and so that the low 32 bits of an [`Ssn`]
//! are exactly the relative subflow sequence number of a DSS option (RFC 8684, section 3.3.1).

use core::fmt;
use core::ops::{Add, AddAssign, Sub};
pub use polypath_wire::SeqNum;
use polypath_wire::WireDsn;

const ORIGIN: u64 = 1 << 32;

macro_rules! position {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(crate) u64);

        impl $name {
            /// The place of the SYN (or IDSN).
            pub const ORIGIN: $name = $name(ORIGIN);
            /// The place of the first byte of data.
            // [8684-3.1-23]
            pub const FIRST: $name = $name(ORIGIN + 1);

            /// Bytes from `earlier` to here; zero if this is not after it.
            pub fn since(self, earlier: $name) -> u64 {
                self.0.saturating_sub(earlier.0)
            }
        }

        impl Add<u64> for $name {
            type Output = $name;
            fn add(self, n: u64) -> $name {
                $name(self.0 + n)
            }
        }

        impl AddAssign<u64> for $name {
            fn add_assign(&mut self, n: u64) {
                self.0 += n;
            }
        }

        impl Sub<$name> for $name {
            type Output = u64;
            /// Bytes between the two; `earlier` must not be later.
            fn sub(self, earlier: $name) -> u64 {
                debug_assert!(self.0 >= earlier.0, "{self:?} is before {earlier:?}");
                self.0.saturating_sub(earlier.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}+{}", stringify!($name), self.0 as i64 - ORIGIN as i64)
            }
        }
    };
}

position! {
    /// A position in a subflow's byte stream (RFC 8684: subflow sequence number, SSN), unwrapped.
    Ssn
}

position! {
    /// A position in the connection's byte stream (RFC 8684: data sequence number, DSN), unwrapped.
    Dsn
}

/// Wraps and unwraps the sequence numbers of one direction of a subflow.
#[derive(Copy, Clone, Debug)]
pub struct SsnSpace {
    isn: SeqNum,
}

impl SsnSpace {
    /// The space whose SYN carries `isn`.
    pub fn new(isn: SeqNum) -> Self {
        SsnSpace { isn }
    }

    /// As it stands on the wire.
    pub fn wrap(self, ssn: Ssn) -> SeqNum {
        self.isn.wrapping_add(ssn.0 as u32)
    }

    /// The position nearest to `near` that `seq` can mean.
    pub fn unwrap(self, seq: SeqNum, near: Ssn) -> Ssn {
        let distance = seq.distance(self.wrap(near));
        Ssn(near.0.saturating_add_signed(i64::from(distance)))
    }
}

/// The position nearest to `near` that the relative SSN of a DSS option can mean.
pub fn unwrap_relative_ssn(relative: u32, near: Ssn) -> Ssn {
    // [8684-3.3.1-3]
    let distance = relative.wrapping_sub(near.0 as u32) as i32;
    Ssn(near.0.saturating_add_signed(i64::from(distance)))
}

/// Wraps and unwraps the data sequence numbers of one direction of a connection.
#[derive(Copy, Clone, Debug)]
pub struct DsnSpace {
    idsn: u64,
}

impl DsnSpace {
    /// The space that begins at the initial data sequence number `idsn`.
    pub fn new(idsn: u64) -> Self {
        DsnSpace { idsn }
    }

    /// All 64 bits, as they stand on the wire.
    // [8684-3.3.1-10]
    pub fn wrap(self, dsn: Dsn) -> u64 {
        self.idsn.wrapping_add(dsn.0.wrapping_sub(ORIGIN))
    }

    /// In the 32-bit form of a DSS option.
    pub fn short(self, dsn: Dsn) -> WireDsn {
        WireDsn::Short(self.wrap(dsn) as u32)
    }

    /// The position nearest to `near` that `wire` can mean (RFC 8684, section 3.3.1: the 32-bit form is
    /// expanded around what is expected next).
    pub fn unwrap(self, wire: WireDsn, near: Dsn) -> Dsn {
        // [8684-3.3.1-11]
        let distance = match wire {
            // [8684-3.3.1-13, 8684-3.3.1-14]
            WireDsn::Short(low) => i64::from(low.wrapping_sub(self.wrap(near) as u32) as i32),
            WireDsn::Long(full) => full.wrapping_sub(self.wrap(near)) as i64,
        };
        Dsn(near.0.saturating_add_signed(distance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // [8684-3.3.1-3]
        #[test]
        fn a_subflow_position_survives_the_wire(isn: u32, near in ORIGIN..1u64 << 50, ahead in -0x7fff_ffffi64..0x7fff_ffff) {
            let space = SsnSpace::new(SeqNum(isn));
            let ssn = Ssn(near.saturating_add_signed(ahead));
            prop_assert_eq!(space.unwrap(space.wrap(ssn), Ssn(near)), ssn);
            prop_assert_eq!(unwrap_relative_ssn(ssn.0 as u32, Ssn(near)), ssn);
        }

        // [8684-3.3.1-10, 8684-3.3.1-11, 8684-3.3.1-13, 8684-3.3.1-14]
        #[test]
        fn a_data_position_survives_the_wire_in_both_widths(idsn: u64, near in ORIGIN..1u64 << 50, ahead in -0x7fff_ffffi64..0x7fff_ffff) {
            let space = DsnSpace::new(idsn);
            let dsn = Dsn(near.saturating_add_signed(ahead));
            prop_assert_eq!(space.unwrap(space.short(dsn), Dsn(near)), dsn);
            prop_assert_eq!(space.unwrap(WireDsn::Long(space.wrap(dsn)), Dsn(near)), dsn);
        }
    }
}
