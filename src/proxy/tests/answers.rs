//! The router's own answers, as clients see them.

use super::support::*;

fn ask(router: &Router, method: &str, accept: &str) -> Client {
    let mut client = router.client();
    client.send(format!("{method} / HTTP/1.1\r\nHost: nobody.localhost\r\nAccept: {accept}\r\n\r\n"));
    client
}

#[test]
fn the_format_is_the_one_that_the_client_accepts() {
    let router = Router::new(Setup::default());
    for (accept, kind, part) in [
        ("*/*", "application/problem+json", "\"code\":\"unknown-host\""),
        ("text/html", "text/html; charset=utf-8", "<!doctype html>"),
        ("text/plain", "text/plain; charset=utf-8", "No workspace"),
    ] {
        let answer = ask(&router, "GET", accept).answer();
        assert_eq!((answer.status, answer.error().as_str()), (404, "unknown-host"));
        assert_eq!(answer.field("content-type").as_deref(), Some(kind));
        assert!(answer.text().contains(part), "{}", answer.text());
    }
    let mut head = ask(&router, "HEAD", "*/*");
    assert_eq!(status(&head.head()), 404);
    head.send(format!("GET / HTTP/1.1\r\nHost: {HOST}.example\r\n\r\n"));
    assert_eq!(head.answer().status, 404, "nothing followed the answer to HEAD");
}

#[test]
fn requests_without_a_service_are_counted() {
    let router = Router::new(Setup::default());
    ask(&router, "GET", "*/*").answer();
    let mut client = router.client();
    client.send("nonsense\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    eventually("both are counted", || router.stats.unrouted.requests_by_code() == [(400, 1), (404, 1)]);
}

#[test]
fn requests_of_a_service_are_counted_with_their_status() {
    let upstream = Upstream::answering(|head, _| {
        let status = head.split(['/', ' ']).nth(2).unwrap();
        format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")
    });
    let router = Router::before(upstream.address, Setup::default());
    for status in [200, 201, 404, 500, 200] {
        assert_eq!(router.get(&format!("/{status}")).status, status);
    }
    let seen = || router.service.stats().requests_by_code() == [(200, 2), (201, 1), (404, 1), (500, 1)];
    eventually("all are counted", seen);
}

#[test]
fn a_client_that_left_is_counted_as_499() {
    let router = Router::new(Setup::default());
    let mut client = router.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    eventually("the request is held", || router.service.held() == 1);
    drop(client);
    eventually("it is counted", || router.service.stats().requests_by_code() == [(499, 1)]);
}
