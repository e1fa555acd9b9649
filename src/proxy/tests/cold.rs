//! Requests to a service of which nothing is ready.

use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;

use super::support::*;
use crate::config::settings::{HalfClosed, PathPattern, TrafficClass, TrafficRule};

fn get(accept: &str) -> String {
    format!("GET /page HTTP/1.1\r\nHost: {HOST}\r\nAccept: {accept}\r\n\r\n")
}

fn held(router: &Router, request: &str) -> Client {
    let mut client = router.client();
    client.send(request);
    eventually("the request is held", || router.service.held() == 1);
    client
}

#[test]
fn a_held_request_is_answered_when_a_replica_is_ready() {
    let upstream = Upstream::echo();
    let router = Router::new(Setup::default());
    let mut client = held(&router, &get("*/*"));
    router.ready(&[upstream.address]);
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("x-landscape-cold-start").as_deref(), Some("true"));
    assert!(answer.field("server-timing").unwrap().starts_with("wake;dur="), "{}", answer.head);
    // The next one is warm.
    client.send(get("*/*"));
    let answer = client.answer();
    assert_eq!((answer.status, answer.field("x-landscape-cold-start")), (200, None));
}

#[test]
fn a_held_request_frees_its_place_when_its_client_leaves() {
    let body = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(50_000));
    for request in [get("*/*"), body] {
        let router = Router::new(Setup::default());
        // An end.
        drop(held(&router, &request));
        eventually("an end is noticed", || router.service.held() == 0);
        // A reset.
        let client = held(&router, &request);
        SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        eventually("a reset is noticed", || router.service.held() == 0);
        // A half-close.
        let client = held(&router, &request);
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        eventually("a half-close is noticed", || router.service.held() == 0);
        eventually("connections end", || router.listeners.connections() == 0);
    }
}

#[test]
fn a_half_closed_client_is_waited_with_where_configured() {
    let upstream = Upstream::echo();
    let mut setup = Setup::default();
    setup.policy.hold.half_closed = HalfClosed::Keep;
    let router = Router::new(setup);
    let mut client = held(&router, &get("*/*"));
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    router.ready(&[upstream.address]);
    assert_eq!(client.answer().status, 200);
    // A reset still counts.
    router.ready(&[]);
    let client = held(&router, &get("*/*"));
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    eventually("a reset is noticed", || router.service.held() == 0);
}

#[test]
fn a_half_closed_client_gets_the_answer_that_is_under_way() {
    let upstream = Upstream::new(|client, _| {
        client.request();
        // Only when the half-close has surely arrived.
        std::thread::sleep(Duration::from_millis(50));
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    client.send(get("*/*"));
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn a_reset_client_ends_its_forwarded_request() {
    let upstream = Upstream::new(|client, _| {
        client.request();
        client.request();
    });
    let router = Router::new(Setup::default());
    let replica = router.ready(&[upstream.address]).remove(0);
    let mut client = router.client();
    client.send(get("*/*"));
    eventually("it is forwarded", || replica.word.in_flight() == 1 && upstream.count() == 1);
    SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    eventually("the lease is given back", || replica.word.in_flight() == 0);
}

#[test]
fn a_browser_gets_the_loading_page_and_then_the_application() {
    let upstream = Upstream::echo();
    let router = Router::new(Setup::default());
    let mut client = router.client();
    client.send(get("text/html,*/*;q=0.8"));
    let page = client.answer();
    assert_eq!((page.status, page.error().as_str()), (503, "starting"));
    assert!(page.field("retry-after").is_some());
    assert!(page.text().contains("Workspace server is starting"));
    assert!(page.field("content-security-policy").unwrap().contains("default-src 'none'"));
    // Its script asks how far it is, and never reaches the application.
    client.send(get("application/vnd.landscape-router.status+json"));
    let status: serde_json::Value = serde_json::from_slice(&client.answer().body).unwrap();
    assert_eq!(status["ready"], false);
    router.ready(&[upstream.address]);
    client.send(get("application/vnd.landscape-router.status+json"));
    let status: serde_json::Value = serde_json::from_slice(&client.answer().body).unwrap();
    assert_eq!((status["ready"].as_bool(), upstream.count()), (Some(true), 0));
    client.send(get("text/html"));
    assert_eq!(client.answer().status, 200);
}

#[test]
fn overflow_and_deadline_are_answered_at_once() {
    let mut setup = Setup::default();
    setup.policy.hold.max_requests = 1;
    setup.policy.hold.timeout = Duration::from_millis(300);
    let router = Router::new(setup);
    let mut first = held(&router, &get("*/*"));
    let second = router.ask(&get("*/*"));
    assert_eq!((second.status, second.error().as_str()), (503, "hold-full"));
    assert!(second.field("retry-after").is_some());
    let first = first.answer();
    assert_eq!((first.status, first.error().as_str()), (503, "hold-timeout"));
    assert!(first.field("retry-after").is_some());
}

#[test]
fn a_rule_for_a_source_means_the_client_behind_a_trusted_proxy() {
    let mut setup = Setup::default();
    setup.rules.trusted_proxies = Arc::new(["127.0.0.0/8".parse().unwrap()]);
    setup.policy.traffic = Arc::new([TrafficRule {
        path: None,
        agent: None,
        methods: vec![],
        sources: vec!["192.0.2.0/24".parse().unwrap()],
        then: TrafficClass::OnlyIfAwake,
    }]);
    let router = Router::new(setup);
    // What the client made up comes first, what its proxy says last.
    for (chain, error) in [
        ("X-Forwarded-For: 192.0.2.7", "asleep"),
        ("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.7", "asleep"),
        ("X-Forwarded-For: 6.6.6.6, 192.0.2.7, 127.0.0.9", "asleep"),
    ] {
        let answer = router.ask(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{chain}\r\n\r\n"));
        assert_eq!((answer.status, answer.error().as_str()), (503, error), "{chain}");
    }
    let mut other = router.client();
    other.send(format!(
        "GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"
    ));
    eventually("the other is held", || router.service.held() == 1);
}

#[test]
fn classed_requests_neither_wait_nor_wake() {
    let upstream = Upstream::echo();
    let rule = |path: &str, then| TrafficRule {
        path: Some(PathPattern::Exact(path.into())),
        agent: None,
        methods: vec![],
        sources: vec![],
        then,
    };
    let mut setup = Setup::default();
    setup.policy.traffic = Arc::new([
        rule("/only", TrafficClass::OnlyIfAwake),
        rule("/fixed", TrafficClass::AnswerWhileAsleep { status: 200, body: "fine".into() }),
    ]);
    let router = Router::new(setup);
    let only = router.get("/only");
    assert_eq!((only.status, only.error().as_str()), (503, "asleep"));
    let fixed = router.get("/fixed");
    assert_eq!((fixed.status, fixed.text()), (200, "fine"));
    assert_eq!(router.service.held(), 0);
    assert_eq!(router.service.last_use(), None);
    router.ready(&[upstream.address]);
    for path in ["/only", "/fixed"] {
        assert!(router.get(path).text().contains("GET /"), "{path}");
    }
    assert_eq!(router.service.last_use(), None, "such requests are no use");
    router.get("/");
    eventually("a use is noted", || router.service.last_use().is_some());
}
