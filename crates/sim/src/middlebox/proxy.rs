//! Proxies that acknowledge data themselves, long before the receiver has it, and promise to deliver it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use polypath_proto::Instant;
use polypath_wire::{ChecksumMode, Segment, SeqNum, TcpFlags, TcpOptions};

use super::{Direction, Middlebox, Output, PerConnection};
use crate::packet::Packet;

/// How long a proxy waits for the receiver's acknowledgement before it sends again.
const PATIENCE: Duration = Duration::from_millis(300);

/// Acknowledges data in the receiver's name, with segments of its own that have no Multipath TCP
/// options.
#[derive(Debug)]
pub(super) struct Proxy {
    which: Option<Direction>,
    /// This segment with data, counted from 1, is acknowledged and then lost.
    loses: Option<u32>,
    connections: PerConnection<[State; 2]>,
    wake_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct State {
    /// One past the last byte that came in order.
    next: Option<SeqNum>,
    /// How much the receiver has said to have.
    acked: Option<SeqNum>,
    /// After the receiver's last segment: numbers and window of the next acknowledgement.
    template: Option<Segment>,
    kept: VecDeque<(SeqNum, Packet)>,
    segments: u32,
    resend_at: Option<Instant>,
}

fn after(a: SeqNum, b: SeqNum) -> bool {
    (a.0.wrapping_sub(b.0) as i32) > 0
}

impl Proxy {
    pub(super) fn new(which: Option<Direction>, loses: Option<u32>) -> Self {
        Self { which, loses, connections: PerConnection::default(), wake_at: None }
    }
}

impl State {
    /// The receiver speaks. What it has acknowledged need not be kept.
    fn on_receiver(&mut self, segment: &Segment, payload: usize) {
        let flags = segment.tcp.flags;
        // The window of a SYN is not scaled: it is no pattern for others.
        if flags.contains(TcpFlags::SYN) || !flags.contains(TcpFlags::ACK) {
            return;
        }
        let mut template = segment.clone();
        let length = payload as u32 + u32::from(flags.contains(TcpFlags::FIN));
        template.tcp.seq = SeqNum(segment.tcp.seq.0.wrapping_add(length));
        self.template = Some(template);
        let ack = segment.tcp.ack;
        if self.acked.is_none_or(|acked| after(ack, acked)) {
            self.acked = Some(ack);
            self.kept.retain(|(end, _)| after(*end, ack));
            if self.kept.is_empty() {
                self.resend_at = None;
            }
        }
    }

    /// Data comes. True: it follows what came before.
    fn on_data(&mut self, segment: &Segment, payload: &Bytes) -> bool {
        let end = SeqNum(segment.tcp.seq.0.wrapping_add(payload.len() as u32));
        let next = *self.next.get_or_insert(segment.tcp.seq);
        if after(segment.tcp.seq, next) || !after(end, next) {
            return false;
        }
        self.next = Some(end);
        true
    }

    fn acknowledgement(&self, echo: Option<u32>) -> Option<Packet> {
        let template = self.template.as_ref()?;
        let timestamps = template.options.timestamps.zip(echo).map(|(mut ts, echo)| {
            ts.ecr = echo;
            ts
        });
        let mut ack = Segment { options: TcpOptions { timestamps, ..TcpOptions::default() }, ..template.clone() };
        ack.tcp.flags = TcpFlags::ACK;
        ack.tcp.ack = self.next?;
        Some(Packet::new(&ack, Bytes::new(), ChecksumMode::Full))
    }
}

impl Middlebox for Proxy {
    fn name(&self) -> &str {
        "proxy"
    }

    fn handle(&mut self, now: Instant, direction: Direction, packet: Packet, out: &mut Output) {
        let serves = |way: Direction| self.which.is_none_or(|which| which == way);
        let (Ok(segment), Some(states)) = (packet.segment(), self.connections.of(direction, &packet)) else { return };
        if serves(direction.reverse()) {
            states[direction.reverse().index()].on_receiver(&segment, packet.payload.len());
        }
        let ends = segment.tcp.flags.intersects(TcpFlags::SYN | TcpFlags::RST | TcpFlags::FIN);
        if packet.payload.is_empty() || ends || !serves(direction) || !packet.is_sound() {
            return out.push(direction, packet);
        }
        let state = &mut states[direction.index()];
        if !state.on_data(&segment, &packet.payload) {
            return out.push(direction, packet);
        }
        let echo = segment.options.timestamps.map(|timestamps| timestamps.val);
        if let Some(ack) = state.acknowledgement(echo) {
            out.push(direction.reverse(), ack);
            state.segments += 1;
            if self.loses == Some(state.segments) {
                return;
            }
            let end = SeqNum(segment.tcp.seq.0.wrapping_add(packet.payload.len() as u32));
            state.kept.push_back((end, packet.clone()));
            let at = *state.resend_at.get_or_insert(now + PATIENCE);
            self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
        }
        out.push(direction, packet);
    }

    fn next_wake(&self) -> Option<Instant> {
        self.wake_at
    }

    fn wake(&mut self, now: Instant, out: &mut Output) {
        let mut next = None;
        for states in self.connections.0.values_mut() {
            for (way, state) in [Direction::Forward, Direction::Backward].into_iter().zip(states) {
                if state.resend_at.is_some_and(|at| at <= now) {
                    state.resend_at = state.kept.front().map(|(_, packet)| {
                        out.push(way, packet.clone());
                        now + PATIENCE
                    });
                }
                next = next.into_iter().chain(state.resend_at).min();
            }
        }
        self.wake_at = next;
    }
}
