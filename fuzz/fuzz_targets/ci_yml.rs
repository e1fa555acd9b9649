//! libFuzzer's way in; see `fuzz::targets::ci_yml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::ci_yml::run(data));
