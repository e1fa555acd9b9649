//! How a container, a network or a volume says whose it is.
//!
//! Names are for people and against doubles; labels are what the router reads back. A container's
//! name is a function of its replica, so that two attempts to make the same one meet in the engine
//! (409) instead of doubling it. Its last part is a digest over the instance's secret id: no tenant
//! can guess it, and so the engine's own DNS, which answers for container names, shadows no private
//! name.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::backend::ReplicaId;
use crate::landscape::{LandscapeId, RunDigest, ServiceKey, ServiceSpec};

const INSTANCE: &str = "landscape-router.instance";
const LANDSCAPE: &str = "landscape-router.landscape";
const SERVICE: &str = "landscape-router.service";
const ORDINAL: &str = "landscape-router.ordinal";
const GENERATION: &str = "landscape-router.generation";
const DIGEST: &str = "landscape-router.digest";
const PORTS: &str = "landscape-router.ports";
const JOB: &str = "landscape-router.job";

/// The router's own id: a string that outlives restarts and that two routers never share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instance(pub(super) String);

/// What a replica's labels say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplicaLabels {
    pub(super) service: ServiceKey,
    pub(super) id: ReplicaId,
    pub(super) digest: RunDigest,
    pub(super) ports: Vec<u16>,
}

impl Instance {
    /// The filter that finds everything of this instance, for `list` and `events`.
    pub(super) fn filter(&self) -> String {
        format!("{INSTANCE}={}", self.0)
    }

    /// The container name of a replica.
    pub(super) fn replica_name(&self, service: &ServiceKey, id: ReplicaId) -> String {
        self.name(&[&service.landscape, &service.service, &format!("{}", id.ordinal), &format!("{}", id.generation)])
    }

    /// The name of a landscape's network.
    pub(super) fn network_name(&self, landscape: &str) -> String {
        self.name(&[landscape])
    }

    fn name(&self, parts: &[&str]) -> String {
        let mut sum = Sha256::new();
        for part in std::iter::once(&self.0.as_str()).chain(parts) {
            sum.update((part.len() as u64).to_le_bytes());
            sum.update(part.as_bytes());
        }
        let sum: String = sum.finalize().iter().take(6).map(|b| format!("{b:02x}")).collect();
        let mut name = String::from("lr");
        for part in parts {
            name.push('-');
            name.extend(part.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(48));
        }
        name.push('-');
        name.push_str(&sum);
        name
    }

    /// Labels of something that belongs to a landscape as a whole.
    pub(super) fn landscape_labels(&self, landscape: &str) -> HashMap<String, String> {
        HashMap::from([(INSTANCE.into(), self.0.clone()), (LANDSCAPE.into(), landscape.into())])
    }

    /// Labels of a container that runs `prepare` or `test`.
    pub(super) fn job_labels(&self, landscape: &str, stage: &str) -> HashMap<String, String> {
        let mut labels = self.landscape_labels(landscape);
        labels.insert(JOB.into(), stage.into());
        labels
    }

    /// Labels of a replica's container.
    pub(super) fn replica_labels(&self, spec: &ServiceSpec, id: ReplicaId) -> HashMap<String, String> {
        let ports: Vec<String> = spec.all_ports().iter().map(u16::to_string).collect();
        let mut labels = self.landscape_labels(&spec.key.landscape);
        labels.insert(SERVICE.into(), spec.key.service.to_string());
        labels.insert(ORDINAL.into(), id.ordinal.to_string());
        labels.insert(GENERATION.into(), id.generation.to_string());
        labels.insert(DIGEST.into(), spec.run_digest().0);
        labels.insert(PORTS.into(), ports.join(","));
        labels
    }
}

/// The landscape that something belongs to.
pub(super) fn landscape_of(labels: &HashMap<String, String>) -> Option<LandscapeId> {
    labels.get(LANDSCAPE).map(|l| LandscapeId::from(l.as_str()))
}

/// The replica that a container's or an event's labels name; `None` for what is no replica.
pub(super) fn replica_of(labels: &HashMap<String, String>) -> Option<(ServiceKey, ReplicaId)> {
    let service = ServiceKey::new(labels.get(LANDSCAPE)?.as_str(), labels.get(SERVICE)?.as_str());
    let id =
        ReplicaId { ordinal: labels.get(ORDINAL)?.parse().ok()?, generation: labels.get(GENERATION)?.parse().ok()? };
    Some((service, id))
}

/// All that a replica's labels say; `None` where one is missing or unreadable.
pub(super) fn read(labels: &HashMap<String, String>) -> Option<ReplicaLabels> {
    let (service, id) = replica_of(labels)?;
    let ports = labels.get(PORTS)?.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(ReplicaLabels { service, id, digest: RunDigest(labels.get(DIGEST)?.clone()), ports })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_for_one_replica_and_another_for_every_other() {
        let instance = Instance("a".into());
        let key = ServiceKey::new("4711", "web");
        let one = ReplicaId { ordinal: 0, generation: 3 };
        let two = ReplicaId { ordinal: 0, generation: 4 };
        assert_eq!(instance.replica_name(&key, one), instance.replica_name(&key, one));
        assert_ne!(instance.replica_name(&key, one), instance.replica_name(&key, two));
        assert_ne!(instance.replica_name(&key, one), Instance("b".into()).replica_name(&key, one));
        assert!(instance.replica_name(&key, one).starts_with("lr-4711-web-0-3-"));
    }

    #[test]
    fn parts_that_run_together_still_differ() {
        let instance = Instance("a".into());
        let one = instance.replica_name(&ServiceKey::new("a-b", "c"), ReplicaId { ordinal: 0, generation: 1 });
        let two = instance.replica_name(&ServiceKey::new("a", "b-c"), ReplicaId { ordinal: 0, generation: 1 });
        assert_ne!(one, two);
    }
}
