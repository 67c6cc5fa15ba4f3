//! `polypath doctor`: what this system has and lacks.

use polypath_net::{
    AttachOptions, Effect, FoundPath, Obstacle, probe_filters, probe_instances, probe_nftables, probe_paths, probe_tun,
};
use std::fs;
use std::io::ErrorKind;
use std::process::ExitCode;

/// Number of the capability in `linux/capability.h`.
const CAP_NET_ADMIN: u32 = 12;
const PRIVILEGES: &str = "sudo polypath …  # in a container: docker run --cap-add NET_ADMIN --device /dev/net/tun …";

/// Say what this system has and lacks, and the command that gives it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// One line of the table.
#[derive(Debug)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    /// The command that gives what is missing, or shows what was found.
    remedy: Option<String>,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum State {
    Ok,
    Missing,
    /// It may not work, or do what nobody wants.
    Warning,
    /// Neither needed nor in the way.
    Note,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, state: State::Ok, found: found.into(), remedy: None }
    }

    fn note(name: &'static str, found: impl Into<String>) -> Check {
        Check { state: State::Note, ..Check::ok(name, found) }
    }

    fn missing(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check { state: State::Missing, remedy: Some(remedy.into()), ..Check::ok(name, found) }
    }
}

pub(crate) fn main(_args: &Args) -> anyhow::Result<ExitCode> {
    let tun = tun();
    let nftables = nftables(tun.state);
    let mut checks = vec![privileges(), kernel(), seccomp(), tun, nftables, instances()];
    checks.extend(paths());
    checks.extend(filters());
    checks.push(mptcp());
    for check in &checks {
        let state = match check.state {
            State::Ok => "ok",
            State::Missing => "MISSING",
            State::Warning => "WARNING",
            State::Note => "-",
        };
        println!("{:<14} {state:<8} {}", check.name, check.found);
        if let Some(remedy) = &check.remedy {
            println!("{:<14} {:<8} > {remedy}", "", "");
        }
    }
    let missing = checks.iter().filter(|check| check.state == State::Missing).count();
    if missing == 0 {
        println!("\nReady: polypath run -- PROGRAM");
        return Ok(ExitCode::SUCCESS);
    }
    println!("\n{missing} missing. The commands behind > give it, or show what is in the way.");
    Ok(ExitCode::FAILURE)
}

fn privileges() -> Check {
    const NAME: &str = "privileges";
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    if bits & (1 << CAP_NET_ADMIN) != 0 {
        Check::ok(NAME, "CAP_NET_ADMIN")
    } else {
        Check::missing(NAME, "CAP_NET_ADMIN is needed for the device and the nftables table", PRIVILEGES)
    }
}

fn kernel() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // Whether it is recent enough is said by the next check, which has to know.
    Check::note("kernel", format!("Linux {} (5.14 or later is needed)", release.trim()))
}

fn seccomp() -> Check {
    const NAME: &str = "seccomp";
    match polypath_run::preflight() {
        Ok(()) => Check::ok(NAME, "user notification"),
        Err(missing) => Check::missing(NAME, missing.sentence, missing.command),
    }
}

fn tun() -> Check {
    const NAME: &str = "/dev/net/tun";
    match probe_tun() {
        Ok(()) => Check::ok(NAME, "a device can be made"),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Check::missing(NAME, error.to_string(), PRIVILEGES)
        }
        Err(error) => Check::missing(
            NAME,
            error.to_string(),
            "sudo modprobe tun  # in a container: docker run --device /dev/net/tun …",
        ),
    }
}

fn nftables(tun: State) -> Check {
    const NAME: &str = "nftables";
    if tun == State::Missing {
        return Check::note(NAME, "cannot be tried without a TUN device");
    }
    match probe_nftables() {
        Ok(()) => Check::ok(NAME, "netdev tables with an owner, and fwd (the nft program is not needed)"),
        Err(error) => Check::missing(NAME, error.to_string(), "sudo modprobe -a nf_tables nft_fwd_netdev"),
    }
}

fn instances() -> Check {
    const NAME: &str = "instances";
    match probe_instances() {
        Ok((0, running)) => Check::missing(
            NAME,
            format!("{running} others run, and use all ports set aside"),
            "ss -tanp; pgrep -a polypath",
        ),
        Ok((_, 0)) => Check::ok(NAME, "no other runs"),
        Ok((free, running)) => Check::ok(NAME, format!("{running} run, {free} more may")),
        Err(error) => Check::missing(NAME, error.to_string(), "ss -tanp"),
    }
}

/// The paths, the VPN among them, and what of the host's stands in their way.
fn paths() -> Vec<Check> {
    const NAME: &str = "paths";
    let (paths, obstacles) = match probe_paths(&AttachOptions::default()) {
        Ok(found) => found,
        Err(error) => return vec![Check::missing(NAME, error.to_string(), "ip address; ip route")],
    };
    let say = |path: &FoundPath| {
        let reach = if path.has_default_route { "" } else { ", no default route" };
        format!("{} {} (MTU {}{reach})", path.interface, path.addr, path.mtu)
    };
    let mut checks = vec![Check::ok(NAME, paths.iter().map(say).collect::<Vec<_>>().join(", "))];
    checks.push(match paths.iter().find(|path| path.tunnel) {
        Some(vpn) => Check::note("VPN", format!("{} is used; to go beside it: --path IFACE", vpn.interface)),
        None => Check::ok("VPN", "none has the default route"),
    });
    if obstacles.is_empty() {
        checks.push(Check::ok("in the way", "no tc filter, XDP program or nftables chain at these interfaces"));
    }
    checks.extend(obstacles.into_iter().map(|obstacle| obstructed("in the way", obstacle)));
    checks
}

/// The host's firewall, which is passed by.
fn filters() -> Vec<Check> {
    let found = probe_filters();
    if found.is_empty() {
        return vec![Check::ok("host filters", "none is passed by")];
    }
    found.into_iter().map(|obstacle| obstructed("host filters", obstacle)).collect()
}

fn obstructed(name: &'static str, obstacle: Obstacle) -> Check {
    let state = if obstacle.effect == Effect::Note { State::Note } else { State::Warning };
    let interface = obstacle.interface.map_or_else(String::new, |interface| interface + ": ");
    Check { name, state, found: interface + &obstacle.what, remedy: Some(obstacle.look) }
}

fn mptcp() -> Check {
    let kernels = match fs::read_to_string("/proc/sys/net/mptcp/enabled").as_deref().map(str::trim) {
        Ok("1") => "on",
        Ok(_) => "off",
        Err(_) => "not there",
    };
    Check::note("kernel MPTCP", format!("{kernels}, and not needed: the peer speaks it, here polypath does"))
}
