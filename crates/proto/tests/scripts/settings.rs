//! What goes to IP with every packet, and what comes back from there (RFC 9293, section 3.9.2).

use crate::support::*;
use polypath_proto::congestion::CongestionKind;
use polypath_proto::{Config, ConnectOptions, ConnectionError};
use polypath_wire::{ChecksumMode, HeaderBuf, emit_headers};

/// Hop limit and code point of the next packet.
fn marks(s: &mut Script) -> (u8, u8) {
    let ip = s.next_packet().expect("a packet").seg.ip;
    (ip.hop_limit, ip.dscp)
}

// [9293-MUST-48, 9293-SHLD-21, 9293-SHLD-22, 9293-MUST-49]
#[test]
fn hop_limit_and_code_point_are_the_applications() {
    let config = Config { hop_limit: 5, dscp: 46, ..Config::default() };
    let mut s = Script::client(&ScriptOptions { config, ..ScriptOptions::default() });
    assert_eq!(marks(&mut s), (5, 46));
    s.inject(syn_ack());
    assert_eq!(marks(&mut s), (5, 46));
    s.act(|c| {
        c.set_hop_limit(200);
        c.set_dscp(8);
    });
    s.write(0, 100);
    assert_eq!(marks(&mut s), (200, 8));
    // A retransmission is as everything from now on; what is no number of the field is the nearest.
    s.act(|c| {
        c.set_hop_limit(0);
        c.set_dscp(200);
    });
    s.advance(ms(300));
    assert_eq!(marks(&mut s), (1, 63));
    // A reset of no connection has the stack's.
    s.clear();
    s.add_flow((WIFI, 81).into(), (PEER, 50_000).into());
    s.inject(syn());
    assert_eq!(marks(&mut s), (5, 46));
}

/// An ICMP error about a packet of the stack.
fn icmp(packet: &Packet, kind: u8, code: u8) -> Vec<u8> {
    let mut quoted = HeaderBuf::new();
    emit_headers(&packet.seg, core::slice::from_ref(&packet.payload), ChecksumMode::Full, &mut quoted);
    let mut icmp = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 9, 10, 0, 0, 1];
    icmp.extend([kind, code, 0, 0, 0, 0, 0, 0]);
    icmp.extend(&quoted);
    icmp
}

// [9293-MUST-47, 9293-SHLD-20, 9293-SHLD-25, 9293-MUST-56, 9293-MUST-55]
#[test]
fn icmp_errors_about_an_open_connection_are_told_to_who_asks_and_end_nothing() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.write(0, 100);
    let sent = s.expect(data(1, 100));
    let hear = |s: &mut Script, kind, code| {
        let icmp = icmp(&sent, kind, code);
        s.act_on_stack(|stack, now| stack.handle_icmp(now, &icmp));
        s.take_events();
        s.info().soft_error
    };
    assert_eq!(s.info().soft_error, None);
    for (code, error) in [
        (0, ConnectionError::NetworkUnreachable),
        (1, ConnectionError::HostUnreachable),
        (5, ConnectionError::HostUnreachable),
    ] {
        assert_eq!(hear(&mut s, 3, code), Some(error));
    }
    // The peer is there after all.
    s.inject(ack(51));
    assert_eq!(s.info().soft_error, None);
    // Source quench, time exceeded, parameter problem: nothing.
    for kind in [4, 11, 12] {
        assert_eq!(hear(&mut s, kind, 0), None);
    }
    s.inject(ack(101));
    s.expect_silence(ms(5_000));
    assert_eq!(s.closed(), None);
}

#[test]
fn a_connection_is_opened_with_settings_of_its_own() {
    let connect = ConnectOptions {
        hop_limit: Some(9),
        dscp: Some(10),
        user_timeout: Some(ms(700)),
        congestion: Some(CongestionKind::Reno),
        ..ConnectOptions::default()
    };
    let mut s = Script::client(&ScriptOptions { connect, ..ScriptOptions::default() });
    assert_eq!(marks(&mut s), (9, 10));
    assert_eq!(s.act(|c| c.congestion()), "reno");
    s.advance(ms(699));
    assert_eq!(s.closed(), None);
    s.advance(ms(1));
    assert_eq!(s.closed(), Some(Some(ConnectionError::TimedOut)));
}
