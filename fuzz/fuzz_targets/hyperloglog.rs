//! Feeds libFuzzer's inputs to `hyperloglog`: see `src/hyperloglog.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redstart_fuzz::hyperloglog::run(bytes));
