//! Numbers, patterns and quoted words as Redis reads and prints them.
//!
//! Clients see these texts and compare them, so each function here is exact to the byte; where
//! versions of Redis differ, 7.2 is followed. Everything works on bytes: nothing a client sends
//! need be UTF-8.

mod float;
mod glob;
mod integer;
mod long_double;
mod quote;
mod size;

pub(crate) use float::{parse_f64, push_f64, push_f64_17};
pub(crate) use glob::glob;
pub(crate) use integer::{parse_i64, parse_u64, push_i64, push_u64};
pub(crate) use long_double::LongDouble;
pub(crate) use quote::{push_quoted, split_arguments};
pub(crate) use size::parse_memory;
