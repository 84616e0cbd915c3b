//! Feeds libFuzzer's inputs to `table_model`: see `src/table_model.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redstart_fuzz::table_model::run(bytes));
