//! What arrives: to whom it belongs, and what is answered where it belongs to nobody.

use super::{FourTuple, MAX_REPLIES, Received, RxChecksum, Stack, bare_segment, is_unicast};
use crate::LinkId;
use crate::mib::Counter;
use crate::time::Instant;
use polypath_wire::{Ecn, Segment, TcpFlags};
use std::net::SocketAddr;

impl Stack {
    /// A packet arrived. Where it is for none of the stack's addresses, an answer leaves on the link `on`.
    pub fn handle_packet(&mut self, now: Instant, on: LinkId, rx: Received<'_>) {
        let Some(seg) = self.parse(&rx) else { return };
        // Nobody sends from there. [9293-MUST-63]
        if !is_unicast(seg.ip.src) {
            return;
        }
        let tuple = FourTuple {
            local: SocketAddr::new(seg.ip.dst, seg.tcp.dst_port),
            remote: SocketAddr::new(seg.ip.src, seg.tcp.src_port),
        };
        if let Some((id, subflow)) = self.flows.get(&tuple) {
            self.with_connection(id, |c, env| c.on_segment(now, env, subflow, &seg, rx.payload));
            return self.settle(now, id);
        }
        // Answers leave on the address's link, wherever this came in.
        let on = self.addresses.iter().find(|a| a.addr == tuple.local.ip()).map_or(on, |a| a.link);
        let is_syn = seg.tcp.flags.contains(TcpFlags::SYN) && !seg.tcp.flags.intersects(TcpFlags::ACK | TcpFlags::RST);
        // [9293-MUST-57]
        let is_new = !self.time_waits.contains(&tuple) || self.time_waits.reopens(&tuple, &seg);
        if is_syn && is_new && self.addresses.iter().any(|a| a.addr == tuple.local.ip()) {
            return self.on_syn(now, on, tuple, &seg, &rx.payload);
        }
        if self.time_waits.contains(&tuple) {
            let answer = self.time_waits.answer(now, &tuple, &seg);
            if self.replies.len() < MAX_REPLIES {
                self.replies.extend(answer);
            }
            return;
        }
        if self.on_cookie(now, on, tuple, &seg, &rx.payload) {
            return;
        }
        // What is for an address that is not ours (any more) is not ours to refuse.
        if self.addresses.iter().any(|a| a.addr == tuple.local.ip()) {
            self.refuse(on, &seg, rx.payload.len(), None);
        }
    }

    /// An ICMP error arrived; `packet` is the whole IP packet. Others than about segments of this stack are ignored.
    pub fn handle_icmp(&mut self, now: Instant, packet: &[u8]) {
        let Some(error) = polypath_wire::IcmpError::parse(packet) else { return };
        let tuple = FourTuple { local: error.local, remote: error.remote };
        if let Some((id, subflow)) = self.flows.get(&tuple) {
            self.with_connection(id, |c, env| c.on_icmp(now, env, subflow, &error));
            self.settle(now, id);
        }
    }

    pub(super) fn parse(&mut self, rx: &Received<'_>) -> Option<Segment> {
        let Ok((seg, header_len, payload_len)) = polypath_wire::parse_headers(rx.headers) else {
            self.mib.count(Counter::TcpInErrs);
            return None;
        };
        self.mib.count(Counter::TcpInSegs);
        if header_len != rx.headers.len() || payload_len != rx.payload.len() {
            self.mib.count(Counter::TcpInErrs);
            return None;
        }
        self.mib.count(match seg.ip.ecn {
            Ecn::NotEct => Counter::IpExtInNoECTPkts,
            Ecn::Ect0 => Counter::IpExtInECT0Pkts,
            Ecn::Ect1 => Counter::IpExtInECT1Pkts,
            Ecn::Ce => Counter::IpExtInCEPkts,
        });
        // [9293-MUST-3]
        if rx.checksum == RxChecksum::Unverified && !polypath_wire::verify_checksum(rx.headers, &rx.payload) {
            self.mib.count(Counter::TcpInErrs);
            self.mib.count(Counter::TcpInCsumErrors);
            return None;
        }
        Some(seg)
    }

    /// RFC 9293, section 3.10.7.1: what belongs to nothing is answered with a reset.
    pub(super) fn refuse(
        &mut self,
        on: LinkId,
        seg: &Segment,
        payload: usize,
        option: Option<polypath_wire::MptcpOption>,
    ) {
        let flags = seg.tcp.flags;
        // [9293-3.10.7.1-1]
        if flags.contains(TcpFlags::RST) || self.replies.len() >= MAX_REPLIES {
            return;
        }
        let length =
            payload as u32 + u32::from(flags.contains(TcpFlags::SYN)) + u32::from(flags.contains(TcpFlags::FIN));
        let (seq, ack, flags) = if flags.contains(TcpFlags::ACK) {
            (seg.tcp.ack, polypath_wire::SeqNum(0), TcpFlags::RST)
        } else {
            (polypath_wire::SeqNum(0), seg.tcp.seq.wrapping_add(length), TcpFlags::RST | TcpFlags::ACK)
        };
        let local = SocketAddr::new(seg.ip.dst, seg.tcp.dst_port);
        let remote = SocketAddr::new(seg.ip.src, seg.tcp.src_port);
        let mut reset = bare_segment(local, remote, seq, ack, flags);
        if option.is_some() {
            self.mib.count(Counter::MPTcpExtMPRstTx);
        }
        reset.options.mptcp.extend(option);
        self.mib.count(Counter::TcpOutRsts);
        self.replies.push_back((reset, on));
    }
}
