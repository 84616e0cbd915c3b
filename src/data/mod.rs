//! The values a key can hold, apart from any protocol: nothing here knows RESP, a command, a key
//! or a file.

pub mod string;
pub mod value;
