//! The Deployment of a service.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sha2::{Digest, Sha256};

use super::{Place, names, pod};
use crate::landscape::ServiceSpec;

/// Longer than any roll of ours: new pods come up beside the old ones, and Kubernetes retires none of these
/// until it is applied anew without.
const HELD: i32 = 86_400;
/// Has to be longer than that a pod must have been ready. What does not start is noticed by us.
const HELD_DEADLINE: i32 = 2 * HELD;
/// Kubernetes' own default.
const DEADLINE: i32 = 600;

/// The Deployment that runs `count` replicas; while `rolling`, old pods stay beside the new ones. `grace`: from the
/// polite signal to the kill. The error is the remedy, for people.
pub fn deployment(
    spec: &ServiceSpec,
    place: Place<'_>,
    count: u32,
    rolling: bool,
    grace: Duration,
) -> Result<Deployment, String> {
    let instance = &place.settings.instance;
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(names::pod_labels(instance, &spec.key, &spec.run_digest())),
            annotations: Some(names::annotations(&spec.key)),
            ..Default::default()
        }),
        spec: Some(pod::replica(spec, place, grace)?),
    };
    let mut metadata = place.of_service(&spec.key);
    metadata.annotations.get_or_insert_default().insert(names::TEMPLATE.into(), digest(&template));
    let (ready_after, deadline) = if rolling { (HELD, HELD_DEADLINE) } else { (0, DEADLINE) };
    Ok(Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(i32::try_from(count).unwrap_or(i32::MAX)),
            selector: LabelSelector { match_labels: Some(names::labels(instance, &spec.key)), ..Default::default() },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::String("100%".into())),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            min_ready_seconds: Some(ready_after),
            progress_deadline_seconds: Some(deadline),
            // What ran before is in the configuration's own history.
            revision_history_limit: Some(1),
            template,
            ..Default::default()
        }),
        ..Default::default()
    })
}

/// The digest of the pod template that a Deployment was last applied with, as [`deployment`] noted it.
pub fn template_of(deployment: &Deployment) -> Option<&str> {
    deployment.metadata.annotations.as_ref()?.get(names::TEMPLATE).map(String::as_str)
}

fn digest(template: &PodTemplateSpec) -> String {
    // Plain data of texts and numbers: it can be written.
    let text = serde_json::to_vec(template).unwrap_or_default();
    Sha256::digest(&text).iter().take(8).map(|b| format!("{b:02x}")).collect()
}
