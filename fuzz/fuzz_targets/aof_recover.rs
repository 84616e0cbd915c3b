//! Feeds libFuzzer's inputs to `aof_recover`: see `src/aof_recover.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redstart_fuzz::aof_recover::run(bytes));
