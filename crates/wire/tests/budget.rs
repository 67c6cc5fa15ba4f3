//! Who gets into the 40 bytes.

use polypath_wire::{
    AddAddr, CapableFlags, CapableKeys, Dss, DssMapping, FastOpenCookie, Key, MAX_OPTIONS_LEN, MpCapable, MpFail,
    MpJoin, MpPrio, MptcpOption, RemoveAddr, SackBlock, SeqNum, SynOptions, TcpOptions, Timestamps, Token, Wanted,
    WireDsn, fit,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::strategies::{cookie, mandatory, sack_block, signal, timestamps};

const TIMESTAMPS: Option<Timestamps> = Some(Timestamps { val: 1, ecr: 2 });
const PRIO: MptcpOption = MptcpOption::MpPrio(MpPrio { backup: true });
const FAIL: MptcpOption = MptcpOption::MpFail(MpFail { dsn: 1 });

fn blocks(count: u32) -> Vec<SackBlock> {
    (0..count).map(|i| SackBlock { left: SeqNum(10 * i), right: SeqNum(10 * i + 5) }).collect()
}

fn ack(dsn: WireDsn) -> Option<MptcpOption> {
    Some(Dss { data_ack: Some(dsn), ..Dss::default() }.into())
}

fn add_addr(addr: &str, port: Option<u16>, echo: bool) -> MptcpOption {
    let addr = addr.parse().expect("an address");
    let hmac = if echo { None } else { Some(1) };
    AddAddr { echo, address_id: 1, addr, port, hmac }.into()
}

fn full_dss() -> Option<MptcpOption> {
    let mapping = DssMapping { dsn: WireDsn::Long(1), ssn: 1, len: 1000, checksum: Some(0xffff) };
    let data_ack = Some(WireDsn::Long(1));
    Some(Dss { data_ack, mapping: Some(mapping), data_fin: false }.into())
}

fn handshake() -> impl Strategy<Value = SynOptions> {
    (any::<Option<u16>>(), option::of(0..=14_u8), any::<bool>(), option::of(cookie())).prop_map(
        |(mss, window_scale, sack_permitted, fast_open)| SynOptions { mss, window_scale, sack_permitted, fast_open },
    )
}

proptest! {
    #[test]
    fn whatever_is_wanted_fits_and_the_mandatory_option_goes(
        handshake in option::of(handshake()),
        timestamps in option::of(timestamps()),
        mptcp in option::of(prop_oneof![4 => mandatory(), 1 => signal()]),
        signals in vec(signal(), 0..5),
        sack in vec(sack_block(), 0..6),
        super_segment: bool,
    ) {
        let wanted =
            Wanted { handshake, timestamps, mptcp, signals: &signals, sack: &sack, super_segment };
        let fitted = fit(&wanted);
        let options = &fitted.options;

        let mut bytes = [0; 40];
        let len = options.emit(&mut bytes);
        prop_assert!(len <= MAX_OPTIONS_LEN);
        prop_assert_eq!(&TcpOptions::parse(&bytes[..len]), options);

        let sent = &signals[..fitted.signals_sent];
        let expected: Vec<_> = wanted.mptcp.iter().chain(sent).cloned().collect();
        prop_assert_eq!(&options.mptcp[..], &expected[..]);
        prop_assert_eq!(&options.sack[..], &sack[..options.sack.len()]);
        if super_segment {
            prop_assert!(sent.is_empty() && options.sack.is_empty());
        } else if options.sack.len() < sack.len().min(4) {
            let mut more = options.clone();
            more.sack.push(sack[options.sack.len()]);
            prop_assert!(aligned_len(&more) > MAX_OPTIONS_LEN, "there was room for another block");
        }
        if options.timestamps != timestamps {
            let more = TcpOptions { timestamps, sack: Default::default(), ..options.clone() };
            prop_assert!(aligned_len(&more) > MAX_OPTIONS_LEN, "there was room for timestamps");
        }
        if let Some(next) = signals.get(fitted.signals_sent).filter(|_| !super_segment) {
            let mut more = TcpOptions { sack: Default::default(), ..options.clone() };
            let full = more.mptcp.try_push(next.clone()).is_err();
            let alone = |o: &MptcpOption| matches!(o, MptcpOption::AddAddr(_));
            prop_assert!(
                full || aligned_len(&more) > MAX_OPTIONS_LEN || alone(next) || sent.iter().any(alone),
                "there was room for another signal"
            );
        }
    }
}

/// Every option padded to 32 bits, as Linux does: computed from the bytes of each option alone.
fn aligned_len(options: &TcpOptions) -> usize {
    let none = TcpOptions::default();
    let mut parts = vec![
        TcpOptions { mss: options.mss, ..none.clone() },
        TcpOptions { window_scale: options.window_scale, ..none.clone() },
        TcpOptions { sack_permitted: options.sack_permitted, timestamps: options.timestamps, ..none.clone() },
    ];
    if options.fast_open.is_some() {
        parts.push(TcpOptions { fast_open: options.fast_open, ..none.clone() });
    }
    if !options.sack.is_empty() {
        parts.push(TcpOptions { sack: options.sack.clone(), ..none.clone() });
    }
    for option in &options.mptcp {
        parts.push(TcpOptions { mptcp: [option.clone()].into_iter().collect(), ..none.clone() });
    }
    parts.iter().map(TcpOptions::emitted_len).sum()
}

// [9293-MUST-65, 7323-2.2-1, 2018-2-1, 8684-B-3]
#[test]
fn every_segment_of_the_handshakes_carries_all_it_wants() {
    let cookie = |len: usize| FastOpenCookie::new(&vec![7; len]);
    let syn = SynOptions { mss: Some(1460), window_scale: Some(10), sack_permitted: true, fast_open: None };
    let with = |len| Some(SynOptions { fast_open: cookie(len), ..syn });
    let capable = |keys| MptcpOption::MpCapable(MpCapable { version: 1, flags: CapableFlags::HMAC_SHA256, keys });
    let (backup, address_id) = (false, 1);
    let cases = [
        (Some(syn), capable(CapableKeys::Syn), 24),
        (Some(syn), capable(CapableKeys::SynAck { sender: Key(1) }), 32),
        (with(0), capable(CapableKeys::Syn), 28),
        (with(14), capable(CapableKeys::Syn), 40),
        (with(6), capable(CapableKeys::SynAck { sender: Key(1) }), 40),
        (None, capable(CapableKeys::Ack { sender: Key(1), receiver: Key(2) }), 32),
        (Some(syn), MpJoin::Syn { backup, address_id, token: Token(1), nonce: 2 }.into(), 32),
        (Some(syn), MpJoin::SynAck { backup, address_id, hmac: 1, nonce: 2 }.into(), 36),
        (None, MpJoin::Ack { hmac: [1; 20] }.into(), 36),
    ];
    for (handshake, mptcp, len) in cases {
        let wanted = Wanted { handshake, timestamps: TIMESTAMPS, mptcp: Some(mptcp.clone()), ..Wanted::default() };
        let options = fit(&wanted).options;
        assert_eq!(options.emitted_len(), len, "{mptcp:?}");
        assert_eq!(options.timestamps, TIMESTAMPS);
        assert_eq!(options.mptcp[..], [mptcp]);
        let TcpOptions { mss, window_scale, sack_permitted, fast_open, .. } = options;
        let got = SynOptions { mss, window_scale, sack_permitted, fast_open };
        assert_eq!(got, handshake.unwrap_or_default());
    }
}

// [2018-4-3]
#[test]
fn sack_gets_what_is_left() {
    let sack = blocks(4);
    let cases = [
        (None, None, 4),
        (TIMESTAMPS, None, 3),
        (None, ack(WireDsn::Short(1)), 3),
        (TIMESTAMPS, ack(WireDsn::Short(1)), 2),
        (TIMESTAMPS, ack(WireDsn::Long(1)), 1),
        (TIMESTAMPS, full_dss(), 0),
    ];
    for (timestamps, mptcp, expected) in cases {
        let wanted = Wanted { timestamps, mptcp: mptcp.clone(), sack: &sack, ..Wanted::default() };
        assert_eq!(fit(&wanted).options.sack[..], sack[..expected], "{timestamps:?} {mptcp:?}");
    }
}

#[test]
fn a_super_segment_carries_dss_and_timestamps_only() {
    let wanted = Wanted {
        timestamps: TIMESTAMPS,
        mptcp: ack(WireDsn::Short(1)),
        signals: &[PRIO],
        sack: &blocks(1),
        super_segment: true,
        ..Wanted::default()
    };
    let fitted = fit(&wanted);
    assert_eq!(fitted.signals_sent, 0);
    assert_eq!(fitted.options.emitted_len(), 20);
}

#[test]
fn signals_go_before_sack() {
    let wanted = Wanted {
        timestamps: TIMESTAMPS,
        mptcp: ack(WireDsn::Short(1)),
        signals: &[PRIO, FAIL],
        sack: &blocks(4),
        ..Wanted::default()
    };
    let fitted = fit(&wanted);
    assert_eq!((fitted.signals_sent, fitted.options.sack.len()), (2, 0));
}

#[test]
fn signals_keep_their_order_even_if_a_later_one_would_fit() {
    let ids: RemoveAddr = (1..=17).collect();
    let wanted = Wanted {
        timestamps: TIMESTAMPS,
        mptcp: ack(WireDsn::Long(1)),
        signals: &[PRIO, ids.into(), PRIO],
        ..Wanted::default()
    };
    assert_eq!(fit(&wanted).signals_sent, 1);
}

#[test]
fn add_addr_goes_on_an_ack_of_its_own() {
    let announce = add_addr("192.0.2.1", None, false);
    let echo = add_addr("192.0.2.1", None, true);
    for add_addr in [announce, echo] {
        let signals = [add_addr.clone(), PRIO];
        let mut wanted =
            Wanted { timestamps: TIMESTAMPS, mptcp: ack(WireDsn::Short(1)), signals: &signals, ..Wanted::default() };
        assert_eq!(fit(&wanted).signals_sent, 0, "not beside a DSS");
        wanted.mptcp = None;
        let fitted = fit(&wanted);
        assert_eq!(fitted.signals_sent, 1);
        assert_eq!(fitted.options.mptcp[..], signals[..1]);
        assert_eq!(fitted.options.timestamps, TIMESTAMPS);

        let behind = [PRIO, add_addr];
        wanted.signals = &behind;
        assert_eq!(fit(&wanted).options.mptcp[..], [PRIO], "it waits for the next one");
    }
}

// [7323-3.2-2]
#[test]
fn the_longest_add_addr_displaces_the_timestamps() {
    let cases = [("192.0.2.1", None, true), ("2001:db8::1", None, true), ("2001:db8::1", Some(1), false)];
    for (addr, port, keeps_timestamps) in cases {
        let signals = [add_addr(addr, port, false)];
        let wanted = Wanted { timestamps: TIMESTAMPS, signals: &signals, ..Wanted::default() };
        let fitted = fit(&wanted);
        assert_eq!(fitted.signals_sent, 1);
        assert_eq!(fitted.options.timestamps.is_some(), keeps_timestamps, "{addr} {port:?}");
    }
}

#[test]
fn no_more_than_four_multipath_options_go_at_once() {
    let signals = vec![PRIO; 6];
    let mptcp = ack(WireDsn::Short(1));
    let mut wanted = Wanted { mptcp, signals: &signals, ..Wanted::default() };
    assert_eq!(fit(&wanted).signals_sent, 3);
    wanted.mptcp = None;
    assert_eq!(fit(&wanted).signals_sent, 4);
}
