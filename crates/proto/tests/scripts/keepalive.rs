//! Silence: keep-alives, and how long data may stay unacknowledged (RFC 9293, sections 3.8.3 and 3.8.4).

use crate::support::*;
use polypath_proto::mib::Counter;
use polypath_proto::{CloseReason, Config, ConnectionError, Duration, Keepalive, SubflowEvent};
use std::net::IpAddr;

const MINUTE: Duration = Duration::from_secs(60);

/// Ask after a minute, every ten seconds, three times.
const BRISK: Keepalive = Keepalive { idle: MINUTE, interval: Duration::from_secs(10), probes: 3 };

// [9293-MUST-25]
#[test]
fn an_idle_connection_is_silent_unless_keep_alives_are_asked_for() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.expect_silence(100 * 60 * MINUTE);
    assert_eq!(s.closed(), None);
    let mut s = Script::active_client(&ScriptOptions::default());
    s.expect_silence(100 * 60 * MINUTE);
}

// [9293-MAY-5, 9293-MUST-24, 9293-MUST-26, 9293-MUST-27]
#[test]
fn a_silent_peer_is_asked_after_the_interval() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.act(|c| c.set_keepalive(Some(BRISK)));
    s.advance(ms(30_000));
    s.inject(data(1, 10));
    s.expect(ack(11));
    // A minute from there. The number is below the window: it must be answered.
    s.expect_after(MINUTE, ack(11).seq(0));
    s.inject(ack(1));
    s.expect_after(MINUTE, ack(11).seq(0));
    assert_eq!(s.stack.mib().get(Counter::TcpExtTCPKeepAlive), 2);
    s.act(|c| c.set_keepalive(None));
    s.expect_silence(60 * MINUTE);
}

// [9293-MUST-29]
#[test]
fn a_peer_that_never_answers_is_given_up() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.act(|c| c.set_keepalive(Some(BRISK)));
    s.expect_after(MINUTE, ack(1).seq(0));
    s.expect_after(ms(10_000), ack(1).seq(0));
    s.expect_after(ms(10_000), ack(1).seq(0));
    s.advance(ms(9_999));
    assert_eq!(s.closed(), None);
    s.advance(ms(1));
    assert_eq!(s.closed(), Some(Some(ConnectionError::TimedOut)));
    assert_eq!(s.stack.mib().get(Counter::TcpExtTCPAbortOnTimeout), 1);
}

// [9293-MUST-28]
#[test]
fn the_default_is_two_hours() {
    let config = Config { keepalive: Some(Keepalive::default()), ..Config::default() };
    let mut s = Script::plain_client(&ScriptOptions { config, ..ScriptOptions::default() });
    s.expect_after(2 * 60 * MINUTE, ack(1).seq(0));
}

// [9293-MUST-26]
#[test]
fn while_data_is_on_its_way_its_timeout_asks() {
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.act(|c| c.set_keepalive(Some(BRISK)));
    s.write(0, 100);
    s.advance(10 * MINUTE);
    assert_eq!(s.stack.mib().get(Counter::TcpExtTCPKeepAlive), 0);
    assert_eq!(s.closed(), None);
}

// [9293-MAY-5]
#[test]
fn each_subflow_is_asked_and_only_the_silent_one_goes() {
    let config = Config { keepalive: Some(BRISK), ..Config::default() };
    let mut pair = Pair::connected(&PairOptions { client: config, ..PairOptions::default() });
    let begin = pair.now;
    pair.drive(2 * MINUTE);
    let asked = |p: &Pair, path: IpAddr| p.log.iter().any(|s| s.at > begin && s.by == Side::Client && s.path() == path);
    assert!(asked(&pair, WIFI) && asked(&pair, LTE));
    pair.cut(WIFI);
    pair.drive(3 * MINUTE);
    let events = pair.subflow_events(Side::Client);
    let gone = (WIFI, SubflowEvent::Closed(CloseReason::TimedOut));
    assert!(events.iter().any(|(_, path, what)| (*path, *what) == gone), "{events:?}");
    assert_eq!(pair.closed(Side::Client), None);
}

/// A client that gives up after ten seconds.
fn impatient() -> ScriptOptions {
    let config = Config { user_timeout: Some(ms(10_000)), ..Config::default() };
    ScriptOptions { config, ..ScriptOptions::default() }
}

// [9293-MUST-21]
#[test]
fn the_application_says_how_long_data_may_stay_unacknowledged() {
    let mut s = Script::plain_client(&impatient());
    s.write(0, 100);
    s.advance(ms(9_000));
    // Progress: from now on anew.
    s.inject(ack(51));
    s.advance(ms(9_999));
    assert_eq!(s.closed(), None);
    s.advance(ms(1));
    assert_eq!(s.closed(), Some(Some(ConnectionError::TimedOut)));

    // Later than R2 by itself.
    let mut s = Script::plain_client(&ScriptOptions::default());
    s.act(|c| c.set_user_timeout(Some(60 * MINUTE)));
    s.write(0, 100);
    s.advance(59 * MINUTE);
    assert_eq!(s.closed(), None);
    s.advance(2 * MINUTE);
    assert_eq!(s.closed(), Some(Some(ConnectionError::TimedOut)));
}

// [9293-MUST-21]
#[test]
fn a_user_timeout_holds_for_the_syn_and_for_questions_to_a_shut_window() {
    let mut s = Script::client(&impatient());
    s.advance(ms(9_999));
    assert_eq!(s.closed(), None);
    s.advance(ms(1));
    assert_eq!(s.closed(), Some(Some(ConnectionError::TimedOut)));

    let mut s = Script::plain_client(&impatient());
    s.write(0, 100);
    s.inject(ack(101).window(0));
    s.write(100, 100);
    // Answered, it goes on.
    let until = s.now + MINUTE;
    while s.now < until {
        s.advance(ms(100));
        while s.closed().is_none() && s.next_packet().is_some() {
            s.inject(ack(101).window(0));
        }
    }
    assert_eq!(s.closed(), None);
    s.advance(MINUTE);
    assert_eq!(s.closed(), Some(Some(ConnectionError::TimedOut)));
}

#[test]
fn an_idle_connection_has_no_user_timeout() {
    let mut s = Script::active_client(&impatient());
    s.write(0, 100);
    s.advance(RTT);
    s.inject(ack(101).opt(dack(101)));
    s.clear();
    s.expect_silence(60 * MINUTE);
    assert_eq!(s.closed(), None);
}
