//! Options to bytes.
//!
//! In Linux's order (MSS, SACK permitted, timestamps, window scale, SACK, Fast Open, Multipath TCP), each option
//! aligned to 32 bits with NOPs as Linux does. A peer may pack options more tightly than that; a value
//! read from such a header is emitted without alignment, so that it always fits again.

use super::kind;
use super::{MAX_OPTIONS_LEN, MAX_WINDOW_SCALE, SackBlock, TcpOptions, Timestamps, UnknownOption};
use crate::cursor::Writer;
use crate::mptcp::MptcpOption;

/// How options are laid out.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Layout {
    /// Every option on a 32-bit boundary.
    Aligned,
    /// One right after the other; padding at the end only.
    Packed,
}

impl TcpOptions {
    /// Length of the options in bytes when emitted, a multiple of four. Above 40 they do not fit.
    #[must_use]
    pub fn emitted_len(&self) -> usize {
        self.layout().1
    }

    /// Writes the options to the start of `out` and returns their length, padding included.
    ///
    /// # Panics
    ///
    /// If `out` is shorter than [`emitted_len`](Self::emitted_len).
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let mut out = Writer::new(out);
        match self.layout().0 {
            Layout::Aligned => self.emit_in::<true>(&mut out),
            Layout::Packed => self.emit_in::<false>(&mut out),
        }
        // [9293-MUST-69]
        out.pad(kind::END);
        out.position()
    }

    fn layout(&self) -> (Layout, usize) {
        let aligned = self.aligned_len();
        if aligned <= MAX_OPTIONS_LEN { (Layout::Aligned, aligned) } else { (Layout::Packed, self.packed_len()) }
    }

    pub(crate) fn aligned_len(&self) -> usize {
        let TcpOptions { mss, window_scale, sack_permitted, timestamps, sack, fast_open, mptcp, unknown } = self;
        let mut len = 4 * usize::from(mss.is_some()) + 4 * usize::from(window_scale.is_some());
        // SACK permitted takes the place of the two NOPs before the timestamps.
        len += match (timestamps, sack_permitted) {
            (Some(_), _) => 12,
            (None, true) => 4,
            (None, false) => 0,
        };
        if !sack.is_empty() {
            len += 4 + 8 * sack.len();
        }
        len += mptcp.iter().map(|option| option.wire_len().next_multiple_of(4)).sum::<usize>();
        len += fast_open.map_or(0, |cookie| cookie.wire_len().next_multiple_of(4));
        len + unknown.iter().map(|option| option.wire_len().next_multiple_of(4)).sum::<usize>()
    }

    fn packed_len(&self) -> usize {
        let TcpOptions { mss, window_scale, sack_permitted, timestamps, sack, fast_open, mptcp, unknown } = self;
        let mut len = 4 * usize::from(mss.is_some()) + 3 * usize::from(window_scale.is_some());
        len += 2 * usize::from(*sack_permitted) + 10 * usize::from(timestamps.is_some());
        if !sack.is_empty() {
            len += 2 + 8 * sack.len();
        }
        len += mptcp.iter().map(MptcpOption::wire_len).sum::<usize>();
        len += fast_open.map_or(0, |cookie| cookie.wire_len());
        len += unknown.iter().map(UnknownOption::wire_len).sum::<usize>();
        len.next_multiple_of(4)
    }

    #[inline]
    fn emit_in<const ALIGNED: bool>(&self, out: &mut Writer<'_>) {
        let TcpOptions { mss, window_scale, sack_permitted, timestamps, sack, fast_open, mptcp, unknown } = self;
        let nops = |out: &mut Writer<'_>, count| {
            if ALIGNED {
                out.bytes(&[kind::NOP; 2][..count]);
            }
        };
        if let Some(mss) = mss {
            out.bytes(&[kind::MSS, 4]);
            out.u16(*mss);
        }
        if *sack_permitted {
            nops(out, if timestamps.is_some() { 0 } else { 2 });
            out.bytes(&[kind::SACK_PERMITTED, 2]);
        }
        if let Some(Timestamps { val, ecr }) = timestamps {
            nops(out, if *sack_permitted { 0 } else { 2 });
            out.bytes(&[kind::TIMESTAMPS, 10]);
            out.u32(*val);
            out.u32(*ecr);
        }
        if let Some(shift) = window_scale {
            nops(out, 1);
            out.bytes(&[kind::WINDOW_SCALE, 3, (*shift).min(MAX_WINDOW_SCALE)]);
        }
        if !sack.is_empty() {
            nops(out, 2);
            // At most four blocks, so the length fits.
            out.bytes(&[kind::SACK, 2 + 8 * sack.len() as u8]);
            for SackBlock { left, right } in sack {
                out.u32(left.0);
                out.u32(right.0);
            }
        }
        if let Some(cookie) = fast_open {
            // At most 16 bytes, so the length fits.
            out.bytes(&[kind::FAST_OPEN, cookie.wire_len() as u8]);
            out.bytes(cookie.as_bytes());
            if ALIGNED {
                out.pad(kind::NOP);
            }
        }
        for option in mptcp {
            option.emit(out);
            if ALIGNED {
                out.pad(kind::NOP);
            }
        }
        for option in unknown {
            option.emit(out);
            if ALIGNED {
                out.pad(kind::NOP);
            }
        }
    }
}

impl UnknownOption {
    fn wire_len(&self) -> usize {
        2 + self.data.len()
    }

    fn emit(&self, out: &mut Writer<'_>) {
        // At most 38 bytes of data, so the length fits. [9293-MUST-68]
        out.bytes(&[self.kind, self.wire_len() as u8]);
        out.bytes(&self.data);
    }
}
