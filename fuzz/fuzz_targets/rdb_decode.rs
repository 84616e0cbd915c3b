//! Feeds libFuzzer's inputs to `rdb_decode`: see `src/rdb_decode.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redstart_fuzz::rdb_decode::run(bytes));
