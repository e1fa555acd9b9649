//! From one template to the next, as the router has a Deployment do it.

use serde_json::{Value, json};

use crate::fixture::object::Object;
use crate::town::{Town, deployment};

/// A Deployment that takes all new pods beside all old ones.
fn rolled(replicas: u32, version: &str) -> Value {
    let mut web = deployment("web", replicas, &[]);
    web.set(
        "/spec/strategy",
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "100%", "maxUnavailable": 0 } }),
    );
    web.set("/spec/template/spec/containers/0/env", json!([{ "name": "VERSION", "value": version }]));
    web
}

fn held(mut web: Value) -> Value {
    web.set("/spec/minReadySeconds", 86_400);
    web.set("/spec/progressDeadlineSeconds", 172_800);
    web
}

fn versions(town: &Town) -> Vec<String> {
    let version = |p: &Value| p.text("/spec/containers/0/env/0/value").to_owned();
    let mut all: Vec<String> = town.pods("app=web").iter().map(version).collect();
    all.sort();
    all
}

fn ready(town: &Town) -> usize {
    town.pods("app=web").iter().filter(|p| p.condition("Ready") == "True").count()
}

#[test]
fn new_pods_are_ready_before_old_ones_go() {
    let town = Town::new();
    town.apply("deployments", &rolled(2, "one"), "router", true).good();
    town.eventually("two", || ready(&town) == 2);
    town.apply("deployments", &rolled(2, "two"), "router", true).good();
    let mut least = 2;
    town.eventually("two new ones", || {
        least = least.min(ready(&town));
        versions(&town) == ["two", "two"] && ready(&town) == 2
    });
    assert_eq!(least, 2, "never fewer than wanted");
    let web = town.get("deployments", "web").good();
    assert_eq!(web.text("/metadata/annotations/deployment.kubernetes.io~1revision"), "2");
    town.eventually("all updated", || {
        let web = town.get("deployments", "web").good();
        web.int("/status/updatedReplicas") == 2 && web.int("/status/replicas") == 2
    });
}

#[test]
fn a_held_roll_out_keeps_both_until_it_is_let_go() {
    let town = Town::new();
    town.apply("deployments", &rolled(2, "one"), "router", true).good();
    town.eventually("two", || ready(&town) == 2);
    town.apply("deployments", &held(rolled(2, "two")), "router", true).good();
    town.eventually("both, ready", || versions(&town) == ["one", "one", "two", "two"] && ready(&town) == 4);
    // Some time in which an old one could go.
    let newest = town
        .list("replicasets", "")
        .into_iter()
        .max_by_key(|s| s.text("/metadata/creationTimestamp").to_owned())
        .unwrap();
    town.eventually("the new ones to be counted", || {
        town.get("replicasets", newest.name()).good().int("/status/readyReplicas") == 2
    });
    assert_eq!(town.get("replicasets", newest.name()).good().int("/status/availableReplicas"), 0);
    assert_eq!(versions(&town).len(), 4);
    let sets = town.list("replicasets", "").len();
    town.apply("deployments", &rolled(2, "two"), "router", true).good();
    town.eventually("the new ones alone", || versions(&town) == ["two", "two"]);
    assert_eq!(town.list("replicasets", "").len(), sets, "letting go makes no other set");
}

#[test]
fn a_held_roll_out_that_is_taken_back_keeps_the_old_pods() {
    let town = Town::new();
    town.apply("deployments", &rolled(2, "one"), "router", true).good();
    town.eventually("two", || ready(&town) == 2);
    let mut before: Vec<String> = town.pods("app=web").iter().map(|p| p.uid().to_owned()).collect();
    town.apply("deployments", &held(rolled(2, "two")), "router", true).good();
    town.eventually("both", || versions(&town) == ["one", "one", "two", "two"]);
    town.apply("deployments", &rolled(2, "one"), "router", true).good();
    town.eventually("the old ones alone", || versions(&town) == ["one", "one"]);
    let mut after: Vec<String> = town.pods("app=web").iter().map(|p| p.uid().to_owned()).collect();
    before.sort();
    after.sort();
    assert_eq!(before, after);
}

#[test]
fn a_new_template_of_none_makes_no_pods() {
    let town = Town::new();
    town.apply("deployments", &rolled(0, "one"), "router", true).good();
    town.eventually("a set", || town.list("replicasets", "").len() == 1);
    town.apply("deployments", &rolled(0, "two"), "router", true).good();
    town.eventually("two sets", || town.list("replicasets", "").len() == 2);
    assert!(town.pods("app=web").is_empty());
    town.scale("deployments", "web", 1).good();
    town.eventually("the new one", || versions(&town) == ["two"]);
}
