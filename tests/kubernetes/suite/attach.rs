//! Workloads of others: woken and put to sleep by their number of replicas, and by nothing else.

use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{Rig, ci, service};
use crate::fixture::object::Object;
use crate::support::{Load, Router};
use crate::town::{Town, deployment, template};

/// A site whose service `web` is the workload `theirs`.
fn rig(town: Town, kind: &str, replicas: u32, settings: &str) -> Rig {
    let rig = Rig::of(town, settings, "pull: never", &ci(&[service("web", replicas, "/", "")]));
    let yaml = std::fs::read_to_string(rig.site.path().join("router.yaml")).unwrap();
    let attach = format!("    services: {{ web: {{ attach: {{ {kind}: theirs }} }} }}\n");
    rig.site.write("router.yaml", &(yaml + &attach));
    rig
}

/// What of an object was not written by its maker, a controller or a scaler.
fn foreign_writes(object: &Value) -> Vec<String> {
    let all = object.list("/metadata/managedFields").iter();
    let router = all.filter(|m| m.text("/manager") == "landscape-router");
    let bad = router.filter(|m| m["fieldsV1"] != json!({ "f:spec": { "f:replicas": {} } }));
    bad.map(Value::to_string).collect()
}

/// The object without what changes by itself.
fn frozen(object: &Value) -> Value {
    let mut object = object.clone();
    for field in
        ["/status", "/metadata/managedFields", "/metadata/resourceVersion", "/metadata/generation", "/spec/replicas"]
    {
        object.remove(field);
    }
    object.remove("/metadata/annotations");
    object
}

fn up_and_down(plural: &str, kind: &str, object: &Value) {
    let town = Town::new();
    town.create(plural, object).good();
    let rig = rig(town, kind, 2, "defaults: { stopGrace: 1s, idleAfter: 2s }");
    let router = Router::start(&rig.site);
    let before = rig.town.get(plural, "theirs").good();
    assert_eq!(router.shop("/").status, 200, "{}\n{}", rig.town.tell(), router.log());
    assert_eq!(rig.town.get(plural, "theirs").good().int("/spec/replicas"), 2, "as many as the landscape says");
    rig.eventually("it to be off", &router, || {
        let now = rig.town.get(plural, "theirs").good();
        now.int("/spec/replicas") == 0 && router.service("web")["state"] == "off"
    });
    let after = rig.town.get(plural, "theirs").good();
    assert_eq!(frozen(&after), frozen(&before), "nothing but the number changed");
    assert_eq!(foreign_writes(&after), [""; 0]);
    assert!(rig.town.list("deployments", "labelSelector=landscape-router/service").is_empty(), "none of our own");
}

#[test]
fn a_deployment_is_woken_and_put_to_sleep() {
    up_and_down("deployments", "deployment", &deployment("theirs", 0, &[]));
}

#[test]
fn a_stateful_set_is_woken_and_put_to_sleep() {
    let labels = json!({ "app": "theirs" });
    let object = json!({
        "metadata": { "name": "theirs" },
        "spec": { "replicas": 0, "serviceName": "theirs", "selector": { "matchLabels": labels }, "template": template(&labels, &[]) },
    });
    up_and_down("statefulsets", "statefulSet", &object);
}

#[test]
fn a_number_that_an_autoscaler_sets_is_respected() {
    let town = Town::new();
    town.create("deployments", &deployment("theirs", 0, &[])).good();
    let rig = rig(town, "deployment", 1, "");
    let router = Router::start(&rig.site);
    assert_eq!(router.shop("/").status, 200, "{}\n{}", rig.town.tell(), router.log());
    rig.await_ready(&router, "web", 1);
    let load = Load::start(router.http, "shop.localhost", "/sleep/5", 2, Duration::from_millis(2));
    rig.town.scale("deployments", "theirs", 3).good();
    rig.await_ready(&router, "web", 3);
    rig.town.scale("deployments", "theirs", 2).good();
    rig.eventually("two", &router, || router.ready("web") == 2 && rig.town.pods("app=theirs").len() == 2);
    assert_eq!(rig.town.get("deployments", "theirs").good().int("/spec/replicas"), 2);
    load.await_more(50);
    let (_, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}\n{}", router.log());
    // What it was before it slept is what it is when it wakes.
    rig.cli(&router, &["sleep", "shop/web"]);
    rig.eventually("none", &router, || rig.town.get("deployments", "theirs").good().int("/spec/replicas") == 0);
    rig.eventually("off", &router, || router.service("web")["state"] == "off");
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    assert_eq!(rig.town.get("deployments", "theirs").good().int("/spec/replicas"), 2);
}

#[test]
fn what_a_person_scales_up_is_served_and_what_they_scale_down_is_off() {
    let town = Town::new();
    town.create("deployments", &deployment("theirs", 0, &[])).good();
    let rig = rig(town, "deployment", 1, "");
    let router = Router::start(&rig.site);
    rig.town.scale("deployments", "theirs", 2).good();
    rig.await_ready(&router, "web", 2);
    let warm = router.shop("/");
    assert_eq!((warm.status, warm.header("x-landscape-cold-start")), (200, None));
    rig.town.scale("deployments", "theirs", 0).good();
    rig.eventually("off", &router, || router.service("web")["state"] == "off");
    assert_eq!(rig.town.get("deployments", "theirs").good().int("/spec/replicas"), 0);
    assert_eq!(router.shop("/").status, 200, "a request wakes it: {}", router.log());
}

#[test]
fn a_workload_that_is_not_there_is_told() {
    let rig = rig(Town::new(), "deployment", 1, "hold: { timeout: 20s }");
    let router = Router::start(&rig.site);
    let answer = router.shop("/");
    assert_eq!(answer.status, 503, "{}", answer.text());
    rig.eventually("the reason", &router, || {
        Rig::failure(&router, "web", "detail").contains("attached to is not there")
    });
    rig.town.create("deployments", &deployment("theirs", 0, &[])).good();
    rig.eventually("its coming", &router, || router.shop("/").status == 200);
}
