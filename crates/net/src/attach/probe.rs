//! Whether a host could be attached to here: each thing tried by itself, for somebody who wants to know what is missing.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use super::discover::{self, Path, Route};
use super::obstacles;
use super::ports::Ports;
use super::rules::Table;
use super::{AttachOptions, Netlink, Obstacle, Survey};
use crate::device::{Interface, Offload, Tun};

/// Never seen by anybody for long.
const DEVICE: &str = "ppdoctor%d";

/// A path that a host would use.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FoundPath {
    /// Its interface.
    pub interface: String,
    /// The address it speaks from.
    pub addr: IpAddr,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Whether it leads everywhere.
    pub has_default_route: bool,
    /// Whether it carries packets inside others, as VPNs do.
    pub tunnel: bool,
}

/// Makes a TUN device, and lets it go.
///
/// # Errors
/// What the kernel has against it; the message names the step.
pub fn probe_tun() -> io::Result<()> {
    Tun::open(DEVICE, None, Offload::Segmentation).map(drop)
}

/// Loads a table with a rule of each kind, and lets it go.
///
/// # Errors
/// What the kernel has against it; the message names the step and what helps.
pub fn probe_nftables() -> io::Result<()> {
    let tun = Tun::open(DEVICE, None, Offload::None)?;
    let index = Interface::find(tun.name())?.index();
    let addr = IpAddr::from([192, 0, 2, 1]);
    let routes = vec![Route { destination: addr, prefix_len: 32, gateway: None }];
    let path = Path { interface: tun.name().to_owned(), index, addr, backup: false, mtu: 1500, routes };
    Table::new(tun.name(), index, 1..=1)?.load(&[path], &BTreeSet::new())
}

/// How many further instances there is room for, and how many there are.
///
/// # Errors
/// Sockets cannot be bound at all.
pub fn probe_instances() -> io::Result<(usize, usize)> {
    Ports::count()
}

/// What of the host's firewall is passed by.
#[must_use]
pub fn probe_filters() -> Vec<Obstacle> {
    obstacles::not_asked()
}

/// The paths that a host with these options would use, and what stands in their way or is passed by.
///
/// # Errors
/// There is no path; the message says why.
pub fn probe_paths(options: &AttachOptions) -> io::Result<(Vec<FoundPath>, Vec<Obstacle>)> {
    let Survey { snapshot, paths, obstacles } = Survey::take(&mut Netlink::open()?, options, &[])?;
    if paths.is_empty() {
        return Err(discover::no_path(&snapshot, options, &obstacles));
    }
    let found = |path: Path| FoundPath {
        interface: path.interface,
        addr: path.addr,
        mtu: path.mtu,
        has_default_route: path.routes.iter().any(|route| route.prefix_len <= 1),
        tunnel: snapshot.links.iter().any(|link| link.index == path.index && link.tunnel),
    };
    Ok((paths.into_iter().map(found).collect(), obstacles))
}
