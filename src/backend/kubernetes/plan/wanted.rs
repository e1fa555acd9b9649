//! The objects that a configuration asks for.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::live::{Kind, Live};
use crate::backend::kubernetes::manifest::{self, Callers, Login, Place};
use crate::backend::kubernetes::names;
use crate::config::settings::{Attach, BackendKind, KubernetesSettings, Settings};
use crate::landscape::{ServiceKey, ServiceSpec};
use crate::private::names::label_of;

/// All that a configuration says about a cluster.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Objects that are to be there.
    pub(super) objects: Vec<Object>,
    /// Services that someone else's workload stands for.
    pub(super) attached: Vec<(ServiceKey, Attach)>,
    /// Services that cannot run there, and the remedy; what they have is left as it is.
    pub(super) not_runnable: Vec<(ServiceKey, String)>,
    /// Landscapes of which nothing is known, and why; what they have is left as it is.
    pub(super) unknown: Vec<(Arc<str>, String)>,
}

/// An object, as it would be applied.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Empty for names.
    pub(super) landscape: Arc<str>,
    pub(super) service: Option<Arc<str>>,
    pub(super) value: Value,
}

/// One service of Kubernetes with a workload of its own.
struct Own<'s> {
    spec: &'s ServiceSpec,
    grace: Duration,
}

/// What `settings` ask for. What nobody configures, as the number of replicas, is taken from what is there.
pub(super) fn wanted(settings: &Settings, namespace: &str, logins: &[Login], live: &Live) -> Wanted {
    let mut wanted = Wanted::default();
    for landscape in &settings.landscapes {
        let spec = match &landscape.spec {
            Ok(spec) => spec,
            Err(why) => {
                wanted.unknown.push((landscape.id.clone(), why.clone()));
                continue;
            }
        };
        let mut own = Vec::new();
        for (key, policy) in landscape.policies.iter().filter(|(_, p)| p.backend == BackendKind::Kubernetes) {
            let Some(spec) = spec.services.get(&key.service).filter(|s| s.runs()) else { continue };
            match &policy.attach {
                Some(attach) => wanted.attached.push((key.clone(), attach.clone())),
                None => own.push(Own { spec, grace: policy.stop_grace }),
            }
        }
        if !own.is_empty() {
            of_landscape(&landscape.id, &own, &settings.kubernetes, namespace, logins, live, &mut wanted);
        }
    }
    wanted
}

fn of_landscape(
    id: &Arc<str>,
    own: &[Own<'_>],
    settings: &KubernetesSettings,
    namespace: &str,
    logins: &[Login],
    live: &Live,
    wanted: &mut Wanted,
) {
    let anchor = names::landscape(id);
    let owner = live.read(Kind::ConfigMap, &anchor).as_ref().and_then(manifest::owner);
    let place = Place { settings, namespace, owner: owner.as_ref() };
    let object = |kind, name, service: Option<&ServiceKey>, value| Object {
        kind,
        name,
        landscape: id.clone(),
        service: service.map(|key| key.service.clone()),
        value,
    };
    // Where the router runs it knows; a plan may be made elsewhere.
    let callers = live.read(Kind::NetworkPolicy, &anchor).as_ref().and_then(Callers::of).unwrap_or_default();
    wanted.objects.push(object(Kind::ConfigMap, anchor.clone(), None, json!(manifest::anchor(id, place))));
    let policy = manifest::network_policy(id, &callers, place);
    wanted.objects.push(object(Kind::NetworkPolicy, anchor, None, json!(policy)));
    if let Some(secret) = manifest::pull_secret(id, logins, place) {
        wanted.objects.push(object(Kind::Secret, names::pull_secret(id), None, json!(secret)));
    }
    for Own { spec, grace } in own {
        let name = names::workload(&spec.key);
        let (count, rolling) = live.get(Kind::Deployment, &name).map(scale).unwrap_or_default();
        match manifest::deployment(spec, place, count, rolling, *grace) {
            Ok(deployment) => {
                if let Some(secret) = manifest::secret(spec, place) {
                    wanted.objects.push(object(Kind::Secret, name.clone(), Some(&spec.key), json!(secret)));
                }
                wanted.objects.push(object(Kind::Deployment, name, Some(&spec.key), json!(deployment)));
            }
            Err(why) => wanted.not_runnable.push((spec.key.clone(), why)),
        }
    }
}

/// How many replicas a Deployment has, and whether it is held while its service rolls.
fn scale(deployment: &Value) -> (u32, bool) {
    let number = |field: &str| deployment["spec"][field].as_u64().unwrap_or_default();
    (u32::try_from(number("replicas")).unwrap_or(u32::MAX), number("minReadySeconds") > 0)
}

impl Wanted {
    /// What is there of ours and is not asked for, nor left as it is.
    pub(super) fn superfluous<'l>(&self, live: &'l Live) -> Vec<(Kind, &'l str, &'l Value)> {
        let asked: HashSet<(Kind, &str)> = self.objects.iter().map(|o| (o.kind, o.name.as_str())).collect();
        let left = |kind: Kind, name: &str, value: &Value| {
            if kind.is_of_names() {
                let is_of = |id: &str| label_of(id, "").is_some_and(|begin| name.starts_with(&begin));
                return self.unknown.iter().any(|(id, _)| is_of(id));
            }
            let annotations = &value["metadata"]["annotations"];
            let landscape = annotations[names::LANDSCAPE].as_str().unwrap_or_default();
            let service = annotations[names::SERVICE].as_str();
            self.unknown.iter().any(|(id, _)| **id == *landscape)
                || self.not_runnable.iter().any(|(k, _)| *k.landscape == *landscape && Some(&*k.service) == service)
        };
        live.all().filter(|(kind, name, value)| !asked.contains(&(*kind, *name)) && !left(*kind, name, value)).collect()
    }
}
