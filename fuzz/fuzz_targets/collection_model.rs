//! Feeds libFuzzer's inputs to `collection_model`: see `src/collection_model.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redstart_fuzz::collection_model::run(bytes));
