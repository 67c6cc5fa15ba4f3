//! The filter: which system calls stop for the supervisor. Hand-written classic BPF.
//!
//! Everything is decided on scalars (a filter sees no memory), so that data calls never stop. For
//! calls allowed whatever their arguments the kernel does not even run the filter (it precomputes
//! them, since 5.11).

use std::mem::offset_of;

use libc::{seccomp_data, sock_filter};

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_EQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_GE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JUMP_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// The architecture whose call numbers `libc::SYS_*` are (`AUDIT_ARCH_*` of linux/audit.h:
/// the ELF machine number, 64-bit, little-endian).
#[cfg(target_arch = "x86_64")]
pub(crate) const NATIVE_ARCH: u32 = 0xc000_0000 | 62;
/// See above.
#[cfg(target_arch = "aarch64")]
pub(crate) const NATIVE_ARCH: u32 = 0xc000_0000 | 183;

/// Calls of the x32 ABI have this bit in their number.
#[cfg(target_arch = "x86_64")]
const X32_BIT: u32 = 0x4000_0000;

/// Socket options left to the UNIX socket, where they mean the same: timeouts (old and new
/// names), the low-water mark of reads, the peek offset.
const NATIVE_OPTIONS: [i32; 6] = [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO, 66, 67, libc::SO_RCVLOWAT, libc::SO_PEEK_OFF];

/// The ioctls about times, interfaces, routes and ARP: from [`SIOCATMARK`] to `SIOCSIFMAP` 0x8971.
pub(crate) const INTERFACE_IOCTLS: std::ops::Range<u32> = SIOCATMARK..0x8972;

/// Those that each protocol defines for itself: from `SIOCPROTOPRIVATE`. A UNIX socket has one, TCP none.
pub(crate) const PROTOCOL_IOCTLS: std::ops::Range<u32> = 0x89e0..0x89f0;

/// `SIOCATMARK`: no urgent data ever arrives, but the question is legal on TCP.
pub(crate) const SIOCATMARK: u32 = 0x8905;

/// `SIOCOUTQ`, which has the number of a terminal's `TIOCOUTQ`.
pub(crate) const SIOCOUTQ: u32 = 0x5411;

/// The level of options of Multipath TCP (linux/socket.h), which `libc` does not name.
pub(crate) const SOL_MPTCP: i32 = 284;

/// Calls that stop whatever their arguments.
const ALWAYS: [i64; 8] = [
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
];

/// What a UNIX socket would send otherwise than TCP, and what it would receive: urgent data, data with the SYN, the queue
/// of errors.
pub(crate) const SEND_FLAGS: i32 = libc::MSG_OOB | libc::MSG_FASTOPEN;
pub(crate) const RECEIVE_FLAGS: i32 = libc::MSG_OOB | libc::MSG_ERRQUEUE;

/// TCP throws away what is received with this flag; a UNIX socket copies it, to where there may be no memory.
pub(crate) const DISCARD: i32 = libc::MSG_TRUNC;

/// Data calls that stop with certain flags or with a name: which argument the flags are, which ones, and which the name is.
/// Messages have theirs in memory, which a filter does not see.
const DATA_CALLS: [(i64, usize, i32, Option<usize>); 6] = [
    (libc::SYS_sendto, 3, SEND_FLAGS, Some(4)),
    (libc::SYS_sendmsg, 2, SEND_FLAGS, None),
    (libc::SYS_sendmmsg, 3, SEND_FLAGS, None),
    (libc::SYS_recvfrom, 3, RECEIVE_FLAGS | DISCARD, Some(4)),
    (libc::SYS_recvmsg, 2, RECEIVE_FLAGS, None),
    (libc::SYS_recvmmsg, 3, RECEIVE_FLAGS, None),
];

/// The whole program.
pub(crate) fn filter() -> Vec<sock_filter> {
    let mut out = vec![
        load(offset_of!(seccomp_data, arch)),
        // Calls by 32-bit conventions have other numbers: they stop so that the supervisor can
        // refuse them with a sentence.
        jump(JUMP_EQ, NATIVE_ARCH, 1, 0),
        ret(libc::SECCOMP_RET_USER_NOTIF),
        load(offset_of!(seccomp_data, nr)),
    ];
    #[cfg(target_arch = "x86_64")]
    out.extend([jump(JUMP_GE, X32_BIT, 0, 1), ret(errno(libc::ENOSYS))]);
    for nr in ALWAYS {
        rule(&mut out, nr, &[notify()]);
    }
    rule(&mut out, libc::SYS_socket, &socket_rule());
    rule(&mut out, libc::SYS_setsockopt, &option_rule());
    rule(&mut out, libc::SYS_getsockopt, &option_rule());
    for (nr, at, flags, name) in DATA_CALLS {
        rule(&mut out, nr, &data_rule(at, flags, name));
    }
    rule(&mut out, libc::SYS_ioctl, &ioctl_rule());
    // A ring makes sockets and connects behind the filter's back.
    rule(&mut out, libc::SYS_io_uring_setup, &[ret(errno(libc::ENOSYS))]);
    out.push(allow());
    out
}

/// `socket`: Internet streams only.
fn socket_rule() -> Vec<sock_filter> {
    vec![
        load(argument(0)),
        jump(JUMP_EQ, libc::AF_INET as u32, 2, 0),
        jump(JUMP_EQ, libc::AF_INET6 as u32, 1, 0),
        allow(),
        load(argument(1)),
        // The type without SOCK_NONBLOCK and SOCK_CLOEXEC.
        sock_filter { code: AND, jt: 0, jf: 0, k: 0xf },
        jump(JUMP_EQ, libc::SOCK_STREAM as u32, 1, 0),
        allow(),
        notify(),
    ]
}

/// `setsockopt` and `getsockopt`: what a UNIX socket would answer otherwise than TCP.
fn option_rule() -> Vec<sock_filter> {
    // At other levels a UNIX socket fails with another errno than TCP.
    let mut out = vec![load(argument(1)), jump(JUMP_EQ, libc::SOL_SOCKET as u32, 1, 0), notify(), load(argument(2))];
    for (i, name) in NATIVE_OPTIONS.iter().enumerate() {
        out.push(jump(JUMP_EQ, *name as u32, (NATIVE_OPTIONS.len() - i) as u8, 0));
    }
    out.push(notify());
    out.push(allow());
    out
}

/// Stops when argument `at` has one of these flags, or when the pointer in argument `name` is not null.
fn data_rule(at: usize, flags: i32, name: Option<usize>) -> Vec<sock_filter> {
    let mut out = vec![load(argument(at)), jump(JUMP_SET, flags as u32, 0, 1), notify()];
    if let Some(n) = name {
        out.extend([
            load(argument(n)),
            jump(JUMP_EQ, 0, 0, 2),
            load(argument(n) + 4),
            jump(JUMP_EQ, 0, 1, 0),
            notify(),
        ]);
    }
    out.push(allow());
    out
}

/// `ioctl`: commands that a UNIX socket does not know.
fn ioctl_rule() -> Vec<sock_filter> {
    vec![
        load(argument(1)),
        jump(JUMP_EQ, SIOCOUTQ, 5, 0),
        jump(JUMP_GE, INTERFACE_IOCTLS.start, 0, 3),
        jump(JUMP_GE, INTERFACE_IOCTLS.end, 0, 3),
        jump(JUMP_GE, PROTOCOL_IOCTLS.start, 0, 1),
        jump(JUMP_GE, PROTOCOL_IOCTLS.end, 0, 1),
        allow(),
        notify(),
    ]
}

/// Appends `body` for the call `nr`. Every path through `body` returns.
fn rule(out: &mut Vec<sock_filter>, nr: i64, body: &[sock_filter]) {
    out.push(jump(JUMP_EQ, nr as u32, 0, body.len() as u8));
    out.extend_from_slice(body);
}

/// The low half of argument `n` (both architectures are little-endian).
fn argument(n: usize) -> usize {
    offset_of!(seccomp_data, args) + 8 * n
}

fn load(offset: usize) -> sock_filter {
    sock_filter { code: LOAD, jt: 0, jf: 0, k: offset as u32 }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn ret(k: u32) -> sock_filter {
    sock_filter { code: RETURN, jt: 0, jf: 0, k }
}

fn notify() -> sock_filter {
    ret(libc::SECCOMP_RET_USER_NOTIF)
}

fn allow() -> sock_filter {
    ret(libc::SECCOMP_RET_ALLOW)
}

fn errno(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small interpreter: what the kernel would answer.
    fn decide(arch: u32, nr: i64, args: [u64; 6]) -> u32 {
        let mut data = [0u8; size_of::<seccomp_data>()];
        data[..4].copy_from_slice(&(nr as u32).to_ne_bytes());
        data[4..8].copy_from_slice(&arch.to_ne_bytes());
        for (i, arg) in args.iter().enumerate() {
            data[argument(i)..argument(i) + 8].copy_from_slice(&arg.to_ne_bytes());
        }
        let (program, mut pc, mut a) = (filter(), 0, 0u32);
        loop {
            let op = program[pc];
            pc += 1;
            let branch = |taken: bool| usize::from(if taken { op.jt } else { op.jf });
            match op.code {
                LOAD => {
                    let at = op.k as usize;
                    a = u32::from_ne_bytes(data[at..at + 4].try_into().unwrap());
                }
                AND => a &= op.k,
                JUMP_EQ => pc += branch(a == op.k),
                JUMP_GE => pc += branch(a >= op.k),
                JUMP_SET => pc += branch(a & op.k != 0),
                RETURN => return op.k,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    fn stops(nr: i64, args: [u64; 6]) -> bool {
        match decide(NATIVE_ARCH, nr, args) {
            libc::SECCOMP_RET_USER_NOTIF => true,
            libc::SECCOMP_RET_ALLOW => false,
            other => panic!("unexpected {other:#x}"),
        }
    }

    fn args(given: &[i32]) -> [u64; 6] {
        let mut out = [0; 6];
        for (slot, value) in out.iter_mut().zip(given) {
            *slot = *value as u64;
        }
        out
    }

    #[test]
    fn only_internet_streams_stop_at_socket() {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let stops = |domain, kind| stops(libc::SYS_socket, args(&[domain, kind]));
        assert!(stops(libc::AF_INET, libc::SOCK_STREAM));
        assert!(stops(libc::AF_INET6, libc::SOCK_STREAM | flags));
        assert!(!stops(libc::AF_INET, libc::SOCK_DGRAM | flags));
        assert!(!stops(libc::AF_UNIX, libc::SOCK_STREAM));
        assert!(!stops(libc::AF_NETLINK, libc::SOCK_RAW));
    }

    #[test]
    fn data_calls_never_stop() {
        for nr in [
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_readv,
            libc::SYS_writev,
            libc::SYS_sendfile,
            libc::SYS_close,
            libc::SYS_epoll_ctl,
            libc::SYS_ppoll,
        ] {
            assert!(!stops(nr, [u64::MAX; 6]), "call {nr} stops");
        }
        assert!(!stops(libc::SYS_sendto, [3, 1, 1, 0, 0, 0]));
        assert!(!stops(libc::SYS_recvfrom, [3, 1, 1, 0, 0, 0]));
        assert!(stops(libc::SYS_sendto, [3, 1, 1, 0, 0x7fff_0000_0000, 16]));
        assert!(stops(libc::SYS_recvfrom, [3, 1, 1, 0, 0x1000, 16]));
    }

    #[test]
    fn messages_stop_only_with_flags_that_mean_something_else_on_a_unix_socket() {
        for (nr, at, flags, _) in DATA_CALLS {
            let with = |flags: i32| {
                // A name's place is used by messages for other things.
                let mut args = if at == 3 { [3, 1, 1, 0, 0, 0] } else { [3, 1, 0, 0, 0, 0] };
                args[at] = flags as u64;
                stops(nr, args)
            };
            assert!(!with(0) && !with(libc::MSG_DONTWAIT | libc::MSG_PEEK | libc::MSG_NOSIGNAL), "call {nr}");
            assert!(!with(libc::MSG_ZEROCOPY | libc::MSG_WAITALL | libc::MSG_MORE), "call {nr}");
            assert!(with(libc::MSG_OOB | libc::MSG_DONTWAIT) && with(flags & !libc::MSG_OOB), "call {nr}");
        }
        assert!(!stops(libc::SYS_sendmsg, [3, 1, 0, u64::MAX, u64::MAX, u64::MAX]));
    }

    #[test]
    fn options_stop_unless_a_unix_socket_means_the_same() {
        let stops = |level, name| {
            let a = stops(libc::SYS_setsockopt, args(&[3, level, name]));
            assert_eq!(a, stops(libc::SYS_getsockopt, args(&[3, level, name])));
            a
        };
        assert!(stops(libc::SOL_SOCKET, libc::SO_ERROR));
        assert!(stops(libc::SOL_SOCKET, libc::SO_LINGER));
        assert!(stops(libc::IPPROTO_TCP, libc::TCP_NODELAY));
        assert!(stops(libc::IPPROTO_IP, libc::IP_TOS));
        assert!(stops(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY));
        assert!(stops(SOL_MPTCP, 1));
        for name in NATIVE_OPTIONS {
            assert!(!stops(libc::SOL_SOCKET, name), "SOL_SOCKET {name} stops");
        }
        assert!(stops(libc::IPPROTO_UDP, 1) && stops(282, 1), "other levels have the errno of TCP");
    }

    #[test]
    fn interface_ioctls_stop_and_others_do_not() {
        let stops = |command: u32| stops(libc::SYS_ioctl, [3, u64::from(command), 0, 0, 0, 0]);
        assert!(stops(libc::SIOCGIFCONF as u32) && stops(libc::SIOCGIFINDEX as u32));
        assert!(stops(SIOCATMARK) && stops(SIOCOUTQ));
        assert!(!stops(libc::FIONREAD as u32) && !stops(libc::FIONBIO as u32));
        assert!(!stops(libc::TCGETS as u32) && !stops(0x8972) && !stops(0x8904) && !stops(0x89df) && !stops(0x89f0));
        assert!(stops(0x8906) && stops(0x89e0) && stops(0x89ef));
    }

    #[test]
    fn other_ways_in_are_shut() {
        let enosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        assert_eq!(decide(NATIVE_ARCH, libc::SYS_io_uring_setup, [0; 6]), enosys);
        // i386's exit: refused by the supervisor, with a sentence.
        assert_eq!(decide(0x4000_0003, 1, [0; 6]), libc::SECCOMP_RET_USER_NOTIF);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(decide(NATIVE_ARCH, i64::from(X32_BIT) + 41, [0; 6]), enosys);
    }
}
