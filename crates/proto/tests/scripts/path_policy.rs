//! Connections that are not as all others of their stack: which addresses they use, and how they are accepted.

use crate::support::*;
use polypath_proto::mib::Counter;
use polypath_proto::{
    AcceptPolicy, Config, ConnectError, ConnectOptions, FallbackReason, MultipathState, PathPolicy, PathUse,
    SteeringError, SynCookies,
};
use polypath_wire::{MpJoin, MptcpOption};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

const BYTES: u64 = 300_000;

/// WIFI and LTE used so.
fn paths(wifi: PathUse, lte: PathUse) -> ConnectOptions {
    let terms = [(WIFI, wifi), (LTE, lte)].map(|(addr, used)| (addr.to_string()[..].into(), used));
    ConnectOptions { paths: Some(PathPolicy::new(terms, PathUse::Never)), ..ConnectOptions::default() }
}

/// A client of two addresses, a second after it has begun.
fn client(connect: ConnectOptions, subflows: usize) -> Pair {
    let mut pair = Pair::connected_by(&PairOptions { connect, ..PairOptions::default() }, subflows);
    pair.drive(ms(1_000));
    pair
}

/// The client's addresses in use, and whether they are backups, at both ends.
fn used(pair: &Pair) -> [Vec<(IpAddr, bool)>; 2] {
    let sorted = |mut all: Vec<(IpAddr, bool)>| {
        all.sort_unstable();
        all
    };
    let ours = pair.info(Side::Client).subflows.iter().map(|s| (s.local.ip(), s.backup)).collect();
    let theirs = pair.info(Side::Server).subflows.iter().map(|s| (s.remote.ip(), s.backup)).collect();
    [ours, theirs].map(sorted)
}

#[test]
fn an_address_that_is_not_to_be_used_is_neither_begun_at_nor_joined_from() {
    let mut pair = client(paths(PathUse::Never, PathUse::Regular), 1);
    assert_eq!(used(&pair), [[(LTE, false)], [(LTE, false)]]);
    pair.send(Side::Client, BYTES);
    pair.drive_until(ms(10_000), |p| p.server.received.len() as u64 == BYTES);
    assert!(pair.log.iter().all(|sent| sent.path() == LTE), "nothing was said on Wi-Fi");
    // Nor by hand, nor when it is said to come and to be a backup.
    let (id, now, remote) = (pair.client.id.expect("connected"), pair.now, pair.info(Side::Client).remote);
    let mut connection = pair.client.stack.connection(now, id).expect("it lives");
    assert_eq!(connection.open_subflow(WIFI, remote, false), Err(SteeringError::UnknownAddress(WIFI)));
    pair.client.stack.set_backup(now, WIFI, true);
    pair.client.stack.set_backup(now, LTE, true);
    pair.drain();
    pair.drive(ms(1_000));
    assert_eq!(used(&pair)[0], [(LTE, false)], "and what the connection says of an address goes before what that says");
}

#[test]
fn an_address_is_a_backup_for_one_connection_alone() {
    let mut pair = client(paths(PathUse::Backup, PathUse::Regular), 2);
    // It begins where it may send, and the other end hears which is the backup.
    assert_eq!(used(&pair), [[(WIFI, true), (LTE, false)]; 2]);
    assert_eq!(pair.info(Side::Client).local.ip(), LTE);
    assert!(pair.log.iter().any(|sent| {
        sent.path() == WIFI && sent.has_option(|o| matches!(o, MptcpOption::MpJoin(MpJoin::Syn { backup: true, .. })))
    }));
    pair.send(Side::Client, BYTES);
    pair.drive_until(ms(10_000), |p| p.server.received.len() as u64 == BYTES);
    let on_wifi: usize =
        pair.log.iter().filter(|s| s.by == Side::Client && s.path() == WIFI).map(|s| s.payload.len()).sum();
    assert_eq!(on_wifi, 0);
    pair.reconnect(ConnectOptions::default());
    pair.send(Side::Client, 100);
    pair.drive(ms(1_000));
    assert_eq!(used(&pair)[0], [(WIFI, false), (LTE, false)]);
}

#[test]
fn a_connection_that_may_use_no_address_cannot_be_opened() {
    let mut pair = client(ConnectOptions::default(), 2);
    let (now, remote) = (pair.now, pair.info(Side::Client).remote);
    let mut connect = |options| pair.client.stack.connect(now, remote, options).map(|_| ());
    assert_eq!(connect(paths(PathUse::Never, PathUse::Never)), Err(ConnectError::Unreachable { v6: false }));
    let local = Some(SocketAddr::new(WIFI, 0));
    let bound = ConnectOptions { local, ..paths(PathUse::Never, PathUse::Regular) };
    assert_eq!(connect(bound), Err(ConnectError::AddressNotAvailable(WIFI)));
    assert_eq!(connect(ConnectOptions { local, ..paths(PathUse::Backup, PathUse::Regular) }), Ok(()));
}

#[test]
fn a_connection_has_its_own_scheduler_path_manager_and_limit() {
    let scheduler = Some("redundant".parse().unwrap());
    let path_manager = Some("ndiffports:3".parse().unwrap());
    let pair = client(ConnectOptions { scheduler, path_manager, ..ConnectOptions::default() }, 3);
    assert_eq!(used(&pair)[0], [(WIFI, false); 3]);
    let info = pair.info(Side::Client);
    assert_eq!((info.scheduler, info.max_subflows), ("redundant", 8));
    assert_eq!(pair.info(Side::Server).scheduler, "default");
    let pair = client(ConnectOptions { max_subflows: Some(1), ..ConnectOptions::default() }, 1);
    assert_eq!(used(&pair)[0], [(WIFI, false)]);
}

/// The same for all that come to port 443.
#[derive(Debug)]
struct Accept(ConnectOptions);

impl AcceptPolicy for Accept {
    fn options(&self, local: SocketAddr, remote: SocketAddr) -> ConnectOptions {
        assert_eq!((local.port(), remote.ip()), (443, WIFI));
        self.0.clone()
    }
}

/// A server of two addresses that accepts so.
fn server(accept: ConnectOptions, server: Config) -> PairOptions {
    let accept: Option<Arc<dyn AcceptPolicy>> = Some(Arc::new(Accept(accept)));
    PairOptions { accept, server, server_addresses: vec![PEER, PEER_2], ..PairOptions::default() }
}

#[test]
fn a_listener_accepts_as_its_policy_says() {
    for syn_cookies in [SynCookies::Off, SynCookies::Always] {
        let accept = ConnectOptions {
            congestion: Some("olia".parse().unwrap()),
            scheduler: Some("ecf".parse().unwrap()),
            ..ConnectOptions::default()
        };
        let pair = Pair::connected(&server(accept, Config { syn_cookies, ..Config::default() }));
        let info = pair.info(Side::Server);
        assert_eq!((info.congestion, info.scheduler), ("olia", "ecf"), "{syn_cookies:?}");
        let plain = ConnectOptions { no_multipath: true, ..ConnectOptions::default() };
        let pair = Pair::connected_by(&server(plain, Config { syn_cookies, ..Config::default() }), 1);
        let state = pair.info(Side::Server).multipath;
        assert!(matches!(state, MultipathState::Fallback(FallbackReason::Disabled)), "{syn_cookies:?}: {state:?}");
        assert!(!pair.log.iter().any(|s| s.by == Side::Server && !s.seg.options.mptcp.is_empty()), "{syn_cookies:?}");
    }
}

#[test]
fn an_address_that_is_not_to_be_used_is_not_announced_and_takes_no_join() {
    let only = |addr: IpAddr| {
        let paths = PathPolicy::new([(addr.to_string()[..].into(), PathUse::Regular)], PathUse::Never);
        ConnectOptions { paths: Some(paths), ..ConnectOptions::default() }
    };
    let announced = |pair: &Pair| {
        pair.log.iter().any(|s| s.by == Side::Server && s.has_option(|o| matches!(o, MptcpOption::AddAddr(_))))
    };
    let mut pair = Pair::connected(&server(only(PEER), Config::default()));
    pair.drive(ms(1_000));
    assert!(!announced(&pair));
    let id = pair.client.id.expect("connected");
    let mut connection = pair.client.stack.connection(pair.now, id).expect("it lives");
    connection.open_subflow(LTE, (PEER_2, 443).into(), false).unwrap();
    pair.drain();
    pair.drive(ms(1_000));
    assert_eq!(pair.server.stack.mib().get(Counter::MPTcpExtMPJoinRejected), 1);
    assert_eq!(used(&pair)[0].len(), 2);
    // Where the peer has begun it stays, as a backup, and the other one is announced.
    let mut pair = Pair::connected_by(&server(only(PEER_2), Config::default()), 1);
    pair.drive(ms(1_000));
    assert!(announced(&pair));
    let backups: Vec<_> = pair.info(Side::Server).subflows.iter().map(|s| (s.local.ip(), s.backup)).collect();
    // What was refused at the first is joined at the other.
    assert_eq!(backups, [(PEER, true), (PEER_2, false), (PEER_2, false)]);
}
