//! What carries our mark is watched.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::runtime::watcher::Config;

use super::core::Version;
use super::left_over::LeftOver;
use super::mirror::List;
use super::shared::Shared;
use super::strangers::FILES;
use super::watch::{Change, watch};
use super::{look, names};
use crate::landscape::ServiceKey;

/// Watches what carries our mark, for ever.
pub(super) async fn own(shared: Arc<Shared>) {
    let Some(cluster) = shared.link.known().await else { return };
    let marked = Config::default().labels(&names::selector(&shared.settings.load().instance));
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let pods: Api<api::Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let anchors: Api<api::ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let policies: Api<NetworkPolicy> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    tokio::join!(
        watch(&shared.link, deployments, marked.clone(), |change| own_deployments(&shared, change)),
        watch(&shared.link, pods, marked.clone(), |change| own_pods(&shared, change)),
        watch(&shared.link, anchors, marked.clone(), |change| shared.common(change)),
        watch(&shared.link, policies, marked, |change| shared.common(change)),
    );
}

fn own_deployments(shared: &Arc<Shared>, change: Change<Deployment>) {
    let seen = |d: &Deployment| Some((service(&d.metadata)?, look::deployment(d, true)));
    let strangers = match change {
        Change::All(all) => shared.mirror.lock().workloads(&List::Own, all.iter().filter_map(seen).collect()),
        Change::One(one) => {
            let Some((key, workload)) = seen(&one) else { return };
            let unknown = shared.mirror.lock().workload(&List::Own, &key, workload);
            unknown.then_some(key).into_iter().collect()
        }
        Change::Gone(one) => {
            let Some(key) = service(&one.metadata) else { return };
            let version = Version::of(one.metadata.resource_version.as_deref());
            shared.mirror.lock().no_workload(&List::Own, &key, version);
            Vec::new()
        }
        Change::Nothing => Vec::new(),
    };
    for key in strangers {
        if shared.is_attached(&key) {
            // Of an earlier configuration, or of other routers' for as long as they have not read this one.
            shared.remove(LeftOver::Workload(key), FILES);
        } else {
            shared.meet(&key);
        }
    }
    shared.news.notify_waiters();
}

fn own_pods(shared: &Arc<Shared>, change: Change<api::Pod>) {
    let seen = |p: &api::Pod| Some((service(&p.metadata)?, look::pod(p, true)?));
    let strangers = match change {
        Change::All(all) => shared.mirror.lock().pods(&List::Own, all.iter().filter_map(seen).collect()),
        Change::One(one) => {
            let Some((key, pod)) = seen(&one) else { return };
            let unknown = shared.mirror.lock().pod(&List::Own, &key, pod);
            unknown.then_some(key).into_iter().collect()
        }
        Change::Gone(one) => {
            if let (Some(key), Some(name)) = (service(&one.metadata), &one.metadata.name) {
                shared.mirror.lock().pod_gone(&List::Own, &key, name);
            }
            Vec::new()
        }
        Change::Nothing => Vec::new(),
    };
    strangers.iter().for_each(|key| shared.meet(key));
    shared.news.notify_waiters();
}

fn service(metadata: &ObjectMeta) -> Option<ServiceKey> {
    names::service_of(metadata.annotations.as_ref()?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;
    use crate::backend::kubernetes::core::Event;
    use crate::backend::kubernetes::keeper::Word;
    use crate::backend::kubernetes::manifest::fixtures::{landscape, settings};
    use crate::backend::kubernetes::manifest::{Place, deployment};
    use crate::config::settings::{Attach, AttachKind};

    const WEB: &str = "schemaVersion: v0.4\nrun: { web: { image: nginx, network: { ports: [{ port: 80 }] } } }\n";

    #[tokio::test(start_paused = true)]
    async fn a_deployment_of_a_service_that_is_attached_is_left_over() {
        let settings = settings();
        let key = ServiceKey::new("4711", "web");
        let spec = landscape(WEB).services["web"].clone();
        let place = Place { settings: &settings, namespace: "here", owner: None };
        let ours = deployment(&spec, place, 1, false, Duration::ZERO).unwrap();
        let shared = Arc::new(Shared::new(settings.clone(), mpsc::unbounded_channel().0));
        let left_over = |shared: &Shared| shared.is_being_removed(&LeftOver::Workload(key.clone()));
        shared.say(&key, None, Word::Event(Event::Declared(None)));
        own_deployments(&shared, Change::One(ours.clone()));
        assert!(!left_over(&shared), "it is the service's");
        shared.mirror.lock().remove(&key);
        let attach = Attach { kind: AttachKind::Deployment, name: "theirs".into(), namespace: None };
        shared.say(&key, Some(&attach), Word::Event(Event::Declared(None)));
        own_deployments(&shared, Change::One(ours.clone()));
        assert!(left_over(&shared));
        own_deployments(&shared, Change::All(vec![ours]));
        tokio::time::sleep(FILES * 2).await;
        assert!(left_over(&shared), "it waits for an API server");
    }
}
