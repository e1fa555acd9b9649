//! The engine goes and comes back under a running router.

use std::time::{Duration, Instant};

use crate::need_engine;
use crate::rig::{Wire, says};
use crate::support::{Load, Router, eventually, figure, get};
use crate::town::{SETTINGS, Town};

const SHOP: &str = r"
schemaVersion: v0.4
run:
  web:
    image: lr-test/app:1
    replicas: 3
    network: { ports: [{ port: 3000, isPublic: false }], paths: [{ port: 3000, path: / }] }
  cold:
    image: lr-test/app:1
    network: { ports: [{ port: 3000, isPublic: false }], paths: [{ port: 3000, path: /cold }] }
";

struct Cut {
    // Before the runtime that it lives on.
    wire: Wire,
    _dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Cut {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let entered = runtime.enter();
        let wire = Wire::new(dir.path().join("engine.sock"));
        drop(entered);
        Self { wire, _dir: dir, runtime }
    }

    fn town(&self, hold: &str) -> Town {
        let host = format!("docker: {{ host: \"{}\",", self.wire.host());
        Town::new(&format!("{}\nhold: {{ timeout: {hold} }}", SETTINGS.replace("docker: {", &host)), SHOP)
    }

    fn cut(&mut self) {
        self.runtime.block_on(self.wire.cut());
    }

    fn mend(&mut self) {
        let _entered = self.runtime.enter();
        self.wire.mend();
    }
}

#[test]
fn without_the_engine_what_runs_is_served_and_afterwards_nothing_is_doubled() {
    need_engine!();
    let mut engine = Cut::new();
    let town = engine.town("20s");
    let router = Router::start(&town.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    router.await_ready("web", 3);
    let before = town.of("web");
    let load = Load::start(router.http, "shop.localhost", "/sleep/5", 4, Duration::from_millis(2));
    load.await_more(50);

    engine.cut();
    eventually("the loss in the status", &router, || router.service("web")["unknown"].is_string());
    let shown = router.cli(&town.site, &["status"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("may be out of date"), "{shown}");
    load.await_more(100);
    // One of three dies unseen: the others serve.
    says(&["kill", &before[0].id]);
    load.await_more(200);
    let at = router.http;
    let asking = std::thread::spawn(move || get(at, "shop.localhost", "/cold"));
    eventually("the cold request", &router, || router.service("cold")["held"] == 1);
    load.await_more(100);

    engine.mend();
    let mended = Instant::now();
    let cold = asking.join().unwrap();
    assert_eq!(cold.status, 200, "{}\n{}", cold.text(), router.log());
    figure("a cold request after the engine's return", mended.elapsed());
    eventually("three again", &router, || {
        let now = town.of("web");
        now.len() == 3 && now.iter().all(|c| c.state == "running") && router.ready("web") == 3
    });
    let (_, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}\n{}", router.log());
    let now = town.of("web");
    assert!(before[1..].iter().all(|b| now.contains(b)), "those that lived were kept: {before:?} {now:?}");
    assert_eq!(town.of("cold").len(), 1);
    assert!(router.service("web")["unknown"].is_null());
}

#[test]
fn a_cold_request_without_an_engine_is_answered_clearly() {
    need_engine!();
    let mut engine = Cut::new();
    let town = engine.town("1s");
    let router = Router::start(&town.site);
    engine.cut();
    let begin = Instant::now();
    let answer = router.shop("/cold");
    figure("a cold request without an engine", begin.elapsed());
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some(), "{}", answer.head);
    assert!(!answer.text().contains("engine.sock"), "no internals: {}", answer.text());
    engine.mend();
    eventually("its return", &router, || router.shop("/cold").status == 200);
    assert_eq!(town.of("cold").len(), 1);
}

#[test]
fn a_router_starts_without_an_engine_and_finds_what_runs_when_it_comes() {
    need_engine!();
    let mut engine = Cut::new();
    let town = engine.town("1s");
    let router = Router::start(&town.site);
    eventually("a first answer", &router, || router.shop("/").status == 200);
    router.await_ready("web", 3);
    let before = town.containers();
    router.kill();
    engine.cut();
    let router = Router::start(&town.site);
    let answer = router.shop("/");
    assert_eq!(answer.status, 503, "{}", answer.text());
    eventually("the loss in the status", &router, || router.service("web")["unknown"].is_string());
    assert!(router.cli(&town.site, &["wake", "shop/web"]).status.success(), "a command is taken");
    assert_eq!(router.stop(), Some(0), "it can end without the engine, too");
    let router = Router::start(&town.site);
    engine.mend();
    eventually("its return", &router, || router.shop("/").status == 200);
    router.await_ready("web", 3);
    assert_eq!(town.containers(), before, "the same, none twice");
}
