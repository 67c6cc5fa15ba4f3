//! What lies between congestion control and the packets: whom pacing lets send, and who had room and was given nothing.

use super::{Connection, schedule};
use crate::SubflowId;
use crate::congestion::AckSample;
use crate::time::Instant;

impl Connection {
    /// A subflow begins: who hears of every acknowledgement hears of the handshake's too, and paces the first window.
    pub(super) fn begin_pacing(&mut self, now: Instant, id: SubflowId) {
        let srtt = self.get(id).and_then(|s| s.tcp.rtt.srtt());
        if let Some(srtt) = srtt.filter(|_| self.congestion.owns_recovery()) {
            self.congestion.on_ack(id, &AckSample { now, rtt: Some(srtt), srtt, ..AckSample::default() });
            self.set_pacing_rate(id);
        }
    }

    /// Congestion control has heard something.
    pub(super) fn set_pacing_rate(&mut self, id: SubflowId) {
        let rate = self.congestion.pacing_rate(id);
        if let Some(s) = self.get_mut(id) {
            s.tcp.set_pacing_rate(rate);
        }
    }

    /// It is `now`: subflows whose time has come may send again.
    pub(super) fn pace(&mut self, now: Instant) {
        for s in self.subflows.iter_mut().flatten() {
            s.tcp.pace(now);
        }
    }

    /// Nothing more leaves now. A subflow that could carry more, whether the application or the scheduler left it idle,
    /// tells from here on how much there was to send, and not what its path carries.
    ///
    /// Where the peer's window or the limit of the queue is what holds, that is so only while no packet waits on the way.
    /// Where they do, the path is full: else such a connection would never learn that it has found the path's rate.
    pub(super) fn note_app_limited(&mut self) {
        let unsent = self.send.end() > self.data_nxt;
        let (shut, multipath) = (unsent && self.data_wnd_end <= self.data_nxt, self.is_active());
        for id in self.ids() {
            let cwnd = self.congestion.window(id);
            let Some(s) = self.get_mut(id).filter(|s| s.is_usable() && !s.tcp.has_lost()) else { continue };
            let mss = s.tcp.mss_with(0);
            let queued = s.limit_room() < mss;
            let held = shut || queued || (unsent && schedule::window_room(s, multipath) < mss);
            if s.tcp.congestion_room(cwnd) >= mss && !(held && s.tcp.has_queue()) {
                s.tcp.on_app_limited();
            }
        }
    }
}
