//! libFuzzer's way in; see `fuzz::targets::yaml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::yaml::run(data));
