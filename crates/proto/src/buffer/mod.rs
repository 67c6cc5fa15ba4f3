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

/// What a piece costs besides its bytes: its place in a queue, its reference count, and what the allocator adds. For the
/// memory accounts, in bytes.
pub(crate) const PIECE: usize = 128;
