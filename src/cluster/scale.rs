//! From some replicas to none, unless anything has happened since it was decided.
//!
//! The count's version is read first, then the mark once more, then the count is written on condition of
//! that version. Whoever is late with that - a leader that was suspended, a write that lay in a queue - finds
//! another version, because nobody wakes a service before it has been scaled to nothing.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use kube::Resource;
use kube::api::{Api, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use serde_json::json;

use super::core::Scaled;
use super::leases::{Leases, within};
use super::object::{Phase, read_marks};
use crate::backend::kubernetes::{names, trouble};
use crate::config::settings::AttachKind;
use crate::landscape::ServiceKey;
use crate::lifecycle::consent::Token;

/// What a service is in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// A Deployment or a StatefulSet.
    pub kind: AttachKind,
    /// Where it is; `None`: where the Leases are.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The installation whose marks it selects its pods by; `None`: it is attached, and need not.
    pub instance: Option<String>,
}

impl Workload {
    /// Whether what is called so is what it should be, and not something of somebody else.
    fn is(&self, scale: &Scale) -> bool {
        let Some(instance) = &self.instance else { return true };
        let selector = scale.status.as_ref().and_then(|s| s.selector.as_deref()).unwrap_or_default();
        let wanted = names::in_words(&names::installation_labels(instance));
        wanted.iter().all(|label| selector.split(',').any(|one| one == label))
    }
}

/// Where the cluster and the marks are.
#[derive(Clone)]
pub(super) struct Place {
    pub client: kube::Client,
    pub leases: Leases,
    pub namespace: String,
    /// The name of their Lease.
    pub marks: Arc<str>,
}

impl Place {
    /// Scales a service to nothing, if its mark is committed and its count is as it was.
    pub async fn scale_down(&self, workload: Workload, key: &ServiceKey, token: Token) -> Scaled {
        let mut first = None;
        // A version changes with every pod that comes or goes, too: then it is read again at once.
        for _ in 0..5 {
            match self.step(&workload, key, token, &mut first).await {
                Ok(Some(scaled)) => return scaled,
                Ok(None) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => return Scaled::Done,
                Err(error) => {
                    tracing::warn!(service = %key, "not scaled to nothing yet: {}", trouble::text(&error));
                    return Scaled::Failed;
                }
            }
        }
        Scaled::Failed
    }

    async fn step(
        &self,
        workload: &Workload,
        key: &ServiceKey,
        token: Token,
        first: &mut Option<i32>,
    ) -> Result<Option<Scaled>, kube::Error> {
        let before = self.get(workload).await?;
        if !workload.is(&before) {
            // As if it were not there.
            return Ok(Some(Scaled::Done));
        }
        let count = before.spec.as_ref().and_then(|s| s.replicas).unwrap_or_default();
        if count == 0 {
            return Ok(Some(Scaled::Done));
        }
        if *first.get_or_insert(count) != count {
            return Ok(Some(Scaled::Overruled));
        }
        let note = self.leases.read(&self.marks).await?.and_then(|content| content.note);
        let mark = read_marks(note.as_deref()).remove(key);
        if !mark.is_some_and(|m| m.token == token && m.phase == Phase::Committed) {
            // Another leader has done it.
            return Ok(Some(Scaled::Failed));
        }
        let version = before.metadata.resource_version;
        let patch = json!({ "metadata": { "resourceVersion": version }, "spec": { "replicas": 0 } });
        match self.set(workload, &Patch::Merge(patch)).await {
            Ok(_) => Ok(Some(Scaled::Done)),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn get(&self, workload: &Workload) -> kube::Result<Scale> {
        let name = &workload.name;
        within(async {
            match workload.kind {
                AttachKind::Deployment => self.api::<Deployment>(workload).get_scale(name).await,
                AttachKind::StatefulSet => self.api::<StatefulSet>(workload).get_scale(name).await,
            }
        })
        .await
    }

    async fn set(&self, workload: &Workload, patch: &Patch<serde_json::Value>) -> kube::Result<Scale> {
        let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
        let name = &workload.name;
        within(async {
            match workload.kind {
                AttachKind::Deployment => self.api::<Deployment>(workload).patch_scale(name, &params, patch).await,
                AttachKind::StatefulSet => self.api::<StatefulSet>(workload).patch_scale(name, &params, patch).await,
            }
        })
        .await
    }

    fn api<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(&self, workload: &Workload) -> Api<K> {
        Api::namespaced(self.client.clone(), workload.namespace.as_ref().unwrap_or(&self.namespace))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::autoscaling::v1::ScaleStatus;

    use super::*;

    #[test]
    fn a_workload_is_known_by_what_it_selects() {
        let of = |selector: &str| Scale {
            status: Some(ScaleStatus { replicas: 1, selector: Some(selector.into()) }),
            ..Default::default()
        };
        let own = Workload {
            kind: AttachKind::Deployment,
            namespace: None,
            name: "ws-server-4711-web".into(),
            instance: Some("lr".into()),
        };
        let marks = "app.kubernetes.io/managed-by=landscape-router,landscape-router/instance=lr";
        assert!(own.is(&of(&format!("{marks},landscape-router/landscape=4711,landscape-router/service=web"))));
        assert!(!own.is(&of("app=web")) && !own.is(&Scale::default()));
        assert!(!own.is(&of(&format!("{marks}-2"))), "another installation's");
        assert!(Workload { instance: None, ..own }.is(&of("app=web")), "it is attached");
    }
}
