//! Listeners: which connections are theirs, where others reach them, and how long a port is in use.

use crate::support::*;
use polypath_proto::{
    ChecksumMode, Config, LinkConfig, ListenAddr, ListenError, ListenerId, Received, RxChecksum, Stack,
};
use polypath_wire::{
    HeaderBuf, IpHeader, MpJoin, MptcpOption, Segment, SeqNum, TcpFlags, TcpHeader, TcpOptions, add_addr_hmac,
    emit_headers,
};
use std::net::{IpAddr, SocketAddr};

const V6: &str = "2001:db8::1";

fn with_both_families() -> Script {
    Script::new(&ScriptOptions { addresses: vec![WIFI, LTE, V6.parse().unwrap()], ..ScriptOptions::default() })
}

fn try_listen(s: &mut Script, local: &str, v6only: bool) -> Result<ListenerId, ListenError> {
    let local: SocketAddr = local.parse().unwrap();
    s.act_on_stack(|stack, _| stack.listen(ListenAddr { local, v6only }, 16))
}

#[track_caller]
fn listen(s: &mut Script, local: &str, v6only: bool) -> ListenerId {
    try_listen(s, local, v6only).unwrap()
}

/// How a SYN to `local` is answered.
fn answer(s: &mut Script, local: &str, peer_port: u16) -> TcpFlags {
    let local: SocketAddr = local.parse().unwrap();
    let peer: IpAddr = if local.is_ipv4() { PEER } else { "2001:db8::9".parse().unwrap() };
    s.add_flow(local, (peer, peer_port).into());
    s.inject(syn());
    s.next_packet().expect("an answer").seg.tcp.flags
}

const TAKEN: TcpFlags = TcpFlags::SYN.union(TcpFlags::ACK);
const REFUSED: TcpFlags = TcpFlags::RST.union(TcpFlags::ACK);

#[test]
fn each_family_may_have_a_listener_of_its_own_on_a_port() {
    let mut s = with_both_families();
    listen(&mut s, "[::]:443", true);
    assert_eq!(answer(&mut s, "[2001:db8::1]:443", 50_000), TAKEN);
    assert_eq!(answer(&mut s, "10.0.0.1:443", 50_001), REFUSED, "it is for IPv6 only");
    let four = listen(&mut s, "0.0.0.0:443", false);
    assert_eq!(answer(&mut s, "10.0.0.1:443", 50_002), TAKEN);
    assert_eq!(s.stack.listener_addr(four), Some("0.0.0.0:443".parse().unwrap()));
    assert_eq!(try_listen(&mut s, "[::]:443", false), Err(ListenError::InUse), "both families");
}

#[test]
fn one_listener_of_both_families_takes_the_port() {
    let mut s = with_both_families();
    listen(&mut s, "[::]:443", false);
    for (local, v6only) in
        [("0.0.0.0:443", false), ("[::]:443", true), ("10.0.0.1:443", false), ("[2001:db8::1]:443", false)]
    {
        assert_eq!(try_listen(&mut s, local, v6only), Err(ListenError::InUse), "{local}");
    }
    assert_eq!(answer(&mut s, "10.0.0.1:443", 50_000), TAKEN);
    assert_eq!(answer(&mut s, "[2001:db8::1]:443", 50_001), TAKEN);
}

#[test]
fn each_address_may_have_a_listener_of_its_own_on_a_port() {
    let mut s = with_both_families();
    listen(&mut s, "10.0.0.1:443", false);
    assert_eq!(answer(&mut s, "10.1.0.1:443", 50_000), REFUSED);
    listen(&mut s, "10.1.0.1:443", false);
    assert_eq!(answer(&mut s, "10.1.0.1:443", 50_001), TAKEN);
    assert_eq!(try_listen(&mut s, "10.0.0.1:443", false), Err(ListenError::InUse));
    assert_eq!(try_listen(&mut s, "0.0.0.0:443", false), Err(ListenError::InUse));
    listen(&mut s, "[::]:443", true);
    listen(&mut s, "0.0.0.0:80", false);
    listen(&mut s, "[2001:db8::1]:80", false);
    assert_eq!(try_listen(&mut s, "10.9.9.9:443", false), Err(ListenError::NotAvailable));
}

fn ends(port: u16, addresses: &[IpAddr]) -> Vec<SocketAddr> {
    addresses.iter().map(|addr| SocketAddr::new(*addr, port)).collect()
}

// [8684-3.4.1-11]
#[test]
fn an_address_where_the_port_is_not_reached_is_announced_once_it_is() {
    let mut s = Script::new(&ScriptOptions::two_addresses());
    s.act_on_stack(|stack, now| stack.set_reach(now, ends(STACK_PORT, &[WIFI])));
    let mut s = connected(s);
    s.expect_silence(ms(10_000));
    s.act_on_stack(|stack, now| {
        stack.set_reach(now, ends(STACK_PORT, &[WIFI]).into_iter().chain(ends(STACK_PORT + 1, &[LTE])));
    });
    s.expect_silence(ms(10_000));
    s.act_on_stack(|stack, now| stack.set_reach(now, ends(STACK_PORT, &[WIFI, LTE])));
    let hmac = add_addr_hmac(s.stack_key(), PEER_KEY, 1, LTE, None);
    s.expect(ack(1).opt(add_addr(1, LTE, hmac)));
    s.inject(ack(1).opt(add_addr_echo(1, LTE)));
    s.act_on_stack(|stack, now| stack.set_reach(now, ends(STACK_PORT, &[WIFI, LTE])));
    s.expect_silence(ms(10_000));
}

#[test]
fn with_an_announced_port_it_is_that_one_which_has_to_be_reached() {
    let config = Config { announce_port: Some(8443), ..Config::default() };
    let mut s = Script::new(&ScriptOptions { config, ..ScriptOptions::two_addresses() });
    s.act_on_stack(|stack, now| stack.set_reach(now, ends(STACK_PORT, &[WIFI, LTE])));
    let mut s = connected(s);
    s.expect_silence(ms(10_000));
    s.act_on_stack(|stack, now| stack.set_reach(now, ends(8443, &[LTE])));
    let packet = s.next_packet().expect("an announcement");
    assert!(matches!(packet.seg.options.mptcp[..], [MptcpOption::AddAddr(a)] if a.port == Some(8443)), "{packet:?}");
}

/// A Multipath TCP connection that the stack has accepted.
fn connected(mut s: Script) -> Script {
    s.listener = Some(listen(&mut s, "0.0.0.0:443", false));
    s.add_flow(SocketAddr::new(WIFI, STACK_PORT), SocketAddr::new(PEER, 50_000));
    s.inject(syn().opt(capable_syn()));
    s.expect(syn_ack());
    let key = s.stack_key();
    s.inject(ack(1).opt(capable_ack(PEER_KEY, key)));
    s.accept();
    s
}

fn in_use(s: &Script) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = s.stack.addresses_in_use(STACK_PORT).collect();
    all.sort();
    all.dedup();
    all
}

/// Plain TCP: from the SYN to the end of TIME-WAIT.
#[test]
fn a_port_is_in_use_until_time_wait_is_over() {
    let mut s = Script::server(&ScriptOptions::default());
    assert!(in_use(&s).is_empty());
    s.inject(syn());
    assert_eq!(in_use(&s), [WIFI]);
    s.expect(syn_ack());
    s.inject(ack(1));
    s.accept();
    let listener = s.listener.unwrap();
    s.act_on_stack(|stack, now| stack.close_listener(now, listener));
    s.inject(data(1, 100));
    assert_eq!(s.read().0, stream(0, 100), "it goes on without its listener");
    s.shutdown();
    s.clear();
    assert_eq!(in_use(&s), [WIFI]);
    s.inject(fin(101).ack(2));
    s.close();
    assert_eq!(s.stack.connection_count(), 0);
    assert_eq!(in_use(&s), [WIFI], "TIME-WAIT");
    s.advance(ms(59_000));
    assert_eq!(in_use(&s), [WIFI]);
    s.advance(ms(2_000));
    assert!(in_use(&s).is_empty());
    assert!(s.stack.addresses_in_use(STACK_PORT + 1).next().is_none());
}

#[test]
fn a_connection_that_failed_uses_no_port_whoever_still_holds_it() {
    let mut s = Script::plain_server(&ScriptOptions::default());
    s.inject(rst(1));
    assert_eq!(s.stack.connection_count(), 1);
    assert!(in_use(&s).is_empty());
}

/// Joins come to it after its listener is gone, and another listener may take its place.
#[test]
fn the_port_of_a_connection_without_a_listener_is_joined_and_listened_on_again() {
    let mut s = connected(Script::new(&ScriptOptions::two_addresses()));
    s.clear();
    let listener = s.listener.unwrap();
    s.act_on_stack(|stack, now| stack.close_listener(now, listener));
    assert_eq!(answer(&mut s, "10.1.0.1:443", 40_000), REFUSED);
    let joined = s.add_flow((LTE, STACK_PORT).into(), (PEER_2, 50_001).into());
    let token = s.stack_key().token();
    s.inject(syn().opt(join(MpJoin::Syn { backup: false, address_id: 4, token, nonce: NONCE })));
    let packet = s.expect(syn_ack());
    let [MptcpOption::MpJoin(MpJoin::SynAck { nonce, .. })] = packet.seg.options.mptcp[..] else {
        panic!("{packet:?}")
    };
    let third = third_ack_of_peer(&s, nonce);
    s.inject(ack(1).opt(third));
    s.expect(ack(1));
    assert_eq!(in_use(&s), [WIFI, LTE]);
    listen(&mut s, "0.0.0.0:443", false);
    assert_eq!(answer(&mut s, "10.0.0.1:443", 40_001), TAKEN);
    s.on(joined).inject(data(1, 100).opt(map(1, 1, 100, 1)));
    assert_eq!(s.read().0, stream(0, 100));
    // Its last subflow is reset: it waits for another one, and so does its port.
    s.on(joined).inject(rst(101));
    s.on(0).inject(rst(1));
    assert_eq!(s.info().subflows.len(), 0);
    assert_eq!(in_use(&s), [WIFI]);
}

#[test]
fn an_answer_has_the_size_of_the_link_that_it_leaves_on() {
    let mut stack = Stack::new(Config::default(), [7; 32]);
    let link = |mtu| LinkConfig { mtu, max_segment: 65_535, checksum: ChecksumMode::Full };
    // As a device that carries the packets of many interfaces.
    let everything = stack.add_link(link(65_535));
    let own = stack.add_link(link(1400));
    let now = polypath_proto::Instant::ZERO;
    let address = polypath_proto::LocalAddress { addr: WIFI, link: own, backup: false, name: None };
    stack.add_address(now, address);
    stack.listen(SocketAddr::new(WIFI, STACK_PORT), 16).unwrap();
    let (seq, ack, flags) = (SeqNum(1), SeqNum(0), TcpFlags::SYN);
    let tcp = TcpHeader { src_port: 50_000, dst_port: STACK_PORT, seq, ack, flags, window: 1000, urgent: 0 };
    let syn = Segment { ip: IpHeader::new(PEER, WIFI), tcp, options: TcpOptions::default() };
    let mut headers = HeaderBuf::new();
    emit_headers(&syn, &[], ChecksumMode::Full, &mut headers);
    let payload = bytes::Bytes::new();
    stack.handle_packet(now, everything, Received { headers: &headers, payload, checksum: RxChecksum::Verified });
    let mut out = polypath_proto::TransmitBuf::default();
    assert_eq!(stack.poll_transmit(now, &mut out).map(|t| t.link), Some(own));
    let (answer, ..) = polypath_wire::parse_headers(&out.headers).unwrap();
    assert_eq!(answer.options.mss, Some(1360));
}
