//! Sleep and resume: the process stands still, carriers and addresses go, and come back, perhaps other ones.

use crate::world::{Download, Families, World, until};
use std::time::Duration;

const BYTES: u64 = 60_000_000;

/// A download in the middle, on both uplinks.
fn under_way<'a>(world: &'a World) -> Download<'a> {
    let mut download = world.download(&[], "10.9.0.1", BYTES);
    download.reach(10);
    download.uses("u1");
    download.uses("u2");
    download
}

/// Stops the process as suspend does, takes everything away, and lets time pass.
fn sleep(world: &World, download: &Download<'_>) {
    download.signal("STOP");
    until("it does not stand still", || download.state() == 'T');
    world.server.ip("link set s1 down\nlink set s2 down\n").expect("ip");
    world.host.ip("addr flush dev u1 scope global\naddr flush dev u2 scope global\n").expect("ip");
    // The server must have timeouts of its own. There is nothing to wait for but time.
    std::thread::sleep(Duration::from_secs(3));
}

/// The uplinks are given `networks` as their addresses, as DHCP does.
fn give(world: &World, networks: [u32; 2]) {
    for (uplink, network) in [(1, networks[0]), (2, networks[1])] {
        let address = format!("addr add 10.{network}.0.2/24 dev u{uplink}\n");
        let route = format!("route add default via 10.{network}.0.1 dev u{uplink} metric {uplink}00\n");
        world.host.ip(&(address + &route)).expect("ip");
    }
}

#[test]
fn everything_comes_back_before_the_process_wakes() {
    let world = World::new("asleep", Families::V4, 2, 100);
    let download = under_way(&world);
    sleep(&world, &download);
    world.server.ip("link set s1 up\nlink set s2 up\n").expect("ip");
    give(&world, [1, 2]);
    download.signal("CONT");
    download.uses("u1");
    download.uses("u2");
    download.finish();
}

#[test]
fn the_process_wakes_without_a_network_and_gets_it_back() {
    let world = World::new("resume", Families::V4, 2, 100);
    let download = under_way(&world);
    sleep(&world, &download);
    download.signal("CONT");
    world.sees_removed("10.1.0.2");
    world.sees_removed("10.2.0.2");
    world.server.ip("link set s1 up\nlink set s2 up\n").expect("ip");
    give(&world, [1, 2]);
    download.uses("u1");
    download.uses("u2");
    download.finish();
}

#[test]
fn the_process_wakes_in_another_network() {
    let world = World::new("moved", Families::V4, 2, 100);
    world.server.ip("addr add 10.5.0.1/24 dev s1\naddr add 10.6.0.1/24 dev s2\n").expect("ip");
    let download = under_way(&world);
    sleep(&world, &download);
    world.server.ip("link set s1 up\nlink set s2 up\n").expect("ip");
    give(&world, [5, 6]);
    download.signal("CONT");
    download.uses("u1");
    download.uses("u2");
    let joined = |address: &str| {
        world.events().lines().any(|line| line.contains("subflow_established") && line.contains(address))
    };
    assert!(joined("10.5.0.2:") && joined("10.6.0.2:"), "{}", world.events());
    download.finish();
}
