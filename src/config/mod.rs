//! What the server is told: the settings, and every way to change or show them.
//!
//! [`Settings`] holds the values, [`directives`] the table that says everything about each. From
//! the table work the configuration file ([`load`]), the command line ([`arguments`]), CONFIG GET
//! and SET ([`get`], [`set`]), and CONFIG REWRITE ([`rewrite`]).
//!
//! Whatever is read gives either a whole new value or upstream's message; a setting is never half
//! changed. Deliberately absent: effects. The engine asks what changed and applies it.

pub mod arguments;
pub mod change;
mod checks;
mod default_user;
pub mod directives;
pub mod kinds;
pub(crate) mod load;
pub(crate) mod renames;
pub(crate) mod rewrite;
pub mod settings;
pub(crate) mod startup;
#[cfg(test)]
mod tests;
pub(crate) mod value;

pub(crate) use change::ConfigError;
pub use change::{Origin, get, set};
pub use settings::Settings;

/// The version of Redis whose behaviour is the specification; clients gate on it.
pub const REDIS_VERSION: &str = "7.2.4";

/// Redstart's own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
