//! See `polypath_fuzzing::middleboxes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| polypath_fuzzing::middleboxes(data));
