//! Packet schedulers: on which subflow the next bytes of the connection go.
//!
//! A scheduler sees the subflows that can carry data ([`View`]) and answers with a [`Decision`]. It is asked for new data,
//! and for data that another subflow was given before. Its own state is all that it keeps; what was sent where is the
//! connection's business.

mod best;
mod blest;
mod ecf;
mod linux;
mod minrtt;
mod redundant;
mod roundrobin;
mod view;

pub use best::Best;
pub use blest::Blest;
pub use ecf::Ecf;
pub use linux::Linux;
pub use minrtt::MinRtt;
pub use redundant::Redundant;
pub use roundrobin::RoundRobin;
pub use view::{PathView, SubflowSet, View};

use std::sync::Arc;

/// A scheduler's answer.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send up to `limit` bytes on every subflow of the set; the first that has room takes them as its own,
    /// the others send copies as soon as they have.
    Send {
        /// Where to.
        on: SubflowSet,
        /// At most this many bytes.
        limit: u64,
    },
    /// Nothing now; ask again when something changed.
    Wait,
}

impl Decision {
    /// On this subflow, as much as it has room for; wait where there is none.
    pub fn on(path: Option<&PathView>) -> Self {
        path.map_or(Decision::Wait, |p| Decision::Send { on: SubflowSet::only(p.id), limit: p.room })
    }
}

/// Chooses subflows for data.
pub trait Scheduler: Send + core::fmt::Debug {
    /// The name users know it by.
    fn name(&self) -> &'static str;
    /// Called whenever there is something to send and at least one subflow exists. After [`Decision::Wait`] it is called
    /// again when a subflow has more room, or when there is more to send. Where nothing is in flight there is nothing to
    /// wait for: then the fastest subflow that has room is used whatever the answer.
    fn schedule(&mut self, view: &View<'_>) -> Decision;
}

/// The schedulers that can be chosen by name, and those of the application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchedulerKind {
    /// polypath's own: [`Best`].
    #[default]
    Default,
    /// [`MinRtt`].
    MinRtt,
    /// [`Linux`].
    Linux,
    /// [`RoundRobin`].
    RoundRobin,
    /// [`Redundant`].
    Redundant,
    /// [`Blest`].
    Blest,
    /// [`Ecf`].
    Ecf,
    /// The application's own.
    Custom(SchedulerFactory),
}

/// Makes a scheduler of the application for each connection.
#[derive(Clone)]
pub struct SchedulerFactory(Arc<dyn Fn() -> Box<dyn Scheduler> + Send + Sync>);

impl core::fmt::Debug for SchedulerFactory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SchedulerFactory")
    }
}

impl PartialEq for SchedulerFactory {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SchedulerFactory {}

impl SchedulerKind {
    /// Every name that [`str::parse`] knows.
    pub const NAMES: &'static [&'static str] =
        &["default", "minrtt", "linux", "round-robin", "redundant", "blest", "ecf"];

    /// One of the application's own: `make` is called once for each connection.
    pub fn custom(make: impl Fn() -> Box<dyn Scheduler> + Send + Sync + 'static) -> Self {
        SchedulerKind::Custom(SchedulerFactory(Arc::new(make)))
    }

    pub(crate) fn build(&self) -> Box<dyn Scheduler> {
        match self {
            SchedulerKind::Default => Box::new(Best),
            SchedulerKind::MinRtt => Box::new(MinRtt),
            SchedulerKind::Linux => Box::new(Linux),
            SchedulerKind::RoundRobin => Box::new(RoundRobin::default()),
            SchedulerKind::Redundant => Box::new(Redundant),
            SchedulerKind::Blest => Box::new(Blest::default()),
            SchedulerKind::Ecf => Box::new(Ecf::default()),
            SchedulerKind::Custom(factory) => (factory.0)(),
        }
    }
}

impl core::str::FromStr for SchedulerKind {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Ok(match s {
            "default" => SchedulerKind::Default,
            "minrtt" => SchedulerKind::MinRtt,
            "linux" => SchedulerKind::Linux,
            "round-robin" => SchedulerKind::RoundRobin,
            "redundant" => SchedulerKind::Redundant,
            "blest" => SchedulerKind::Blest,
            "ecf" => SchedulerKind::Ecf,
            other => return Err(format!("unknown scheduler '{other}'; known: {}", Self::NAMES.join(", "))),
        })
    }
}
