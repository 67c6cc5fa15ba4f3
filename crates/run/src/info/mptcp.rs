//! The structures of `SOL_MPTCP` (linux/mptcp.h).

use std::net::SocketAddr;

use super::{Layout, millis_since, tcp};
use crate::address;
use crate::network::Look;
use crate::sys::Errno;

/// Option names.
pub(crate) const MPTCP_INFO: i32 = 1;
pub(crate) const MPTCP_TCPINFO: i32 = 2;
pub(crate) const MPTCP_SUBFLOW_ADDRS: i32 = 3;
pub(crate) const MPTCP_FULL_INFO: i32 = 4;

/// `struct mptcp_info`, as of Linux 6.10: what came before is its beginning.
const INFO_LEN: usize = 96;
/// `struct mptcp_subflow_data`.
const HEAD_LEN: usize = 16;
/// `struct mptcp_subflow_addrs`: two `sockaddr_storage`.
const ADDRS_LEN: usize = 256;
/// `struct mptcp_subflow_info`: a number, and the addresses.
const SUBFLOW_LEN: usize = 8 + ADDRS_LEN;
/// `struct mptcp_full_info` without the `mptcp_info` at its end.
pub(crate) const FULL_HEAD_LEN: usize = 40;

/// `MPTCP_INFO_FLAG_REMOTE_KEY_RECEIVED`.
const REMOTE_KEY_RECEIVED: u64 = 2;

/// `MPTCP_INFO`.
pub(crate) fn info(look: &Look) -> Vec<u8> {
    let (c, mut out) = (&look.info, Layout::new(INFO_LEN));
    let count = c.subflows.len();
    // Besides the first one.
    let more = |n: usize| u8::try_from(n.saturating_sub(1)).unwrap_or(u8::MAX);
    out.put_u8(0, more(count));
    out.put_u8(3, more(c.max_subflows));
    if let Some(session) = &c.session {
        let few = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        out.put_u8(1, few(session.announced.0));
        out.put_u8(2, few(session.announced.1));
        out.put_u32(8, REMOTE_KEY_RECEIVED);
        out.put_u32(12, session.local_token.into());
        out.put_u64(16, session.snd_nxt);
        out.put_u64(24, session.snd_una);
        out.put_u64(32, session.rcv_nxt);
        out.put_u8(42, u8::from(session.checksum));
    }
    let mut locals: Vec<u8> = c.subflows.iter().map(|s| s.address_ids.0).filter(|id| *id != 0).collect();
    locals.sort_unstable();
    locals.dedup();
    out.put_u8(40, u8::try_from(locals.len()).unwrap_or(u8::MAX));
    out.put_u32(44, c.counters.retransmits);
    out.put_u64(48, c.counters.bytes_retransmitted + c.bytes_reinjected);
    out.put_u64(56, c.bytes_sent);
    out.put_u64(64, c.bytes_received);
    out.put_u64(72, c.bytes_acked);
    out.put_u8(80, u8::try_from(count).unwrap_or(u8::MAX));
    let latest = |of: fn(&polypath_proto::TcpInfo) -> Option<polypath_proto::Instant>| {
        c.subflows.iter().filter_map(|s| of(&s.tcp)).max().map_or(0, |then| millis_since(look.now, then))
    };
    out.put_u32(84, latest(|tcp| Some(tcp.last_data_sent)));
    out.put_u32(88, latest(|tcp| tcp.last_data_received));
    out.put_u32(92, latest(|tcp| Some(tcp.last_received)));
    out.into_bytes()
}

/// `MPTCP_TCPINFO`: `given` is what the program's buffer holds. `tcp_len` is the kernel's `struct tcp_info`.
pub(crate) fn tcp_infos(look: &Look, given: &[u8], tcp_len: usize) -> Result<Vec<u8>, Errno> {
    let infos = look.info.subflows.iter().map(|s| tcp::of_subflow(look.now, s, tcp_len));
    list(given, tcp_len, infos)
}

/// `MPTCP_SUBFLOW_ADDRS`.
pub(crate) fn subflow_addrs(look: &Look, given: &[u8]) -> Result<Vec<u8>, Errno> {
    list(given, ADDRS_LEN, look.info.subflows.iter().map(|s| addrs(s.local, s.remote)))
}

/// `struct mptcp_subflow_data`, and behind it as many whole elements as there is room for, each as long as the program
/// knows it.
fn list(given: &[u8], kernel: usize, elements: impl Iterator<Item = Vec<u8>>) -> Result<Vec<u8>, Errno> {
    let head: &[u8; HEAD_LEN] = given.first_chunk().ok_or(libc::EINVAL)?;
    let [head_len, count, theirs, user] = words(head);
    let sane = i32::try_from(head_len).is_ok() && i32::try_from(user).is_ok();
    let head_len = head_len as usize;
    if !sane || head_len < HEAD_LEN || head_len > given.len() || count != 0 || theirs != 0 {
        return Err(libc::EINVAL);
    }
    let user = (user as usize).min(kernel);
    let mut room = given.len() - head_len;
    let (mut count, mut data) = (0u32, Vec::new());
    for element in elements {
        count += 1;
        if room > 0 && room >= user {
            data.extend_from_slice(&element[..user]);
            room -= user;
        }
    }
    let mut out = Layout::new(HEAD_LEN);
    out.put_u32(0, head_len as u64);
    out.put_u32(4, count.into());
    out.put_u32(8, kernel as u64);
    out.put_u32(12, user as u64);
    let mut out = out.into_bytes();
    if !data.is_empty() {
        // What the program has between the two stays as it is.
        out.extend_from_slice(&given[HEAD_LEN..head_len]);
        out.extend_from_slice(&data);
    }
    Ok(out)
}

/// What a program asks with `MPTCP_FULL_INFO`: two arrays of its own.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrays {
    /// Room in each, in elements.
    pub(crate) room: usize,
    /// Length of its `tcp_info`, and of its `mptcp_subflow_info`.
    pub(crate) tcp_len: usize,
    pub(crate) subflow_len: usize,
    /// Where they are.
    pub(crate) subflows_at: u64,
    pub(crate) tcp_at: u64,
}

impl Arrays {
    /// Reads the head of `struct mptcp_full_info`.
    pub(crate) fn parse(given: &[u8]) -> Result<Arrays, Errno> {
        let head: &[u8; FULL_HEAD_LEN] = given.first_chunk().ok_or(libc::EINVAL)?;
        let [tcp_kernel, tcp_len, subflow_kernel, subflow_len] = words(head);
        let [count, room, ..] = words(&head[16..]);
        let sizes = [tcp_len, subflow_len, room];
        if tcp_kernel != 0 || subflow_kernel != 0 || count != 0 || sizes.iter().any(|n| i32::try_from(*n).is_err()) {
            return Err(libc::EINVAL);
        }
        let [tcp_len, subflow_len, room] = sizes.map(|n| n as usize);
        let pointer = |at: usize| head[at..at + 8].try_into().map_or(0, u64::from_ne_bytes);
        Ok(Arrays { room, tcp_len, subflow_len, subflows_at: pointer(24), tcp_at: pointer(32) })
    }
}

/// `MPTCP_FULL_INFO`: what goes into the buffer, and into the two arrays.
pub(crate) struct Full {
    pub(crate) head: Vec<u8>,
    pub(crate) subflows: Vec<u8>,
    pub(crate) tcp: Vec<u8>,
}

pub(crate) fn full(look: &Look, arrays: &Arrays, tcp_len: usize) -> Full {
    let (tcp_user, subflow_user) = (arrays.tcp_len.min(tcp_len), arrays.subflow_len.min(SUBFLOW_LEN));
    let (mut subflows, mut tcps) = (Vec::new(), Vec::new());
    for s in look.info.subflows.iter().take(arrays.room) {
        let mut one = Layout::new(8);
        // From 1 on, as the kernel counts.
        one.put_u32(0, u64::from(s.id.0) + 1);
        let mut one = one.into_bytes();
        one.extend(addrs(s.local, s.remote));
        subflows.extend_from_slice(&one[..subflow_user]);
        tcps.extend_from_slice(&tcp::of_subflow(look.now, s, tcp_len)[..tcp_user]);
    }
    let mut head = Layout::new(FULL_HEAD_LEN);
    head.put_u32(0, tcp_len as u64);
    head.put_u32(4, tcp_user as u64);
    head.put_u32(8, SUBFLOW_LEN as u64);
    head.put_u32(12, subflow_user as u64);
    head.put_u32(16, look.info.subflows.len() as u64);
    head.put_u32(20, arrays.room as u64);
    head.put_u64(24, arrays.subflows_at);
    head.put_u64(32, arrays.tcp_at);
    let mut head = head.into_bytes();
    head.extend(info(look));
    Full { head, subflows, tcp: tcps }
}

fn words(bytes: &[u8]) -> [u32; 4] {
    std::array::from_fn(|i| bytes.get(4 * i..4 * i + 4).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]])))
}

/// `struct mptcp_subflow_addrs`.
fn addrs(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let mut out = Layout::new(ADDRS_LEN);
    for (at, end) in [(0, local), (address::STORAGE_LEN, remote)] {
        let domain = if end.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        out.put(at, &address::emit(end, domain));
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info::sample;
    use crate::sys;
    use std::os::fd::AsRawFd;

    const TCP_LEN: usize = 280;

    fn head(words: [u32; 4], room: usize) -> Vec<u8> {
        let mut out: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        out.resize(room, 0xee);
        out
    }

    #[test]
    fn the_info_has_its_fields_in_their_places() {
        let bytes = info(&sample::look());
        assert_eq!(bytes.len(), INFO_LEN);
        assert_eq!(bytes[..8], [1, 1, 2, 7, 0, 0, 0, 0]);
        assert_eq!(words(&bytes[8..])[..2], [2, 0x0102_0304]);
        let u64_at = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!(u64_at(16), 0x1111_2222_3333_4444);
        assert_eq!((u64_at(24), u64_at(32)), (0x1111_2222_3333_0000, 0x5555_6666_7777_8888));
        assert_eq!((bytes[40], bytes[42], words(&bytes[44..])[0]), (1, 1, 7));
        assert_eq!((u64_at(48), u64_at(56), u64_at(64), u64_at(72)), (9_000, 28_000, 1_000, 25_000));
        assert_eq!((bytes[80], words(&bytes[84..])[..3].to_vec()), (2, vec![1_000, 2_000, 500]));
    }

    #[test]
    fn only_whole_elements_are_told_and_all_are_counted() {
        let look = sample::look();
        let answer = |words, room| tcp_infos(&look, &head(words, room), TCP_LEN);
        for (room, told) in [(16, 16), (100, 16), (16 + 232, 248), (1000, 16 + 464)] {
            let bytes = answer([16, 0, 0, 232], room).unwrap();
            assert_eq!((bytes.len(), words(&bytes)), (told, [16, 2, 280, 232]), "room for {room}");
        }
        // A program that knows more than the kernel, or has a longer head.
        assert_eq!(answer([16, 0, 0, 500], 1000).unwrap().len(), 16 + 560);
        let longer = answer([20, 0, 0, 100], 1000).unwrap();
        assert_eq!((longer.len(), &longer[16..20]), (220, &[0xee; 4][..]));
        for wrong in [[12, 0, 0, 232], [20, 0, 0, 232], [16, 1, 0, 232], [16, 0, 1, 232], [16, 0, 0, u32::MAX]] {
            assert_eq!(answer(wrong, 16), Err(libc::EINVAL), "{wrong:?}");
        }
        assert_eq!(tcp_infos(&look, &[16, 0, 0], TCP_LEN), Err(libc::EINVAL));
    }

    #[test]
    fn addresses_are_those_of_both_ends() {
        let bytes = subflow_addrs(&sample::look(), &head([16, 0, 0, 256], 1000)).unwrap();
        assert_eq!(bytes.len(), 16 + 512);
        assert_eq!(bytes[16..24], [2, 0, 0xc3, 0x50, 10, 1, 0, 1]);
        assert_eq!(bytes[16 + 128..16 + 136], [2, 0, 0, 80, 192, 0, 2, 9]);
        assert_eq!(bytes[16 + 256..16 + 264], [2, 0, 0xc3, 0x51, 10, 2, 0, 1]);
    }

    #[test]
    fn the_full_info_fills_the_programs_arrays() {
        let look = sample::look();
        let mut given = head([0, 232, 0, 300], 24);
        given[16..].copy_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0]);
        given.extend([0x1000u64, 0x2000].iter().flat_map(|p| p.to_ne_bytes()));
        let arrays = Arrays::parse(&given).unwrap();
        assert_eq!((arrays.room, arrays.subflows_at, arrays.tcp_at), (1, 0x1000, 0x2000));
        let full = full(&look, &arrays, TCP_LEN);
        assert_eq!((full.head.len(), full.subflows.len(), full.tcp.len()), (136, 264, 232));
        assert_eq!((words(&full.head), words(&full.head[16..])[0]), ([280, 232, 264, 264], 2));
        assert_eq!(full.head[24..40], given[24..40]);
        assert_eq!((full.subflows[0], full.subflows[8]), (1, 2));
        for at in [0, 8, 16] {
            let mut wrong = given.clone();
            wrong[at] = 1;
            assert_eq!(Arrays::parse(&wrong), Err(libc::EINVAL));
        }
        assert_eq!(Arrays::parse(&given[..39]), Err(libc::EINVAL));
    }

    /// Asks a kernel socket of Multipath TCP, where the kernel has that.
    fn kernel(name: i32, mut given: Vec<u8>) -> Option<Vec<u8>> {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP).ok()?;
        let len = sys::get_option(socket.as_raw_fd(), 284, name, &mut given).unwrap();
        given.truncate(len);
        Some(given)
    }

    #[test]
    fn the_kernels_structures_are_as_long() {
        let Some(told) = kernel(MPTCP_INFO, vec![0; 1000]) else { return };
        // Older kernels tell the beginning of it; none tells less than its first version.
        assert!((43..=INFO_LEN).contains(&told.len()), "{}", told.len());
        let addresses = kernel(MPTCP_SUBFLOW_ADDRS, head([16, 0, 0, 1000], 1000)).unwrap();
        assert_eq!(words(&addresses)[2] as usize, ADDRS_LEN);
        let mut full = head([0; 4], 40);
        full[16..].fill(0);
        if let Some(told) = kernel(MPTCP_FULL_INFO, full) {
            assert_eq!((words(&told)[2] as usize, told.len()), (SUBFLOW_LEN, FULL_HEAD_LEN));
        }
    }
}
