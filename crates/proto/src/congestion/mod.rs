//! Congestion control: how much may be in flight on each subflow. What to resend is decided elsewhere
//! (the TCP engine's loss recovery).
//!
//! One object serves a whole connection, because coupled controls need the windows of the siblings.
//! Algorithms of a single path are lifted by [`PerSubflow`], the rules of coupled ones by [`Coupled`].

mod balia;
mod bbr;
mod coupled;
mod cubic;
mod hystart;
mod lia;
mod olia;
mod reno;
mod wvegas;

pub use balia::Balia;
pub use bbr::Bbr;
pub use coupled::{Coupled, Law, Path, in_use};
pub use cubic::Cubic;
pub use lia::Lia;
pub use olia::Olia;
pub use reno::Reno;
pub use wvegas::Wvegas;

use crate::SubflowId;
use crate::time::{Duration, Instant};

/// The initial window in segments (RFC 6928, section 2).
// [5681-3.1-1]
pub const INITIAL_WINDOW_SEGMENTS: u64 = 10;

/// What may leave at once on a subflow that is paced at `rate` bytes per second: what goes in a millisecond, but at least
/// two segments of `mss` bytes and at most a super-segment of 64 KB (as Linux sizes its own).
pub fn pacing_quantum(rate: u64, mss: u64) -> u64 {
    (rate / 1_024).min(65_535).max(2 * mss)
}

/// How fast data arrived until one acknowledgement (draft-cheng-iccrg-delivery-rate-estimation).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RateSample {
    /// Bytes delivered within [`interval`](Self::interval).
    pub delivered: u64,
    /// From what was delivered before the packet was sent to what is now; never zero.
    pub interval: Duration,
    /// Bytes delivered on the subflow when the packet was sent.
    pub prior_delivered: u64,
    /// There was too little to send: the path may carry more.
    pub app_limited: bool,
}

impl RateSample {
    /// The rate, in bytes per second.
    pub fn bytes_per_second(&self) -> u64 {
        let nanos = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        self.delivered.saturating_mul(1_000_000_000) / nanos.max(1)
    }
}

/// How loss recovery stands on a subflow (Linux: `icsk_ca_state`).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum LossState {
    /// Nothing is being recovered.
    #[default]
    Open,
    /// Fast recovery: acknowledgements showed a loss.
    Recovery,
    /// After a timeout.
    Loss,
}

/// What one acknowledgement told about one subflow.
#[derive(Copy, Clone, Debug, Default)]
pub struct AckSample {
    /// When it arrived.
    pub now: Instant,
    /// Bytes newly acknowledged, cumulatively or selectively.
    pub delivered: u64,
    /// Bytes in flight just before.
    pub in_flight: u64,
    /// The round-trip time it measured.
    pub rtt: Option<Duration>,
    /// The smoothed round-trip time.
    pub srtt: Duration,
    /// Whether the window, not the application or the peer, was what limited sending.
    pub cwnd_limited: bool,
    /// All that was out when the last round trip began has arrived: a new one begins.
    pub round_start: bool,
    /// How fast the data arrived; none where that cannot be told.
    pub rate: Option<RateSample>,
    /// Bytes delivered on the subflow in all.
    pub total_delivered: u64,
    /// Bytes in flight now.
    pub in_flight_now: u64,
    /// Bytes newly believed lost.
    pub lost: u64,
    /// How loss recovery stands now.
    pub loss_state: LossState,
}

/// A sign of congestion on one subflow, at most one for each window of data.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Congestion {
    /// Loss found by acknowledgements: fast recovery begins.
    Loss,
    /// The retransmission timer expired.
    Timeout,
    /// Packets were marked, and none is lost for it (RFC 3168).
    Ecn,
}

/// Decides the congestion window of every subflow of a connection. Windows are in bytes.
pub trait CongestionControl: Send + core::fmt::Debug {
    /// The name users know it by.
    fn name(&self) -> &'static str;
    /// A subflow became usable; `mss` is the payload of a full segment in bytes, `initial` the first window in
    /// segments.
    fn on_subflow_added(&mut self, id: SubflowId, mss: u64, initial: u64);
    /// A subflow that another control had so far goes on with this one, from the same window and threshold, in bytes.
    fn on_subflow_adopted(&mut self, id: SubflowId, mss: u64, window: u64, ssthresh: u64);
    /// A subflow is gone.
    fn on_subflow_removed(&mut self, id: SubflowId);
    /// An acknowledgement arrived: of new data and outside of loss recovery, unless [`owns_recovery`](Self::owns_recovery).
    fn on_ack(&mut self, id: SubflowId, sample: &AckSample);
    /// Congestion was noticed; `in_flight` is what was outstanding, in bytes.
    fn on_congestion(&mut self, id: SubflowId, now: Instant, what: Congestion, in_flight: u64);
    /// The last congestion signal was wrong (a spurious timeout or retransmission): take it back.
    fn on_spurious(&mut self, id: SubflowId, now: Instant);
    /// Nothing was sent for longer than a timeout: the window says nothing of the path any more.
    fn on_idle(&mut self, id: SubflowId);
    /// The congestion window, in bytes.
    fn window(&self, id: SubflowId) -> u64;
    /// The slow-start threshold, in bytes.
    fn ssthresh(&self, id: SubflowId) -> u64;
    /// Its window holds in fast recovery too, and it hears of every acknowledgement. Otherwise proportional rate reduction
    /// (RFC 6937) leads there to the threshold.
    fn owns_recovery(&self) -> bool {
        false
    }
    /// How fast to send on the subflow, in bytes per second of payload; none: as fast as the window allows.
    fn pacing_rate(&self, _id: SubflowId) -> Option<u64> {
        None
    }
}

/// A congestion control that knows one path only.
pub trait SinglePath: Send + core::fmt::Debug {
    /// The name users know it by.
    const NAME: &'static str;
    /// See [`CongestionControl::owns_recovery`].
    const OWNS_RECOVERY: bool = false;
    /// For a path whose full segments carry `mss` bytes, with a window of `initial` segments.
    fn new(mss: u64, initial: u64) -> Self;
    /// For a path that another control has found a window and a threshold for, in bytes.
    fn adopt(mss: u64, window: u64, ssthresh: u64) -> Self;
    /// See [`CongestionControl::on_ack`].
    fn on_ack(&mut self, sample: &AckSample);
    /// See [`CongestionControl::on_congestion`].
    fn on_congestion(&mut self, now: Instant, what: Congestion, in_flight: u64);
    /// See [`CongestionControl::on_spurious`].
    fn on_spurious(&mut self, now: Instant);
    /// See [`CongestionControl::on_idle`].
    fn on_idle(&mut self);
    /// In bytes.
    fn window(&self) -> u64;
    /// In bytes.
    fn ssthresh(&self) -> u64;
    /// See [`CongestionControl::pacing_rate`].
    fn pacing_rate(&self) -> Option<u64> {
        None
    }
}

/// Runs an independent single-path control on every subflow (uncoupled).
#[derive(Debug, Default)]
pub struct PerSubflow<C> {
    paths: Vec<(SubflowId, C)>,
}

impl<C: SinglePath> PerSubflow<C> {
    fn get(&self, id: SubflowId) -> Option<&C> {
        self.paths.iter().find(|(i, _)| *i == id).map(|(_, c)| c)
    }

    fn get_mut(&mut self, id: SubflowId) -> Option<&mut C> {
        self.paths.iter_mut().find(|(i, _)| *i == id).map(|(_, c)| c)
    }

    /// There are few, and they seldom change: no room for more.
    fn put(&mut self, id: SubflowId, control: C) {
        self.paths.reserve_exact(1);
        self.paths.push((id, control));
    }
}

impl<C: SinglePath> CongestionControl for PerSubflow<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn on_subflow_added(&mut self, id: SubflowId, mss: u64, initial: u64) {
        self.on_subflow_removed(id);
        self.put(id, C::new(mss, initial));
    }

    fn on_subflow_adopted(&mut self, id: SubflowId, mss: u64, window: u64, ssthresh: u64) {
        self.on_subflow_removed(id);
        self.put(id, C::adopt(mss, window, ssthresh));
    }

    fn on_subflow_removed(&mut self, id: SubflowId) {
        self.paths.retain(|(i, _)| *i != id);
    }

    fn on_ack(&mut self, id: SubflowId, sample: &AckSample) {
        if let Some(path) = self.get_mut(id) {
            path.on_ack(sample);
        }
    }

    fn on_congestion(&mut self, id: SubflowId, now: Instant, what: Congestion, in_flight: u64) {
        if let Some(path) = self.get_mut(id) {
            path.on_congestion(now, what, in_flight);
        }
    }

    fn on_spurious(&mut self, id: SubflowId, now: Instant) {
        if let Some(path) = self.get_mut(id) {
            path.on_spurious(now);
        }
    }

    fn on_idle(&mut self, id: SubflowId) {
        if let Some(path) = self.get_mut(id) {
            path.on_idle();
        }
    }

    fn window(&self, id: SubflowId) -> u64 {
        self.get(id).map_or(0, SinglePath::window)
    }

    fn ssthresh(&self, id: SubflowId) -> u64 {
        self.get(id).map_or(0, SinglePath::ssthresh)
    }

    fn owns_recovery(&self) -> bool {
        C::OWNS_RECOVERY
    }

    fn pacing_rate(&self, id: SubflowId) -> Option<u64> {
        self.get(id)?.pacing_rate()
    }
}

/// The congestion controls that can be chosen by name.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum CongestionKind {
    /// NewReno (RFC 5681, RFC 6582) on each subflow.
    Reno,
    /// CUBIC (RFC 9438) on each subflow.
    #[default]
    Cubic,
    /// BBR version 1 (draft-cardwell-iccrg-bbr-congestion-control-00) on each subflow, with pacing.
    Bbr,
    /// LIA (RFC 6356): coupled.
    Lia,
    /// OLIA (Khalili et al., CoNEXT 2012): coupled.
    Olia,
    /// BALIA (Peng, Walid, Hwang, Low, 2016): coupled.
    Balia,
    /// Weighted Vegas (Cao, Xu, Fu, ICNP 2012): coupled, by delay.
    Wvegas,
}

impl CongestionKind {
    /// Every one there is.
    pub const ALL: [CongestionKind; 7] = [
        CongestionKind::Reno,
        CongestionKind::Cubic,
        CongestionKind::Bbr,
        CongestionKind::Lia,
        CongestionKind::Olia,
        CongestionKind::Balia,
        CongestionKind::Wvegas,
    ];

    /// Every name that [`str::parse`] knows.
    pub const NAMES: &'static [&'static str] = &["reno", "cubic", "bbr", "lia", "olia", "balia", "wvegas"];

    /// The name that [`str::parse`] knows it by.
    pub fn name(self) -> &'static str {
        match self {
            CongestionKind::Reno => Reno::NAME,
            CongestionKind::Cubic => Cubic::NAME,
            CongestionKind::Bbr => Bbr::NAME,
            CongestionKind::Lia => Lia::NAME,
            CongestionKind::Olia => Olia::NAME,
            CongestionKind::Balia => Balia::NAME,
            CongestionKind::Wvegas => Wvegas::NAME,
        }
    }

    pub(crate) fn build(self) -> Box<dyn CongestionControl> {
        match self {
            CongestionKind::Reno => Box::new(PerSubflow::<Reno> { paths: Vec::new() }),
            // [9293-MAY-18]
            CongestionKind::Cubic => Box::new(PerSubflow::<Cubic> { paths: Vec::new() }),
            CongestionKind::Bbr => Box::new(PerSubflow::<Bbr> { paths: Vec::new() }),
            CongestionKind::Lia => Box::new(Coupled::<Lia>::default()),
            CongestionKind::Olia => Box::new(Coupled::<Olia>::default()),
            CongestionKind::Balia => Box::new(Coupled::<Balia>::default()),
            CongestionKind::Wvegas => Box::new(Coupled::<Wvegas>::default()),
        }
    }
}

impl core::str::FromStr for CongestionKind {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let unknown = || format!("unknown congestion control '{s}'; known: {}", Self::NAMES.join(", "));
        Self::ALL.into_iter().find(|kind| kind.name() == s).ok_or_else(unknown)
    }
}
