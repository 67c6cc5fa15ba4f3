//! The options that say what stack there is: its TUN device, its addresses, its taste.

use anyhow::Context as _;
use polypath_net::Host;
use polypath_proto::Config;
use polypath_proto::congestion::CongestionKind;
use polypath_proto::scheduler::SchedulerKind;
use std::net::IpAddr;
use std::str::FromStr;

/// Of `run` and `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct HostArgs {
    /// Name of the TUN device to make (`%d` becomes a number).
    #[arg(long, default_value = "pp%d")]
    pub(crate) tun: String,
    /// An address of the stack, the name of its path, and whether it is only a backup; repeat for each path.
    #[arg(long = "address", value_name = "ADDRESS[=NAME][:backup]", required = true)]
    pub(crate) addresses: Vec<Address>,
    /// Largest packet on the paths, in bytes.
    #[arg(long, default_value_t = 1500)]
    pub(crate) mtu: u32,
    /// Congestion control.
    #[arg(long, value_name = "NAME", default_value = "cubic")]
    pub(crate) cc: CongestionKind,
    /// Packet scheduler.
    #[arg(long, value_name = "NAME", default_value = "minrtt")]
    pub(crate) scheduler: SchedulerKind,
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

impl HostArgs {
    /// Starts the stack in the current network namespace.
    pub(crate) fn start(&self) -> anyhow::Result<Host> {
        let config = Config {
            multipath: !self.no_multipath,
            congestion: self.cc,
            scheduler: self.scheduler,
            ..Config::default()
        };
        let mut builder = Host::builder().tun(self.tun.as_str()).mtu(self.mtu).config(config);
        for address in &self.addresses {
            builder = builder.address(address.addr, address.name.as_deref(), address.backup);
        }
        builder.start().context("starting the stack")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_a_name_and_be_a_backup() {
        let parsed: Address = "10.1.0.2=wifi:backup".parse().unwrap();
        assert_eq!(parsed, Address { addr: "10.1.0.2".parse().unwrap(), name: Some("wifi".into()), backup: true });
        let parsed: Address = "fd00:1::2=lte".parse().unwrap();
        assert_eq!(parsed, Address { addr: "fd00:1::2".parse().unwrap(), name: Some("lte".into()), backup: false });
        assert_eq!("wifi".parse::<Address>(), Err("'wifi' is neither an IPv4 nor an IPv6 address".into()));
    }
}
