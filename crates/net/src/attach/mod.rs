//! Attaching to an ordinary host: the stack speaks from the addresses that the interfaces have.
//!
//! [`snapshot`] asks the kernel for interfaces, addresses and routes; [`discover`] makes paths of them; [`ports`]
//! claims local ports that no socket of the kernel uses; [`rules`] wires the TUN device to the uplinks by one nftables
//! table ([`nft`] speaks to the kernel); [`follow`] does all this again whenever the host changes; [`probe`] tries each
//! part by itself.
//!
//! Nothing of the host is changed: no address, route, rule or parameter, and no firewall table but our own. Device,
//! table and ports belong to descriptors of this process, and go with it however it ends.
//!
//! What is forwarded so passes by the host's output and forward filters, IPsec and routing rules. A packet above the
//! link's MTU would vanish, so each path has a link of its own in the stack, with the MTU of interface and routes.

pub(crate) mod discover;
mod follow;
mod nft;
mod ports;
mod probe;
mod rules;
mod snapshot;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use polypath_proto::{ChecksumMode, Instant, LinkConfig, LinkId, LocalAddress, Stack};

use crate::device::Netlink;
use discover::Path;
pub(crate) use follow::Follower;
pub(crate) use ports::Ports;
pub use probe::{FoundPath, probe_instances, probe_nftables, probe_paths, probe_tun};
use rules::Table;
use snapshot::Snapshot;

/// News of links, addresses and routes: `RTMGRP_LINK`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV6_IFADDR`, `_IPV6_ROUTE`.
const NEWS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// How a host is attached to the interfaces that are there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AttachOptions {
    /// The interfaces to use; none: every one with a default route or a route over a gateway (or, where there is no
    /// gateway at all, with any route). Where a tunnel (VPN) has the default route, then only the tunnel.
    pub paths: Vec<PathOptions>,
}

/// An interface to use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathOptions {
    /// Its name. It need not be there yet.
    pub interface: String,
    /// To carry data only where no other path does (RFC 8684 section 3.3.8).
    pub backup: bool,
    /// Connections begin on the path with the smallest number; those without one come last, in the order given.
    pub priority: Option<u32>,
}

impl PathOptions {
    /// The interface `name`, as good as any.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { interface: name.to_owned(), backup: false, priority: None }
    }
}

/// What can be asked at any time: the kernel's state as last seen, and the paths made of it.
#[derive(Debug, Default)]
pub(crate) struct View {
    state: RwLock<(Snapshot, Vec<Path>)>,
}

impl View {
    /// The address that a connection to `remote` begins at.
    pub(crate) fn source(&self, remote: IpAddr) -> Option<IpAddr> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        discover::best(&state.1, remote).map(|path| path.addr)
    }

    /// Whether connections to `remote` are for the stack.
    pub(crate) fn carries(&self, remote: IpAddr) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        discover::carries(&state.0, &state.1, remote)
    }

    fn set(&self, snapshot: Snapshot, paths: Vec<Path>) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = (snapshot, paths);
    }
}

/// The stack's side of the host's interfaces.
#[derive(Debug)]
pub(crate) struct Attachment {
    options: AttachOptions,
    /// For dumps.
    netlink: Netlink,
    /// For news; opened before the first dump, so that nothing falls between.
    news: Netlink,
    table: Table,
    _ports: Ports,
    paths: Vec<Path>,
    view: Arc<View>,
    /// The stack's links by interface and MTU. They are never taken away.
    links: HashMap<(String, u32), LinkId>,
    /// What all links have in common.
    link: LinkConfig,
}

impl Attachment {
    /// Finds the paths and lays the wires for the device `tun`. The stack is told nothing yet.
    ///
    /// # Errors
    /// There is no path, or the kernel refuses the table; the message says why.
    pub(crate) fn new(options: AttachOptions, ports: Ports, tun: (&str, u32), link: LinkConfig) -> io::Result<Self> {
        let news = Netlink::listen(NEWS)?;
        let mut netlink = Netlink::open()?;
        let snapshot = Snapshot::take(&mut netlink)?;
        let paths = discover::discover(&snapshot, &options, &[]);
        if paths.is_empty() {
            return Err(discover::no_path(&snapshot, &options));
        }
        let mut table = Table::new(tun.0, tun.1, ports.range())?;
        table.load(&paths)?;
        let view = Arc::new(View::default());
        view.set(snapshot, paths.clone());
        Ok(Self { options, netlink, news, table, _ports: ports, paths, view, links: HashMap::new(), link })
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view)
    }

    /// Gives the stack all addresses, before it runs.
    pub(crate) fn introduce(&mut self, stack: &mut Stack, now: Instant) {
        for path in self.paths.clone() {
            self.add(stack, now, &path);
        }
    }

    fn add(&mut self, stack: &mut Stack, now: Instant, path: &Path) {
        // Without offload the largest packet handed out is the largest on the wire.
        let max_segment = if self.link.checksum == ChecksumMode::Full { path.mtu } else { self.link.max_segment };
        let config = LinkConfig { mtu: path.mtu, max_segment, ..self.link };
        let key = (path.interface.clone(), path.mtu);
        let link = *self.links.entry(key).or_insert_with(|| stack.add_link(config));
        let name = Some(Arc::from(path.interface.as_str()));
        stack.add_address(now, LocalAddress { addr: path.addr, link, backup: path.backup, name });
    }
}
