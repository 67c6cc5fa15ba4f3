//! An address goes in mid-download and comes back, on the demo's links. The figures are printed
//! (`cargo test -p polypath-cli --test attach handover -- --nocapture`); data and counters are checked.

use crate::world::{World, until};
use polypath_lab::link::Rate;
use polypath_lab::{Owner, PathSpec, Scenario};
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;
const BYTES: u64 = 60_000_000;
const PATHS: [(&str, &str); 2] = [("wifi0", "10.1.0.2"), ("lte0", "10.2.0.2")];

/// The emulated Wi-Fi and LTE of the demo, as interfaces of an ordinary host.
fn demo_links(name: &str) -> (Scenario, World) {
    let ms = Duration::from_millis;
    let scenario = Scenario::builder()
        .client(Owner::Kernel)
        .server(Owner::Kernel)
        .path(PathSpec::new("wifi", Rate::mbit(50), ms(20), ms(20)).with_loss(0.005))
        .path(PathSpec::new("lte", Rate::mbit(20), ms(60), ms(100)))
        .build()
        .expect("a scenario");
    let world = World::around(scenario.client().clone(), scenario.server().clone(), name);
    (scenario, world)
}

/// Milliseconds, the middle one of an odd number.
fn median(mut figures: Vec<Duration>) -> u128 {
    figures.sort();
    figures[figures.len() / 2].as_millis()
}

#[test]
fn an_address_that_goes_and_comes_back_under_a_download() {
    for (interface, address) in PATHS {
        let (_links, world) = demo_links(&format!("handover-{interface}"));
        let mut download = world.download(&["--path", PATHS[0].0, "--path", PATHS[1].0], "10.9.0.1", BYTES);
        download.reach(5);
        let (mut gaps, mut returns) = (Vec::new(), Vec::new());
        for round in 1..=ROUNDS {
            download.uses(interface);
            world.host.ip(&format!("addr del {address}/32 dev {interface}\n")).expect("ip");
            gaps.push(download.longest_gap(Duration::from_millis(1_500)));
            until("the kernel was not told", || world.counters().get("RmAddr") >= round as i64);
            let before = world.received(interface);
            let back = Instant::now();
            // With the last address of an interface its routes go too.
            world
                .host
                .ip(&format!("addr add {address}/32 dev {interface}\nroute add default dev {interface}\n"))
                .expect("ip");
            // More than a join and its acknowledgements.
            until("the address is not used again", || world.received(interface) > before + 20_000);
            returns.push(back.elapsed());
        }
        let (gap, again) = (median(gaps.clone()), median(returns.clone()));
        println!("{interface}: longest gap {gap} ms {gaps:?}, used again after {again} ms {returns:?}");
        download.finish();
    }
}
