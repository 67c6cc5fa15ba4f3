//! Packet schedulers: on which subflow the next bytes of the connection go.

mod minrtt;

pub use minrtt::MinRtt;

use crate::SubflowId;
use crate::time::Duration;

/// A set of subflows.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct SubflowSet(u64);

impl SubflowSet {
    /// Just this one.
    pub const fn only(id: SubflowId) -> Self {
        SubflowSet(1 << id.0)
    }

    /// With one more.
    #[must_use]
    pub const fn with(self, id: SubflowId) -> Self {
        SubflowSet(self.0 | 1 << id.0)
    }

    /// With one less.
    #[must_use]
    pub const fn without(self, id: SubflowId) -> Self {
        SubflowSet(self.0 & !(1 << id.0))
    }

    /// Whether `id` is in it.
    pub const fn contains(self, id: SubflowId) -> bool {
        self.0 & (1 << id.0) != 0
    }

    /// Its members, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = SubflowId> {
        (0..64u16).map(SubflowId).filter(move |id| self.contains(*id))
    }
}

/// One subflow as a scheduler sees it.
#[derive(Copy, Clone, Debug)]
pub struct PathView {
    /// Which one.
    pub id: SubflowId,
    /// Smoothed round-trip time; zero before the first sample.
    pub srtt: Duration,
    /// Congestion window, in bytes.
    pub cwnd: u64,
    /// Bytes in flight.
    pub in_flight: u64,
    /// Bytes that may be sent now (congestion window, loss recovery and the peer's window permitting).
    pub room: u64,
    /// Payload of a full segment, in bytes.
    pub mss: u64,
    /// Either end asked to use it only when nothing else works (RFC 8684, section 3.3.8).
    pub backup: bool,
    /// Its retransmission timer expired and nothing was acknowledged since.
    pub stalled: bool,
}

/// What is to be sent, and over what.
#[derive(Copy, Clone, Debug)]
pub struct View<'a> {
    /// The subflows that can carry data.
    pub paths: &'a [PathView],
    /// Bytes waiting, and allowed by the peer's connection-level window.
    pub pending: u64,
    /// For bytes that another subflow was already given: that one (it must not be chosen).
    pub reinjection_of: Option<SubflowId>,
}

/// A scheduler's answer.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send up to `limit` bytes on every subflow of the set; the first that has room takes them as its own,
    /// the others send copies.
    Send {
        /// Where to.
        on: SubflowSet,
        /// At most this many bytes.
        limit: u64,
    },
    /// Nothing now; ask again when something changed.
    Wait,
}

/// Chooses subflows for data.
pub trait Scheduler: Send + core::fmt::Debug {
    /// The name users know it by.
    fn name(&self) -> &'static str;
    /// Called whenever there is something to send and at least one subflow exists.
    fn schedule(&mut self, view: &View<'_>) -> Decision;
}

/// The schedulers that can be chosen by name.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum SchedulerKind {
    /// The subflow with the lowest round-trip time that has room.
    #[default]
    MinRtt,
}

impl SchedulerKind {
    /// Every name that [`str::parse`] knows.
    pub const NAMES: &'static [&'static str] = &["minrtt"];

    pub(crate) fn build(self) -> Box<dyn Scheduler> {
        match self {
            SchedulerKind::MinRtt => Box::new(MinRtt),
        }
    }
}

impl core::str::FromStr for SchedulerKind {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "minrtt" => Ok(SchedulerKind::MinRtt),
            other => Err(format!("unknown scheduler '{other}'; known: {}", Self::NAMES.join(", "))),
        }
    }
}
