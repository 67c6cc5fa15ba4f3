//! The options that say what stack there is: its TUN device, its addresses, its taste.

use anyhow::Context as _;
use polypath_net::{AttachOptions, Effect, Host, PathOptions};
use polypath_proto::Config;
use polypath_proto::congestion::CongestionKind;
use polypath_proto::path_manager::PathManagerKind;
use polypath_proto::scheduler::SchedulerKind;
use std::net::IpAddr;
use std::str::FromStr;

/// Of `run` and `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct HostArgs {
    /// Name of the TUN device to make (`%d` becomes a number).
    #[arg(long, default_value = "pp%d")]
    pub(crate) tun: String,
    /// An interface to use, as it is; repeat for each. Only as a backup, or in this order (the smallest number first).
    /// Without this and --address: every interface with a default route.
    #[arg(long = "path", value_name = "IFACE[:backup|:prio=N]", conflicts_with = "addresses")]
    pub(crate) paths: Vec<Path>,
    /// An address that is routed to this host and not the kernel's own, the name of its path, and whether it is only
    /// a backup; repeat for each path.
    #[arg(long = "address", value_name = "ADDRESS[=NAME][:backup]")]
    pub(crate) addresses: Vec<Address>,
    /// Largest packet on the paths of --address, in bytes; interfaces have their own.
    #[arg(long, default_value_t = 1500)]
    pub(crate) mtu: u32,
    /// Congestion control: cubic, reno, bbr (version 1, paced); coupled: lia, olia, balia, wvegas.
    #[arg(long, value_name = "NAME", default_value = "cubic")]
    pub(crate) cc: CongestionKind,
    /// Packet scheduler.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) scheduler: SchedulerKind,
    /// Which subflows there are: subflow (one from each address), fullmesh, signal, backup, ndiffports[:N], laminar,
    /// single-path or external.
    #[arg(long, value_name = "NAME", default_value = "subflow")]
    pub(crate) path_manager: PathManagerKind,
    /// At most this many subflows for a connection, 1 to 64.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) max_subflows: u8,
    /// Ask for checksums over the data: they show where a middlebox changes it.
    #[arg(long)]
    pub(crate) dss_checksum: bool,
    /// Speak plain TCP only.
    #[arg(long)]
    pub(crate) no_multipath: bool,
}

/// `ADDRESS[=NAME][:backup]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    addr: IpAddr,
    name: Option<String>,
    backup: bool,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (text, backup) = match text.strip_suffix(":backup") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (addr, name) = match text.split_once('=') {
            Some((addr, name)) if !name.is_empty() => (addr, Some(name.to_owned())),
            Some(_) => return Err("the path's name after '=' is empty".into()),
            None => (text, None),
        };
        let addr = addr.parse().map_err(|_| format!("'{addr}' is neither an IPv4 nor an IPv6 address"))?;
        Ok(Address { addr, name, backup })
    }
}

/// `IFACE[:backup|:prio=N]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path(PathOptions);

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // An interface's name cannot hold a colon but for an alias, and those have no addresses of their own.
        let mut parts = text.split(':');
        let interface = parts.next().filter(|name| (1..=15).contains(&name.len()));
        let mut path = PathOptions::new(interface.ok_or("an interface's name has 1 to 15 bytes")?);
        for part in parts {
            match (part, part.strip_prefix("prio=").map(str::parse)) {
                ("backup", _) => path.backup = true,
                (_, Some(Ok(priority))) => path.priority = Some(priority),
                _ => return Err(format!("':{part}' is neither ':backup' nor ':prio=N' with a number")),
            }
        }
        Ok(Path(path))
    }
}

impl HostArgs {
    /// Starts the stack in the current network namespace.
    pub(crate) fn start(&self) -> anyhow::Result<Host> {
        let config = Config {
            multipath: !self.no_multipath,
            dss_checksum: self.dss_checksum,
            congestion: self.cc,
            scheduler: self.scheduler.clone(),
            path_manager: self.path_manager.clone(),
            max_subflows: self.max_subflows.into(),
            ..Config::default()
        };
        let mut builder = Host::builder().tun(self.tun.as_str()).mtu(self.mtu).config(config);
        if self.addresses.is_empty() {
            let paths = self.paths.iter().map(|path| path.0.clone()).collect();
            builder = builder.attach(AttachOptions { paths });
        }
        for address in &self.addresses {
            builder = builder.address(address.addr, address.name.as_deref(), address.backup);
        }
        let host = builder.start().context("the stack cannot start (`polypath doctor` says what this system lacks)")?;
        for obstacle in host.obstacles().iter().filter(|obstacle| obstacle.effect != Effect::Note) {
            eprintln!("polypath: warning: {obstacle}");
        }
        Ok(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_be_a_backup_and_have_a_priority() {
        let parse = |text: &str| text.parse::<Path>().map(|path| (path.0.interface, path.0.backup, path.0.priority));
        assert_eq!(parse("wlan0"), Ok(("wlan0".into(), false, None)));
        assert_eq!(parse("wwan0:backup"), Ok(("wwan0".into(), true, None)));
        assert_eq!(parse("eth0:prio=2"), Ok(("eth0".into(), false, Some(2))));
        assert!(parse("eth0:prio=x").unwrap_err().contains("prio=x"));
        assert!(parse("").is_err());
    }

    #[test]
    fn an_address_may_have_a_name_and_be_a_backup() {
        let parsed: Address = "10.1.0.2=wifi:backup".parse().unwrap();
        assert_eq!(parsed, Address { addr: "10.1.0.2".parse().unwrap(), name: Some("wifi".into()), backup: true });
        let parsed: Address = "fd00:1::2=lte".parse().unwrap();
        assert_eq!(parsed, Address { addr: "fd00:1::2".parse().unwrap(), name: Some("lte".into()), backup: false });
        assert_eq!("wifi".parse::<Address>(), Err("'wifi' is neither an IPv4 nor an IPv6 address".into()));
    }
}
