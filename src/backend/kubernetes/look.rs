//! From the cluster's objects to what the rules need of them.

use std::time::SystemTime;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};

use super::core::{Pod, PodState, Template, Version, Workload};
use super::{manifest, names, trouble};
use crate::backend::{Failure, ReplicaId};
use crate::landscape::RunDigest;

/// What tells pods that start anew as a Deployment's, of one attached, from those of its predecessors.
const NO_IMAGE: [&str; 6] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
];
/// What a container waits for that is as it should be.
const ON_ITS_WAY: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// A Deployment of ours, or one that is attached.
pub(super) fn deployment(seen: &Deployment, ours: bool) -> Workload {
    let spec = seen.spec.as_ref();
    let status = seen.status.as_ref();
    let digest = spec.and_then(|s| s.template.metadata.as_ref()?.labels.as_ref()?.get(names::DIGEST));
    let template = digest.filter(|_| ours).map(|digest| Template {
        digest: RunDigest(digest.as_str().into()),
        hash: manifest::template_of(seen).unwrap_or_default().to_owned(),
    });
    let refusal = status.and_then(|s| s.conditions.as_ref()).and_then(|all| {
        let refused = all.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
        let (reason, message) = (refused.reason.as_deref(), refused.message.as_deref());
        Some(trouble::not_made(reason.unwrap_or("FailedCreate"), message.unwrap_or_default()))
    });
    let made = status.filter(|s| s.observed_generation >= seen.metadata.generation);
    Workload {
        version: Version::of(seen.metadata.resource_version.as_deref()),
        count: count(spec.and_then(|s| s.replicas)),
        template,
        holds: ours && spec.is_some_and(|s| s.min_ready_seconds.unwrap_or(0) > 0),
        made: made.map(|s| s.replicas.unwrap_or(0).max(0).unsigned_abs()),
        refusal,
        foreign: is_foreign(&seen.metadata),
    }
}

/// An attached StatefulSet.
pub(super) fn stateful_set(seen: &StatefulSet) -> Workload {
    let status = seen.status.as_ref().filter(|s| s.observed_generation >= seen.metadata.generation);
    Workload {
        version: Version::of(seen.metadata.resource_version.as_deref()),
        count: count(seen.spec.as_ref().and_then(|s| s.replicas)),
        template: None,
        holds: false,
        made: status.map(|s| s.replicas.max(0).unsigned_abs()),
        refusal: None,
        foreign: is_foreign(&seen.metadata),
    }
}

fn count(replicas: Option<i32>) -> u32 {
    replicas.unwrap_or(1).max(0).unsigned_abs()
}

/// Whether somebody else was the last to set the count: the fields' managers tell.
fn is_foreign(metadata: &ObjectMeta) -> bool {
    let managed = metadata.managed_fields.iter().flatten();
    let mut of_count = managed
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| !fields.0["f:spec"]["f:replicas"].is_null()));
    of_count.any(|entry| entry.manager.as_deref() != Some(names::MANAGER))
}

/// A pod, `ours` or of an attached workload.
pub(super) fn pod(seen: &api::Pod, ours: bool) -> Option<Pod> {
    let metadata = &seen.metadata;
    let status = seen.status.as_ref();
    let container = status.and_then(|s| app(s, ours));
    let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or_default();
    let finished = matches!(phase, "Succeeded" | "Failed");
    let terminating = metadata.deletion_timestamp.is_some();
    let stopped = status.and_then(|s| s.container_statuses.as_ref()).is_some_and(|all| {
        !all.is_empty() && all.iter().all(|c| c.state.as_ref().is_some_and(|s| s.terminated.is_some()))
    });
    let annotation = |name: &str| metadata.annotations.as_ref()?.get(name);
    let running = container.and_then(|c| c.state.as_ref()?.running.as_ref());
    let shares_node = seen.spec.as_ref().is_some_and(|s| s.host_network == Some(true));
    Some(Pod {
        name: metadata.name.clone()?,
        digest: metadata
            .labels
            .as_ref()
            .and_then(|l| l.get(names::DIGEST))
            .filter(|_| ours)
            .map(|d| RunDigest(d.as_str().into())),
        replica: annotation(names::REPLICA).filter(|_| ours).and_then(|text| replica(text)),
        created: metadata.creation_timestamp.as_ref().map_or(SystemTime::UNIX_EPOCH, at),
        // Before it runs, the node's own address is somebody else's.
        ip: status.filter(|_| running.is_some() || !shares_node).and_then(|s| s.pod_ip.as_ref()?.parse().ok()),
        state: state(seen, container, finished),
        ends: container.map_or(0, |c| c.restart_count.max(0).unsigned_abs())
            + u32::from(container.is_some_and(|c| c.state.as_ref().is_some_and(|s| s.terminated.is_some()))),
        last_end: container.and_then(|c| c.last_state.as_ref()?.terminated.as_ref()).map(ended),
        since: running.and_then(|r| r.started_at.as_ref()).map(at),
        ready: is_ready(seen),
        ranked: is_true(status, "Ready"),
        terminating,
        over: finished || (terminating && stopped),
        cause: cause(status),
    })
}

/// Labels of a pod against a selector of its workload.
pub(super) fn selects(selector: &LabelSelector, metadata: &ObjectMeta) -> bool {
    let none = Default::default();
    let labels = metadata.labels.as_ref().unwrap_or(&none);
    let exactly = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    exactly
        && selector.match_expressions.iter().flatten().all(|rule| {
            let value = labels.get(&rule.key);
            let listed = || value.is_some_and(|v| rule.values.iter().flatten().any(|one| one == v));
            match rule.operator.as_str() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// `<ordinal>.<generation>`
fn replica(text: &str) -> Option<ReplicaId> {
    let (ordinal, generation) = text.split_once('.')?;
    Some(ReplicaId { ordinal: ordinal.parse().ok()?, generation: generation.parse().ok()? })
}

pub(super) fn at(time: &Time) -> SystemTime {
    time.0.into()
}

/// The container that is the application: ours by its name; of others, the first.
fn app(status: &api::PodStatus, ours: bool) -> Option<&api::ContainerStatus> {
    let mut all = status.container_statuses.iter().flatten();
    if ours { all.find(|c| c.name == manifest::APP_CONTAINER) } else { all.next() }
}

fn is_true(status: Option<&api::PodStatus>, condition: &str) -> bool {
    has(status, condition).is_some_and(|c| c.status == "True")
}

fn has<'s>(status: Option<&'s api::PodStatus>, condition: &str) -> Option<&'s api::PodCondition> {
    status?.conditions.as_ref()?.iter().find(|c| c.type_ == condition)
}

/// By its node's probes, and by its gates if it has any. The condition `Ready` alone says less: of every pod of a node
/// that could not reach the API server for a while it is taken back, and nobody has looked at the pod.
fn is_ready(seen: &api::Pod) -> bool {
    let gated = seen.spec.as_ref().and_then(|s| s.readiness_gates.as_ref()).is_some_and(|gates| !gates.is_empty());
    is_true(seen.status.as_ref(), if gated { "Ready" } else { "ContainersReady" })
}

fn state(seen: &api::Pod, container: Option<&api::ContainerStatus>, finished: bool) -> PodState {
    let state = container.and_then(|c| c.state.as_ref());
    if finished {
        let said = seen.status.as_ref().and_then(|s| s.message.as_deref());
        let ended = state.and_then(|s| s.terminated.as_ref()).map(ended);
        return PodState::Finished(ended.unwrap_or_else(|| {
            let reason = seen.status.as_ref().and_then(|s| s.reason.as_deref());
            trouble::disrupted(reason.unwrap_or("its pod has ended"), said.unwrap_or_default())
        }));
    }
    if let Some(ended_) = state.and_then(|s| s.terminated.as_ref()) {
        return PodState::Exited(ended(ended_));
    }
    if state.is_some_and(|s| s.running.is_some()) {
        return PodState::Running;
    }
    if let Some(waiting) = state.and_then(|s| s.waiting.as_ref()) {
        let (reason, message) = (waiting.reason.as_deref().unwrap_or_default(), waiting.message.as_deref());
        if NO_IMAGE.contains(&reason) {
            return PodState::Failing(trouble::image(reason, message.unwrap_or_default()));
        }
        if reason == "CrashLoopBackOff" {
            let last = container.and_then(|c| c.last_state.as_ref()?.terminated.as_ref()).map(ended);
            return PodState::Failing(last.unwrap_or_else(trouble::restarted));
        }
        let fails = !reason.is_empty() && !ON_ITS_WAY.contains(&reason);
        if fails && !is_not_read_yet(message.unwrap_or_default()) {
            return PodState::Failing(trouble::backend(format!("{reason}: {}", message.unwrap_or_default())));
        }
    }
    match has(seen.status.as_ref(), "PodScheduled") {
        Some(c) if c.status == "False" && c.reason.as_deref() == Some("Unschedulable") => {
            PodState::Unscheduled(trouble::unschedulable(c.message.as_deref().unwrap_or_default()))
        }
        _ => PodState::Starting,
    }
}

/// A node tells so of a Secret that is younger than what it knows, and tries again a second later.
fn is_not_read_yet(message: &str) -> bool {
    message.starts_with("failed to sync ") && message.contains(" cache: ")
}

fn ended(end: &api::ContainerStateTerminated) -> Failure {
    trouble::exited(end.exit_code, end.signal, end.reason.as_deref().unwrap_or_default(), end.message.as_deref())
}

/// Why it was told to go, where the cluster says so.
fn cause(status: Option<&api::PodStatus>) -> Option<Failure> {
    if let Some(disrupted) = has(status, "DisruptionTarget").filter(|c| c.status == "True") {
        let (reason, message) = (disrupted.reason.as_deref(), disrupted.message.as_deref());
        return Some(trouble::disrupted(reason.unwrap_or("DisruptionTarget"), message.unwrap_or_default()));
    }
    let status = status.filter(|s| s.phase.as_deref() == Some("Failed"))?;
    let reason = status.reason.as_deref()?;
    Some(trouble::disrupted(reason, status.message.as_deref().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(reason: &str, message: &str) -> PodState {
        let waiting = api::ContainerStateWaiting { reason: Some(reason.into()), message: Some(message.into()) };
        let container = api::ContainerStatus {
            state: Some(api::ContainerState { waiting: Some(waiting), ..Default::default() }),
            ..Default::default()
        };
        state(&api::Pod::default(), Some(&container), false)
    }

    #[test]
    fn a_pod_of_a_node_that_is_not_heard_of_is_as_ready_as_it_was() {
        let condition = |type_: &str, status: bool| api::PodCondition {
            type_: type_.into(),
            status: if status { "True" } else { "False" }.into(),
            ..Default::default()
        };
        let pod = |ready, containers, gates| api::Pod {
            spec: Some(api::PodSpec { readiness_gates: gates, ..Default::default() }),
            status: Some(api::PodStatus {
                conditions: Some(vec![condition("Ready", ready), condition("ContainersReady", containers)]),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert!(is_ready(&pod(true, true, None)));
        assert!(is_ready(&pod(false, true, None)), "its node is not heard of");
        assert!(!is_ready(&pod(false, false, None)));
        let gates = || Some(vec![api::PodReadinessGate { condition_type: "example.com/balancer".into() }]);
        assert!(!is_ready(&pod(false, true, gates())), "its gate is closed");
        assert!(is_ready(&pod(true, true, gates())));
    }

    #[test]
    fn a_secret_that_the_node_has_not_read_yet_is_no_failure() {
        let reason = "CreateContainerConfigError";
        let late = "failed to sync secret cache: timed out waiting for the condition";
        assert!(matches!(waiting(reason, late), PodState::Starting));
        for missing in [r#"secret "keys" not found"#, "couldn't find key A in Secret shop/keys"] {
            let PodState::Failing(failure) = waiting(reason, missing) else { panic!("{missing}") };
            assert_eq!(failure.detail, format!("{reason}: {missing}"));
        }
    }
}
