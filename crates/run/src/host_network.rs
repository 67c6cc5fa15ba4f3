//! The stack as the network of programs: which of their connections go over it.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use polypath_config::{Rules, Subject};
use polypath_net::{ConnectionHandle, Host, ListenOptions, MptcpListener, MptcpStream};
use polypath_proto::ConnectOptions;

use crate::network::{Control, Listen, Look, NetListener, NetStream, Network, Opening};
use crate::settings::Settings;

/// Connections of programs over a [`Host`], attached to interfaces or with addresses of its own.
#[derive(Clone, Debug)]
pub struct HostNetwork {
    host: Host,
    rules: Arc<Rules>,
}

impl HostNetwork {
    /// Over `host`, whose [`shutdown`](Host::shutdown) delivers what programs have left behind.
    #[must_use]
    pub fn new(host: Host) -> HostNetwork {
        HostNetwork { host, rules: Arc::default() }
    }

    /// Has `rules` say how each connection is opened or accepted. What a program itself sets on its socket goes first.
    #[must_use]
    pub fn rules(self, rules: Arc<Rules>) -> HostNetwork {
        HostNetwork { rules, ..self }
    }
}

impl Network for HostNetwork {
    type Stream = MptcpStream;
    type Listener = MptcpListener;

    fn connect(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
    ) -> impl Future<Output = io::Result<MptcpStream>> + Send {
        self.open(remote, local, Opening::default())
    }

    fn open(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        opening: Opening,
    ) -> impl Future<Output = io::Result<MptcpStream>> + Send {
        let host = self.host.clone();
        // A port that the kernel has given the program is the kernel's: what comes for it would not reach the stack.
        let port = |local: SocketAddr| if host.is_attached() { 0 } else { local.port() };
        let local = local.map(|local| SocketAddr::new(local.ip(), port(local)));
        let local = local.filter(|local| !local.ip().is_unspecified() || local.port() != 0);
        let Opening { settings, fast_open, data, program } = opening;
        // A Linux server of Multipath TCP that writes its answer before the third ACK has come sends it only when something
        // else makes it send: over a path of 20 ms a kernel's client waits in vain as well. So where data goes with the SYN,
        // the connection is one of plain TCP.
        let early = fast_open && self.takes_early_data(remote.ip());
        let ruled = self.rules.options(&Subject::outgoing(program.as_ref(), remote));
        let no_multipath = early || ruled.no_multipath;
        let options = settings.options(ConnectOptions { local, fast_open, no_multipath, ..ruled });
        async move {
            let stream = MptcpStream::connect_and_write(&host, remote, options, &data).await?;
            // Whether the program has set TCP_NODELAY shows nowhere on the way of its data, and may change: what it
            // writes is never held back. The pipe to the supervisor gathers what the network does not take at once.
            stream.set_nodelay(true)?;
            Ok(stream)
        }
    }

    fn takes_early_data(&self, remote: IpAddr) -> bool {
        self.host.has_fast_open_cookie(remote.to_canonical())
    }

    fn asks_for_programs(&self) -> bool {
        self.rules.ask_for_programs()
    }

    fn congestion(&self) -> Option<&'static str> {
        Some(self.host.settings().congestion.name())
    }

    fn listen(&self, local: SocketAddr, with: Listen) -> io::Result<Option<MptcpListener>> {
        if !local.ip().is_unspecified() && !self.host.has_address(local.ip().to_canonical()) {
            return Ok(None);
        }
        // The shadow holds the address.
        let policy = (!self.rules.is_empty()).then(|| self.rules.accepting(with.program));
        let options = ListenOptions { backlog: with.backlog, v6only: with.v6_only, held: true, policy };
        let listener = MptcpListener::bind_with(&self.host, local, options)?;
        listener.set_fast_open(with.fast_open)?;
        Ok(Some(listener))
    }

    fn release_port(&self, port: u16) {
        // Where the host has stopped it holds nothing.
        let _ = self.host.release_port(port);
    }

    fn carries(&self, remote: IpAddr) -> bool {
        self.host.carries(remote.to_canonical())
    }

    fn owns(&self, address: IpAddr) -> bool {
        !self.host.is_attached() && self.host.has_address(address)
    }
}

impl NetListener for MptcpListener {
    type Stream = MptcpStream;

    async fn accept(&self) -> io::Result<(MptcpStream, SocketAddr)> {
        let (stream, peer) = MptcpListener::accept(self).await?;
        // As for connections that go out.
        stream.set_nodelay(true)?;
        Ok((stream, peer))
    }
}

impl NetStream for MptcpStream {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        MptcpStream::local_addr(self)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        MptcpStream::peer_addr(self)
    }

    fn abort(&self) {
        // Fails on a stream that has ended, where there is nothing left to reset.
        let _ = MptcpStream::abort(self);
    }

    fn control(&self) -> Option<Arc<dyn Control>> {
        Some(Arc::new(self.handle()))
    }
}

impl Control for ConnectionHandle {
    fn apply(&self, settings: &Settings) {
        let Settings { congestion, keepalive, user_timeout, hop_limit, dscp } = *settings;
        // Each fails on a connection that has ended, where there is nothing left to steer.
        let _ = congestion.map(|congestion| self.set_congestion(congestion));
        let _ = keepalive.map(|keepalive| self.set_keepalive(keepalive));
        let _ = user_timeout.map(|timeout| self.set_user_timeout(timeout));
        let _ = hop_limit.map(|hop_limit| self.set_hop_limit(hop_limit));
        let _ = dscp.map(|dscp| self.set_dscp(dscp));
    }

    fn congestion(&self) -> Option<&'static str> {
        ConnectionHandle::congestion(self).ok()
    }

    fn look(&self) -> Option<Look> {
        let (now, info) = self.info_now().ok()?;
        Some(Look { now, info })
    }
}
