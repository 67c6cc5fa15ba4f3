//! See `polypath_fuzzing::live`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| polypath_fuzzing::live(data));
