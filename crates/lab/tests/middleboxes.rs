//! Real middleboxes: the kernel's NAT and stateful firewall, and nftables rules that remove options or refuse them. They
//! stand where the client's namespace forwards between the stack and the paths; the server is a kernel's.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use polypath_lab::kernel::{KernelServer, ServerConfig, Service, Transfer, Transport};
use polypath_lab::link::Rate;
use polypath_lab::payload::{Hasher, Payload, Sha256Digest};
use polypath_lab::scenario::{SERVER_V4, client_v4};
use polypath_lab::{PathSpec, Scenario};
use polypath_net::{Host, MptcpStream};
use polypath_proto::{ConnectionInfo, FallbackReason, MultipathState, State};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Each way.
const BYTES: u64 = 4 << 20;
const CLIENT_SEED: u64 = 31;
const SERVER_SEED: u64 = 32;
const PORT: u16 = 5001;
/// The slowest ends after some timeouts.
const PATIENCE: Duration = Duration::from_secs(90);

fn two_paths() -> Vec<PathSpec> {
    let ms = Duration::from_millis;
    vec![PathSpec::new("wifi", Rate::mbit(60), ms(8), ms(30)), PathSpec::new("lte", Rate::mbit(40), ms(16), ms(30))]
}

fn one_path() -> Vec<PathSpec> {
    two_paths().drain(..1).collect()
}

/// What the client's application received, and the connection at the end.
struct Seen {
    received: (u64, Sha256Digest),
    info: ConnectionInfo,
}

/// Puts rules into the calling thread's namespace.
fn nft(rules: &str) {
    let status = Command::new("nft").arg(rules).status().expect("nft starts");
    assert!(status.success(), "nft refused {rules}");
}

/// The rules of a box on the way of forwarded packets.
fn forward(rules: &str) -> String {
    format!("table inet box {{ chain forward {{ type filter hook forward priority filter; {rules}; }}; }}")
}

/// What conntrack knows is forgotten, and with it what the NAT has translated: an IPCTNL_MSG_CT_DELETE for all.
fn flush_conntrack() {
    const NETLINK_NETFILTER: i32 = 12;
    const CT_DELETE: u16 = (1 << 8) | 2;
    const REQUEST_ACK: u16 = 1 | 4;
    let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(Protocol::from(NETLINK_NETFILTER)));
    let socket = socket.expect("a netlink socket");
    let mut message = Vec::new();
    message.extend(20_u32.to_ne_bytes());
    message.extend(CT_DELETE.to_ne_bytes());
    message.extend(REQUEST_ACK.to_ne_bytes());
    message.extend([0; 12]);
    socket.send(&message).expect("a message to the kernel");
    let mut answer = Vec::with_capacity(128);
    let len = socket.recv(answer.spare_capacity_mut()).expect("the kernel answers");
    assert!(len >= 20, "the answer has an error code");
}

/// Exchanges payloads over `paths` with a kernel's server. `before` runs where the box stands, `during` when a quarter has
/// been received.
fn play(
    paths: Vec<PathSpec>,
    before: &str,
    during: impl FnOnce() + Send,
) -> (io::Result<Seen>, Result<Transfer, String>) {
    let scenario = paths.into_iter().fold(Scenario::builder(), polypath_lab::scenario::ScenarioBuilder::path);
    let scenario = scenario.build().expect("a scenario");
    let config = ServerConfig {
        transport: Transport::Mptcp,
        port: PORT,
        service: Service::Exchange { send: BYTES },
        seed: SERVER_SEED,
    };
    let server = KernelServer::start(scenario.server(), config).expect("a server");
    let count = scenario.paths().len();
    let work = || {
        if !before.is_empty() {
            nft(before);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async { tokio::time::timeout(PATIENCE, client(count, during)).await.expect("no stall") })
    };
    let seen = scenario.client().run(work).expect("inside the client");
    let transfer = match &seen {
        Ok(_) => match server.finished(1, Duration::from_secs(20)).pop() {
            Some((_, transfer)) => transfer,
            None => Err("it has not ended".into()),
        },
        Err(_) => Err("the client has failed".into()),
    };
    (seen, transfer)
}

async fn client(paths: usize, during: impl FnOnce()) -> io::Result<Seen> {
    let mut host = Host::builder().tun("pp0");
    for path in 0..paths {
        host = host.address(client_v4(path).into(), Some(["wifi", "lte"][path]), false);
    }
    let host = host.start()?;
    let stream = MptcpStream::connect(&host, SocketAddr::new(SERVER_V4.into(), PORT)).await?;
    let (mut rx, mut tx) = stream.into_split();
    let sending = async {
        let mut payload = Payload::new(CLIENT_SEED);
        for _ in 0..BYTES / 65_536 {
            let mut piece = Vec::new();
            payload.write_to(&mut piece, 65_536)?;
            tx.write_all(&piece).await?;
        }
        tx.shutdown().await
    };
    let receiving = async {
        let (mut hasher, mut buf, mut during) = (Hasher::default(), vec![0; 65_536], Some(during));
        loop {
            let n = rx.read(&mut buf).await?;
            if n == 0 {
                let info = rx.as_ref().info()?;
                return Ok::<_, io::Error>(Seen { received: (hasher.len(), hasher.finish()), info });
            }
            hasher.update(&buf[..n]);
            if hasher.len() > BYTES / 4
                && let Some(during) = during.take()
            {
                during();
            }
        }
    };
    let (sent, seen) = tokio::join!(sending, receiving);
    sent?;
    let seen = seen?;
    host.shutdown(Duration::from_secs(10)).await?;
    Ok(seen)
}

/// All bytes arrived, both ways, and what has become of the connection.
#[track_caller]
fn check((seen, transfer): (io::Result<Seen>, Result<Transfer, String>)) -> ConnectionInfo {
    let seen = seen.expect("the client reads to the end");
    assert_eq!(seen.received, (BYTES, Payload::sha256(SERVER_SEED, BYTES)));
    let transfer = transfer.expect("the server reads to the end");
    assert_eq!((transfer.received, transfer.received_sha256), (BYTES, Payload::sha256(CLIENT_SEED, BYTES)));
    seen.info
}

/// Subflows whose handshake is over.
fn open_subflows(info: &ConnectionInfo) -> usize {
    let opening = |state| matches!(state, State::SynSent | State::SynReceived);
    info.subflows.iter().filter(|subflow| !opening(subflow.state)).count()
}

fn nothing() {}

/// Network address translation of ports, and a firewall that knows connections only from their beginning.
fn stateful(interfaces: &str, answer: &str) -> String {
    format!(
        "table ip box {{
            chain nat {{
                type nat hook postrouting priority srcnat;
                meta l4proto tcp oifname \"wifi0\" snat to 10.1.0.2:20000-29999;
                meta l4proto tcp oifname \"lte0\" snat to 10.2.0.2:20000-29999;
            }}
            chain forward {{
                type filter hook forward priority filter;
                iifname {interfaces} ct state new tcp flags & (syn | ack) != syn {answer};
                oifname {interfaces} ct state new tcp flags & (syn | ack) != syn {answer};
            }}
        }}"
    )
}

#[test]
fn behind_nat_and_a_stateful_firewall_it_stays_multipath() {
    let info = check(play(two_paths(), &stateful("{ wifi0, lte0 }", "drop"), nothing));
    assert_eq!((info.multipath, open_subflows(&info)), (MultipathState::Active, 2));
}

#[test]
fn when_conntrack_is_flushed_and_resets_what_it_does_not_know_subflows_are_joined_again() {
    let info = check(play(two_paths(), &stateful("{ wifi0, lte0 }", "reject with tcp reset"), flush_conntrack));
    assert_eq!(info.multipath, MultipathState::Active);
}

#[test]
fn when_conntrack_is_flushed_on_one_path_and_drops_what_it_does_not_know_the_other_carries_on() {
    let info = check(play(two_paths(), &stateful("\"wifi0\"", "drop"), flush_conntrack));
    assert_eq!(info.multipath, MultipathState::Active);
}

#[test]
fn when_conntrack_is_flushed_on_the_only_path_and_drops_what_it_does_not_know_it_is_joined_anew() {
    let info = check(play(one_path(), &stateful("\"wifi0\"", "drop"), flush_conntrack));
    assert_eq!(info.multipath, MultipathState::Active);
}

#[test]
fn options_removed_from_everything_or_from_all_but_syns_make_plain_tcp() {
    let info = check(play(two_paths(), &forward("reset tcp option mptcp"), nothing));
    assert_eq!(info.multipath, MultipathState::Fallback(FallbackReason::NotOffered));
    let info = check(play(two_paths(), &forward("tcp flags & syn == 0 reset tcp option mptcp"), nothing));
    assert_eq!(info.multipath, MultipathState::Fallback(FallbackReason::NoDss));
}

#[test]
fn options_removed_on_the_second_path_leave_the_first() {
    let rules = "oifname \"lte0\" reset tcp option mptcp; iifname \"lte0\" reset tcp option mptcp";
    let info = check(play(two_paths(), &forward(rules), nothing));
    assert_eq!((info.multipath, open_subflows(&info)), (MultipathState::Active, 1));
}

#[test]
fn options_that_vanish_on_the_second_path_in_mid_connection_close_its_subflow() {
    let rules = "oifname \"lte0\" reset tcp option mptcp; iifname \"lte0\" reset tcp option mptcp";
    let info = check(play(two_paths(), "", || nft(&forward(rules))));
    assert_eq!((info.multipath, open_subflows(&info)), (MultipathState::Active, 1));
}

/// In both directions nobody can ask. It may end, but not with wrong bytes.
#[test]
fn options_that_vanish_everywhere_in_mid_connection_never_corrupt_the_stream() {
    let (seen, transfer) = play(one_path(), "", || nft(&forward("reset tcp option mptcp")));
    match seen {
        Ok(_) => drop(check((seen, transfer))),
        Err(error) => {
            let broken = [io::ErrorKind::ConnectionReset, io::ErrorKind::ConnectionAborted, io::ErrorKind::TimedOut];
            assert!(broken.contains(&error.kind()), "{error}");
        }
    }
}

#[test]
fn syns_with_options_that_are_rejected_leave_the_first_path_or_none() {
    let rules =
        |interface| format!("oifname \"{interface}\" tcp flags syn tcp option mptcp exists reject with tcp reset");
    let info = check(play(two_paths(), &forward(&rules("lte0")), nothing));
    assert_eq!((info.multipath, open_subflows(&info)), (MultipathState::Active, 1));
    let (seen, _) = play(two_paths(), &forward(&rules("wifi0")), nothing);
    assert_eq!(seen.err().map(|error| error.kind()), Some(io::ErrorKind::ConnectionRefused));
}

#[test]
fn syns_with_options_that_are_dropped_are_followed_by_one_without() {
    let info = check(play(two_paths(), &forward("tcp flags syn tcp option mptcp exists drop"), nothing));
    assert_eq!(info.multipath, MultipathState::Fallback(FallbackReason::SynDropped));
}

/// What the peer must be told then it may be unable to answer: Linux puts its infinite mapping on a segment that is full, and
/// never sends that. Everything arrives, or it fails in time.
#[test]
fn options_that_vanish_from_one_direction_in_mid_connection_never_stall_it() {
    for rules in ["oifname \"wifi0\" reset tcp option mptcp", "iifname \"wifi0\" reset tcp option mptcp"] {
        let (seen, transfer) = play(one_path(), "", || nft(&forward(rules)));
        match seen {
            Ok(_) => drop(check((seen, transfer))),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{rules}"),
        }
    }
}
