//! Where bytes wait: the send buffer (by DSN), the reordering queue (by SSN or DSN), and runs of pieces.

mod assembler;
mod chunks;
mod ranges;
mod send;

pub(crate) use assembler::Assembler;
pub(crate) use chunks::Chunks;
pub(crate) use ranges::RangeSet;
pub(crate) use send::SendBuffer;
