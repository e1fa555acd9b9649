//! From specifications to the objects of a cluster, without IO.
//!
//! Everything that a landscape has in a cluster belongs to its [`anchor`], by owner references: with that
//! one ConfigMap the rest goes. What a vault key went into is in Secrets alone.

mod deployment;
mod expansion;
#[cfg(test)]
pub(crate) mod fixtures;
mod job;
mod pod;
mod policy;
mod secret;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::names;
use crate::backend::container::{Ground, sources};
use crate::config::settings::KubernetesSettings;
use crate::landscape::{ServiceKey, ServiceSpec};

pub use deployment::{deployment, template_of};
pub use job::{JobPod, job_pod};
pub use pod::{APP_CONTAINER, PAUSE};
pub use policy::{Callers, network_policy};
pub use secret::{Login, logins, pull_secret, secret};

/// Where objects are made.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// What router.yaml says.
    pub settings: &'a KubernetesSettings,
    /// The namespace, as settings or the connection name it.
    pub namespace: &'a str,
    /// The landscape's [`anchor`], once it is there; see [`owner`].
    pub owner: Option<&'a OwnerReference>,
}

impl Place<'_> {
    fn meta(
        &self,
        name: String,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
    ) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: self.owner.map(|owner| vec![owner.clone()]),
            ..Default::default()
        }
    }

    fn of_service(&self, key: &ServiceKey) -> ObjectMeta {
        let labels = names::labels(&self.settings.instance, key);
        self.meta(names::workload(key), labels, names::annotations(key))
    }

    fn of_landscape(&self, name: String, id: &str) -> ObjectMeta {
        let labels = names::landscape_labels(&self.settings.instance, id);
        self.meta(name, labels, [(names::LANDSCAPE.to_owned(), id.to_owned())].into())
    }
}

/// Whether a cluster can run the specification by these settings; the error is the remedy, for people.
pub fn runnable(spec: &ServiceSpec, settings: &KubernetesSettings) -> Result<(), String> {
    let ground = ground(settings);
    ground.runnable(spec)?;
    if ground.image(spec)?.secret {
        return Err("its image's name has a value from the vault in it, which a cluster shows to all who see its \
                    pods: write it out in ci.yml"
            .into());
    }
    if settings.claim.is_none() && !sources(spec).is_empty() {
        return Err("it uses the shared file system: set `kubernetes.claim` in router.yaml to the \
                    PersistentVolumeClaim that holds it"
            .into());
    }
    if let Some(mount) = spec.mounts.iter().find(|m| m.mount_path.contains(':')) {
        return Err(format!("Kubernetes mounts nothing at a path with a `:`: rename {}", mount.mount_path));
    }
    if let Some(name) = spec.env.keys().find(|name| !name.bytes().all(|b| (b' '..=b'~').contains(&b))) {
        return Err(format!("Kubernetes knows no variable {name:?}: name it in ASCII characters"));
    }
    Ok(())
}

/// The landscape's ConfigMap, which owns everything else of it.
pub fn anchor(id: &str, place: Place<'_>) -> ConfigMap {
    let place = Place { owner: None, ..place };
    let note = "Everything of this landscape belongs to this object and is deleted with it.";
    ConfigMap {
        metadata: place.of_landscape(names::landscape(id), id),
        data: Some([("landscape".to_owned(), id.to_owned()), ("note".to_owned(), note.to_owned())].into()),
        ..Default::default()
    }
}

/// What makes another object the anchor's; `None` for an anchor that no cluster has answered with.
pub fn owner(anchor: &ConfigMap) -> Option<OwnerReference> {
    Some(OwnerReference {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        name: anchor.metadata.name.clone()?,
        uid: anchor.metadata.uid.clone()?,
        ..Default::default()
    })
}

fn ground(settings: &KubernetesSettings) -> Ground<'_> {
    Ground {
        key: "kubernetes",
        base: settings.base.as_deref(),
        bases: &settings.bases,
        allow_root: settings.allow_root,
    }
}

#[cfg(test)]
mod tests;
