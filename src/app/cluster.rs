//! This router as one of several, where services run on Kubernetes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::backend::kubernetes::connect::connect;
use crate::backend::kubernetes::names;
use crate::cluster::{Cluster, ClusterOptions, ClusterStatus, KnownMembers, Members, Workload};
use crate::config::settings::{AttachKind, BackendKind, KubernetesSettings, Policy, Settings};
use crate::landscape::ServiceKey;
use crate::lifecycle::Lifecycle;
use crate::lifecycle::consent::Voice;

/// A cluster that cannot be found is looked for again after so long.
const AGAIN: Duration = Duration::from_secs(5);

/// What each service is in the cluster.
type Workloads = HashMap<ServiceKey, Workload>;

/// Who this router is among those of its installation, before and after it takes part.
pub struct Seat {
    identity: String,
    members: watch::Sender<Option<Members>>,
}

impl Seat {
    /// A router that nobody has heard of.
    pub fn take() -> Self {
        Self { identity: identity(), members: watch::channel(None).0 }
    }

    /// Its name: that of its Lease, and of what it keeps for itself.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Which routers there are, where that is known.
    pub fn members(&self) -> KnownMembers {
        self.members.subscribe()
    }
}

/// See the module's words.
pub struct Routers {
    cluster: Cluster,
    workloads: Arc<ArcSwap<Workloads>>,
}

impl Routers {
    /// Takes part from now on, in the background.
    pub fn start(settings: &Settings, lifecycle: &Lifecycle, seat: &Seat) -> Self {
        let workloads = Arc::new(ArcSwap::from_pointee(workloads(settings)));
        let (known, lifecycle) = (workloads.clone(), lifecycle.clone());
        let cluster = Cluster::start(ClusterOptions {
            connect: Box::pin(reach(settings.kubernetes.clone())),
            instance: settings.kubernetes.instance.clone(),
            identity: seat.identity.clone(),
            workload: Box::new(move |key| known.load().get(key).cloned()),
            tell: Box::new(move |key, order| lifecycle.order(key, order)),
            members: seat.members.clone(),
        });
        Self { cluster, workloads }
    }

    /// Takes new settings.
    pub fn configure(&self, settings: &Settings) {
        self.workloads.store(Arc::new(workloads(settings)));
    }

    /// Where a service says what concerns the others, if it is one that they share.
    pub fn voice(&self, policy: &Policy) -> Option<Voice> {
        (policy.backend == BackendKind::Kubernetes).then(|| self.cluster.voice())
    }

    /// Who the routers are.
    pub fn status(&self) -> Arc<ClusterStatus> {
        self.cluster.status()
    }

    /// Whether no other router is there, as far as is known.
    pub fn is_alone(&self) -> bool {
        let status = self.status();
        !status.cut_off && status.routers.len() == 1
    }

    /// Every request has been served: nobody need ask this router any more.
    pub async fn end(&self) {
        self.cluster.end().await;
    }
}

/// The cluster, once what says where it is can be read.
async fn reach(settings: KubernetesSettings) -> (kube::Client, String) {
    loop {
        match connect(&settings, None).await {
            Ok(cluster) => return (cluster.client, cluster.namespace),
            // The backend, which needs it as much, tells why.
            Err(why) => tracing::debug!("the other routers cannot be found: {why}"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn workloads(settings: &Settings) -> Workloads {
    let policies = settings.landscapes.iter().flat_map(|l| &l.policies);
    let shared = policies.filter(|(_, policy)| policy.backend == BackendKind::Kubernetes);
    shared.map(|(key, policy)| (key.clone(), workload(key, policy, &settings.kubernetes.instance))).collect()
}

fn workload(key: &ServiceKey, policy: &Policy, instance: &str) -> Workload {
    let Some(attach) = &policy.attach else {
        return Workload {
            kind: AttachKind::Deployment,
            namespace: None,
            name: names::workload(key),
            instance: Some(instance.to_owned()),
        };
    };
    Workload { kind: attach.kind, namespace: attach.namespace.clone(), name: attach.name.clone(), instance: None }
}

/// A name that no other router of the installation has: the pod's, or the machine's and a few random letters.
fn identity() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        // The pod's name, also where it shares the network of its node.
        return plain(&std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).unwrap_or(host));
    }
    let random: String = std::iter::repeat_with(|| fastrand::char('a'..='z')).take(5).collect();
    format!("{}-{random}", plain(&host))
}

/// As a part of an object's name.
fn plain(name: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(kept).take(100).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "router".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Attach;
    use crate::lifecycle::fixtures;

    #[test]
    fn a_service_is_its_own_deployment_or_what_it_is_attached_to() {
        let key = ServiceKey::new("4711", "web");
        let own = workload(&key, &fixtures::policy(), "lr");
        assert_eq!((own.kind, own.namespace, &*own.name), (AttachKind::Deployment, None, "ws-server-4711-web"));
        let attach = Attach { kind: AttachKind::StatefulSet, name: "db".into(), namespace: Some("there".into()) };
        let other = workload(&key, &Policy { attach: Some(attach), ..fixtures::policy() }, "lr");
        assert_eq!(
            (other.kind, other.namespace.as_deref(), &*other.name),
            (AttachKind::StatefulSet, Some("there"), "db")
        );
    }

    #[test]
    fn names_of_machines_become_parts_of_names_of_objects() {
        assert_eq!(plain("My_Host.example.com"), "my-host-example-com");
        assert_eq!(plain("--"), "router");
        assert_ne!(identity(), identity());
    }
}
