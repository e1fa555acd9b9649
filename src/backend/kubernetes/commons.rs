//! What each landscape has as a whole - its ConfigMap, its NetworkPolicy, what its images are pulled with - follows
//! the settings and the files that they name, whether or not anything is started meanwhile.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::core::Problem;
use super::manifest;
use super::shared::Shared;
use crate::config::settings::KubernetesSettings;
use crate::landscape::LandscapeId;

/// After a write that got no answer.
const AGAIN: Duration = Duration::from_secs(1);

/// See the module's words.
#[derive(Default)]
pub(super) struct Commons {
    round: Mutex<Option<AbortHandle>>,
    /// What all landscapes were last written by.
    written: Mutex<Option<Basis>>,
    random: RandomState,
}

/// What a landscape's common objects are made of.
#[derive(PartialEq)]
struct Basis {
    settings: Arc<KubernetesSettings>,
    /// Of what the files of passwords say; comparable in this process alone.
    logins: u64,
}

impl Shared {
    /// These landscapes run something here; their services are told by others.
    pub(super) fn keep_commons(self: &Arc<Self>, landscapes: BTreeSet<LandscapeId>) {
        let mut round = self.commons.round.lock();
        if let Some(before) = round.take() {
            before.abort();
        }
        if !landscapes.is_empty() {
            *round = Some(self.spawn(self.clone().write_commons(landscapes)));
        }
    }

    async fn write_commons(self: Arc<Self>, landscapes: BTreeSet<LandscapeId>) {
        let settings = self.settings.load_full();
        let logins = self.commons.random.hash_one(manifest::logins(&settings.registries).await);
        let basis = Basis { settings, logins };
        if self.commons.written.lock().as_ref() == Some(&basis) {
            return;
        }
        // Not before the last one is written: the next round may interrupt this one.
        *self.commons.written.lock() = None;
        self.landscapes.forget();
        for id in &landscapes {
            self.write_common(id).await;
        }
        *self.commons.written.lock() = Some(basis);
    }

    async fn write_common(&self, id: &LandscapeId) {
        loop {
            self.link.up().await;
            let written = match self.writer() {
                Some(writer) => writer.landscape(id).await.map(drop),
                None => Err(Problem::Away),
            };
            match written {
                Err(Problem::Away) => tokio::time::sleep(AGAIN).await,
                // Whoever wants to start something of it is told, too.
                Err(Problem::Refused(failure)) => {
                    return tracing::warn!(landscape = %id, "what it has as a whole stays as it is: {}", failure.detail);
                }
                Ok(()) | Err(Problem::Missing) => return,
            }
        }
    }
}
