//! The API server goes and comes back; its history is forgotten.

use std::time::{Duration, Instant};

use super::rig::{Rig, ci, requests, service};
use crate::support::{Load, Router, figure};
use crate::town::Town;
use crate::{need_a_server_to_stop, need_fixture};

/// How long the API server is away: 60 s is what is promised, which `LANDSCAPE_ROUTER_TEST_ABSENCE` can ask for.
fn absence() -> Duration {
    let asked = std::env::var("LANDSCAPE_ROUTER_TEST_ABSENCE").ok().and_then(|s| s.parse().ok());
    Duration::from_secs(asked.unwrap_or(8))
}

fn rig(hold: &str) -> Rig {
    let text = ci(&[service("web", 3, "/", ""), service("cold", 1, "/cold", "")]);
    Rig::of(Town::alone(), &format!("hold: {{ timeout: {hold} }}"), "pull: never", &text)
}

fn up(rig: &Rig) -> Router {
    let router = Router::start(&rig.site);
    // A real node takes longer than these tests hold a request.
    rig.eventually("it to be up", &router, || router.shop("/").status == 200);
    rig.await_ready(&router, "web", 3);
    rig.await_deployment("cold");
    router
}

#[test]
fn without_an_api_server_warm_traffic_is_unharmed_and_cold_requests_are_told() {
    need_a_server_to_stop!();
    let mut rig = rig("2s");
    let router = up(&rig);
    let before = rig.pod_names("web");
    let load = Load::start(router.http, "shop.localhost", "/sleep/5", 4, Duration::from_millis(2));
    load.await_more(50);
    rig.town.stop_api();
    let killed = Instant::now();
    let mut asked = 0;
    while killed.elapsed() < absence() || asked < 2 {
        let begin = Instant::now();
        let cold = router.shop("/cold");
        figure("a cold request without an API server", begin.elapsed());
        assert_eq!(cold.status, 503, "{}", cold.text());
        assert!(cold.header("retry-after").is_some(), "{}", cold.head);
        assert!(begin.elapsed() < Duration::from_secs(10));
        assert!(
            !cold.text().contains("127.0.0.1") && !cold.text().contains("kubeconfig"),
            "no internals: {}",
            cold.text()
        );
        load.await_more(100);
        asked += 1;
    }
    assert!(router.service("web")["unknown"].is_string(), "the status tells: {:#}", router.service("web"));
    rig.town.on_fixture().inspect(|f| f.forget_requests());
    rig.town.start_api();
    let back = Instant::now();
    rig.eventually("a cold request to be served", &router, || router.shop("/cold").status == 200);
    figure("a cold request after the API server's return", back.elapsed());
    rig.eventually("nothing unknown", &router, || router.service("web")["unknown"].is_null());
    load.await_more(50);
    let (_, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}\n{}", router.log());
    assert_eq!(rig.pod_names("web"), before);
    if let Some(fixture) = rig.town.on_fixture() {
        let lists = requests(fixture).iter().filter(|r| r.verb == "list").count();
        assert!(lists <= 12, "a list for each kind of object, not more: {lists}");
    }
}

#[test]
fn a_router_starts_without_an_api_server_and_finds_what_runs_when_it_comes() {
    need_a_server_to_stop!();
    let mut rig = rig("1s");
    let router = up(&rig);
    let before = rig.pod_names("web");
    router.kill();
    rig.town.stop_api();
    let router = Router::start(&rig.site);
    let answer = router.shop("/");
    assert_eq!(answer.status, 503, "{}", answer.text());
    rig.town.start_api();
    rig.eventually("its return", &router, || router.shop("/").status == 200);
    rig.await_ready(&router, "web", 3);
    assert_eq!(rig.pod_names("web"), before, "the same, none twice");
}

#[test]
fn a_router_that_never_saw_its_api_server_says_so_soon_and_serves_when_it_comes() {
    need_a_server_to_stop!();
    let mut rig = rig("60s");
    rig.town.stop_api();
    let router = Router::start(&rig.site);
    let begin = Instant::now();
    for most in [8, 1, 1] {
        let begin = Instant::now();
        let answer = router.shop("/");
        figure("a request to a router that never saw its API server", begin.elapsed());
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.header("retry-after").is_some(), "{}", answer.head);
        assert!(!answer.text().contains("127.0.0.1") && !answer.text().contains("kubeconfig"), "{}", answer.text());
        assert!(begin.elapsed() < Duration::from_secs(most), "{:?}", begin.elapsed());
    }
    assert!(router.service("web")["unknown"].is_string(), "the status tells: {:#}", router.service("web"));
    // As many tries as tell whether each of them is logged.
    while begin.elapsed() < Duration::from_secs(6) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let log = router.log();
    let level = |l: &&str| l.split_whitespace().nth(1).is_some_and(|word| word == "WARN" || word == "ERROR");
    let loud = log.lines().filter(level);
    let mut said: Vec<&str> = loud.map(|l| l.split_once(' ').unwrap().1).collect();
    let lines = said.len();
    said.sort_unstable();
    said.dedup();
    assert!(log.contains("cluster cannot be reached") && said.len() == lines, "each once:\n{log}");
    rig.town.start_api();
    let back = Instant::now();
    rig.eventually("a request to be served", &router, || router.shop("/").status == 200);
    figure("a request after the API server came for the first time", back.elapsed());
    rig.await_ready(&router, "web", 3);
    assert!(router.service("web")["unknown"].is_null());
}

#[test]
fn a_forgotten_history_is_read_anew() {
    need_fixture!("its history is not ours to forget");
    let mut rig = rig("60s");
    let router = up(&rig);
    let load = Load::start(router.http, "shop.localhost", "/sleep/5", 2, Duration::from_millis(2));
    for _ in 0..3 {
        // What changes while nobody watches, and then cannot be told any more.
        let before = rig.pod_names("web");
        rig.town.stop_api();
        rig.town.start_api();
        rig.town.delete("pods", &before[0], &serde_json::json!({})).good();
        rig.town.fixture().compact();
        rig.eventually("three others", &router, || {
            let now = rig.pod_names("web");
            now.len() == 3 && !now.contains(&before[0]) && router.ready("web") == 3
        });
    }
    assert_eq!(router.shop("/cold").status, 200);
    load.await_more(50);
    let (_, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}\n{}", router.log());
}

#[test]
fn a_pod_that_dies_while_nobody_can_tell_is_served_by_the_others() {
    need_a_server_to_stop!();
    let mut rig = rig("20s");
    let router = up(&rig);
    let load = Load::start(router.http, "shop.localhost", "/", 3, Duration::from_millis(3));
    load.await_more(50);
    let victim = rig.pods("web")[0]["status"]["podIP"].as_str().unwrap().parse::<std::net::IpAddr>().unwrap();
    rig.town.stop_api();
    let _ = crate::support::request((victim, 3000).into(), "GET /die/3 HTTP/1.1\r\nHost: pod\r\n\r\n");
    load.await_more(200);
    rig.town.start_api();
    rig.await_ready(&router, "web", 3);
    load.await_more(50);
    let (_, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}\n{}", router.log());
}
