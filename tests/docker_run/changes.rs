//! An operator's edit is live at once, with nothing dropped.

use std::time::Duration;

use crate::need_engine;
use crate::support::{Load, Router, eventually};
use crate::town::{SETTINGS, Town};

fn ci(color: &str) -> String {
    format!(
        "schemaVersion: v0.4
run:
  web:
    image: lr-test/app:1
    replicas: 3
    env: {{ COLOR: {color} }}
    network: {{ ports: [{{ port: 3000, isPublic: false }}], paths: [{{ port: 3000, path: / }}] }}
  other:
    image: lr-test/app:1
    network: {{ ports: [{{ port: 3000, isPublic: false }}], paths: [{{ port: 3000, path: /other }}] }}
"
    )
}

#[test]
fn a_change_of_env_rolls_that_service_alone_and_fails_no_request() {
    need_engine!();
    let town = Town::new(SETTINGS, &ci("red"));
    let router = Router::start(&town.site);
    assert_eq!(router.shop("/other").status, 200, "{}", router.log());
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    router.await_ready("web", 3);
    let (web, other) = (town.of("web"), town.of("other"));
    let load = Load::start(router.http, "shop.localhost", "/sleep/10", 4, Duration::from_millis(2));
    load.await_more(50);
    town.site.write("shop/ci.yml", &ci("blue"));
    let mut blue = 0;
    eventually("blue alone", &router, || {
        blue = if router.shop("/env").text().contains("COLOR=blue") { blue + 1 } else { 0 };
        blue > 20
    });
    let left = |c: &crate::town::Container| web.iter().any(|w| w.id == c.id);
    town.await_containers("three new ones", &router, |all| {
        let now: Vec<_> = all.iter().filter(|c| c.service == "web").collect();
        now.len() == 3 && !now.into_iter().any(left)
    });
    load.await_more(50);
    let (_, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}\n{}", router.log());
    assert_eq!(town.of("other"), other, "the other service was left alone");
}

#[test]
fn a_landscape_that_leaves_takes_its_containers_and_its_network_along() {
    need_engine!();
    let town = Town::new(SETTINGS, &ci("red"));
    let alone = std::fs::read_to_string(town.site.path().join("router.yaml")).unwrap();
    town.site.write("router.yaml", &format!("{alone}  - {{ id: stall, ci: shop/ci.yml, root: shop }}\n"));
    let router = Router::start(&town.site);
    assert_eq!(router.get("stall.localhost", "/").status, 200, "{}", router.log());
    assert_eq!(router.shop("/other").status, 200);
    let kept = town.of("other");
    assert_eq!(town.networks().len(), 2);
    town.site.write("router.yaml", &alone);
    town.await_containers("only shop's", &router, |all| all == kept);
    assert_eq!(router.get("stall.localhost", "/").status, 404);
    eventually("one network", &router, || town.networks().len() == 1);
    assert_eq!(router.shop("/other").status, 200);
}
