//! What a connection tells of its decisions to who traces it, and what it counts along the way. Nothing here changes
//! anything.

use super::info::SubflowChange;
use super::{Connection, Handshake, Multipath};
use crate::SubflowId;
use crate::mib::Counter;
use crate::path_manager::{PathCommand, PathEvent};
use crate::scheduler::PathView;
use crate::seq::{Dsn, Ssn};
use crate::tcp::{AckOutcome, TxRecord};
use crate::trace::{
    AssignReason, Candidate, CongestionReason, LossReason, MappingOutcome, OpenReason, ReinjectReason,
    RetransmitReason, TraceEvent, WaitReason,
};
use polypath_wire::{MptcpOption, Segment, TcpFlags};

/// A place in the stream as traces have it.
pub(super) fn relative(dsn: Dsn) -> u64 {
    dsn.since(Dsn::FIRST)
}

fn relative_ssn(ssn: Ssn) -> u64 {
    ssn.since(Ssn::ORIGIN)
}

/// What makes a segment worth telling of: data and acknowledgements are told of in other ways.
fn is_signal(option: &MptcpOption) -> bool {
    !matches!(option, MptcpOption::Dss(_))
}

impl Connection {
    pub(super) fn trace_started(&mut self) {
        let (role, local, remote) = (self.role, self.initial.local(), self.initial.remote());
        let (scheduler, congestion_control, path_manager) =
            (self.scheduler.name(), self.congestion.name(), self.path_manager.name());
        self.journal.trace(|| TraceEvent::Started { role, local, remote, scheduler, congestion_control, path_manager });
        if let Multipath::Fallback(_) = self.multipath {
            self.trace_multipath();
        }
    }

    pub(super) fn trace_multipath(&mut self) {
        let fallback = match self.multipath {
            Multipath::Fallback(reason) => Some(reason),
            Multipath::Active(_) | Multipath::Negotiating { .. } => None,
        };
        self.journal.trace(|| TraceEvent::Multipath { active: fallback.is_none(), fallback });
    }

    pub(super) fn trace_opened(&mut self, id: SubflowId) {
        let Some(s) = self.subflows.get(usize::from(id.0)).and_then(Option::as_deref) else { return };
        let reason = match s.handshake {
            Handshake::Capable | Handshake::Done => OpenReason::First,
            Handshake::JoinSyn { .. } | Handshake::JoinAck { .. } => OpenReason::PathManager,
            Handshake::JoinSynAck { .. } => OpenReason::Peer,
        };
        self.journal.trace(|| TraceEvent::PathOpened {
            subflow: id,
            path: s.name.clone(),
            local: s.tcp.local(),
            remote: s.tcp.remote(),
            backup: s.backup,
            reason,
        });
    }

    /// What happened to a subflow, for counters and traces.
    pub(super) fn note_subflow(&mut self, id: SubflowId, what: SubflowChange) {
        match what {
            SubflowChange::Stalled => self.journal.count(Counter::MPTcpExtSubflowStale),
            SubflowChange::Recovered => self.journal.count(Counter::MPTcpExtSubflowRecover),
            SubflowChange::Established | SubflowChange::Closed(_) => {}
        }
        let option_bytes = self.data_option_bytes();
        let Some(s) = self.subflows.get(usize::from(id.0)).and_then(Option::as_deref) else { return };
        self.journal.trace(|| match what {
            SubflowChange::Established => TraceEvent::PathEstablished {
                subflow: id,
                mss: s.tcp.mss_with(option_bytes),
                ecn: s.tcp.uses_ecn(),
                srtt: s.tcp.rtt.srtt(),
            },
            SubflowChange::Stalled => TraceEvent::PathStalled { subflow: id },
            SubflowChange::Recovered => TraceEvent::PathRecovered { subflow: id },
            SubflowChange::Closed(reason) => TraceEvent::PathClosed { subflow: id, reason },
        });
    }

    pub(super) fn trace_managed(&mut self, event: &PathEvent, commands: &[PathCommand]) {
        self.journal.trace(|| {
            let (mut open, mut close, mut announce) = (Vec::new(), Vec::new(), Vec::new());
            for command in commands {
                match *command {
                    PathCommand::Open { local, remote, .. } => open.push((local, remote)),
                    PathCommand::Close { local, remote } => close.push((local, remote)),
                    PathCommand::Announce(addr) => announce.push(addr),
                    PathCommand::WakeAt(_) => {}
                }
            }
            TraceEvent::PathManaged { because: event.to_string(), open, close, announce }
        });
    }

    /// A segment leaves.
    pub(super) fn note_sent<'a>(
        &mut self,
        id: SubflowId,
        flags: TcpFlags,
        options: impl Iterator<Item = &'a MptcpOption>,
    ) {
        let unusual = flags.intersects(TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST);
        let mut named = Vec::new();
        for option in options.filter(|option| unusual || is_signal(option)) {
            let counter = match option {
                MptcpOption::AddAddr(add) if add.echo => Some(Counter::MPTcpExtEchoAddTx),
                MptcpOption::AddAddr(_) => Some(Counter::MPTcpExtAddAddrTx),
                MptcpOption::RemoveAddr(_) => Some(Counter::MPTcpExtRmAddrTx),
                MptcpOption::MpPrio(_) => Some(Counter::MPTcpExtMPPrioTx),
                MptcpOption::MpFastclose(_) => Some(Counter::MPTcpExtMPFastcloseTx),
                MptcpOption::MpTcprst(_) => Some(Counter::MPTcpExtMPRstTx),
                MptcpOption::MpFail(_) => Some(Counter::MPTcpExtMPFailTx),
                _ => None,
            };
            self.journal.counted.extend(counter);
            if self.journal.is_tracing() {
                named.push(option.to_string());
            }
        }
        if flags.contains(TcpFlags::RST) {
            self.journal.count(Counter::TcpOutRsts);
        }
        if unusual || !named.is_empty() {
            self.journal.trace(|| TraceEvent::SegmentSent { subflow: id, flags: flags.to_string(), options: named });
        }
    }

    /// A segment arrived.
    pub(crate) fn trace_received(&mut self, id: SubflowId, seg: &Segment) {
        let (flags, mptcp) = (seg.tcp.flags, &seg.options.mptcp);
        let unusual = flags.intersects(TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST);
        if unusual || mptcp.iter().any(is_signal) {
            self.journal.trace(|| TraceEvent::SegmentReceived {
                subflow: id,
                flags: flags.to_string(),
                options: mptcp.iter().map(ToString::to_string).collect(),
            });
        }
    }

    pub(super) fn trace_assigned(
        &mut self,
        on: SubflowId,
        dsn: Dsn,
        len: u64,
        reason: AssignReason,
        paths: &[PathView],
    ) {
        let candidate = |p: &PathView| Candidate {
            subflow: p.id,
            srtt: p.srtt,
            cwnd: p.cwnd,
            in_flight: p.in_flight,
            room: p.room,
            backup: p.backup,
            stalled: p.stalled,
        };
        self.journal.ends_waiting();
        self.journal.trace(|| TraceEvent::Assigned {
            subflow: on,
            dsn: relative(dsn),
            len,
            reason,
            candidates: paths.iter().map(candidate).collect(),
        });
    }

    pub(super) fn trace_waiting(&mut self, reason: WaitReason, pending: u64) {
        self.journal.trace_waiting(reason, pending);
    }

    pub(super) fn trace_reinjection(&mut self, from: Option<SubflowId>, dsn: Dsn, len: u64, reason: ReinjectReason) {
        self.journal.trace(|| TraceEvent::ReinjectionQueued { from, dsn: relative(dsn), len, reason });
    }

    pub(super) fn trace_congestion(&mut self, id: SubflowId, reason: CongestionReason) {
        let Some(s) = self.subflows.get(usize::from(id.0)).and_then(Option::as_deref) else { return };
        let (cwnd, ssthresh) = (self.congestion.window(id), self.congestion.ssthresh(id));
        self.journal.trace(|| TraceEvent::CongestionUpdated {
            subflow: id,
            cwnd,
            ssthresh: Some(ssthresh).filter(|ssthresh| *ssthresh != u64::MAX),
            in_flight: s.tcp.in_flight(),
            srtt: s.tcp.rtt.srtt(),
            reason,
        });
    }

    /// What loss recovery made of an acknowledgement, or of its timer.
    pub(super) fn trace_losses(&mut self, id: SubflowId, out: &AckOutcome, reason: LossReason) {
        if out.recovery_left {
            self.journal.trace(|| TraceEvent::RecoveryLeft { subflow: id });
        }
        if out.newly_lost > 0 {
            self.journal.trace(|| TraceEvent::Lost { subflow: id, bytes: out.newly_lost, reason });
        }
        if out.recovery_entered {
            self.journal.trace(|| TraceEvent::RecoveryEntered { subflow: id });
        }
    }

    pub(super) fn trace_retransmitted(&mut self, id: SubflowId, record: &TxRecord, reason: RetransmitReason) {
        self.journal.trace(|| TraceEvent::Retransmitted {
            subflow: id,
            ssn: relative_ssn(record.ssn),
            dsn: relative(record.dsn),
            len: record.payload.len() as u64,
            reason,
        });
    }

    pub(super) fn trace_mapping_sent(&mut self, id: SubflowId, ssn: Ssn, dsn: Dsn, len: u64) {
        let (ssn, dsn) = (relative_ssn(ssn), relative(dsn));
        self.journal.trace(|| TraceEvent::MappingSent { subflow: id, ssn, dsn, len });
    }

    pub(super) fn trace_mapping_received(
        &mut self,
        id: SubflowId,
        ssn: Ssn,
        dsn: Dsn,
        len: u64,
        outcome: MappingOutcome,
    ) {
        let (ssn, dsn) = (relative_ssn(ssn), relative(dsn));
        self.journal.trace(|| TraceEvent::MappingReceived { subflow: id, ssn, dsn, len, outcome });
    }

    pub(super) fn trace_data_received(&mut self, id: SubflowId, fresh: u64) {
        let (next, out_of_order) = (relative(Dsn(self.assembler.next())), self.assembler.waiting_bytes() as u64);
        let unread = self.inbox.len() as u64;
        self.journal.trace(|| TraceEvent::DataReceived { subflow: id, fresh, next, out_of_order, unread });
    }

    pub(super) fn trace_data_acknowledged(&mut self, id: SubflowId, una: Dsn) {
        let (window_end, queued) = (relative(self.data_wnd_end), self.send.len() as u64);
        self.journal.trace(|| TraceEvent::DataAcknowledged { subflow: id, dsn: relative(una), window_end, queued });
    }
}
