//! The options that say what stack there is: its TUN device, its addresses, its taste.

use anyhow::{Context as _, bail};
use clap::ArgAction;
use polypath_config::{Metered, MeteredPath, Rule, Rules};
use polypath_net::{AttachOptions, Effect, Host, PathOptions};
use polypath_proto::congestion::CongestionKind;
use polypath_proto::path_manager::PathManagerKind;
use polypath_proto::scheduler::SchedulerKind;
use polypath_proto::{Config, PathName};
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// Of `run` and `serve`. A line of help has room for one line of a screen; docs/configuration.md says the rest.
#[derive(Debug, clap::Args)]
pub(crate) struct HostArgs {
    /// The file with settings; none: read none
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Name of the TUN device
    #[arg(long, value_name = "NAME", default_value = "pp%d", hide_default_value = true)]
    pub(crate) tun: String,
    /// Use interface NAME[:backup][:metered][:prio=N]
    #[arg(long = "path", value_name = "PATH", conflicts_with = "addresses")]
    pub(crate) paths: Vec<Path>,
    /// Or address ADDRESS[=NAME][:backup][:metered]
    #[arg(long = "address", value_name = "ADDRESS")]
    pub(crate) addresses: Vec<Address>,
    /// Largest packet on the paths of --address, in bytes; interfaces have their own
    #[arg(long, default_value_t = 1500, hide = true)]
    pub(crate) mtu: u32,
    /// Metered paths: backup (the default), never, use
    #[arg(long, value_name = "USE", default_value = "backup", hide_default_value = true)]
    pub(crate) metered: Metered,
    /// Congestion control: cubic, bbr, lia, olia, ...
    #[arg(long, value_name = "NAME", default_value = "cubic", hide_default_value = true)]
    pub(crate) cc: CongestionKind,
    /// Packet scheduler: default, redundant, ecf, ...
    #[arg(long, value_name = "NAME", default_value = "default", hide_default_value = true)]
    pub(crate) scheduler: SchedulerKind,
    /// Which subflows there are: subflow, backup, ...
    #[arg(long, value_name = "NAME", default_value = "subflow", hide_default_value = true)]
    pub(crate) path_manager: PathManagerKind,
    /// At most so many for a connection, 1 to 64 (8)
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    #[arg(hide_default_value = true)]
    pub(crate) max_subflows: u8,
    /// Ask for checksums over the data
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    #[arg(action = ArgAction::Set, value_name = "BOOL", hide_default_value = true, hide_possible_values = true)]
    pub(crate) dss_checksum: bool,
    /// Speak plain TCP only
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    #[arg(action = ArgAction::Set, value_name = "BOOL", hide_default_value = true, hide_possible_values = true)]
    pub(crate) no_multipath: bool,
    /// Some differ: 'program = "curl", cc = "lia"'
    #[arg(long = "rule", value_name = "RULE")]
    pub(crate) rules: Vec<Rule>,
    /// Say which rule applies to each connection
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    #[arg(action = ArgAction::Set, value_name = "BOOL", hide_default_value = true, hide_possible_values = true)]
    pub(crate) explain_rules: bool,
}

/// `ADDRESS[=NAME][:backup][:metered]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    addr: IpAddr,
    name: Option<String>,
    backup: bool,
    metered: bool,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut text, mut backup, mut metered) = (text, false, false);
        loop {
            if let Some(rest) = text.strip_suffix(":backup") {
                (text, backup) = (rest, true);
            } else if let Some(rest) = text.strip_suffix(":metered") {
                (text, metered) = (rest, true);
            } else {
                break;
            }
        }
        let (addr, name) = match text.split_once('=') {
            Some((addr, name)) if !name.is_empty() => (addr, Some(name.to_owned())),
            Some(_) => return Err("the path's name after '=' is empty".into()),
            None => (text, None),
        };
        let addr = addr.parse().map_err(|_| format!("'{addr}' is neither an IPv4 nor an IPv6 address"))?;
        Ok(Address { addr, name, backup, metered })
    }
}

/// `IFACE[:backup][:metered][:prio=N]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    options: PathOptions,
    metered: bool,
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // An interface's name cannot hold a colon but for an alias, and those have no addresses of their own.
        let mut parts = text.split(':');
        let interface = parts.next().filter(|name| (1..=15).contains(&name.len()));
        let mut options = PathOptions::new(interface.ok_or("an interface's name has 1 to 15 bytes")?);
        let mut metered = false;
        for part in parts {
            match (part, part.strip_prefix("prio=").map(str::parse)) {
                ("backup", _) => options.backup = true,
                ("metered", _) => metered = true,
                (_, Some(Ok(priority))) => options.priority = Some(priority),
                _ => return Err(format!("unknown ':{part}'; known: :backup, :metered, :prio=N with a number")),
            }
        }
        Ok(Path { options, metered })
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
            let path =
                |p: &Path| PathOptions { backup: self.is_backup(p.options.backup, p.metered), ..p.options.clone() };
            let paths = self.paths.iter().map(path).collect();
            builder = builder.attach(AttachOptions { paths });
        }
        for address in &self.addresses {
            let backup = self.is_backup(address.backup, address.metered);
            builder = builder.address(address.addr, address.name.as_deref(), backup);
        }
        let host = builder.start().context("the stack cannot start (`polypath doctor` says what this system lacks)")?;
        for obstacle in host.obstacles().iter().filter(|obstacle| obstacle.effect != Effect::Note) {
            eprintln!("polypath: warning: {obstacle}");
        }
        Ok(host)
    }

    fn is_backup(&self, backup: bool, metered: bool) -> bool {
        backup || (metered && self.metered == Metered::Backup)
    }

    /// The rules for connections, those of flags before those of the file.
    pub(crate) fn rules(&self) -> anyhow::Result<Arc<Rules>> {
        let interfaces = self.paths.iter().filter(|p| p.metered);
        let interfaces = interfaces.map(|p| (PathName::Name(p.options.interface.as_str().into()), p.options.backup));
        // Rules may know it by either.
        let both = |a: &Address| {
            let name = a.name.as_deref().map(|name| PathName::Name(name.into()));
            name.into_iter().chain([PathName::Address(a.addr)])
        };
        let addresses = self.addresses.iter().filter(|a| a.metered);
        let addresses = addresses.flat_map(|a| both(a).map(|path| (path, a.backup)));
        let metered = interfaces.chain(addresses).map(|(path, backup)| MeteredPath { path, backup }).collect();
        let mut rules = Rules::new(self.rules.clone(), metered, self.metered);
        if let Some((rule, path)) = rules.unknown_path(|path| self.may_be_a_path(path)) {
            let interfaces = self.paths.iter().map(|p| p.options.interface.clone());
            let addresses = self.addresses.iter().map(|a| a.name.clone().unwrap_or_else(|| a.addr.to_string()));
            let known: Vec<String> = interfaces.chain(addresses).collect();
            bail!("{}: there is no path {path}; known: {}", rule.at, known.join(", "));
        }
        if self.explain_rules {
            rules = rules.on_decision(|line| eprintln!("polypath: {line}"));
        }
        Ok(Arc::new(rules))
    }

    /// Interfaces that nobody names may come later, and so may addresses of an interface.
    fn may_be_a_path(&self, path: &PathName) -> bool {
        let named = |a: &Address| path.means(a.addr, a.name.as_deref());
        match path {
            _ if !self.addresses.is_empty() => self.addresses.iter().any(named),
            PathName::Address(_) => true,
            PathName::Name(name) => self.paths.is_empty() || self.paths.iter().any(|p| p.options.interface == **name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_be_a_backup_and_metered_and_have_a_priority() {
        let of = |path: Path| (path.options.interface, path.options.backup, path.metered, path.options.priority);
        let parse = |text: &str| text.parse::<Path>().map(of);
        assert_eq!(parse("wlan0"), Ok(("wlan0".into(), false, false, None)));
        assert_eq!(parse("wwan0:backup"), Ok(("wwan0".into(), true, false, None)));
        assert_eq!(parse("eth0:metered:prio=2"), Ok(("eth0".into(), false, true, Some(2))));
        assert!(parse("eth0:prio=x").unwrap_err().contains("prio=x"));
        assert_eq!(
            parse("eth0:meterd").unwrap_err(),
            "unknown ':meterd'; known: :backup, :metered, :prio=N with a number"
        );
        assert!(parse("").is_err());
    }

    #[test]
    fn an_address_may_have_a_name_and_be_a_backup_and_metered() {
        let address = |addr: &str, name: Option<&str>| {
            let (addr, name) = (addr.parse().unwrap(), name.map(str::to_owned));
            Address { addr, name, backup: false, metered: false }
        };
        let parsed: Address = "10.1.0.2=wifi:backup".parse().unwrap();
        assert_eq!(parsed, Address { backup: true, ..address("10.1.0.2", Some("wifi")) });
        let parsed: Address = "fd00:1::2=lte:metered:backup".parse().unwrap();
        assert_eq!(parsed, Address { backup: true, metered: true, ..address("fd00:1::2", Some("lte")) });
        assert_eq!("fd00:1::2:metered".parse(), Ok(Address { metered: true, ..address("fd00:1::2", None) }));
        assert_eq!("wifi".parse::<Address>(), Err("'wifi' is neither an IPv4 nor an IPv6 address".into()));
    }
}
