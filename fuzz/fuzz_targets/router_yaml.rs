//! libFuzzer's way in; see `fuzz::targets::router_yaml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::router_yaml::run(data));
