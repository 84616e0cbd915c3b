//! Feeds libFuzzer's inputs to `restore`: see `src/restore.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redstart_fuzz::restore::run(bytes));
