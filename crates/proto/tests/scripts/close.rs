//! The end of a stream, of a subflow, of a connection (RFC 8684, section 3.3.3 and 3.5; RFC 9293, section 3.6).

use crate::support::*;
use polypath_proto::{CloseReason, ConnectionError, Duration, FallbackReason, MultipathState, State, SubflowEvent};
use polypath_wire::{MpJoin, MptcpOption, TcpFlags, join_ack_hmac};

/// A server with a second subflow, number 1.
fn server_with_two_subflows() -> Script {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.add_flow((WIFI, STACK_PORT).into(), (PEER_2, 50_000).into());
    let key = s.stack_key();
    s.inject(syn().opt(join(MpJoin::Syn { backup: false, address_id: 4, token: key.token(), nonce: 1 })));
    let packet = s.expect(syn_ack());
    let MptcpOption::MpJoin(MpJoin::SynAck { nonce, .. }) = packet.seg.options.mptcp[0] else { panic!("{packet:?}") };
    s.advance(RTT);
    s.inject(ack(1).opt(join(MpJoin::Ack { hmac: join_ack_hmac(PEER_KEY, key, 1, nonce) })));
    s.expect(ack(1));
    s.take_events();
    s
}

// [8684-3.3.3-2, 8684-3.3.3-3, 8684-3.3.3-6, 8684-3.3.3-9]
#[test]
fn a_connection_closed_here_first_ends_in_order() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.write(0, 100);
    s.expect(data(1, 100));
    s.shutdown();
    // The DATA_FIN takes a number of the connection, and none of the subflow.
    s.expect(ack(1).seq(101).opt(data_fin(101, 1)));
    s.inject(ack(101).opt(dack(102)));
    s.expect_silence(ms(1_000));
    s.inject(ack(101).opt(data_fin(1, 102)));
    // The peer's end is acknowledged, and the subflow closed.
    s.expect(fin(101).ack(1).opt(dack(2)));
    assert_eq!(s.closed(), Some(None));
    assert_eq!(s.read(), (Vec::new(), true));
    assert_eq!(s.subflow_events(), []);
    s.inject(ack(102));
    s.inject(fin(1).ack(102));
    // RFC 9293, section 3.10.7.4: the FIN is acknowledged, at once.
    s.expect(ack(2).seq(102));
    assert_eq!(s.subflow_events(), [SubflowEvent::Closed(CloseReason::Finished)]);
}

// [8684-3.3.3-9]
#[test]
fn a_connection_closed_by_the_peer_first_ends_in_order() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(ack(1).opt(data_fin(1, 1)));
    s.expect(ack(1).seq(1).opt(dack(2)));
    assert_eq!(s.read(), (Vec::new(), true));
    s.shutdown();
    s.expect(ack(1).seq(1).opt(data_fin(1, 2)));
    s.inject(ack(1).opt(dack(2)));
    s.expect(fin(1).ack(1));
    assert_eq!(s.closed(), Some(None));
    s.inject(fin(1).ack(2));
    s.expect(ack(2).seq(2));
}

// [8684-3.3.3-2]
#[test]
fn a_data_fin_with_data_ends_the_stream_after_it() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(data(1, 10).opt(Opt::Dss { ack: Some(1), map: Some((1, 1, 11)), fin: true }));
    s.expect(ack(11).opt(dack(12)));
    assert_eq!(s.read(), (stream(0, 10), true));
}

// [8684-3.3.3-4]
#[test]
fn a_data_fin_ahead_of_missing_data_waits_for_it() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(ack(1).opt(data_fin(11, 1)));
    s.expect(ack(1).opt(dack(1)));
    assert_eq!(s.read(), (Vec::new(), false));
    s.inject(data(1, 10).opt(map(1, 1, 10, 1)));
    s.expect(ack(11).opt(dack(12)));
    assert_eq!(s.read(), (stream(0, 10), true));
}

// [8684-3.3.3-5]
#[test]
fn a_data_fin_is_repeated_until_acknowledged() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.shutdown();
    let first = s.expect(ack(1).seq(1).opt(data_fin(1, 1)));
    s.advance(ms(1_000));
    let second = s.expect(ack(1).seq(1).opt(data_fin(1, 1)));
    let third = s.expect(ack(1).seq(1).opt(data_fin(1, 1)));
    let (pause, next) = (second.at - first.at, third.at - second.at);
    assert!(pause >= ms(200) && pause <= ms(400), "{pause:?}");
    assert!(next > pause, "it backs off: {pause:?}, {next:?}");
    s.clear();
    s.inject(ack(1).opt(dack(2)));
    s.expect_silence(ms(10_000));
}

// [9293-MUST-20]
#[test]
fn a_data_fin_that_nobody_acknowledges_ends_the_connection_as_data_does() {
    let mut s = Script::active_client(&ScriptOptions::default());
    // A pause before it does not count.
    s.advance(Duration::from_secs(3_600));
    s.shutdown();
    s.expect(ack(1).seq(1).opt(data_fin(1, 1)));
    s.advance(Duration::from_secs(14 * 60));
    assert_eq!(s.closed(), None);
    s.advance(Duration::from_secs(3 * 60));
    assert_eq!(s.closed(), Some(Some(ConnectionError::TimedOut)));
}

#[test]
fn a_data_fin_is_said_again_as_soon_as_a_path_is_back() {
    let mut pair = Pair::connected(&PairOptions::default());
    pair.drive(ms(100));
    pair.cut(WIFI);
    pair.cut(LTE);
    pair.send(Side::Client, 10_000);
    pair.finish(Side::Client);
    // By now it backs off by more than ten seconds.
    pair.drive(ms(30_000));
    pair.mend(WIFI);
    pair.mend(LTE);
    pair.drive_until(ms(60_000), |p| p.server.received.len() as u64 == 10_000);
    let arrived = pair.now;
    pair.drive_until(ms(60_000), |p| p.server.ended);
    assert!(pair.now - arrived < ms(1_000), "the end came {:?} after the last byte", pair.now - arrived);
}

#[test]
fn a_repeated_data_fin_is_acknowledged_again() {
    let mut s = Script::active_server(&ScriptOptions::default());
    for _ in 0..3 {
        s.inject(ack(1).opt(data_fin(1, 1)));
        s.expect(ack(1).opt(dack(2)));
    }
}

#[test]
fn after_our_end_the_peer_may_go_on_sending() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.shutdown();
    s.expect(ack(1).opt(data_fin(1, 1)));
    s.inject(ack(1).opt(dack(2)));
    s.inject(data(1, 100).opt(map(1, 1, 100, 2)));
    s.expect(ack(101).opt(dack(101)));
    assert_eq!(s.read(), (stream(0, 100), false));
    s.inject(ack(1).opt(data_fin(101, 2)));
    s.expect(fin(1).opt(dack(102)));
    assert_eq!(s.closed(), Some(None));
}

// [8684-3.3.3-6]
#[test]
fn after_the_peers_end_we_may_go_on_sending() {
    let mut s = Script::active_server(&ScriptOptions::default());
    s.inject(ack(1).opt(data_fin(1, 1)));
    s.expect(ack(1).opt(dack(2)));
    s.write(0, 100);
    s.expect(data(1, 100).opt(map(1, 1, 100, 2)));
    s.inject(ack(101).opt(dack(101)));
    s.shutdown();
    s.expect(ack(1).seq(101).opt(data_fin(101, 2)));
    s.inject(ack(101).opt(dack(102)));
    s.expect(fin(101));
    assert_eq!(s.closed(), Some(None));
}

// [8684-3.3.3-9, 9293-3.10.7.4-4]
#[test]
fn both_ends_may_close_at_once() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.shutdown();
    s.expect(ack(1).opt(data_fin(1, 1)));
    s.inject(ack(1).opt(data_fin(1, 1)));
    s.expect(ack(1).opt(dack(2)));
    s.inject(ack(1).opt(dack(2)));
    s.expect(fin(1).ack(1));
    // The FINs cross too: CLOSING.
    s.inject(fin(1).ack(1));
    s.expect(ack(2).seq(2));
    s.inject(ack(2));
    assert_eq!(s.closed(), Some(None));
    assert!(s.subflow_events().contains(&SubflowEvent::Closed(CloseReason::Finished)));
    s.expect_silence(ms(1_000));
}

// [8684-3.3.3-7, 8684-3.3.3-8, 8684-3.4.2-10]
#[test]
fn every_subflow_is_told_of_the_end_and_closed() {
    let mut s = server_with_two_subflows();
    s.on(0).inject(ack(1).opt(data_fin(1, 1)));
    s.expect(ack(1).opt(dack(2)));
    s.on(1).expect(ack(1).opt(dack(2)));
    s.shutdown();
    let flow = (0..2).find(|f| {
        s.on(*f);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| s.expect_nothing_on_current())).is_err()
    });
    let flow = flow.expect("a DATA_FIN on one of them");
    s.on(flow).expect(ack(1).seq(1).opt(data_fin(1, 2)));
    s.inject(ack(1).opt(dack(2)));
    s.on(0).expect(fin(1));
    s.on(1).expect(fin(1));
}

// [8684-3.3-7, 8684-3.3.3-1]
#[test]
fn a_fin_of_one_subflow_closes_that_subflow_only() {
    let mut s = server_with_two_subflows();
    s.inject(fin(1));
    s.expect(fin(1).ack(2));
    s.inject(ack(2));
    assert_eq!(s.subflow_events(), [SubflowEvent::Closed(CloseReason::Finished)]);
    assert_eq!(s.closed(), None);
    s.on(0).write(0, 10);
    s.expect(data(1, 10).opt(map(1, 1, 10, 1)));
}

#[test]
fn a_subflow_fin_is_sent_again() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.shutdown();
    s.expect(fin(1));
    s.expect_after(ms(200), fin(1));
    s.expect_after(ms(400), fin(1));
    s.inject(ack(2));
    s.expect_silence(ms(10_000));
    assert_eq!(s.info().subflows[0].state, State::FinWait2);
}

// [9293-3.10.7.4-4]
#[test]
fn plain_tcp_closes_from_either_side() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.write(0, 10);
    s.expect(data(1, 10));
    s.shutdown();
    s.expect(fin(11));
    s.inject(ack(12));
    s.inject(data(1, 20));
    s.expect(ack(21).seq(12));
    s.inject(fin(21));
    s.expect(ack(22).seq(12));
    assert_eq!((s.read(), s.closed()), ((stream(0, 20), true), Some(None)));

    let mut s = Script::plain_server(&ScriptOptions::default());
    s.inject(fin(1));
    s.expect(ack(2).seq(1));
    assert_eq!(s.info().subflows[0].state, State::CloseWait);
    s.write(0, 10);
    s.expect(data(1, 10));
    s.inject(ack(11));
    s.shutdown();
    s.expect(fin(11));
    assert_eq!(s.info().subflows[0].state, State::LastAck);
    s.inject(ack(12));
    assert_eq!(s.closed(), Some(None));
    assert!(s.info().subflows.is_empty());
}

// [9293-3.10.7.4-3]
#[test]
fn a_fin_ahead_of_missing_data_waits_for_it() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    s.inject(data(51, 50));
    s.expect(ack(1).sack(&[(51, 101)]));
    s.inject(fin(101));
    s.clear();
    s.inject(data(1, 50));
    s.expect(ack(102));
    assert_eq!(s.read(), (stream(0, 100), true));
}

#[test]
fn a_fin_ahead_of_missing_data_is_answered_at_once() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    // RFC 5681, section 4.2: as every segment out of order.
    s.inject(fin(101));
    s.expect(ack(1));
}

// [9293-MUST-13, 9293-3.10.7.4-5, 7323-3.2-2]
#[test]
fn time_wait_answers_a_repeated_fin_for_a_minute() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.shutdown();
    s.expect(fin(1));
    s.inject(fin(1).ack(2));
    s.expect(ack(2).seq(2));
    s.close();
    assert_eq!(s.stack.connection_count(), 0);
    s.advance(ms(30_000));
    s.inject(fin(1).ack(2));
    let again = s.expect(ack(2).seq(2));
    // RFC 7323, section 3.2: once negotiated, timestamps are in every segment but a reset.
    assert!(again.seg.options.timestamps.is_some(), "{again:?}");
    // A pure acknowledgement or a reset gets no answer.
    s.inject(ack(2));
    s.inject(rst(2));
    s.expect_nothing();
    // Afterwards nobody knows it any more.
    s.advance(ms(120_000));
    s.inject(fin(1).ack(2));
    let reset = s.next_packet().expect("a reset");
    assert_eq!(reset.seg.tcp.flags, TcpFlags::RST);
}

// [8684-3.5-1]
#[test]
fn closing_with_unread_data_ends_the_connection_for_both() {
    let mut s = server_with_two_subflows();
    s.on(0).inject(data(1, 10).opt(map(1, 1, 10, 1)));
    s.expect(ack(11));
    s.close();
    // RFC 8684, section 3.5, option R: a reset with MP_FASTCLOSE on every subflow.
    s.expect(rst_ack().seq(1).ack(11).opt(fastclose(PEER_KEY)));
    s.on(1).expect(rst_ack().seq(1).ack(1).opt(fastclose(PEER_KEY)));
    assert_eq!(s.closed(), Some(Some(ConnectionError::Aborted)));
    assert_eq!(s.stack.connection_count(), 0);
}

// [9293-SHLD-3]
#[test]
fn closing_with_unread_data_resets_plain_tcp() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    s.inject(data(1, 10));
    s.expect(ack(11));
    s.close();
    s.expect(rst_ack().seq(1).ack(11).plain());
}

// [9293-SHLD-3]
#[test]
fn data_for_an_application_that_is_gone_resets() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    s.close();
    s.expect(fin(1));
    s.inject(data(1, 10).ack(2));
    let reset = s.next_packet().expect("a reset");
    assert!(reset.seg.tcp.flags.contains(TcpFlags::RST));
}

#[test]
fn a_close_still_delivers_what_was_written() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.write(0, 100);
    s.close();
    s.expect(data(1, 100).opt(map(1, 1, 100, 1)));
    s.expect(ack(1).seq(101).opt(data_fin(101, 1)));
    s.expect_after(ms(200), data(1, 100).opt(map(1, 1, 100, 1)));
    s.inject(ack(101).opt(dack(102)));
    s.clear();
    s.inject(ack(101).opt(data_fin(1, 102)));
    s.expect(fin(101));
    s.inject(fin(1).ack(102));
    s.advance(ms(1_000));
    assert_eq!(s.stack.connection_count(), 0);
}

// [8684-3.5-1]
#[test]
fn an_abort_tells_the_peer() {
    let mut s = Script::active_client(&ScriptOptions::default());
    s.abort();
    s.expect(rst_ack().seq(1).ack(1).opt(fastclose(PEER_KEY)));
    assert_eq!(s.closed(), Some(Some(ConnectionError::Aborted)));

    let mut s = Script::plain_client(&ScriptOptions::default());
    s.abort();
    s.expect(rst_ack().seq(1).ack(1).plain());
    assert_eq!(s.closed(), Some(Some(ConnectionError::Aborted)));
}

// [8684-3.5-2]
#[test]
fn mp_fastclose_on_an_ack_ends_every_subflow() {
    let mut s = server_with_two_subflows();
    let key = s.stack_key();
    s.on(0).inject(ack(1).opt(fastclose(key)));
    assert_eq!(s.closed(), Some(Some(ConnectionError::Reset)));
    s.expect(Seg { ack: None, ..rst_ack() }.seq(1));
    s.on(1).expect(Seg { ack: None, ..rst_ack() }.seq(1));
    s.expect_silence(ms(1_000));
}

// [8684-3.5-3]
#[test]
fn mp_fastclose_on_a_reset_ends_the_connection_and_the_reset_is_not_answered() {
    let mut s = server_with_two_subflows();
    let key = s.stack_key();
    s.on(0).inject(rst(1).opt(fastclose(key)));
    assert_eq!(s.closed(), Some(Some(ConnectionError::Reset)));
    s.on(1).expect(Seg { ack: None, ..rst_ack() }.seq(1));
    // RFC 9293, section 3.5.2: a reset never answers a reset.
    s.on(0).expect_nothing();
}

// [8684-3.5-4]
#[test]
fn mp_fastclose_with_a_foreign_key_is_ignored() {
    let mut s = server_with_two_subflows();
    s.on(0).inject(ack(1).opt(fastclose(PEER_KEY)));
    assert_eq!(s.closed(), None);
    s.expect_nothing();
}

// [8684-3.3-7, 8684-3.3.3-10, 8684-4-5]
#[test]
fn a_reset_of_one_subflow_is_not_the_end_of_the_connection() {
    let mut s = server_with_two_subflows();
    s.on(0).inject(rst(1));
    assert_eq!(s.subflow_events(), [SubflowEvent::Closed(CloseReason::ResetByPeer)]);
    s.on(1).write(0, 10);
    s.expect(data(1, 10));
    // Nor is that of the last: a join may come for a minute.
    s.inject(rst(1));
    s.advance(ms(59_000));
    assert_eq!(s.closed(), None);
    s.advance(ms(2_000));
    assert_eq!(s.closed(), Some(Some(ConnectionError::TimedOut)));
}

#[test]
fn two_stacks_close_without_a_timeout() {
    for multipath in [true, false] {
        let connect = polypath_proto::ConnectOptions { no_multipath: !multipath, ..Default::default() };
        let mut pair = Pair::connected(&PairOptions { connect, ..PairOptions::default() });
        let start = pair.now;
        pair.send(Side::Client, 10_000);
        pair.finish(Side::Client);
        pair.drive_until(ms(1_000), |p| p.server.ended);
        pair.finish(Side::Server);
        pair.drive_until(ms(1_000), |p| p.closed(Side::Client).is_some() && p.closed(Side::Server).is_some());
        pair.drive_until(ms(1_000), |p| {
            p.info(Side::Client).subflows.is_empty() && p.info(Side::Server).subflows.is_empty()
        });
        // A handful of round trips of 20 ms; a FIN or DATA_FIN that had to be repeated would take 200 ms.
        assert!(pair.now - start < ms(190), "{:?} (multipath: {multipath})", pair.now - start);
        assert_eq!((pair.closed(Side::Client), pair.closed(Side::Server)), (Some(None), Some(None)));
        pair.assert_received(Side::Server, 10_000);
    }
}

/// A peer that is reset and never comes back must not be waited for without end.
// [8684-3.3.3-10]
#[test]
fn a_connection_whose_only_subflow_was_reset_is_given_up_in_the_end() {
    let mut s = Script::active_server(&ScriptOptions::default());
    // A checksum that was not agreed on.
    s.inject(data(1, 100).opt(map_sum(1, 1, 100, 1)));
    s.expect(rst_ack());
    s.advance(ms(59_000));
    assert_eq!(s.closed(), None);
    s.advance(ms(1_000));
    assert_eq!(s.closed(), Some(Some(ConnectionError::TimedOut)));
}

/// A client ends its stream before it has written anything, and its third ACK is lost.
fn ended_unheard() -> (Script, Opt) {
    let mut s = Script::client(&ScriptOptions::default());
    s.expect(syn());
    s.advance(RTT);
    s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
    let keys: Opt = capable_ack(s.stack_key(), PEER_KEY).into();
    s.expect(ack(1).opt(keys.clone()));
    s.shutdown();
    s.expect(ack(1).opt(data_fin(1, 1)));
    (s, keys)
}

// [8684-3.1-25, 8684-3.3.3-5]
#[test]
fn the_keys_go_again_with_the_end_of_an_empty_stream() {
    let (mut s, keys) = ended_unheard();
    s.advance(ms(200));
    s.expect(ack(1).opt(keys));
    s.expect(ack(1).opt(data_fin(1, 1)));
    s.inject(ack(1).opt(dack(2)));
    s.inject(ack(1).opt(data_fin(1, 2)));
    assert_eq!(s.read(), (vec![], true));
    assert_eq!(s.closed(), Some(None));
}

// [8684-3.7-3]
#[test]
fn a_peer_that_took_the_end_of_an_empty_stream_for_plain_tcp_hears_a_fin() {
    for answers in [false, true] {
        let (mut s, _) = ended_unheard();
        s.advance(ms(200));
        s.clear();
        s.advance(ms(400));
        s.expect(ack(1).seq(1).opt(data_fin(1, 1)));
        // To one that did not, it is the end of the stream as well.
        s.expect(fin(1).opt(data_fin(1, 1)));
        if answers {
            // It may go on for long.
            s.inject(ack(2));
            assert_eq!(s.multipath(), MultipathState::Fallback(FallbackReason::NoDss));
            s.inject(data(1, 100).ack(2));
            s.inject(fin(101).ack(2));
            assert_eq!(s.read(), (stream(0, 100), true));
        } else {
            s.inject(fin(1).ack(2));
            assert_eq!(s.read(), (vec![], true));
        }
        assert_eq!(s.closed(), Some(None), "both ends have said and heard all");
    }
}
