//! How long and how much: full by default, short with `QUICK=1`.

use std::time::Duration;

use anyhow::{Context, Result};

/// Whether a short run is asked for. Its figures show that things work; they are not to be quoted.
pub fn quick() -> bool {
    std::env::var_os("QUICK").is_some_and(|v| v != "0" && !v.is_empty())
}

/// A whole number from the environment, else the full or the short default.
pub fn count(name: &str, full: usize, short: usize) -> Result<usize> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} has to be a whole number, not {text:?}")),
        Err(_) => Ok(if quick() { short } else { full }),
    }
}

/// Seconds from the environment, else the full or the short default.
pub fn seconds(name: &str, full: u64, short: u64) -> Result<Duration> {
    Ok(Duration::from_secs(count(name, full as usize, short as usize)? as u64))
}
