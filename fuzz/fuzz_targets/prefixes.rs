//! libFuzzer's way in; see `fuzz::targets::prefixes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::prefixes::run(data));
