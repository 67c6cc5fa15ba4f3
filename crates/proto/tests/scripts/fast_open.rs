//! TCP Fast Open (RFC 7413): data with the SYN, in plain TCP and in Multipath TCP (RFC 8684, appendix B).

use crate::support::*;
use polypath_proto::mib::Counter;
use polypath_proto::{ConnectOptions, ConnectionError, FallbackReason, MultipathState, State};
use polypath_wire::MpJoin;

const COOKIE: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

fn plain() -> ConnectOptions {
    ConnectOptions { no_multipath: true, fast_open: true, ..ConnectOptions::default() }
}

fn multipath() -> ConnectOptions {
    ConnectOptions { fast_open: true, ..ConnectOptions::default() }
}

/// A client that has been given a cookie by the peer, with an MSS of 1460.
fn client_with_cookie() -> Script {
    let mut s = Script::client(&ScriptOptions { connect: plain(), ..ScriptOptions::default() });
    s.expect(syn().fast_open(&[]).len(0));
    s.inject(syn_ack().fast_open(&COOKIE));
    s.expect(ack(1));
    s.abort();
    s.take_events();
    s
}

/// The next connection of such a client: so many bytes go with its SYN.
fn sent_with_syn(len: usize, options: ConnectOptions) -> Script {
    let mut s = client_with_cookie();
    s.connect_and_write(options, len);
    s.expect(syn().fast_open(&COOKIE).payload(&stream(0, len)));
    s
}

/// A listening stack that takes the data of so many SYNs at once, and the cookie that it gives the peer.
fn server(limit: usize) -> (Script, Vec<u8>) {
    let mut s = Script::server(&ScriptOptions::default());
    let listener = s.listener.expect("a listener");
    s.stack.set_fast_open(listener, limit);
    s.inject(syn().fast_open(&[]));
    let answer = s.expect(syn_ack());
    let cookie = answer.seg.options.fast_open.expect("a cookie").as_bytes().to_vec();
    s.inject(rst(1));
    again(&mut s, 50_001);
    (s, cookie)
}

/// Another connection of the peer.
fn again(s: &mut Script, port: u16) {
    s.add_flow((WIFI, STACK_PORT).into(), (PEER, port).into());
}

fn counted(s: &Script, counter: Counter) -> u64 {
    s.stack.mib().get(counter)
}

// [7413-4.1.3-1, 7413-4.2.1-2]
#[test]
fn a_client_is_given_a_cookie_and_sends_data_with_its_next_syn() {
    let mut s = client_with_cookie();
    s.connect_and_write(plain(), 100);
    s.expect(syn().fast_open(&COOKIE).payload(&stream(0, 100)));
    s.advance(RTT);
    s.inject(syn_ack().ack(101));
    s.expect(ack(1).seq(101));
    s.write(100, 100);
    s.expect(data(101, 100).payload(&stream(100, 100)));
    s.inject(data(1, 100).ack(201));
    assert_eq!(s.read(), (stream(0, 100), false));
    assert_eq!((counted(&s, Counter::TcpExtTCPFastOpenActive), s.info().send_queue), (1, 0));
}

// [7413-4.2.1-2]
#[test]
fn what_the_server_does_not_take_is_sent_after_the_handshake() {
    for taken in [0, 40] {
        let mut s = sent_with_syn(100, plain());
        s.inject(syn_ack().ack(1 + taken));
        let rest = stream(u64::from(taken), 100 - taken as usize);
        s.expect(data(1 + taken, rest.len()).ack(1).payload(&rest));
        s.inject(ack(101));
        assert_eq!(s.info().send_queue, 0);
        let failed = counted(&s, Counter::TcpExtTCPFastOpenActiveFail);
        assert_eq!(failed, u64::from(taken == 0));
        // A cookie that did not do is not tried again.
        s.connect_and_write(plain(), 100);
        if taken == 0 {
            s.expect(syn().fast_open(&[]).len(0));
        } else {
            s.expect(syn().fast_open(&COOKIE).len(100));
        }
    }
}

// [7413-4.1.3.1-1]
#[test]
fn a_syn_that_goes_unanswered_is_sent_again_without_data_or_cookie() {
    for arrived in [false, true] {
        let mut s = sent_with_syn(100, plain());
        let packet = s.expect_after(ms(1_000), syn().len(0));
        assert_eq!(packet.seg.options.fast_open, None);
        // It may be that only the answer was lost.
        s.inject(syn_ack().ack(if arrived { 101 } else { 1 }));
        if arrived {
            s.expect(ack(1).seq(101));
            s.expect_silence(ms(10_000));
        } else {
            s.expect(data(1, 100).ack(1).payload(&stream(0, 100)));
        }
    }
}

// [7413-4.1.3-2, 7413-4.1.3-3]
#[test]
fn where_such_syns_are_lost_the_option_is_left_out_for_an_hour() {
    let mut s = client_with_cookie();
    for n in 0..2 {
        s.connect_and_write(plain(), 100);
        s.expect(syn().fast_open(if n == 0 { &COOKIE } else { &[] }));
        s.expect_after(ms(1_000), syn().len(0));
        s.inject(syn_ack());
        s.abort();
    }
    assert_eq!(counted(&s, Counter::TcpExtTCPFastOpenBlackhole), 1);
    s.connect_and_write(plain(), 100);
    assert_eq!(s.expect(syn().len(0)).seg.options.fast_open, None);
    s.abort();
    s.advance(ms(3_600_000));
    s.connect_and_write(plain(), 100);
    s.expect(syn().fast_open(&[]).len(0));
}

#[test]
fn a_syn_waits_a_little_for_data_and_goes_without() {
    let mut s = client_with_cookie();
    s.connect_and_write(plain(), 0);
    s.expect_after(ms(10), syn().fast_open(&COOKIE).len(0));
    s.inject(syn_ack());
    s.expect(ack(1));
    s.write(0, 100);
    s.expect(data(1, 100));
    assert_eq!(counted(&s, Counter::TcpExtTCPFastOpenActiveFail), 0);
}

// [7413-4.2.1-1]
#[test]
fn a_syn_carries_no_more_than_the_server_takes_in_a_segment() {
    let mut s = client_with_cookie();
    s.connect_and_write(plain(), 5_000);
    // The MSS and 40 bytes of options.
    s.expect(syn().fast_open(&COOKIE).len(1_420));
    s.inject(syn_ack().ack(1_421));
    s.expect(data(1_421, MSS as usize));
}

// [7413-4.1.3-1]
#[test]
fn a_client_that_does_not_want_it_asks_for_nothing() {
    let mut s = client_with_cookie();
    s.connect_and_write(ConnectOptions { fast_open: false, ..plain() }, 100);
    assert_eq!(s.expect(syn().len(0)).seg.options.fast_open, None);
}

#[test]
fn a_refused_connection_fails_though_its_syn_had_data() {
    let mut s = sent_with_syn(100, plain());
    s.inject(rst_ack().seq(0).ack(101));
    assert_eq!(s.closed(), Some(Some(ConnectionError::Refused)));
}

#[test]
fn a_stream_that_ends_before_its_syn_is_answered_ends() {
    for len in [0, 100] {
        let mut s = client_with_cookie();
        s.connect_and_write(plain(), len);
        s.shutdown();
        s.expect(syn().fast_open(&COOKIE).payload(&stream(0, len)));
        s.inject(syn_ack().ack(1 + len as u32));
        s.expect(fin(1 + len as u32).ack(1));
    }
}

/// The third ACK brings the key. Without it a server makes nothing of a DATA_FIN.
// [8684-3.1-4]
#[test]
fn in_multipath_tcp_the_keys_go_before_such_an_end() {
    for (fast_open, len) in [(true, 100), (true, 0), (false, 0)] {
        let mut s = client_with_cookie();
        s.connect_and_write(ConnectOptions { fast_open, ..multipath() }, len);
        s.shutdown();
        s.expect(syn().payload(&stream(0, len)).opt(capable_syn()));
        let end = 1 + len as u32;
        s.inject(syn_ack().ack(end).opt(capable_syn_ack(PEER_KEY)));
        let key = s.stack_key();
        s.expect(ack(1).seq(end).opt(capable_ack(key, PEER_KEY)));
        s.expect(ack(1).seq(end).opt(data_fin(1, 1)));
    }
}

/// The data of the SYN has no data sequence numbers: they, and those of the subflow in mappings, begin after it.
// [8684-B-1]
#[test]
fn in_multipath_tcp_the_numbers_of_a_client_begin_after_the_data_of_its_syn() {
    let mut s = client_with_cookie();
    s.connect_and_write(multipath(), 100);
    s.expect(syn().fast_open(&COOKIE).payload(&stream(0, 100)).opt(capable_syn()));
    s.inject(syn_ack().ack(101).opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1).seq(101));
    let key = s.stack_key();
    s.write(100, 100);
    s.expect(data(101, 100).payload(&stream(100, 100)).opt(capable_data(key, PEER_KEY, 100)));
    s.inject(ack(201).opt(dack(101)));
    assert_eq!(s.multipath(), MultipathState::Active);
    assert_eq!(s.info().send_queue, 0);
    s.write(200, 100);
    s.expect(data(201, 100).payload(&stream(200, 100)).opt(map(101, 101, 100, 1)));
    s.inject(data(1, 100).ack(301).opt(map(1, 1, 100, 201)));
    assert_eq!(s.read(), (stream(0, 100), false));
    s.shutdown();
    s.clear();
    s.inject(ack(301).opt(dack(202)));
    s.inject(ack(301).opt(data_fin(101, 202)));
    assert_eq!(s.closed(), Some(None));
}

// [8684-B-1]
#[test]
fn checksums_and_the_infinite_mapping_count_from_there_too() {
    let mut s = client_with_cookie();
    s.connect_and_write(multipath(), 100);
    s.expect(syn().fast_open(&COOKIE));
    s.inject(syn_ack().ack(101).opt(capable_syn_ack(PEER_KEY)));
    s.expect(ack(1).seq(101));
    s.inject(ack(101).opt(dack(1)));
    for n in 0..3 {
        s.write(100 + n * 100, 100);
        s.expect(data(101 + n as u32 * 100, 100).opt(map(1 + n * 100, 1 + n as u32 * 100, 100, 1)));
        // Plain TCP from here on.
        s.inject(ack(201 + n as u32 * 100));
    }
    assert_eq!(s.multipath(), MultipathState::Fallback(FallbackReason::NoDss));
    s.write(400, 100);
    s.expect(data(401, 100).payload(&stream(400, 100)).opt(farewell(1, 1)));
}

// [7413-4.2.2-1]
#[test]
fn a_server_gives_cookies_and_takes_data_only_with_its_own() {
    let (mut s, cookie) = server(10);
    s.inject(syn().fast_open(&COOKIE).len(100));
    s.expect(syn_ack().ack(1).fast_open(&cookie));
    again(&mut s, 50_002);
    s.inject(syn().fast_open(&cookie).len(100));
    let answer = s.expect(syn_ack().ack(101));
    assert_eq!(answer.seg.options.fast_open, None);
    let counters = [Counter::TcpExtTCPFastOpenCookieReqd, Counter::TcpExtTCPFastOpenPassiveFail];
    assert_eq!(counters.map(|c| counted(&s, c)), [1, 1]);
    assert_eq!(counted(&s, Counter::TcpExtTCPFastOpenPassive), 1);
}

#[test]
fn a_listener_that_was_not_told_to_knows_nothing_of_it() {
    let mut s = Script::server(&ScriptOptions::default());
    s.inject(syn().fast_open(&[]));
    assert_eq!(s.expect(syn_ack()).seg.options.fast_open, None);
    again(&mut s, 50_001);
    s.inject(syn().fast_open(&COOKIE).len(100));
    s.expect(syn_ack().ack(1));
}

// [7413-4.2.2-3, 7413-4.2.2-4]
#[test]
fn a_server_of_plain_tcp_reads_and_answers_before_the_third_ack() {
    let (mut s, cookie) = server(10);
    s.inject(syn().fast_open(&cookie).len(100));
    s.expect(syn_ack().ack(101).plain());
    s.accept();
    assert_eq!(s.read(), (stream(0, 100), false));
    s.write(0, 3_000);
    s.expect(data(1, MSS as usize).ack(101).payload(&stream(0, MSS as usize)));
    s.expect(data(1 + MSS, MSS as usize));
    s.advance(RTT);
    s.inject(ack(1 + MSS).seq(101));
    s.inject(ack(1 + 2 * MSS).seq(101));
    s.inject(data(101, 100).ack(3_001));
    assert_eq!(s.read(), (stream(100, 100), false));
    assert_eq!(s.info().send_queue, 0);
}

#[test]
fn a_lost_syn_ack_is_sent_again_and_then_what_was_sent_after_it() {
    let (mut s, cookie) = server(10);
    s.inject(syn().fast_open(&cookie).len(100));
    s.expect(syn_ack().ack(101));
    s.accept();
    s.write(0, 100);
    s.expect(data(1, 100));
    // The client, which heard nothing, sends its SYN without data.
    s.advance(ms(500));
    s.inject(syn());
    s.expect(syn_ack().ack(101));
    s.expect_after(ms(1_000), syn_ack().ack(101));
    s.inject(ack(1).seq(101));
    s.advance(ms(3_000));
    s.expect(data(1, 100).payload(&stream(0, 100)));
    s.inject(ack(101).seq(101));
    assert_eq!(s.info().send_queue, 0);
}

#[test]
fn a_server_may_close_before_the_third_ack() {
    let (mut s, cookie) = server(10);
    s.inject(syn().fast_open(&cookie).len(100));
    s.expect(syn_ack().ack(101));
    s.accept();
    assert_eq!(s.read(), (stream(0, 100), false));
    s.write(0, 100);
    s.expect(data(1, 100));
    s.close();
    s.expect_nothing();
    s.inject(ack(101).seq(101));
    s.expect(fin(101));
}

#[test]
fn a_reset_before_the_third_ack_is_told_to_who_has_the_connection() {
    let (mut s, cookie) = server(10);
    s.inject(syn().fast_open(&cookie).len(100));
    s.accept();
    s.inject(rst(101));
    assert_eq!(s.closed(), Some(Some(ConnectionError::Reset)));
    assert_eq!(s.read().0, stream(0, 100));
}

/// Its data may be read early; but an answer needs the client's key, which comes with the third ACK.
// [8684-B-1, 8684-B-2]
#[test]
fn a_server_of_multipath_tcp_reads_early_and_answers_after_the_third_ack() {
    let (mut s, cookie) = server(10);
    s.inject(syn().fast_open(&cookie).len(100).opt(capable_syn()));
    s.expect(syn_ack().ack(101));
    let key = s.stack_key();
    s.accept();
    assert_eq!(s.read(), (stream(0, 100), false));
    s.write(0, 100);
    s.expect_silence(ms(10));
    s.inject(ack(1).seq(101).opt(capable_ack(PEER_KEY, key)));
    s.expect(data(1, 100).opt(map(1, 1, 100, 1)));
    s.inject(data(101, 100).ack(101).opt(capable_data(PEER_KEY, key, 100)));
    s.expect(ack(201).opt(dack(101)));
    s.inject(data(201, 100).ack(101).opt(map(101, 101, 100, 101)));
    s.expect(ack(301).opt(dack(201)));
    assert_eq!(s.read(), (stream(100, 200), false));
    assert_eq!(s.multipath(), MultipathState::Active);
    s.inject(ack(101).opt(data_fin(201, 101)));
    assert_eq!(s.read(), (vec![], true));
}

#[test]
fn a_server_of_multipath_tcp_whose_third_ack_has_no_key_goes_on_as_plain_tcp() {
    let (mut s, cookie) = server(10);
    s.inject(syn().fast_open(&cookie).len(100).opt(capable_syn()));
    s.expect(syn_ack().ack(101));
    s.accept();
    s.inject(data(101, 100).ack(1));
    s.expect(ack(201).plain());
    assert_eq!(s.read(), (stream(0, 200), false));
    s.write(0, 100);
    s.expect(data(1, 100).plain());
}

// [7413-4.2.2-2]
#[test]
fn so_many_handshakes_with_data_at_once_and_no_more() {
    let (mut s, cookie) = server(2);
    for n in 0..3 {
        again(&mut s, 51_000 + n);
        s.inject(syn().fast_open(&cookie).len(100));
        s.expect(syn_ack().ack(if n < 2 { 101 } else { 1 }));
    }
    assert_eq!(counted(&s, Counter::TcpExtTCPFastOpenListenOverflow), 1);
    // One is over, there is room for another.
    s.on(2).inject(ack(1).seq(101));
    again(&mut s, 52_000);
    s.inject(syn().fast_open(&cookie).len(100));
    s.expect(syn_ack().ack(101));
}

/// Whoever forges SYNs with a cookie makes their supposed sender reset what they open.
// [7413-4.2.2-5]
#[test]
fn a_handshake_that_a_reset_ended_counts_for_a_minute() {
    let (mut s, cookie) = server(2);
    let attempt = |s: &mut Script, port, taken| {
        again(s, port);
        s.inject(syn().fast_open(&cookie).len(100));
        s.expect(syn_ack().ack(if taken { 101 } else { 1 }));
        s.inject(rst(if taken { 101 } else { 1 }));
        s.expect_nothing();
    };
    attempt(&mut s, 51_000, true);
    s.advance(ms(30_000));
    attempt(&mut s, 51_001, true);
    attempt(&mut s, 51_002, false);
    s.advance(ms(29_999));
    attempt(&mut s, 51_003, false);
    s.advance(ms(1));
    attempt(&mut s, 51_004, true);
    attempt(&mut s, 51_005, false);
    assert_eq!(counted(&s, Counter::TcpExtTCPFastOpenListenOverflow), 3);
}

/// A keep-alive, the ACK before it being lost; or the data of the SYN again.
#[test]
fn after_a_third_ack_that_brings_nothing_what_was_sent_early_is_still_sent_again() {
    for third in [ack(1).seq(100), data(1, 100).ack(1)] {
        let (mut s, cookie) = server(10);
        s.inject(syn().fast_open(&cookie).len(100));
        s.expect(syn_ack().ack(101));
        s.accept();
        s.write(0, 100);
        s.expect(data(1, 100));
        s.advance(ms(500));
        s.inject(third);
        s.expect(ack(101).seq(101));
        s.advance(ms(10_000));
        s.expect(data(1, 100).payload(&stream(0, 100)));
    }
}

// [9293-MUST-10, 7413-4.2.1-2]
#[test]
fn a_peer_whose_syn_crossed_ours_may_take_our_data() {
    for taken in [0, 40, 100] {
        for lost in [true, false] {
            let mut s = sent_with_syn(100, plain());
            s.inject(syn());
            s.expect(syn_ack().ack(1).seq(0));
            // Its SYN/ACK was lost: then this is what it sends to acknowledge ours.
            s.inject(if lost { ack(1 + taken).seq(1) } else { syn_ack().ack(1 + taken) });
            assert_eq!(s.info().subflows[0].state, State::Established);
            if taken < 100 {
                let rest = stream(u64::from(taken), 100 - taken as usize);
                s.expect(data(1 + taken, rest.len()).ack(1).payload(&rest));
                s.inject(ack(101).seq(1));
            }
            assert_eq!((s.info().send_queue, s.info().bytes_acked), (0, 100));
            s.clear();
            s.write(100, 100);
            s.expect(data(101, 100).payload(&stream(100, 100)));
            s.inject(ack(201).seq(1));
            s.expect_silence(ms(200_000));
            assert_eq!(s.closed(), None);
        }
    }
}

// [7413-4.2.2-1]
#[test]
fn a_join_that_asks_for_no_cookie_gets_none() {
    let mut s = Script::server(&ScriptOptions::default());
    let listener = s.listener.expect("a listener");
    s.stack.set_fast_open(listener, 10);
    s.inject(syn().fast_open(&[]).opt(capable_syn()));
    assert_ne!(s.expect(syn_ack()).seg.options.fast_open, None);
    let key = s.stack_key();
    s.advance(RTT);
    s.inject(ack(1).opt(capable_ack(PEER_KEY, key)));
    s.accept();
    again(&mut s, 50_003);
    let join = MpJoin::Syn { backup: false, address_id: 1, token: key.token(), nonce: 5 };
    s.inject(syn().no_timestamps().opt(join));
    assert_eq!(s.expect(syn_ack()).seg.options.fast_open, None);
}

#[test]
fn requests_and_answers_between_two_stacks_arrive_whole() {
    for connect in [plain(), multipath()] {
        for loss in [0, 3, 7] {
            let mut pair = Pair::new(&PairOptions { connect: connect.clone(), ..PairOptions::default() });
            let listener = pair.listener;
            pair.server.stack.set_fast_open(listener, 16);
            let mut n = 0;
            pair.lose(move |_| {
                n += 1;
                loss > 0 && n % 11 == loss
            });
            for round in 0..6_u64 {
                if round > 0 {
                    pair.reconnect(connect.clone());
                }
                pair.send(Side::Client, 20_000 + round);
                pair.send(Side::Server, 30_000 + round);
                pair.drive_until(ms(120_000), |p| {
                    p.server.received.len() as u64 == 20_000 + round && p.client.received.len() as u64 == 30_000 + round
                });
                pair.assert_received(Side::Server, 20_000 + round);
                pair.assert_received(Side::Client, 30_000 + round);
            }
            if loss == 0 {
                let taken = |side: &polypath_proto::Stack, counter| side.mib().get(counter);
                assert_eq!(taken(&pair.client.stack, Counter::TcpExtTCPFastOpenActive), 5);
                assert_eq!(taken(&pair.server.stack, Counter::TcpExtTCPFastOpenPassive), 5);
            }
        }
    }
}
