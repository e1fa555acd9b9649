//! Deployments, StatefulSets and their pods.

use serde_json::{Value, json};

use crate::fixture::object::Object;
use crate::town::{Town, deployment, template};

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    object.list("/status/conditions").iter().find(|c| c["type"] == kind).unwrap_or(&Value::Null)
}

#[test]
fn a_deployment_scales_from_zero_and_back() {
    let town = Town::new();
    town.create("deployments", &deployment("web", 0, &[])).good();
    town.eventually("a set without pods", || {
        let sets = town.list("replicasets", "");
        sets.len() == 1 && sets[0].int("/spec/replicas") == 0
    });
    let scale = town.client.call("GET", &format!("{}/scale", town.path("deployments", "web")), "", None).good();
    assert_eq!((scale.text("/kind"), scale.text("/apiVersion")), ("Scale", "autoscaling/v1"));
    assert_eq!(scale.text("/status/selector"), "app=web");
    let scaled = town.scale("deployments", "web", 2).good();
    assert_eq!(scaled.int("/spec/replicas"), 2);
    town.eventually("two that are available", || {
        town.get("deployments", "web").good().int("/status/availableReplicas") == 2
    });
    let set = &town.list("replicasets", "")[0];
    let pods = town.pods("app=web");
    for pod in &pods {
        assert_eq!(pod.controller().unwrap().text("/uid"), set.uid());
        assert_eq!(pod.label("pod-template-hash"), set.label("pod-template-hash"));
        assert!(pod.name().starts_with(&format!("{}-", set.name())));
        assert_eq!(pod.text("/status/phase"), "Running");
        assert!(!pod.text("/status/podIP").is_empty());
    }
    let web = town.get("deployments", "web").good();
    assert_eq!(condition(&web, "Available").text("/status"), "True");
    assert_eq!(web.text("/metadata/annotations/deployment.kubernetes.io~1revision"), "1");
    town.scale("deployments", "web", 0).good();
    town.eventually("none", || town.list("pods", "labelSelector=app%3Dweb").is_empty());
    town.eventually("none in the status", || {
        let web = town.get("deployments", "web").good();
        web.int("/status/replicas") == 0 && web.int("/status/observedGeneration") == web.int("/metadata/generation")
    });
}

#[test]
fn a_scale_keeps_to_its_version_and_to_numbers() {
    let town = Town::new();
    town.create("deployments", &deployment("web", 0, &[])).good();
    let at = format!("{}/scale", town.path("deployments", "web"));
    let scale = town.client.call("GET", &at, "", None).good();
    town.merge("deployments", "web", &json!({ "metadata": { "labels": { "x": "y" } } })).good();
    let mut stale = scale.clone();
    stale.set("/spec/replicas", 3);
    town.client.call("PUT", &at, "application/json", Some(&stale)).refused(409, "Conflict");
    let negative = json!({ "spec": { "replicas": -1 } });
    town.client.call("PATCH", &at, "application/merge-patch+json", Some(&negative)).refused(422, "Invalid");
    let at = format!("{}/scale", town.path("deployments", "none"));
    town.client.call("PATCH", &at, "application/merge-patch+json", Some(&negative)).refused(404, "NotFound");
}

#[test]
fn a_quota_is_told_by_a_condition_and_an_event() {
    let town = Town::new();
    town.create("resourcequotas", &json!({ "metadata": { "name": "one" }, "spec": { "hard": { "pods": "1" } } }))
        .good();
    town.eventually("the quota to be counted", || {
        town.on_fixture().is_some() || town.get("resourcequotas", "one").good().text("/status/hard/pods") == "1"
    });
    town.create("deployments", &deployment("web", 2, &[])).good();
    town.eventually("the refusal", || {
        condition(&town.get("deployments", "web").good(), "ReplicaFailure").text("/status") == "True"
    });
    let web = town.get("deployments", "web").good();
    let failure = condition(&web, "ReplicaFailure");
    assert_eq!(failure.text("/reason"), "FailedCreate");
    let message = failure.text("/message");
    assert!(
        message.contains("forbidden: exceeded quota: one, requested: pods=1, used: pods=1, limited: pods=1"),
        "{message}"
    );
    assert_eq!(town.pods("app=web").len(), 1);
    town.eventually("an event", || {
        let events = town.list("events", "fieldSelector=reason%3DFailedCreate");
        events
            .iter()
            .any(|e| e.text("/involvedObject/kind") == "ReplicaSet" && e.text("/message").contains("exceeded quota"))
    });
    town.delete("resourcequotas", "one", &json!({})).good();
    town.eventually("two", || town.pods("app=web").len() == 2);
    town.eventually("no failure", || condition(&town.get("deployments", "web").good(), "ReplicaFailure").is_null());
}

#[test]
fn a_limit_range_refuses_pods() {
    let town = Town::new();
    let range = json!({ "metadata": { "name": "one" }, "spec": { "limits": [{ "type": "Container", "max": { "cpu": "100m" } }] } });
    town.create("limitranges", &range).good();
    let mut web = deployment("web", 1, &[]);
    web.set(
        "/spec/template/spec/containers/0/resources",
        json!({ "limits": { "cpu": "1" }, "requests": { "cpu": "10m" } }),
    );
    town.create("deployments", &web).good();
    town.eventually("the refusal", || {
        let web = town.get("deployments", "web").good();
        condition(&web, "ReplicaFailure")
            .text("/message")
            .contains("maximum cpu usage per Container is 100m, but limit is 1")
    });
}

#[test]
fn the_pod_with_the_lowest_deletion_cost_goes_first() {
    let town = Town::new();
    town.create("deployments", &deployment("web", 3, &[])).good();
    town.eventually("three", || town.get("deployments", "web").good().int("/status/readyReplicas") == 3);
    let chosen = town.pods("app=web")[1].name().to_owned();
    let cost = json!({ "metadata": { "annotations": { "controller.kubernetes.io/pod-deletion-cost": "-100" } } });
    town.merge("pods", &chosen, &cost).good();
    town.scale("deployments", "web", 2).good();
    town.eventually("two", || town.pods("app=web").len() == 2);
    assert!(town.pods("app=web").iter().all(|p| p.name() != chosen));
}

#[test]
fn a_pod_that_is_deleted_is_made_again() {
    let town = Town::new();
    town.create("deployments", &deployment("web", 1, &[])).good();
    town.eventually("one", || town.get("deployments", "web").good().int("/status/readyReplicas") == 1);
    let first = town.pods("app=web")[0].clone();
    let answer = town.delete("pods", first.name(), &json!({})).good();
    assert_eq!(answer.text("/kind"), "Pod", "a graceful deletion answers the pod");
    assert!(answer.leaving() && answer.int("/metadata/deletionGracePeriodSeconds") == 1);
    town.eventually("another", || {
        let pods = town.pods("app=web");
        pods.len() == 1 && pods[0].uid() != first.uid() && pods[0].condition("Ready") == "True"
    });
    town.eventually("the first to be gone", || town.get("pods", first.name()).status == 404);
}

#[test]
fn a_stateful_set_goes_up_and_down_in_order() {
    let town = Town::new();
    let labels = json!({ "app": "db" });
    let set = json!({
        "metadata": { "name": "db" },
        "spec": { "replicas": 0, "serviceName": "db", "selector": { "matchLabels": labels }, "template": template(&labels, &[]) },
    });
    town.create("statefulsets", &set).good();
    assert_eq!(town.scale("statefulsets", "db", 2).good().int("/spec/replicas"), 2);
    town.eventually("two", || town.get("statefulsets", "db").good().int("/status/readyReplicas") == 2);
    let mut names: Vec<String> = town.pods("app=db").iter().map(|p| p.name().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["db-0", "db-1"]);
    town.scale("statefulsets", "db", 1).good();
    town.eventually("the last to be gone", || town.get("pods", "db-1").status == 404);
    town.get("pods", "db-0").good();
    town.scale("statefulsets", "db", 0).good();
    town.eventually("none", || town.list("pods", "labelSelector=app%3Ddb").is_empty());
}

#[test]
fn endpoint_slices_tell_ready_from_not_ready() {
    let town = Town::new();
    let service = json!({
        "metadata": { "name": "web" },
        "spec": { "clusterIP": "None", "selector": { "app": "web" }, "ports": [{ "name": "http", "port": 80, "targetPort": "http" }] },
    });
    town.create("services", &service).good();
    town.create("deployments", &deployment("web", 1, &["--boot-ms", "1500"])).good();
    // One without endpoints stands for a Service that has none.
    let slices = || town.list("endpointslices", "labelSelector=kubernetes.io/service-name%3Dweb").into_iter();
    let slice = || slices().find(|s| !s.list("/endpoints").is_empty());
    town.eventually("an endpoint that is not ready", || {
        slice().is_some_and(|s| s.at("/endpoints/0/conditions/ready") == false && s.int("/ports/0/port") == 3000)
    });
    town.eventually("an endpoint that is ready", || {
        slice().is_some_and(|s| s.at("/endpoints/0/conditions/ready") == true)
    });
    let pod = &town.pods("app=web")[0];
    let slice = slice().unwrap();
    assert_eq!(slice.text("/endpoints/0/addresses/0"), pod.text("/status/podIP"));
    assert_eq!(slice.text("/endpoints/0/targetRef/uid"), pod.uid());
}
