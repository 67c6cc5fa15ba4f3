//! What of the host's stands in the way of our packets, or is passed by.
//!
//! Found by experiment, in the order in which a packet meets them. On the way in: XDP, tc filters at the ingress, tcx,
//! chains at the ingress that come before ours. On the way out: chains at the egress, tc filters at the egress, tcx.
//! ARP and neighbour discovery are the kernel's own, and hindered only as they are for everybody else. The host's
//! output, input and forward filters, its policy routing and IPsec are not asked at all: where that lets out what a
//! VPN should have carried, it is said.
//!
//! Nothing here is changed or gone around on purpose. An uplink where all is lost for certain is no path; where some
//! may be lost, it is one, and there is a warning.

mod bpf;
mod legacy;
mod nftables;
mod routing;
mod tc;

use std::fmt;
use std::io;

use super::AttachOptions;
use super::discover::Path;
use super::snapshot::Snapshot;

/// Something of the host's that hinders packets, or that they pass by.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Obstacle {
    /// What it means.
    pub effect: Effect,
    /// The interface where it is; `None`: it is the whole host's.
    pub interface: Option<String>,
    /// What it is and does.
    pub what: String,
    /// The command that shows it.
    pub look: String,
    /// It is for this family only.
    pub(super) v6: Option<bool>,
}

/// What an [`Obstacle`] means.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Effect {
    /// No packet gets past: the interface is not used.
    Blocks,
    /// Packets may be lost.
    MayBlock,
    /// Packets pass by what should perhaps have held or hidden them.
    GoesAround,
    /// Good to know.
    Note,
}

impl Obstacle {
    fn on(interface: &str, effect: Effect, what: String, look: String) -> Self {
        Self { effect, interface: Some(interface.to_owned()), what, look, v6: None }
    }

    fn of_host(effect: Effect, what: String, look: String) -> Self {
        Self { effect, interface: None, what, look, v6: None }
    }

    /// Whether `path` cannot work.
    pub(super) fn blocks(&self, path: &Path) -> bool {
        self.effect == Effect::Blocks
            && self.interface.as_ref() == Some(&path.interface)
            && self.v6.is_none_or(|v6| v6 == path.addr.is_ipv6())
    }
}

/// `u1: what it is and does (see `command`)`.
impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(interface) = &self.interface {
            write!(f, "{interface}: ")?;
        }
        write!(f, "{} (see `{}`)", self.what, self.look)
    }
}

/// The direction, as the end of a sentence about packets.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Way {
    In,
    Out,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::In => "comes in",
            Way::Out => "goes out",
        })
    }
}

/// All that there is about `paths`, which `options` have led to, in the calling thread's network namespace.
pub(super) fn find(snapshot: &Snapshot, options: &AttachOptions, paths: &[Path]) -> Vec<Obstacle> {
    let ifbs: Vec<u32> = snapshot.links.iter().filter(|link| link.ifb).map(|link| link.index).collect();
    let mut all = routing::passed_by(snapshot, options, paths);
    all.extend(or_say("tc filters", tc::at_uplinks(paths, &ifbs)));
    all.extend(or_say("eBPF programs", bpf::at_uplinks(snapshot, paths)));
    all.extend(or_say("nftables chains", nftables::at_uplinks(paths)));
    // What is said of both families of an interface is said once.
    let mut once: Vec<Obstacle> = Vec::new();
    for obstacle in all {
        if !once.contains(&obstacle) {
            once.push(obstacle);
        }
    }
    once
}

/// The host's filters that are not asked.
pub(super) fn not_asked() -> Vec<Obstacle> {
    let mut all = or_say("nftables chains", nftables::not_asked());
    all.extend(legacy::not_asked());
    all
}

/// That something cannot be looked at is no reason not to run.
fn or_say(about: &str, result: io::Result<Vec<Obstacle>>) -> Vec<Obstacle> {
    result.unwrap_or_else(|error| {
        let what = format!("the kernel does not tell which {about} there are: {error}");
        vec![Obstacle::of_host(Effect::Note, what, "sudo polypath doctor".into())]
    })
}
