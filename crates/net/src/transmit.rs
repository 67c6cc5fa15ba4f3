//! From the stack to the device, in order and without copies. A device that is full holds the
//! stack back instead of losing packets.

use std::io;
use std::sync::Arc;

use polypath_proto::{Instant, Stack, Transmit, TransmitBuf};

use crate::capture::Tap;
use crate::device::Tun;
use crate::poller::Poller;
use crate::stats::DeviceStats;

/// The sending side of the device.
#[derive(Debug)]
pub(crate) struct Transmitter {
    tun: Arc<Tun>,
    buf: TransmitBuf,
    /// The packet in `buf`, which the device would not take.
    held: Option<Transmit>,
    /// Waiting for the device to take packets again; nobody writes meanwhile.
    blocked: bool,
    reported: bool,
}

impl Transmitter {
    pub(crate) fn new(tun: Arc<Tun>) -> Self {
        Self { tun, buf: TransmitBuf::default(), held: None, blocked: false, reported: false }
    }

    /// Writes what the stack wants to send now, until it has nothing more or the device is full.
    pub(crate) fn flush(
        &mut self,
        stack: &mut Stack,
        now: Instant,
        poller: &Poller,
        stats: &mut DeviceStats,
        mut tap: Option<&mut Tap>,
    ) {
        if self.blocked {
            return;
        }
        while let Some(transmit) = self.held.take().or_else(|| stack.poll_transmit(now, &mut self.buf)) {
            match self.write(&transmit) {
                Ok(()) => {
                    stats.count_written(transmit.len, transmit.segment_size.is_some());
                    if let Some(tap) = &mut tap {
                        tap.sent(stack.addresses(), &self.buf.headers, &self.buf.payload);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    stats.device_full += 1;
                    self.held = Some(transmit);
                    self.wait_for_room(poller);
                    return;
                }
                Err(error) => self.drop_packet(&error, &transmit, stats),
            }
        }
        // The last packet's payload is not to be pinned until the next one.
        self.buf.payload.clear();
    }

    /// The device takes packets again.
    pub(crate) fn unblock(&mut self, poller: &Poller) {
        self.blocked = false;
        if let Err(error) = poller.want_write(&*self.tun, false) {
            tracing::warn!(%error, "cannot stop waiting for room in the TUN device");
        }
    }

    fn write(&self, transmit: &Transmit) -> io::Result<()> {
        loop {
            match self.tun.write(&self.buf.headers, &self.buf.payload, transmit.segment_size) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn wait_for_room(&mut self, poller: &Poller) {
        match poller.want_write(&*self.tun, true) {
            Ok(()) => self.blocked = true,
            // Without a wake-up the next call has to try again.
            Err(error) => tracing::warn!(%error, "cannot wait for room in the TUN device"),
        }
    }

    /// An error that trying again would not cure: the interface is down, out of memory, or a
    /// packet the kernel refuses. To the stack it is a lost packet.
    fn drop_packet(&mut self, error: &io::Error, transmit: &Transmit, stats: &mut DeviceStats) {
        stats.write_errors += 1;
        if !self.reported {
            self.reported = true;
            tracing::error!(
                %error,
                device = self.tun.name(),
                len = transmit.len,
                segment_size = transmit.segment_size,
                "packet refused by the TUN device; further ones are only counted"
            );
        }
    }
}
