//! Path MTUs of the subflows: who is told of them, and the data that probes carry.

use super::schedule::Assignment;
use super::{Connection, Request, SendHalf};
use crate::SubflowId;
use crate::mib::Counter;
use crate::tcp::{AckOutcome, ProbeOutcome};
use crate::time::Instant;
use crate::trace::{AssignReason, MtuReason, TraceEvent};

/// Full segments that are to follow a probe, so that its loss is noticed by acknowledgements (RFC 8985, section 6.2).
const FOLLOWERS: u64 = 3;

impl Connection {
    /// A router on the way says how large packets may be.
    pub(super) fn on_packet_too_big(&mut self, now: Instant, id: SubflowId, mtu: u32) {
        let option_bytes = self.data_option_bytes();
        if self.get_mut(id).is_some_and(|s| s.tcp.on_packet_too_big(now, mtu, option_bytes)) {
            self.trace_path_mtu(id, MtuReason::PacketTooBig);
            self.share_path_mtu(id);
        }
    }

    /// The retransmission timer has expired.
    pub(super) fn suspect_black_hole(&mut self, now: Instant, id: SubflowId) {
        let option_bytes = self.data_option_bytes();
        if self.get_mut(id).is_some_and(|s| s.tcp.suspect_black_hole(now, option_bytes)) {
            // It may be an outage like any other: others are told when a probe has shown what it is.
            self.trace_path_mtu(id, MtuReason::BlackHole);
        }
    }

    pub(super) fn note_mtu_probe(&mut self, id: SubflowId, out: &AckOutcome) {
        let Some(outcome) = out.mtu_probe else { return };
        match outcome {
            ProbeOutcome::Passed => {
                self.journal.count(Counter::TcpExtTCPMTUPSuccess);
                self.trace_path_mtu(id, MtuReason::Probe);
                self.share_path_mtu(id);
            }
            ProbeOutcome::Lost => self.journal.count(Counter::TcpExtTCPMTUPFail),
            ProbeOutcome::TooLarge => {
                self.journal.count(Counter::TcpExtTCPMTUPFail);
                self.share_path_mtu(id);
            }
        }
    }

    fn trace_path_mtu(&mut self, id: SubflowId, reason: MtuReason) {
        let Some(mtu) = self.get(id).map(|s| s.tcp.path_mtu()) else { return };
        self.journal.trace(|| TraceEvent::PathMtu { subflow: id, mtu, reason });
    }

    // [8201-5.2-1]
    fn share_path_mtu(&mut self, id: SubflowId) {
        let known = self.get(id).map(|s| (s.tcp.local().ip(), s.tcp.remote().ip(), s.tcp.path_mtu()));
        self.requests.extend(known.map(|(local, remote, mtu)| Request::LearnPathMtu { local, remote, mtu }));
    }

    /// New data for a subflow that looks for a larger segment size, where there is enough to follow it.
    pub(super) fn assign_mtu_probe(&mut self, now: Instant) -> Option<Assignment> {
        let option_bytes = self.data_option_bytes();
        let due = |s: &mut super::Subflow| {
            s.is_usable().then(|| s.tcp.mtu_probe_due(now, option_bytes)).flatten().filter(|_| s.stalled.is_none())
        };
        let (on, len) = self.ids().find_map(|id| self.get_mut(id).and_then(due).map(|len| (id, len)))?;
        let pending = self.send.end().min(self.data_wnd_end).since(self.data_nxt);
        let paths = self.views(now);
        let path = paths.iter().find(|p| p.id == on)?;
        let with_followers = len + FOLLOWERS * path.mss;
        let open = matches!(self.send_half, SendHalf::Open | SendHalf::FinQueued);
        if !open || pending < with_followers || path.cwnd < with_followers || path.room < len {
            return None;
        }
        let dsn = self.data_nxt;
        self.get_mut(on)?.tcp.begin_mtu_probe(len);
        self.trace_assigned(on, dsn, len, AssignReason::New, &paths);
        Some(Assignment { on, dsn, len })
    }
}
