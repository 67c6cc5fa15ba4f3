//! Bytes to options.

use arrayvec::ArrayVec;

use super::kind;
use super::{FastOpenCookie, MAX_OPTIONS_LEN, MAX_WINDOW_SCALE, SackBlock, TcpOptions, Timestamps, UnknownOption};
use crate::cursor::Reader;
use crate::mptcp::MptcpOption;
use crate::seq::SeqNum;

impl TcpOptions {
    /// Reads the options of a header; only the first 40 bytes are looked at.
    ///
    /// Never fails: a bad length byte ends the options and leaves the rest ignored, and an option with a
    /// malformed body is kept apart in [`unknown`](Self::unknown). Of an option that may occur once only
    /// (MSS, window scale, timestamps, SACK, Fast Open) the last one counts.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> TcpOptions {
        let mut options = TcpOptions::default();
        options.read(bytes);
        options
    }

    /// [`parse`](Self::parse) in place: the value is large enough for moves to cost more than reading.
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        let mut rest = &bytes[..bytes.len().min(MAX_OPTIONS_LEN)];
        loop {
            match *rest {
                // [9293-MUST-4]
                [] | [kind::END, ..] => return,
                // [9293-MUST-64]
                [kind::NOP, ..] => rest = &rest[1..],
                // [9293-MUST-7]
                [kind, len, ..] if len >= 2 && usize::from(len) <= rest.len() => {
                    let (option, after) = rest.split_at(len.into());
                    self.take(kind, &option[2..]);
                    rest = after;
                }
                _ => return,
            }
        }
    }

    fn take(&mut self, kind: u8, data: &[u8]) {
        match (kind, data) {
            (kind::TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
                let (val, ecr) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
                self.timestamps = Some(Timestamps { val, ecr });
            }
            (kind::MPTCP, _) => match MptcpOption::parse(data) {
                Some(option) if !self.mptcp.is_full() => self.mptcp.push(option),
                _ => self.keep_apart(kind, data),
            },
            (kind::SACK, _) => match sack_blocks(data) {
                Some(blocks) => self.sack = blocks,
                None => self.keep_apart(kind, data),
            },
            (kind::FAST_OPEN, _) => match FastOpenCookie::new(data) {
                Some(cookie) => self.fast_open = Some(cookie),
                None => self.keep_apart(kind, data),
            },
            (kind::MSS, &[high, low]) => self.mss = Some(u16::from_be_bytes([high, low])),
            // [7323-2.3-1]
            (kind::WINDOW_SCALE, &[shift]) => self.window_scale = Some(shift.min(MAX_WINDOW_SCALE)),
            (kind::SACK_PERMITTED, []) => self.sack_permitted = true,
            // [9293-MUST-6]
            _ => self.keep_apart(kind, data),
        }
    }

    fn keep_apart(&mut self, kind: u8, data: &[u8]) {
        if let Ok(data) = ArrayVec::try_from(data) {
            // One too many has nowhere to go: nothing acts on it anyway.
            let _ = self.unknown.try_push(UnknownOption { kind, data });
        }
    }
}

/// One to four whole blocks; `None` for anything else.
fn sack_blocks(data: &[u8]) -> Option<ArrayVec<SackBlock, 4>> {
    let (blocks, rest) = data.as_chunks::<8>();
    // [2018-3-1]
    if blocks.is_empty() || blocks.len() > 4 || !rest.is_empty() {
        return None;
    }
    blocks
        .iter()
        .map(|block| {
            let mut fields = Reader::new(block);
            Some(SackBlock { left: SeqNum(fields.u32()?), right: SeqNum(fields.u32()?) })
        })
        .collect()
}
