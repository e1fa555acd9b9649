//! What is left over in the cluster and has no keeper of its own. It is removed, as often as that takes.

use std::sync::Arc;
use std::time::Duration;

use super::core::Problem;
use super::names;
use super::shared::Shared;
use crate::landscape::{LandscapeId, ServiceKey};

/// Between two tries, doubling from the first to the last.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// See the module's words.
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
    /// Removes it, unless it is wanted again before.
    pub(super) fn remove(self: &Arc<Self>, what: LeftOver) {
        let shared = self.clone();
        self.spawn(async move {
            let (mut told, mut pause) = (false, AGAIN.0);
            while !shared.is_wanted(&what) {
                shared.link.up().await;
                let Err(problem) = shared.try_to_remove(&what).await else { return };
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!("{} stays for now: {problem}", what.called());
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(AGAIN.1);
            }
        });
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
