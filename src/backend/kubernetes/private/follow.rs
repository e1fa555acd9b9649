//! Watches pods, to know who calls.
//!
//! One watch finds all pods that are ours; one more follows each workload that a service is attached to, by
//! the selector of the workload. What is known of a source that fails is kept, and grows old.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Client;
use kube::api::Api;
use kube::core::Selector;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::pods::{resident, service_of};
use crate::backend::kubernetes::{names, trouble};
use crate::config::settings::{Attach, AttachKind};
use crate::landscape::ServiceKey;
use crate::private::residents::{Resident, Residents};

/// Before a workload is looked for again that was not there.
const AGAIN: Duration = Duration::from_secs(10);

/// The services that are attached to workloads, and to which.
pub type Followed = HashMap<ServiceKey, Attach>;

/// Follows the pods of `instance` in `namespace` and those of attached workloads, until nobody can say any more
/// which these are.
pub async fn follow(
    client: Client,
    namespace: String,
    instance: String,
    residents: Arc<Residents>,
    mut attached: watch::Receiver<Arc<Followed>>,
) {
    let ours = {
        let api = Api::namespaced(client.clone(), &namespace);
        let config = watcher::Config::default().labels(&names::selector(&instance));
        let residents = residents.clone();
        Task(tokio::spawn(async move { told(api, config, "our pods".into(), service_of, &residents).await }))
    };
    let mut tasks: HashMap<(ServiceKey, Attach), Task> = HashMap::new();
    loop {
        let wanted = attached.borrow_and_update().clone();
        tasks.retain(|(key, attach), _| {
            let keep = wanted.get(key) == Some(attach);
            if !keep {
                let source = source_of(key, attach);
                residents.tell(|register, now| {
                    register.replace(&source, Vec::new(), now);
                    register.heard(&source, true, now);
                });
            }
            keep
        });
        for (key, attach) in wanted.iter() {
            tasks.entry((key.clone(), attach.clone())).or_insert_with(|| {
                let (client, residents, namespace) = (client.clone(), residents.clone(), namespace.clone());
                Task(tokio::spawn(attached_one(client, namespace, key.clone(), attach.clone(), residents)))
            });
        }
        if attached.changed().await.is_err() {
            break;
        }
    }
    drop(ours);
}

/// Ends with whoever has it.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn source_of(key: &ServiceKey, attach: &Attach) -> Arc<str> {
    format!("{key}: {:?} {}/{}", attach.kind, attach.namespace.as_deref().unwrap_or_default(), attach.name).into()
}

/// Follows the pods of one workload.
async fn attached_one(client: Client, namespace: String, key: ServiceKey, attach: Attach, residents: Arc<Residents>) {
    let namespace = attach.namespace.clone().unwrap_or(namespace);
    let source = source_of(&key, &attach);
    loop {
        let found = match attach.kind {
            AttachKind::Deployment => {
                let found = Api::<Deployment>::namespaced(client.clone(), &namespace).get(&attach.name).await;
                found.map(|workload| workload.spec.map(|spec| spec.selector))
            }
            AttachKind::StatefulSet => {
                let found = Api::<StatefulSet>::namespaced(client.clone(), &namespace).get(&attach.name).await;
                found.map(|workload| workload.spec.map(|spec| spec.selector))
            }
        };
        match found.map(|selector| selector.and_then(|selector| written(&selector))) {
            Ok(Some(selector)) => {
                let api = Api::namespaced(client.clone(), &namespace);
                let config = watcher::Config::default().labels(&selector);
                let of_key = |_: &Pod| Some(key.clone());
                told(api, config, source.clone(), of_key, &residents).await;
            }
            Ok(None) => tracing::warn!("{} selects no pods: calls of {key} are refused", attach.name),
            Err(error) => {
                residents.tell(|register, now| register.heard(&source, false, now));
                tracing::debug!("the pods of {} are not followed yet: {}", attach.name, trouble::text(&error));
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// A selector as a list request has it; `None` for one that selects everything, or cannot be written.
fn written(selector: &LabelSelector) -> Option<String> {
    let selector = Selector::try_from(selector.clone()).ok()?;
    (!selector.selects_all()).then(|| selector.to_string())
}

/// Tells what a watch of pods says.
async fn told(
    api: Api<Pod>,
    config: watcher::Config,
    source: Arc<str>,
    service: impl Fn(&Pod) -> Option<ServiceKey>,
    residents: &Residents,
) {
    let mut events = pin!(watcher(api, config).default_backoff());
    let caller = |pod: &Pod| resident(pod, service(pod)?, wall_clock());
    let mut list: Vec<Resident> = Vec::new();
    let mut lost = false;
    while let Some(event) = events.next().await {
        let heard = match &event {
            // A list that has begun is not what is there yet.
            Ok(Event::Init | Event::InitApply(_)) => !lost,
            Ok(_) => true,
            Err(_) => false,
        };
        match event {
            Ok(Event::Init) => list.clear(),
            Ok(Event::InitApply(pod)) => list.extend(caller(&pod)),
            Ok(Event::InitDone) => {
                let all = std::mem::take(&mut list);
                residents.tell(|register, now| register.replace(&source, all, now));
            }
            Ok(Event::Apply(pod)) => residents.tell(|register, now| match caller(&pod) {
                Some(caller) => register.see(&source, caller, now),
                None => register.forget(pod.metadata.uid.as_deref().unwrap_or_default()),
            }),
            Ok(Event::Delete(pod)) => {
                residents.tell(|register, _| register.forget(pod.metadata.uid.as_deref().unwrap_or_default()));
            }
            Err(error) => {
                if !lost {
                    tracing::warn!("{source} are not followed for now: {}", trouble::of_watch(&error));
                }
            }
        }
        if std::mem::replace(&mut lost, !heard) == heard {
            residents.tell(|register, now| register.heard(&source, heard, now));
        }
    }
}

fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
