//! Objects: made, read, changed, removed, refused.

use serde_json::{Value, json};

use crate::fixture::object::Object;
use crate::town::{Town, deployment};

fn config(name: &str, label: &str) -> Value {
    json!({ "metadata": { "name": name, "labels": { "color": label } }, "data": { "key": "value" } })
}

#[test]
fn an_object_is_made_read_and_removed() {
    let town = Town::new();
    let made = town.create("configmaps", &config("one", "red"));
    assert_eq!(made.status, 201);
    let made = made.good();
    assert!(!made.uid().is_empty() && !made.text("/metadata/creationTimestamp").is_empty());
    assert_eq!(town.get("configmaps", "one").good(), made);
    let message = town.create("configmaps", &config("one", "red")).refused(409, "AlreadyExists");
    assert_eq!(message, "configmaps \"one\" already exists");
    let gone = town.delete("configmaps", "one", &json!({})).good();
    assert_eq!((gone.text("/kind"), gone.text("/status")), ("Status", "Success"), "{gone}");
    assert_eq!(gone.text("/details/name"), "one");
    let missing = town.get("configmaps", "one");
    assert_eq!(missing.body.text("/details/kind"), "configmaps");
    assert_eq!(missing.refused(404, "NotFound"), "configmaps \"one\" not found");
    town.delete("configmaps", "one", &json!({})).refused(404, "NotFound");
}

#[test]
fn a_deletion_keeps_to_its_preconditions() {
    let town = Town::new();
    town.create("configmaps", &config("one", "red")).good();
    let other = json!({ "preconditions": { "uid": "00000000-0000-4000-a000-000000000000" } });
    let message = town.delete("configmaps", "one", &other).refused(409, "Conflict");
    assert!(message.contains("does not match the UID in record"), "{message}");
    let uid = town.get("configmaps", "one").good().uid().to_owned();
    town.delete("configmaps", "one", &json!({ "preconditions": { "uid": uid } })).good();
}

#[test]
fn a_stale_version_is_a_conflict_and_none_is_not() {
    let town = Town::new();
    let first = town.create("configmaps", &config("one", "red")).good();
    let mut next = first.clone();
    next.set("/data/key", "other");
    let second = town.replace("configmaps", &next).good();
    assert_ne!(first.at("/metadata/resourceVersion"), second.at("/metadata/resourceVersion"));
    let message = town.replace("configmaps", &next).refused(409, "Conflict");
    assert!(
        message.starts_with("Operation cannot be fulfilled on configmaps \"one\": the object has been modified"),
        "{message}"
    );
    next.remove("/metadata/resourceVersion");
    next.set("/data/key", "third");
    town.replace("configmaps", &next).good();
    let stale =
        json!({ "metadata": { "resourceVersion": first.text("/metadata/resourceVersion") }, "data": { "key": "4" } });
    town.merge("configmaps", "one", &stale).refused(409, "Conflict");
}

#[test]
fn what_changes_nothing_is_not_written() {
    let town = Town::new();
    let first = town.create("configmaps", &config("one", "red")).good();
    let again = town.merge("configmaps", "one", &json!({ "data": { "key": "value" } })).good();
    assert_eq!(first.at("/metadata/resourceVersion"), again.at("/metadata/resourceVersion"));
}

#[test]
fn selectors_choose() {
    let town = Town::new();
    for (name, color) in [("one", "red"), ("two", "green"), ("three", "blue")] {
        town.create("configmaps", &config(name, color)).good();
    }
    let names = |query: &str| -> Vec<String> {
        let all = town.list("configmaps", query);
        // Distributions put some of their own into every namespace.
        all.iter().map(|o| o.name().to_owned()).filter(|n| ["one", "two", "three"].contains(&&**n)).collect()
    };
    assert_eq!(names("labelSelector=color%3Dred"), ["one"]);
    assert_eq!(names("labelSelector=color+in+(red,blue)"), ["one", "three"]);
    assert_eq!(names("labelSelector=color,color!%3Dred"), ["three", "two"]);
    assert_eq!(names("labelSelector=color,color+notin+(red,blue)"), ["two"]);
    assert_eq!(names("labelSelector=!color"), [""; 0]);
    assert_eq!(names("fieldSelector=metadata.name%3Dtwo"), ["two"]);
    let at = format!("{}?fieldSelector=data.key%3D1", town.path("configmaps", ""));
    town.client.call("GET", &at, "", None).refused(400, "BadRequest");
}

#[test]
fn pages_of_a_list_are_of_one_moment() {
    let town = Town::new();
    for n in 0..5 {
        town.create("configmaps", &config(&format!("c{n}"), "red")).good();
    }
    let at = |more: &str| format!("{}?labelSelector=color&limit=2{more}", town.path("configmaps", ""));
    let page = |more: &str| town.client.call("GET", &at(more), "", None).good();
    let names = |page: &Value| -> Vec<String> { page.list("/items").iter().map(|o| o.name().to_owned()).collect() };
    let first = page("");
    assert_eq!(names(&first), ["c0", "c1"]);
    town.create("configmaps", &config("c3a", "red")).good();
    town.delete("configmaps", "c2", &json!({})).good();
    let token =
        |page: &Value| format!("&continue={}", page.text("/metadata/continue").replace('=', "%3D").replace('+', "%2B"));
    let second = page(&token(&first));
    assert_eq!(names(&second), ["c2", "c3"], "as it was");
    let third = page(&token(&second));
    assert_eq!(names(&third), ["c4"]);
    assert!(third.text("/metadata/continue").is_empty());
    assert_eq!(first.at("/metadata/resourceVersion"), third.at("/metadata/resourceVersion"));
}

#[test]
fn generations_count_changes_of_the_specification() {
    let town = Town::new();
    let made = town.create("deployments", &deployment("web", 0, &[])).good();
    assert_eq!(made.int("/metadata/generation"), 1);
    let generation = || town.get("deployments", "web").good().int("/metadata/generation");
    town.merge("deployments", "web", &json!({ "metadata": { "labels": { "a": "b" } } })).good();
    assert_eq!(generation(), 1, "a label");
    town.merge("deployments", "web", &json!({ "metadata": { "annotations": { "a": "b" } } })).good();
    assert_eq!(generation(), 2, "an annotation of a Deployment");
    town.merge("deployments", "web", &json!({ "spec": { "minReadySeconds": 5 } })).good();
    assert_eq!(generation(), 3, "the specification");
    town.merge("deployments", "web", &json!({ "status": { "replicas": 7 } })).good();
    assert_eq!(generation(), 3, "a status is not written this way");
    assert_ne!(town.get("deployments", "web").good().int("/status/replicas"), 7);
    town.scale("deployments", "web", 0).good();
    assert_eq!(generation(), 3, "the same number");
    town.eventually("the observed generation", || {
        town.get("deployments", "web").good().int("/status/observedGeneration") == 3
    });
}

#[test]
fn defaults_are_filled_in() {
    let town = Town::new();
    let mut given = deployment("web", 0, &[]);
    given.remove("/spec/replicas");
    given.set("/spec/template/spec/containers/0/resources", json!({ "limits": { "cpu": "0.5", "memory": "1024Mi" } }));
    given.set("/spec/replicas", 0);
    let made = town.create("deployments", &given).good();
    assert_eq!(made.text("/spec/strategy/type"), "RollingUpdate");
    assert_eq!(made.at("/spec/strategy/rollingUpdate"), &json!({ "maxSurge": "25%", "maxUnavailable": "25%" }));
    assert_eq!((made.int("/spec/progressDeadlineSeconds"), made.int("/spec/revisionHistoryLimit")), (600, 10));
    let pod = made.at("/spec/template/spec");
    assert_eq!((pod.text("/restartPolicy"), pod.text("/dnsPolicy")), ("Always", "ClusterFirst"));
    let app = pod.at("/containers/0");
    assert_eq!(app.text("/ports/0/protocol"), "TCP");
    assert_eq!(app.at("/resources/limits"), &json!({ "cpu": "500m", "memory": "1Gi" }));
    assert_eq!(app.int("/readinessProbe/failureThreshold"), 3);
    assert_eq!(app.text("/terminationMessagePath"), "/dev/termination-log");
}

#[test]
fn what_is_invalid_is_refused_with_the_field() {
    let town = Town::new();
    let refused = |object: &Value, field: &str| {
        let reply = town.create("deployments", object);
        let fields: Vec<String> =
            reply.body.list("/details/causes").iter().map(|c| c.text("/field").to_owned()).collect();
        let message = reply.refused(422, "Invalid");
        assert!(fields.iter().any(|f| f == field), "{field} of {fields:?}");
        message
    };
    let message = refused(&deployment("Bad_Name", 0, &[]), "metadata.name");
    assert!(message.starts_with("Deployment.apps \"Bad_Name\" is invalid: metadata.name: Invalid value"), "{message}");
    let mut selects_others = deployment("web", 0, &[]);
    selects_others.set("/spec/selector/matchLabels/app", "other");
    refused(&selects_others, "spec.template.metadata.labels");
    let mut label = deployment("web", 0, &[]);
    label.set("/metadata/labels/long", "x".repeat(64));
    refused(&label, "metadata.labels");
    let hook = |hook: Value| {
        let mut object = deployment("web", 0, &[]);
        object.set("/spec/template/spec/containers/0/lifecycle", json!({ "preStop": hook }));
        object
    };
    let at = "spec.template.spec.containers[0].lifecycle.preStop";
    refused(&hook(json!({})), at);
    let message = refused(&hook(json!({ "sleep": { "seconds": 2 } })), &format!("{at}.sleep"));
    assert!(message.contains("less than terminationGracePeriodSeconds (1)"), "{message}");
    let mut mount = deployment("web", 0, &[]);
    mount.set("/spec/template/spec/containers/0/volumeMounts", json!([{ "name": "none", "mountPath": "/x" }]));
    refused(&mount, "spec.template.spec.containers[0].volumeMounts[0].name");
    let mut slow = deployment("web", 0, &[]);
    slow.set("/spec/minReadySeconds", 600);
    refused(&slow, "spec.progressDeadlineSeconds");
    town.create("deployments", &deployment("web", 0, &[])).good();
    let patch = json!({ "spec": {
        "selector": { "matchLabels": { "app": "other" } }, "template": { "metadata": { "labels": { "app": "other" } } },
    }});
    let message = town.merge("deployments", "web", &patch).refused(422, "Invalid");
    assert!(message.contains("field is immutable"), "{message}");
    let typed = json!({ "spec": { "replicas": "many" } });
    assert!([400, 422].contains(&town.merge("deployments", "web", &typed).status));
}

#[test]
fn a_dry_run_answers_as_if_and_changes_nothing() {
    let town = Town::new();
    let at = format!("{}?dryRun=All", town.path("deployments", ""));
    let mut object = deployment("web", 0, &[]);
    object.set("/apiVersion", "apps/v1");
    object.set("/kind", "Deployment");
    let dry = town.client.call("POST", &at, "application/json", Some(&object));
    assert_eq!(dry.status, 201);
    assert_eq!(dry.good().int("/spec/progressDeadlineSeconds"), 600);
    town.get("deployments", "web").refused(404, "NotFound");
    let at = format!("{}?dryRun=Some", town.path("deployments", ""));
    town.client.call("POST", &at, "application/json", Some(&object)).refused(422, "Invalid");
}

#[test]
fn paths_methods_and_media_have_their_refusals() {
    let town = Town::new();
    let call =
        |method: &str, path: &str, content: &str, body: &Value| town.client.call(method, path, content, Some(body));
    assert_eq!(call("GET", "/apis/apps/v1/gadgets", "", &json!({})).status, 404);
    town.create("configmaps", &config("one", "red")).good();
    let at = town.path("configmaps", "one");
    call("PATCH", &at, "text/plain", &json!({})).refused(415, "UnsupportedMediaType");
    call("PATCH", &at, "application/json", &json!({})).refused(415, "UnsupportedMediaType");
    call("POST", &at, "application/json", &json!({})).refused(405, "MethodNotAllowed");
    let elsewhere = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "two" } });
    let message = call("PUT", &at, "application/json", &elsewhere).refused(400, "BadRequest");
    assert!(message.contains("does not match the name on the URL"), "{message}");
    let nowhere = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "one" } });
    let at = crate::client::path("lr-nowhere", "configmaps", "");
    let message = call("POST", &at, "application/json", &nowhere).refused(404, "NotFound");
    assert_eq!(message, "namespaces \"lr-nowhere\" not found");
}

#[test]
fn dependents_go_with_their_owner() {
    let town = Town::new();
    let anchor = town.create("configmaps", &config("anchor", "red")).good();
    let owner = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "anchor", "uid": anchor.uid() });
    let mut secret = json!({ "metadata": { "name": "kept", "ownerReferences": [owner] }, "stringData": { "a": "b" } });
    let made = town.create("secrets", &secret).good();
    assert_eq!(made.text("/data/a"), "Yg==");
    assert!(made.get("stringData").is_none());
    let mut web = deployment("web", 0, &[]);
    web.set("/metadata/ownerReferences", secret.at("/metadata/ownerReferences").clone());
    town.create("deployments", &web).good();
    town.eventually("its set", || !town.list("replicasets", "").is_empty());
    secret.set("/metadata/name", "free");
    secret.remove("/metadata/ownerReferences");
    town.create("secrets", &secret).good();
    town.delete("configmaps", "anchor", &json!({})).good();
    town.eventually("the dependents to go", || {
        town.get("secrets", "kept").status == 404
            && town.get("deployments", "web").status == 404
            && town.list("replicasets", "").is_empty()
    });
    town.get("secrets", "free").good();
}

#[test]
fn a_lease_is_one_holders() {
    let town = Town::new();
    let lease = |holder: &str| {
        json!({
            "metadata": { "name": "one" },
            "spec": { "holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000001Z" },
        })
    };
    let first = town.create("leases", &lease("a")).good();
    assert_eq!(first.text("/spec/renewTime"), "2026-01-01T00:00:00.000001Z");
    town.create("leases", &lease("b")).refused(409, "AlreadyExists");
    let mut blind = lease("b");
    blind.set("/apiVersion", "coordination.k8s.io/v1");
    blind.set("/kind", "Lease");
    let message = town.replace("leases", &blind).refused(422, "Invalid");
    assert!(message.contains("metadata.resourceVersion"), "{message}");
    let mut taken = first.clone();
    taken.set("/spec/holderIdentity", "b");
    town.replace("leases", &taken).good();
    let mut late = first;
    late.set("/spec/holderIdentity", "c");
    town.replace("leases", &late).refused(409, "Conflict");
    assert_eq!(town.get("leases", "one").good().text("/spec/holderIdentity"), "b");
}
