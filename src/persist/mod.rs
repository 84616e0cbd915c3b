//! stub
pub mod aof_encode;
pub mod log;
