//! libFuzzer's way in; see `fuzz::targets::templates`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::templates::run(data));
