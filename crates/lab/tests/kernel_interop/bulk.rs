//! Bulk data over two emulated paths: both roles, both directions at once, IPv4 and IPv6; and against a kernel without
//! MPTCP. Data and the kernel's own counters are checked, not speed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::Sender;
use std::sync::{PoisonError, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use polypath_lab::kernel::{KernelClient, KernelServer, MptcpCounters, ServerConfig, Service, Transfer, Transport};
use polypath_lab::link::Rate;
use polypath_lab::payload::{Hasher, Payload, Sha256Digest};
use polypath_lab::scenario::{SERVER_V4, SERVER_V6, client_address};
use polypath_lab::{Direction, Owner, PathSpec, Scenario};
use polypath_net::{Host, MptcpListener, MptcpStream};
use polypath_proto::{ConnectionInfo, FallbackReason, MultipathState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes received, their hash, and the connection half-way.
type Exchanged = (u64, Sha256Digest, ConnectionInfo);

const BYTES: u64 = 64 << 20;
const CLIENT_SEED: u64 = 11;
const SERVER_SEED: u64 = 22;
const PORT: u16 = 5001;
/// What comes out of the kernel's mouth is trusted; what would mean trouble must not move.
const TROUBLE: [&str; 12] = [
    "MPFallbackTokenInit",
    "DSSNotMatching",
    "DSSCorruptionFallback",
    "DSSCorruptionReset",
    "DSSNoMatchTCP",
    "DataCsumErr",
    "MPJoinSynAckHMacFailure",
    "MPJoinAckHMacFailure",
    "MPFastcloseTx",
    "MPFastcloseRx",
    "MPRstTx",
    "MPRstRx",
];

fn two_paths(client: Owner, server: Owner) -> polypath_lab::scenario::ScenarioBuilder {
    let ms = Duration::from_millis;
    Scenario::builder()
        .client(client)
        .server(server)
        .path(PathSpec::new("wifi", Rate::mbit(300), ms(6), ms(20)))
        .path(PathSpec::new("lte", Rate::mbit(200), ms(14), ms(30)))
}

/// Not while the matrix runs.
fn turn() -> RwLockReadGuard<'static, ()> {
    crate::MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Sends one payload and hashes the other, at the same time.
async fn exchange(stream: MptcpStream, seed: u64) -> Exchanged {
    let (mut rx, mut tx) = stream.into_split();
    let sending = async {
        let mut payload = Payload::new(seed);
        let mut left = BYTES;
        while left > 0 {
            let mut piece = Vec::new();
            let len = left.min(256 * 1024);
            payload.write_to(&mut piece, len).expect("a vector takes all");
            tx.write_all(&piece).await.expect("write");
            left -= len;
        }
        tx.shutdown().await.expect("shutdown");
        tx
    };
    let receiving = async {
        let (mut hasher, mut buf) = (Hasher::default(), vec![0; 256 * 1024]);
        let mut info = None;
        loop {
            let n = rx.read(&mut buf).await.expect("read");
            if n == 0 {
                break;
            }
            hasher.update(&buf[..n]);
            if hasher.len() > BYTES / 2 && info.is_none() {
                info = Some(rx.as_ref().info().expect("info"));
            }
        }
        (hasher.len(), hasher.finish(), info.expect("half-way"), rx)
    };
    let (_tx, (len, hash, info, _rx)) = tokio::join!(sending, receiving);
    (len, hash, info)
}

fn check_trouble(counters: &MptcpCounters) {
    for name in TROUBLE {
        assert_eq!(counters.get(name), 0, "the kernel counted {name}: {counters:?}");
    }
    assert_eq!(
        (counters.fallbacks(), counters.hmac_failures(), counters.mapping_mismatches()),
        (0, 0, 0),
        "{counters:?}"
    );
}

fn check_transfer(transfer: &Transfer) {
    assert_eq!(transfer.received, BYTES);
    assert_eq!(transfer.received_sha256, Payload::sha256(CLIENT_SEED, BYTES));
}

/// Each path carried a fair part of what went in `direction`; how much is the sender's scheduler's choice.
fn check_both_paths(scenario: &Scenario, direction: Direction) {
    for path in 0..2 {
        let bytes = scenario.counters(path, direction).delivered.bytes;
        assert!(bytes > BYTES / 50, "path {path} carried only {bytes} bytes {direction:?}");
    }
}

/// A kernel server that exchanges payloads with each client.
fn exchange_server(scenario: &Scenario, transport: Transport) -> KernelServer {
    let service = Service::Exchange { send: BYTES };
    let config = ServerConfig { transport, port: PORT, service, seed: SERVER_SEED };
    KernelServer::start(scenario.server(), config).expect("a server")
}

/// A polypath client with both paths exchanges payloads with `remote`.
fn polypath_exchange(scenario: &Scenario, remote: SocketAddr) -> Exchanged {
    let work = || {
        runtime().block_on(async {
            let host = Host::builder()
                .tun("pp0")
                .address(client_address(0, remote.ip()), Some("wifi"), false)
                .address(client_address(1, remote.ip()), Some("lte"), false)
                .start()
                .expect("a host");
            let stream = MptcpStream::connect(&host, remote).await.expect("connect");
            let done = exchange(stream, CLIENT_SEED).await;
            host.shutdown(Duration::from_secs(10)).await.expect("an orderly end");
            done
        })
    };
    scenario.client().run(work).expect("inside the client")
}

fn polypath_client(server_address: IpAddr) {
    let _turn = turn();
    let scenario = two_paths(Owner::Stack, Owner::Kernel).build().expect("a scenario");
    let server = exchange_server(&scenario, Transport::Mptcp);
    let before = MptcpCounters::read(scenario.server()).expect("counters");
    let remote = SocketAddr::new(server_address, PORT);
    let (len, hash, info) = polypath_exchange(&scenario, remote);
    let finished = server.finished(1, Duration::from_secs(20));
    let counters = MptcpCounters::read(scenario.server()).expect("counters").since(&before);
    assert_eq!((len, hash), (BYTES, Payload::sha256(SERVER_SEED, BYTES)));
    check_transfer(finished[0].1.as_ref().expect("the server's transfer"));
    assert_eq!(info.multipath, MultipathState::Active);
    assert_eq!(info.subflows.len(), 2, "{:?}", info.subflows);
    assert_eq!(counters.get("MPJoinAckRx"), 1, "{counters:?}");
    check_trouble(&counters);
    check_both_paths(&scenario, Direction::Up);
    check_both_paths(&scenario, Direction::Down);
}

/// A polypath server for one connection.
fn serve_once(scenario: &Scenario, address: IpAddr, ready: Sender<()>) -> JoinHandle<io::Result<Exchanged>> {
    let work = move || {
        runtime().block_on(async {
            let host = Host::builder().tun("pp0").address(address, Some("server"), false).start().expect("a host");
            let listener = MptcpListener::bind(&host, (address, PORT)).await.expect("bind");
            ready.send(()).expect("the test waits");
            let (stream, _) = listener.accept().await.expect("accept");
            let done = exchange(stream, SERVER_SEED).await;
            host.shutdown(Duration::from_secs(10)).await.expect("an orderly end");
            done
        })
    };
    scenario.server().spawn("polypath", work).expect("a server")
}

fn kernel_client(server_address: IpAddr) {
    let _turn = turn();
    let scenario = two_paths(Owner::Kernel, Owner::Stack).build().expect("a scenario");
    let before = MptcpCounters::read(scenario.client()).expect("counters");
    let (ready, is_ready) = std::sync::mpsc::channel();
    let serving = serve_once(&scenario, server_address, ready);
    is_ready.recv().expect("the server listens");
    let local = SocketAddr::new(client_address(0, server_address), 0);
    let remote = SocketAddr::new(server_address, PORT);
    let client = KernelClient::connect(scenario.client(), Transport::Mptcp, Some(local), remote).expect("connect");
    let transfer = client.exchange(CLIENT_SEED, BYTES).expect("exchange");
    drop(client);
    let (len, hash, info) = serving.join().expect("the server").expect("inside the server");
    let counters = MptcpCounters::read(scenario.client()).expect("counters").since(&before);
    assert_eq!((len, hash), (BYTES, Payload::sha256(CLIENT_SEED, BYTES)));
    assert_eq!((transfer.received, transfer.received_sha256), (BYTES, Payload::sha256(SERVER_SEED, BYTES)));
    assert_eq!(info.multipath, MultipathState::Active);
    assert_eq!(info.subflows.len(), 2, "{:?}", info.subflows);
    assert_eq!(counters.get("MPJoinSynAckRx"), 1, "{counters:?}");
    check_trouble(&counters);
    check_both_paths(&scenario, Direction::Up);
    check_both_paths(&scenario, Direction::Down);
}

/// A peer whose kernel has Multipath TCP switched off: plain TCP, and the data right.
fn fallback(server_mptcp: bool) {
    let _turn = turn();
    let scenario = two_paths(Owner::Stack, Owner::Kernel).server_mptcp(server_mptcp).build().expect("a scenario");
    let server = exchange_server(&scenario, Transport::Tcp);
    let remote = SocketAddr::new(SERVER_V4.into(), PORT);
    let (len, hash, info) = polypath_exchange(&scenario, remote);
    let finished = server.finished(1, Duration::from_secs(20));
    assert_eq!((len, hash), (BYTES, Payload::sha256(SERVER_SEED, BYTES)));
    check_transfer(finished[0].1.as_ref().expect("the server's transfer"));
    assert_eq!(info.multipath, MultipathState::Fallback(FallbackReason::NotOffered));
    assert_eq!(info.subflows.len(), 1);
}

#[test]
fn a_plain_tcp_server_gets_plain_tcp() {
    fallback(true);
}

#[test]
fn a_server_whose_kernel_has_no_mptcp_gets_plain_tcp() {
    fallback(false);
}

#[test]
fn a_plain_tcp_client_is_served() {
    let _turn = turn();
    let scenario = two_paths(Owner::Kernel, Owner::Stack).build().expect("a scenario");
    let (ready, is_ready) = std::sync::mpsc::channel();
    let serving = serve_once(&scenario, SERVER_V4.into(), ready);
    is_ready.recv().expect("the server listens");
    let remote = SocketAddr::new(SERVER_V4.into(), PORT);
    let client = KernelClient::connect(scenario.client(), Transport::Tcp, None, remote).expect("connect");
    let transfer = client.exchange(CLIENT_SEED, BYTES).expect("exchange");
    drop(client);
    let (len, hash, info) = serving.join().expect("the server").expect("inside the server");
    assert_eq!((len, hash), (BYTES, Payload::sha256(CLIENT_SEED, BYTES)));
    assert_eq!((transfer.received, transfer.received_sha256), (BYTES, Payload::sha256(SERVER_SEED, BYTES)));
    assert_eq!(info.multipath, MultipathState::Fallback(FallbackReason::NotOffered));
}

#[test]
fn polypath_client_kernel_server_ipv4() {
    polypath_client(SERVER_V4.into());
}

#[test]
fn polypath_client_kernel_server_ipv6() {
    polypath_client(SERVER_V6.into());
}

#[test]
fn kernel_client_polypath_server_ipv4() {
    kernel_client(SERVER_V4.into());
}

#[test]
fn kernel_client_polypath_server_ipv6() {
    kernel_client(SERVER_V6.into());
}

/// A link on the way that carries less than its ends say: ICMP errors tell, and segments become smaller
/// (RFC 1191, RFC 8201).
fn narrow_link(server_address: IpAddr) {
    let _turn = turn();
    let scenario = two_paths(Owner::Stack, Owner::Kernel).build().expect("a scenario");
    // Only the way up: the server does not know, and says so in no MSS option.
    scenario.client().ip("link set wifi0 mtu 1300\nlink set lte0 mtu 1300\n").expect("a narrow link");
    let server = exchange_server(&scenario, Transport::Mptcp);
    let remote = SocketAddr::new(server_address, PORT);
    let (len, hash, _) = polypath_exchange(&scenario, remote);
    let finished = server.finished(1, Duration::from_secs(20));
    assert_eq!((len, hash), (BYTES, Payload::sha256(SERVER_SEED, BYTES)));
    check_transfer(finished[0].1.as_ref().expect("the server's transfer"));
}

// [9293-MUST-16, 9293-SHLD-6, 9293-MUST-54, 8899-3-1]
#[test]
fn a_narrow_link_makes_segments_smaller_ipv4() {
    narrow_link(SERVER_V4.into());
}

// [9293-SHLD-6, 9293-MUST-54, 8201-4-2, 8899-3-1]
#[test]
fn a_narrow_link_makes_segments_smaller_ipv6() {
    narrow_link(SERVER_V6.into());
}
