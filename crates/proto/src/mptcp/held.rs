//! What a subflow has to deliver for its own numbers' sake, though the peer has all of it by another: the send buffer no
//! longer counts it, so that it holds up nobody (Linux does count it, and a dead path stalls a live one). It has a limit
//! of its own.

use super::{CloseReason, Connection, Env, Subflow};
use crate::SubflowId;
use crate::seq::Dsn;
use crate::time::Instant;
use polypath_wire::ResetReason;

impl Connection {
    /// The peer acknowledged more of the stream. A subflow that has timed out, and keeps more than half a send buffer
    /// of what is acknowledged, is reset: another can be opened, and what nobody has is given to the others.
    pub(super) fn limit_held(&mut self, now: Instant, env: &Env<'_>, heard_on: SubflowId) {
        let limit = (self.config.send_buffer_max / 2) as u64;
        for id in self.ids().filter(|id| *id != heard_on) {
            let una = self.data_una;
            let silent = |s: &&Subflow| s.is_usable() && s.stalled.is_some() && s.tcp.outstanding_bytes() > limit;
            let Some(s) = self.get(id).filter(silent) else { continue };
            let acknowledged = |dsn: Dsn, len: u64| una.since(dsn).min(len);
            let held: u64 = s.tcp.outstanding().map(|r| acknowledged(r.dsn, r.payload.len() as u64)).sum();
            if held > limit && self.subflow_count() > 1 {
                self.close_subflow_with_reset(now, env, id, ResetReason::TooMuchOutstandingData, CloseReason::Silent);
            }
        }
    }
}
