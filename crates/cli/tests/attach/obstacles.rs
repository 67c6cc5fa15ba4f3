//! What of the host's stands in the way, or is passed by: it is named, left as it is, and avoided where that can be.

use crate::world::{Families, World, check_same, stop};
use polypath_lab::link::Rate;
use polypath_lab::{Owner, PathSpec, Scenario};
use std::time::Duration;

const BYTES: u64 = 5_000_000;

/// What blocks u1 for certain is named, and u2 alone is used; where it blocks u2 too, polypath refuses.
fn blocked(name: &str, block: impl Fn(&World, &str), named: &str) {
    let world = World::new(name, Families::V4, 2, 200);
    block(&world, "u1");
    let before = world.state();
    let (well, said) = world.fetch(&[], BYTES);
    assert!(well && said.contains(&format!("warning: u1: {named}")), "{said}");
    assert!(world.received("u2") > BYTES && world.received("u1") < 20_000);
    let (well, said) = world.polypath(&["doctor"]);
    assert!(well && said.contains("WARNING") && said.contains(&format!("u1: {named}")), "{said}");
    check_same(&before, &world.state());

    block(&world, "u2");
    let (well, said) = world.fetch(&[], BYTES);
    assert!(!well && said.contains("u1 is blocked, u2 is blocked") && said.contains(&format!("u2: {named}")), "{said}");
    assert!(said.contains("polypath doctor"), "{said}");
    let (well, said) = world.polypath(&["doctor"]);
    assert!(!well && said.contains("MISSING") && said.contains(&format!("u1: {named}")), "{said}");
}

#[test]
fn an_uplink_whose_egress_chain_drops_is_not_used() {
    let block = |world: &World, uplink: &str| {
        let chain = format!("chain {uplink} {{ type filter hook egress device {uplink} priority 0; policy drop; }}");
        world.nft(&format!("table netdev wall {{ {chain}; }}"));
    };
    blocked("egress", block, "the nftables chain `netdev wall u");
}

/// It is how many shape what they receive; the kernel's own sockets do not notice.
#[test]
fn an_uplink_that_is_shaped_through_an_ifb_is_not_used() {
    let block = |world: &World, uplink: &str| {
        add_ifb(world, uplink);
        shape(world, uplink);
    };
    blocked("ifb", block, "a tc filter (u32) sends past polypath, for shaping, what comes in there");
}

#[test]
fn shaping_that_begins_under_a_download_ends_the_use_of_the_uplink() {
    let world = World::new("shaping", Families::V4, 2, 100);
    // Early, so that it is not the news of it that polypath hears.
    add_ifb(&world, "u1");
    let mut download = world.download(&[], "10.9.0.1", 40_000_000);
    download.reach(10);
    download.uses("u1");
    shape(&world, "u1");
    world.sees_removed("10.1.0.2");
    download.finish();
}

fn add_ifb(world: &World, uplink: &str) {
    world.host.ip(&format!("link add ifb-{uplink} type ifb\nlink set ifb-{uplink} up\n")).expect("an ifb");
}

fn shape(world: &World, uplink: &str) {
    world.tc(&format!("qdisc add dev {uplink} ingress"));
    let shape = format!("u32 match u32 0 0 action mirred egress redirect dev ifb-{uplink}");
    world.tc(&format!("filter add dev {uplink} parent ffff: protocol all {shape}"));
}

#[test]
fn what_may_block_an_uplink_is_named_and_the_uplink_is_tried() {
    let world = World::new("may", Families::V4, 2, 200);
    world.nft(
        "table netdev wall { chain in { type filter hook ingress device u1 priority -5; policy drop; \
         meta protocol arp accept; ip saddr 192.0.2.1 accept; }; }",
    );
    world.tc("qdisc add dev u1 clsact");
    // A program that drops everything, which cannot be seen from outside.
    let drops = ["filter", "add", "dev", "u1", "egress", "bpf", "bytecode", "1,6 0 0 2,", "da"];
    assert!(world.host.command("tc").args(drops).status().expect("tc").success());
    let before = world.state();
    // What begins on u2 does not need u1.
    let (well, said) = world.fetch(&["--path", "u2", "--path", "u1", "--summary"], BYTES);
    assert!(well && said.contains("warning: u1: the nftables chain `netdev wall in` drops all but some"), "{said}");
    assert!(said.contains("warning: u1: a tc filter (bpf) may drop or redirect what goes out there"), "{said}");
    // What begins on u1 gets no answer.
    let (well, said) = world.fetch(&["--path", "u1", "--summary"], BYTES);
    assert!(!well && said.contains("never established: see `polypath doctor`"), "{said}");
    check_same(&before, &world.state());
}

/// As ufw and Docker leave a host, only stricter: nothing may leave but what is not ours to send.
#[test]
fn the_hosts_firewall_is_passed_by_and_left_as_it_is() {
    let world = World::new("firewall", Families::Both, 2, 200);
    let rules = "table inet filter {
          chain input { type filter hook input priority 0; policy drop; icmpv6 type != echo-request accept; }
          chain output { type filter hook output priority 0; policy drop; icmpv6 type != echo-request accept; }
          chain forward { type filter hook forward priority 0; policy drop; }
        }
        table ip nat {
          chain docker { iifname docker0 return; tcp dport 80 dnat to 172.17.0.2; }
          chain prerouting { type nat hook prerouting priority dstnat; fib daddr type local jump docker; }
          chain output { type nat hook output priority -100; fib daddr type local jump docker; }
          chain postrouting { type nat hook postrouting priority srcnat; oifname != lo masquerade; }
        }";
    world.nft(rules);
    let before = world.state();
    let (well, said) = world.fetch(&[], BYTES);
    assert!(well && !said.contains("warning"), "{said}");
    assert!(world.counters().get("MPJoinAckRx") >= 1);
    check_same(&before, &world.state());
    let (well, said) = world.polypath(&["doctor"]);
    for way in ["output", "input"] {
        let row = format!("the host's {way} filter `inet filter {way}` does not see polypath's packets");
        assert!(well && said.contains(&row), "{said}");
    }
    check_same(&before, &world.state());
}

/// A VPN that has gone, and what is to keep everything in until it is back.
#[test]
fn a_kill_switch_holds_unless_interfaces_are_named() {
    let world = World::new("kill-switch", Families::V4, 1, 200);
    world.host.ip("route add blackhole default metric 50\n").expect("ip");
    let before = world.state();
    let (well, said) = world.fetch(&[], BYTES);
    assert!(!well && said.contains("the host's routing lets nothing out (`blackhole default`)"), "{said}");
    assert!(world.received("u1") < 20_000, "it has leaked");
    let (well, said) = world.polypath(&["doctor"]);
    assert!(well && said.contains("u1 10.1.0.2 (MTU 1500, no default route)") && said.contains("WARNING"), "{said}");
    let (well, said) = world.fetch(&["--path", "u1"], BYTES);
    assert!(well && said.contains("warning: u1: packets go around the host's routing"), "{said}");
    check_same(&before, &world.state());
}

#[test]
fn what_ipsec_covers_is_left_to_the_kernel() {
    let world = World::new("ipsec", Families::V4, 1, 200);
    world.host.ip("xfrm policy add dir out src 0.0.0.0/0 dst 10.9.0.0/24 action block\n").expect("ip");
    let (well, said) = world.fetch(&[], BYTES);
    assert!(!well && world.received("u1") < 20_000, "{said}");
    let (well, said) = world.polypath(&["doctor"]);
    assert!(
        well && said.contains("IPsec policy covers 10.9.0.0/24: connections there are left to the kernel"),
        "{said}"
    );
    let (well, said) = world.fetch(&["--path", "u1"], BYTES);
    assert!(well && said.contains("an IPsec policy covers 10.9.0.0/24: packets go around it"), "{said}");
}

/// The VPN is the lab's emulated link: a TUN device with a default route in a table of its own, as wg-quick does.
#[test]
fn where_a_vpn_has_the_default_route_nothing_goes_beside_it() {
    let ms = Duration::from_millis;
    let vpn = PathSpec::new("vpn", Rate::mbit(100), ms(4), ms(30));
    let scenario =
        Scenario::builder().client(Owner::Kernel).server(Owner::Kernel).path(vpn).build().expect("a scenario");
    let world = World::around(scenario.client().clone(), scenario.server().clone(), "vpn");
    let peer = world.server.command("sleep").arg("1000").spawn().expect("sleep");
    let uplink = format!(
        "link add u1 type veth peer name s1 netns {}\nlink set u1 up\naddr add 10.7.0.2/24 dev u1\n\
         route add default via 10.7.0.1 dev u1 metric 100\n",
        peer.id()
    );
    world.host.ip(&uplink).expect("an uplink");
    stop(peer);
    world.server.ip("link set s1 up\naddr add 10.7.0.1/24 dev s1\n").expect("the server's side");
    world.download(&[], "10.9.0.1", 5_000_000).finish();
    assert!(world.received("vpn0") > 5_000_000);
    assert!(world.received("u1") < 20_000, "traffic beside the VPN");
    // Who names interfaces gets them, and is told.
    let (well, said) = world.fetch(&["--path", "u1", "--path", "vpn0"], 5_000_000);
    assert!(well && world.received("u1") > 500_000, "{said}");
    let warning = "warning: u1: packets go around the VPN on vpn0, which has the default route";
    assert!(said.contains(warning) && !said.contains("vpn0: packets"), "{said}");
}
