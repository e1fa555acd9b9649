//! What cannot run says so at once: to who waits without internals, to the operator with all.

use std::time::{Duration, Instant};

use serde_json::json;

use super::rig::{Rig, ci, service};
use crate::support::{Answer, Router, figure};
use crate::town::{Town, image};

/// A cold request that has to be refused long before the start's own deadline, and what the status says then.
fn refused(rig: &Rig, router: &Router, what: &str) -> Answer {
    let begin = Instant::now();
    let answer = router.shop("/");
    let took = begin.elapsed();
    figure(&format!("503 for {what}"), took);
    assert_eq!(answer.status, 503, "{}\n{}\n{}", answer.text(), rig.town.tell(), router.log());
    assert!(answer.header("retry-after").is_some(), "{}", answer.head);
    assert!(answer.header("x-landscape-error").is_some(), "{}", answer.head);
    assert!(took < Duration::from_secs(45), "{took:?}: {}", answer.text());
    answer
}

const LONG_HOLD: &str = "hold: { timeout: 120s }";

#[test]
fn an_image_that_cannot_be_pulled() {
    let text = ci(&[service("web", 1, "/", "")]).replace(&image(), "registry.invalid/shop/missing:7");
    let rig = Rig::of(Town::new(), LONG_HOLD, "pull: ifNotPresent", &text);
    let router = Router::start(&rig.site);
    let answer = refused(&rig, &router, "an image that does not exist");
    assert!(!answer.text().contains("missing:7") && !answer.text().contains("registry.invalid"), "{}", answer.text());
    assert_eq!(Rig::failure(&router, "web", "kind"), "image");
    let detail = Rig::failure(&router, "web", "detail");
    assert!(detail.contains("ErrImagePull") || detail.contains("ImagePullBackOff"), "{detail}");
    assert!(detail.contains("registry.invalid/shop/missing:7"), "{detail}");
    let shown = rig.cli(&router, &["status"]);
    assert!(shown.contains("image"), "{shown}");
}

#[test]
fn an_image_that_is_not_on_the_node() {
    let text = ci(&[service("web", 1, "/", "")]).replace(&image(), "lr-test/absent:1");
    let rig = Rig::new(LONG_HOLD, &text);
    let router = Router::start(&rig.site);
    refused(&rig, &router, "an image that is never pulled");
    assert_eq!(Rig::failure(&router, "web", "kind"), "image");
    assert!(Rig::failure(&router, "web", "detail").contains("ErrImageNeverPull"));
}

#[test]
fn a_crash_loop() {
    let exits = "    command: [/bin/test-app, --exit, \"3\"]\n";
    let rig = Rig::new(LONG_HOLD, &ci(&[service("web", 1, "/", exits)]));
    let router = Router::start(&rig.site);
    let answer = refused(&rig, &router, "a container that exits");
    assert!(!answer.text().contains("about to exit"), "{}", answer.text());
    assert_eq!(Rig::failure(&router, "web", "kind"), "exited");
    assert!(Rig::failure(&router, "web", "detail").contains('3'));
    // What it wrote needs the token, which the command line has.
    rig.eventually("its last lines", &router, || {
        let shown = rig.cli(&router, &["status", "shop/web", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&shown).unwrap();
        status["lastFailure"]["logTail"].to_string().contains("about to exit with 3")
    });
}

#[test]
fn a_pod_without_room() {
    let text = ci(&[service("web", 1, "/", "    plan: huge\n")]);
    let settings = format!(
        "{LONG_HOLD}\nplans: {{ default: {{ cpu: 1, memory: 64MiB, maxReplicas: 10 }}, huge: {{ cpu: 1024, memory: 64MiB, maxReplicas: 10 }} }}"
    );
    let rig = Rig::new(&settings, &text);
    let router = Router::start(&rig.site);
    refused(&rig, &router, "a pod that no node has room for");
    let detail = Rig::failure(&router, "web", "detail");
    assert!(detail.contains("Unschedulable") && detail.contains("Insufficient cpu"), "{detail}");
}

#[test]
fn a_quota() {
    let rig = Rig::new(LONG_HOLD, &ci(&[service("web", 1, "/", "")]));
    rig.town
        .create("resourcequotas", &json!({ "metadata": { "name": "none" }, "spec": { "hard": { "pods": "0" } } }))
        .good();
    rig.town.eventually("the quota to be counted", || {
        rig.town.on_fixture().is_some()
            || rig.town.get("resourcequotas", "none").good()["status"]["hard"]["pods"] == "0"
    });
    let router = Router::start(&rig.site);
    let answer = refused(&rig, &router, "a quota");
    assert!(!answer.text().contains("quota: none"), "{}", answer.text());
    assert!(Rig::failure(&router, "web", "detail").contains("exceeded quota: none"));
    // With the quota away, who asks again is served.
    rig.town.delete("resourcequotas", "none", &json!({})).good();
    rig.eventually("an answer", &router, || router.shop("/").status == 200);
}

#[test]
fn a_refused_admission() {
    let rig = Rig::new(LONG_HOLD, &ci(&[service("web", 1, "/", "")]));
    let range = json!({ "metadata": { "name": "one" }, "spec": { "limits": [{ "type": "Container", "max": { "cpu": "1m" } }] } });
    rig.town.create("limitranges", &range).good();
    let router = Router::start(&rig.site);
    refused(&rig, &router, "an admission that is refused");
    let detail = Rig::failure(&router, "web", "detail");
    assert!(detail.contains("maximum cpu usage per Container is 1m"), "{detail}");
}

#[test]
fn a_container_that_takes_too_much_memory() {
    let settings = "plans: { default: { cpu: 1, memory: 64MiB, maxReplicas: 10 } }";
    let rig = Rig::new(settings, &ci(&[service("web", 1, "/", "")]));
    let router = Router::start(&rig.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    router.shop("/eat/200");
    rig.eventually("the reason", &router, || Rig::failure(&router, "web", "kind") == "out-of-memory");
    rig.eventually("an answer again", &router, || router.shop("/").status == 200);
}

#[test]
fn a_right_that_the_router_does_not_have() {
    crate::need_fixture!("its rights are not ours to take");
    let rig = Rig::new(LONG_HOLD, &ci(&[service("web", 1, "/", "")]));
    let router = Router::start(&rig.site);
    rig.await_deployment("web");
    let deny = crate::fixture::knobs::Deny { verb: "patch".into(), resource: "deployments/scale".into() };
    rig.town.fixture().turn(|k| k.denied.push(deny));
    let answer = refused(&rig, &router, "a write that is forbidden");
    assert!(!answer.text().contains("serviceaccount"), "{}", answer.text());
    let detail = Rig::failure(&router, "web", "detail");
    assert!(detail.contains("cannot patch resource") && detail.contains("deployments/scale"), "{detail}");
}

#[test]
fn a_busy_api_server_is_asked_again() {
    crate::need_fixture!("it is not ours to slow down");
    let rig = Rig::new(LONG_HOLD, &ci(&[service("web", 1, "/", "")]));
    let router = Router::start(&rig.site);
    rig.await_deployment("web");
    rig.town.fixture().turn(|k| k.throttle = 3);
    let begin = Instant::now();
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    figure("a cold request past three times 429", begin.elapsed());
}
