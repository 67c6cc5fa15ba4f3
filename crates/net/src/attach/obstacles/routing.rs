//! VPNs, refusing routes and IPsec: what our packets pass by, or obey.

use std::net::IpAddr;

use super::{Effect, Obstacle};
use crate::attach::AttachOptions;
use crate::attach::discover::{Path, tunnels};
use crate::attach::policy::Selector;
use crate::attach::snapshot::{KernelRoute, Snapshot};

const ROUTING: &str = "ip rule; ip route show table all";

/// What `paths` pass by. Who names none passes by nothing; then it is said what cannot be reached.
pub(super) fn passed_by(snapshot: &Snapshot, options: &AttachOptions, paths: &[Path]) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let named = !options.paths.is_empty();
    if named {
        for path in paths {
            found.extend(beside(snapshot, path));
        }
    } else if !paths.iter().any(|path| path.routes.iter().any(|route| route.prefix_len <= 1))
        && let Some(by) = snapshot.routes.iter().find_map(|route| snapshot.policy.hides(route, &snapshot.routes))
    {
        let what = format!("the host's routing lets nothing out (`{by}`): default routes are not used");
        found.push(Obstacle::of_host(Effect::MayBlock, what, ROUTING.into()));
    }
    let own: Vec<IpAddr> = snapshot.addresses.iter().map(|address| address.addr).collect();
    for Selector { destination: (network, len), .. } in snapshot.policy.ipsec.iter().filter(|s| s.is_for(&own)) {
        let (effect, does) = if named {
            (Effect::GoesAround, "packets go around it")
        } else if *len == 0 {
            (Effect::MayBlock, "all connections are left to the kernel")
        } else {
            (Effect::Note, "connections there are left to the kernel")
        };
        let what = format!("an IPsec policy covers {network}/{len}: {does}");
        found.push(Obstacle::of_host(effect, what, "ip xfrm policy".into()));
    }
    found
}

/// What a path that somebody has named goes around.
fn beside(snapshot: &Snapshot, path: &Path) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let mut say = |what: String| {
        found.push(Obstacle::on(&path.interface, Effect::GoesAround, what, ROUTING.into()));
    };
    let v6 = path.addr.is_ipv6();
    let tunnels = tunnels(snapshot, v6);
    if let Some(tunnel) = tunnels.first()
        && !tunnels.iter().any(|tunnel| tunnel.index == path.index)
    {
        say(format!("packets go around the VPN on {}, which has the default route", tunnel.name));
    }
    let own = |route: &&_| is_of(path, route);
    if let Some(by) = snapshot.routes.iter().filter(own).find_map(|r| snapshot.policy.hides(r, &snapshot.routes)) {
        say(format!("packets go around the host's routing, which lets nothing out (`{by}`)"));
    }
    found
}

fn is_of(path: &Path, route: &KernelRoute) -> bool {
    route.index == path.index && route.destination.is_ipv6() == path.addr.is_ipv6()
}
