//! A ci.yml of images and shell steps goes in; its containers are balanced and told of.

use std::collections::BTreeMap;

use crate::need_engine;
use crate::support::{Load, Router, eventually};
use crate::town::{SETTINGS, Town};

const SHOP: &str = r#"
schemaVersion: v0.4
prepare: { steps: [{ name: make, command: "echo from prepare > made.txt; echo preparing was here" }] }
run:
  web:
    image: lr-test/app:1
    replicas: 3
    env: { COLOR: red, HOME_OF: "${{ workspace.id }}", COUNT: 7 }
    network: { ports: [{ port: 3000, isPublic: false }], paths: [{ port: 3000, path: / }] }
  api:
    image: lr-test/app:1
    steps: [{ name: first, command: "echo api step one" }, { command: "exec test-app --host 0.0.0.0 --port 8000" }]
    network:
      ports: [{ port: 8000, isPublic: true }]
      paths: [{ port: 8000, path: /api, stripPath: true }, { port: 8000, path: /kept }]
  reactive:
    steps: [{ command: "cat made.txt && exec test-app --host 0.0.0.0" }]
    network: { ports: [{ port: 3000, isPublic: false }], paths: [{ port: 3000, path: /reactive, stripPath: true }] }
"#;

fn text(output: &std::process::Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn images_custom_bases_and_reactives_are_served() {
    need_engine!();
    let town = Town::new(SETTINGS, SHOP);
    let router = Router::start(&town.site);
    assert_eq!(town.containers(), []);
    let first = router.shop("/hello?x=1");
    assert_eq!(first.status, 200, "{}\n{}", first.text(), router.log());
    assert!(first.text().starts_with("service=web replica="), "{}", first.text());
    assert_eq!(first.header("x-landscape-cold-start"), Some("true"));
    router.await_ready("web", 3);
    assert!(town.of("api").is_empty() && town.of("reactive").is_empty(), "nobody asked for them");

    let env = router.shop("/env").text();
    for line in ["COLOR=red", "COUNT=7", "HOME_OF=shop", "CS_SERVER=web", "WORKSPACE_ID=shop", "CS_REPLICA="] {
        assert!(env.lines().any(|l| l.starts_with(line)), "no {line} in\n{env}");
    }
    for (asked, seen) in [
        ("/api/users?q=%2F", "service=api replica=0 path=/users?q=%2F"),
        ("/api", "service=api replica=0 path=/"),
        ("/kept/x", "service=api replica=0 path=/kept/x"),
        ("/apis", "service=web path=/apis"),
        ("/reactive/there", "service=reactive replica=0 path=/there"),
    ] {
        let answer = router.shop(asked);
        let text = answer.text();
        let words: Vec<&str> = text.split_whitespace().collect();
        assert!(seen.split(' ').all(|w| words.contains(&w)), "{asked}: {} {text}\n{}", answer.status, router.log());
    }
    assert!(router.get("shop-8000.localhost", "/x").text().starts_with("service=api"), "its public port's host");

    let status = text(&router.cli(&town.site, &["status"]));
    assert!(status.lines().any(|l| l.contains("shop/web") && l.contains("ready") && l.contains("3/3")), "{status}");
    let logs = |name: &str| text(&router.cli(&town.site, &["logs", name]));
    eventually("the step's output", &router, || logs("shop/api").contains("api step one"));
    assert!(logs("shop/web").contains("listening on 3000"), "{}", logs("shop/web"));
    assert!(logs("shop/reactive").contains("from prepare"), "{}", logs("shop/reactive"));
    assert!(router.log().contains("preparing was here"), "{}", router.log());
}

#[test]
fn three_replicas_share_the_load() {
    need_engine!();
    let town = Town::new(SETTINGS, SHOP);
    let router = Router::start(&town.site);
    router.shop("/");
    router.await_ready("web", 3);
    let load = Load::start(router.http, "shop.localhost", "/sleep/5", 6, std::time::Duration::from_millis(1));
    let mut by_replica = BTreeMap::new();
    for _ in 0..90 {
        let text = router.shop("/").text();
        let replica = text.split_whitespace().find_map(|w| w.strip_prefix("replica=")).unwrap().to_owned();
        *by_replica.entry(replica).or_insert(0) += 1;
    }
    let (_, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(by_replica.len(), 3, "{by_replica:?}");
    assert!(by_replica.values().all(|n| *n >= 10), "{by_replica:?}");
}
