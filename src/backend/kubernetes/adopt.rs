//! What an earlier router left.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::keeper::Word;
use super::link::State;
use super::mirror::{Kept, List};
use super::shared::Shared;
use crate::backend::{BackendError, Found};
use crate::landscape::ServiceKey;

/// So long the first lists may take before it is said that they do.
const PATIENCE: Duration = Duration::from_secs(15);

/// Waits for the first lists, and asks every keeper what it has.
pub(super) async fn adopt(shared: &Arc<Shared>) -> Result<Vec<Found>, BackendError> {
    let listed = async {
        loop {
            let news = shared.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if is_listed(shared) {
                return Ok(());
            }
            if let State::Lost(why) = shared.link.state() {
                return Err(BackendError::Unreachable(why));
            }
            news.await;
        }
    };
    match tokio::time::timeout(PATIENCE, listed).await {
        Ok(listed) => listed?,
        Err(_) => {
            let why = "the cluster does not say which Deployments and pods there are; may the router list them?";
            return Err(BackendError::Unreachable(why.into()));
        }
    }
    let generation = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |d| d.as_micros() as u64);
    let asked: Vec<_> = {
        let strangers = shared.strangers.all();
        let mirror = shared.mirror.lock();
        let ours = mirror.kept.iter().filter(|(key, _)| !strangers.contains(*key));
        let ask = |(_, kept): (&ServiceKey, &Kept)| {
            let (tell, told) = oneshot::channel();
            kept.words.send(Word::Adopt(generation, tell)).ok().map(|()| told)
        };
        ours.filter_map(ask).collect()
    };
    let mut found = Vec::new();
    for told in asked {
        // One that has ended has nothing.
        found.extend(told.await.unwrap_or_default());
    }
    shared.adopted.store(true, Ordering::Release);
    shared.see_who_is_done();
    found.sort_by(|a, b| (&a.service, a.id).cmp(&(&b.service, b.id)));
    Ok(found)
}

/// Whether everything that is looked after has been listed. Our own list comes in any case.
fn is_listed(shared: &Shared) -> bool {
    let mirror = shared.mirror.lock();
    mirror.is_listed(&List::Own) && mirror.kept.values().all(|kept| mirror.is_listed(&kept.list))
}
