//! A ci.yml goes in, its application is served, and what nobody uses is off: seen from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{BufReader, Write};
use std::time::{Duration, Instant};

use support::http::{connect, read_answer};
use support::{Router, Site, request, router_yaml};

const SHOP: &str = r"
schemaVersion: v0.2
run:
  web:
    steps:
      - command: ./test-app
    network:
      ports: [{ port: 3000, isPublic: false }]
      paths: [{ port: 3000, path: / }]
  api:
    steps:
      - command: ./test-app
    replicas: 3
    network:
      ports: [{ port: 3000, isPublic: true }]
      paths:
        - { port: 3000, path: /api, stripPath: true }
        - { port: 3000, path: /kept }
";

#[test]
fn a_sleeping_service_is_started_by_its_first_request() {
    let site = Site::new(&router_yaml(""), SHOP);
    let router = Router::start(&site);
    assert_eq!(router.service("web")["state"], "off");
    let first = router.shop("/hello?x=1");
    assert_eq!(first.status, 200, "{}", first.text());
    assert!(first.text().starts_with("service=web replica=0"), "{}", first.text());
    assert!(first.text().ends_with("path=/hello?x=1\n"), "{}", first.text());
    assert_eq!(first.header("x-landscape-cold-start"), Some("true"));
    assert!(first.header("server-timing").unwrap().starts_with("wake;dur="));
    let second = router.shop("/");
    assert_eq!((second.status, second.header("x-landscape-cold-start")), (200, None));
    assert_eq!(router.service("web")["state"], "ready");
    assert_eq!(router.service("api")["state"], "off", "nobody asked for it");
}

#[test]
fn paths_are_stripped_only_where_the_file_says_so() {
    let site = Site::new(&router_yaml(""), SHOP);
    let router = Router::start(&site);
    for (asked, seen) in [
        ("/api/users?q=%2F", "service=api path=/users?q=%2F"),
        ("/api", "service=api path=/"),
        ("/api/", "service=api path=/"),
        ("/kept/x", "service=api path=/kept/x"),
        ("/apis", "service=web path=/apis"),
    ] {
        let text = router.shop(asked).text();
        let words: Vec<&str> = text.trim().split(' ').collect();
        assert_eq!(format!("{} {}", words[0], words[3]), seen, "{asked}");
    }
    let own_host = router.get("shop-3000.localhost", "/x").text();
    assert!(own_host.starts_with("service=api") && own_host.ends_with("path=/x\n"), "{own_host}");
}

#[test]
fn every_replica_gets_its_share_and_knows_its_number() {
    let site = Site::new(&router_yaml(""), SHOP);
    let router = Router::start(&site);
    let mut seen = std::collections::BTreeMap::<String, u32>::new();
    let deadline = Instant::now() + support::PATIENCE;
    while seen.len() < 3 {
        let text = router.shop("/api/").text();
        *seen.entry(text.split(' ').nth(1).unwrap().to_owned()).or_default() += 1;
        assert!(Instant::now() < deadline, "{seen:?}");
    }
    assert_eq!(seen.keys().map(String::as_str).collect::<Vec<_>>(), ["replica=0", "replica=1", "replica=2"]);
}

#[test]
fn what_nobody_uses_is_switched_off_and_woken_again() {
    let site = Site::new(&router_yaml("defaults: { idleAfter: 300ms }"), SHOP);
    let router = Router::start(&site);
    let first = router.shop("/").text();
    router.await_state("web", "off");
    let pid = first.split("pid=").nth(1).unwrap().split(' ').next().unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "the process of a service that is off");
    let again = router.shop("/");
    assert_eq!((again.status, again.header("x-landscape-cold-start")), (200, Some("true")));
}

#[test]
fn a_request_in_flight_keeps_its_service_awake() {
    let site = Site::new(&router_yaml("defaults: { idleAfter: 200ms }"), SHOP);
    let router = Router::start(&site);
    let slow = router.shop("/sleep/1500");
    assert_eq!((slow.status, slow.text().as_str()), (200, "slept 1500\n"));
    let stream = router.shop("/stream/8/200");
    assert_eq!(stream.text().matches("data:").count(), 8, "{}", stream.text());
    router.await_state("web", "off");
}

#[test]
fn a_crash_loop_answers_at_the_exit_and_not_at_the_deadline() {
    let ci = "schemaVersion: v0.2\nrun:\n  web:\n    steps: [{ command: \"echo boom; exit 3\" }]\n    network: { paths: [{ port: 3000, path: / }] }\n";
    let site = Site::new(&router_yaml(""), ci);
    let router = Router::start(&site);
    let answer = router.shop("/");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some(), "{}", answer.head);
    // At a deadline it would be another.
    assert_eq!(answer.header("x-landscape-error"), Some("start-failed"), "{}", answer.head);
    assert!(!answer.text().contains("boom"), "no internals to the client: {}", answer.text());
    // The operator's own command has the token, and sees the last lines.
    let deadline = Instant::now() + support::PATIENCE;
    loop {
        let status = router.cli(&site, &["status", "--json"]);
        let text = String::from_utf8_lossy(&status.stdout);
        if text.contains("boom") {
            break;
        }
        assert!(Instant::now() < deadline, "{text}{}", String::from_utf8_lossy(&status.stderr));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_routers_own_answers_name_their_reason() {
    let site = Site::new(&router_yaml(""), SHOP.replace("path: / }", "path: /only }").as_str());
    let router = Router::start(&site);
    let nowhere = router.shop("/other");
    assert_eq!(nowhere.status, 404);
    assert!(nowhere.header("x-landscape-error").is_some(), "{}", nowhere.head);
    let unknown = router.get("unknown.example.com", "/");
    assert!(unknown.status == 404 || unknown.status == 421, "{}", unknown.head);
    let theirs = router.shop("/only/status/404");
    assert_eq!((theirs.status, theirs.header("x-landscape-error")), (200, None), "{}", theirs.text());
}

#[test]
fn one_connection_serves_many_requests_and_pipelines() {
    let site = Site::new(&router_yaml(""), SHOP);
    let router = Router::start(&site);
    let mut stream = connect(router.http).unwrap();
    let one = "GET /a HTTP/1.1\r\nHost: shop.localhost\r\n\r\n";
    let two = "POST /echo HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 5\r\n\r\nhello";
    stream.write_all(format!("{one}{two}{one}").as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    assert!(read_answer(&mut reader).unwrap().text().ends_with("path=/a\n"));
    assert_eq!(read_answer(&mut reader).unwrap().text(), "hello");
    assert!(read_answer(&mut reader).unwrap().text().ends_with("path=/a\n"));
}

#[test]
fn forwarding_headers_are_rebuilt() {
    let site = Site::new(&router_yaml(""), SHOP);
    let router = Router::start(&site);
    let head = request(
        router.http,
        "GET /head HTTP/1.1\r\nHost: shop.localhost\r\nX-Forwarded-For: 6.6.6.6\r\nX-Landscape-Admin: 1\r\n\
         Connection: close, X-Secret\r\nX-Secret: 1\r\n\r\n",
    )
    .unwrap()
    .text()
    .to_lowercase();
    assert!(head.contains("host: shop.localhost"), "{head}");
    assert!(head.contains("x-forwarded-for: 127.0.0.1\r\n") && head.contains("x-forwarded-proto: http"), "{head}");
    assert!(!head.contains("6.6.6.6") && !head.contains("x-landscape-") && !head.contains("x-secret"), "{head}");
}
