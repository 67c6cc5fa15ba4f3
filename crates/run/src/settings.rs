//! What a program has set on its socket that steers a connection through the network.

use std::time::Duration;

use polypath_proto::congestion::CongestionKind;
use polypath_proto::{ConnectOptions, Keepalive};

use crate::socket::Inner;
use crate::sys;

/// Settings of one connection. None: the program has said nothing, and the network's own hold.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `TCP_CONGESTION`.
    pub congestion: Option<CongestionKind>,
    /// `SO_KEEPALIVE` with `TCP_KEEPIDLE`, `TCP_KEEPINTVL` and `TCP_KEEPCNT`; inner none: no questions.
    pub keepalive: Option<Option<Keepalive>>,
    /// `TCP_USER_TIMEOUT`; inner none: the network's own patience.
    pub user_timeout: Option<Option<Duration>>,
    /// `IP_TTL`, or `IPV6_UNICAST_HOPS`.
    pub hop_limit: Option<u8>,
    /// The upper six bits of `IP_TOS`, or `IPV6_TCLASS`: the differentiated services code point.
    pub dscp: Option<u8>,
}

impl Settings {
    /// What the program has set so far. The shadow has checked the values and knows the defaults.
    pub(crate) fn of(socket: &Inner, to_v4: bool) -> Settings {
        let told = |level, name| sys::get_int_option(socket.shadow_fd(), level, name).ok();
        let set = |level, name| socket.has_set(level, name).then(|| told(level, name)).flatten();
        let tcp = |name| told(libc::IPPROTO_TCP, name).and_then(|value| u32::try_from(value).ok());
        let keepalive = |on: i32| {
            let second = |name, default: Duration| tcp(name).map_or(default, |n| Duration::from_secs(n.into()));
            let usual = Keepalive::default();
            (on != 0).then(|| Keepalive {
                idle: second(libc::TCP_KEEPIDLE, usual.idle),
                interval: second(libc::TCP_KEEPINTVL, usual.interval),
                probes: tcp(libc::TCP_KEEPCNT).unwrap_or(usual.probes),
            })
        };
        let (hops, class) = match to_v4 {
            true => ((libc::IPPROTO_IP, libc::IP_TTL), (libc::IPPROTO_IP, libc::IP_TOS)),
            false => ((libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS), (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)),
        };
        let byte = |value: i32| u8::try_from(value).ok();
        Settings {
            congestion: socket.congestion,
            keepalive: set(libc::SOL_SOCKET, libc::SO_KEEPALIVE).map(keepalive),
            user_timeout: set(libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT)
                .map(|ms| u64::try_from(ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis)),
            hop_limit: set(hops.0, hops.1).and_then(byte),
            dscp: set(class.0, class.1).and_then(byte).map(|class| class >> 2),
        }
    }

    /// What of it is not so yet on a connection that has `before`.
    pub(crate) fn since(self, before: Settings) -> Settings {
        fn changed<T: Copy + PartialEq>(now: Option<T>, before: Option<T>) -> Option<T> {
            if now == before { None } else { now }
        }
        Settings {
            congestion: changed(self.congestion, before.congestion),
            keepalive: changed(self.keepalive, before.keepalive),
            user_timeout: changed(self.user_timeout, before.user_timeout),
            hop_limit: changed(self.hop_limit, before.hop_limit),
            dscp: changed(self.dscp, before.dscp),
        }
    }

    /// For a connection that is about to be opened, and would otherwise be as `usual`.
    pub(crate) fn options(self, usual: ConnectOptions) -> ConnectOptions {
        ConnectOptions {
            congestion: self.congestion.or(usual.congestion),
            keepalive: self.keepalive.flatten(),
            user_timeout: self.user_timeout.flatten(),
            hop_limit: self.hop_limit,
            dscp: self.dscp,
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::Socket;
    use std::os::fd::AsRawFd;

    fn socket(domain: i32) -> Socket {
        let end = sys::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).unwrap();
        Socket::new(end.as_raw_fd(), domain, 0).unwrap()
    }

    fn set(socket: &Socket, level: i32, name: i32, value: i32) {
        socket.set_option(std::process::id(), level, name, value.to_ne_bytes().to_vec()).unwrap();
    }

    #[test]
    fn a_program_that_says_nothing_leaves_everything_to_the_network() {
        assert_eq!(Settings::of(&socket(libc::AF_INET).lock(), true), Settings::default());
    }

    #[test]
    fn options_become_settings() {
        let s = socket(libc::AF_INET6);
        for (level, name, value) in [
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 30),
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 5),
            (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 4),
            (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 2500),
            (libc::IPPROTO_IP, libc::IP_TTL, 7),
            (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, 9),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, 0xb8),
        ] {
            set(&s, level, name, value);
        }
        let seconds = Duration::from_secs;
        let keepalive = Keepalive { idle: seconds(30), interval: seconds(5), probes: 4 };
        let settings = Settings::of(&s.lock(), false);
        let expected = Settings {
            congestion: None,
            keepalive: Some(Some(keepalive)),
            user_timeout: Some(Some(Duration::from_millis(2500))),
            hop_limit: Some(9),
            dscp: Some(46),
        };
        assert_eq!(settings, expected);
        // IPv4 mapped into IPv6 has IPv4's.
        assert_eq!(Settings::of(&s.lock(), true).hop_limit, Some(7));
        set(&s, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 0);
        let off = Settings { keepalive: Some(None), ..Settings::default() };
        assert_eq!(Settings::of(&s.lock(), false).since(settings), off);
    }

    #[test]
    fn a_default_that_is_asked_for_again_is_a_setting() {
        let s = socket(libc::AF_INET);
        set(&s, libc::IPPROTO_IP, libc::IP_TTL, 3);
        set(&s, libc::IPPROTO_IP, libc::IP_TTL, -1);
        let default = sys::get_int_option(s.lock().shadow_fd(), libc::IPPROTO_IP, libc::IP_TTL).unwrap();
        assert_eq!(Settings::of(&s.lock(), true).hop_limit.map(i32::from), Some(default));
    }
}
