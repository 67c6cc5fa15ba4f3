//! The catalogue of boxes, by name.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::corrupt::Corrupt;
use super::duplicate::Duplicate;
use super::idle::IdleTimeout;
use super::nat::Nat;
use super::order::InOrder;
use super::proxy::Proxy;
use super::rst::{Rst, When};
use super::segment::{Coalesce, Keep, Split};
use super::sequence::Sequence;
use super::strip::{Strip, StripAfter, strip_one_way};
use super::syn_drop::{drop_joins, drop_syns};
use super::window::Window;
use super::{Direction, Middlebox, acks, alg};

macro_rules! kinds {
    ($($kind:ident = $name:literal, $directed:literal, $about:literal;)*) => {
        /// What a box does.
        #[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Kind {
            $(#[doc = $about] $kind,)*
        }

        impl Kind {
            /// All there are.
            pub const ALL: &[Kind] = &[$(Kind::$kind),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$kind => $name,)*
                }
            }

            /// What it does, in a sentence.
            pub fn about(self) -> &'static str {
                match self {
                    $(Kind::$kind => $about,)*
                }
            }

            /// Whether it can be put there for one direction only.
            pub fn is_directed(self) -> bool {
                match self {
                    $(Kind::$kind => $directed,)*
                }
            }
        }
    };
}

kinds! {
    Nat = "nat", false, "Gives each connection another port.";
    NatRebind = "nat-rebind", false, "The same, and another one in mid-connection: its state was lost.";
    StripSyn = "strip-syn", true, "Takes Multipath TCP options from SYNs and SYN/ACKs.";
    StripData = "strip-data", true, "Takes them from all but SYNs.";
    StripAll = "strip-all", true, "Takes them from everything.";
    StripAfter = "strip-after", true, "Takes them from everything from the 30th packet of a connection on.";
    StripPayload = "strip-payload", true, "Takes them from segments with data, from the 30th packet on.";
    DropSyn = "drop-syn", true, "Drops SYNs and SYN/ACKs with Multipath TCP options.";
    DropJoin = "drop-join", false, "Drops whatever has MP_JOIN.";
    Sequence = "sequence", true, "Gives connections other sequence numbers.";
    SequenceNoSack = "sequence-no-sack", true, "The same, and does not know of SACK.";
    Split = "split", true, "Cuts segments in pieces that all have the options.";
    SplitOnce = "split-once", true, "Cuts segments in pieces of which the first has the options.";
    CoalesceFirst = "coalesce-first", true, "Puts two segments in a row together, with the options of the first.";
    CoalesceLast = "coalesce-last", true, "The same, with the options of the last.";
    AlgSame = "alg-same", true, "Rewrites an address in the payload by one of the same length.";
    AlgLonger = "alg-longer", true, "Rewrites an address in the payload by a longer one.";
    AlgShorter = "alg-shorter", true, "Rewrites an address in the payload by a shorter one.";
    Proxy = "proxy", true, "Acknowledges data before the receiver does, and delivers it.";
    ProxyLoses = "proxy-loses", true, "The same, and loses the 20th segment that it has acknowledged.";
    Window = "window", true, "Drops data beyond the window.";
    WindowUnscaled = "window-unscaled", true, "The same, and does not know of window scaling.";
    InOrder = "in-order", true, "Drops data that comes out of order.";
    Duplicate = "duplicate", true, "Sends every third packet twice.";
    Corrupt = "corrupt", true, "Turns a bit over in every tenth segment with data.";
    CorruptMended = "corrupt-mended", true, "The same, and computes the TCP checksum anew.";
    DropAcks = "drop-acks", true, "Drops three pure acknowledgements out of four.";
    IdleDrop = "idle-drop", false, "Forgets connections that are silent for 2 s, and drops what it does not know.";
    IdleRst = "idle-rst", false, "The same, and answers what it does not know with a reset.";
    RstSyn = "rst-syn", false, "Answers SYNs with Multipath TCP options with a reset.";
    RstAfter = "rst-after", false, "Resets each connection at its 60th packet.";
}

/// Packets of a connection before a route, or the state of a box, changes.
const CHANGE_AFTER: u32 = 30;
/// Packets of a connection before it is reset.
const RESET_AFTER: u32 = 60;
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(2);

/// A box to put somewhere: its kind, and the direction that it is there for. Its name is that of the kind, with `>` for
/// what end A sends or `<` for what it receives.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Spec {
    /// What it does.
    pub kind: Kind,
    /// For which direction; `None`: for both.
    pub direction: Option<Direction>,
}

impl Spec {
    /// A new box.
    pub fn build(self) -> Box<dyn Middlebox> {
        let which = self.direction;
        match self.kind {
            Kind::Nat => Box::new(Nat::new(None)),
            Kind::NatRebind => Box::new(Nat::new(Some(CHANGE_AFTER))),
            Kind::StripSyn => Box::new(strip_one_way(Strip::Syn, which)),
            Kind::StripData => Box::new(strip_one_way(Strip::Data, which)),
            Kind::StripAll => Box::new(strip_one_way(Strip::All, which)),
            Kind::StripAfter => Box::new(StripAfter::new(CHANGE_AFTER, false, which)),
            Kind::StripPayload => Box::new(StripAfter::new(CHANGE_AFTER, true, which)),
            Kind::DropSyn => Box::new(drop_syns(which)),
            Kind::DropJoin => Box::new(drop_joins()),
            Kind::Sequence => Box::new(Sequence::new(false, which)),
            Kind::SequenceNoSack => Box::new(Sequence::new(true, which)),
            Kind::Split => Box::new(Split::new(500, false, which)),
            Kind::SplitOnce => Box::new(Split::new(500, true, which)),
            Kind::CoalesceFirst => Box::new(Coalesce::new(Keep::First, which)),
            Kind::CoalesceLast => Box::new(Coalesce::new(Keep::Last, which)),
            Kind::AlgSame => Box::new(alg::Alg::new(alg::SAME, which)),
            Kind::AlgLonger => Box::new(alg::Alg::new(alg::LONGER, which)),
            Kind::AlgShorter => Box::new(alg::Alg::new(alg::SHORTER, which)),
            Kind::Proxy => Box::new(Proxy::new(which, None)),
            Kind::ProxyLoses => Box::new(Proxy::new(which, Some(20))),
            Kind::Window => Box::new(Window::new(false, which)),
            Kind::WindowUnscaled => Box::new(Window::new(true, which)),
            Kind::InOrder => Box::new(InOrder::new(which)),
            Kind::Duplicate => Box::new(Duplicate::new(3, which)),
            Kind::Corrupt => Box::new(Corrupt::new(10, false, which)),
            Kind::CorruptMended => Box::new(Corrupt::new(10, true, which)),
            Kind::DropAcks => Box::new(acks::thin_acks(4, which)),
            Kind::IdleDrop => Box::new(IdleTimeout::new(IDLE, false)),
            Kind::IdleRst => Box::new(IdleTimeout::new(IDLE, true)),
            Kind::RstSyn => Box::new(Rst::new(When::Syn)),
            Kind::RstAfter => Box::new(Rst::new(When::After(RESET_AFTER))),
        }
    }

    /// What it puts in the place of a [`TOKEN`](super::TOKEN); `None` for a box that lets payload be.
    pub fn replacement(self) -> Option<&'static [u8]> {
        match self.kind {
            Kind::AlgSame => Some(alg::SAME),
            Kind::AlgLonger => Some(alg::LONGER),
            Kind::AlgShorter => Some(alg::SHORTER),
            _ => None,
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            None => "",
            Some(Direction::Forward) => ">",
            Some(Direction::Backward) => "<",
        };
        write!(f, "{}{direction}", self.kind.name())
    }
}

/// No box has this name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownBox(pub String);

impl fmt::Display for UnknownBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        write!(
            f,
            "no middlebox is called {:?}; there are {}, many of them with > or < behind",
            self.0,
            names.join(", ")
        )
    }
}

impl std::error::Error for UnknownBox {}

impl FromStr for Spec {
    type Err = UnknownBox;

    fn from_str(text: &str) -> Result<Self, UnknownBox> {
        let (name, direction) = match text.strip_suffix('>') {
            Some(name) => (name, Some(Direction::Forward)),
            None => match text.strip_suffix('<') {
                Some(name) => (name, Some(Direction::Backward)),
                None => (text, None),
            },
        };
        let kind = Kind::ALL.iter().find(|kind| kind.name() == name).copied();
        let kind = kind.filter(|kind| kind.is_directed() || direction.is_none());
        kind.map(|kind| Self { kind, direction }).ok_or_else(|| UnknownBox(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_can_be_said_and_understood() {
        for &kind in Kind::ALL {
            let directions: &[_] = match kind.is_directed() {
                true => &[None, Some(Direction::Forward), Some(Direction::Backward)],
                false => &[None],
            };
            for &direction in directions {
                let spec = Spec { kind, direction };
                assert_eq!(spec.to_string().parse(), Ok(spec));
                assert!(!spec.build().name().is_empty());
            }
        }
        assert_eq!("nat>".parse::<Spec>(), Err(UnknownBox("nat>".to_owned())));
        assert!(UnknownBox("x".to_owned()).to_string().contains("strip-data"));
    }
}
