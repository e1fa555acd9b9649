//! What nobody uses is off: stopped, or frozen and back at once.

use std::time::Instant;

use crate::need_engine;
use crate::support::{Router, figure, http};
use crate::town::{SETTINGS, Town};

const SHOP: &str = r"
schemaVersion: v0.4
run:
  web:
    image: lr-test/app:1
    replicas: 2
    network: { ports: [{ port: 3000, isPublic: false }], paths: [{ port: 3000, path: / }] }
";

fn town(defaults: &str) -> Town {
    Town::new(&SETTINGS.replace("stopGrace: 1s", &format!("stopGrace: 1s, {defaults}")), SHOP)
}

#[test]
fn unused_containers_are_removed_and_made_again() {
    need_engine!();
    let town = town("idleAfter: 1s");
    let router = Router::start(&town.site);
    for _ in 0..2 {
        let answer = router.shop("/");
        assert_eq!((answer.status, answer.header("x-landscape-cold-start")), (200, Some("true")), "{}", router.log());
        router.await_state("web", "off");
        assert_eq!(town.containers(), []);
    }
}

#[test]
fn a_paused_service_answers_its_first_request_at_once() {
    need_engine!();
    let town = town("idleAfter: 500ms, whenIdle: pause");
    let router = Router::start(&town.site);
    // A busy machine starts the second later than the first falls idle.
    assert!(router.cli(&town.site, &["pin", "shop/web"]).status.success());
    assert_eq!(router.shop("/").status, 200);
    router.await_ready("web", 2);
    assert!(router.cli(&town.site, &["unpin", "shop/web"]).status.success());
    let before: Vec<String> = town.containers().into_iter().map(|c| c.id).collect();
    for round in 1..=5 {
        router.await_state("web", "off");
        let status = router.service("web");
        assert_eq!(status["paused"], true, "{status:#}");
        assert!(status["replicas"].as_array().unwrap().iter().all(|r| r["state"] == "paused"), "{status:#}");
        assert!(town.containers().iter().all(|c| c.state == "paused"), "{:?}", town.containers());
        let begin = Instant::now();
        let answer = router.shop("/");
        figure(&format!("first answer after a pause, round {round}"), begin.elapsed());
        assert_eq!((answer.status, answer.header("x-landscape-cold-start")), (200, Some("true")), "{}", answer.text());
    }
    let after: Vec<String> = town.containers().into_iter().map(|c| c.id).collect();
    assert_eq!(after, before, "the same containers");
}

#[test]
fn a_pause_ends_in_a_stop() {
    need_engine!();
    let town = town("idleAfter: 300ms, whenIdle: { pause: 300ms, then: stop }");
    let router = Router::start(&town.site);
    assert_eq!(router.shop("/").status, 200);
    town.await_containers("nothing", &router, <[_]>::is_empty);
    router.await_state("web", "off");
    assert_eq!(router.service("web")["paused"], false);
    let paused = router.log().matches("paused").count();
    assert!(paused > 0, "it was paused first:\n{}", router.log());
    assert_eq!(router.shop("/").status, 200);
}

#[test]
fn what_is_open_is_not_idle() {
    need_engine!();
    let town = town("idleAfter: 300ms, whenIdle: pause");
    let router = Router::start(&town.site);
    let answer = http::get(router.http, "shop.localhost", "/stream/15/100");
    assert_eq!(answer.text().matches("data:").count(), 15, "{}", answer.text());
    router.await_state("web", "off");
}
