//! Pods as callers: whose address is whose. No IO.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::backend::kubernetes::names;
use crate::landscape::ServiceKey;
use crate::observe::calls::NOBODY;
use crate::private::residents::Resident;

/// The service that a pod of ours is a replica of. A job calls for its landscape and is no service of it.
pub fn service_of(pod: &Pod) -> Option<ServiceKey> {
    let annotations = pod.metadata.annotations.as_ref()?;
    let of_job = || {
        pod.metadata.labels.as_ref()?.get(names::JOB)?;
        Some(ServiceKey::new(annotations.get(names::LANDSCAPE)?.as_str(), NOBODY))
    };
    names::service_of(annotations).or_else(of_job)
}

/// A pod of `service` as a caller; `None` for one that has no address of its own, or that has ended. `now`: seconds
/// of the wall clock since 1970.
pub fn resident(pod: &Pod, service: ServiceKey, now: i64) -> Option<Resident> {
    // It has its node's address, as others there have.
    if pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true)) || has_ended(pod) {
        return None;
    }
    let status = pod.status.as_ref()?;
    let every = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).chain(status.pod_ip.as_deref());
    let mut addresses: Vec<IpAddr> = every.filter_map(|ip| ip.parse().ok()).collect();
    addresses.sort();
    addresses.dedup();
    if addresses.is_empty() {
        return None;
    }
    // It is the moment by which the pod has to be gone, its grace included.
    let end = pod.metadata.deletion_timestamp.as_ref().map(|at| at.0.as_second());
    let ends_within = end.map(|end| Duration::from_secs(u64::try_from(end - now).unwrap_or(0)));
    Some(Resident { uid: pod.metadata.uid.as_deref()?.into(), service, addresses, ends_within })
}

/// Whether nothing of it runs any more, nor will: its address may be another's.
fn has_ended(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return true;
    }
    let terminated = |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.terminated.is_some());
    let mut containers = status.container_statuses.iter().flatten().peekable();
    pod.metadata.deletion_timestamp.is_some() && containers.peek().is_some() && containers.all(terminated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(change: impl FnOnce(&mut Value)) -> Pod {
        let mut pod = json!({
            "metadata": {
                "name": "web-1", "uid": "0-1",
                "annotations": { "landscape-router/landscape": "4711", "landscape-router/service": "web" },
            },
            "spec": { "containers": [] },
            "status": {
                "phase": "Running", "podIP": "10.0.0.2", "podIPs": [{ "ip": "10.0.0.2" }, { "ip": "fd00::2" }],
                "containerStatuses": [{
                    "name": "app", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                    "state": { "running": {} },
                }],
            },
        });
        change(&mut pod);
        serde_json::from_value(pod).unwrap()
    }

    fn seen(pod: &Pod) -> Option<Resident> {
        resident(pod, service_of(pod)?, 1_000_000_000)
    }

    #[test]
    fn a_pod_has_its_addresses_until_it_has_ended() {
        let resident = seen(&pod(|_| {})).unwrap();
        assert_eq!((&*resident.uid, resident.service), ("0-1", ServiceKey::new("4711", "web")));
        assert_eq!(resident.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.2", "fd00::2"]);
        assert_eq!(resident.ends_within, None);
        for phase in ["Succeeded", "Failed"] {
            assert_eq!(seen(&pod(|p| p["status"]["phase"] = phase.into())), None);
        }
        assert_eq!(seen(&pod(|p| p["status"] = json!({ "phase": "Pending" }))), None, "it has no address yet");
        assert!(seen(&pod(|p| p["status"]["phase"] = "Pending".into())).is_some(), "its init containers call");
    }

    #[test]
    fn a_pod_that_ends_calls_until_its_containers_have_ended_or_its_time_is_over() {
        // 2001-09-09T01:46:40Z is 1,000,000,000.
        let ending = |p: &mut Value, at: &str| {
            p["metadata"]["deletionTimestamp"] = at.into();
            p["metadata"]["deletionGracePeriodSeconds"] = 30.into();
        };
        let within = |at: &str| seen(&pod(|p| ending(p, at))).unwrap().ends_within.unwrap().as_secs();
        assert_eq!(within("2001-09-09T01:47:10Z"), 30);
        assert_eq!(within("2001-09-09T01:46:00Z"), 0);
        let ended = pod(|p| {
            ending(p, "2001-09-09T01:47:10Z");
            p["status"]["containerStatuses"][0]["state"] = json!({ "terminated": { "exitCode": 0 } });
        });
        assert_eq!(seen(&ended), None);
        let restarting =
            pod(|p| p["status"]["containerStatuses"][0]["state"] = json!({ "terminated": { "exitCode": 0 } }));
        assert!(seen(&restarting).is_some(), "its node starts it again, at the same address");
    }

    #[test]
    fn a_pod_on_its_nodes_network_is_nobody() {
        assert_eq!(seen(&pod(|p| p["spec"]["hostNetwork"] = true.into())), None);
    }

    #[test]
    fn a_job_calls_for_its_landscape() {
        let job = pod(|p| {
            p["metadata"]["annotations"] = json!({ "landscape-router/landscape": "4711" });
            p["metadata"]["labels"] = json!({ "landscape-router/job": "prepare" });
        });
        assert_eq!(service_of(&job), Some(ServiceKey::new("4711", NOBODY)));
        assert_eq!(service_of(&pod(|p| p["metadata"]["annotations"] = json!({}))), None);
    }
}
