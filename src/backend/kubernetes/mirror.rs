//! The cluster as the watches show it, and who looks after each of its services.
//!
//! Watches write here, and what they tell is passed on to the [`keeper`](super::keeper) of the service. A
//! keeper that begins later is told what is there already.

use std::collections::{BTreeMap, HashMap, HashSet};

use tokio::sync::{mpsc, watch};

use super::core::{Event, Pod, Version, Workload};
use super::keeper::Word;
use crate::backend::ReplicaId;
use crate::config::settings::Attach;
use crate::landscape::ServiceKey;

/// One service, as the rest of the backend sees its keeper.
pub(super) struct Kept {
    pub(super) words: mpsc::UnboundedSender<Word>,
    /// The pods of its replicas, as its keeper knows them; changes whenever these do.
    pub(super) sources: watch::Receiver<Vec<(ReplicaId, String)>>,
    /// The number of replicas, where somebody else has set it.
    pub(super) scaled: watch::Receiver<Option<u32>>,
    /// The workload that stands for it.
    pub(super) attach: Option<Attach>,
    /// Which list says whether it is there.
    pub(super) list: List,
}

/// A namespace that is watched: ours by our mark, or all of it for those that are attached there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum List {
    /// What carries our mark.
    Own,
    /// Everything in this namespace.
    Attached(String),
}

/// What a list has of one service.
#[derive(Default)]
pub(super) struct There {
    pub(super) workload: Option<Workload>,
    pub(super) pods: BTreeMap<String, Pod>,
}

/// See the module's words.
#[derive(Default)]
pub(super) struct Mirror {
    pub(super) kept: HashMap<ServiceKey, Kept>,
    there: HashMap<ServiceKey, There>,
    workloads_listed: HashSet<List>,
    pods_listed: HashSet<List>,
    pub(super) closed: bool,
}

impl Mirror {
    /// Whether a list is complete.
    pub(super) fn is_listed(&self, list: &List) -> bool {
        self.workloads_listed.contains(list) && self.pods_listed.contains(list)
    }

    /// Adds a keeper, and tells it what is there.
    pub(super) fn add(&mut self, key: ServiceKey, kept: Kept) {
        let there = self.there.get(&key);
        let say = |event| drop(kept.words.send(Word::Event(event)));
        if self.workloads_listed.contains(&kept.list) {
            say(seen(there.and_then(|t| t.workload.clone()), None));
        }
        if self.pods_listed.contains(&kept.list) {
            say(Event::Pods(there.map(|t| t.pods.values().cloned().collect()).unwrap_or_default()));
        }
        self.kept.insert(key, kept);
    }

    /// Forgets a service that is done with.
    pub(super) fn remove(&mut self, key: &ServiceKey) {
        self.kept.remove(key);
        self.there.remove(key);
    }

    /// A list is watched no more.
    pub(super) fn forget(&mut self, list: &List) {
        self.workloads_listed.remove(list);
        self.pods_listed.remove(list);
    }

    /// Whether somebody looks after it by another list than this one.
    fn is_elsewhere(&self, list: &List, key: &ServiceKey) -> bool {
        self.kept.get(key).is_some_and(|kept| kept.list != *list)
    }

    fn say(&self, list: &List, key: &ServiceKey, event: Event) {
        if let Some(kept) = self.kept.get(key).filter(|kept| kept.list == *list) {
            // It may have ended just now.
            let _ = kept.words.send(Word::Event(event));
        }
    }

    fn of(&self, list: &List) -> Vec<ServiceKey> {
        self.kept.iter().filter(|(_, kept)| kept.list == *list).map(|(key, _)| key.clone()).collect()
    }

    /// Every workload of a list; returns those that nobody looks after by it.
    pub(super) fn workloads(&mut self, list: &List, all: Vec<(ServiceKey, Workload)>) -> Vec<ServiceKey> {
        self.workloads_listed.insert(list.clone());
        let mut all: HashMap<ServiceKey, Workload> = all.into_iter().collect();
        for key in self.of(list) {
            let now = all.remove(&key);
            let before = std::mem::replace(&mut self.there.entry(key.clone()).or_default().workload, now.clone());
            self.say(list, &key, seen(now, before));
        }
        let strangers: Vec<ServiceKey> = all.keys().cloned().collect();
        for (key, workload) in all.into_iter().filter(|(key, _)| !self.is_elsewhere(list, key)).collect::<Vec<_>>() {
            self.there.entry(key).or_default().workload = Some(workload);
        }
        strangers
    }

    /// One workload changed; true if nobody looks after it by this list.
    pub(super) fn workload(&mut self, list: &List, key: &ServiceKey, workload: Workload) -> bool {
        if self.is_elsewhere(list, key) {
            return true;
        }
        self.there.entry(key.clone()).or_default().workload = Some(workload.clone());
        self.say(list, key, Event::Workload(workload));
        !self.kept.contains_key(key)
    }

    /// One workload is gone, as of this version.
    pub(super) fn no_workload(&mut self, list: &List, key: &ServiceKey, version: Version) {
        if self.is_elsewhere(list, key) {
            return;
        }
        self.there.entry(key.clone()).or_default().workload = None;
        self.say(list, key, Event::NoWorkload(version));
    }

    /// Every pod of a list; returns those services that nobody looks after.
    pub(super) fn pods(&mut self, list: &List, all: Vec<(ServiceKey, Pod)>) -> Vec<ServiceKey> {
        self.pods_listed.insert(list.clone());
        let mut by_key: HashMap<ServiceKey, BTreeMap<String, Pod>> = HashMap::new();
        for (key, pod) in all {
            by_key.entry(key).or_default().insert(pod.name.clone(), pod);
        }
        for key in self.of(list) {
            let pods = by_key.remove(&key).unwrap_or_default();
            self.pods_of(list, &key, pods);
        }
        let strangers: Vec<ServiceKey> = by_key.keys().cloned().collect();
        for (key, pods) in by_key.into_iter().filter(|(key, _)| !self.is_elsewhere(list, key)).collect::<Vec<_>>() {
            self.there.entry(key).or_default().pods = pods;
        }
        strangers
    }

    /// All pods of one service.
    pub(super) fn pods_of(&mut self, list: &List, key: &ServiceKey, pods: BTreeMap<String, Pod>) {
        let all = pods.values().cloned().collect();
        self.there.entry(key.clone()).or_default().pods = pods;
        self.say(list, key, Event::Pods(all));
    }

    /// One pod changed; true if nobody looks after its service.
    pub(super) fn pod(&mut self, list: &List, key: &ServiceKey, pod: Pod) -> bool {
        if self.is_elsewhere(list, key) {
            return false;
        }
        self.there.entry(key.clone()).or_default().pods.insert(pod.name.clone(), pod.clone());
        self.say(list, key, Event::Pod(pod));
        !self.kept.contains_key(key)
    }

    /// One pod is gone.
    pub(super) fn pod_gone(&mut self, list: &List, key: &ServiceKey, name: &str) {
        if self.is_elsewhere(list, key) {
            return;
        }
        if let Some(there) = self.there.get_mut(key) {
            there.pods.remove(name);
        }
        self.say(list, key, Event::PodGone(name.to_owned()));
    }
}

/// What a list says of a workload. Of which version of the cluster a list is, the watch does not tell: it is
/// newer than what was there `before`.
fn seen(now: Option<Workload>, before: Option<Workload>) -> Event {
    match now {
        Some(workload) => Event::Workload(workload),
        None => Event::NoWorkload(before.map(|b| b.version.next()).unwrap_or_default()),
    }
}
