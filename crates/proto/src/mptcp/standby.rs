//! A backup that waits is asked now and then, while others carry data, whether it still works.
//!
//! NATs on its way do not forget it. And its timestamps stay young: Linux takes the age of the one that comes back with
//! the first full segment for the round trip, and looks only once in so long whether it is read faster than before
//! (mptcp_rcv_space_adjust). After seconds of silence it would leave the subflow with its first window for seconds;
//! asked just before the data it would look after so short a time that little was read. About half a second serves.

use super::subflow::Question;
use super::timers::ConnectionTimer;
use super::{Connection, Subflow};
use crate::time::Instant;

impl Connection {
    /// Data was sent.
    pub(super) fn watch_backups(&mut self, now: Instant) {
        if let Some(pace) = self.config.mechanisms.backup_probe
            && !self.timers.is_set(ConnectionTimer::Backups)
            && self.iter().any(|(_, s)| s.is_usable() && s.is_backup())
        {
            self.timers.set(ConnectionTimer::Backups, now + pace);
        }
    }

    /// Data was sent a while ago.
    pub(super) fn ask_backups(&mut self, now: Instant) {
        let Some(pace) = self.config.mechanisms.backup_probe else { return };
        let waits = |s: &Subflow| s.is_usable() && s.is_backup() && !s.tcp.has_outstanding();
        for id in self.ids() {
            // Half the pace: it was asked at this pace, and answered a round trip later.
            if let Some(s) = self.get_mut(id).filter(|s| waits(s) && now - s.tcp.last_received >= pace / 2) {
                s.question = Some(Question::Keepalive);
            }
        }
    }
}
