//! Explicit congestion notification (RFC 3168): routers mark packets where they would have dropped them.
//!
//! Each subflow negotiates by itself: its path may have something on it that does not bear the flags.

use super::{State, Tcp};
use crate::config::EcnMode;
use crate::seq::Ssn;
use polypath_wire::{Ecn, Segment, TcpFlags};

/// What marks a SYN that asks for ECN (RFC 3168, section 6.1.1).
const ECN_SETUP: TcpFlags = TcpFlags::ECE.union(TcpFlags::CWR);

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Negotiation {
    Off,
    /// Our SYN asks.
    Asked,
    /// It did, and was not answered; a later one does not.
    AskedInVain,
    /// The peer may send marked packets, and is told of them; ours cannot be marked.
    ReceiveOnly,
    Agreed,
}

#[derive(Debug)]
pub(super) struct EcnState {
    negotiation: Negotiation,
    /// A mark was seen, and no CWR since: every acknowledgement says so.
    echo: bool,
    /// The window was reduced, and no new data has left since.
    cwr_due: bool,
}

impl EcnState {
    pub(super) fn new(mode: EcnMode, state: State, syn: Option<&Segment>) -> Self {
        let negotiation = match (mode, state, syn) {
            (EcnMode::Request, State::SynSent, _) => Negotiation::Asked,
            // [3168-6.1.1-2]
            (EcnMode::Accept | EcnMode::Request, _, Some(syn)) if asks(syn) => Negotiation::Agreed,
            _ => Negotiation::Off,
        };
        EcnState { negotiation, echo: false, cwr_due: false }
    }

    /// RFC 3168, section 6.1.1.1: something may drop SYNs with these flags (Linux: tcp_ecn_fallback).
    pub(super) fn on_handshake_timeout(&mut self) {
        // [3168-6.1.1-3]
        if self.negotiation == Negotiation::Asked {
            self.negotiation = Negotiation::AskedInVain;
        }
    }

    pub(super) fn on_syn_ack(&mut self, seg: &Segment) {
        // Both flags are a SYN's, sent back by something that does not know them.
        let answered = seg.tcp.flags.intersection(ECN_SETUP) == TcpFlags::ECE;
        self.negotiation = match self.negotiation {
            Negotiation::Asked if answered => Negotiation::Agreed,
            // RFC 3168, section 6.1.1: no ECT from who has sent any SYN without; the peer knows only the other one.
            Negotiation::AskedInVain if answered => Negotiation::ReceiveOnly,
            _ => Negotiation::Off,
        };
    }

    /// The peer's SYN came again: without the flags it has given up (RFC 3168, section 6.1.1).
    pub(super) fn on_repeated_syn(&mut self, seg: &Segment) {
        if !asks(seg) {
            self.negotiation = Negotiation::Off;
        }
    }

    fn is_agreed(&self) -> bool {
        self.negotiation == Negotiation::Agreed
    }
}

fn asks(syn: &Segment) -> bool {
    syn.tcp.flags.contains(ECN_SETUP)
}

impl Tcp {
    /// Packets on this subflow may be marked instead of dropped.
    pub(crate) fn uses_ecn(&self) -> bool {
        self.ecn.is_agreed()
    }

    /// What our SYN or SYN/ACK says of ECN.
    // [3168-6.1-1, 9293-SHLD-8]
    pub(crate) fn ecn_setup_flags(&self) -> TcpFlags {
        match (self.state, self.ecn.negotiation) {
            (State::SynSent, Negotiation::Asked) => ECN_SETUP,
            (State::SynReceived, Negotiation::Agreed) => TcpFlags::ECE,
            _ => TcpFlags::empty(),
        }
    }

    /// The peer's SYN, to which our SYN/ACK is the answer, came again.
    pub(crate) fn on_repeated_syn(&mut self, seg: &Segment) {
        self.ecn.on_repeated_syn(seg);
    }

    /// The codepoint of a segment that leaves, and the flags it gets besides its own.
    pub(super) fn mark_outgoing(&mut self, ssn: Ssn, flags: TcpFlags) -> (Ecn, TcpFlags) {
        let mut more = TcpFlags::empty();
        if flags.intersects(TcpFlags::SYN | TcpFlags::RST) {
            // [3168-6.1.1-1]
            return (Ecn::NotEct, more);
        }
        // [3168-6.1.3-1]
        more.set(TcpFlags::ECE, self.ecn.echo && flags.contains(TcpFlags::ACK));
        // Acknowledgements, probes and what was sent before are not protected by the reaction to a mark.
        // [3168-6.1.1-4, 3168-6.1.4-1, 3168-6.1.5-1, 3168-6.1.6-1]
        if !self.ecn.is_agreed() || !self.board.is_first_transmission(ssn) {
            return (Ecn::NotEct, more);
        }
        // Of a super-segment the first piece only: whoever cuts it sees to that. [3168-6.1.2-2]
        more.set(TcpFlags::CWR, core::mem::take(&mut self.ecn.cwr_due));
        // [3168-5-1]
        (Ecn::Ect0, more)
    }

    /// Data in the window came, in a packet that may be marked.
    pub(super) fn take_mark(&mut self, seg: &Segment) {
        if !matches!(self.ecn.negotiation, Negotiation::Agreed | Negotiation::ReceiveOnly) {
            return;
        }
        let cwr = seg.tcp.flags.contains(TcpFlags::CWR);
        let marked = seg.ip.ecn == Ecn::Ce;
        if cwr || (marked && !self.ecn.echo) {
            // A sender that has reduced may have room for one segment only, and one that has not shall hear of it.
            self.ack_now();
        }
        // A mark on the packet with CWR is a new one, also where a super-packet begins with CWR.
        self.ecn.echo = marked || (self.ecn.echo && !cwr);
    }

    /// The acknowledgement says that packets of ours were marked.
    pub(super) fn is_echo(&self, seg: &Segment) -> bool {
        self.ecn.is_agreed() && seg.tcp.flags.contains(TcpFlags::ECE)
    }

    /// The congestion window became smaller, for whatever reason.
    pub(crate) fn on_window_reduced(&mut self) {
        self.reduced_until = Some(self.snd_nxt);
        self.ecn.cwr_due = self.ecn.is_agreed();
    }
}
