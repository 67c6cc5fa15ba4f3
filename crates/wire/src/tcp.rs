//! The fixed part of the TCP header (RFC 9293 section 3.1).

use crate::cursor::{Reader, Writer};
use crate::seq::SeqNum;

/// Length of the header without options, in bytes.
pub const TCP_HEADER_LEN: usize = 20;

/// Where the checksum stands in the header, in bytes from its start.
pub const CHECKSUM_OFFSET: usize = 16;

pub(crate) const SEQ_OFFSET: usize = 4;
pub(crate) const DATA_OFFSET: usize = 12;
pub(crate) const FLAGS_OFFSET: usize = 13;

bitflags::bitflags! {
    /// The eight control bits of RFC 9293.
    #[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
    pub struct TcpFlags: u8 {
        /// No more data from the sender.
        const FIN = 0x01;
        /// Synchronize sequence numbers.
        const SYN = 0x02;
        /// Reset the connection.
        const RST = 0x04;
        /// Push.
        const PSH = 0x08;
        /// The acknowledgment field is valid.
        const ACK = 0x10;
        /// The urgent pointer is valid.
        const URG = 0x20;
        /// ECN echo (RFC 3168).
        const ECE = 0x40;
        /// Congestion window reduced (RFC 3168).
        const CWR = 0x80;
    }
}

impl core::fmt::Display for TcpFlags {
    /// `SYN,ACK`.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (i, (name, _)) in self.iter_names().enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// The TCP header but for options and checksum.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct TcpHeader {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the first octet (of the SYN itself in a SYN).
    pub seq: SeqNum,
    /// Acknowledgment number; meaningful with [`TcpFlags::ACK`].
    pub ack: SeqNum,
    /// Control bits.
    pub flags: TcpFlags,
    /// The window as it stands on the wire: not scaled (RFC 7323 section 2).
    pub window: u16,
    /// Urgent pointer; meaningful with [`TcpFlags::URG`].
    pub urgent: u16,
}

impl TcpHeader {
    /// Reads the fixed header from at least its 20 bytes; `None` if there are fewer.
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Option<TcpHeader> {
        let mut fields = Reader::new(bytes);
        let src_port = fields.u16()?;
        let dst_port = fields.u16()?;
        let seq = SeqNum(fields.u32()?);
        let ack = SeqNum(fields.u32()?);
        let [_offset, flags] = fields.array()?;
        let window = fields.u16()?;
        let _checksum = fields.u16()?;
        let urgent = fields.u16()?;
        let flags = TcpFlags::from_bits_retain(flags);
        Some(TcpHeader { src_port, dst_port, seq, ack, flags, window, urgent })
    }

    /// Writes the fixed header with a checksum of zero. `header_len` counts the options too.
    #[inline]
    pub(crate) fn emit(&self, header_len: usize, out: &mut Writer<'_>) {
        let TcpHeader { src_port, dst_port, seq, ack, flags, window, urgent } = *self;
        out.u16(src_port);
        out.u16(dst_port);
        out.u32(seq.0);
        out.u32(ack.0);
        // Data offset in 32-bit words, in the upper four bits; at most 60 bytes, so it fits.
        out.u8(((header_len / 4) << 4) as u8);
        out.u8(flags.bits());
        out.u16(window);
        out.u16(0);
        out.u16(urgent);
    }
}
