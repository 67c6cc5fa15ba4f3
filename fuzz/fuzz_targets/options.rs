//! See `polypath_fuzzing::options`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| polypath_fuzzing::options(data));
