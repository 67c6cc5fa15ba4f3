//! What the answer to a client's SYN says of its path: does that let MP_CAPABLE through, or drop SYNs that have it?

use super::handshake::offers_multipath;
use super::timers::SYN_RETRIES_WITH_CAPABLE;
use super::{Connection, FallbackReason, Multipath, Request};
use crate::SubflowId;
use crate::time::Instant;
use polypath_wire::Segment;

/// What became of SYNs with MP_CAPABLE.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum CapableSyns {
    /// One was answered, with MP_CAPABLE or without.
    Answered,
    /// All that were sent, from this moment on, went unanswered; and the first without it was answered.
    Dropped { since: Instant },
}

impl Connection {
    /// A SYN/ACK has come, and nothing has been made of it yet.
    pub(super) fn judge_first_syns(&mut self, id: SubflowId, seg: &Segment) {
        let Some(s) = self.get(id) else { return };
        let outcome = match self.multipath {
            Multipath::Negotiating { .. } => CapableSyns::Answered,
            // The answer to one of them was late, and it had arrived.
            Multipath::Fallback(FallbackReason::SynDropped) if offers_multipath(seg) => CapableSyns::Answered,
            // Where SYNs without it were lost as well, the path was down: that says nothing of the option.
            Multipath::Fallback(FallbackReason::SynDropped) if s.tcp.backoff() == SYN_RETRIES_WITH_CAPABLE + 1 => {
                CapableSyns::Dropped { since: s.opened_at }
            }
            Multipath::Fallback(_) | Multipath::Active(_) => return,
        };
        let (local, remote) = (s.tcp.local().ip(), s.tcp.remote().ip());
        self.requests.push(Request::LearnCapable { local, remote, outcome });
    }
}
