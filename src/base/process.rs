//! What the process is to the operating system: background, process number file, limits.
