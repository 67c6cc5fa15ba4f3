//! Real kernels at both ends of emulated paths: data arrives whole, and every account of it agrees.

use std::io::Read as _;
use std::net::IpAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use polypath_lab::kernel::{KernelClient, KernelServer, MptcpCounters, ServerConfig, Service, Transport};
use polypath_lab::link::Rate;
use polypath_lab::payload::Payload;
use polypath_lab::scenario::{SERVER_V4, SERVER_V6, ScenarioBuilder, client_address, client_v4};
use polypath_lab::{Direction, Owner, PathSpec, Scenario};

const MB16: u64 = 16_000_000;
const SEED: u64 = 42;
const LONG: Duration = Duration::from_secs(60);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn two_paths() -> ScenarioBuilder {
    Scenario::builder()
        .client(Owner::Kernel)
        .path(PathSpec::new("wifi", Rate::mbit(120), ms(8), ms(40)))
        .path(PathSpec::new("lte", Rate::mbit(80), ms(16), ms(60)))
}

fn serve(scenario: &Scenario, transport: Transport, service: Service) -> KernelServer {
    KernelServer::start(scenario.server(), ServerConfig { transport, port: 0, service, seed: SEED }).unwrap()
}

/// Bytes of IP that a path delivered to the client.
fn down(scenario: &Scenario, path: usize) -> u64 {
    scenario.counters(path, Direction::Down).delivered.bytes
}

fn assert_clean(counters: &MptcpCounters) {
    let bad = [counters.fallbacks(), counters.hmac_failures(), counters.mapping_mismatches()];
    assert_eq!(bad, [0, 0, 0], "{counters:?}");
}

/// The emulator's account of a path agrees with that of the interfaces at its ends, once all is quiet.
fn assert_accounts_agree(scenario: &Scenario) {
    let deadline = Instant::now() + LONG;
    for (index, path) in scenario.paths().iter().enumerate() {
        let name = path.interface();
        loop {
            let client = scenario.client().interface(&name).unwrap();
            let server = scenario.server().interface(&name).unwrap();
            let (up, down) = (scenario.counters(index, Direction::Up), scenario.counters(index, Direction::Down));
            let interfaces = [
                (client.tx_packets, client.tx_bytes),
                (server.rx_packets, server.rx_bytes),
                (server.tx_packets, server.tx_bytes),
                (client.rx_packets, client.rx_bytes),
            ];
            let emulator = [up.arrived, up.delivered, down.arrived, down.delivered].map(|c| (c.packets, c.bytes));
            if interfaces == emulator {
                break;
            }
            assert!(Instant::now() < deadline, "{name}: interfaces {interfaces:?}, emulator {emulator:?}");
            std::thread::yield_now();
        }
        assert_eq!(scenario.device_drops(index).unwrap(), 0);
    }
}

#[test]
fn mptcp_downloads_over_two_paths_and_all_accounts_agree() {
    let scenario = two_paths().build().unwrap();
    let server = serve(&scenario, Transport::Mptcp, Service::Exchange { send: MB16 });
    let before = MptcpCounters::read(scenario.server()).unwrap();
    let client = KernelClient::connect(scenario.client(), Transport::Mptcp, None, server.at(SERVER_V4)).unwrap();
    let received = client.receive().unwrap();
    assert_eq!((received.received, received.received_sha256), (MB16, Payload::sha256(SEED, MB16)));
    drop(client);
    let moved = MptcpCounters::read(scenario.server()).unwrap().since(&before);
    assert_eq!((moved.get("MPCapableACKRX"), moved.get("MPJoinSynRx"), moved.get("MPJoinAckRx")), (1, 1, 1));
    assert_clean(&moved);
    assert!(down(&scenario, 0) > MB16 / 10 && down(&scenario, 1) > MB16 / 10, "both paths carry their part");
    assert!(down(&scenario, 0) + down(&scenario, 1) > MB16);
    assert_accounts_agree(&scenario);
}

#[test]
fn mptcp_goes_both_ways_at_once_over_ipv6() {
    let scenario = two_paths().build().unwrap();
    let server = serve(&scenario, Transport::Mptcp, Service::Exchange { send: MB16 });
    let before = MptcpCounters::read(scenario.server()).unwrap();
    let client = KernelClient::connect(scenario.client(), Transport::Mptcp, None, server.at(SERVER_V6)).unwrap();
    let at_client = client.exchange(SEED + 1, MB16).unwrap();
    assert_eq!(at_client.received_sha256, Payload::sha256(SEED, MB16));
    let finished = server.finished(1, LONG);
    let (peer, at_server) = &finished[0];
    let at_server = at_server.as_ref().unwrap();
    assert_eq!(peer.ip(), client_address(0, IpAddr::V6(SERVER_V6)));
    assert_eq!((at_server.sent, at_server.received), (MB16, MB16));
    assert_eq!(at_server.received_sha256, Payload::sha256(SEED + 1, MB16));
    let moved = MptcpCounters::read(scenario.server()).unwrap().since(&before);
    assert_eq!(moved.get("MPJoinAckRx"), 1);
    assert_clean(&moved);
}

#[test]
fn a_silent_cut_of_one_path_is_survived() {
    let scenario = two_paths().build().unwrap();
    let server = serve(&scenario, Transport::Mptcp, Service::Http);
    let client = KernelClient::connect(scenario.client(), Transport::Mptcp, None, server.at(SERVER_V4)).unwrap();
    let mut received = 0;
    let body = client.get(&format!("/bytes/{MB16}"), |bytes| {
        received += bytes.len() as u64;
        if received > MB16 / 2 {
            scenario.set_up(0, false);
        }
    });
    assert_eq!(body.unwrap().finish(), Payload::sha256(SEED, MB16));
    assert!(!scenario.is_up(0));
    let cut = scenario.counters(0, Direction::Down);
    assert!(cut.delivered.packets > 0 && cut.dropped_by_cut.packets > 0, "{cut:?}");
}

#[test]
fn a_server_without_mptcp_gets_plain_tcp() {
    let scenario = two_paths().server_mptcp(false).build().unwrap();
    let config = ServerConfig { transport: Transport::Mptcp, port: 0, service: Service::Sink, seed: SEED };
    assert!(KernelServer::start(scenario.server(), config).is_err(), "MPTCP is off there");
    let server = serve(&scenario, Transport::Tcp, Service::Sink);
    let client = KernelClient::connect(scenario.client(), Transport::Mptcp, None, server.at(SERVER_V4)).unwrap();
    let answer = client.exchange(SEED, 1_000_000).unwrap();
    assert_eq!(answer.received, 32, "the hash");
    let finished = server.finished(1, LONG);
    assert_eq!(finished[0].1.as_ref().unwrap().received_sha256, Payload::sha256(SEED, 1_000_000));
    let counters = MptcpCounters::read(scenario.client()).unwrap();
    assert_eq!((counters.get("MPCapableSYNACKRX"), counters.get("MPJoinSynTx")), (0, 0));
    assert!(counters.fallbacks() > 0);
    assert_eq!(scenario.counters(1, Direction::Up).delivered.bytes / 1500, 0, "one path only");
}

#[test]
fn an_echo_comes_back_over_the_path_of_the_address() {
    let scenario = two_paths().build().unwrap();
    let server = serve(&scenario, Transport::Tcp, Service::Echo);
    let local = Some((client_v4(1), 0).into());
    let client = KernelClient::connect(scenario.client(), Transport::Tcp, local, server.at(SERVER_V4)).unwrap();
    let echoed = client.exchange(SEED, 300_000).unwrap();
    assert_eq!(echoed.received_sha256, Payload::sha256(SEED, 300_000));
    assert!(down(&scenario, 1) > 300_000);
    assert!(down(&scenario, 0) < 10_000);
}

#[test]
fn a_schedule_cuts_and_brings_back() {
    let path = PathSpec::new("wifi", Rate::mbit(100), ms(4), ms(40)).with_schedule([(ms(0), false), (ms(400), true)]);
    let scenario = Scenario::builder().client(Owner::Kernel).path(path).build().unwrap();
    let server = serve(&scenario, Transport::Tcp, Service::Exchange { send: 1000 });
    // The first SYN is lost in the cut; one that follows gets through.
    let client = KernelClient::connect(scenario.client(), Transport::Tcp, None, server.at(SERVER_V4)).unwrap();
    assert_eq!(client.receive().unwrap().received_sha256, Payload::sha256(SEED, 1000));
    assert!(scenario.counters(0, Direction::Up).dropped_by_cut.packets > 0);
}

#[test]
fn curl_downloads_and_uploads() {
    let scenario = two_paths().build().unwrap();
    let server = serve(&scenario, Transport::Tcp, Service::Http);
    let base = format!("http://{}", server.at(SERVER_V4));
    let curl = |arguments: &[&str]| {
        let mut command = scenario.client().command("curl");
        command.args(["-sS", "--fail", "--max-time", "60"]).args(arguments);
        command
    };
    let got = curl(&[&format!("{base}/bytes/2000000"), &format!("{base}/bytes/10")]).output().unwrap();
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    let mut expected = vec![0; 2_000_000];
    Payload::new(SEED).read_exact(&mut expected).unwrap();
    assert!(got.stdout[..2_000_000] == expected[..] && got.stdout[2_000_000..] == expected[..10]);

    // From a pipe curl uploads in chunks; with a length it waits for permission first.
    for arguments in [&["-T", "-"][..], &["-X", "POST", "--data-binary", "@-"][..]] {
        let url = format!("{base}/upload");
        let mut child =
            curl(&[arguments, &[url.as_str()]].concat()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        Payload::new(SEED).write_to(&mut stdin, 2_000_000).unwrap();
        drop(stdin);
        let answer = child.wait_with_output().unwrap();
        let hash = Payload::sha256(SEED, 2_000_000).to_string();
        assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), hash, "{arguments:?}");
    }
}

#[test]
fn loss_and_queues_are_counted_and_repaired() {
    let scenario = Scenario::builder()
        .client(Owner::Kernel)
        .path(PathSpec::new("wifi", Rate::mbit(60), ms(4), ms(5)).with_loss(0.01))
        .build()
        .unwrap();
    let server = serve(&scenario, Transport::Tcp, Service::Exchange { send: 8_000_000 });
    let client = KernelClient::connect(scenario.client(), Transport::Tcp, None, server.at(SERVER_V4)).unwrap();
    assert_eq!(client.receive().unwrap().received_sha256, Payload::sha256(SEED, 8_000_000));
    let counters = scenario.counters(0, Direction::Down);
    // About 5,700 packets: 57 lost expected.
    assert!((20..120).contains(&counters.lost.packets), "{counters:?}");
    assert!(counters.delivered.bytes > 8_000_000);
}
