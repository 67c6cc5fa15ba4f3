//! The thread that reads the device and keeps the stack's time.
//!
//! Each round: read a batch without the lock; then, under it, hand the packets to the stack, write
//! what it answers, run the timers that are due; then sleep, unless there was more to read.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use polypath_proto::{Instant, LinkId, Received, RxChecksum};
use polypath_wire::IcmpError;

use crate::buffer::Buffer;
use crate::device::{Tun, VIRTIO_NET_HDR_LEN, VirtioNetHdr};
use crate::poller::Ready;
use crate::shared::{Core, Shared};

/// A round ends after this many packets or bytes, so that acknowledgements and other threads do
/// not wait behind a long backlog. Four super-packets take about as long as 64 small ones.
const BATCH_PACKETS: usize = 64;
const BATCH_BYTES: usize = 256 * 1024;

/// A packet as read, split where the stack wants it split.
struct Packet {
    bytes: Bytes,
    header_len: usize,
    checksum: RxChecksum,
    super_packet: bool,
}

pub(crate) struct Driver {
    shared: Arc<Shared>,
    tun: Arc<Tun>,
    link: LinkId,
    /// The buffer for the next read: most rounds end with a read that finds nothing.
    spare: Option<Buffer>,
    batch: Vec<Packet>,
    /// Packets in this batch that are none for the stack.
    ignored: u64,
}

/// What comes after a round.
pub(crate) enum Next {
    /// Another one: there may be more to read.
    Again,
    /// Sleep until something happens, and for so long at most.
    Sleep(Option<Duration>),
    /// Nothing: the host has been stopped.
    Stopped,
}

/// Why a batch ended.
enum Batch {
    /// The device is empty.
    Drained,
    /// There may be more.
    Full,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, tun: Arc<Tun>, link: LinkId) -> Self {
        Self { shared, tun, link, spare: None, batch: Vec::with_capacity(BATCH_PACKETS), ignored: 0 }
    }

    /// Whoever has it ends the host with itself.
    pub(crate) fn stop_on_drop(&self) -> StopOnDrop {
        StopOnDrop { shared: Arc::clone(&self.shared), device: self.tun.name().to_owned() }
    }

    /// Runs until the host is stopped or the device fails. Whatever ends this thread, a panic
    /// included, ends the host.
    pub(crate) fn run(mut self) {
        let stop = self.stop_on_drop();
        let mut ready = Ready { readable: true, writable: false };
        loop {
            let next = self.round(ready).and_then(|next| match next {
                Next::Stopped => Ok(None),
                Next::Again => Ok(Some(Ready { readable: true, writable: false })),
                Next::Sleep(timeout) => {
                    let ready = self.shared.poller.wait(timeout);
                    self.awake();
                    ready.map(Some)
                }
            });
            match next {
                Ok(Some(next)) => ready = next,
                Ok(None) => return,
                Err(error) => return stop.device_failed(&error),
            }
        }
    }

    /// Up again after sleep, whatever the reason.
    pub(crate) fn awake(&self) {
        self.shared.driver_is_awake();
    }

    /// One round.
    pub(crate) fn round(&mut self, ready: Ready) -> io::Result<Next> {
        let more = if ready.readable { self.read_batch()? } else { Batch::Drained };
        let going_to_sleep = matches!(more, Batch::Drained);
        let Self { shared, link, batch, ignored, .. } = self;
        let Ok(timeout) = shared.drive(going_to_sleep, |core, now| {
            core.stats.ignored += std::mem::take(ignored);
            for packet in batch.drain(..) {
                packet.hand_over(core, now, *link);
            }
            if ready.writable {
                core.device_writable(&shared.poller);
            }
        }) else {
            return Ok(Next::Stopped);
        };
        Ok(if going_to_sleep { Next::Sleep(timeout) } else { Next::Again })
    }

    fn read_batch(&mut self) -> io::Result<Batch> {
        let mut bytes = 0;
        while self.batch.len() < BATCH_PACKETS && bytes < BATCH_BYTES {
            let mut buffer = self.spare.take().unwrap_or_else(|| self.shared.pool.take());
            match self.tun.read(buffer.space()) {
                Ok(len) => {
                    bytes += len;
                    buffer.set_len(len);
                    match Packet::split(buffer.freeze()) {
                        Some(packet) => self.batch.push(packet),
                        None => self.ignored += 1,
                    }
                }
                Err(error) => {
                    self.spare = Some(buffer);
                    match error.kind() {
                        io::ErrorKind::WouldBlock => return Ok(Batch::Drained),
                        io::ErrorKind::Interrupted => {}
                        _ => return Err(error),
                    }
                }
            }
        }
        Ok(Batch::Full)
    }
}

/// Payloads from this size on are kept where they were read; smaller ones are copied, which costs less than the
/// 64 KB buffer they would hold.
const WORTH_KEEPING: usize = 16 * 1024;

impl Packet {
    /// `None` for what is neither TCP over IP nor an ICMP error about it: the kernel's own router solicitations, noise.
    fn split(mut bytes: Bytes) -> Option<Self> {
        let virtio = VirtioNetHdr::decode(&bytes)?;
        bytes.advance(VIRTIO_NET_HDR_LEN);
        let header_len = match polypath_wire::header_len(&bytes) {
            Ok(len) => len,
            // An ICMP error has no headers of ours.
            Err(_) if IcmpError::parse(&bytes).is_some() => 0,
            Err(_) => return None,
        };
        if header_len > bytes.len() {
            return None;
        }
        if bytes.len() - header_len < WORTH_KEEPING {
            // A slice would pin the whole read buffer for as long as the payload waits to be read.
            bytes = Bytes::copy_from_slice(&bytes);
        }
        let checksum = if virtio.checksum_is_good() { RxChecksum::Verified } else { RxChecksum::Unverified };
        Some(Self { bytes, header_len, checksum, super_packet: virtio.is_super_packet() })
    }

    fn hand_over(self, core: &mut Core, now: Instant, link: LinkId) {
        let Self { bytes, header_len, checksum, super_packet } = self;
        core.stats.count_read(bytes.len(), super_packet);
        if header_len == 0 {
            return core.stack.handle_icmp(now, &bytes);
        }
        let payload = bytes.slice(header_len..);
        if let Some(tap) = &mut core.tap {
            tap.received(core.stack.addresses(), &bytes[..header_len], &payload, checksum);
        }
        let received = Received { headers: &bytes[..header_len], payload, checksum };
        core.stack.handle_packet(now, link, received);
    }
}

/// Stops the host when the driver ends, by a panic too.
pub(crate) struct StopOnDrop {
    shared: Arc<Shared>,
    device: String,
}

impl StopOnDrop {
    pub(crate) fn device_failed(&self, error: &io::Error) {
        let Self { shared, device } = self;
        tracing::error!(%error, device, "TUN device failed");
        shared.stop(&format!("TUN device {device} failed: {error}"));
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        let reason = if std::thread::panicking() { "the stack panicked" } else { "it has been shut down" };
        self.shared.stop(reason);
    }
}
