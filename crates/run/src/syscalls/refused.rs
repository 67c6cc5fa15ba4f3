//! Options that are refused, because what they ask for cannot be done and must not seem done.

use crate::sys::Errno;

/// From linux/tcp.h, not all in `libc`.
const TCP_MD5SIG: i32 = 14;
const TCP_REPAIR: i32 = 19;
pub(super) const TCP_FASTOPEN_CONNECT: i32 = 30;
pub(super) const TCP_ULP: i32 = 31;
const TCP_MD5SIG_EXT: i32 = 32;
const TCP_INQ: i32 = 36;
const TCP_AO: std::ops::RangeInclusive<i32> = 38..=42;
/// From linux/in.h and linux/in6.h.
const IP_IPSEC: std::ops::RangeInclusive<i32> = 16..=17;
const IPV6_IPSEC: std::ops::RangeInclusive<i32> = 34..=35;
/// Netfilter's own, of which the first two are set: tables with pointers in them (linux/netfilter_ipv4/ip_tables.h). IPv6
/// has options of sockets right behind.
const NETFILTER: std::ops::RangeInclusive<i32> = 64..=65;
/// `SO_TIMESTAMP_NEW` to `SO_TIMESTAMPING_NEW` (asm-generic/socket.h).
const NEW_TIMESTAMPS: std::ops::RangeInclusive<i32> = 63..=65;

/// An option that is refused.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) errno: Errno,
    /// What the user is told, once: the option, and what follows. None: no program counts on it.
    pub(super) notice: Option<(&'static str, &'static str)>,
}

/// Whether setting this option is refused, as a kernel without the feature does. `on`: its value is not 0.
pub(super) fn refusal(level: i32, name: i32, on: bool) -> Option<Refusal> {
    let refuse = |errno, option, follows| Some(Refusal { errno, notice: Some((option, follows)) });
    let silently = |errno| Some(Refusal { errno, notice: None });
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_ZEROCOPY) if on => {
            refuse(libc::EOPNOTSUPP, "SO_ZEROCOPY", "the program copies what it sends")
        }
        (libc::SOL_SOCKET, libc::SO_TIMESTAMP | libc::SO_TIMESTAMPNS | libc::SO_TIMESTAMPING) if on => {
            refuse(libc::ENOPROTOOPT, "SO_TIMESTAMP", NO_MESSAGES)
        }
        (libc::SOL_SOCKET, name) if NEW_TIMESTAMPS.contains(&name) && on => {
            refuse(libc::ENOPROTOOPT, "SO_TIMESTAMP", NO_MESSAGES)
        }
        (
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER
            | libc::SO_ATTACH_BPF
            | libc::SO_ATTACH_REUSEPORT_CBPF
            | libc::SO_ATTACH_REUSEPORT_EBPF,
        ) => silently(libc::ENOPROTOOPT),
        (libc::IPPROTO_TCP, TCP_INQ) if on => refuse(libc::ENOPROTOOPT, "TCP_INQ", NO_MESSAGES),
        (libc::IPPROTO_TCP, TCP_FASTOPEN_CONNECT) if on => {
            refuse(libc::EOPNOTSUPP, "TCP_FASTOPEN_CONNECT", "the program connects without (MSG_FASTOPEN works)")
        }
        (libc::IPPROTO_TCP, TCP_ULP) => refuse(libc::ENOENT, "TCP_ULP (kernel TLS)", "the program encrypts by itself"),
        (libc::IPPROTO_TCP, TCP_REPAIR) => silently(libc::EPERM),
        (libc::IPPROTO_TCP, TCP_MD5SIG | TCP_MD5SIG_EXT) => {
            refuse(libc::ENOPROTOOPT, "TCP_MD5SIG", "segments cannot be signed")
        }
        (libc::IPPROTO_TCP, name) if TCP_AO.contains(&name) => {
            refuse(libc::ENOPROTOOPT, "TCP_AO", "segments cannot be signed")
        }
        (libc::IPPROTO_IP, name) if IP_IPSEC.contains(&name) => {
            refuse(libc::ENOPROTOOPT, "IP_XFRM_POLICY", "a socket cannot ask for IPsec")
        }
        (libc::IPPROTO_IPV6, name) if IPV6_IPSEC.contains(&name) => {
            refuse(libc::ENOPROTOOPT, "IPV6_XFRM_POLICY", "a socket cannot ask for IPsec")
        }
        (libc::IPPROTO_IP | libc::IPPROTO_IPV6, name) if NETFILTER.contains(&name) => silently(libc::ENOPROTOOPT),
        _ => None,
    }
}

const NO_MESSAGES: &str = "nothing can be told beside the data";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_may_be_switched_off() {
        for name in [libc::SO_ZEROCOPY, libc::SO_TIMESTAMP, libc::SO_TIMESTAMPNS, 64] {
            assert!(refusal(libc::SOL_SOCKET, name, true).is_some());
            assert_eq!(refusal(libc::SOL_SOCKET, name, false), None);
        }
        assert_eq!(refusal(libc::IPPROTO_TCP, TCP_ULP, true).map(|r| r.errno), Some(libc::ENOENT));
        assert_eq!(refusal(libc::IPPROTO_TCP, libc::TCP_NODELAY, true), None);
    }
}
