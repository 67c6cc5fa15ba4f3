//! What the fuzz targets do with their bytes.
//!
//! `fuzz/` links each of these functions to libFuzzer; the tests of this crate run the same functions over the stored
//! corpus, on stable Rust. A panic is a finding: the bodies panic where an oracle is violated, too.
//!
//! [`options`]: header bytes to values and back. [`live`]: a running connection is fed with its own segments, altered.
//! [`middleboxes`]: two stacks with hostile boxes between them, held against a byte queue.
//!
//! `choices` reads decisions off the bytes, `world` is two stacks on a virtual clock, `settings` how they are set up,
//! `mutate` alters a segment, `boxes` are the middleboxes.
#![forbid(unsafe_code)]

mod boxes;
mod choices;
mod live;
mod middleboxes;
mod mutate;
mod options;
mod settings;
mod world;

pub use live::live;
pub use middleboxes::middleboxes;
pub use options::options;

/// A target's name, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, by the names of their directories in `fuzz/corpus`.
pub const TARGETS: &[Target] = &[("options", options), ("live", live), ("middleboxes", middleboxes)];
