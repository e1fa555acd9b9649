//! What each landscape has as a whole - its ConfigMap, its NetworkPolicy, what its images are pulled with - follows
//! the settings and the files that they name, whether or not anything is started meanwhile. What somebody takes
//! away of it is written again: without its ConfigMap nothing of the landscape lasts, without its NetworkPolicy
//! everybody reaches its pods.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use kube::Resource;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::core::Problem;
use super::shared::Shared;
use super::watch::Change;
use super::{manifest, names};
use crate::config::settings::KubernetesSettings;
use crate::landscape::LandscapeId;

/// After a write that got no answer.
const AGAIN: Duration = Duration::from_secs(1);
/// After a round in which some were refused: someone may change what for.
const REFUSED: Duration = Duration::from_secs(30);

/// See the module's words.
#[derive(Default)]
pub(super) struct Commons {
    /// Landscapes that run something here.
    kept: Mutex<BTreeSet<LandscapeId>>,
    round: Mutex<Option<AbortHandle>>,
    /// What each landscape was last written by.
    written: Mutex<HashMap<LandscapeId, Basis>>,
    random: RandomState,
}

/// What a landscape's common objects are made of.
#[derive(Clone, PartialEq)]
struct Basis {
    settings: Arc<KubernetesSettings>,
    /// Of what the files of passwords say; comparable in this process alone.
    logins: u64,
}

impl Shared {
    /// These landscapes run something here.
    pub(super) fn keep_commons(self: &Arc<Self>, landscapes: BTreeSet<LandscapeId>) {
        let mut round = self.commons.round.lock();
        if let Some(before) = round.take() {
            before.abort();
        }
        self.commons.written.lock().retain(|id, _| landscapes.contains(id));
        self.commons.kept.lock().clone_from(&landscapes);
        if !landscapes.is_empty() {
            *round = Some(self.spawn(self.clone().write_commons(landscapes)));
        }
    }

    /// Hears of the objects of one kind that landscapes have as a whole.
    pub(super) fn common<K: Resource>(self: &Arc<Self>, change: Change<K>) {
        let of = |object: &K| {
            let id = object.meta().annotations.as_ref()?.get(names::LANDSCAPE)?;
            (object.meta().name == Some(names::landscape(id))).then(|| LandscapeId::from(id.as_str()))
        };
        let gone: Vec<LandscapeId> = match change {
            Change::All(all) => {
                let there: HashSet<LandscapeId> = all.iter().filter_map(of).collect();
                self.commons.written.lock().keys().filter(|id| !there.contains(*id)).cloned().collect()
            }
            Change::Gone(one) => of(&one).into_iter().collect(),
            Change::One(_) | Change::Nothing => return,
        };
        let kept = self.commons.kept.lock().clone();
        if gone.iter().any(|id| kept.contains(id)) {
            self.commons.written.lock().retain(|id, _| !gone.contains(id));
            self.keep_commons(kept);
        }
    }

    async fn write_commons(self: Arc<Self>, mut landscapes: BTreeSet<LandscapeId>) {
        let settings = self.settings.load_full();
        let mut told = String::new();
        loop {
            let logins = self.commons.random.hash_one(manifest::logins(&settings.registries).await);
            let basis = Basis { settings: settings.clone(), logins };
            landscapes.retain(|id| self.commons.written.lock().get(id) != Some(&basis));
            let mut refused = BTreeSet::new();
            for id in landscapes {
                // The next round may interrupt this one: what was written before is not there for certain any more.
                self.commons.written.lock().remove(&id);
                self.landscapes.forget(&id).await;
                if self.write_common(&id, &mut told).await {
                    self.commons.written.lock().insert(id, basis.clone());
                } else {
                    refused.insert(id);
                }
            }
            if refused.is_empty() {
                return;
            }
            landscapes = refused;
            tokio::time::sleep(REFUSED).await;
        }
    }

    /// Whether it was written, and not refused; each reason is told once.
    async fn write_common(&self, id: &LandscapeId, told: &mut String) -> bool {
        loop {
            self.link.up().await;
            let written = match self.writer() {
                Some(writer) => writer.landscape(id).await.map(drop),
                None => Err(Problem::Away),
            };
            match written {
                Ok(()) => return true,
                Err(Problem::Away) => tokio::time::sleep(AGAIN).await,
                Err(Problem::Missing) => return false,
                Err(Problem::Refused(failure)) => {
                    // Whoever wants to start something of it is told, too.
                    if *told != failure.detail {
                        tracing::warn!(landscape = %id, "what it has as a whole is not as configured: {}", failure.detail);
                        told.clone_from(&failure.detail);
                    }
                    return false;
                }
            }
        }
    }
}
