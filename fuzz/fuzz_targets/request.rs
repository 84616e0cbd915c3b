//! Feeds libFuzzer's inputs to `request`: see `src/request.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redstart_fuzz::request::run(bytes));
