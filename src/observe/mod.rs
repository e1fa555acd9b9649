//! What the router tells of itself: metrics, access log, its own log.
//!
//! The data path only adds to atomics ([`ServiceStats`], [`RouterStats`]) and hands one
//! [`AccessRecord`] a request to a bounded queue ([`AccessLog`]). Everything that formats, writes or
//! walks the services runs elsewhere: a scrape on the control runtime, the access log on its own
//! thread.

pub mod access_log;
pub mod calls;
pub mod cell;
mod clock;
mod family;
mod format;
pub mod logging;
pub mod metrics;
mod process;
mod record;
pub mod router;
mod sink;
pub mod stats;

pub use access_log::{AccessLog, AccessLogWriter};
pub use clock::Rfc3339;
pub use metrics::Metrics;
pub use record::AccessRecord;
pub use router::RouterStats;
pub use stats::ServiceStats;
