//! libFuzzer's way in; see `fuzz::targets::life`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::life::run(data));
