//! Waiting for a moment that may never come.

use tokio::time::Instant;

/// Until then; for ever, where there is no such moment.
pub async fn until(at: Option<impl Into<Instant>>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
