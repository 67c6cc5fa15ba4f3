//! How large segments may be on one path: what routers say (RFC 1191, RFC 8201); where they say nothing, what becomes
//! apparent (RFC 8899, which for TCP asks for the same as RFC 4821).
//!
//! Sizes are those of the MSS: an IP packet less 40 bytes in IPv4, 60 in IPv6. A probe is data that would be sent
//! anyway, in one segment that is larger than the others. If it is lost, it goes again in pieces.

use super::{AckOutcome, Tcp};
use crate::seq::Ssn;
use crate::time::{Duration, Instant};

/// IPv6's least MTU (RFC 8200, section 5), and what every IPv4 host takes (RFC 791, section 3.1), less headers.
const LEAST_V6: u16 = 1280 - 60;
const LEAST_V4: u16 = 576 - 40;
/// What a black hole is answered with at first (RFC 4821, section 7.2, for IPv4).
const BASE_V4: u16 = 1024;
/// Timeouts in a row until large segments are suspected (Linux: tcp_retries1).
const BLACK_HOLE_TIMEOUTS: u8 = 3;
/// Probes of one size, one after the other, that are lost before it counts as too large (RFC 8899, section 5.1.2).
const MAX_PROBES: u8 = 3;
/// The search is over when less than this is in doubt: two parts in a hundred of a segment.
const CLOSE_ENOUGH: u16 = 32;
/// Until a larger size is tried again (RFC 8899, section 5.1.1; RFC 8201, section 4, asks for five minutes at least).
pub(crate) const RAISE_AFTER: Duration = Duration::from_secs(600);

/// What became of a probe.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProbeOutcome {
    /// Segments are that large from now on.
    Passed,
    /// The same size is tried again.
    Lost,
    /// The size counts as too large.
    TooLarge,
}

#[derive(Copy, Clone, Debug)]
struct Probe {
    ssn: Ssn,
    end: Ssn,
    size: u16,
}

#[derive(Debug)]
enum Search {
    /// Nothing larger is tried before.
    Resting { until: Instant },
    /// What is known not to pass, the next size to try, and how often that was lost.
    Searching { too_large: u16, next: u16, lost: u8, probe: Option<Box<Probe>> },
}

impl Search {
    /// All below `too_large` may pass; the largest is tried first, as a path that was only silent carries it.
    fn below(too_large: u16) -> Search {
        Search::Searching { too_large, next: too_large - 1, lost: 0, probe: None }
    }
}

#[derive(Debug)]
pub(super) struct PathMtu {
    /// The largest size that passes, as far as is known.
    limit: u16,
    /// Timeouts in a row of a large segment.
    timeouts: u8,
    search: Search,
}

impl PathMtu {
    /// `known`: the largest size that passed lately, and until when that is believed.
    pub(super) fn new(known: Option<(u16, Instant)>) -> Self {
        let (limit, until) = known.unwrap_or((u16::MAX, Instant::ZERO));
        PathMtu { limit, timeouts: 0, search: Search::Resting { until } }
    }

    pub(super) fn limit(&self) -> u16 {
        self.limit
    }

    /// The size to try now, where more than what is known might pass.
    fn next_size(&mut self, now: Instant, ceiling: u16) -> Option<u16> {
        if self.limit >= ceiling {
            return None;
        }
        // [8201-4-6]
        if let Search::Resting { until } = self.search
            && now >= until
        {
            self.search = Search::below(ceiling.saturating_add(1));
        }
        match self.search {
            Search::Searching { next, probe: None, .. } => Some(next),
            Search::Searching { .. } | Search::Resting { .. } => None,
        }
    }

    fn probe(&self) -> Option<Probe> {
        match self.search {
            Search::Searching { ref probe, .. } => probe.as_deref().copied(),
            Search::Resting { .. } => None,
        }
    }

    /// Goes on between what passes and what does not.
    fn narrow(&mut self, now: Instant, too_large: u16) {
        self.search = match too_large.saturating_sub(self.limit) {
            0..=CLOSE_ENOUGH => Search::Resting { until: now + RAISE_AFTER },
            doubt => Search::Searching { too_large, next: self.limit + doubt / 2, lost: 0, probe: None },
        };
    }

    fn on_passed(&mut self, now: Instant, size: u16) {
        let Search::Searching { too_large, .. } = self.search else { return };
        self.limit = self.limit.max(size);
        self.narrow(now, too_large);
    }

    fn on_lost(&mut self, now: Instant) -> Option<ProbeOutcome> {
        let Search::Searching { too_large, next, lost, ref probe } = self.search else { return None };
        let size = probe.as_ref()?.size;
        // A router may have said meanwhile that it is too large.
        if size < too_large && lost + 1 < MAX_PROBES {
            self.search = Search::Searching { too_large, next, lost: lost + 1, probe: None };
            return Some(ProbeOutcome::Lost);
        }
        if size < too_large {
            self.narrow(now, size);
        } else {
            self.search = Search::Searching { too_large, next, lost: 0, probe: None };
        }
        Some(ProbeOutcome::TooLarge)
    }
}

impl Tcp {
    /// IP and TCP headers without options, in bytes.
    fn header_bytes(&self) -> u16 {
        if self.is_ipv4() { 40 } else { 60 }
    }

    /// The largest IP packet sent on the path, in bytes; probes are larger.
    pub(crate) fn path_mtu(&self) -> u32 {
        u32::from(self.mss()) + u32::from(self.header_bytes())
    }

    /// The payload of each segment in which the data at `ssn` leaves.
    // [8899-3-1]
    pub(crate) fn segment_payload(&self, ssn: Ssn, option_bytes: usize) -> u64 {
        match self.path.probe() {
            Some(probe) if probe.ssn == ssn => probe.end - probe.ssn,
            _ => self.mss_with(option_bytes),
        }
    }

    /// A router says that packets of more than `mtu` bytes do not pass. True: segments become smaller for it. What was
    /// too large goes again at once, and it is no sign of congestion.
    pub(crate) fn on_packet_too_big(&mut self, now: Instant, mtu: u32, option_bytes: usize) -> bool {
        let said = u16::try_from(mtu).unwrap_or(u16::MAX).saturating_sub(self.header_bytes());
        let mss = match self.is_ipv4() {
            // An old router does not say (RFC 1191, section 5), and what says less lies: as Linux's min_pmtu.
            true => said.max(LEAST_V4),
            // [8201-4-3, 8201-4-4]
            false if said < LEAST_V6 => return false,
            false => said,
        };
        // [8201-4-5]
        if mss >= self.mss() {
            if let Search::Searching { too_large, next, lost, .. } = &mut self.path.search
                && mss < *too_large - 1
            {
                // It speaks of a probe.
                (*too_large, *next, *lost) = (mss + 1, mss, 0);
            }
            return false;
        }
        // [9293-SHLD-6, 8201-4-2]
        self.path.limit = mss;
        self.path.search = Search::Resting { until: now + RAISE_AFTER };
        let largest = self.mss_with(option_bytes);
        // [8201-5.4-1]
        self.board.mark_lost(|r| r.payload.len() as u64 > largest);
        true
    }

    /// The retransmission timer has expired. True: it was for large segments again and again, and no router says why.
    /// They become smaller, until larger ones are found to pass.
    // [8899-3-3]
    pub(crate) fn suspect_black_hole(&mut self, now: Instant, option_bytes: usize) -> bool {
        // With all the rest, where one was on its way.
        self.path.on_lost(now);
        let (base, least) = if self.is_ipv4() { (BASE_V4, LEAST_V4) } else { (LEAST_V6, LEAST_V6) };
        let mss = self.mss();
        let smaller = if mss > base { base } else { least };
        let small = self.mss_with(option_bytes).saturating_sub(u64::from(mss.saturating_sub(smaller)));
        if mss <= smaller || self.board.records().next().is_none_or(|r| r.payload.len() as u64 <= small) {
            return false;
        }
        self.path.timeouts += 1;
        if self.path.timeouts < BLACK_HOLE_TIMEOUTS {
            return false;
        }
        self.path.timeouts = 0;
        self.path.limit = smaller;
        self.path.search = Search::below(self.ceiling().saturating_add(1));
        true
    }

    /// The payload of a probe that may leave now.
    // [8899-3-4]
    pub(crate) fn mtu_probe_due(&mut self, now: Instant, option_bytes: usize) -> Option<u64> {
        let ceiling = self.ceiling();
        let size = self.path.next_size(now, ceiling)?;
        // Only where its loss would be noticed, and taken for nothing else.
        let quiet = self.is_open() && self.sack_ok && self.board.sacked() == 0 && !self.board.is_empty();
        let larger = u64::from(size - self.mss());
        quiet.then_some(self.mss_with(option_bytes) + larger)
    }

    /// The next `len` bytes of new data are the probe.
    pub(crate) fn begin_mtu_probe(&mut self, len: u64) {
        let ssn = self.snd_nxt;
        if let Search::Searching { next, probe, .. } = &mut self.path.search {
            *probe = Some(Box::new(Probe { ssn, end: ssn + len, size: *next }));
        }
    }

    /// SND.UNA moved.
    pub(super) fn settle_mtu_probe(&mut self, now: Instant, out: &mut AckOutcome) {
        self.path.timeouts = 0;
        if let Some(probe) = self.path.probe()
            && self.snd_una >= probe.end
        {
            self.path.on_passed(now, probe.size);
            out.mtu_probe = Some(ProbeOutcome::Passed);
        }
    }

    /// Bytes were found lost: how many of them are the probe's, which say nothing of congestion.
    // [8899-3-5]
    pub(super) fn lost_probe_bytes(&mut self, now: Instant, out: &mut AckOutcome) -> u64 {
        let Some(probe) = self.path.probe() else { return 0 };
        let bytes = self.board.lost_between(probe.ssn, probe.end);
        if bytes > 0 {
            out.mtu_probe = self.path.on_lost(now);
        }
        bytes
    }
}
