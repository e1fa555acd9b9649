//! What a kubelet does with pods, and says of them.

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::fixture::object::Object;
use crate::need_fixture;
use crate::town::{Town, template};

fn pod(name: &str, args: &[&str]) -> Value {
    let mut pod = template(&json!({ "app": name }), args);
    pod.set("/metadata/name", name);
    pod
}

/// The state of its only container.
fn state(town: &Town, name: &str) -> Value {
    town.get("pods", name).good().at("/status/containerStatuses/0").clone()
}

fn await_ready(town: &Town, name: &str) -> Value {
    town.eventually("the pod to be ready", || town.get("pods", name).good().condition("Ready") == "True");
    town.get("pods", name).good()
}

/// What the application answers at the pod's own address.
pub fn ask(pod: &Value, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect((pod.text("/status/podIP"), 3000)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    // It may die of the request.
    let _ = stream.set_read_timeout(Some(std::time::Duration::from_secs(5)));
    let mut byte = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut byte) {
        answer.push_str(&String::from_utf8_lossy(&byte[..n]));
        if let Some((head, body)) = answer.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
            if length.is_some_and(|l| body.len() >= l) {
                break;
            }
        }
    }
    answer
}

#[test]
fn a_container_gets_its_environment_and_its_log_is_kept() {
    let town = Town::new();
    town.create("secrets", &json!({ "metadata": { "name": "s" }, "stringData": { "token": "hush" } })).good();
    town.create("configmaps", &json!({ "metadata": { "name": "c" }, "data": { "COLOR": "red" } })).good();
    let mut one = pod("one", &[]);
    one.set(
        "/spec/containers/0/env",
        json!([
            { "name": "PLAIN", "value": "1" },
            { "name": "JOINED", "value": "$(PLAIN)-$(NOBODY)-$$(PLAIN)" },
            { "name": "TOKEN", "valueFrom": { "secretKeyRef": { "name": "s", "key": "token" } } },
            { "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
        ]),
    );
    one.set("/spec/containers/0/envFrom", json!([{ "configMapRef": { "name": "c" } }]));
    town.create("pods", &one).good();
    let it = await_ready(&town, "one");
    let environment = ask(&it, "/env");
    for line in ["PLAIN=1", "JOINED=1-$(NOBODY)-$(PLAIN)", "TOKEN=hush", "POD=one", "COLOR=red"] {
        assert!(environment.lines().any(|l| l == line), "{line} in {environment}");
    }
    let at = format!("{}/log?timestamps=true&tailLines=1", town.path("pods", "one"));
    let log = town.client.call("GET", &at, "", None).good();
    let log = log.as_str().unwrap();
    assert!(log.ends_with("listening on 3000\n") && log.contains('Z'), "{log}");
}

#[test]
fn a_missing_secret_is_a_config_error_until_it_is_there() {
    let town = Town::new();
    let mut one = pod("one", &[]);
    let reference = json!({ "name": "late", "key": "token" });
    one.set("/spec/containers/0/env", json!([{ "name": "TOKEN", "valueFrom": { "secretKeyRef": reference } }]));
    town.create("pods", &one).good();
    town.eventually("the error", || state(&town, "one").text("/state/waiting/reason") == "CreateContainerConfigError");
    assert_eq!(state(&town, "one").text("/state/waiting/message"), "secret \"late\" not found");
    town.create("secrets", &json!({ "metadata": { "name": "late" }, "stringData": { "token": "1" } })).good();
    await_ready(&town, "one");
}

#[test]
fn a_container_that_exits_is_restarted_after_longer_and_longer_waits() {
    let town = Town::new();
    town.create("pods", &pod("one", &["--exit", "3"])).good();
    town.eventually("a crash loop", || state(&town, "one").text("/state/waiting/reason") == "CrashLoopBackOff");
    let one = state(&town, "one");
    assert_eq!(one.int("/lastState/terminated/exitCode"), 3, "{one}");
    assert_eq!(one.text("/lastState/terminated/reason"), "Error");
    assert!(one.int("/restartCount") >= 1);
    assert!(one.text("/state/waiting/message").starts_with("back-off "), "{one}");
    assert_eq!(town.get("pods", "one").good().text("/status/phase"), "Running");
    let log = town.client.call("GET", &format!("{}/log", town.path("pods", "one")), "", None).good();
    assert!(log.as_str().unwrap().contains("about to exit with 3"), "{log}");
}

#[test]
fn a_container_that_dies_once_is_restarted_in_place() {
    let town = Town::new();
    town.create("pods", &pod("one", &[])).good();
    let before = await_ready(&town, "one");
    ask(&before, "/die/7");
    town.eventually("a restart", || {
        state(&town, "one").int("/restartCount") == 1 && state(&town, "one")["ready"] == true
    });
    let after = town.get("pods", "one").good();
    assert_eq!((before.uid(), before.text("/status/podIP")), (after.uid(), after.text("/status/podIP")));
    assert_eq!(after.int("/status/containerStatuses/0/lastState/terminated/exitCode"), 7);
    let previous = town.client.call("GET", &format!("{}/log?previous=true", town.path("pods", "one")), "", None).good();
    assert!(previous.as_str().unwrap().contains("listening on 3000"), "{previous}");
}

#[test]
fn too_much_memory_is_told_as_such() {
    let town = Town::new();
    let mut one = pod("one", &[]);
    one.set("/spec/containers/0/resources", json!({ "limits": { "memory": "64Mi" } }));
    town.create("pods", &one).good();
    let it = await_ready(&town, "one");
    ask(&it, "/eat/200");
    town.eventually("the end", || state(&town, "one").at("/lastState/terminated/exitCode") == 137);
    assert_eq!(state(&town, "one").text("/lastState/terminated/reason"), "OOMKilled");
}

#[test]
fn an_image_that_cannot_be_had_is_told() {
    let town = Town::new();
    let mut never = pod("never", &[]);
    never.set("/spec/containers/0/image", "lr-test/absent:1");
    town.create("pods", &never).good();
    let mut pull = pod("pull", &[]);
    pull.set("/spec/containers/0/image", "registry.invalid/missing:1");
    pull.set("/spec/containers/0/imagePullPolicy", "IfNotPresent");
    town.create("pods", &pull).good();
    town.eventually("never", || state(&town, "never").text("/state/waiting/reason") == "ErrImageNeverPull");
    town.eventually("an error", || state(&town, "pull").text("/state/waiting/reason") == "ErrImagePull");
    town.eventually("the wait", || state(&town, "pull").text("/state/waiting/reason") == "ImagePullBackOff");
    assert_eq!(town.get("pods", "pull").good().text("/status/phase"), "Pending");
    town.eventually("an event", || {
        let events = town.list("events", "fieldSelector=involvedObject.name%3Dpull,reason%3DFailed");
        events.iter().any(|e| e.text("/message").contains("registry.invalid/missing:1"))
    });
}

#[test]
fn a_pod_without_room_is_unschedulable() {
    let town = Town::new();
    let mut one = pod("one", &[]);
    one.set("/spec/containers/0/resources", json!({ "requests": { "cpu": "1000" } }));
    town.create("pods", &one).good();
    let placed = || {
        let it = town.get("pods", "one").good();
        it.list("/status/conditions").iter().find(|c| c["type"] == "PodScheduled").cloned().unwrap_or_default()
    };
    town.eventually("the scheduler's word", || placed().text("/status") == "False");
    assert_eq!(placed().text("/reason"), "Unschedulable");
    assert!(placed().text("/message").contains("Insufficient cpu"), "{}", placed());
    let gone = town.delete("pods", "one", &json!({})).good();
    assert!(gone.text("/kind") == "Pod" || gone.text("/status") == "Success");
    town.get("pods", "one").refused(404, "NotFound");
}

#[test]
fn a_container_is_told_to_end_when_its_hook_has_slept() {
    let town = Town::new();
    let mut one = pod("one", &[]);
    one.set("/spec/terminationGracePeriodSeconds", 7);
    one.set("/spec/containers/0/lifecycle", json!({ "preStop": { "sleep": { "seconds": 6 } } }));
    town.create("pods", &one).good();
    let there = await_ready(&town, "one");
    let begin = std::time::Instant::now();
    town.delete("pods", "one", &json!({})).good();
    while begin.elapsed().as_millis() < 2000 {
        let answer = ask(&there, "/env");
        assert!(answer.starts_with("HTTP/1.1 200") || begin.elapsed().as_millis() >= 5500, "{answer}");
    }
    town.eventually("it to be gone", || town.get("pods", "one").status == 404);
}

#[test]
fn an_eviction_is_a_graceful_deletion() {
    let town = Town::new();
    town.create("pods", &pod("one", &[])).good();
    await_ready(&town, "one");
    let at = format!("{}/eviction", town.path("pods", "one"));
    let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "one", "namespace": town.namespace } });
    assert_eq!(town.client.call("POST", &at, "application/json", Some(&eviction)).status, 201);
    town.eventually("it to be gone", || town.get("pods", "one").status == 404);
}

#[test]
fn a_pod_of_steps_ends_and_stays() {
    let town = Town::new();
    for (name, code, phase) in [("good", "0", "Succeeded"), ("bad", "5", "Failed")] {
        let mut job = pod(name, &["--exit", code]);
        job.set("/spec/restartPolicy", "Never");
        job.remove("/spec/containers/0/readinessProbe");
        town.create("pods", &job).good();
        town.eventually(phase, || town.get("pods", name).good().text("/status/phase") == phase);
        assert_eq!(state(&town, name).at("/state/terminated/exitCode").to_string(), code);
    }
}

#[test]
fn what_the_node_throws_out_is_failed() {
    need_fixture!("its node has room");
    let town = Town::new();
    town.create("pods", &pod("one", &[])).good();
    await_ready(&town, "one");
    town.fixture().evict_by_node(&town.namespace, "one", "The node was low on resource: memory.");
    town.eventually("the eviction", || town.get("pods", "one").good().text("/status/phase") == "Failed");
    assert_eq!(town.get("pods", "one").good().text("/status/reason"), "Evicted");
}

#[test]
fn a_log_is_followed_to_its_end() {
    let town = Town::new();
    let mut job = pod("one", &["--boot-ms", "2000", "--exit", "0"]);
    job.set("/spec/restartPolicy", "Never");
    job.remove("/spec/containers/0/readinessProbe");
    town.create("pods", &job).good();
    town.eventually("it to run", || state(&town, "one").at("/state/running").is_object());
    // What it says at its end is not there before.
    let log = town.client.call("GET", &format!("{}/log?follow=true", town.path("pods", "one")), "", None).good();
    assert_eq!(log.as_str().unwrap(), "about to exit with 0\n");
}
