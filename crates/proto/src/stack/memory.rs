//! How much all connections hold together.
//!
//! Where that is [`Config::memory_max`](crate::Config::memory_max), nothing new is begun by others: SYNs and joins are not
//! answered. What arrives for a connection that holds more than its guaranteed share is dropped as if it had been lost, and
//! its writes take nothing. Reading, and acknowledgements, make room.

use super::{ConnectionId, Stack};

impl Stack {
    /// Bytes that all connections hold: data in both directions with what it costs to keep it in pieces, and their own
    /// state. At most [`Config::memory_max`](crate::Config::memory_max), and for each connection 128 KiB more.
    pub fn memory(&self) -> usize {
        self.memory
    }

    pub(super) fn is_memory_full(&self) -> bool {
        self.memory >= self.config.memory_max
    }

    /// How large the send buffer of a connection may be now.
    pub(super) fn send_limit(&self, id: ConnectionId) -> usize {
        let max = self.config.send_buffer_max;
        let left = self.config.memory_max.saturating_sub(self.memory);
        self.connections.get(id.0).map_or(0, |slot| slot.connection.send_limit(max, left))
    }

    /// A connection's deadline has passed: where no other stands, nothing is under way.
    pub(super) fn give_back_if_idle(&mut self, id: ConnectionId) {
        if let Some(slot) = self.connections.get_mut(id.0)
            && slot.armed.is_none()
        {
            slot.connection.give_back();
            self.account(id);
        }
    }

    /// After anything happened to a connection.
    pub(super) fn account(&mut self, id: ConnectionId) {
        if let Some(slot) = self.connections.get_mut(id.0) {
            let now = slot.connection.memory();
            self.memory = self.memory + now - core::mem::replace(&mut slot.memory, now);
        }
    }
}
