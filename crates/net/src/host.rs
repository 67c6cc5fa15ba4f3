//! [`Host`]: one stack, its TUN device and its driver thread.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use polypath_proto::mib::Mib;
use polypath_proto::{
    ChecksumMode, Config, ConnectError, ConnectionId, ConnectionInfo, Event, LinkConfig, LinkId, ListenAddr,
    ListenerId, LocalAddress, PathPolicy, Stack,
};
use tokio::sync::broadcast;

use crate::attach::{AttachOptions, Attachment, Follower, Obstacle, Ports, Requests, View};
use crate::clock::Clock;
use crate::device::{Interface, MAX_PACKET, Offload, Tun};
use crate::driver::Driver;
use crate::error;
use crate::handle::ConnectionHandle;
use crate::listener::ListenOptions;
use crate::shared::Shared;
use crate::stats::DeviceStats;
use crate::task;

/// RFC 8200 section 5 for the lower bound where IPv6 is spoken; IPv4 alone gets by with 576.
const MTU_MIN: u32 = 576;
const MTU_MAX: u32 = MAX_PACKET as u32;

/// What may wait in the uplinks' queues, in bytes: enough for full speed, little enough not to be dropped there.
const ATTACHED_SEND_BUFFER: u32 = 300 * 1024;

/// A stack with addresses of its own, attached to the kernel by a TUN device.
///
/// It is a handle: clones are the same host. The host runs until [`shutdown`](Self::shutdown), or
/// until the last handle, stream and listener is dropped; then the device and its routes vanish,
/// and what was not delivered is lost.
///
/// [Attached](HostBuilder::attach) to the host's interfaces, it speaks from the addresses that these have, and follows
/// them as they come and go.
///
/// Addresses [of its own](HostBuilder::address) are *routed*: no interface carries them, the kernel only knows that
/// they are reached through the device. Whether packets go on from there to other machines is up to the kernel's
/// routing (`net.ipv4.ip_forward` or `net.ipv6.conf.all.forwarding`).
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    link: LinkId,
    tun_name: String,
    interface: Mutex<Interface>,
    driver: Mutex<Option<Running>>,
    attached: Option<Arc<View>>,
    /// To the follower.
    requests: Option<Requests>,
    obstacles: Vec<Obstacle>,
    follower: Mutex<Option<Follower>>,
}

/// Who reads the device and keeps the stack's time.
enum Running {
    Thread(JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

/// What a [`Host`] is started from.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `start`"]
pub struct HostBuilder {
    tun: String,
    mtu: u32,
    send_buffer: Option<u32>,
    offload: Offload,
    addresses: Vec<Address>,
    attach: Option<AttachOptions>,
    in_runtime: bool,
    config: Config,
}

#[derive(Clone, Debug)]
struct Address {
    addr: IpAddr,
    name: Option<Arc<str>>,
    backup: bool,
}

impl HostBuilder {
    fn new() -> Self {
        Self {
            tun: "pp%d".to_owned(),
            mtu: 1500,
            send_buffer: None,
            offload: Offload::Segmentation,
            addresses: Vec::new(),
            attach: None,
            in_runtime: false,
            config: Config::default(),
        }
    }

    /// Name of the TUN device, 1 to 15 bytes; `%d` stands for the first free number. `pp%d` unless
    /// set.
    pub fn tun(mut self, name: impl Into<String>) -> Self {
        self.tun = name.into();
        self
    }

    /// Largest packet on the wire in bytes, IP header included: 576 to 65,535, and at least 1,280
    /// with IPv6. 1,500 unless set. Larger ones pass between stack and kernel, to be cut there.
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// Bytes that may wait in the kernel behind the device before the stack is held back
    /// (`TUNSETSNDBUF`). Unbounded unless set. It has an effect only where what comes behind the
    /// device keeps packets charged to it: redirection to another interface does, forwarding and
    /// local delivery do not.
    pub fn send_buffer(mut self, bytes: u32) -> Self {
        self.send_buffer = Some(bytes);
        self
    }

    /// Whether checksums and segmentation are left to the kernel and the network card, where these can do it. On
    /// unless set; off, which costs most of the speed, is for measuring and for strange devices.
    pub fn offload(mut self, on: bool) -> Self {
        self.offload = if on { Offload::Segmentation } else { Offload::None };
        self
    }

    /// Adds an address that the stack owns. `name` is for humans and shows up in events and infos
    /// ("wifi"); subflows of a `backup` address carry data only where no other does (RFC 8684
    /// section 3.3.8).
    pub fn address(mut self, addr: IpAddr, name: Option<&str>, backup: bool) -> Self {
        self.addresses.push(Address { addr, name: name.map(Arc::from), backup });
        self
    }

    /// Attaches the stack to interfaces of the host: it speaks from their addresses, on client ports that no socket of
    /// the kernel uses and those that it [listens](crate::MptcpListener::bind) on, and follows what changes. Nothing of
    /// the host is changed, but for one nftables table of our own; it goes with the host, as the device does. Not to be
    /// used together with [`address`](Self::address). [`mtu`](Self::mtu) does not count: each path has the
    /// MTU of its interface and routes.
    pub fn attach(mut self, options: AttachOptions) -> Self {
        self.attach = Some(options);
        self
    }

    /// Whether the stack lives in a task of the tokio runtime in which the host is started, and not in a thread of its own.
    /// Then packets are read by the thread that waits for them: no hop between two threads, no lock that both want. The price:
    /// as long as the runtime's threads are busy with something else, nothing is acknowledged or sent again, and when the
    /// runtime ends, so does the host. The runtime needs its I/O driver (`enable_io`). Off unless set.
    pub fn in_runtime(mut self, on: bool) -> Self {
        self.in_runtime = on;
        self
    }

    /// Sets the stack's configuration.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Creates the device and the routes in the calling thread's network namespace, and starts the
    /// driver thread.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a name or MTU out of range;
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied) without `CAP_NET_ADMIN`; otherwise
    /// what the kernel had against the device or a route. The message says which.
    pub fn start(mut self) -> io::Result<Host> {
        let mtu = self.checked_mtu()?;
        let ports = self.attach.is_some().then(Ports::claim).transpose()?;
        let tun = Arc::new(Tun::open(&self.tun, self.send_buffer, self.offload)?);
        let mut interface = Interface::find(tun.name())?;
        interface.bring_up(mtu)?;
        let mut attachment = None;
        if let (Some(options), Some(ports)) = (self.attach, ports) {
            self.config.client_ports = ports.range();
            let link = link_config(tun.offload(), mtu);
            attachment = Some(Attachment::new(options, ports, (tun.name(), interface.index()), link)?);
        }

        let clock = Clock::start();
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|error| io::Error::other(format!("no randomness for the stack: {error}")))?;
        let mut stack = Stack::new(self.config, seed);
        let link = stack.add_link(link_config(tun.offload(), mtu));
        for address in self.addresses {
            interface.add_route(address.addr)?;
            stack.add_address(clock.now(), address.on(link));
        }
        if let Some(attachment) = &mut attachment {
            attachment.introduce(&mut stack, clock.now());
        }

        let shared = Arc::new(Shared::new(stack, clock, &tun)?);
        let tun_name = tun.name().to_owned();
        let attached = attachment.as_ref().map(Attachment::view);
        let obstacles = attachment.as_ref().map(|attachment| attachment.obstacles().to_vec()).unwrap_or_default();
        let follow = |attachment| Follower::start(attachment, Arc::clone(&shared), &tun_name);
        let follower = attachment.map(follow).transpose()?;
        let requests = follower.as_ref().map(Follower::requests);
        let driver = Driver::new(Arc::clone(&shared), tun, link);
        let running = if self.in_runtime {
            let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
            Running::Task(runtime.spawn(task::prepare(&shared, driver)?))
        } else {
            let thread = std::thread::Builder::new().name(format!("polypath {tun_name}"));
            Running::Thread(thread.spawn(move || driver.run())?)
        };
        Ok(Host {
            inner: Arc::new(Inner {
                shared,
                link,
                tun_name,
                interface: Mutex::new(interface),
                driver: Mutex::new(Some(running)),
                attached,
                requests,
                obstacles,
                follower: Mutex::new(follower),
            }),
        })
    }

    fn checked_mtu(&mut self) -> io::Result<u32> {
        if self.attach.is_some() {
            if !self.addresses.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a host is attached to interfaces or has addresses of its own, not both",
                ));
            }
            self.send_buffer.get_or_insert(ATTACHED_SEND_BUFFER);
            // The device must take whatever the uplinks bring.
            return Ok(MTU_MAX);
        }
        let v6 = self.addresses.iter().any(|address| address.addr.is_ipv6());
        let min = if v6 { 1280 } else { MTU_MIN };
        if !(min..=MTU_MAX).contains(&self.mtu) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("MTU {} is not within {min} to {MTU_MAX}", self.mtu),
            ));
        }
        Ok(self.mtu)
    }
}

impl Address {
    fn on(self, link: LinkId) -> LocalAddress {
        LocalAddress { addr: self.addr, link, backup: self.backup, name: self.name }
    }
}

fn link_config(offload: Offload, mtu: u32) -> LinkConfig {
    let (max_segment, checksum) = match offload {
        Offload::Segmentation => (MAX_PACKET as u32, ChecksumMode::Partial),
        Offload::None => (mtu, ChecksumMode::Full),
    };
    LinkConfig { mtu, max_segment, checksum }
}

impl Host {
    /// What to start a host from: no addresses, MTU 1,500, a default configuration.
    pub fn builder() -> HostBuilder {
        HostBuilder::new()
    }

    /// Name of the TUN device.
    #[must_use]
    pub fn tun_name(&self) -> &str {
        &self.inner.tun_name
    }

    /// Adds an address while the host runs, as [`HostBuilder::address`] does before. Connections
    /// may open subflows from it at once.
    ///
    /// # Errors
    /// The kernel refuses the route, or the host has stopped.
    pub fn add_address(&self, addr: IpAddr, name: Option<&str>, backup: bool) -> io::Result<()> {
        let address = Address { addr, name: name.map(Arc::from), backup };
        self.interface().add_route(addr)?;
        self.shared().call(|core, now| {
            core.stack.add_address(now, address.on(self.inner.link));
        })
    }

    /// Whether subflows of an address are to carry data only where no other does, from now on; peers are told
    /// (`MP_PRIO`, RFC 8684 section 3.3.8).
    ///
    /// # Errors
    /// The host has stopped.
    pub fn set_backup(&self, addr: IpAddr, backup: bool) -> io::Result<()> {
        self.shared().call(|core, now| core.stack.set_backup(now, addr, backup))
    }

    /// Takes an address away while the host runs. Subflows on it are closed, and peers are told
    /// where another subflow is left to tell them (`REMOVE_ADDR`).
    ///
    /// # Errors
    /// There is no route to take away, so the address was not there; or the host has stopped.
    pub fn remove_address(&self, addr: IpAddr) -> io::Result<()> {
        self.shared().call(|core, now| core.stack.remove_address(now, addr))?;
        self.interface().remove_route(addr)
    }

    /// Whether connections to `remote` are for this stack: an [attached](HostBuilder::attach) one leaves to the kernel
    /// what no path leads to, the host's own addresses, and networks that the kernel reaches by a more specific route
    /// over another interface.
    #[must_use]
    pub fn carries(&self, remote: IpAddr) -> bool {
        self.inner.attached.as_ref().is_none_or(|view| view.carries(remote))
    }

    /// Whether the kernel has this host's addresses too, as it has those of an [attached](HostBuilder::attach) one.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.inner.attached.is_some()
    }

    /// What stood in the way of an [attached](HostBuilder::attach) host's packets when it started, or is passed by.
    #[must_use]
    pub fn obstacles(&self) -> &[Obstacle] {
        &self.inner.obstacles
    }

    /// Lets go in the kernel of a port of an [attached](HostBuilder::attach) host for a second, so that the caller can
    /// bind a socket of their own there, for a listener that is [held](ListenOptions::held). Without a listener the host
    /// may still hold a port for connections that go on, or for joins to one on another address. What a listener of
    /// the host's own holding is at stays held. Connections are not disturbed.
    ///
    /// # Errors
    /// The host has stopped.
    pub fn release_port(&self, port: u16) -> io::Result<()> {
        self.inner.requests.as_ref().map_or(Ok(()), |requests| requests.release(port))
    }

    pub(crate) fn listen(&self, at: ListenAddr, options: ListenOptions) -> io::Result<(ListenerId, SocketAddr)> {
        if let Some(requests) = &self.inner.requests {
            return requests.listen(at, options);
        }
        self.shared().call(|core, _| {
            let id = core.stack.listen(at, options.backlog).map_err(error::listen)?;
            core.stack.set_accept_policy(id, options.policy);
            core.waiting.add_listener(id);
            Ok((id, core.stack.listener_addr(id).unwrap_or(at.local)))
        })?
    }

    pub(crate) fn listener_closed(&self, id: ListenerId) {
        if let Some(requests) = &self.inner.requests {
            requests.close(id);
        }
    }

    /// Where a connection to `remote` begins, if that is not left to the stack.
    ///
    /// # Errors
    /// Of the paths that `policy` allows, none leads there.
    pub(crate) fn source(&self, remote: IpAddr, policy: Option<&PathPolicy>) -> io::Result<Option<IpAddr>> {
        let Some(view) = self.inner.attached.as_ref() else { return Ok(None) };
        let source = view.source(remote, policy);
        if source.is_none() && policy.is_some() {
            return Err(error::connect(ConnectError::Unreachable { v6: remote.is_ipv6() }));
        }
        Ok(source)
    }

    /// Whether `addr` is one of the host's.
    #[must_use]
    pub fn has_address(&self, addr: IpAddr) -> bool {
        self.shared().observe(|core| core.stack.addresses().iter().any(|a| a.addr == addr))
    }

    /// Whether `remote` has given a cookie that lets data go with the SYN of the next connection
    /// ([`ConnectOptions::fast_open`](polypath_proto::ConnectOptions::fast_open)).
    #[must_use]
    pub fn has_fast_open_cookie(&self, remote: IpAddr) -> bool {
        let now = self.shared().now();
        self.shared().observe(|core| core.stack.has_fast_open_cookie(now, remote))
    }

    /// The stack's settings, for connections that have none of their own.
    #[must_use]
    pub fn settings(&self) -> Config {
        self.shared().observe(|core| core.stack.config().clone())
    }

    /// Follows what happens to connections and subflows: [`Event::Connected`], [`Event::Closed`]
    /// and [`Event::Subflow`] from now on. An observer that falls far behind misses some.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared().subscribe()
    }

    /// All connections: held by an application, waiting to be accepted, or let go of and still
    /// delivering; in no order. After the host has stopped, as they were then.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.shared().observe(|core| core.stack.connections().map(|(_, info)| info).collect())
    }

    /// One connection; none once it is gone.
    #[must_use]
    pub fn connection_info(&self, id: ConnectionId) -> Option<ConnectionInfo> {
        self.shared().observe(|core| core.stack.connection_info(id))
    }

    /// A handle to the connection of this number: [`ConnectionId::number`], as events and snapshots have it. None once it
    /// is gone.
    #[must_use]
    pub fn connection(&self, number: u32) -> Option<ConnectionHandle> {
        let id =
            self.shared().observe(|core| core.stack.connections().map(|(id, _)| id).find(|id| id.number() == number));
        id.map(|id| ConnectionHandle::new(self, id))
    }

    /// What the stack has counted, by Linux's names.
    #[must_use]
    pub fn mib(&self) -> Mib {
        self.shared().observe(|core| core.stack.mib())
    }

    /// What passed through the device so far.
    #[must_use]
    pub fn device_stats(&self) -> DeviceStats {
        self.shared().observe(|core| core.stats)
    }

    /// Ends the host in order: every listener closes, then connections that were shut down for writing, or that applications
    /// have let go of, deliver what they hold, for at most `limit`; then everything stops, and streams still held fail with
    /// [`NetworkDown`](io::ErrorKind::NetworkDown). Afterwards the device is gone.
    ///
    /// What is delivered has a second to close in order: a peer that does not close its side by then is sent a reset. A path
    /// that is cut holds nothing up where another has delivered everything. TIME-WAIT is not waited for. The runtime needs
    /// its time driver (`enable_time`).
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut) where something was not delivered; the message says of how many connections.
    pub async fn shutdown(&self, limit: Duration) -> io::Result<()> {
        let drained = tokio::time::timeout(limit, self.shared().drained()).await;
        let left = self.shared().undelivered();
        self.shared().abandon_ended();
        if let Some(task) = self.inner.stop() {
            // It may be this very task that called us; then it ends afterwards.
            if tokio::task::try_id() != Some(task.id()) {
                // A panic has been reported by the panic hook.
                let _ = task.await;
            }
        }
        if drained.is_err() && left > 0 {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the data of {left} connections was not delivered within {limit:?}"),
            ));
        }
        Ok(())
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    fn interface(&self) -> std::sync::MutexGuard<'_, Interface> {
        self.inner.interface.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("tun", &self.inner.tun_name).finish_non_exhaustive()
    }
}

impl Inner {
    /// Stops the driver. Waits for the end of a thread, so that the device is gone afterwards; a task is given back to be
    /// waited for.
    fn stop(&self) -> Option<tokio::task::JoinHandle<()>> {
        self.shared.stop("it has been shut down");
        if let Some(mut follower) = self.follower.lock().unwrap_or_else(PoisonError::into_inner).take() {
            follower.stop();
        }
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner).take();
        match driver? {
            Running::Task(task) => Some(task),
            Running::Thread(thread) => {
                // The driver may drop the last handle itself, by waking a task that owns it.
                if thread.thread().id() != std::thread::current().id() {
                    // A panic has been reported by the panic hook.
                    let _ = thread.join();
                }
                None
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A task ends by itself.
        drop(self.stop());
    }
}
