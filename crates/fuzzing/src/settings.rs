//! How the two stacks are set up, by the first bytes.

use crate::choices::Choices;
use polypath_proto::congestion::CongestionKind;
use polypath_proto::scheduler::SchedulerKind;
use polypath_proto::{Config, EcnMode, Keepalive, SynCookies};
use std::time::Duration;

/// What both ends have in common, and what differs.
pub(crate) struct Settings {
    pub(crate) client: Config,
    pub(crate) server: Config,
    /// Of the client: 1 to 3.
    pub(crate) client_addresses: usize,
    /// Of the server: 1 or 2.
    pub(crate) server_addresses: usize,
    /// Largest packet handed out, in bytes.
    pub(crate) max_segment: u32,
    pub(crate) mtu: u32,
}

pub(crate) fn settings(choices: &mut Choices<'_>) -> Settings {
    let first = choices.byte();
    Settings {
        client_addresses: 1 + usize::from(first & 3).min(2),
        server_addresses: 1 + usize::from(first >> 2 & 1),
        max_segment: if first & 8 == 0 { 1_500 } else { 16_384 },
        mtu: if first & 16 == 0 { 1_500 } else { 1_280 },
        client: config(choices),
        server: config(choices),
    }
}

fn config(choices: &mut Choices<'_>) -> Config {
    let (flags, kinds, sizes) = (choices.byte(), choices.byte(), choices.byte());
    Config {
        multipath: flags & 0xc0 != 0xc0,
        dss_checksum: flags & 1 != 0,
        allow_join_initial: flags & 2 == 0,
        announce_addresses: flags & 4 == 0,
        announce_port: (flags & 8 != 0).then_some(8_443),
        nodelay: flags & 16 != 0,
        ecn: if flags & 32 == 0 { EcnMode::Request } else { EcnMode::Off },
        keepalive: (kinds & 0x80 != 0).then_some(Keepalive {
            idle: Duration::from_secs(1),
            interval: Duration::from_secs(1),
            probes: 4,
        }),
        scheduler: scheduler(kinds & 7),
        congestion: congestion(kinds >> 3 & 3),
        syn_cookies: if kinds & 0x60 == 0x60 { SynCookies::Always } else { SynCookies::UnderPressure },
        send_buffer_max: 4_096 << (sizes & 7),
        recv_buffer_max: 4_096 << (sizes >> 3 & 7),
        memory_max: if kinds & 0x60 == 0x20 { 128 << 10 } else { 512 << 20 },
        max_subflows: 1 + usize::from(sizes >> 6) * 2,
        ..Config::default()
    }
}

pub(crate) fn scheduler(number: u8) -> SchedulerKind {
    match number % 7 {
        0 => SchedulerKind::Default,
        1 => SchedulerKind::MinRtt,
        2 => SchedulerKind::Linux,
        3 => SchedulerKind::RoundRobin,
        4 => SchedulerKind::Redundant,
        5 => SchedulerKind::Blest,
        _ => SchedulerKind::Ecf,
    }
}

pub(crate) fn congestion(number: u8) -> CongestionKind {
    match number % 3 {
        0 => CongestionKind::Cubic,
        1 => CongestionKind::Reno,
        _ => CongestionKind::Bbr,
    }
}
