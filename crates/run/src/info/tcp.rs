//! `struct tcp_info` (linux/tcp.h).

use polypath_proto::congestion::LossState;
use polypath_proto::{Counters, Instant, State, SubflowInfo};

use super::{Layout, micros, millis_since};
use crate::network::Look;

/// What this knows to fill in, in bytes; newer kernels tell more.
const KNOWN: usize = 248;
/// What kernels before 5.15 tell: everything is there that is old.
pub(crate) const LEAST: usize = 232;

/// `tcpi_state` of a connection that is under way, of one that is open, and of one that is not (linux/tcp_states.h).
pub(crate) const SYN_SENT: u8 = 2;
pub(crate) const ESTABLISHED: u8 = 1;
pub(crate) const CLOSE: u8 = 7;

/// Offsets of the fields that have a meaning here.
mod at {
    pub(super) const STATE: usize = 0;
    pub(super) const CA_STATE: usize = 1;
    pub(super) const RETRANSMITS: usize = 2;
    pub(super) const BACKOFF: usize = 4;
    pub(super) const OPTIONS: usize = 5;
    pub(super) const WINDOW_SCALES: usize = 6;
    pub(super) const APP_LIMITED: usize = 7;
    pub(super) const RTO: usize = 8;
    pub(super) const SND_MSS: usize = 16;
    pub(super) const RCV_MSS: usize = 20;
    pub(super) const UNACKED: usize = 24;
    pub(super) const SACKED: usize = 28;
    pub(super) const LOST: usize = 32;
    pub(super) const LAST_DATA_SENT: usize = 44;
    pub(super) const LAST_DATA_RECV: usize = 52;
    pub(super) const LAST_ACK_RECV: usize = 56;
    pub(super) const PMTU: usize = 60;
    pub(super) const RTT: usize = 68;
    pub(super) const RTTVAR: usize = 72;
    pub(super) const SND_SSTHRESH: usize = 76;
    pub(super) const SND_CWND: usize = 80;
    pub(super) const ADVMSS: usize = 84;
    pub(super) const REORDERING: usize = 88;
    pub(super) const RCV_RTT: usize = 92;
    pub(super) const RCV_SPACE: usize = 96;
    pub(super) const TOTAL_RETRANS: usize = 100;
    pub(super) const PACING_RATE: usize = 104;
    pub(super) const MAX_PACING_RATE: usize = 112;
    pub(super) const BYTES_ACKED: usize = 120;
    pub(super) const BYTES_RECEIVED: usize = 128;
    pub(super) const SEGS_OUT: usize = 136;
    pub(super) const SEGS_IN: usize = 140;
    pub(super) const NOTSENT_BYTES: usize = 144;
    pub(super) const MIN_RTT: usize = 148;
    pub(super) const DELIVERY_RATE: usize = 160;
    pub(super) const DELIVERED: usize = 192;
    pub(super) const BYTES_SENT: usize = 200;
    pub(super) const BYTES_RETRANS: usize = 208;
    pub(super) const DSACK_DUPS: usize = 216;
    pub(super) const RCV_OOOPACK: usize = 224;
    pub(super) const SND_WND: usize = 228;
    pub(super) const TOTAL_RTO: usize = 240;
}

/// `TCPI_OPT_*`.
const TIMESTAMPS: u8 = 1;
const SACK: u8 = 2;
const WINDOW_SCALING: u8 = 4;
const ECN: u8 = 8;
const SYN_DATA: u8 = 32;
/// `TCP_INFINITE_SSTHRESH`.
const NO_THRESHOLD: u64 = 0x7fff_ffff;
/// RFC 5681 and RFC 6675: so many duplicates mean a loss (Linux: tcp_reordering).
const REORDERING: u64 = 3;

/// `TCP_INFO` of a connection, `len` bytes long as the kernel here has it. How it stands, and times and windows, are those
/// of the subflow that carried most; what is counted is the connection's, over all its subflows.
pub(crate) fn of_connection(look: &Look, len: usize) -> Vec<u8> {
    let info = &look.info;
    let most = info.subflows.iter().max_by_key(|s| s.bytes_sent + s.bytes_received);
    let mut out = most.map_or_else(
        || {
            let mut out = Layout::new(KNOWN);
            // Between two paths: nothing is closed.
            out.put_u8(at::STATE, ESTABLISHED);
            out
        },
        |subflow| subflow_layout(look.now, subflow),
    );
    count(&mut out, &info.counters);
    out.put_u64(at::BYTES_ACKED, info.bytes_acked);
    out.put_u64(at::BYTES_RECEIVED, info.bytes_received);
    let unsent = (info.send_queue as u64).saturating_sub(info.bytes_sent.saturating_sub(info.bytes_acked));
    out.put_u32(at::NOTSENT_BYTES, unsent);
    out.put_u32(at::RCV_SPACE, info.recv_buffer as u64);
    sized(out, len)
}

/// The same of one subflow alone.
pub(crate) fn of_subflow(now: Instant, subflow: &SubflowInfo, len: usize) -> Vec<u8> {
    let mut out = subflow_layout(now, subflow);
    count(&mut out, &subflow.counters);
    out.put_u64(at::BYTES_ACKED, subflow.bytes_sent.saturating_sub(subflow.tcp.outstanding));
    out.put_u64(at::BYTES_RECEIVED, subflow.bytes_received);
    sized(out, len)
}

/// What may be sent on the path of a connection's busiest subflow, in bytes: a segment's payload, and an IP packet.
pub(crate) fn sizes(look: &Look) -> Option<(u64, u32)> {
    let most = look.info.subflows.iter().max_by_key(|s| s.bytes_sent + s.bytes_received)?;
    Some((most.tcp.mss, most.path_mtu))
}

fn sized(out: Layout, len: usize) -> Vec<u8> {
    let mut bytes = out.into_bytes();
    bytes.resize(len, 0);
    bytes
}

fn subflow_layout(now: Instant, s: &SubflowInfo) -> Layout {
    let (tcp, mss) = (&s.tcp, s.tcp.mss.max(1));
    let mut out = Layout::new(KNOWN);
    out.put_u8(at::STATE, state(s.state));
    out.put_u8(
        at::CA_STATE,
        match tcp.loss_state {
            LossState::Open => 0,
            LossState::Recovery => 3,
            LossState::Loss => 4,
        },
    );
    let backoff = u8::try_from(tcp.backoff).unwrap_or(u8::MAX);
    out.put_u8(at::RETRANSMITS, backoff);
    out.put_u8(at::BACKOFF, backoff);
    let options = [
        (tcp.timestamps, TIMESTAMPS),
        (tcp.sack, SACK),
        (tcp.window_scales.is_some(), WINDOW_SCALING),
        (s.ecn, ECN),
        (tcp.syn_data, SYN_DATA),
    ];
    out.put_u8(at::OPTIONS, options.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum());
    let (snd, rcv) = tcp.window_scales.unwrap_or_default();
    out.put_u8(at::WINDOW_SCALES, snd & 0xf | rcv << 4);
    out.put_u8(at::APP_LIMITED, u8::from(tcp.app_limited));
    out.put_u32(at::RTO, micros(tcp.rto));
    out.put_u32(at::SND_MSS, mss);
    out.put_u32(at::RCV_MSS, mss.min(u64::from(tcp.advertised_mss)));
    out.put_u32(at::UNACKED, tcp.outstanding.div_ceil(mss));
    out.put_u32(at::SACKED, tcp.sacked.div_ceil(mss));
    out.put_u32(at::LOST, tcp.lost.div_ceil(mss));
    out.put_u32(at::LAST_DATA_SENT, millis_since(now, tcp.last_data_sent));
    out.put_u32(at::LAST_DATA_RECV, tcp.last_data_received.map_or(0, |then| millis_since(now, then)));
    out.put_u32(at::LAST_ACK_RECV, millis_since(now, tcp.last_received));
    out.put_u32(at::PMTU, s.path_mtu.into());
    out.put_u32(at::RTT, s.srtt.map_or(0, micros));
    out.put_u32(at::RTTVAR, micros(tcp.rttvar));
    out.put_u32(at::SND_SSTHRESH, s.ssthresh.map_or(NO_THRESHOLD, |bytes| bytes / mss));
    // Segments with the options of Multipath TCP are a little smaller.
    out.put_u32(at::SND_CWND, s.cwnd.div_ceil(mss));
    out.put_u32(at::ADVMSS, tcp.advertised_mss.into());
    out.put_u32(at::REORDERING, REORDERING);
    out.put_u32(at::RCV_RTT, tcp.rcv_rtt.map_or(0, micros));
    // As the kernel where nothing is paced.
    out.put_u64(at::PACING_RATE, tcp.pacing_rate.unwrap_or(u64::MAX));
    out.put_u64(at::MAX_PACING_RATE, u64::MAX);
    out.put_u32(at::MIN_RTT, tcp.min_rtt.map_or(u32::MAX.into(), micros));
    out.put_u64(at::DELIVERY_RATE, s.delivery_rate.unwrap_or(0));
    out.put_u32(at::DELIVERED, tcp.delivered.div_ceil(mss));
    out.put_u32(at::SND_WND, tcp.send_window);
    out
}

fn count(out: &mut Layout, counters: &Counters) {
    out.put_u32(at::TOTAL_RETRANS, counters.retransmits);
    out.put_u32(at::SEGS_OUT, counters.segments_sent);
    out.put_u32(at::SEGS_IN, counters.segments_received);
    out.put_u64(at::BYTES_SENT, counters.bytes_sent + counters.bytes_retransmitted);
    out.put_u64(at::BYTES_RETRANS, counters.bytes_retransmitted);
    out.put_u32(at::DSACK_DUPS, counters.duplicates_sent);
    out.put_u32(at::RCV_OOOPACK, counters.out_of_order);
    out.put_u16(at::TOTAL_RTO, counters.timeouts);
}

fn state(state: State) -> u8 {
    match state {
        State::Established => ESTABLISHED,
        State::SynSent => SYN_SENT,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => CLOSE,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Closing => 11,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info::sample;
    use std::mem::offset_of;

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn offsets_are_those_of_the_c_library() {
        // The C library's structure ends before the 64-bit fields.
        assert_eq!(at::RTO, offset_of!(libc::tcp_info, tcpi_rto));
        assert_eq!(at::SND_MSS, offset_of!(libc::tcp_info, tcpi_snd_mss));
        assert_eq!(at::UNACKED, offset_of!(libc::tcp_info, tcpi_unacked));
        assert_eq!(at::LAST_DATA_SENT, offset_of!(libc::tcp_info, tcpi_last_data_sent));
        assert_eq!(at::PMTU, offset_of!(libc::tcp_info, tcpi_pmtu));
        assert_eq!(at::RTT, offset_of!(libc::tcp_info, tcpi_rtt));
        assert_eq!(at::SND_CWND, offset_of!(libc::tcp_info, tcpi_snd_cwnd));
        assert_eq!(at::RCV_RTT, offset_of!(libc::tcp_info, tcpi_rcv_rtt));
        assert_eq!(at::TOTAL_RETRANS, offset_of!(libc::tcp_info, tcpi_total_retrans));
    }

    #[test]
    fn a_connection_shows_its_busiest_subflow_and_counts_all() {
        let look = sample::look();
        let bytes = of_connection(&look, LEAST);
        assert_eq!(bytes.len(), LEAST);
        assert_eq!(bytes[..8], [ESTABLISHED, 3, 2, 0, 2, 1 | 2 | 4 | 8, 0x97, 1]);
        // In microseconds, segments, milliseconds.
        assert_eq!((u32_at(&bytes, 8), u32_at(&bytes, 68), u32_at(&bytes, 72)), (230_000, 30_000, 5_000));
        assert_eq!((u32_at(&bytes, 24), u32_at(&bytes, 28), u32_at(&bytes, 32)), (2, 1, 1));
        assert_eq!((u32_at(&bytes, 76), u32_at(&bytes, 80)), (0x7fff_ffff, 10));
        assert_eq!((u32_at(&bytes, 44), u32_at(&bytes, 52), u32_at(&bytes, 56)), (1_000, 2_000, 500));
        assert_eq!((u32_at(&bytes, 60), u32_at(&bytes, 148)), (1_500, 20_000));
        // All subflows, and those that are gone.
        assert_eq!((u32_at(&bytes, 100), u32_at(&bytes, 136), u32_at(&bytes, 140)), (7, 50, 40));
        assert_eq!((u64_at(&bytes, 120), u64_at(&bytes, 128)), (25_000, 1_000));
        assert_eq!((u64_at(&bytes, 160), u64_at(&bytes, 200), u64_at(&bytes, 208)), (1_000_000, 39_000, 9_000));
        assert_eq!((u32_at(&bytes, 144), u32_at(&bytes, 228)), (2_000, 65_536));
    }

    #[test]
    fn a_subflow_shows_itself() {
        let look = sample::look();
        let bytes = of_subflow(look.now, &look.info.subflows[0], 300);
        assert_eq!(bytes.len(), 300);
        assert_eq!((u64_at(&bytes, 120), u64_at(&bytes, 128), u32_at(&bytes, 100)), (7_104, 500, 1));
        assert_eq!(u16::from_ne_bytes([bytes[240], bytes[241]]), 1);
        assert!(bytes[KNOWN..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_connection_without_a_subflow_is_still_open() {
        let mut look = sample::look();
        look.info.subflows.clear();
        assert_eq!(of_connection(&look, LEAST)[0], ESTABLISHED);
    }
}
