//! Watching kinds of objects, through everything that may end a watch.
//!
//! A watch goes on where it stood when its connection breaks; only where the API server has forgotten
//! that point (410) is everything listed anew. While the server is away nothing is asked of it, and when it
//! is back all watches go on at slightly different times.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt;
use kube::Api;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;

use super::link::Link;
use super::trouble;

/// Before a broken watch is taken up again, at the least and at the most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// What a watch tells.
pub(super) enum Change<K> {
    /// All that there is.
    All(Vec<K>),
    /// One was made or changed.
    One(K),
    /// One is gone.
    Gone(K),
    /// Nothing that matters.
    Nothing,
}

/// Watches for ever.
pub(super) async fn watch<K>(link: &Link, api: Api<K>, config: watcher::Config, mut tell: impl FnMut(Change<K>))
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut stream = watcher(api, config).boxed();
    let mut listed = Vec::new();
    let mut failures = 0u32;
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => {
                failures = 0;
                match event {
                    Event::Init => listed.clear(),
                    Event::InitApply(object) => listed.push(object),
                    Event::InitDone => tell(Change::All(std::mem::take(&mut listed))),
                    Event::Apply(object) => tell(Change::One(object)),
                    Event::Delete(object) => tell(Change::Gone(object)),
                }
            }
            Err(error) => {
                let why = trouble::of_watch(&error);
                tracing::debug!("a watch ended: {why}");
                if is_connection(&error) {
                    link.suspect(why);
                } else if failures == 3 {
                    tracing::warn!("the cluster cannot be watched: {why}");
                }
                let most = (PAUSE.0 * 2u32.saturating_pow(failures)).min(PAUSE.1);
                failures = failures.saturating_add(1);
                tokio::time::sleep(most.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                if is_connection(&error) {
                    link.up().await;
                    // Not all watches at the same moment.
                    tokio::time::sleep(PAUSE.0.mul_f64(fastrand::f64() * 4.0)).await;
                }
            }
        }
    }
}

fn is_connection(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(e) | WatchStartFailed(e) | WatchFailed(e) => trouble::is_away(e),
        _ => false,
    }
}
