//! Feeds libFuzzer's inputs to `listpack`: see `src/listpack.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redstart_fuzz::listpack::run(bytes));
