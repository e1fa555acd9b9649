//! The router dies, ends, is replaced: what runs runs on, and is found again.

use std::time::Duration;

use super::rig::{Rig, ci, service};
use crate::fixture::object::Object;
use crate::support::{Load, Router};

fn rig(settings: &str, kubernetes: &str) -> Rig {
    let text = ci(&[service("web", 3, "/", ""), service("cold", 1, "/cold", "")]);
    Rig::of(crate::town::Town::new(), settings, &format!("pull: never, {kubernetes}"), &text)
}

fn up(rig: &Rig, router: &Router) -> Vec<String> {
    assert_eq!(router.shop("/").status, 200, "{}\n{}", rig.town.tell(), router.log());
    rig.await_ready(router, "web", 3);
    rig.await_deployment("cold");
    rig.pod_names("web")
}

#[test]
fn a_killed_router_finds_its_pods_again() {
    let rig = rig("", "");
    let router = Router::start(&rig.site);
    let before = up(&rig, &router);
    let generation = rig.deployment("web").unwrap().int("/metadata/generation");
    router.kill();
    let router = Router::start(&rig.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    rig.await_ready(&router, "web", 3);
    assert_eq!(rig.pod_names("web"), before, "neither stopped nor doubled");
    let web = rig.deployment("web").unwrap();
    assert_eq!((web.int("/spec/replicas"), web.int("/metadata/generation")), (3, generation), "nothing was written");
    assert_eq!(rig.deployment("cold").unwrap().int("/spec/replicas"), 0);
    rig.cli(&router, &["sleep", "shop/web"]);
    rig.await_off(&router, "web");
}

#[test]
fn a_router_without_its_state_finds_its_pods_too() {
    let rig = rig("", "");
    let router = Router::start(&rig.site);
    let before = up(&rig, &router);
    router.kill();
    std::fs::remove_dir_all(rig.site.path().join(".landscape-router")).unwrap();
    let router = Router::start(&rig.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    rig.await_ready(&router, "web", 3);
    assert_eq!(rig.pod_names("web"), before);
}

#[test]
fn what_changed_while_no_router_ran_is_made_so() {
    let rig = rig("", "");
    let router = Router::start(&rig.site);
    let before = up(&rig, &router);
    router.kill();
    let env = "    env: { COLOR: blue }\n";
    rig.site.write("shop/ci.yml", &ci(&[service("web", 3, "/", env)]));
    let router = Router::start(&rig.site);
    rig.eventually("the new version alone", &router, || {
        let now = rig.pod_names("web");
        now.len() == 3 && now.iter().all(|n| !before.contains(n)) && router.shop("/env").text().contains("COLOR=blue")
    });
    rig.eventually("nothing of what left", &router, || rig.deployment("cold").is_none());
}

#[test]
fn a_router_that_ends_leaves_its_pods_to_the_next() {
    let rig = rig("", "");
    let router = Router::start(&rig.site);
    let before = up(&rig, &router);
    assert_eq!(router.stop(), Some(0));
    assert_eq!(rig.pod_names("web"), before);
    let router = Router::start(&rig.site);
    assert_eq!(router.shop("/").status, 200);
    rig.await_ready(&router, "web", 3);
    assert_eq!(rig.pod_names("web"), before);
}

#[test]
fn a_router_that_ends_takes_its_pods_along_where_it_should() {
    let rig = rig("", "onExit: stop");
    let router = Router::start(&rig.site);
    up(&rig, &router);
    assert_eq!(router.stop(), Some(0));
    rig.town.eventually("no pod", || rig.all_pods("web") == 0);
    assert_eq!(rig.deployment("web").unwrap().int("/spec/replicas"), 0);
}

#[test]
fn a_take_over_keeps_every_pod_and_loses_no_request() {
    let rig = rig("", "");
    let mut old = Router::start(&rig.site);
    let before = up(&rig, &old);
    let load = Load::start(old.http, "shop.localhost", "/sleep/3", 4, Duration::from_millis(2));
    load.await_more(50);
    let new = Router::start_with(&rig.site, &["--take-over"]);
    load.await_more(200);
    let code = old.wait();
    load.await_more(100);
    let (_, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}\n{}\n---\n{}", old.log(), new.log());
    assert_eq!(code, Some(0));
    rig.await_ready(&new, "web", 3);
    assert_eq!(rig.pod_names("web"), before);
    assert_eq!(new.shop("/cold").status, 200);
}
