//! BBR, version 1 (draft-cardwell-iccrg-bbr-congestion-control-00, and what Linux's tcp_bbr has done since): a model of
//! the path, of its rate and of its round trip without a queue, says how fast to send and how much to have in flight.
//! Losses do not make it smaller.
//!
//! Left out: the long-term sampling that finds traffic policers.

mod aggregation;
mod filter;

use super::{AckSample, Congestion, LossState, SinglePath, pacing_quantum};
use crate::time::{Duration, Instant};
use aggregation::Aggregation;
use filter::MaxFilter;

/// Gains are in thousandths. This one, 2/ln 2, doubles the rate in each round trip (draft, section 4.3.2).
const HIGH_GAIN: u64 = 2_885;
/// Its inverse: takes away in a round trip the queue that STARTUP made (section 4.3.3).
const DRAIN_GAIN: u64 = 347;
/// The gains of PROBE_BW, each for a round trip without a queue: probe, drain, cruise (section 4.3.4).
const CYCLE: [u64; 8] = [1_250, 750, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000];
/// In flight in PROBE_BW: twice what the path holds, for acknowledgements that are late (section 4.2.3).
const CWND_GAIN: u64 = 2_000;
const UNIT: u64 = 1_000;
/// Paced so much below the rate, in thousandths (Linux: bbr_pacing_margin_percent).
const PACING_MARGIN: u64 = 10;
/// STARTUP ends after so many rounds in which the rate did not grow by a quarter (section 4.3.2.2).
const FULL_ROUNDS: u32 = 3;
const FULL_GROWTH: u64 = 1_250;
/// How long the shortest round trip is believed (section 4.1.2)...
const MIN_RTT_LIFE: Duration = Duration::from_secs(10);
/// ...and how long the path is kept empty to measure it again (section 4.3.5), with so many segments in flight.
const PROBE_RTT_TIME: Duration = Duration::from_millis(200);
const MIN_SEGMENTS: u64 = 4;

/// Bytes that go at `rate` (bytes per second) in this time.
fn bytes_in(rate: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(rate) * time.as_nanos() / 1_000_000_000).unwrap_or(u64::MAX)
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Mode {
    /// Fill the path: twice as fast in each round trip.
    Startup,
    /// Take away the queue that this made.
    Drain,
    /// Cruise, and look now and then whether there is more.
    ProbeBw { phase: usize, since: Instant },
    /// Next to nothing in flight, to see the round trip without a queue. `until` is known once there is so little.
    ProbeRtt { until: Option<Instant>, round_over: bool },
}

/// Sends at the rate at which data arrives.
#[derive(Debug)]
pub struct Bbr {
    mss: u64,
    initial: u64,
    cwnd: u64,
    /// The window before recovery, or before PROBE_RTT.
    prior_cwnd: u64,
    pacing_rate: Option<u64>,
    mode: Mode,
    // The model.
    bw: MaxFilter,
    min_rtt: Option<(Duration, Instant)>,
    aggregation: Aggregation,
    // Rounds, by what is delivered.
    round: u64,
    round_end: u64,
    round_start: bool,
    // Is the path full?
    full: bool,
    full_bw: u64,
    full_rounds: u32,
    loss_state: LossState,
    /// The first round of recovery: as much is sent as is delivered.
    conserves: bool,
    /// The first acknowledgement after a pause is still to come.
    restarts: bool,
    /// What was sent before so much was delivered was held back by PROBE_RTT: it tells no rate.
    held_back_until: u64,
}

impl Bbr {
    fn gains(&self) -> (u64, u64) {
        match self.mode {
            Mode::Startup => (HIGH_GAIN, HIGH_GAIN),
            Mode::Drain => (DRAIN_GAIN, HIGH_GAIN),
            Mode::ProbeBw { phase, .. } => (CYCLE[phase], CWND_GAIN),
            Mode::ProbeRtt { .. } => (UNIT, UNIT),
        }
    }

    /// What the path holds, times a gain.
    fn product(&self, gain: u64) -> u64 {
        match self.min_rtt {
            Some((rtt, _)) => bytes_in(self.bw.max(), rtt).saturating_mul(gain) / UNIT,
            None => self.initial,
        }
    }

    /// Room for what is underway in pieces: one being paced out, one on its way, one being acknowledged.
    fn with_pieces(&self, bytes: u64) -> u64 {
        let piece = pacing_quantum(self.pacing_rate.unwrap_or(0), self.mss);
        let probing = matches!(self.mode, Mode::ProbeBw { phase: 0, .. });
        bytes + 3 * piece + if probing { 2 * self.mss } else { 0 }
    }

    /// To have in flight for a rate of `gain` times the path's.
    fn inflight(&self, gain: u64) -> u64 {
        self.with_pieces(self.product(gain))
    }

    fn update_bw(&mut self, sample: &AckSample) {
        self.round_start = false;
        let Some(rate) = &sample.rate else { return };
        if rate.prior_delivered >= self.round_end {
            self.begin_round(sample);
            self.round += 1;
            self.round_start = true;
            self.conserves = false;
        }
        let bw = rate.bytes_per_second();
        // What the application held back is believed only where it is more.
        if !self.is_limited(sample) || bw >= self.bw.max() {
            self.bw.take(self.round, bw);
        }
    }

    fn begin_round(&mut self, sample: &AckSample) {
        self.round_end = sample.total_delivered;
    }

    fn is_limited(&self, sample: &AckSample) -> bool {
        sample.rate.is_none_or(|rate| rate.app_limited || rate.prior_delivered < self.held_back_until)
    }

    /// PROBE_BW goes on to its next phase.
    fn update_cycle(&mut self, sample: &AckSample) {
        let (Mode::ProbeBw { phase, since }, Some((min_rtt, _))) = (self.mode, self.min_rtt) else { return };
        let long_enough = sample.now - since > min_rtt;
        let next = match CYCLE[phase] {
            UNIT => long_enough,
            // Until as much is in flight as the probe is to have, or the path has no room for it.
            gain if gain > UNIT => long_enough && (sample.lost > 0 || sample.in_flight >= self.inflight(gain)),
            // Until the probe's queue is gone.
            _ => long_enough || sample.in_flight <= self.inflight(UNIT),
        };
        if next {
            self.mode = Mode::ProbeBw { phase: (phase + 1) % CYCLE.len(), since: sample.now };
        }
    }

    fn check_full(&mut self, sample: &AckSample) {
        if self.full || !self.round_start || self.is_limited(sample) {
            return;
        }
        let bw = self.bw.max();
        if bw >= self.full_bw * FULL_GROWTH / UNIT {
            (self.full_bw, self.full_rounds) = (bw, 0);
        } else {
            self.full_rounds += 1;
            self.full = self.full_rounds >= FULL_ROUNDS;
        }
    }

    fn check_drain(&mut self, sample: &AckSample) {
        if self.mode == Mode::Startup && self.full {
            self.mode = Mode::Drain;
        }
        if self.mode == Mode::Drain && sample.in_flight_now <= self.inflight(UNIT) {
            self.mode = Self::probe_bw(sample.now);
        }
    }

    /// Any phase but the one after a probe, so that flows that share a path do not probe together. The clock decides: it
    /// is as good as chance, and the same for the same run.
    fn probe_bw(now: Instant) -> Mode {
        let phase = match now.as_nanos() / 1_000 % 7 {
            0 => 0,
            n => n as usize + 1,
        };
        Mode::ProbeBw { phase, since: now }
    }

    fn update_min_rtt(&mut self, sample: &AckSample) {
        let expired = self.min_rtt.is_some_and(|(_, at)| sample.now - at > MIN_RTT_LIFE);
        if let Some(rtt) = sample.rtt
            && (expired || self.min_rtt.is_none_or(|(min, _)| rtt < min))
        {
            self.min_rtt = Some((rtt, sample.now));
        }
        if expired && !self.restarts && !matches!(self.mode, Mode::ProbeRtt { .. }) {
            self.save_window();
            self.mode = Mode::ProbeRtt { until: None, round_over: false };
        }
        if let Mode::ProbeRtt { until, round_over } = self.mode {
            self.held_back_until = sample.total_delivered + sample.in_flight_now;
            self.probe_rtt(sample, until, round_over);
        }
        if sample.delivered > 0 {
            self.restarts = false;
        }
    }

    /// For 200 ms and one round trip.
    fn probe_rtt(&mut self, sample: &AckSample, until: Option<Instant>, round_over: bool) {
        match until {
            None if sample.in_flight_now <= MIN_SEGMENTS * self.mss => {
                self.begin_round(sample);
                self.mode = Mode::ProbeRtt { until: Some(sample.now + PROBE_RTT_TIME), round_over: false };
            }
            None => {}
            Some(at) if sample.now > at && (round_over || self.round_start) => self.end_probe_rtt(sample.now),
            Some(_) => self.mode = Mode::ProbeRtt { until, round_over: round_over || self.round_start },
        }
    }

    fn end_probe_rtt(&mut self, now: Instant) {
        if let Some((_, at)) = &mut self.min_rtt {
            *at = now;
        }
        self.cwnd = self.cwnd.max(self.prior_cwnd);
        self.mode = if self.full { Self::probe_bw(now) } else { Mode::Startup };
    }

    fn save_window(&mut self) {
        let undisturbed = self.loss_state == LossState::Open && !matches!(self.mode, Mode::ProbeRtt { .. });
        self.prior_cwnd = if undisturbed { self.cwnd } else { self.prior_cwnd.max(self.cwnd) };
    }

    fn set_pacing_rate(&mut self, srtt: Duration) {
        if self.pacing_rate.is_none() && !srtt.is_zero() {
            // Before anything is measured: the first window in a round trip.
            let nanos = u64::try_from(srtt.as_nanos()).unwrap_or(u64::MAX);
            let rate = self.initial.saturating_mul(1_000_000_000) / nanos;
            self.pacing_rate = Some(rate.saturating_mul(HIGH_GAIN) / UNIT);
        }
        let rate = self.paced(self.gains().0);
        // Not slower before the path is full, on account of one sample.
        if rate > 0 && (self.full || self.pacing_rate.is_none_or(|old| rate > old)) {
            self.pacing_rate = Some(rate);
        }
    }

    fn paced(&self, gain: u64) -> u64 {
        (self.bw.max().saturating_mul(gain) / UNIT).saturating_mul(UNIT - PACING_MARGIN) / UNIT
    }

    fn set_window(&mut self, sample: &AckSample) {
        if sample.delivered > 0 && !self.recover(sample) {
            let (bw, gain) = (self.bw.max(), self.gains().1);
            let aggregated = if self.full { self.aggregation.allowance(bw) } else { 0 };
            let target = self.with_pieces(self.product(gain) + aggregated);
            let grown = self.cwnd + sample.delivered;
            if self.full {
                self.cwnd = grown.min(target);
            } else if self.cwnd < target || sample.total_delivered < self.initial {
                self.cwnd = grown;
            }
            self.cwnd = self.cwnd.max(MIN_SEGMENTS * self.mss);
        }
        if matches!(self.mode, Mode::ProbeRtt { .. }) {
            self.cwnd = self.cwnd.min(MIN_SEGMENTS * self.mss);
        }
    }

    /// The window in loss recovery (section 4.2.3.4): what is lost is taken off, and in the first round as much is sent as
    /// is delivered. True: that is all.
    fn recover(&mut self, sample: &AckSample) -> bool {
        let before = self.loss_state;
        self.cwnd = self.cwnd.saturating_sub(sample.lost).max(self.mss);
        if sample.loss_state == LossState::Recovery && before != LossState::Recovery {
            self.conserves = true;
            self.begin_round(sample);
            self.cwnd = sample.in_flight_now + sample.delivered;
        } else if before != LossState::Open && sample.loss_state == LossState::Open {
            self.conserves = false;
            self.cwnd = self.cwnd.max(self.prior_cwnd);
        }
        self.loss_state = sample.loss_state;
        if self.conserves {
            self.cwnd = self.cwnd.max(sample.in_flight_now + sample.delivered);
        }
        self.conserves
    }
}

impl SinglePath for Bbr {
    const NAME: &'static str = "bbr";
    const OWNS_RECOVERY: bool = true;

    fn new(mss: u64, initial: u64) -> Self {
        Bbr {
            mss,
            initial: initial * mss,
            cwnd: initial * mss,
            prior_cwnd: 0,
            pacing_rate: None,
            mode: Mode::Startup,
            bw: MaxFilter::default(),
            min_rtt: None,
            aggregation: Aggregation::default(),
            round: 0,
            round_end: 0,
            round_start: false,
            full: false,
            full_bw: 0,
            full_rounds: 0,
            loss_state: LossState::Open,
            conserves: false,
            restarts: false,
            held_back_until: 0,
        }
    }

    /// The window is where the first rate comes from; what path it is has to be measured all the same.
    fn adopt(mss: u64, window: u64, _ssthresh: u64) -> Self {
        Bbr { initial: window, cwnd: window, ..Bbr::new(mss, 0) }
    }

    fn on_ack(&mut self, sample: &AckSample) {
        if sample.loss_state == LossState::Recovery && self.loss_state != LossState::Recovery {
            self.save_window();
        }
        self.update_bw(sample);
        if sample.delivered > 0 && sample.rate.is_some() {
            self.aggregation.on_ack(sample, self.round_start, self.bw.max(), self.cwnd);
        }
        self.update_cycle(sample);
        self.check_full(sample);
        self.check_drain(sample);
        self.update_min_rtt(sample);
        self.set_pacing_rate(sample.srtt);
        self.set_window(sample);
    }

    fn on_congestion(&mut self, _now: Instant, what: Congestion, _in_flight: u64) {
        // Marks say nothing to version 1; losses show in the samples.
        if what == Congestion::Timeout {
            self.save_window();
            self.loss_state = LossState::Loss;
            self.conserves = false;
            (self.full_bw, self.full_rounds) = (0, 0);
            self.cwnd = self.mss;
        }
    }

    fn on_spurious(&mut self, _now: Instant) {
        // The window comes back when recovery ends, which is now.
        (self.full_bw, self.full_rounds) = (0, 0);
    }

    fn on_idle(&mut self) {
        self.restarts = true;
        self.aggregation.on_idle();
        match self.mode {
            // No probe to begin with.
            Mode::ProbeBw { .. } => self.pacing_rate = Some(self.paced(UNIT)).filter(|rate| *rate > 0),
            // A pause of a timeout has emptied the path for long enough.
            Mode::ProbeRtt { until: Some(until), .. } => self.end_probe_rtt(until),
            _ => {}
        }
    }

    fn window(&self) -> u64 {
        self.cwnd
    }

    fn ssthresh(&self) -> u64 {
        if self.full { self.inflight(UNIT) } else { u64::MAX }
    }

    fn pacing_rate(&self) -> Option<u64> {
        self.pacing_rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::congestion::RateSample;

    const MSS: u64 = 1_000;
    const RTT: Duration = Duration::from_millis(100);

    /// A path whose rate is said for each round trip, with one acknowledgement in each.
    struct Path {
        bbr: Bbr,
        now: Instant,
        delivered: u64,
    }

    impl Path {
        fn new() -> Self {
            Path { bbr: Bbr::new(MSS, 10), now: Instant::ZERO, delivered: 0 }
        }

        fn sample(&mut self, bw: u64) -> AckSample {
            let bytes = bytes_in(bw, RTT);
            let prior_delivered = self.delivered;
            self.now += RTT + Duration::from_millis(1);
            self.delivered += bytes;
            AckSample {
                now: self.now,
                delivered: bytes,
                in_flight: bytes,
                rtt: Some(RTT),
                srtt: RTT,
                rate: Some(RateSample { delivered: bytes, interval: RTT, prior_delivered, app_limited: false }),
                total_delivered: self.delivered,
                in_flight_now: bytes,
                ..AckSample::default()
            }
        }

        /// The rate at which it sends then, in hundredths of `bw`.
        fn round(&mut self, bw: u64) -> u64 {
            let sample = self.sample(bw);
            self.bbr.on_ack(&sample);
            self.bbr.pacing_rate().unwrap() * 100 / bw
        }

        /// With too little to send.
        fn thin_round(&mut self, bw: u64) {
            let mut sample = self.sample(bw);
            sample.rate = sample.rate.map(|rate| RateSample { app_limited: true, ..rate });
            self.bbr.on_ack(&sample);
        }

        /// In PROBE_BW, for a path of this rate.
        fn cruising(bw: u64) -> Self {
            let mut path = Path::new();
            for _ in 0..20 {
                path.round(bw);
            }
            assert!(matches!(path.bbr.mode, Mode::ProbeBw { .. }), "{:?}", path.bbr);
            path
        }
    }

    #[test]
    fn the_rate_doubles_until_it_does_not_grow_for_three_rounds() {
        let mut path = Path::new();
        // Before anything is known: the first window in a round trip.
        assert_eq!(path.round(100_000), 288);
        for bw in [200_000, 400_000, 800_000, 1_000_000] {
            assert_eq!(path.round(bw), 285);
        }
        // 1.25 times as much as before, then the same.
        assert_eq!([path.round(1_000_000), path.round(1_000_000)], [285; 2]);
        // What STARTUP had in flight takes a while to go.
        let mut sample = path.sample(1_000_000);
        sample.in_flight_now *= 3;
        path.bbr.on_ack(&sample);
        assert_eq!((path.bbr.mode, path.bbr.pacing_rate()), (Mode::Drain, Some(343_530)));
        path.round(1_000_000);
        assert!(matches!(path.bbr.mode, Mode::ProbeBw { .. }));
    }

    #[test]
    fn one_round_of_eight_probes_and_the_next_one_drains() {
        let mut path = Path::cruising(1_000_000);
        let mut rates = Vec::new();
        for _ in 0..16 {
            let mut sample = path.sample(1_000_000);
            // As much in flight as a probe wants.
            sample.in_flight *= 2;
            path.bbr.on_ack(&sample);
            rates.push(path.bbr.pacing_rate().unwrap() / 9_900);
        }
        for at in rates.windows(9).filter(|at| at[0] == 125) {
            assert_eq!(at, [125, 75, 100, 100, 100, 100, 100, 100, 125]);
        }
        assert_eq!(rates.iter().filter(|rate| **rate == 125).count(), 2, "{rates:?}");
    }

    #[test]
    fn want_of_data_lowers_nothing_and_a_slower_path_is_believed_after_ten_rounds() {
        let mut path = Path::cruising(1_000_000);
        for _ in 0..50 {
            path.thin_round(10_000);
        }
        assert_eq!(path.bbr.bw.max(), 1_000_000);
        path.thin_round(1_500_000);
        assert_eq!(path.bbr.bw.max(), 1_500_000);
        for _ in 0..10 {
            path.round(500_000);
            assert_eq!(path.bbr.bw.max(), 1_500_000);
        }
        path.round(500_000);
        assert_eq!(path.bbr.bw.max(), 500_000);
    }

    #[test]
    fn a_recovery_conserves_for_a_round_and_gives_the_window_back() {
        let mut path = Path::cruising(1_000_000);
        let before = path.bbr.window();
        assert!(before > 200 * MSS, "{before}");
        let mut lossy = |state, lost, flight| {
            let mut sample = path.sample(1_000_000);
            (sample.loss_state, sample.lost, sample.delivered, sample.in_flight_now) = (state, lost, MSS, flight);
            // Of a packet that was sent before the loss.
            sample.rate = sample.rate.map(|rate| RateSample { prior_delivered: 0, ..rate });
            path.bbr.on_ack(&sample);
            path.bbr.window()
        };
        // One goes for one that arrives.
        assert_eq!(lossy(LossState::Recovery, 50 * MSS, 50 * MSS), 51 * MSS);
        assert_eq!(lossy(LossState::Recovery, 0, 50 * MSS), 51 * MSS);
        // And then all as before, but for the two segments on top of a probe.
        let after = lossy(LossState::Open, 0, 50 * MSS);
        assert!(after >= before - 2 * MSS && after <= before, "{before} and {after}");
    }

    #[test]
    fn a_timeout_takes_the_window_and_its_end_gives_it_back() {
        let mut path = Path::cruising(1_000_000);
        let before = path.bbr.window();
        path.bbr.on_congestion(path.now, Congestion::Timeout, before);
        assert_eq!(path.bbr.window(), MSS);
        let mut sample = AckSample { loss_state: LossState::Loss, delivered: MSS, ..path.sample(1_000) };
        path.bbr.on_ack(&sample);
        assert!(path.bbr.window() <= MIN_SEGMENTS * MSS);
        sample.loss_state = LossState::Open;
        path.bbr.on_ack(&sample);
        assert_eq!(path.bbr.window(), before);
        // A mark is nothing to it.
        path.bbr.on_congestion(path.now, Congestion::Ecn, before);
        assert_eq!(path.bbr.window(), before);
    }
}
