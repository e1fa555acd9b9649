//! An operator's edit is live at once, with nothing dropped: seen from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::{Duration, Instant};

use support::{Load, PATIENCE, Router, Site, router_yaml};

fn ci(color: &str, path: &str) -> String {
    format!(
        "schemaVersion: v0.2
run:
  web:
    steps: [{{ command: ./test-app }}]
    replicas: 2
    env: {{ COLOR: {color} }}
    network:
      ports: [{{ port: 3000, isPublic: false }}]
      paths: [{{ port: 3000, path: / }}]
  other:
    steps: [{{ command: ./test-app }}]
    network: {{ paths: [{{ port: 3000, path: {path}, stripPath: true }}] }}
"
    )
}

fn await_true(what: &str, router: &Router, mut holds: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "never {what}:\n{}", router.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    begin.elapsed()
}

#[test]
fn a_change_of_routes_restarts_nothing_and_loses_nothing() {
    let site = Site::new(&router_yaml(""), &ci("red", "/old"));
    let router = Router::start(&site);
    let pid = |text: String| text.split("pid=").nth(1).map(|t| t.split(' ').next().unwrap().to_owned());
    let before = pid(router.shop("/old/x").text());
    let load = Load::start(router.http, "shop.localhost", "/", 4, Duration::from_millis(2));
    load.await_more(50);
    site.write("shop/ci.yml", &ci("red", "/new"));
    await_true("served at /new", &router, || router.shop("/new/x").text().contains("service=other"));
    load.await_more(50);
    let (_, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(pid(router.shop("/new/x").text()), before, "its process is the same");
    assert!(router.shop("/old/x").text().contains("service=web"), "the old route is gone");
}

#[test]
fn a_change_of_env_rolls_that_service_alone() {
    let site = Site::new(&router_yaml(""), &ci("red", "/other"));
    let router = Router::start(&site);
    let other = router.shop("/other/").text();
    let load = Load::start(router.http, "shop.localhost", "/", 4, Duration::from_millis(2));
    load.await_more(50);
    site.write("shop/ci.yml", &ci("blue", "/other"));
    let mut blue = 0;
    await_true("blue", &router, || {
        blue = if router.shop("/env").text().contains("COLOR=blue") { blue + 1 } else { 0 };
        blue > 20
    });
    load.await_more(50);
    let (_, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}\n{}", router.log());
    assert_eq!(router.shop("/other/").text(), other, "the other service was left alone");
}

#[test]
fn a_bad_file_changes_nothing_and_is_told() {
    let site = Site::new(&router_yaml(""), &ci("red", "/other"));
    let router = Router::start(&site);
    let first = router.shop("/");
    assert_eq!(first.status, 200, "{}\n{}", first.text(), router.log());
    site.write("router.yaml", "listen: { http: [\"127.0.0.1:0\"] }\nlandscape: []\n");
    router.await_log("landscapes");
    await_true("told in the metric", &router, || {
        router.metric("landscape_router_config_last_reload_successful") == Some(0.0)
    });
    let first = router.shop("/");
    assert_eq!(first.status, 200, "{}\n{}", first.text(), router.log());
    site.write("router.yaml", &router_yaml(""));
    await_true("well again", &router, || router.metric("landscape_router_config_last_reload_successful") == Some(1.0));
}

#[test]
fn a_bad_landscape_keeps_its_last_good_version() {
    let site = Site::new(&router_yaml(""), &ci("red", "/other"));
    let router = Router::start(&site);
    let first = router.shop("/");
    assert_eq!(first.status, 200, "{}\n{}", first.text(), router.log());
    site.write("shop/ci.yml", "run:\n  web:\n    steps: {");
    router.await_log("ci.yml:");
    let first = router.shop("/");
    assert_eq!(first.status, 200, "{}\n{}", first.text(), router.log());
    let status = router.cli(&site, &["status"]);
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(text.contains("ci.yml"), "the mistake is in `status`: {text}{}", String::from_utf8_lossy(&status.stderr));
}

#[test]
fn listeners_come_and_go_under_load() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let keep = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let yaml = |http: &str| router_yaml("").replace("http: [\"127.0.0.1:0\"]", http);
    let site = Site::new(&yaml(&format!("http: [\"127.0.0.1:{keep}\"]")), &ci("red", "/other"));
    let router = Router::start(&site);
    let load = Load::start(router.http, "shop.localhost", "/", 4, Duration::from_millis(2));
    load.await_more(20);
    site.write("router.yaml", &yaml(&format!("http: [\"127.0.0.1:{keep}\", \"127.0.0.1:{port}\"]")));
    let added = format!("127.0.0.1:{port}").parse().unwrap();
    await_true("listening on the new one", &router, || std::net::TcpStream::connect(added).is_ok());
    let more = Load::start(added, "shop.localhost", "/", 2, Duration::from_millis(2));
    more.await_more(20);
    let (_, failures) = more.stop();
    assert!(failures.is_empty(), "{failures:?}");
    site.write("router.yaml", &yaml(&format!("http: [\"127.0.0.1:{keep}\"]")));
    await_true("closed", &router, || std::net::TcpStream::connect(added).is_err());
    load.await_more(20);
    let (_, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn hangup_reads_everything_again() {
    let site = Site::new(&router_yaml(""), &ci("red", "/other"));
    let router = Router::start(&site);
    let before = router.metric("landscape_router_config_reloads_total{result=\"success\"}").unwrap_or(0.0);
    router.hangup();
    await_true("reloaded", &router, || {
        router.metric("landscape_router_config_reloads_total{result=\"success\"}").unwrap_or(0.0) > before
    });
}

#[test]
fn a_bad_ci_yml_is_counted_from_the_start_and_until_it_is_good() {
    let site = Site::new(&router_yaml(""), "schemaVersion: v9\n");
    let router = Router::start(&site);
    let sound = "landscape_router_config_last_reload_successful";
    assert_eq!(router.metric(sound), Some(0.0), "as `status` says");
    site.write("shop/ci.yml", &ci("red", "/other"));
    router.await_metric(sound, 1.0);
}
