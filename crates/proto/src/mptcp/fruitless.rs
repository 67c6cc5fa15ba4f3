//! Subflows that come up and break again, with nothing getting through: something on the way takes options off, or resets
//! what it does not know. Who joined again for ever would send the same bytes again for ever.

use super::{CloseReason, Connection, ConnectionError};
use crate::time::{Duration, Instant};

/// So many in a row, and the connection is given up when no subflow is left.
const MOST: u32 = 6;
/// ...each within this time of the one before; the path manager's pauses between them are shorter (0.1 s, doubling).
const IN_A_ROW: Duration = Duration::from_secs(60);

/// How many there were since the data last got on.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Fruitless {
    count: u32,
    last: Instant,
    /// How far both directions were.
    progress: u64,
}

impl Fruitless {
    /// With one more break now.
    fn with_another(self, now: Instant, progress: u64) -> Fruitless {
        let in_a_row = self.progress == progress && now - self.last < IN_A_ROW;
        Fruitless { count: if in_a_row { self.count + 1 } else { 1 }, last: now, progress }
    }
}

impl Connection {
    /// A subflow is gone. True: it broke, and nothing had got on since the one before. After too many of these the connection
    /// fails.
    pub(super) fn breaks_again(&mut self, now: Instant, reason: CloseReason, established: bool) -> bool {
        if !established || !matches!(reason, CloseReason::ProtocolError | CloseReason::ResetByPeer) {
            return false;
        }
        self.fruitless = self.fruitless.with_another(now, self.progress());
        let count = self.fruitless.count;
        if count >= MOST && !self.finished && !self.iter().any(|(_, s)| s.is_usable()) {
            self.fail(now, ConnectionError::TimedOut);
        }
        count > 1
    }

    /// Whether one more break is the end.
    pub(super) fn is_last_break(&self, now: Instant) -> bool {
        self.fruitless.with_another(now, self.progress()).count >= MOST
    }

    fn progress(&self) -> u64 {
        self.data_una.0 + self.assembler.next()
    }
}
