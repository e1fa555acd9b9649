//! Requests that could be read in two ways, or not at all: refused, and the router serves on.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::support::http::connect;
use crate::support::{Router, Site, router_yaml};

const SHOP: &str = "schemaVersion: v0.2
run:
  web:
    steps: [{ command: ./test-app }]
    network: { paths: [{ port: 3000, path: / }] }
";

/// Everything that comes back until the router closes.
fn send(router: &Router, bytes: &[u8]) -> String {
    let mut stream = connect(router.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let written = stream.write_all(bytes);
    let mut all = Vec::new();
    let read = stream.read_to_end(&mut all);
    assert!(
        !all.is_empty(),
        "no answer: {written:?} {read:?} to {}",
        String::from_utf8_lossy(&bytes[..bytes.len().min(300)])
    );
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn what_is_not_plain_http_is_refused() {
    let site = Site::new(&router_yaml("timeouts: { idle: 5s }"), SHOP);
    let router = Router::start(&site);
    assert_eq!(router.shop("/").status, 200);
    let host = "Host: shop.localhost\r\nConnection: close\r\n";
    let get = |fields: &str| format!("GET / HTTP/1.1\r\n{host}{fields}\r\n");
    let post = |fields: &str, body: &str| format!("POST /echo HTTP/1.1\r\n{host}{fields}\r\n{body}");
    let line = |line: &str| format!("{line}\r\n{host}\r\n");
    let chunk = "5\r\nhello\r\n0\r\n\r\n";
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let large = format!("X: {}\r\n", "x".repeat(70_000));
    let cases = [
        ("two chunked", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunk), &[400, 501][..]),
        ("chunked, chunked", post("Transfer-Encoding: chunked, chunked\r\n", chunk), &[400, 501]),
        ("identity, chunked", post("Transfer-Encoding: identity, chunked\r\n", chunk), &[400, 501]),
        ("gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", chunk), &[400, 501]),
        ("xchunked", post("Transfer-Encoding: xchunked\r\n", chunk), &[400, 501]),
        ("chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", chunk), &[400, 501]),
        ("both framings", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", chunk), &[400]),
        ("both, the other way", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunk), &[400]),
        ("two lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"), &[400]),
        ("a list of lengths", post("Content-Length: 5, 6\r\n", "hello!"), &[400]),
        ("a signed length", post("Content-Length: +5\r\n", "hello"), &[400]),
        ("a negative length", post("Content-Length: -5\r\n", "hello"), &[400]),
        ("a huge length", post("Content-Length: 99999999999999999999999\r\n", "hello"), &[400, 413]),
        ("over the body's limit", post("Content-Length: 9999999999\r\n", "hello"), &[413]),
        ("a bad chunk size", post("Transfer-Encoding: chunked\r\n", "zz\r\nhello\r\n0\r\n\r\n"), &[400]),
        ("an endless chunk size", post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\nhello"), &[400]),
        ("a chunk without its end", post("Transfer-Encoding: chunked\r\n", "5\r\nhelloXX0\r\n\r\n"), &[400]),
        ("look-alike framing", post("Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", "hello"), &[400]),
        ("look-alike length", post("Content_Length: 1\r\nContent-Length: 5\r\n", "hello"), &[400]),
        ("two hosts", get("Host: other\r\n"), &[400]),
        ("no host", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n".into(), &[400]),
        ("an empty host", "GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n".into(), &[400, 404]),
        ("a malformed host", "GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n".into(), &[400]),
        (
            "userinfo in the host",
            "GET / HTTP/1.1\r\nHost: x@shop.localhost\r\nConnection: close\r\n\r\n".into(),
            &[400],
        ),
        ("a host with a path", "GET / HTTP/1.1\r\nHost: shop.localhost/x\r\nConnection: close\r\n\r\n".into(), &[400]),
        ("another host in the target", line("GET http://other.localhost/ HTTP/1.1"), &[400]),
        ("userinfo in the target", line("GET http://u@shop.localhost/ HTTP/1.1"), &[400]),
        ("CONNECT", "CONNECT shop.localhost:80 HTTP/1.1\r\nHost: shop.localhost:80\r\n\r\n".into(), &[405]),
        ("GET *", line("GET * HTTP/1.1"), &[400]),
        ("a target without a slash", line("GET foo HTTP/1.1"), &[400]),
        ("no target", line("GET HTTP/1.1"), &[400]),
        ("a space in the target", line("GET /a b HTTP/1.1"), &[400]),
        ("an endless method", line(&format!("{} / HTTP/1.1", "M".repeat(200))), &[501]),
        ("a bad method", line("G(T / HTTP/1.1"), &[400]),
        ("version 3", line("GET / HTTP/3.0"), &[505]),
        ("version 2", line("GET / HTTP/2.0"), &[505]),
        ("not HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".into(), &[400]),
        ("HTTP/2 without asking", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), &[505]),
        ("a folded field", get("X: a\r\n b\r\n"), &[400]),
        ("a space before the colon", get("X : a\r\n"), &[400]),
        ("a space before the framing's colon", post("Content-Length : 5\r\n", "hello"), &[400]),
        ("a field without a name", get(": a\r\n"), &[400]),
        ("a NUL in a value", get("X: a\0b\r\n"), &[400]),
        ("a bare CR in a value", get("X: a\rb\r\n"), &[400]),
        ("too many fields", get(&many), &[431]),
        ("too large a header", get(&large), &[431]),
        ("an endless target", line(&format!("GET /{} HTTP/1.1", "x".repeat(70_000))), &[414, 431]),
    ];
    for (what, bytes, allowed) in &cases {
        let answer = send(&router, bytes.as_bytes());
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        assert!(allowed.contains(&status), "{what}: expected one of {allowed:?}:\n{answer}");
        assert!(answer.to_lowercase().contains("\r\nx-landscape-error: "), "{what} is the router's answer:\n{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: one answer, then the end:\n{answer}");
    }
    println!("{} malformed requests refused", cases.len());
    assert_eq!(router.shop("/").status, 200);
    assert!(!router.log().contains("panicked at src"), "{}", router.log());
}

#[test]
fn what_is_unusual_and_right_is_served() {
    let site = Site::new(&router_yaml(""), SHOP);
    let router = Router::start(&site);
    let host = "Host: shop.localhost\r\nConnection: close\r\n";
    for (what, bytes) in [
        ("absolute-form", format!("GET http://shop.localhost/x HTTP/1.1\r\n{host}\r\n")),
        ("upper case", "GET / HTTP/1.1\r\nHOST: SHOP.LocalHost\r\nCONNECTION: Close\r\n\r\n".into()),
        ("a host with a port", "GET / HTTP/1.1\r\nHost: shop.localhost:8080\r\nConnection: close\r\n\r\n".into()),
        ("HTTP/1.0", "GET / HTTP/1.0\r\nHost: shop.localhost\r\n\r\n".into()),
        ("a higher minor version", format!("GET / HTTP/1.2\r\n{host}\r\n")),
        ("an empty line before", format!("\r\nGET / HTTP/1.1\r\n{host}\r\n")),
        ("a method of their own", format!("PROPFIND / HTTP/1.1\r\n{host}\r\n")),
        ("two equal lengths", format!("GET / HTTP/1.1\r\n{host}Content-Length: 0\r\n\r\n")),
        ("odd targets", format!("GET /a;b=c/!$&'()*+,:@%2F?q=%00{{}} HTTP/1.1\r\n{host}\r\n")),
        ("Obs-text in a value", format!("GET / HTTP/1.1\r\n{host}X: \u{fc}\r\n\r\n")),
        (
            "a chunk extension and trailers",
            format!(
                "POST /echo HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
            ),
        ),
    ] {
        let answer = send(&router, bytes.as_bytes());
        assert!(answer.starts_with("HTTP/1.") && answer.contains(" 200 "), "{what}:\n{answer}");
    }
}

#[test]
fn a_header_that_never_ends_is_answered_at_its_deadline() {
    let site = Site::new(&router_yaml("timeouts: { header: 500ms }"), SHOP);
    let router = Router::start(&site);
    let mut stream = connect(router.http).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n").unwrap();
    let begin = Instant::now();
    let mut slow = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        while slow.write_all(b"X: y\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let mut all = String::new();
    let _ = stream.read_to_string(&mut all);
    println!("an endless header ended after {:?}", begin.elapsed());
    assert!(all.starts_with("HTTP/1.1 408 "), "{all}");
    drop(stream);
    writer.join().unwrap();
}
