//! What the configuration says, told to the keepers.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::KubernetesBackend;
use super::attached::{Members, attached};
use super::core::{Declared, Event, Template};
use super::keeper::Word;
use super::left_over::LeftOver;
use super::manifest::{self, Place};
use super::mirror::List;
use crate::config::settings::{Attach, BackendKind, KubernetesSettings, Policy, Settings};
use crate::landscape::{LandscapeId, ServiceKey, ServiceSpec};

/// Namespaces that are watched whole, and for whom.
#[derive(Default)]
pub(super) struct Rooms(HashMap<String, (Members, AbortHandle)>);

impl Rooms {
    pub(super) fn abort(&mut self) {
        for (_, (_, task)) in self.0.drain() {
            task.abort();
        }
    }
}

/// One service as configured.
struct Service {
    /// `None` where its landscape has no good version.
    spec: Option<Arc<ServiceSpec>>,
    policy: Arc<Policy>,
}

impl KubernetesBackend {
    /// Tells every keeper what its service is, and those whose services have left.
    pub(super) fn declare(&self, settings: &Settings) {
        let entries = entries(settings);
        let ids: HashSet<LandscapeId> = settings.landscapes.iter().map(|l| l.id.clone()).collect();
        let attach: HashMap<ServiceKey, Attach> =
            entries.iter().filter_map(|(key, e)| Some((key.clone(), e.policy.attach.clone()?))).collect();
        let unreadable: HashSet<LandscapeId> =
            settings.landscapes.iter().filter(|l| l.spec.is_err()).map(|l| l.id.clone()).collect();
        self.shared.introduce(entries.keys().cloned().collect(), unreadable.clone());
        self.part_with(&attach, &entries);
        self.attached.lock().clone_from(&attach);
        self.shared.configured(ids.clone());
        self.watch(&attach);
        let kubernetes = self.shared.settings.load_full();
        for (key, entry) in &entries {
            let of = attach.get(key);
            let declared = entry.spec.as_ref().map(|spec| Declared {
                spec: spec.clone(),
                template: if of.is_none() { template(spec, &kubernetes, entry.policy.stop_grace) } else { None },
            });
            self.shared.say(key, of, Word::Declared(declared, entry.policy.stop_grace));
        }
        let kept: Vec<ServiceKey> = self.shared.mirror.lock().kept.keys().cloned().collect();
        let strangers = self.shared.strangers.all();
        for key in kept.iter().filter(|key| !entries.contains_key(key) && !strangers.contains(*key)) {
            let event = if unreadable.contains(&key.landscape) { Event::Declared(None) } else { Event::Left };
            self.shared.say(key, None, Word::Event(event));
        }
        let own = entries.iter().filter(|(key, e)| e.spec.is_some() && !attach.contains_key(key));
        self.shared.keep_commons(own.map(|(key, _)| key.landscape.clone()).collect());
        self.shared.see_off();
    }

    /// Keepers of services that are attached to something else than before end: another one begins.
    fn part_with(&self, attach: &HashMap<ServiceKey, Attach>, entries: &BTreeMap<ServiceKey, Service>) {
        let mut mirror = self.shared.mirror.lock();
        let changed: Vec<ServiceKey> = mirror
            .kept
            .iter()
            .filter(|(key, kept)| entries.contains_key(key) && kept.attach.as_ref() != attach.get(key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in changed {
            let own = mirror.kept.get(&key).is_some_and(|kept| kept.attach.is_none());
            mirror.remove(&key);
            if own {
                self.shared.remove(LeftOver::Workload(key), Duration::ZERO);
            }
        }
    }

    /// Watches the namespaces of what is attached.
    fn watch(&self, attach: &HashMap<ServiceKey, Attach>) {
        let mut wanted: HashMap<String, Members> = HashMap::new();
        for (key, attach) in attach {
            wanted.entry(self.shared.namespace_of(attach)).or_default().insert(key.clone(), attach.clone());
        }
        let mut rooms = self.rooms.lock();
        rooms.0.retain(|namespace, (members, task)| {
            let same = wanted.get(namespace) == Some(members);
            if !same {
                task.abort();
                self.shared.mirror.lock().forget(&List::Attached(namespace.clone()));
            }
            same
        });
        for (namespace, members) in wanted {
            if let Entry::Vacant(room) = rooms.0.entry(namespace) {
                let task = tokio::spawn(attached(self.shared.clone(), room.key().clone(), members.clone()));
                room.insert((members, task.abort_handle()));
            }
        }
    }
}

fn entries(settings: &Settings) -> BTreeMap<ServiceKey, Service> {
    let mut all = BTreeMap::new();
    for landscape in &settings.landscapes {
        let specs = landscape.spec.as_ref().ok();
        for (key, policy) in landscape.policies.iter().filter(|(_, p)| p.backend == BackendKind::Kubernetes) {
            let spec = specs.and_then(|l| l.services.get(&key.service)).filter(|s| s.runs()).cloned();
            // What runs nowhere has no workload.
            if specs.is_none() || spec.is_some() {
                all.insert(key.clone(), Service { spec, policy: policy.clone() });
            }
        }
    }
    all
}

/// What its Deployment's pods are to be, if it can run.
fn template(spec: &ServiceSpec, settings: &KubernetesSettings, grace: Duration) -> Option<Template> {
    manifest::runnable(spec, settings).ok()?;
    let place = Place { settings, namespace: settings.namespace.as_deref().unwrap_or_default(), owner: None };
    let deployment = manifest::deployment(spec, place, 0, false, grace).ok()?;
    let hash = manifest::template_of(&deployment)?.to_owned();
    Some(Template { digest: spec.run_digest(), hash })
}
