//! Pods that others take away while they serve.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use super::rig::{Rig, ci, requests, service, writes};
use crate::fixture::object::Object;
use crate::support::{Load, Router, figure};

fn up() -> (Rig, Router) {
    let rig = Rig::new("", &ci(&[service("web", 3, "/", "")]));
    let router = Router::start(&rig.site);
    assert_eq!(router.shop("/").status, 200, "{}\n{}", rig.town.tell(), router.log());
    rig.await_ready(&router, "web", 3);
    (rig, router)
}

/// Takes a pod away under load, and waits for another in its place.
fn taken_away(load: fn(SocketAddr, &str, &str, usize, Duration) -> Load, how: impl Fn(&Rig, &str)) {
    let (rig, router) = up();
    let load = load(router.http, "shop.localhost", "/sleep/5", 4, Duration::from_millis(2));
    load.await_more(50);
    for _ in 0..2 {
        let before = rig.pod_names("web");
        how(&rig, &before[0]);
        rig.eventually("three others", &router, || {
            let now = rig.pod_names("web");
            now.len() == 3 && !now.contains(&before[0]) && router.ready("web") == 3
        });
        let now = rig.pod_names("web");
        assert!(before[1..].iter().all(|n| now.contains(n)), "the others were left alone: {before:?} {now:?}");
        load.await_more(50);
    }
    let (_, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}\n{}", router.log());
    assert_eq!(rig.deployment("web").unwrap().int("/spec/replicas"), 3);
}

#[test]
fn a_pod_that_is_deleted_under_load_fails_no_request() {
    taken_away(Load::posts, |rig, pod| drop(rig.town.delete("pods", pod, &json!({})).good()));
}

#[test]
fn a_pod_that_is_evicted_under_load_fails_no_request() {
    taken_away(Load::posts, |rig, pod| {
        let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": pod, "namespace": rig.town.namespace } });
        let at = format!("{}/eviction", rig.town.path("pods", pod));
        rig.town.client.call("POST", &at, "application/json", Some(&eviction)).good();
    });
}

#[test]
fn a_pod_that_the_node_throws_out_fails_no_request() {
    crate::need_fixture!("its node has room");
    taken_away(Load::start, |rig, pod| {
        rig.town.fixture().evict_by_node(&rig.town.namespace, pod, "The node was low on memory.")
    });
}

/// As the controllers do when a node could not reach the API server for a while: pods are as they were.
#[test]
fn pods_of_a_node_that_is_not_heard_of_serve_on() {
    let (rig, router) = up();
    rig.eventually("Kubernetes' own word", &router, || rig.pods("web").iter().all(|p| p.condition("Ready") == "True"));
    for pod in rig.pods("web") {
        let mut conditions = pod.list("/status/conditions").to_vec();
        for condition in conditions.iter_mut().filter(|c| c.text("/type") == "Ready") {
            condition["status"] = "False".into();
        }
        let at = format!("{}/status", pod.name());
        rig.town.merge("pods", &at, &json!({ "status": { "conditions": conditions } })).good();
    }
    for _ in 0..500 {
        let answer = router.shop("/");
        let held = answer.header("x-landscape-cold-start");
        assert_eq!((answer.status, held, router.ready("web")), (200, None, 3), "{}", router.log());
    }
}

#[test]
fn a_container_that_dies_is_served_by_the_others_and_comes_back() {
    let (rig, router) = up();
    let before = rig.pod_names("web");
    let pod = rig.pods("web").into_iter().find(|p| p.name() == before[0]).unwrap();
    let load = Load::start(router.http, "shop.localhost", "/", 2, Duration::from_millis(5));
    load.await_more(20);
    let at = (pod.text("/status/podIP").parse::<std::net::IpAddr>().unwrap(), 3000).into();
    let _ = crate::support::request(at, "GET /die/3 HTTP/1.1\r\nHost: pod\r\n\r\n");
    rig.eventually("its restart", &router, || {
        rig.town.get("pods", &before[0]).good().int("/status/containerStatuses/0/restartCount") > 0
    });
    rig.await_ready(&router, "web", 3);
    load.await_more(50);
    let (_, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}\n{}", router.log());
    assert_eq!(rig.pod_names("web"), before, "the kubelet restarted it in place");
    rig.eventually("the reason", &router, || Rig::failure(&router, "web", "detail").contains('3'));
}

#[test]
fn what_a_pod_wrote_is_shown() {
    let (rig, router) = up();
    let text = rig.cli(&router, &["logs", "shop/web"]);
    assert_eq!(text.matches("listening on 3000").count(), 3, "{text}");
}

#[test]
fn a_number_that_a_person_sets_is_followed() {
    let (rig, router) = up();
    let name = rig.deployment("web").unwrap().name().to_owned();
    rig.town.scale("deployments", &name, 4).good();
    rig.await_ready(&router, "web", 4);
    rig.town.scale("deployments", &name, 0).good();
    rig.await_off(&router, "web");
    assert_eq!(router.shop("/").status, 200, "a request wakes it: {}", router.log());
}

/// One of several replicas crashes over and over, which takes nothing from their number.
fn crashes_again_and_again(rig: &Rig, router: &Router, replicas: usize) {
    rig.town.fixture().forget_requests();
    let ends = || router.log().matches("exit status 3").count();
    while !router.log().contains("the next start is in") {
        let (before, pod) = (ends(), rig.pods("web").into_iter().next().unwrap());
        let at = (pod.text("/status/podIP").parse::<std::net::IpAddr>().unwrap(), 3000).into();
        let _ = crate::support::request(at, "GET /die/3 HTTP/1.1\r\nHost: pod\r\n\r\n");
        rig.eventually("its end", router, || ends() > before);
        rig.eventually("all that are not in a back-off", router, || router.ready("web") >= replicas - 1);
    }
    rig.await_ready(router, "web", replicas);
    let seen = requests(rig.town.fixture());
    assert_eq!(writes(&seen, "deployments/scale"), 0, "the number stays as it is: {}", router.log());
}

#[test]
fn a_replica_in_its_back_off_is_counted() {
    crate::need_fixture!("its requests are not ours to count");
    let rig = Rig::new("", &ci(&[service("web", 2, "/", "")]));
    let router = Router::start(&rig.site);
    assert_eq!(router.shop("/").status, 200, "{}\n{}", rig.town.tell(), router.log());
    rig.await_ready(&router, "web", 2);
    crashes_again_and_again(&rig, &router, 2);
}

#[test]
fn a_replica_in_its_back_off_is_counted_where_somebody_else_set_the_number() {
    crate::need_fixture!("its requests are not ours to count");
    let (rig, router) = up();
    let name = rig.deployment("web").unwrap().name().to_owned();
    rig.town.scale("deployments", &name, 5).good();
    rig.await_ready(&router, "web", 5);
    crashes_again_and_again(&rig, &router, 5);
}

#[test]
fn a_pod_that_its_node_does_not_end_is_not_waited_for_for_ever() {
    crate::need_fixture!("its nodes listen");
    let of = |n| ci(&[service("web", n, "/", "")]);
    let rig = Rig::new("", &of(2));
    let router = Router::start(&rig.site);
    assert_eq!(router.shop("/").status, 200, "{}\n{}", rig.town.tell(), router.log());
    rig.eventually("two that are ready by the kubelet's reckoning", &router, || {
        let ready = |p: &serde_json::Value| {
            p.list("/status/conditions").iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
        };
        rig.pods("web").iter().filter(|p| ready(p)).count() == 2
    });
    rig.town.fixture().turn(|k| k.deaf_node = true);
    rig.site.write("shop/ci.yml", &of(1));
    rig.eventually("one that lives", &router, || rig.pods("web").len() == 1);
    let took = rig.eventually("the other one to be forgotten", &router, || {
        router.service("web")["replicas"].as_array().unwrap().len() == 1
    });
    figure("a replica forgotten, whose node does not end its pod", took);
    // A grace of 1 s, and 5 s for the news.
    assert!(took > Duration::from_secs(5), "it was waited for: {took:?}\n{}", router.log());
    assert!(router.service("web")["lastFailure"].is_null(), "{:#}", router.service("web"));
    assert_eq!(rig.all_pods("web"), 2, "nobody killed it");
    rig.town.fixture().turn(|k| k.deaf_node = false);
    rig.eventually("it to go", &router, || rig.all_pods("web") == 1);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
}

#[test]
fn a_router_that_finds_a_pod_which_its_node_does_not_end_starts_another() {
    crate::need_fixture!("its nodes listen");
    let rig = Rig::new("", &ci(&[service("web", 1, "/", "")]));
    let router = Router::start(&rig.site);
    assert_eq!(router.shop("/").status, 200, "{}\n{}", rig.town.tell(), router.log());
    rig.town.fixture().turn(|k| k.deaf_node = true);
    rig.cli(&router, &["sleep", "shop/web"]);
    rig.eventually("no pods that live", &router, || rig.pods("web").is_empty());
    router.kill();
    let router = Router::start(&rig.site);
    let begin = std::time::Instant::now();
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    figure("a request to a service whose old pod does not end", begin.elapsed());
    assert!(router.service("web")["lastFailure"].is_null(), "{:#}", router.service("web"));
    assert_eq!((rig.pods("web").len(), rig.all_pods("web")), (1, 2));
}
