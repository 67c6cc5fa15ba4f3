//! What the engine tells of itself, beside its counters: what Linux's `TCP_INFO` asks for.

use super::Tcp;
use crate::congestion::LossState;
use crate::time::{Duration, Instant};

/// TCP's engine of one subflow at one moment.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// How loss recovery stands.
    pub loss_state: LossState,
    /// Timeouts in a row without progress.
    pub backoff: u32,
    /// Both ends agreed on timestamps (RFC 7323).
    pub timestamps: bool,
    /// Both ends agreed on selective acknowledgements (RFC 2018).
    pub sack: bool,
    /// The unit of the peer's window and of ours, as powers of two, where both ends agreed on window scaling (RFC 7323).
    pub window_scales: Option<(u8, u8)>,
    /// Bytes of the SYN were taken (RFC 7413).
    pub syn_data: bool,
    /// Retransmission timeout, with backoff.
    pub rto: Duration,
    /// Variation of the round-trip time.
    pub rttvar: Duration,
    /// Shortest round-trip time of the last minutes.
    pub min_rtt: Option<Duration>,
    /// Round-trip time as the receiving side sees it.
    pub rcv_rtt: Option<Duration>,
    /// Payload of a full segment that carries no options but timestamps, in bytes.
    pub mss: u64,
    /// The largest segment that we announced to take, in bytes.
    pub advertised_mss: u16,
    /// Bytes sent and not acknowledged cumulatively.
    pub outstanding: u64,
    /// Those of them that were acknowledged selectively.
    pub sacked: u64,
    /// Those of them that are believed lost.
    pub lost: u64,
    /// Bytes delivered, by either kind of acknowledgement.
    pub delivered: u64,
    /// There was lately too little to send to know how much the path carries.
    pub app_limited: bool,
    /// The peer's window, in bytes.
    pub send_window: u64,
    /// How fast packets may leave, in bytes per second; none: as fast as the window allows.
    pub pacing_rate: Option<u64>,
    /// When data was last sent.
    pub last_data_sent: Instant,
    /// When data last arrived in order, if it ever did.
    pub last_data_received: Option<Instant>,
    /// When anything last arrived.
    pub last_received: Instant,
}

impl Tcp {
    pub(crate) fn info(&self) -> TcpInfo {
        TcpInfo {
            loss_state: self.loss_state(),
            backoff: self.backoff(),
            timestamps: self.ts.is_some(),
            sack: self.sack_ok,
            window_scales: self.wscale_agreed.then_some((self.snd_wscale, self.rcv_wscale)),
            syn_data: self.syn_bytes_sent() > 0,
            rto: self.backed_off_rto(),
            rttvar: self.rtt.rttvar(),
            min_rtt: self.rtt.min(),
            rcv_rtt: self.rcv_rtt,
            mss: self.mss_with(0),
            advertised_mss: self.local_mss,
            outstanding: self.outstanding_bytes(),
            sacked: self.board.sacked(),
            lost: self.board.lost(),
            delivered: self.delivered(),
            app_limited: self.rate.is_app_limited(),
            send_window: self.snd_wnd.current(),
            pacing_rate: self.pacer.as_ref().and_then(|pacer| pacer.rate()),
            last_data_sent: self.last_data_sent,
            last_data_received: self.last_data_received(),
            last_received: self.last_received,
        }
    }
}
