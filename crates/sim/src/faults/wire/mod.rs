//! Watches what one host's stack sends, next to what it was sent, and says what no stack may do (RFC 9293, RFC 8684).
//!
//! It is told of each packet between the stack and its links, and knows nothing else. Where a packet may have been thrown
//! away by the stack for a good reason, the watch takes it for received: it is too mild then, never too strict.

mod flow;
mod ranges;
mod session;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use polypath_proto::MultipathState;
use polypath_wire::{CapableKeys, MpJoin, Segment, TcpFlags, verify_checksum};

use self::flow::{Flow, Join};
use self::session::Session;
use crate::app::Seen;

/// The local and the remote end, seen from the host.
type Ends = (SocketAddr, SocketAddr);

/// The watch over one host's packets.
#[derive(Debug)]
pub(in crate::faults) struct Wire {
    /// Packets with a wrong checksum are none.
    checksums: bool,
    /// SYNs that have arrived and may be answered.
    syns: BTreeMap<Ends, Segment>,
    flows: BTreeMap<Ends, Flow>,
    sessions: Vec<Session>,
    sent: u64,
    violation: Option<String>,
}

impl Wire {
    pub(in crate::faults) fn new(checksums: bool) -> Self {
        let (syns, flows) = (BTreeMap::new(), BTreeMap::new());
        Self { checksums, syns, flows, sessions: Vec::new(), sent: 0, violation: None }
    }

    /// What was wrong first.
    pub(in crate::faults) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// Packets that the stack has sent.
    pub(in crate::faults) fn sent(&self) -> u64 {
        self.sent
    }

    pub(in crate::faults) fn observe(&mut self, seen: &Seen<'_>) {
        self.sent += u64::from(seen.sent);
        if self.violation.is_some() {
            return;
        }
        let packet = seen.packet;
        if !seen.sent && self.checksums && !verify_checksum(&packet.headers, &packet.payload) {
            return;
        }
        let len = packet.payload.len() as u64;
        let result = match packet.segment() {
            Err(_) if !seen.sent => Ok(()),
            Err(error) => Err(format!("sent what cannot be parsed: {error}")),
            Ok(segment) if seen.sent => self.sent_segment(seen, &segment, len),
            Ok(segment) => {
                self.received_segment(&segment, len);
                Ok(())
            }
        };
        if let Err(what) = result {
            let ends = packet.flow();
            let ends = ends.map(|f| format!("{}:{} > {}:{}", f.src, f.src_port, f.dst, f.dst_port));
            self.violation = Some(format!("{} {what}", ends.unwrap_or_default()));
        }
    }

    fn received_segment(&mut self, segment: &Segment, len: u64) {
        let (ip, tcp) = (&segment.ip, &segment.tcp);
        let ends = (SocketAddr::new(ip.dst, tcp.dst_port), SocketAddr::new(ip.src, tcp.src_port));
        let (syn, ack) = (tcp.flags.contains(TcpFlags::SYN), tcp.flags.contains(TcpFlags::ACK));
        if syn && !ack {
            self.syns.insert(ends, segment.clone());
        }
        let Some(flow) = self.flows.get_mut(&ends) else { return };
        if syn && ack {
            flow.take_answer(segment);
        }
        let Some(position) = flow.received(segment, len) else { return };
        let session = flow.session.map(|index| &mut self.sessions[index]);
        if let Some(session) = session {
            session.received(segment, flow, position, len);
        }
    }

    fn sent_segment(&mut self, seen: &Seen<'_>, segment: &Segment, len: u64) -> Result<(), String> {
        let (ip, tcp) = (&segment.ip, &segment.tcp);
        let ends = (SocketAddr::new(ip.src, tcp.src_port), SocketAddr::new(ip.dst, tcp.dst_port));
        if tcp.flags.contains(TcpFlags::SYN) {
            return self.sent_syn(ends, segment);
        }
        if tcp.flags.contains(TcpFlags::RST) {
            self.flows.entry(ends).and_modify(Flow::reset);
            return Ok(());
        }
        // What is of no connection: TIME-WAIT answers, for which the flow is known, and nothing else.
        let Some(flow) = self.flows.get_mut(&ends) else {
            return Err("sent a segment of no connection".to_owned());
        };
        let position = flow.sent(segment, len)?;
        let Some(session) = flow.session.map(|index| &mut self.sessions[index]) else {
            return Ok(());
        };
        let mapped = session.sent(segment, flow, position, len)?;
        if len > 0 && !mapped && !flow.is_garbage(position, len) && !flow.plain {
            flow.plain = true;
            let of_it = |info: &polypath_proto::ConnectionInfo| (info.local, info.remote) == ends;
            let active = |info: &polypath_proto::ConnectionInfo| info.multipath == MultipathState::Active;
            if seen.stack.connections().any(|(_, info)| of_it(&info) && active(&info)) {
                return Err(format!("sent {len} bytes at {position} without a mapping, in Multipath TCP"));
            }
        }
        if len > 0 && flow.join.is_some_and(|join| !join.may_send()) {
            return Err("sent data on a join whose handshake is not over".to_owned());
        }
        Ok(())
    }

    /// A SYN of ours begins a flow, and so does an answer to one.
    fn sent_syn(&mut self, ends: Ends, segment: &Segment) -> Result<(), String> {
        let tcp = &segment.tcp;
        let answers = tcp.flags.contains(TcpFlags::ACK);
        let syn = self.syns.get(&ends).filter(|_| answers);
        if answers && syn.is_none_or(|syn| syn.tcp.seq.wrapping_add(1) != tcp.ack) {
            return Err("answered a SYN that did not come".to_owned());
        }
        if self.flows.get(&ends).is_some_and(|flow| flow.is_of(segment)) {
            return Ok(());
        }
        let mut flow = Flow::new(segment, syn);
        let join = syn.unwrap_or(segment).options.mp_join();
        if let Some(MpJoin::Syn { token, .. }) = join {
            let named = |session: &Session| match answers {
                true => session.local.is_some_and(|local| local.token == *token),
                false => session.remote.is_some_and(|remote| remote.token == *token),
            };
            flow.session = self.sessions.iter().position(named);
            if flow.session.is_none() && (!answers || segment.options.mp_join().is_some()) {
                return Err("a join of a connection that does not exist".to_owned());
            }
            flow.join =
                Some(if answers { Join::Accepted { confirmed: false } } else { Join::Opened { answered: false } });
        } else if segment.options.mp_capable().is_some() {
            if syn.is_some_and(|syn| syn.options.mp_capable().is_none()) {
                return Err("MP_CAPABLE in answer to a SYN without".to_owned());
            }
            let mut session = Session::default();
            if let Some(CapableKeys::SynAck { sender }) = segment.options.mp_capable().map(|capable| capable.keys) {
                session.learn_local(sender);
            }
            flow.session = Some(self.sessions.len());
            self.sessions.push(session);
        }
        self.flows.insert(ends, flow);
        Ok(())
    }
}

/// The position next to `near` whose lower half is `wire`.
fn unwrap(near: u64, wire: u32) -> u64 {
    near.saturating_add_signed(i64::from(wire.wrapping_sub(near as u32).cast_signed()))
}

#[cfg(test)]
mod tests;
