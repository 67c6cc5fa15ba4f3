//! Which subflows each path manager keeps.

use crate::paths::when;
use crate::support::*;
use polypath_proto::path_manager::{PathCommand, PathEvent, PathManager, PathManagerKind, PathManagerView};
use polypath_proto::{Config, ConnectOptions, Instant, SteeringError, SubflowEvent, SubflowId};
use std::net::IpAddr;

const UPLOAD: u64 = 2_000_000;

/// A client of two addresses with this path manager, and a server of two; what it has a second later.
fn pair_with(name: &str, max_subflows: usize) -> Pair {
    let path_manager = name.parse().expect(name);
    let client = Config { path_manager, max_subflows, ..Config::default() };
    let server = Config { max_subflows, ..Config::default() };
    let server_addresses = vec![PEER, PEER_2];
    let options = PairOptions { client, server, server_addresses, ..PairOptions::default() };
    let mut pair = Pair::connected_by(&options, 1);
    pair.drive(ms(1_000));
    pair
}

/// The ends of the client's subflows, in order.
fn ends(pair: &Pair) -> Vec<(IpAddr, IpAddr)> {
    let mut ends: Vec<_> = pair.info(Side::Client).subflows.iter().map(|s| (s.local.ip(), s.remote.ip())).collect();
    ends.sort_unstable();
    ends
}

#[test]
fn every_name_is_known_and_any_other_is_refused_with_the_list() {
    for name in PathManagerKind::NAMES {
        assert!(name.parse::<PathManagerKind>().is_ok(), "{name}");
    }
    let error = "mesh".parse::<PathManagerKind>().unwrap_err();
    assert!(error.contains("'mesh'") && PathManagerKind::NAMES.iter().all(|name| error.contains(name)), "{error}");
    assert_eq!("ndiffports:8".parse(), Ok(PathManagerKind::Ndiffports(8)));
    for wrong in ["ndiffports:0", "ndiffports:65", "ndiffports:x"] {
        assert!(wrong.parse::<PathManagerKind>().unwrap_err().contains("1 to 64"), "{wrong}");
    }
}

#[test]
fn subflow_has_one_from_each_address_and_one_to_each_that_is_announced() {
    assert_eq!(ends(&pair_with("subflow", 8)), [(WIFI, PEER), (WIFI, PEER_2), (LTE, PEER)]);
}

#[test]
fn fullmesh_joins_every_two_addresses_and_a_limit_leaves_no_path_out() {
    assert_eq!(ends(&pair_with("fullmesh", 8)), [(WIFI, PEER), (WIFI, PEER_2), (LTE, PEER), (LTE, PEER_2)]);
    assert_eq!(ends(&pair_with("fullmesh", 2)), [(WIFI, PEER), (LTE, PEER)]);
}

#[test]
fn signal_and_external_open_nothing() {
    for name in ["signal", "external"] {
        assert_eq!(ends(&pair_with(name, 8)), [(WIFI, PEER)], "{name}");
    }
}

#[test]
fn laminar_has_one_to_each_announced_address_from_the_path_with_the_fewest() {
    assert_eq!(ends(&pair_with("laminar", 8)), [(WIFI, PEER), (LTE, PEER_2)]);
}

#[test]
fn ndiffports_has_so_many_between_the_same_addresses() {
    assert_eq!(ends(&pair_with("ndiffports", 8)), [(WIFI, PEER); 2]);
    let mut pair = pair_with("ndiffports:12", 64);
    assert_eq!(ends(&pair), [(WIFI, PEER); 12]);
    let mut ports: Vec<_> = pair.info(Side::Client).subflows.iter().map(|s| s.local.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 12);
    pair.send(Side::Client, UPLOAD);
    pair.drive_until(ms(60_000), |p| p.server.received.len() as u64 == UPLOAD);
    pair.assert_received(Side::Server, UPLOAD);
    assert_eq!(ends(&pair_with("ndiffports:12", 4)), [(WIFI, PEER); 4], "the limit on all subflows");
}

#[test]
fn with_backup_only_the_first_path_carries_data_until_it_dies() {
    let mut pair = pair_with("backup", 8);
    assert_eq!(ends(&pair), [(WIFI, PEER), (LTE, PEER)]);
    let begun = pair.now;
    for side in [Side::Client, Side::Server] {
        pair.send(side, UPLOAD);
    }
    pair.drive(ms(50));
    for side in [Side::Client, Side::Server] {
        assert!(pair.data_packets(side, WIFI, begun) > 0);
        assert_eq!(pair.data_packets(side, LTE, begun), 0, "the peer knows, too: {side:?}");
    }
    pair.cut(WIFI);
    pair.drive_until(ms(60_000), |p| {
        p.server.received.len() as u64 == UPLOAD && p.client.received.len() as u64 == UPLOAD
    });
    pair.assert_received(Side::Server, UPLOAD);
    pair.assert_received(Side::Client, UPLOAD);
}

#[test]
fn with_single_path_another_is_opened_only_when_the_one_is_closed() {
    let mut pair = pair_with("single-path", 8);
    assert_eq!(ends(&pair), [(WIFI, PEER)]);
    pair.send(Side::Client, UPLOAD);
    pair.drive(ms(50));
    let cut = pair.now;
    pair.cut(WIFI);
    pair.drive_until(ms(60_000), |p| p.server.received.len() as u64 == UPLOAD);
    pair.assert_received(Side::Server, UPLOAD);
    assert_eq!(ends(&pair), [(LTE, PEER)]);
    // A timeout, and a handshake of one and a half round trips.
    let joined = when(&mut pair, Side::Client, LTE, cut, SubflowEvent::Established);
    assert!(joined.is_some_and(|after| after <= ms(400)), "{joined:?}");
    // It is no reason to go back that the other would work again.
    pair.mend(WIFI);
    pair.drive(ms(5_000));
    assert_eq!(ends(&pair), [(LTE, PEER)]);
    pair.mend(WIFI);
    pair.cut(LTE);
    pair.send(Side::Client, UPLOAD);
    pair.drive_until(ms(60_000), |p| p.server.received.len() as u64 == 2 * UPLOAD);
    assert_eq!(ends(&pair), [(WIFI, PEER)]);
}

#[test]
fn with_single_path_and_one_address_a_timeout_closes_nothing() {
    let client = Config { path_manager: PathManagerKind::SinglePath, ..Config::default() };
    let client_addresses = vec![(WIFI, false)];
    let mut pair = Pair::connected(&PairOptions { client, client_addresses, ..PairOptions::default() });
    pair.send(Side::Client, UPLOAD);
    pair.drive(ms(50));
    pair.cut(WIFI);
    pair.drive(ms(3_000));
    pair.mend(WIFI);
    pair.drive_until(ms(60_000), |p| p.server.received.len() as u64 == UPLOAD);
    let closed = |(_, _, what): &(Instant, IpAddr, SubflowEvent)| matches!(what, SubflowEvent::Closed(_));
    assert!(!pair.subflow_events(Side::Client).iter().any(closed));
}

/// Opens nothing from the path that costs.
#[derive(Debug)]
struct Thrifty;

impl PathManager for Thrifty {
    fn name(&self) -> &'static str {
        "thrifty"
    }

    fn handle(&mut self, _: Instant, event: &PathEvent, view: &PathManagerView<'_>, commands: &mut Vec<PathCommand>) {
        if *event == PathEvent::Established {
            let cheap = view.locals.iter().filter(|l| l.addr != LTE);
            let remote = std::net::SocketAddr::new(PEER_2, view.initial_remote.port());
            commands.extend(cheap.map(|l| PathCommand::Open { local: l.addr, remote, backup: true }));
        }
    }
}

#[test]
fn an_applications_own_decides_too() {
    let client = Config { path_manager: PathManagerKind::custom(|| Box::new(Thrifty)), ..Config::default() };
    let server_addresses = vec![PEER, PEER_2];
    let mut pair = Pair::connected(&PairOptions { client, server_addresses, ..PairOptions::default() });
    pair.drive(ms(1_000));
    assert_eq!(ends(&pair), [(WIFI, PEER), (WIFI, PEER_2)]);
    let backups: Vec<_> = pair.info(Side::Client).subflows.iter().map(|s| s.backup).collect();
    assert_eq!(backups, [false, true]);
}

#[test]
fn subflows_are_opened_closed_and_made_backups_by_hand_and_stay_so() {
    let mut pair = pair_with("external", 2);
    let id = pair.client.id.expect("connected");
    let remote = pair.info(Side::Client).subflows[0].remote;
    let now = pair.now;
    let mut ask = |local, remote, backup| {
        pair.client.stack.connection(now, id).expect("it lives").open_subflow(local, remote, backup)
    };
    assert_eq!(ask(PEER_2, remote, false), Err(SteeringError::UnknownAddress(PEER_2)));
    let v6 = "[fd00::1]:80".parse().unwrap();
    assert_eq!(ask(LTE, v6, false), Err(SteeringError::Family(LTE, v6.ip())));
    assert_eq!(ask(LTE, remote, true), Ok(()));
    pair.drain();
    pair.drive(ms(200));
    assert_eq!(ends(&pair), [(WIFI, PEER), (LTE, PEER)]);
    let lte = pair.info(Side::Client).subflows[1].id;
    let backup = |pair: &Pair, side| pair.info(side).subflows[1].backup;
    assert!(backup(&pair, Side::Client) && backup(&pair, Side::Server));
    let now = pair.now;
    let mut connection = pair.client.stack.connection(now, id).expect("it lives");
    assert_eq!(connection.open_subflow(LTE, remote, false), Err(SteeringError::TooMany(2)));
    assert_eq!(connection.set_subflow_backup(lte, false), Ok(()));
    assert_eq!(connection.set_subflow_backup(SubflowId(9), false), Err(SteeringError::UnknownSubflow));
    pair.drain();
    pair.drive(ms(200));
    assert!(!backup(&pair, Side::Client), "the peer's wish goes with ours");
    let now = pair.now;
    assert_eq!(pair.client.stack.connection(now, id).expect("it lives").close_subflow(lte), Ok(()));
    pair.drain();
    pair.drive(ms(120_000));
    assert_eq!(ends(&pair), [(WIFI, PEER)]);
    pair.send(Side::Client, UPLOAD);
    pair.drive_until(ms(60_000), |p| p.server.received.len() as u64 == UPLOAD);
}

#[test]
fn what_was_closed_by_hand_is_not_opened_again() {
    let mut pair = pair_with("subflow", 8);
    let (id, now) = (pair.client.id.expect("connected"), pair.now);
    let first = pair.info(Side::Client).subflows[0].id;
    pair.client.stack.connection(now, id).expect("it lives").close_subflow(first).expect("it is there");
    pair.drain();
    pair.send(Side::Client, UPLOAD);
    pair.drive(ms(120_000));
    pair.assert_received(Side::Server, UPLOAD);
    assert_eq!(ends(&pair), [(WIFI, PEER_2), (LTE, PEER)]);
    let mut plain = Pair::connected(&PairOptions {
        connect: ConnectOptions { no_multipath: true, ..ConnectOptions::default() },
        ..PairOptions::default()
    });
    let (id, now) = (plain.client.id.expect("connected"), plain.now);
    let asked = plain.client.stack.connection(now, id).expect("it lives").close_subflow(SubflowId(0));
    assert_eq!(asked, Err(SteeringError::NotMultipath));
}
