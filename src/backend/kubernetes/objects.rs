//! What is written to the cluster.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::{Api, Resource};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::connect::Cluster;
use super::core::{Problem, Version, Workload};
use super::link::CALL;
use super::manifest::{self, Place};
use super::{callers, look, names, trouble};
use crate::backend::ReplicaId;
use crate::config::settings::{Attach, AttachKind, KubernetesSettings};
use crate::landscape::{LandscapeId, ServiceKey, ServiceSpec};

/// Which pods a workload ends first: those of the least cost.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

type Result<T> = std::result::Result<T, Problem>;

type Owner = Arc<tokio::sync::Mutex<Option<OwnerReference>>>;

/// What objects of a namespace all are.
pub(super) trait Kind:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug
{
}

impl<K> Kind for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug
{
}

/// What is known of what was written.
#[derive(Default)]
pub(super) struct Landscapes {
    /// What landscapes have as a whole, as last written; one writer a landscape.
    owners: Mutex<HashMap<LandscapeId, Owner>>,
    /// Secrets of services that were seen to be ours, by their names: they are not watched.
    secrets: Mutex<HashSet<String>>,
}

/// Writes with the settings of the moment.
#[derive(Clone)]
pub(super) struct Writer {
    pub(super) cluster: Arc<Cluster>,
    pub(super) settings: Arc<KubernetesSettings>,
    pub(super) landscapes: Arc<Landscapes>,
}

impl Landscapes {
    /// What it is made of has changed: it is written anew when it is needed next. Whoever is writing it comes to an
    /// end first.
    pub(super) async fn forget(&self, id: &LandscapeId) {
        *self.of(id).lock().await = None;
    }

    fn of(&self, id: &LandscapeId) -> Owner {
        self.owners.lock().entry(id.clone()).or_default().clone()
    }
}

impl Writer {
    pub(super) fn place<'a>(&'a self, owner: Option<&'a OwnerReference>) -> Place<'a> {
        Place { settings: &self.settings, namespace: &self.cluster.namespace, owner }
    }

    pub(super) fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace)
    }

    /// What a landscape has as a whole is there; its owner reference.
    pub(super) async fn landscape(&self, id: &LandscapeId) -> Result<OwnerReference> {
        let entry = self.landscapes.of(id);
        let mut done = entry.lock().await;
        if let Some(owner) = &*done {
            return Ok(owner.clone());
        }
        let anchor: ConfigMap = self.apply_new(&manifest::anchor(id, self.place(None))).await?;
        let Some(owner) = manifest::owner(&anchor) else {
            return Err(Problem::Refused(trouble::backend("the API server gave the landscape's ConfigMap no uid")));
        };
        let place = self.place(Some(&owner));
        let _: NetworkPolicy = self.apply_new(&manifest::network_policy(id, &callers::here(), place)).await?;
        let logins = manifest::logins(&self.settings.registries).await;
        let logins = logins.map_err(|why| Problem::Refused(trouble::not_runnable(why)))?;
        match manifest::pull_secret(id, &logins, place) {
            Some(secret) => drop::<Secret>(self.apply_new(&secret).await?),
            None => self.remove_ours::<Secret>(&names::pull_secret(id)).await?,
        }
        *done = Some(owner.clone());
        Ok(owner)
    }

    /// The landscape and all that is left of it goes, if it is of this installation.
    pub(super) async fn remove_landscape(&self, id: &LandscapeId) -> Result<()> {
        self.landscapes.owners.lock().remove(id);
        let api: Api<ConfigMap> = self.api();
        let name = names::landscape(id);
        let found = within("look for the landscape's ConfigMap", api.get_opt(&name)).await?;
        let labels = found.and_then(|f| f.metadata.labels);
        if names::carries(labels.as_ref(), &names::landscape_labels(&self.settings.instance, id)) {
            gone(within("remove the landscape's ConfigMap", api.delete(&name, &DeleteParams::background())).await)?;
        }
        Ok(())
    }

    /// Makes the Deployment of a service be so, and what it needs before it. `known`: there is one, and ours.
    pub(super) async fn service(
        &self,
        spec: &ServiceSpec,
        count: u32,
        holds: bool,
        known: bool,
        grace: Duration,
    ) -> Result<Workload> {
        manifest::runnable(spec, &self.settings).map_err(|why| Problem::Refused(trouble::not_runnable(why)))?;
        let owner = self.landscape(&spec.key.landscape).await?;
        let place = self.place(Some(&owner));
        let deployment = manifest::deployment(spec, place, count, holds, grace);
        let deployment = deployment.map_err(|why| Problem::Refused(trouble::not_runnable(why)))?;
        if !known {
            self.must_be_free(&deployment).await?;
        }
        if let Some(secret) = manifest::secret(spec, place) {
            let name = secret.metadata.name.clone().unwrap_or_default();
            if !known || !self.landscapes.secrets.lock().contains(&name) {
                self.must_be_free(&secret).await?;
            }
            let _: Secret = self.apply(&secret).await?;
            self.landscapes.secrets.lock().insert(name);
        }
        match self.apply(&deployment).await {
            Ok(applied) => Ok(look::deployment(&applied, true)),
            Err(problem) => {
                // The owner may be another one by now.
                self.landscapes.owners.lock().remove(&spec.key.landscape);
                Err(problem)
            }
        }
    }

    /// Removes what a service has, as far as it is of this installation.
    pub(super) async fn remove(&self, key: &ServiceKey) -> Result<()> {
        let name = names::workload(key);
        self.landscapes.secrets.lock().remove(&name);
        self.remove_ours::<Deployment>(&name).await?;
        self.remove_ours::<Secret>(&name).await
    }

    async fn remove_ours<K: Kind>(&self, name: &str) -> Result<()> {
        let (api, kind) = (self.api::<K>(), K::kind(&()).into_owned());
        let found = self.find::<K>(&format!("the {kind} {name}"), name).await?;
        let Some(found) = found.filter(|f| names::is_ours(&self.settings.instance, f.metadata.labels.as_ref())) else {
            return Ok(());
        };
        // Not another one that is called so by then.
        let this = Preconditions { uid: found.metadata.uid, ..Default::default() };
        let params = DeleteParams::background().preconditions(this);
        gone(within(&format!("remove the {kind} {name}"), api.delete(name, &params)).await)
    }

    /// The metadata of an object, if it is there.
    pub(super) async fn find<K: Kind>(&self, what: &str, name: &str) -> Result<Option<PartialObjectMeta<K>>> {
        let (api, doing) = (self.api::<K>(), format!("look for {what}"));
        if K::kind(&()) != "Secret" {
            return within(&doing, api.get_metadata_opt(name)).await;
        }
        // The router has no right to read Secrets. A patch that says nothing, and is not carried out, tells as much.
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        let nothing = Patch::Merge(json!({}));
        match within(&doing, api.patch_metadata(name, &params, &nothing)).await {
            Ok(found) => Ok(Some(found)),
            Err(Problem::Missing) => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// Sets the count, and nothing else; `first` are to go rather than others.
    pub(super) async fn scale(
        &self,
        key: &ServiceKey,
        attach: Option<&Attach>,
        count: u32,
        first: &[String],
    ) -> Result<(u32, Version)> {
        for pod in first {
            let cheap = json!({ DELETION_COST: "-100" });
            if let Err(Problem::Refused(failure)) = self.annotate::<Pod>(pod, cheap).await {
                tracing::debug!(service = %key, pod, "cannot be told to go first: {}", failure.detail);
            }
        }
        let params = PatchParams { field_manager: Some(names::MANAGER.into()), ..Default::default() };
        let patch = Patch::Merge(json!({ "spec": { "replicas": count } }));
        let own = names::workload(key);
        let name = attach.map_or(own.as_str(), |a| a.name.as_str());
        let namespace = attach.and_then(|a| a.namespace.as_deref()).unwrap_or(&self.cluster.namespace);
        let client = self.cluster.client.clone();
        let scale: Scale = match attach.map(|a| a.kind) {
            None | Some(AttachKind::Deployment) => {
                let api: Api<Deployment> = Api::namespaced(client, namespace);
                within("scale the Deployment", api.patch_scale(name, &params, &patch)).await?
            }
            Some(AttachKind::StatefulSet) => {
                let api: Api<StatefulSet> = Api::namespaced(client, namespace);
                within("scale the StatefulSet", api.patch_scale(name, &params, &patch)).await?
            }
        };
        let set = scale.spec.and_then(|s| s.replicas).unwrap_or(0).max(0).unsigned_abs();
        Ok((set, Version::of(scale.metadata.resource_version.as_deref())))
    }

    /// Deletes a pod; `now`: without its grace.
    pub(super) async fn delete_pod(&self, name: &str, now: bool) -> Result<()> {
        let params = DeleteParams { grace_period_seconds: now.then_some(0), ..Default::default() };
        let api: Api<Pod> = self.api();
        gone(within("delete the pod", api.delete(name, &params)).await)
    }

    /// Writes onto a pod which replica it is.
    pub(super) async fn mark(&self, pod: &str, id: ReplicaId) -> Result<()> {
        self.annotate::<Pod>(pod, json!({ names::REPLICA: id.to_string() })).await
    }

    /// Writes onto an object, and nothing else of it.
    pub(super) async fn annotate<K: Kind>(&self, name: &str, annotations: serde_json::Value) -> Result<()> {
        let params = PatchParams { field_manager: Some(names::MANAGER.into()), ..Default::default() };
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        let doing = format!("write onto the {} {name}", K::kind(&()));
        within(&doing, self.api::<K>().patch(name, &params, &patch)).await.map(drop)
    }

    /// Applies what nothing is known of: it is not there, or it is ours.
    async fn apply_new<K: Kind>(&self, object: &K) -> Result<K> {
        self.must_be_free(object).await?;
        self.apply(object).await
    }

    /// An object without our mark is someone else's, whatever it is called.
    async fn must_be_free<K: Kind>(&self, object: &K) -> Result<()> {
        let name = object.meta().name.as_deref().unwrap_or_default();
        let what = format!("the {} {name}", K::kind(&()));
        let found = self.find::<K>(&what, name).await?;
        match found {
            Some(found) if !names::is_ours(&self.settings.instance, found.metadata.labels.as_ref()) => {
                let marks = names::in_words(&names::installation_labels(&self.settings.instance)).join(" and ");
                let failure = trouble::taken(&what, &self.cluster.namespace, &marks);
                Err(Problem::Refused(failure))
            }
            _ => Ok(()),
        }
    }

    async fn apply<K: Kind>(&self, object: &K) -> Result<K> {
        let name = object.meta().name.clone().unwrap_or_default();
        let doing = format!("apply the {} {name}", K::kind(&()));
        let params = PatchParams::apply(names::MANAGER).force();
        match within(&doing, self.api::<K>().patch(&name, &params, &Patch::Apply(object))).await {
            Err(Problem::Missing) => {
                let namespace = &self.cluster.namespace;
                Err(Problem::Refused(trouble::backend(format!("{doing}: there is no namespace {namespace}"))))
            }
            answer => answer,
        }
    }
}

/// A call with its deadline.
pub(super) async fn within<T>(doing: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T> {
    match tokio::time::timeout(CALL, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(trouble::judge(doing, &error)),
        Err(_) => Err(Problem::Away),
    }
}

/// What was to be deleted is gone, too, if it was not there.
fn gone<T>(answer: Result<T>) -> Result<()> {
    match answer {
        Ok(_) | Err(Problem::Missing) => Ok(()),
        Err(problem) => Err(problem),
    }
}
