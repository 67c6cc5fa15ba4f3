//! Streams whose bytes do not stand where their sender put them: numbers of the one side and of the other.

use bytes::{Bytes, BytesMut};

/// How a box moved the bytes of one direction of a connection. Positions count from the SYN and do not wrap here.
#[derive(Clone, Debug, Default)]
pub(super) struct Positions {
    edits: Vec<Edit>,
    /// The end of what has passed, as the sender counts.
    seen: u64,
}

/// Some bytes were replaced by others, of another length or not.
#[derive(Clone, Debug)]
struct Edit {
    at: u64,
    len: u64,
    with: Bytes,
}

impl Positions {
    /// Replaces the first occurrence of `find` in bytes that pass for the first time. What passed before is rewritten
    /// as it was then, however it is cut now: all that replaces something goes where its first byte was.
    pub(super) fn rewrite(&mut self, at: u64, data: &Bytes, find: &[u8], replace: &[u8]) -> Bytes {
        let end = at + data.len() as u64;
        if at >= self.seen
            && let Some(offset) = data.windows(find.len()).position(|window| window == find)
        {
            let with = Bytes::copy_from_slice(replace);
            self.edits.push(Edit { at: at + offset as u64, len: find.len() as u64, with });
        }
        self.seen = self.seen.max(end);
        let mut out = BytesMut::new();
        let mut next = at;
        for edit in self.edits.iter().filter(|edit| edit.at < end && edit.at + edit.len > at) {
            if edit.at >= next {
                out.extend_from_slice(&data[(next - at) as usize..(edit.at - at) as usize]);
                out.extend_from_slice(&edit.with);
            }
            next = (edit.at + edit.len).min(end);
        }
        out.extend_from_slice(&data[(next - at) as usize..]);
        out.freeze()
    }

    /// Where the receiver sees what the sender has at `at`.
    pub(super) fn outward(&self, at: u64) -> u64 {
        self.edits.iter().filter(|edit| edit.at < at).fold(at, |moved, edit| {
            // Inside of what was replaced, all that replaces it lies before.
            let gone = edit.len.min(at - edit.at);
            moved + edit.with.len() as u64 - gone
        })
    }

    /// The last position of the sender's that the receiver sees at or before `at`.
    pub(super) fn inward(&self, at: u64) -> u64 {
        let mut moved = at;
        for edit in &self.edits {
            let start = self.outward(edit.at);
            if at <= start {
                break;
            }
            let behind = start + edit.with.len() as u64;
            moved = if at >= behind { edit.at + edit.len + (at - behind) } else { edit.at };
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_replacement_moves_what_follows_and_acknowledgements_back() {
        let mut positions = Positions::default();
        let data = Bytes::from_static(b"abcTOKENdef");
        assert_eq!(&positions.rewrite(10, &data, b"TOKEN", b"REPLACED")[..], b"abcREPLACEDdef");
        assert_eq!([10, 13, 18, 21].map(|at| positions.outward(at)), [10, 13, 21, 24]);
        assert_eq!([10, 13, 15, 21, 24].map(|at| positions.inward(at)), [10, 13, 13, 18, 21]);
    }

    #[test]
    fn what_is_sent_again_in_other_pieces_is_rewritten_as_before() {
        let mut positions = Positions::default();
        let data = Bytes::from_static(b"abcTOKENdef");
        positions.rewrite(10, &data, b"TOKEN", b"X");
        let mut again = |from: usize, to: usize| {
            let piece = positions.rewrite(10 + from as u64, &data.slice(from..to), b"TOKEN", b"X");
            String::from_utf8(piece.to_vec()).unwrap()
        };
        assert_eq!(again(0, 5) + &again(5, 11), "abcXdef");
        assert_eq!((again(5, 7), again(8, 11)), (String::new(), "def".to_owned()));
        assert_eq!(positions.inward(14), 18);
    }
}
