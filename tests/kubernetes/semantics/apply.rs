//! Server-side apply.

use serde_json::{Value, json};

use crate::fixture::object::Object;
use crate::town::{Town, deployment};

fn data(data: &Value) -> Value {
    json!({ "metadata": { "name": "one" }, "data": data })
}

/// The fields of a manager, as `fieldsV1`.
fn fields(object: &Value, manager: &str, operation: &str) -> Value {
    let all = object.list("/metadata/managedFields");
    let one = all.iter().find(|m| m["manager"] == manager && m["operation"] == operation);
    one.map_or(Value::Null, |m| m["fieldsV1"].clone())
}

#[test]
fn apply_makes_and_then_changes_what_it_names() {
    let town = Town::new();
    let made = town.apply("configmaps", &data(&json!({ "a": "1", "b": "2" })), "router", false);
    assert_eq!(made.status, 201);
    let made = made.good();
    assert_eq!(fields(&made, "router", "Apply"), json!({ "f:data": { "f:a": {}, "f:b": {} } }));
    let again = town.apply("configmaps", &data(&json!({ "a": "1", "b": "2" })), "router", false);
    assert_eq!(again.status, 200);
    assert_eq!(again.good().at("/metadata/resourceVersion"), made.at("/metadata/resourceVersion"), "nothing to write");
    let next = town.apply("configmaps", &data(&json!({ "a": "3" })), "router", false).good();
    assert_eq!(next["data"], json!({ "a": "3" }), "what is no longer named is removed");
}

#[test]
fn what_others_own_is_a_conflict_unless_forced() {
    let town = Town::new();
    town.apply("configmaps", &data(&json!({ "a": "1" })), "router", false).good();
    let reply = town.apply("configmaps", &data(&json!({ "a": "2" })), "person", false);
    assert_eq!(reply.body.text("/details/causes/0/field"), ".data.a", "{:#}", reply.body);
    assert_eq!(reply.body.text("/details/causes/0/reason"), "FieldManagerConflict");
    let message = reply.refused(409, "Conflict");
    assert!(message.starts_with("Apply failed with 1 conflict: conflict with \"router\""), "{message}");
    let taken = town.apply("configmaps", &data(&json!({ "a": "2" })), "person", true).good();
    assert_eq!(taken["data"]["a"], "2");
    assert_eq!(fields(&taken, "router", "Apply"), Value::Null);
    // Nobody's any more but the other's.
    town.apply("configmaps", &data(&json!({})), "router", false).good();
    assert_eq!(town.get("configmaps", "one").good()["data"]["a"], "2");
}

#[test]
fn what_two_own_stays_until_both_let_go() {
    let town = Town::new();
    town.apply("configmaps", &data(&json!({ "a": "1", "b": "1" })), "router", false).good();
    town.apply("configmaps", &data(&json!({ "a": "1" })), "person", false).good();
    let one = town.apply("configmaps", &data(&json!({ "b": "1" })), "router", false).good();
    assert_eq!(one["data"], json!({ "a": "1", "b": "1" }));
    let none = town.apply("configmaps", &json!({ "metadata": { "name": "one" } }), "person", false).good();
    assert_eq!(none["data"], json!({ "b": "1" }));
}

#[test]
fn what_an_update_wrote_is_the_updaters() {
    let town = Town::new();
    town.apply("configmaps", &data(&json!({ "a": "1" })), "router", false).good();
    let at = format!("{}?fieldManager=person", town.path("configmaps", "one"));
    let patch = json!({ "data": { "a": "2", "c": "3" } });
    let patched = town.client.call("PATCH", &at, "application/merge-patch+json", Some(&patch)).good();
    assert_eq!(fields(&patched, "router", "Apply"), Value::Null, "taken");
    let owned = fields(&patched, "person", "Update");
    assert!(owned["f:data"]["f:a"].is_object() && owned["f:data"]["f:c"].is_object(), "{owned}");
    town.apply("configmaps", &data(&json!({ "a": "1" })), "router", false).refused(409, "Conflict");
    let back = town.apply("configmaps", &data(&json!({ "a": "1" })), "router", true).good();
    assert_eq!(back["data"], json!({ "a": "1", "c": "3" }), "what the person added stays");
}

#[test]
fn a_manager_has_to_be_named_and_fields_have_to_exist() {
    let town = Town::new();
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "one" } });
    let at = town.path("configmaps", "one");
    let message = town.client.call("PATCH", &at, "application/apply-patch+yaml", Some(&object)).refused(422, "Invalid");
    assert!(message.contains("fieldManager: Required value"), "{message}");
    let mut odd = deployment("web", 0, &[]);
    odd.set("/spec/colour", "red");
    let reply = town.apply("deployments", &odd, "router", true);
    assert!(reply.status >= 400, "{:#}", reply.body);
    assert!(reply.body.text("/message").contains("field not declared in schema"), "{:#}", reply.body);
    let mut managed = deployment("web", 0, &[]);
    managed.set("/metadata/managedFields", json!([{ "manager": "x" }]));
    town.apply("deployments", &managed, "router", true).refused(400, "BadRequest");
}

#[test]
fn lists_are_merged_by_their_keys() {
    let town = Town::new();
    let mut web = deployment("web", 0, &[]);
    web.set(
        "/spec/template/spec/containers/0/env",
        json!([{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }]),
    );
    let made = town.apply("deployments", &web, "router", true).good();
    let owned = fields(&made, "router", "Apply");
    let app = &owned["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"app\"}"];
    assert!(app["."].is_object() && app["f:image"].is_object(), "{owned}");
    assert!(app["f:env"]["k:{\"name\":\"A\"}"]["f:value"].is_object(), "{app}");
    assert!(app["f:ports"]["k:{\"containerPort\":3000,\"protocol\":\"TCP\"}"].is_object(), "{app}");
    assert!(app["f:terminationMessagePath"].is_null(), "defaults are nobody's: {app}");
    // Someone adds a container and a variable.
    let add = json!({ "spec": { "template": { "spec": { "containers": [
        { "name": "app", "env": [{ "name": "C", "value": "3" }] },
        { "name": "side", "image": "busybox:1" },
    ]}}}});
    let at = format!("{}?fieldManager=person", town.path("deployments", "web"));
    town.client.call("PATCH", &at, "application/strategic-merge-patch+json", Some(&add)).good();
    web.set("/spec/template/spec/containers/0/env", json!([{ "name": "A", "value": "9" }]));
    web.remove("/spec/template/spec/containers/0/readinessProbe");
    let next = town.apply("deployments", &web, "router", true).good();
    let containers = next.list("/spec/template/spec/containers");
    let app = containers.iter().find(|c| c["name"] == "app").unwrap();
    let mut env: Vec<String> =
        app.list("/env").iter().map(|e| format!("{}={}", e.text("/name"), e.text("/value"))).collect();
    env.sort();
    assert_eq!(env, ["A=9", "C=3"], "B was ours and is gone, C is the other's");
    assert!(containers.iter().any(|c| c["name"] == "side"));
    assert!(app["readinessProbe"].is_null(), "gone with its defaults: {app}");
}

#[test]
fn a_dry_run_of_an_apply_shows_what_would_be() {
    let town = Town::new();
    town.apply("configmaps", &data(&json!({ "a": "1" })), "router", true).good();
    let at = format!("{}?fieldManager=router&force=true&dryRun=All", town.path("configmaps", "one"));
    let object =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "one" }, "data": { "b": "2" } });
    let dry = town.client.call("PATCH", &at, "application/apply-patch+yaml", Some(&object)).good();
    assert_eq!(dry["data"], json!({ "b": "2" }));
    assert_eq!(town.get("configmaps", "one").good()["data"], json!({ "a": "1" }));
}

#[test]
fn scaling_takes_the_number_of_replicas_and_nothing_else() {
    let town = Town::new();
    town.apply("deployments", &deployment("web", 0, &[]), "router", true).good();
    let before = town.get("deployments", "web").good();
    town.scale("deployments", "web", 2).good();
    let after = town.get("deployments", "web").good();
    assert_eq!(after.int("/spec/replicas"), 2);
    assert_eq!(after.int("/metadata/generation"), before.int("/metadata/generation") + 1);
    let all = after.list("/metadata/managedFields");
    let scaler = all.iter().find(|m| m["manager"] == "someone").unwrap();
    assert_eq!((scaler.text("/operation"), scaler.text("/subresource")), ("Update", "scale"));
    assert_eq!(scaler["fieldsV1"], json!({ "f:spec": { "f:replicas": {} } }));
    assert!(fields(&after, "router", "Apply")["f:spec"]["f:replicas"].is_null());
    let message = town.apply("deployments", &deployment("web", 0, &[]), "router", false).refused(409, "Conflict");
    assert!(
        message.contains("conflict with \"someone\" with subresource \"scale\" using apps/v1: .spec.replicas"),
        "{message}"
    );
}
