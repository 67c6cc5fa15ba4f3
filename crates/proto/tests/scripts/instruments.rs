//! What a stack counts and traces: two ends must tell the same story, and the trace must account for every byte.

use crate::support::{LTE, PEER, PEER_2, Pair, PairOptions, Sent, Side, WIFI};
use polypath_proto::mib::Counter;
use polypath_proto::trace::{AssignReason, Trace, TraceEvent};
use polypath_proto::{Duration, Instant, SubflowId};
use std::collections::BTreeMap;

const BYTES: u64 = 2_000_000;

/// Every 40th data packet of the client is lost, and Wi-Fi dies in the middle.
fn stormy_transfer(tracing: bool) -> (Pair, Vec<Trace>) {
    let mut pair = Pair::connected(&PairOptions::default());
    pair.client.stack.set_tracing(tracing);
    let mut count = 0;
    pair.lose(move |sent: &Sent| {
        count += u32::from(sent.by == Side::Client && !sent.payload.is_empty());
        count % 40 == 39 && !sent.payload.is_empty() && sent.by == Side::Client
    });
    pair.send(Side::Client, BYTES);
    pair.drive_until(Duration::from_secs(30), |p| {
        // With data just on its way there.
        let fresh = |sent: &Sent| sent.at == p.now && sent.path() == WIFI && !sent.payload.is_empty() && sent.delivered;
        p.server.received.len() as u64 > BYTES / 2 && p.log.iter().rev().take(20).any(fresh)
    });
    pair.cut(WIFI);
    pair.finish(Side::Client);
    pair.drive_until(Duration::from_secs(60), |p| p.server.ended);
    pair.mend(WIFI);
    pair.finish(Side::Server);
    pair.drive(Duration::from_secs(30));
    assert_eq!(pair.server.received.len() as u64, BYTES);
    let traces = std::iter::from_fn(|| pair.client.stack.poll_trace()).collect();
    (pair, traces)
}

#[test]
fn both_ends_tell_the_same_session() {
    let mut pair = Pair::connected(&PairOptions::default());
    pair.drive_until(Duration::from_secs(5), |p| p.established(Side::Client) == 2);
    pair.send(Side::Client, BYTES);
    pair.drive(Duration::from_secs(5));
    let sessions = [Side::Client, Side::Server].map(|side| pair.info(side).session.expect("multipath"));
    let [client, server] = sessions;
    assert_eq!((client.local_token, client.remote_token), (server.remote_token, server.local_token));
    assert_eq!((client.snd_nxt, client.snd_una), (server.rcv_nxt, server.rcv_nxt));
    assert_eq!((server.snd_nxt, server.snd_una), (client.rcv_nxt, client.rcv_nxt));
    assert!(client.confirmed && server.confirmed && !client.checksum);
    let ids = |side| pair.info(side).subflows.iter().map(|s| s.address_ids).collect::<Vec<_>>();
    let mirrored: Vec<_> = ids(Side::Server).into_iter().map(|(local, remote)| (remote, local)).collect();
    assert_eq!(ids(Side::Client), mirrored);
    assert_eq!(ids(Side::Client)[0], (0, 0));
    for subflow in pair.info(Side::Client).subflows {
        let tcp = subflow.tcp;
        assert!(tcp.min_rtt <= subflow.srtt && tcp.rto >= subflow.srtt.unwrap_or_default(), "{tcp:?}");
        assert_eq!((tcp.outstanding, tcp.delivered > 0, tcp.window_scales.is_some()), (0, true, true), "{tcp:?}");
    }
}

#[test]
fn both_ends_count_the_same() {
    let options = PairOptions { server_addresses: vec![PEER, PEER_2], ..PairOptions::default() };
    let mut pair = Pair::connected(&options);
    pair.send(Side::Client, BYTES);
    pair.finish(Side::Client);
    pair.finish(Side::Server);
    pair.drive(Duration::from_secs(30));
    let (client, server) = (pair.client.stack.mib(), pair.server.stack.mib());
    use Counter as C;
    let pairs = [
        (C::MPTcpExtMPCapableSYNTX, C::MPTcpExtMPCapableSYNRX, 1),
        (C::MPTcpExtMPCapableSYNACKRX, C::MPTcpExtMPCapableACKRX, 1),
        (C::MPTcpExtMPJoinSynTx, C::MPTcpExtMPJoinSynRx, 2),
        (C::MPTcpExtMPJoinSynAckRx, C::MPTcpExtMPJoinAckRx, 2),
        (C::MPTcpExtAddAddr, C::MPTcpExtAddAddrTx, 1),
        (C::MPTcpExtEchoAddTx, C::MPTcpExtEchoAdd, 1),
        (C::TcpActiveOpens, C::TcpPassiveOpens, 3),
    ];
    for (ours, theirs, expected) in pairs {
        assert_eq!(
            (client.get(ours), server.get(theirs)),
            (expected, expected),
            "{}: {client:?} {server:?}",
            ours.name()
        );
    }
    for quiet in [C::TcpRetransSegs, C::TcpOutRsts, C::MPTcpExtMPTCPRetrans, C::TcpAttemptFails, C::TcpInErrs] {
        assert_eq!((client.get(quiet), server.get(quiet)), (0, 0), "{}: {client:?} {server:?}", quiet.name());
    }
    let sent = |side| pair.log.iter().filter(|sent| sent.by == side).count() as u64;
    assert_eq!((client.get(C::TcpOutSegs), server.get(C::TcpInSegs)), (sent(Side::Client), sent(Side::Client)));
    assert_eq!((server.get(C::TcpOutSegs), client.get(C::TcpInSegs)), (sent(Side::Server), sent(Side::Server)));
}

#[test]
fn counters_tell_losses_by_how_they_were_repaired() {
    let (pair, _) = stormy_transfer(false);
    let mib = pair.client.stack.mib();
    use Counter as C;
    for moved in [C::TcpExtTCPSackRecovery, C::TcpExtTCPFastRetrans, C::TcpExtTCPTimeouts, C::MPTcpExtMPTCPRetrans] {
        assert!(mib.get(moved) > 0, "{}: {mib:?}", moved.name());
    }
    assert!(mib.get(C::MPTcpExtSubflowStale) > 0, "{mib:?}");
    let parts = [C::TcpExtTCPFastRetrans, C::TcpExtTCPSlowStartRetrans, C::TcpExtTCPLossProbes];
    assert_eq!(parts.iter().map(|part| mib.get(*part)).sum::<u64>(), mib.get(C::TcpRetransSegs), "{mib:?}");
    let peers = pair.server.stack.mib();
    assert!(peers.get(C::TcpExtTCPOFOQueue) > 0 && peers.get(C::MPTcpExtOFOQueue) > 0, "{peers:?}");
}

#[test]
fn nothing_is_traced_unless_asked_for() {
    assert_eq!(stormy_transfer(false).1, []);
}

#[test]
fn every_byte_is_assigned_once_mapped_where_it_is_assigned_and_accounted_for_when_sent_again() {
    let (pair, traces) = stormy_transfer(true);
    let mut new_bytes = 0;
    let mut expected_next = None;
    let (mut reinjected, mut queued) = (0, 0);
    let mut mapped: BTreeMap<(SubflowId, u64), (u64, u64)> = BTreeMap::new();
    let mut last_assigned = None;
    for Trace { event, .. } in &traces {
        match event {
            TraceEvent::Assigned { subflow, dsn, len, reason, candidates } => {
                assert!(candidates.iter().any(|c| c.subflow == *subflow), "{event:?}");
                last_assigned = Some((*subflow, *dsn, *len));
                match reason {
                    AssignReason::New => {
                        assert!(expected_next.is_none_or(|next| next == *dsn), "{event:?}, not {expected_next:?}");
                        expected_next = Some(dsn + len);
                        new_bytes += len;
                    }
                    AssignReason::Reinjection => reinjected += len,
                }
            }
            TraceEvent::MappingSent { subflow, ssn, dsn, len } => {
                assert_eq!(last_assigned.take(), Some((*subflow, *dsn, *len)), "mapped as assigned");
                assert_eq!(mapped.insert((*subflow, *ssn), (*dsn, *len)), None, "an SSN is used once: {event:?}");
            }
            TraceEvent::ReinjectionQueued { len, .. } => queued += len,
            TraceEvent::Retransmitted { subflow, ssn, dsn, len, .. } if *len > 0 => {
                let Some(((_, start), (first, all))) = mapped.range(..=(*subflow, *ssn)).next_back() else {
                    panic!("sent again before it was sent: {event:?}");
                };
                assert!(ssn + len <= start + all && dsn - first == ssn - start, "another mapping: {event:?}");
            }
            _ => {}
        }
    }
    assert_eq!(new_bytes, BYTES);
    assert!(reinjected > 0 && reinjected <= queued, "{reinjected} of {queued}");
    let mib = pair.client.stack.mib();
    let count = |wanted: fn(&TraceEvent) -> bool| traces.iter().filter(|t| wanted(&t.event)).count() as u64;
    assert_eq!(count(|e| matches!(e, TraceEvent::TimedOut { .. })), mib.get(Counter::TcpExtTCPTimeouts));
    assert_eq!(count(|e| matches!(e, TraceEvent::Retransmitted { .. })), mib.get(Counter::TcpRetransSegs));
    let entered = count(|e| matches!(e, TraceEvent::RecoveryEntered { .. }));
    assert_eq!(entered, mib.get(Counter::TcpExtTCPSackRecovery));
    assert!(count(|e| matches!(e, TraceEvent::Lost { .. })) >= entered);
    let last = traces.last().expect("events");
    assert!(traces.iter().all(|t| t.connection == last.connection && t.at <= last.at && t.at > Instant::ZERO));
    assert!(traces.iter().any(|t| matches!(&t.event, TraceEvent::Closed { error: None })), "the end is told");
}

#[test]
fn a_path_that_dies_and_comes_back_is_told_of_with_reasons() {
    let mut pair = Pair::connected(&PairOptions::default());
    pair.client.stack.set_tracing(true);
    let now = pair.now;
    pair.client.stack.remove_address(now, LTE);
    pair.drive(Duration::from_secs(1));
    let traces: Vec<Trace> = std::iter::from_fn(|| pair.client.stack.poll_trace()).collect();
    let said: Vec<String> = traces.iter().map(|t| format!("{:?}", t.event)).collect();
    let position =
        |what: &str| said.iter().position(|s| s.contains(what)).unwrap_or_else(|| panic!("no {what} in {said:#?}"));
    let closed = position("PathClosed { subflow: SubflowId(1), reason: AddressRemoved }");
    let told = position("REMOVE_ADDR id 1");
    let managed = position("PathManaged { because: \"subflow");
    assert!(closed < managed && managed < told, "{said:#?}");
}
