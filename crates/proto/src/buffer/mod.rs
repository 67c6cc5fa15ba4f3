//! Where bytes wait: the send buffer (by DSN), the reordering queue (by SSN or DSN), and runs of pieces.

mod assembler;
mod chunks;
mod inbox;
mod ranges;
mod send;

pub(crate) use assembler::Assembler;
pub(crate) use chunks::Chunks;
pub(crate) use inbox::Inbox;
pub(crate) use ranges::RangeSet;
pub(crate) use send::SendBuffer;

use std::collections::VecDeque;

/// What a piece costs besides its bytes: its place in a queue, its reference count, and what the allocator adds. For the
/// memory accounts, in bytes.
pub(crate) const PIECE: usize = 128;

/// Appends, and makes room for one where there is none: of many connections most carry a single message at a time.
pub(crate) fn push_one<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.capacity() == 0 {
        queue.reserve_exact(1);
    }
    queue.push_back(item);
}
