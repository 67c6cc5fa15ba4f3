//! SYN cookies (RFC 4987): handshakes of which nothing is kept until the third ACK.

use crate::support::*;
use polypath_proto::mib::Counter;
use polypath_proto::{Config, FallbackReason, MultipathState, SynCookies};
use polypath_wire::{CapableKeys, MptcpOption};

fn always() -> ScriptOptions {
    let config = Config { syn_cookies: SynCookies::Always, ..Config::default() };
    ScriptOptions { config, ..ScriptOptions::default() }
}

#[test]
fn nothing_is_kept_until_the_third_ack_and_then_all_is_there() {
    let mut s = Script::server(&always());
    s.inject(syn().opt(capable_syn()));
    let answer = s.expect(syn_ack());
    let offer = &answer.seg.options;
    assert_eq!((offer.mss, offer.sack_permitted, offer.window_scale.is_some()), (Some(1460), true, true));
    assert_eq!(s.stack.connection_count(), 0);
    let key = s.stack_key();
    s.advance(RTT);
    s.inject(ack(1).opt(capable_ack(PEER_KEY, key)));
    s.accept();
    assert_eq!(s.multipath(), MultipathState::Active);
    // Window scale (8 here: 256,000 bytes) and SACK are remembered.
    s.inject(data(1, 100).opt(map(1, 1, 100, 1)));
    s.expect(ack(101).opt(dack(101)));
    s.write(0, 2 * DSS_MSS as usize);
    s.expect(data(1, DSS_MSS as usize));
    s.expect(data(1 + DSS_MSS, DSS_MSS as usize));
    s.inject(data(201, 100).opt(map(201, 201, 100, 1)));
    s.expect(ack(101).sack(&[(201, 301)]));
    let mib = s.stack.mib();
    assert_eq!((mib.get(Counter::TcpExtSyncookiesSent), mib.get(Counter::TcpExtSyncookiesRecv)), (1, 1));
}

#[test]
fn the_first_data_may_come_instead_of_the_third_ack() {
    let mut s = Script::server(&always());
    s.inject(syn().opt(capable_syn()));
    s.expect(syn_ack());
    let key = s.stack_key();
    s.inject(data(1, 100).ack(1).opt(capable_data(PEER_KEY, key, 100)));
    s.accept();
    assert_eq!(s.multipath(), MultipathState::Active);
    assert_eq!(s.read().0, stream(0, 100));
}

#[test]
fn a_foreign_key_or_none_makes_plain_tcp() {
    for keys in [None, Some(PEER_KEY)] {
        let mut s = Script::server(&always());
        s.inject(syn().opt(capable_syn()));
        s.expect(syn_ack());
        let third = match keys {
            Some(foreign) => ack(1).opt(capable_ack(PEER_KEY, foreign)),
            None => ack(1),
        };
        s.inject(third);
        s.accept();
        assert_eq!(s.multipath(), MultipathState::Fallback(FallbackReason::ThirdAckWithoutCapable));
        s.inject(data(1, 100));
        assert_eq!(s.read().0, stream(0, 100));
    }
}

#[test]
fn who_did_not_offer_multipath_is_known_not_to() {
    let mut s = Script::server(&always());
    s.inject(syn());
    s.expect(syn_ack().plain());
    s.inject(ack(1));
    s.accept();
    assert_eq!(s.multipath(), MultipathState::Fallback(FallbackReason::NotOffered));
}

#[test]
fn without_timestamps_only_what_the_number_holds_is_promised() {
    let mut s = Script::server(&always());
    s.inject(Seg { mss: Some(1400), ..syn().no_timestamps() });
    let answer = s.expect(syn_ack().plain());
    assert_eq!((answer.seg.options.sack_permitted, answer.seg.options.window_scale), (false, None));
    s.inject(ack(1).window(5_000));
    s.accept();
    s.write(0, 3_000);
    // 1,360 is the largest of the known ones that 1,400 holds.
    s.expect(data(1, 1_360));
}

#[test]
fn a_cookie_that_was_never_made_and_an_old_one_are_answered_with_a_reset_and_a_wrong_one_is_not_answered() {
    let mut s = Script::server(&always());
    s.inject(ack(1));
    s.expect(Seg { seq: None, ..rst(0) });
    s.inject(syn());
    s.expect(syn_ack());
    // It may be of one whose third ACK was lost: nobody can tell.
    s.inject(ack(2));
    s.expect_nothing();
    s.advance(ms(200_000));
    s.inject(ack(1));
    s.expect(Seg { seq: None, ..rst(0) });
    assert_eq!(s.stack.connection_count(), 0);
}

#[test]
fn a_flood_of_syns_does_not_shut_out_who_answers() {
    let mut s = Script::server(&ScriptOptions::default());
    for n in 0..1_024u32 {
        s.add_flow((WIFI, STACK_PORT).into(), (std::net::Ipv4Addr::from(0xc633_6400 + n), 50_000).into());
        s.inject(syn());
        s.clear();
    }
    let before = s.stack.connection_count();
    assert_eq!(before, 1_024);
    s.add_flow((WIFI, STACK_PORT).into(), (PEER, 50_001).into());
    s.inject(syn().opt(capable_syn()));
    let answer = s.expect(syn_ack());
    assert!(
        matches!(answer.seg.options.mptcp[..], [MptcpOption::MpCapable(c)] if matches!(c.keys, CapableKeys::SynAck { .. }))
    );
    assert_eq!(s.stack.connection_count(), before);
    let key = s.stack_key();
    s.inject(ack(1).opt(capable_ack(PEER_KEY, key)));
    s.accept();
    assert_eq!(s.multipath(), MultipathState::Active);
}

/// What a pair has left in TIME-WAIT is needed to answer its next SYN: nothing is left to a cookie.
// [9293-MAY-2]
#[test]
fn a_pair_in_time_wait_opens_again_without_a_cookie() {
    let mut s = Script::server(&always());
    s.inject(syn());
    s.expect(syn_ack());
    s.inject(ack(1));
    s.accept();
    s.shutdown();
    s.expect(fin(1));
    s.inject(fin(1).ack(2));
    s.expect(ack(2).seq(2));
    s.close();
    assert_eq!(s.stack.connection_count(), 0);
    s.advance(ms(5_000));
    s.inject(syn().seq(70_000));
    s.expect(Seg { seq: None, ..syn_ack().ack(70_001) });
    assert_eq!(s.stack.connection_count(), 1);
}
