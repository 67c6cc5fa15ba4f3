//! Firewalls that forget connections which say nothing for a while.

use std::time::Duration;

use polypath_proto::Instant;
use polypath_wire::TcpFlags;

use super::rst::reset_in_answer;
use super::{Direction, Middlebox, Output, PerConnection};
use crate::packet::Packet;

/// Lets a connection through only if it was seen to begin, and spoke within the time.
#[derive(Debug)]
pub(super) struct IdleTimeout {
    after: Duration,
    /// What it does not know is answered with a reset, and not dropped without a word.
    reset: bool,
    heard: PerConnection<Option<Instant>>,
}

impl IdleTimeout {
    pub(super) fn new(after: Duration, reset: bool) -> Self {
        Self { after, reset, heard: PerConnection::default() }
    }
}

impl Middlebox for IdleTimeout {
    fn name(&self) -> &str {
        "idle-timeout"
    }

    fn handle(&mut self, now: Instant, direction: Direction, packet: Packet, out: &mut Output) {
        let (Ok(segment), Some(heard)) = (packet.segment(), self.heard.of(direction, &packet)) else { return };
        let flags = segment.tcp.flags;
        let begins = flags.contains(TcpFlags::SYN) && !flags.contains(TcpFlags::ACK) && direction == Direction::Forward;
        if begins || heard.is_some_and(|at| now - at < self.after) {
            *heard = Some(now);
            out.push(direction, packet);
        } else {
            *heard = None;
            if self.reset && !flags.contains(TcpFlags::RST) {
                out.push(direction.reverse(), reset_in_answer(&segment, packet.payload.len()));
            }
        }
    }
}
