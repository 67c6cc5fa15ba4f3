//! What a stack holds at one moment: for who bounds its memory, or wants to see that nothing was left behind.

use super::Stack;
use core::ops::AddAssign;

/// Everything a stack keeps that grows with what peers and applications do. Caches of what was learned about paths and
/// servers, which forget by themselves, are not in it.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Connections, with those whose application is gone.
    pub connections: usize,
    /// Tokens that joins may name.
    pub tokens: usize,
    /// Pairs of ends for which packets are taken.
    pub flows: usize,
    /// Pairs in TIME-WAIT.
    pub time_waits: usize,
    /// Deadlines, with those that have been replaced.
    pub deadlines: usize,
    /// Answers without a connection that wait to be sent.
    pub replies: usize,
    /// Of all connections.
    pub data: DataHoldings,
}

/// What one connection, or all of them, keeps of its streams.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct DataHoldings {
    /// Subflows.
    pub subflows: usize,
    /// Bytes written and not acknowledged by the peer.
    pub unacknowledged: usize,
    /// Bytes that subflows still have to deliver, each for itself, acknowledged by another subflow or not.
    pub outstanding: usize,
    /// Bytes received in order and not read.
    pub unread: usize,
    /// Bytes received that wait for others before them: in the stream, or in a subflow.
    pub out_of_order: usize,
    /// The pieces that they are in.
    pub pieces: usize,
}

impl AddAssign for DataHoldings {
    fn add_assign(&mut self, more: DataHoldings) {
        let DataHoldings { subflows, unacknowledged, outstanding, unread, out_of_order, pieces } = more;
        self.subflows += subflows;
        self.unacknowledged += unacknowledged;
        self.outstanding += outstanding;
        self.unread += unread;
        self.out_of_order += out_of_order;
        self.pieces += pieces;
    }
}

impl Holdings {
    /// Nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Holdings::default()
    }
}

impl Stack {
    /// What there is now.
    pub fn holdings(&self) -> Holdings {
        let mut data = DataHoldings::default();
        for (_, slot) in self.connections.iter() {
            data += slot.connection.holdings();
        }
        Holdings {
            connections: self.connections.iter().count(),
            tokens: self.by_token.len(),
            flows: self.flows.len(),
            time_waits: self.time_waits.len(),
            deadlines: self.timers.len(),
            replies: self.replies.len(),
            data,
        }
    }
}
