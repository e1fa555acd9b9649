//! Namespaces with workloads that are attached are watched whole: two or three watches each, however many
//! services there are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::Api;
use kube::runtime::watcher::Config;
use tokio::sync::mpsc;

use super::core::{Pod, Workload};
use super::look;
use super::mirror::List;
use super::shared::Shared;
use super::watch::{Change, watch};
use crate::config::settings::{Attach, AttachKind};
use crate::landscape::ServiceKey;

/// Services that are attached to workloads of one namespace.
pub(super) type Members = BTreeMap<ServiceKey, Attach>;

/// Watches a namespace for its members, for ever.
pub(super) async fn attached(shared: Arc<Shared>, namespace: String, members: Members) {
    let Some(cluster) = shared.link.known().await else { return };
    let real = if namespace.is_empty() { cluster.namespace.clone() } else { namespace.clone() };
    let has = |kind| members.values().any(|a| a.kind == kind);
    let (deployments, sets) = (has(AttachKind::Deployment), has(AttachKind::StatefulSet));
    let (say, mut heard) = mpsc::unbounded_channel();
    let mut room = Room {
        shared: shared.clone(),
        list: List::Attached(namespace),
        members,
        // A list of what nobody has is complete.
        listed: [(AttachKind::Deployment, !deployments), (AttachKind::StatefulSet, !sets)].into(),
        workloads: HashMap::new(),
        selectors: HashMap::new(),
        pods: None,
    };
    let client = || cluster.client.clone();
    let all = Config::default;
    let of_deployments = async {
        if deployments {
            let api: Api<Deployment> = Api::namespaced(client(), &real);
            let tell = |change| drop(say.send(Heard::Workloads(AttachKind::Deployment, map(change, of_deployment))));
            watch(&shared.link, api, all(), tell).await;
        }
    };
    let of_sets = async {
        if sets {
            let api: Api<StatefulSet> = Api::namespaced(client(), &real);
            let tell = |change| drop(say.send(Heard::Workloads(AttachKind::StatefulSet, map(change, of_set))));
            watch(&shared.link, api, all(), tell).await;
        }
    };
    let pods: Api<api::Pod> = Api::namespaced(client(), &real);
    let of_pods = watch(&shared.link, pods, all(), |change| drop(say.send(Heard::Pods(Box::new(change)))));
    let listen = async {
        while let Some(word) = heard.recv().await {
            room.hear(word);
        }
    };
    tokio::join!(of_deployments, of_sets, of_pods, listen);
}

enum Heard {
    Workloads(AttachKind, Change<Seen>),
    Pods(Box<Change<api::Pod>>),
}

/// A workload of whatever kind.
struct Seen {
    name: String,
    workload: Workload,
    selector: LabelSelector,
}

fn of_deployment(d: &Deployment) -> Option<Seen> {
    let selector = d.spec.as_ref()?.selector.clone();
    Some(Seen { name: d.metadata.name.clone()?, workload: look::deployment(d, false), selector })
}

fn of_set(s: &StatefulSet) -> Option<Seen> {
    let selector = s.spec.as_ref()?.selector.clone();
    Some(Seen { name: s.metadata.name.clone()?, workload: look::stateful_set(s), selector })
}

fn map<K>(change: Change<K>, seen: impl Fn(&K) -> Option<Seen>) -> Change<Seen> {
    match change {
        Change::All(all) => Change::All(all.iter().filter_map(seen).collect()),
        // What has neither name nor selector is no workload.
        Change::One(one) => seen(&one).map_or(Change::Nothing, Change::One),
        Change::Gone(one) => seen(&one).map_or(Change::Nothing, Change::Gone),
        Change::Nothing => Change::Nothing,
    }
}

/// What is known of one namespace.
struct Room {
    shared: Arc<Shared>,
    list: List,
    members: Members,
    listed: HashMap<AttachKind, bool>,
    workloads: HashMap<ServiceKey, Workload>,
    selectors: HashMap<ServiceKey, LabelSelector>,
    /// By name, with what they are labelled; `None` before they are listed.
    pods: Option<HashMap<String, (ObjectMeta, Pod)>>,
}

impl Room {
    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Workloads(kind, change) => self.workloads(kind, change),
            Heard::Pods(change) => self.pods(*change),
        }
        self.shared.news.notify_waiters();
    }

    fn members(&self, kind: AttachKind, name: &str) -> Vec<ServiceKey> {
        self.members.iter().filter(|(_, a)| a.kind == kind && a.name == name).map(|(key, _)| key.clone()).collect()
    }

    fn workloads(&mut self, kind: AttachKind, change: Change<Seen>) {
        match change {
            Change::All(all) => {
                let of_kind: Vec<_> =
                    self.members.iter().filter(|(_, a)| a.kind == kind).map(|(k, _)| k.clone()).collect();
                self.workloads.retain(|key, _| !of_kind.contains(key));
                for seen in all {
                    for key in self.members(kind, &seen.name) {
                        self.workloads.insert(key.clone(), seen.workload.clone());
                        self.select(key, &seen.selector);
                    }
                }
                self.listed.insert(kind, true);
                if self.listed.values().all(|listed| *listed) {
                    let all = self.workloads.iter().map(|(key, w)| (key.clone(), w.clone())).collect();
                    self.shared.mirror.lock().workloads(&self.list, all);
                }
            }
            Change::One(seen) => {
                for key in self.members(kind, &seen.name) {
                    self.workloads.insert(key.clone(), seen.workload.clone());
                    self.shared.mirror.lock().workload(&self.list, &key, seen.workload.clone());
                    self.select(key, &seen.selector);
                }
            }
            Change::Gone(seen) => {
                for key in self.members(kind, &seen.name) {
                    self.workloads.remove(&key);
                    self.shared.mirror.lock().no_workload(&self.list, &key, seen.workload.version);
                }
            }
            Change::Nothing => {}
        }
    }

    /// A service's pods are those that its workload selects.
    fn select(&mut self, key: ServiceKey, selector: &LabelSelector) {
        if self.selectors.get(&key) == Some(selector) {
            return;
        }
        self.selectors.insert(key.clone(), selector.clone());
        if let Some(pods) = &self.pods {
            let own = pods.values().filter(|(meta, _)| look::selects(selector, meta));
            let own = own.map(|(_, pod)| (pod.name.clone(), pod.clone())).collect();
            self.shared.mirror.lock().pods_of(&self.list, &key, own);
        }
    }

    fn of(&self, metadata: &ObjectMeta) -> Vec<ServiceKey> {
        self.selectors.iter().filter(|(_, s)| look::selects(s, metadata)).map(|(key, _)| key.clone()).collect()
    }

    fn pods(&mut self, change: Change<api::Pod>) {
        let labels = |p: &api::Pod| ObjectMeta { labels: p.metadata.labels.clone(), ..Default::default() };
        match change {
            Change::All(all) => {
                let seen = |p: &api::Pod| look::pod(p, false).map(|pod| (pod.name.clone(), (labels(p), pod)));
                let pods: HashMap<_, _> = all.iter().filter_map(seen).collect();
                let each = pods.values();
                let all =
                    each.flat_map(|(meta, pod)| self.of(meta).into_iter().map(|key| (key, pod.clone()))).collect();
                self.shared.mirror.lock().pods(&self.list, all);
                self.pods = Some(pods);
            }
            Change::One(one) => {
                let Some(pod) = look::pod(&one, false) else { return };
                let labels = labels(&one);
                let now = self.of(&labels);
                let entry = (labels, pod.clone());
                let before = self.pods.as_mut().and_then(|pods| pods.insert(pod.name.clone(), entry));
                let left = before.map(|(meta, _)| self.of(&meta)).unwrap_or_default();
                let mut mirror = self.shared.mirror.lock();
                // Its labels are others than they were.
                for key in left.iter().filter(|key| !now.contains(key)) {
                    mirror.pod_gone(&self.list, key, &pod.name);
                }
                for key in &now {
                    mirror.pod(&self.list, key, pod.clone());
                }
            }
            Change::Gone(one) => {
                let Some(name) = &one.metadata.name else { return };
                for key in self.of(&labels(&one)) {
                    self.shared.mirror.lock().pod_gone(&self.list, &key, name);
                }
                if let Some(pods) = &mut self.pods {
                    pods.remove(name);
                }
            }
            Change::Nothing => {}
        }
    }
}
