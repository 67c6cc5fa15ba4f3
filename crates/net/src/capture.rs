//! [`Capture`]: the packets of a host in a pcapng file, one interface for each path.
//!
//! The stack's lock is held for no longer than it takes to share a packet's memory with the thread that writes.

use std::fs::File;
use std::io::{self, BufWriter};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use polypath_proto::{LocalAddress, RxChecksum};
use polypath_wire::pseudo_header;
use smallvec::SmallVec;

use crate::host::Host;
use crate::pcapng::{Direction, Packet, PcapngWriter};
use crate::spool::{Feed, Sink, Spool};

/// What a record takes besides its payload.
const RECORD_OVERHEAD: usize = size_of::<Item>();
/// Received payloads shorter than this are copied: each would keep a read buffer of 64 KB.
const COPY_BELOW: usize = 16 * 1024;
const FILE_BUFFER: usize = 256 * 1024;
/// The interface of packets for addresses that are not the stack's.
const STRANGERS: &str = "other";

/// Writes every packet that a [`Host`] sends and receives to a pcapng file, until it is finished or dropped.
///
/// Each path is an interface by its name (or its address, if it has none). Packets are as the stack sees them:
/// super-packets of up to 64 KB are whole. Checksums left to the device are filled in. Whenever the writer has caught
/// up, the file is complete so far.
#[derive(Debug)]
pub struct Capture {
    host: Host,
    spool: Spool<Item>,
    packets: Arc<AtomicU64>,
}

/// What a [`Capture`] has done.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Captured {
    /// Packets written.
    pub packets: u64,
    /// Packets left out because the file could not be written fast enough. The file says where (`epb_dropcount`).
    pub dropped: u64,
}

impl Capture {
    /// Begins to write to a new file at `path`; what was there is overwritten.
    ///
    /// # Errors
    /// The file cannot be created, or the host has a capture already.
    pub fn start(host: &Host, path: &Path) -> io::Result<Capture> {
        let out = BufWriter::with_capacity(FILE_BUFFER, File::create(path)?);
        let mut out = PcapngWriter::new(out, concat!("polypath ", env!("CARGO_PKG_VERSION")))?;
        out.flush()?;
        let packets = Arc::<AtomicU64>::default();
        let file = PacketFile { out, packets: Arc::clone(&packets) };
        let (spool, feed) = Spool::start("polypath pcap", file)?;
        let mut tap = Tap { feed, epoch: (Instant::now(), SystemTime::now()), interfaces: Vec::new() };
        host.shared().configure(|core| {
            if core.tap.is_some() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the host is being captured already"));
            }
            // Every path has its interface, packets or not.
            for address in core.stack.addresses() {
                tap.interface(core.stack.addresses(), address.addr);
            }
            core.tap = Some(tap);
            Ok(())
        })?;
        Ok(Capture { host: host.clone(), spool, packets })
    }

    /// Ends the capture and waits until all of it is in the file.
    ///
    /// # Errors
    /// The file could not be written; it ends there.
    pub fn finish(mut self) -> io::Result<Captured> {
        self.end()
    }

    fn end(&mut self) -> io::Result<Captured> {
        self.host.shared().configure(|core| core.tap = None);
        let dropped = self.spool.finish()?;
        Ok(Captured { packets: self.packets.load(Relaxed), dropped })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Who wants to know calls `finish`.
        let _ = self.end();
    }
}

#[expect(clippy::large_enum_variant, reason = "nearly all are packets: a box would be an allocation for each")]
#[derive(Debug)]
enum Item {
    Interface(String),
    Packet(Record),
}

#[derive(Debug)]
struct Record {
    interface: u32,
    at: u64,
    direction: Direction,
    dropped: u64,
    /// The checksum field may hold the pseudo-header's sum only.
    fill_checksum: bool,
    headers: SmallVec<[u8; 128]>,
    payload: SmallVec<[Bytes; 4]>,
}

/// The stack's end of a capture.
pub(crate) struct Tap {
    feed: Feed<Item>,
    /// One moment on both clocks: times in a capture never go back.
    epoch: (Instant, SystemTime),
    /// Names, by number.
    interfaces: Vec<String>,
}

impl Tap {
    /// The stack has sent this packet.
    pub(crate) fn sent(&mut self, addresses: &[LocalAddress], headers: &[u8], payload: &[Bytes]) {
        let payload = payload.iter().cloned().collect();
        self.record(addresses, Direction::Sent, headers, payload, true);
    }

    /// The stack has received this packet.
    pub(crate) fn received(
        &mut self,
        addresses: &[LocalAddress],
        headers: &[u8],
        payload: &Bytes,
        checksum: RxChecksum,
    ) {
        let payload = match payload.len() {
            0 => SmallVec::new(),
            1..COPY_BELOW => SmallVec::from_iter([Bytes::copy_from_slice(payload)]),
            _ => SmallVec::from_iter([payload.clone()]),
        };
        // What nobody has verified is shown as it came.
        self.record(addresses, Direction::Received, headers, payload, checksum == RxChecksum::Verified);
    }

    fn record(
        &mut self,
        addresses: &[LocalAddress],
        direction: Direction,
        headers: &[u8],
        payload: SmallVec<[Bytes; 4]>,
        fill_checksum: bool,
    ) {
        let Some(local) = local_address(headers, direction) else { return };
        let interface = self.interface(addresses, local);
        let at = self.now();
        let headers = SmallVec::from_slice(headers);
        let cost = RECORD_OVERHEAD + payload.iter().map(Bytes::len).sum::<usize>();
        self.feed.push(cost, |dropped| {
            Item::Packet(Record { interface, at, direction, dropped, fill_checksum, headers, payload })
        });
    }

    /// The number of the interface for `addr`; a new one is described first.
    fn interface(&mut self, addresses: &[LocalAddress], addr: IpAddr) -> u32 {
        let name = match addresses.iter().find(|address| address.addr == addr) {
            Some(LocalAddress { name: Some(name), .. }) => name.as_ref(),
            Some(LocalAddress { name: None, .. }) => &addr.to_string(),
            None => STRANGERS,
        };
        let known = self.interfaces.iter().position(|interface| interface == name);
        let number = known.unwrap_or_else(|| {
            self.interfaces.push(name.to_owned());
            self.feed.push_anyway(0, Item::Interface(name.to_owned()));
            self.interfaces.len() - 1
        });
        number as u32
    }

    /// Nanoseconds since 1970.
    fn now(&self) -> u64 {
        let (then, wall) = self.epoch;
        let since_1970 = wall.duration_since(UNIX_EPOCH).unwrap_or_default() + then.elapsed();
        u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The stack's end of a packet.
fn local_address(headers: &[u8], direction: Direction) -> Option<IpAddr> {
    let (v4, v6) = match direction {
        Direction::Sent => (12, 8),
        Direction::Received => (16, 24),
    };
    match headers.first()? >> 4 {
        4 => Some(IpAddr::from(*headers.get(v4..)?.first_chunk::<4>()?)),
        6 => Some(IpAddr::from(*headers.get(v6..)?.first_chunk::<16>()?)),
        _ => None,
    }
}

struct PacketFile {
    out: PcapngWriter<BufWriter<File>>,
    packets: Arc<AtomicU64>,
}

impl Sink for PacketFile {
    type Item = Item;

    fn write(&mut self, item: Item) -> io::Result<()> {
        match item {
            Item::Interface(name) => self.out.interface(&name),
            Item::Packet(mut record) => {
                if record.fill_checksum {
                    fill_checksum(&mut record.headers, &record.payload);
                }
                let Record { interface, at, direction, dropped, headers, payload, .. } = &record;
                let (interface, at, direction, dropped) = (*interface, *at, *direction, *dropped);
                self.out.packet(&Packet { interface, at, direction, dropped, headers, payload })?;
                self.packets.fetch_add(1, Relaxed);
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Computes the TCP checksum of a whole packet, whatever stands in its field.
fn fill_checksum(headers: &mut [u8], payload: &[Bytes]) {
    const IPV6_HEADER: usize = 40;
    const NEXT_HEADER: usize = 6;
    const TCP: u8 = 6;
    const CHECKSUM: usize = 16;
    let Ok((segment, _, _)) = polypath_wire::parse_headers(headers) else { return };
    let ip_len = match headers[0] >> 4 {
        4 => usize::from(headers[0] & 0x0f) * 4,
        // The pseudo-header of a packet with a routing header has another destination: leave that alone.
        _ if headers[NEXT_HEADER] == TCP => IPV6_HEADER,
        _ => return,
    };
    let tcp = &mut headers[ip_len..];
    tcp[CHECKSUM..][..2].fill(0);
    let tcp_len = tcp.len() + payload.iter().map(Bytes::len).sum::<usize>();
    let mut sum = pseudo_header(segment.ip.src, segment.ip.dst, tcp_len as u32);
    sum.add_bytes(tcp);
    for piece in payload {
        sum.add_bytes(piece);
    }
    tcp[CHECKSUM..][..2].copy_from_slice(&sum.finish().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use polypath_wire::{
        ChecksumMode, Ecn, HeaderBuf, IpHeader, Segment, SeqNum, TcpFlags, TcpHeader, TcpOptions, emit_headers,
        verify_checksum,
    };

    use super::*;

    fn headers(src: &str, dst: &str, payload: &[Bytes]) -> Vec<u8> {
        let ip =
            IpHeader { src: src.parse().unwrap(), dst: dst.parse().unwrap(), hop_limit: 64, ecn: Ecn::NotEct, dscp: 0 };
        let (seq, ack, flags) = (SeqNum(7), SeqNum(9), TcpFlags::ACK);
        let tcp = TcpHeader { src_port: 1, dst_port: 2, seq, ack, flags, window: 3, urgent: 0 };
        let segment = Segment { ip, tcp, options: TcpOptions::default() };
        let mut out = HeaderBuf::new();
        emit_headers(&segment, payload, ChecksumMode::Partial, &mut out);
        out.to_vec()
    }

    #[test]
    fn a_partial_checksum_becomes_a_whole_one() {
        for (src, dst) in [("10.1.0.2", "10.9.0.1"), ("fd00:1::2", "fd00:9::1")] {
            let payload = [Bytes::from_static(b"abc"), Bytes::from_static(b"defg")];
            let mut headers = headers(src, dst, &payload);
            assert!(!verify_checksum(&headers, &payload.concat()));
            fill_checksum(&mut headers, &payload);
            assert!(verify_checksum(&headers, &payload.concat()), "{src}");
        }
    }

    #[test]
    fn the_local_address_is_the_source_of_what_was_sent() {
        let v4 = headers("10.1.0.2", "10.9.0.1", &[]);
        assert_eq!(local_address(&v4, Direction::Sent), Some("10.1.0.2".parse().unwrap()));
        assert_eq!(local_address(&v4, Direction::Received), Some("10.9.0.1".parse().unwrap()));
        let v6 = headers("fd00:1::2", "fd00:9::1", &[]);
        assert_eq!(local_address(&v6, Direction::Sent), Some("fd00:1::2".parse().unwrap()));
        assert_eq!(local_address(&v6, Direction::Received), Some("fd00:9::1".parse().unwrap()));
        assert_eq!(local_address(&v6[..30], Direction::Received), None);
    }
}
