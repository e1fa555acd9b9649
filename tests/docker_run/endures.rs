//! The router or a container dies, ends or is replaced; who asks does not notice.

use std::time::Duration;

use crate::need_engine;
use crate::rig::{docker, says};
use crate::support::{Load, Router, eventually, figure};
use crate::town::{SETTINGS, Town};

const SHOP: &str = r"
schemaVersion: v0.4
run:
  web:
    image: lr-test/app:1
    replicas: 3
    network: { ports: [{ port: 3000, isPublic: false }], paths: [{ port: 3000, path: / }] }
  frozen:
    image: lr-test/app:1
    network: { ports: [{ port: 3000, isPublic: false }], paths: [{ port: 3000, path: /frozen }] }
";

fn town(on_exit: &str) -> Town {
    let settings = SETTINGS.replace("docker: {", &format!("docker: {{ onExit: {on_exit},"));
    let town = Town::new(&settings, SHOP);
    let services = "    services: { frozen: { idleAfter: 300ms, whenIdle: pause } }\n";
    let yaml = std::fs::read_to_string(town.site.path().join("router.yaml")).unwrap();
    town.site.write("router.yaml", &(yaml + services));
    town
}

/// Three ready replicas and a frozen one.
fn up(town: &Town, router: &Router) {
    let frozen = router.shop("/frozen");
    assert_eq!(frozen.status, 200, "{}\n{}", frozen.text(), router.log());
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    router.await_ready("web", 3);
    router.await_state("frozen", "off");
    assert_eq!(town.containers().len(), 4);
}

#[test]
fn a_killed_router_finds_its_containers_again() {
    need_engine!();
    let town = town("leave");
    let router = Router::start(&town.site);
    up(&town, &router);
    let before = town.containers();
    router.kill();
    assert_eq!(town.containers(), before, "nobody was there to stop them");
    let router = Router::start(&town.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    router.await_ready("web", 3);
    assert_eq!(town.containers(), before, "the same, none twice, the frozen one still frozen");
    assert_eq!(router.service("frozen")["paused"], true);
    let answer = router.shop("/frozen");
    assert_eq!((answer.status, answer.text().contains("service=frozen")), (200, true));
    let ids = |all: Vec<crate::town::Container>| all.into_iter().map(|c| c.id).collect::<Vec<_>>();
    assert_eq!(ids(town.containers()), ids(before));
}

#[test]
fn a_router_that_ends_leaves_its_containers_to_the_next() {
    need_engine!();
    let town = town("leave");
    let router = Router::start(&town.site);
    up(&town, &router);
    let before = town.containers();
    assert_eq!(router.stop(), Some(0));
    assert_eq!(town.containers(), before);
    let router = Router::start(&town.site);
    assert_eq!(router.shop("/").status, 200);
    router.await_ready("web", 3);
    assert_eq!(town.containers(), before);
}

#[test]
fn a_router_that_ends_takes_its_containers_along_where_it_should() {
    need_engine!();
    let town = town("stop");
    let router = Router::start(&town.site);
    up(&town, &router);
    assert_eq!(router.stop(), Some(0));
    assert_eq!(town.containers(), []);
    assert_eq!(town.networks(), [] as [&str; 0]);
}

#[test]
fn a_take_over_keeps_every_container_and_loses_no_request() {
    need_engine!();
    let town = town("leave");
    let mut old = Router::start(&town.site);
    up(&town, &old);
    let before = town.containers();
    let load = Load::start(old.http, "shop.localhost", "/sleep/3", 4, Duration::from_millis(2));
    load.await_more(50);
    let new = Router::start_with(&town.site, &["--take-over"]);
    load.await_more(200);
    let code = old.wait();
    load.await_more(100);
    let (_, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}\n{}\n---\n{}", old.log(), new.log());
    assert_eq!(code, Some(0));
    new.await_ready("web", 3);
    assert_eq!(town.containers(), before);
    assert_eq!(new.shop("/frozen").status, 200);
}

#[test]
fn a_container_killed_under_load_fails_no_request_that_may_be_repeated() {
    need_engine!();
    let town = town("leave");
    let router = Router::start(&town.site);
    assert_eq!(router.shop("/").status, 200);
    router.await_ready("web", 3);
    let waiting = Load::start(router.http, "shop.localhost", "/sleep/40", 6, Duration::from_millis(1));
    let quick = Load::start(router.http, "shop.localhost", "/", 3, Duration::from_millis(1));
    for _ in 0..3 {
        waiting.await_more(60);
        let before = town.of("web");
        let victim = before[0].id.clone();
        says(&["kill", &victim]);
        let took = eventually("a replacement", &router, || {
            let now = town.of("web");
            now.len() == 3 && now.iter().all(|c| c.id != victim && c.state == "running") && router.ready("web") == 3
        });
        figure("three of three again after a kill", took);
    }
    waiting.await_more(60);
    let ((slow, mut failures), (fast, more)) = (waiting.stop(), quick.stop());
    failures.extend(more);
    assert!(failures.is_empty(), "of {slow} and {fast}: {failures:?}\n{}", router.log());
}

#[test]
fn a_container_removed_from_outside_is_replaced() {
    need_engine!();
    let town = town("leave");
    let router = Router::start(&town.site);
    up(&town, &router);
    let frozen = town.of("frozen");
    assert!(docker(&["rm", "-f", &frozen[0].id]).status.success());
    let answer = router.shop("/frozen");
    assert_eq!((answer.status, answer.text().contains("service=frozen")), (200, true), "{}", router.log());
    assert_eq!(town.of("frozen").len(), 1);
}

#[test]
fn what_docker_runs_ends_though_nothing_asks_for_docker_any_more() {
    need_engine!();
    let town = town("leave");
    let router = Router::start(&town.site);
    up(&town, &router);
    assert_eq!(router.stop(), Some(0));
    assert_eq!(town.containers().len(), 4);
    let yaml = std::fs::read_to_string(town.site.path().join("router.yaml")).unwrap();
    let (before, _) = yaml.split_once("landscapes:").unwrap();
    town.site.write("shop/ci.yml", "run: { steps: [] }\n");
    let here = format!("{}landscapes: [{{ id: other, ci: shop/ci.yml }}]\n", before.replace(": docker", ": process"));
    town.site.write("router.yaml", &here);
    let router = Router::start(&town.site);
    town.await_containers("the end of all", &router, |all| all.is_empty());
    eventually("the end of the network", &router, || town.networks().is_empty());
}

#[test]
fn a_preparation_ends_with_the_router() {
    need_engine!();
    let prepare = "prepare: { steps: [{ command: \"echo begun > begun; sleep 1000\" }] }";
    let town = Town::new(SETTINGS, &SHOP.replace("run:", &format!("{prepare}\nrun:")));
    let router = Router::start(&town.site);
    let at = router.http;
    let asking = std::thread::spawn(move || crate::support::get(at, "shop.localhost", "/"));
    eventually("the preparation", &router, || town.site.path().join("shop/begun").exists());
    assert_eq!(town.containers().len(), 1);
    assert_eq!(router.stop(), Some(0));
    assert_eq!(asking.join().unwrap().status, 503);
    assert_eq!(town.containers(), []);
}
