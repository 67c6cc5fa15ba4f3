//! Attaching to an ordinary host: the stack speaks from the addresses that the interfaces have.
//!
//! [`snapshot`] asks the kernel for interfaces, addresses and routes; [`discover`] makes paths of them; [`ports`]
//! claims local ports that no socket of the kernel uses; [`rules`] wires the TUN device to the uplinks by one nftables
//! table ([`nft`] speaks to the kernel); [`follow`] does all this again whenever the host changes, and [`requests`]
//! bring it who listens: [`listening`] says what is diverted for them, [`claims`] holds it in the kernel; [`probe`] tries
//! each part by itself. [`policy`] is what the host's routing refuses and IPsec covers, which is respected; [`obstacles`] are
//! what else of the host's may stand in the way ([`dump`] asks the kernel), which are named.
//!
//! Nothing of the host is changed: no address, route, rule or parameter, and no firewall table but our own. Device,
//! table and ports belong to descriptors of this process, and go with it however it ends.
//!
//! What is forwarded so passes by the host's output and forward filters, IPsec and routing rules. A packet above the
//! link's MTU would vanish, so each path has a link of its own in the stack, with the MTU of interface and routes.

mod claims;
pub(crate) mod discover;
mod dump;
mod follow;
mod listening;
mod nft;
mod obstacles;
mod policy;
mod ports;
mod probe;
mod requests;
mod rules;
mod snapshot;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time;

use polypath_proto::{ChecksumMode, Instant, LinkConfig, LinkId, LocalAddress, PathPolicy, Stack};

use crate::device::Netlink;
use discover::Path;
pub(crate) use follow::Follower;
use listening::Listening;
pub use obstacles::{Effect, Obstacle};
use policy::Policy;
pub(crate) use ports::Ports;
pub use probe::{FoundPath, probe_filters, probe_instances, probe_nftables, probe_paths, probe_tun};
pub(crate) use requests::Requests;
use rules::Table;
use snapshot::Snapshot;

/// News of links, traffic control, addresses, routes and rules: `RTMGRP_LINK`, `_TC`, `_IPV4_IFADDR`, `_IPV4_ROUTE`,
/// `_IPV4_RULE`, `_IPV6_IFADDR`, `_IPV6_ROUTE`, and that of IPv6 rules, which has no such name.
const NEWS: u32 = 0x1 | 0x8 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << 18;

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
    /// The address that a connection to `remote` begins at, of those that `policy` allows.
    pub(crate) fn source(&self, remote: IpAddr, policy: Option<&PathPolicy>) -> Option<IpAddr> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        discover::best(&state.1, remote, policy).map(|path| path.addr)
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

/// A look at the host.
struct Survey {
    snapshot: Snapshot,
    /// Those that nothing blocks.
    paths: Vec<Path>,
    obstacles: Vec<Obstacle>,
}

impl Survey {
    /// Looks in the calling thread's network namespace; `current`: the paths in use.
    fn take(netlink: &mut Netlink, options: &AttachOptions, current: &[Path]) -> io::Result<Self> {
        let mut snapshot = Snapshot::take(netlink)?;
        let mut paths = discover::discover(&snapshot, options, current);
        let obstacles = obstacles::find(&snapshot, options, &paths);
        paths.retain(|path| !obstacles.iter().any(|obstacle| obstacle.blocks(path)));
        if !options.paths.is_empty() {
            // Who names interfaces wants to go over them.
            snapshot.policy = Policy::default();
        }
        Ok(Self { snapshot, paths, obstacles })
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
    /// Let go of after the table.
    listening: Listening,
    /// When to look at it again.
    look_at: Option<time::Instant>,
    _ports: Ports,
    paths: Vec<Path>,
    view: Arc<View>,
    /// As seen last.
    obstacles: Vec<Obstacle>,
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
        let Survey { mut snapshot, paths, obstacles } = Survey::take(&mut netlink, &options, &[])?;
        if paths.is_empty() {
            // Our own device is no news to anybody.
            snapshot.links.retain(|link| link.index != tun.1);
            return Err(discover::no_path(&snapshot, &options, &obstacles));
        }
        let mut table = Table::new(tun.0, tun.1, ports.range())?;
        table.load(&paths, &BTreeSet::new())?;
        let view = Arc::new(View::default());
        view.set(snapshot, paths.clone());
        let (listening, links) = (Listening::default(), HashMap::new());
        Ok(Self {
            options,
            netlink,
            news,
            table,
            listening,
            look_at: None,
            _ports: ports,
            paths,
            view,
            obstacles,
            links,
            link,
        })
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view)
    }

    /// What stands in the way, or is passed by.
    pub(crate) fn obstacles(&self) -> &[Obstacle] {
        &self.obstacles
    }

    /// Gives the stack all addresses, before it runs.
    pub(crate) fn introduce(&mut self, stack: &mut Stack, now: Instant) {
        // Nobody listens yet.
        stack.set_reach(now, []);
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
