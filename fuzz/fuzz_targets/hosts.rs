//! libFuzzer's way in; see `fuzz::targets::hosts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::hosts::run(data));
