//! What is not HTTP, or could be read in two ways, is refused and never forwarded.

use super::support::*;

/// Sends bytes to a router in front of an upstream that must not be asked, and reads one answer. The
/// connection ends after it.
fn refused(bytes: &str) -> Answer {
    let upstream = Upstream::echo();
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    client.send(bytes);
    let answer = client.answer();
    assert_eq!(upstream.count(), 0, "forwarded: {bytes:?}");
    assert!(answer.field("x-landscape-error").is_some(), "{answer:?}");
    answer
}

#[test]
fn ambiguous_framing_is_refused() {
    for (framing, status) in [
        ("Transfer-Encoding: gzip", 400),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: identity, chunked", 501),
        ("Transfer-Encoding: chunked, chunked", 501),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 501),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", 501),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 400),
        ("Transfer-Encoding: \x0bchunked", 400),
        ("Transfer-Encoding: xchunked", 400),
        ("Transfer-Encoding : chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("Content-Length: 5\r\nContent-Length: 6", 400),
        ("Content-Length: 5, 6", 400),
        ("Content-Length: +5", 400),
        ("Content-Length: -5", 400),
        ("Content-Length: 0x5", 400),
        ("Content-Length: 5 5", 400),
        ("Content-Length: ", 400),
        ("Content-Length: 99999999999999999999999", 400),
        ("transfer_encoding: chunked", 400),
        ("content_length: 5", 400),
    ] {
        let answer = refused(&format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n0\r\n\r\n"));
        assert_eq!(answer.status, status, "{framing}: {answer:?}");
    }
    let answer = refused(&format!("POST / HTTP/1.0\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"));
    assert_eq!(answer.status, 400, "{answer:?}");
}

#[test]
fn hosts_and_targets_are_checked() {
    for (request, status, code) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "bad-host"),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}\r\n\r\n"), 400, "bad-host"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(), 400, "bad-host"),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n".into(), 400, "bad-host"),
        ("GET / HTTP/1.1\r\nHost: user@4711.localhost\r\n\r\n".into(), 400, "bad-host"),
        (format!("GET http://other/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 400, "bad-host"),
        (format!("GET ftp://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 400, "bad-request"),
        (format!("CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 405, "method-not-allowed"),
        (format!("GET * HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 400, "bad-request"),
        (format!("OPTIONS * HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 400, "bad-request"),
        (format!("GET path HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 400, "bad-request"),
        (format!("{} / HTTP/1.1\r\nHost: {HOST}\r\n\r\n", "M".repeat(40)), 501, "not-implemented"),
        (format!("GET /a b HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 400, "bad-request"),
        (format!("GET /\x01 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 400, "bad-request"),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: a\x00b\r\n\r\n"), 400, "bad-request"),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: a\rb\r\n\r\n"), 400, "bad-request"),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n folded: x\r\n\r\n"), 400, "bad-request"),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nno colon\r\n\r\n"), 400, "bad-request"),
        (format!("GET / HTTP/2.0\r\nHost: {HOST}\r\n\r\n"), 505, "version-not-supported"),
        (format!("GET / HTTP/3.0\r\nHost: {HOST}\r\n\r\n"), 505, "version-not-supported"),
        (format!("GET / HTTP/0.9\r\nHost: {HOST}\r\n\r\n"), 505, "version-not-supported"),
        (format!("GET / HTTP/1.10\r\nHost: {HOST}\r\n\r\n"), 400, "bad-request"),
        (format!("GET / http/1.1\r\nHost: {HOST}\r\n\r\n"), 400, "bad-request"),
        (format!("GET /\r\nHost: {HOST}\r\n\r\n"), 400, "bad-request"),
        ("\x16\x03\x01 this is TLS\r\n\r\n".into(), 400, "bad-request"),
        ("GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n".into(), 404, "unknown-host"),
        ("GET / HTTP/1.1\r\nHost: bad.localhost\r\n\r\n".into(), 503, "landscape-invalid"),
    ] {
        let answer = refused(&request);
        assert_eq!((answer.status, answer.error().as_str()), (status, code), "{request:?}: {answer:?}");
    }
}

#[test]
fn a_higher_minor_version_is_served_as_the_one_that_is_known() {
    let upstream = Upstream::echo();
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    for version in ["HTTP/1.2", "HTTP/1.9"] {
        client.send(format!("GET / {version}\r\nHost: {HOST}\r\n\r\n"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.head.starts_with("HTTP/1.1 ")), (200, true), "{version}: {answer:?}");
        assert!(answer.text().starts_with("GET / HTTP/1.1\r\n"), "{}", answer.text());
    }
}

#[test]
fn http2_without_asking_gets_an_answer_that_it_can_read() {
    let answer = refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!((answer.status, answer.error().as_str()), (505, "version-not-supported"));
}

#[test]
fn large_headers_are_refused_with_431() {
    let many: String = (0..200).map(|n| format!("X-{n}: v\r\n")).collect();
    let answer = refused(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{many}\r\n"));
    assert_eq!((answer.status, answer.error().as_str()), (431, "header-too-large"));
    let answer = refused(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: {}\r\n\r\n", "v".repeat(70_000)));
    assert_eq!((answer.status, answer.error().as_str()), (431, "header-too-large"));
}

#[test]
fn a_request_line_that_is_too_long_is_told_from_such_fields() {
    for length in [65_535, 70_000, 300_000] {
        let answer = refused(&format!("GET /{} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", "p".repeat(length)));
        assert_eq!((answer.status, answer.error().as_str()), (414, "uri-too-long"), "{length}");
    }
    let answer = refused(&"M".repeat(70_000));
    assert_eq!((answer.status, answer.error().as_str()), (501, "not-implemented"));
}

#[test]
fn as_many_fields_as_configured_pass() {
    let upstream = Upstream::echo();
    let router = Router::before(upstream.address, Setup::default());
    let many: String = (0..127).map(|n| format!("X-{n}: v\r\n")).collect();
    assert_eq!(router.ask(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{many}\r\n")).status, 200);
}

#[test]
fn nothing_behind_a_refused_head_is_taken_for_a_request() {
    let upstream = Upstream::echo();
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    let smuggled = format!("GET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{smuggled}"
    ));
    let all = String::from_utf8(client.rest()).unwrap();
    assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{all}");
    assert_eq!(upstream.count(), 0);
}

#[test]
fn both_framings_are_refused_in_a_pipelined_head_too() {
    for before in [
        "Content-Length: 0\r\n\r\n",
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\n\r\n",
    ] {
        let upstream = Upstream::echo();
        let router = Router::before(upstream.address, Setup::default());
        let mut client = router.client();
        let good = format!("POST /good HTTP/1.1\r\nHost: {HOST}\r\n{before}");
        client.send(format!(
            "{good}{good}POST /bad HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
             0\r\n\r\n{good}"
        ));
        for _ in 0..2 {
            assert!(client.answer().text().starts_with("POST /good "));
        }
        let refused = client.answer();
        assert_eq!((refused.status, refused.error().as_str()), (400, "bad-request"), "{before:?}");
        assert_eq!(refused.field("connection").as_deref(), Some("close"));
        assert!(client.is_closed());
    }
}

#[test]
fn a_refused_upload_gets_its_answer_although_it_goes_on_sending() {
    let upstream = Upstream::echo();
    let mut setup = Setup::default();
    setup.rules.limits.body = 1000;
    let router = Router::before(upstream.address, setup);
    let mut client = router.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000000\r\n\r\n"));
    client.send(vec![b'x'; 1_000_000]);
    let answer = client.answer();
    assert_eq!((answer.status, answer.error().as_str()), (413, "body-too-large"));
    assert_eq!(answer.field("connection").as_deref(), Some("close"));
}

#[test]
fn an_upload_that_nobody_reads_is_the_last_of_its_connection() {
    let router = Router::new(Setup::default());
    let mut client = router.client();
    client.send("POST / HTTP/1.1\r\nHost: nobody.localhost\r\nContent-Length: 1000000\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.field("connection").as_deref()), (404, Some("close")));
    // The router has ended its side, and throws away what still comes: a reset would fail the next write.
    assert!(client.is_closed());
    for _ in 0..10 {
        client.send(vec![b'x'; 100_000]);
    }
}

#[test]
fn a_chunked_body_over_the_limit_is_broken_off() {
    let upstream = Upstream::echo();
    let mut setup = Setup::default();
    setup.rules.limits.body = 1000;
    let router = Router::before(upstream.address, setup);
    let mut client = router.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"));
    client.send(format!("800\r\n{}\r\n", "x".repeat(0x800)));
    let answer = client.answer();
    assert_eq!((answer.status, answer.error().as_str()), (413, "body-too-large"));
}

#[test]
fn a_header_that_never_ends_is_answered_with_408() {
    let upstream = Upstream::echo();
    let mut setup = Setup::default();
    setup.rules.timeouts.header = std::time::Duration::from_millis(100);
    let router = Router::before(upstream.address, setup);
    let mut client = router.client();
    client.send("GET / HTTP/1.1\r\nHost: ");
    let answer = client.answer();
    assert_eq!((answer.status, answer.error().as_str()), (408, "request-timeout"));
    let mut silent = router.client();
    assert!(silent.is_closed(), "a connection without a byte is closed without a word");
}
