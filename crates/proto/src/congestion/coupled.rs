//! What the coupled controls have in common: slow start, losses and pauses of each subflow as in NewReno (RFC 5681). How
//! the windows grow between losses, with an eye on the siblings, is a [`Law`].

use super::{AckSample, Congestion, CongestionControl, INITIAL_WINDOW_SEGMENTS};
use crate::SubflowId;
use crate::time::{Duration, Instant};

/// A subflow that has acknowledged nothing for so long, and for two round trips, carries nothing: a backup, or a dead path.
const UNUSED: Duration = Duration::from_secs(1);

/// One coupled congestion control: what is particular to it.
pub trait Law: Send + core::fmt::Debug {
    /// The name users know it by.
    const NAME: &'static str;
    /// Segments that a loss leaves at least where there are siblings; a lone subflow keeps two (RFC 5681, equation 4).
    const LEAST: f64 = 2.0;
    /// What it remembers of each subflow besides [`Path`].
    type Memory: Default + Clone + Send + core::fmt::Debug;

    /// Congestion avoidance: the segments that the window of `paths[at]` grows by for each segment acknowledged. Only those
    /// [`in_use`] count.
    fn growth(paths: &[Path<Self::Memory>], at: usize) -> f64;

    /// The part of the window that a loss on `paths[at]` leaves.
    fn kept(_paths: &[Path<Self::Memory>], _at: usize) -> f64 {
        0.5
    }

    /// Looks at each acknowledgement, before the window grows.
    fn look(_paths: &mut [Path<Self::Memory>], _at: usize, _sample: &AckSample) {}
}

/// One subflow as its siblings see it.
#[derive(Clone, Debug)]
pub struct Path<M> {
    id: SubflowId,
    /// Payload of a full segment, in bytes.
    pub mss: f64,
    /// The window, in bytes.
    pub cwnd: f64,
    /// The slow-start threshold, in bytes.
    pub ssthresh: f64,
    /// The smoothed round-trip time; zero before the first sample.
    pub srtt: Duration,
    /// Bytes delivered between the last two losses.
    pub between_losses: u64,
    /// When it acknowledged something last, and whether that is not too long ago.
    heard: Instant,
    in_use: bool,
    /// Bytes delivered in all, and when the last loss was found.
    delivered: u64,
    delivered_at_loss: u64,
    /// The law's own.
    pub memory: M,
    undo: Option<Before<M>>,
}

/// What a sign of congestion changes, as it was before.
#[derive(Clone, Debug)]
struct Before<M> {
    cwnd: f64,
    ssthresh: f64,
    between_losses: u64,
    delivered_at_loss: u64,
    memory: M,
}

impl<M: Default + Clone> Path<M> {
    fn new(id: SubflowId, mss: u64, cwnd: f64, ssthresh: f64) -> Self {
        Path {
            id,
            mss: mss as f64,
            cwnd,
            ssthresh,
            srtt: Duration::ZERO,
            between_losses: 0,
            heard: Instant::ZERO,
            in_use: false,
            delivered: 0,
            delivered_at_loss: 0,
            memory: M::default(),
            undo: None,
        }
    }

    /// Bytes delivered since the last loss.
    pub fn since_loss(&self) -> u64 {
        self.delivered - self.delivered_at_loss
    }

    /// The smoothed round-trip time in seconds; never zero.
    pub fn rtt(&self) -> f64 {
        self.srtt.as_secs_f64().max(1e-6)
    }

    /// What its window sends, in bytes per second.
    pub fn rate(&self) -> f64 {
        self.cwnd / self.rtt()
    }

    fn acknowledged(&mut self, sample: &AckSample) {
        (self.heard, self.in_use) = (sample.now, true);
        self.srtt = sample.srtt;
        if self.delivered == 0 {
            // Another control may have had it before.
            self.delivered_at_loss = sample.total_delivered - sample.delivered.min(sample.total_delivered);
        }
        self.delivered = sample.total_delivered.max(self.delivered_at_loss);
    }

    fn reduce(&mut self, what: Congestion, in_flight: u64, kept: f64, least: f64) {
        let Path { cwnd, ssthresh, between_losses, delivered_at_loss, ref memory, .. } = *self;
        // A mark is never a mistake.
        self.undo = (what != Congestion::Ecn).then(|| Before {
            cwnd,
            ssthresh,
            between_losses,
            delivered_at_loss,
            memory: memory.clone(),
        });
        self.between_losses = self.since_loss();
        self.delivered_at_loss = self.delivered;
        // RFC 5681, equation (4). [5681-3.1-5]
        self.ssthresh = (cwnd.min(in_flight as f64) * kept).max(least * self.mss);
        self.cwnd = match what {
            // RFC 3168, section 6.1.2: a mark counts as a loss. [3168-6.1.2-1]
            Congestion::Loss | Congestion::Ecn => self.ssthresh,
            // [5681-3.1-6]
            Congestion::Timeout => self.mss,
        };
    }

    fn restore(&mut self) {
        if let Some(Before { cwnd, ssthresh, between_losses, delivered_at_loss, memory }) = self.undo.take() {
            self.cwnd = self.cwnd.max(cwnd);
            (self.ssthresh, self.memory) = (ssthresh, memory);
            (self.between_losses, self.delivered_at_loss) = (between_losses, delivered_at_loss);
        }
    }
}

/// Those whose windows say what the connection sends: not the backups that wait, nor what is dead.
pub fn in_use<M>(paths: &[Path<M>]) -> impl Iterator<Item = &Path<M>> + Clone {
    paths.iter().filter(|path| path.in_use)
}

/// A coupled control: the windows of all subflows of a connection.
#[derive(Debug)]
pub struct Coupled<L: Law> {
    paths: Vec<Path<L::Memory>>,
}

impl<L: Law> Default for Coupled<L> {
    fn default() -> Self {
        Coupled { paths: Vec::new() }
    }
}

impl<L: Law> Coupled<L> {
    fn at(&self, id: SubflowId) -> Option<usize> {
        self.paths.iter().position(|path| path.id == id)
    }

    fn get(&self, id: SubflowId) -> Option<&Path<L::Memory>> {
        self.paths.iter().find(|path| path.id == id)
    }

    fn get_mut(&mut self, id: SubflowId) -> Option<&mut Path<L::Memory>> {
        self.paths.iter_mut().find(|path| path.id == id)
    }

    fn add(&mut self, path: Path<L::Memory>) {
        self.on_subflow_removed(path.id);
        self.paths.push(path);
    }
}

impl<L: Law> CongestionControl for Coupled<L> {
    fn name(&self) -> &'static str {
        L::NAME
    }

    fn on_subflow_added(&mut self, id: SubflowId, mss: u64, initial: u64) {
        // [5681-3.1-4]
        self.add(Path::new(id, mss, (initial * mss) as f64, f64::INFINITY));
    }

    fn on_subflow_adopted(&mut self, id: SubflowId, mss: u64, window: u64, ssthresh: u64) {
        let ssthresh = if ssthresh == u64::MAX { f64::INFINITY } else { ssthresh as f64 };
        self.add(Path::new(id, mss, window as f64, ssthresh));
    }

    fn on_subflow_removed(&mut self, id: SubflowId) {
        self.paths.retain(|path| path.id != id);
    }

    fn on_ack(&mut self, id: SubflowId, sample: &AckSample) {
        let Some(at) = self.at(id) else { return };
        for path in &mut self.paths {
            path.in_use &= sample.now - path.heard <= UNUSED.max(path.srtt * 2);
        }
        self.paths[at].acknowledged(sample);
        L::look(&mut self.paths, at, sample);
        // RFC 7661: a window that is not used does not grow.
        if !sample.cwnd_limited {
            return;
        }
        let path = &mut self.paths[at];
        let mut delivered = sample.delivered as f64;
        // [9293-MUST-19]
        if path.cwnd < path.ssthresh {
            // RFC 6356, section 3: slow start is as it always was. [5681-3.1-3]
            let growth = delivered.min(path.ssthresh - path.cwnd);
            path.cwnd += growth;
            delivered -= growth;
        }
        if delivered > 0.0 {
            let growth = L::growth(&self.paths, at);
            let path = &mut self.paths[at];
            path.cwnd = (path.cwnd + growth * delivered).max(path.mss);
        }
    }

    fn on_congestion(&mut self, id: SubflowId, _now: Instant, what: Congestion, in_flight: u64) {
        let Some(at) = self.at(id) else { return };
        let kept = L::kept(&self.paths, at);
        let least = if in_use(&self.paths).nth(1).is_some() { L::LEAST } else { 2.0 };
        self.paths[at].reduce(what, in_flight, kept, least);
    }

    fn on_spurious(&mut self, id: SubflowId, _now: Instant) {
        if let Some(path) = self.get_mut(id) {
            path.restore();
        }
    }

    fn on_idle(&mut self, id: SubflowId) {
        if let Some(path) = self.get_mut(id) {
            // RFC 5681, section 4.1. Slow start leads back to most of the old window (RFC 7661, section 4.3).
            // [5681-4.1-1]
            path.ssthresh = path.ssthresh.max(path.cwnd * 0.75);
            path.cwnd = path.cwnd.min(INITIAL_WINDOW_SEGMENTS as f64 * path.mss);
        }
    }

    fn window(&self, id: SubflowId) -> u64 {
        self.get(id).map_or(0, |path| path.cwnd as u64)
    }

    fn ssthresh(&self, id: SubflowId) -> u64 {
        let ssthresh = self.get(id).map_or(0.0, |path| path.ssthresh);
        if ssthresh.is_finite() { ssthresh as u64 } else { u64::MAX }
    }
}

/// Paths to try a law on: for each its window in segments of 1,000 bytes, and its round trip in milliseconds.
#[cfg(test)]
pub(super) fn paths<M: Default + Clone>(of: &[(f64, u64)]) -> Vec<Path<M>> {
    let path = |(at, &(segments, ms)): (usize, &(f64, u64))| {
        let mut path = Path::new(SubflowId(at as u16), 1_000, segments * 1_000.0, 1_000.0);
        (path.srtt, path.in_use) = (Duration::from_millis(ms), true);
        path
    };
    of.iter().enumerate().map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::super::CongestionKind;
    use super::*;

    const MSS: u64 = 1_000;
    const ALL: [CongestionKind; 4] =
        [CongestionKind::Lia, CongestionKind::Olia, CongestionKind::Balia, CongestionKind::Wvegas];

    fn sample(total: u64) -> AckSample {
        AckSample {
            now: Instant::from_millis(total / 100),
            delivered: MSS,
            rtt: Some(Duration::from_millis(100)),
            srtt: Duration::from_millis(100),
            cwnd_limited: true,
            total_delivered: total,
            ..AckSample::default()
        }
    }

    /// Windows of 40 and 20 segments, both after a loss.
    fn two(kind: CongestionKind) -> Box<dyn CongestionControl> {
        let mut control = kind.build();
        for (id, segments) in [(SubflowId(0), 80), (SubflowId(1), 40)] {
            control.on_subflow_added(id, MSS, segments);
            control.on_ack(id, &AckSample { cwnd_limited: false, ..sample(100 * MSS) });
            control.on_congestion(id, Instant::ZERO, Congestion::Loss, segments * MSS);
        }
        control
    }

    #[test]
    fn a_wrong_alarm_leaves_no_trace() {
        for kind in ALL {
            let (mut disturbed, mut quiet) = (two(kind), two(kind));
            disturbed.on_congestion(SubflowId(0), Instant::ZERO, Congestion::Timeout, 40 * MSS);
            assert_eq!(disturbed.window(SubflowId(0)), MSS);
            disturbed.on_spurious(SubflowId(0), Instant::ZERO);
            for n in 101..1_000 {
                let id = SubflowId(u16::from(n % 3 == 0));
                disturbed.on_ack(id, &sample(n * MSS));
                quiet.on_ack(id, &sample(n * MSS));
                for id in [SubflowId(0), SubflowId(1)] {
                    assert_eq!(disturbed.window(id), quiet.window(id), "{}", quiet.name());
                }
            }
        }
    }

    #[test]
    fn a_sibling_that_is_gone_leaves_a_lone_tcp() {
        for kind in ALL {
            let mut control = two(kind);
            control.on_subflow_removed(SubflowId(1));
            assert_eq!((control.window(SubflowId(1)), control.window(SubflowId(0))), (0, 40 * MSS));
            // One window of acknowledgements: one segment more, as in NewReno, or by wVegas none before the round is over.
            for n in 101..=140 {
                control.on_ack(SubflowId(0), &sample(n * MSS));
            }
            let grown = control.window(SubflowId(0)) - 40 * MSS;
            let expected = if kind == CongestionKind::Wvegas { 0..=0 } else { 980..=1_000 };
            assert!(expected.contains(&grown), "{}: {grown}", control.name());
        }
    }

    #[test]
    fn a_sibling_that_carries_nothing_does_not_count() {
        for kind in [CongestionKind::Lia, CongestionKind::Olia, CongestionKind::Balia] {
            let mut control = two(kind);
            let mut round = |from: u64, late: u64| {
                let before = control.window(SubflowId(0));
                for n in from..from + 40 {
                    let sample = sample(n * MSS);
                    let now = sample.now + Duration::from_millis(late);
                    control.on_ack(SubflowId(0), &AckSample { now, ..sample });
                }
                control.window(SubflowId(0)) - before
            };
            let (coupled, alone) = (round(101, 0), round(141, 1_000));
            assert!(coupled < 800 && alone > 950, "{}: {coupled} and {alone}", kind.name());
        }
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        for kind in ALL {
            let mut control = two(kind);
            for n in 101..1_000 {
                control.on_ack(SubflowId(0), &AckSample { cwnd_limited: false, round_start: true, ..sample(n * MSS) });
            }
            assert_eq!(control.window(SubflowId(0)), 40 * MSS, "{}", control.name());
        }
    }
}
