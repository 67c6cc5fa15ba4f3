//! The two hosts of a cell: addresses, kernel parameters, the kernel's endpoints.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use polypath_lab::link::Rate;
use polypath_lab::scenario::{SERVER_V4, SERVER_V6, client_v4, client_v6};
use polypath_lab::{Namespace, Owner, PathSpec, Scenario};

use crate::cell::{Backup, CFlag, Cell, Checksum, Cookies, Event, Fallback, Family, Joins};

pub(crate) const PORT: u16 = 5001;
/// Of an address that is announced with a port.
pub(crate) const OTHER_PORT: u16 = 5002;
/// The kernel's endpoint for its second address.
const ENDPOINT: u8 = 7;

/// A scenario for a cell: its kernel has what the cell wants, its other host waits for a stack.
pub(crate) struct Network {
    cell: Cell,
    scenario: Scenario,
}

impl Network {
    pub(crate) fn build(cell: Cell) -> anyhow::Result<Self> {
        let (client, server) = match cell.polypath_serves() {
            true => (Owner::Kernel, Owner::Stack),
            false => (Owner::Stack, Owner::Kernel),
        };
        let ms = Duration::from_millis;
        let scenario = Scenario::builder()
            .client(client)
            .server(server)
            .path(PathSpec::new("wifi", Rate::mbit(200), ms(2), ms(20)))
            .path(PathSpec::new("lte", Rate::mbit(200), ms(4), ms(20)))
            .build()?;
        let network = Self { cell, scenario };
        network.set_parameters().context("kernel parameters")?;
        network.set_endpoints().context("endpoints")?;
        if cell.fallback == Fallback::Stripped {
            network.strip_options()?;
        }
        Ok(network)
    }

    /// The kernel's host.
    pub(crate) fn kernel(&self) -> &Namespace {
        if self.cell.polypath_serves() { self.scenario.client() } else { self.scenario.server() }
    }

    /// The host that polypath shall run on.
    pub(crate) fn polypath(&self) -> &Namespace {
        if self.cell.polypath_serves() { self.scenario.server() } else { self.scenario.client() }
    }

    /// Takes the second address away, or turns its backup flag over. The kernel tells its peer.
    pub(crate) fn change_endpoint(&self) -> anyhow::Result<()> {
        let now_backup =
            self.cell.backup == Backup::Yes && self.cell.client_owns_backup() == self.cell.polypath_serves();
        let flag = if now_backup { "nobackup" } else { "backup" };
        // A flag that is not named is taken away.
        let fullmesh = if self.cell.polypath_serves() && self.cell.joins == Joins::FullMesh { " fullmesh" } else { "" };
        let line = match self.cell.event {
            Event::KernelRemoves => format!("mptcp endpoint delete id {ENDPOINT}\n"),
            _ => format!("mptcp endpoint change id {ENDPOINT} {flag}{fullmesh}\n"),
        };
        Ok(self.kernel().ip(&line)?)
    }

    fn set_parameters(&self) -> anyhow::Result<()> {
        let mut parameters = Vec::new();
        if self.cell.joins == Joins::AnnouncedPort && self.cell.family != Family::V4 {
            // Address, port and HMAC leave no room for them, and Linux would rather not announce (AddAddrTxDrop).
            parameters.push(("net/ipv4/tcp_timestamps", "0"));
        }
        if self.cell.checksum == Checksum::Kernel {
            parameters.push(("net/mptcp/checksum_enabled", "1"));
        }
        if !self.cell.polypath_serves() {
            if self.cell.c_flag == CFlag::Yes {
                parameters.push(("net/mptcp/allow_join_initial_addr_port", "0"));
            }
            if self.cell.cookies == Cookies::Yes {
                // Always, not only when the queue is full.
                parameters.push(("net/ipv4/tcp_syncookies", "2"));
            }
        }
        Ok(self.kernel().set_parameters(&parameters)?)
    }

    /// The kernel's second address, and what it shall do with it.
    fn set_endpoints(&self) -> anyhow::Result<()> {
        let cell = &self.cell;
        let mut v4 = String::from("mptcp endpoint flush\n");
        let mut v6 = String::new();
        if !cell.polypath_serves() {
            v4.push_str("addr add 10.9.0.2/32 dev lo\n");
            v6.push_str("addr add fd00:9::2/128 dev lo nodad\n");
        }
        let with_port = format!("signal port {OTHER_PORT}");
        let (address, device, what) = match (cell.polypath_serves(), cell.joins) {
            (true, Joins::ClientAddresses) => (client(cell, 1), "lte0", "subflow"),
            (true, Joins::FullMesh) => (client(cell, 1), "lte0", "subflow fullmesh"),
            (false, Joins::Announced | Joins::FullMesh) => (server(cell, 1), "lo", "signal"),
            (false, Joins::AnnouncedPort) => (server(cell, 1), "lo", with_port.as_str()),
            _ => {
                self.kernel().ip(&v4)?;
                return Ok(self.kernel().ip_v6(&v6)?);
            }
        };
        let backup = cell.backup == Backup::Yes && cell.client_owns_backup() == cell.polypath_serves();
        let backup = if backup { " backup" } else { "" };
        self.kernel().ip_v6(&v6)?;
        let _ = writeln!(v4, "mptcp endpoint add {address} dev {device} id {ENDPOINT} {what}{backup}");
        if cell.polypath_serves() && cell.joins == Joins::FullMesh {
            // The first address takes part too.
            let _ = writeln!(v4, "mptcp endpoint add {} dev wifi0 subflow fullmesh", client(cell, 0));
        }
        Ok(self.kernel().ip(&v4)?)
    }

    /// Removes MPTCP options from all that comes in and goes out.
    fn strip_options(&self) -> anyhow::Result<()> {
        let rules = "table inet middlebox {
            chain in { type filter hook prerouting priority 0; reset tcp option mptcp; }
            chain out { type filter hook postrouting priority 0; reset tcp option mptcp; }
        }";
        let status = self.kernel().command("nft").arg(rules).status().context("cannot start nft")?;
        anyhow::ensure!(status.success(), "nft failed");
        Ok(())
    }
}

fn is_v4(cell: &Cell, number: usize) -> bool {
    match cell.family {
        Family::V4 => true,
        Family::V6 => false,
        Family::Mixed => number == 0,
    }
}

/// The client's addresses: number 0 starts the connection.
pub(crate) fn client(cell: &Cell, number: usize) -> IpAddr {
    // Linux joins an announced address from the one that its routes choose: here that of the first path.
    let path = if cell.polypath_serves() && cell.joins != Joins::FullMesh && cell.announces() { 0 } else { number };
    if is_v4(cell, number) { client_v4(path).into() } else { client_v6(path).into() }
}

/// The server's addresses: number 0 is connected to.
pub(crate) fn server(cell: &Cell, number: usize) -> IpAddr {
    match (number, is_v4(cell, number)) {
        (0, true) => SERVER_V4.into(),
        (0, false) => SERVER_V6.into(),
        (_, true) => IpAddr::from([10, 9, 0, 2]),
        (_, false) => IpAddr::from([0xfd00, 9, 0, 0, 0, 0, 0, 2]),
    }
}

/// Where the client connects to. A kernel socket that shall have subflows of both families is one of IPv6.
pub(crate) fn connect_to(cell: &Cell) -> SocketAddr {
    match server(cell, 0) {
        IpAddr::V4(v4) if cell.family == Family::Mixed && cell.polypath_serves() => {
            SocketAddr::new(v4.to_ipv6_mapped().into(), PORT)
        }
        address => SocketAddr::new(address, PORT),
    }
}

/// Both ends of a subflow: the client's address, and the server's.
pub(crate) fn ends(cell: &Cell, subflow: (usize, usize)) -> (IpAddr, IpAddr) {
    (client(cell, subflow.0), server(cell, subflow.1))
}
