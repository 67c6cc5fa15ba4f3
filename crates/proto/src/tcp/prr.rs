//! Proportional rate reduction (RFC 6937): how much may be sent during fast recovery.

/// Spreads the reduction of the window over the acknowledgements of one round trip.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Prr {
    ssthresh: u64,
    /// Bytes in flight when recovery began (RecoverFS).
    recover_fs: u64,
    delivered: u64,
    out: u64,
    /// What may be in flight now.
    window: u64,
}

impl Prr {
    /// Recovery begins with `in_flight` bytes outstanding; one segment may go at once.
    pub(crate) fn new(in_flight: u64, ssthresh: u64) -> Self {
        Prr { ssthresh, recover_fs: in_flight.max(1), delivered: 0, out: 0, window: 0 }
    }

    /// RFC 6937, section 3.1, with the slow-start reduction bound.
    pub(crate) fn on_ack(&mut self, delivered: u64, in_flight: u64, safe: bool, mss: u64) {
        self.delivered += delivered;
        let budget = if in_flight > self.ssthresh {
            // [6937-3-1]
            let target = (u128::from(self.delivered) * u128::from(self.ssthresh)).div_ceil(u128::from(self.recover_fs));
            u64::try_from(target).unwrap_or(u64::MAX).saturating_sub(self.out)
        } else {
            // [6937-3-2]
            let limit = self.delivered.saturating_sub(self.out).max(delivered) + if safe { mss } else { 0 };
            (self.ssthresh - in_flight).min(limit)
        };
        // The first retransmission always goes.
        let budget = if self.out == 0 { budget.max(mss) } else { budget };
        self.window = in_flight + budget;
    }

    pub(crate) fn on_sent(&mut self, bytes: u64) {
        self.out += bytes;
    }

    pub(crate) fn window(&self) -> u64 {
        self.window
    }
}
