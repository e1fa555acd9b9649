//! The router's own log, on standard error: for people, or JSON for machines.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// The environment variable that filters the log: `debug`, or `landscape_router::lifecycle=trace,info`.
pub const FILTER: &str = "LANDSCAPE_ROUTER_LOG";

/// The shape of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// A line a message; colours on a terminal alone, unless `NO_COLOR` is set.
    #[default]
    Human,
    /// A JSON object a message.
    Json,
}

/// Why the log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter cannot be read.
    #[error("{FILTER}={text:?} cannot be read: {reason}; use error, warn, info, debug or trace, or `module=level,…`")]
    Filter {
        /// As given.
        text: String,
        /// Why.
        reason: String,
    },
    /// It was set up before.
    #[error("the log was set up before: {0}")]
    Again(#[from] TryInitError),
}

/// Sets up the log of the whole process; once.
pub fn init(format: LogFormat) -> Result<(), LoggingError> {
    let text = std::env::var(FILTER).unwrap_or_default();
    let harmless = filter_fn(|m| is_harmless(m.target(), *m.level()));
    let registry = tracing_subscriber::registry().with(filter(&text)?).with(harmless);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Human => registry.with(layer.with_target(false).with_ansi(colours())).try_init()?,
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}

/// Whether a message may be written whatever the filter asks for: the Docker client writes whole requests
/// and answers at `debug`, a container's environment with its secrets among them. The cluster's client writes
/// an error for every call that fails, twice a second while there is no API server; who called says so, once. The
/// watch of files warns of every folder that is gone, which each change of a mounted ConfigMap leaves behind.
fn is_harmless(target: &str, level: Level) -> bool {
    let of_the_client = target.strip_prefix("bollard").is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    let of_a_call = target == "kube_client::client::builder" && level == Level::ERROR;
    let of_a_folder = target.starts_with("notify::") && level != Level::ERROR && level <= Level::INFO;
    !of_a_call && !of_a_folder && (!of_the_client || level <= Level::INFO)
}

fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

fn filter(text: &str) -> Result<EnvFilter, LoggingError> {
    let text = text.trim();
    EnvFilter::try_new(if text.is_empty() { "info" } else { text })
        .map_err(|e| LoggingError::Filter { text: text.to_owned(), reason: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_to_the_engine_are_never_written() {
        for level in [Level::DEBUG, Level::TRACE] {
            assert!(!is_harmless("bollard::docker", level) && !is_harmless("bollard", level));
            assert!(is_harmless("landscape_router::backend::docker", level));
        }
        assert!(is_harmless("bollard::docker", Level::WARN));
        assert!(!is_harmless("kube_client::client::builder", Level::ERROR), "it is said by who called");
        assert!(is_harmless("kube_client::client::builder", Level::DEBUG));
    }

    #[test]
    fn a_mounted_folder_that_was_replaced_is_not_worth_a_warning() {
        for level in [Level::INFO, Level::WARN] {
            assert!(!is_harmless("notify::inotify", level));
            assert!(is_harmless("landscape_router::config::watch", level));
        }
        assert!(is_harmless("notify::inotify", Level::ERROR) && is_harmless("notify::inotify", Level::DEBUG));
    }

    #[test]
    fn a_filter_is_read_and_a_bad_one_says_what_to_write() {
        assert_eq!(filter("").unwrap().to_string(), "info");
        assert_eq!(filter(" debug ").unwrap().to_string(), "debug");
        let error = filter("landscape_router=loud").unwrap_err().to_string();
        assert!(error.contains("LANDSCAPE_ROUTER_LOG") && error.contains("trace"), "{error}");
    }
}
