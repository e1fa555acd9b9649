//! What is left over in the cluster and has no keeper of its own. It is removed, as often as that takes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::core::Problem;
use super::names;
use super::shared::Shared;
use crate::landscape::{LandscapeId, ServiceKey};

/// Between two tries, doubling from the first to the last.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What is being removed.
#[derive(Default)]
pub(super) struct LeftOvers(Mutex<HashSet<LeftOver>>);

/// See the module's words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum LeftOver {
    /// What a landscape has as a whole, of one that is not configured any more.
    Landscape(LandscapeId),
    /// The Deployment of a service that is attached to another workload now.
    Workload(ServiceKey),
}

impl LeftOver {
    /// In words, for a log.
    fn called(&self) -> String {
        match self {
            Self::Landscape(id) => format!("the ConfigMap {} of the landscape {id}", names::landscape(id)),
            Self::Workload(key) => format!("the Deployment {} of {key}", names::workload(key)),
        }
    }
}

impl Shared {
    /// Removes it after a while, unless it is wanted again by then.
    pub(super) fn remove(self: &Arc<Self>, what: LeftOver, after: Duration) {
        if !self.left_overs.0.lock().insert(what.clone()) {
            return;
        }
        let shared = self.clone();
        self.spawn(async move {
            tokio::time::sleep(after).await;
            shared.insist_on_removal(&what).await;
            shared.left_overs.0.lock().remove(&what);
        });
    }

    #[cfg(test)]
    pub(super) fn is_being_removed(&self, what: &LeftOver) -> bool {
        self.left_overs.0.lock().contains(what)
    }

    async fn insist_on_removal(&self, what: &LeftOver) {
        let (mut told, mut pause) = (false, AGAIN.0);
        loop {
            // This may take as long as an outage.
            self.link.up().await;
            if self.is_wanted(what) {
                return;
            }
            let Err(problem) = self.try_to_remove(what).await else { return };
            if !std::mem::replace(&mut told, true) {
                tracing::warn!("{} stays for now: {problem}", what.called());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN.1);
        }
    }

    fn is_wanted(&self, what: &LeftOver) -> bool {
        match what {
            LeftOver::Landscape(id) => self.is_configured(id),
            LeftOver::Workload(key) => self.mirror.lock().kept.get(key).is_some_and(|kept| kept.attach.is_none()),
        }
    }

    async fn try_to_remove(&self, what: &LeftOver) -> Result<(), Problem> {
        let writer = self.writer().ok_or(Problem::Away)?;
        match what {
            LeftOver::Landscape(id) => writer.remove_landscape(id).await,
            LeftOver::Workload(key) => writer.remove(key).await,
        }
    }
}
