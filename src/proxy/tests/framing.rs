//! Bodies and fields on their way in both directions.

use super::support::*;

#[test]
fn a_request_goes_on_with_its_fields_rebuilt() {
    let upstream = Upstream::echo();
    let router = Router::before(upstream.address, Setup::default());
    let answer = router.ask(&format!(
        "GET /a/b?c=%20d HTTP/1.1\r\nHost: {HOST}:8080\r\nConnection: keep-alive, X-Hop, Host\r\nX-Hop: 1\r\n\
         Keep-Alive: 1\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\nTE: gzip\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: x\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\n\
         X-Forwarded-Host: evil\r\nX-Real-IP: 6.6.6.6\r\nX-Landscape-Secret: 1\r\nX-Keep: yes\r\nCookie: a=b\r\n\r\n"
    ));
    assert_eq!(answer.status, 200);
    let seen = answer.text();
    assert!(seen.starts_with("GET /a/b?c=%20d HTTP/1.1\r\n"), "{seen}");
    let value = |name| field(seen, name);
    assert_eq!(value("host").as_deref(), Some("4711.localhost:8080"));
    assert_eq!(value("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(value("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(value("x-forwarded-host").as_deref(), Some("4711.localhost:8080"));
    assert_eq!(value("x-keep").as_deref(), Some("yes"));
    assert_eq!(value("cookie").as_deref(), Some("a=b"));
    assert_eq!(value("via").as_deref(), Some("1.1 landscape-router"));
    for gone in [
        "connection",
        "x-hop",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "upgrade",
        "http2-settings",
        "forwarded",
        "x-real-ip",
        "x-landscape-secret",
    ] {
        assert_eq!(value(gone), None, "{gone} in {seen}");
    }
}

#[test]
fn a_trusted_proxy_is_believed_and_added() {
    let upstream = Upstream::echo();
    let mut setup = Setup::default();
    setup.rules.trusted_proxies = std::sync::Arc::new(["127.0.0.0/8".parse().unwrap()]);
    let router = Router::before(upstream.address, setup);
    let answer = router.ask(&format!(
        "GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\nForwarded: for=6.6.6.6\r\n\r\n"
    ));
    let value = |name| field(answer.text(), name);
    assert_eq!(value("x-forwarded-for").as_deref(), Some("6.6.6.6, 7.7.7.7, 127.0.0.1"));
    assert_eq!(value("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(value("x-forwarded-host").as_deref(), Some("shop.example"));
    assert_eq!(value("forwarded"), None);
}

#[test]
fn an_answer_comes_back_with_its_fields_cleaned() {
    let upstream = Upstream::answering(|_, _| {
        "HTTP/1.1 201 Made Here\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: x\r\n\
         Upgrade: h2c\r\nX-Landscape-Error: fake\r\nX-Keep: yes\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
         Content-Length: 2\r\n\r\nok"
            .into()
    });
    let router = Router::before(upstream.address, Setup::default());
    let answer = router.get("/");
    assert!(answer.head.starts_with("HTTP/1.1 201 Made Here\r\n"), "{}", answer.head);
    assert_eq!(answer.field("set-cookie").as_deref(), Some("a=1, b=2"));
    assert_eq!(answer.field("x-keep").as_deref(), Some("yes"));
    for gone in ["connection", "x-hop", "keep-alive", "proxy-authenticate", "upgrade", "x-landscape-error"] {
        assert_eq!(answer.field(gone), None, "{gone} in {}", answer.head);
    }
    assert_eq!(answer.text(), "ok");
}

#[test]
fn a_prefix_is_stripped() {
    let upstream = Upstream::echo();
    let router = Router::before(upstream.address, Setup { prefix: "/api", strip: true, ..Setup::default() });
    for (sent, seen) in [("/api/x?y=1", "/x?y=1"), ("/api", "/"), ("/api?q", "/?q"), ("/api//evil/x", "/evil/x")] {
        let answer = router.get(sent);
        assert!(answer.text().starts_with(&format!("GET {seen} HTTP/1.1\r\n")), "{sent}: {}", answer.text());
    }
    assert_eq!(router.get("/apix").error(), "no-route");
}

#[test]
fn absolute_form_becomes_origin_form() {
    let upstream = Upstream::echo();
    let router = Router::before(upstream.address, Setup::default());
    for (target, seen) in [(format!("http://{HOST}/x?y"), "/x?y"), (format!("http://{HOST}"), "/")] {
        let answer = router.ask(&format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        assert!(answer.text().starts_with(&format!("GET {seen} HTTP/1.1\r\n")), "{}", answer.text());
    }
}

#[test]
fn bodies_keep_their_framing() {
    let upstream = Upstream::echo();
    let router = Router::before(upstream.address, Setup::default());
    let sized = router.ask(&format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello"));
    assert_eq!(field(sized.text(), "content-length").as_deref(), Some("5"));
    assert!(sized.text().ends_with("\r\n\r\nhello"));
    for method in ["POST", "GET", "DELETE"] {
        let chunked = router.ask(&format!(
            "{method} / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
        ));
        assert_eq!(field(chunked.text(), "transfer-encoding").as_deref(), Some("chunked"), "{method}");
        assert!(chunked.text().ends_with("\r\n\r\nhello"), "{method}: {}", chunked.text());
    }
    let empty = router.ask(&format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(field(empty.text(), "content-length").as_deref(), Some("0"), "{}", empty.text());
}

#[test]
fn trailers_go_both_ways() {
    let upstream = Upstream::new(|client, _| {
        while let Some(head) = client.request() {
            while !client.chunk().is_empty() {}
            let mut trailers = String::new();
            loop {
                let line = client.line();
                if line == "\r\n" {
                    break;
                }
                trailers.push_str(&line);
            }
            assert_eq!(field(&head, "te").as_deref(), Some("trailers"));
            let n = trailers.len();
            client.send(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Landscape-Error\r\n\r\n\
                 {n:x}\r\n{trailers}\r\n0\r\nX-Sum: 7\r\nX-Landscape-Error: fake\r\n\r\n"
            ));
        }
    });
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Up\r\n\r\n\
         2\r\nhi\r\n0\r\nX-Up: 1\r\n\r\n"
    ));
    let head = client.head();
    assert_eq!(field(&head, "transfer-encoding").as_deref(), Some("chunked"));
    assert_eq!(client.chunk().to_ascii_lowercase(), b"x-up: 1\r\n");
    assert!(client.chunk().is_empty());
    assert_eq!(client.line().to_ascii_lowercase(), "x-sum: 7\r\n");
    assert_eq!(client.line(), "\r\n");
}

#[test]
fn answers_without_bodies_are_framed_as_such() {
    let upstream = Upstream::answering(|head, _| match head.split(' ').nth(1) {
        Some("/204") => "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n".into(),
        Some("/304") => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n".into(),
        _ => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".into(),
    });
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    for (method, path, status, length) in [
        ("HEAD", "/", 200, Some("1234")),
        ("GET", "/204", 204, None),
        ("HEAD", "/204", 204, None),
        ("GET", "/304", 304, None),
    ] {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        let head = client.head();
        assert_eq!(super::support::status(&head), status, "{head}");
        assert_eq!(field(&head, "content-length").as_deref(), length, "{head}");
        assert_eq!(field(&head, "transfer-encoding"), None, "{head}");
    }
}

#[test]
fn an_http10_client_gets_no_chunks() {
    let upstream = Upstream::answering(|_, _| {
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n".into()
    });
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    client.send(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n"));
    let head = client.head();
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    assert_eq!(field(&head, "transfer-encoding"), None);
    assert_eq!(client.rest(), b"abcdef");
}

#[test]
fn an_http10_client_is_not_promised_a_connection_that_ends_the_answer() {
    let upstream =
        Upstream::answering(|_, _| "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".into());
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    client.send(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\nConnection: keep-alive\r\n\r\n"));
    assert_eq!(field(&client.head(), "connection").as_deref(), Some("close"));
    assert_eq!(client.rest(), b"abc");
    let mut client = router.client();
    client.send("GET / HTTP/1.0\r\nHost: a,b\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.field("connection").as_deref()), (400, Some("close")));
}

#[test]
fn names_of_fields_keep_their_case_where_configured() {
    let upstream = Upstream::answering(|head, _| {
        let length = head.len();
        format!("HTTP/1.1 200 OK\r\nX-OldStyle: 1\r\nx-small: 1\r\nCONTENT-Length: {length}\r\n\r\n{head}")
    });
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nSOAPAction: a\r\nx-small: b\r\n\r\n");
    let mut setup = Setup::default();
    setup.rules.keep_header_case = true;
    let answer = Router::before(upstream.address, setup).ask(&request);
    for part in ["\r\nHost: ", "\r\nSOAPAction: a", "\r\nx-small: b", "\r\nX-Forwarded-For: "] {
        assert!(answer.text().contains(part), "{part:?} in {}", answer.text());
    }
    for part in ["\r\nX-OldStyle: 1", "\r\nx-small: 1", "\r\nDate: "] {
        assert!(answer.head.contains(part), "{part:?} in {}", answer.head);
    }
    let answer = Router::before(upstream.address, Setup::default()).ask(&request);
    assert!(answer.text().contains("\r\nsoapaction: a") && answer.head.contains("\r\nx-oldstyle: 1"));
}

#[test]
fn white_space_before_a_colon_is_removed_from_an_answer() {
    let upstream = Upstream::answering(|_, _| "HTTP/1.1 200 OK\r\nX-Old : 1\r\nContent-Length : 2\r\n\r\nok".into());
    let router = Router::before(upstream.address, Setup::default());
    let answer = router.get("/");
    assert_eq!((answer.status, answer.text()), (200, "ok"));
    assert!(answer.head.contains("\r\nx-old: 1\r\n"), "{}", answer.head);
}

#[test]
fn an_http10_client_may_keep_its_connection_for_sized_answers() {
    let upstream = Upstream::echo();
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    for _ in 0..2 {
        client.send(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\nConnection: keep-alive\r\n\r\n"));
        let answer = client.answer();
        assert_eq!(answer.status, 200);
        assert!(answer.text().starts_with("GET / HTTP/1.1\r\n"), "the upstream hears HTTP/1.1");
        assert_eq!(field(answer.text(), "via").as_deref(), Some("1.0 landscape-router"));
    }
}

#[test]
fn an_answer_without_length_ends_with_its_connection() {
    let upstream = Upstream::new(|client, _| {
        client.request();
        client.send("HTTP/1.0 200 OK\r\n\r\nto the end");
    });
    let router = Router::before(upstream.address, Setup::default());
    let answer = router.get("/");
    assert_eq!(answer.field("transfer-encoding").as_deref(), Some("chunked"));
    assert_eq!(answer.text(), "to the end");
}

#[test]
fn framing_of_an_upstream_that_could_be_read_in_two_ways_does_not_go_on() {
    for (framing, body) in [
        ("Transfer-Encoding: chunked\r\nContent-Length: 3", "3\r\nabc\r\n0\r\n\r\n"),
        ("Content-Length: 3\r\nContent-Length: 3", "abc"),
        ("Content-Length: 3, 3", "abc"),
    ] {
        let upstream = Upstream::answering(move |_, _| format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{body}"));
        let router = Router::before(upstream.address, Setup::default());
        let answer = router.get("/");
        assert_eq!(answer.text(), "abc", "{framing}");
        let kinds = ["content-length", "transfer-encoding"].map(|name| answer.field(name));
        assert!(kinds[0].is_none() != kinds[1].is_none(), "{framing}: {}", answer.head);
        assert!(kinds[0].as_deref().is_none_or(|l| l == "3"), "{framing}: {}", answer.head);
    }
}

#[test]
fn an_answer_of_a_higher_minor_version_is_read_as_the_one_that_is_known() {
    let upstream = Upstream::answering(|_, _| "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok".into());
    let router = Router::before(upstream.address, Setup::default());
    let answer = router.get("/");
    assert_eq!((answer.status, answer.text(), answer.head.starts_with("HTTP/1.1 ")), (200, "ok", true));
}

#[test]
fn an_answer_may_have_as_many_fields_as_fit() {
    let fields: String = (0..2000).map(|n| format!("X-{n}: {n}\r\nSet-Cookie: c{n}=1\r\n")).collect();
    let upstream = Upstream::answering(move |head, body| {
        let all = format!("{}{}", head.lines().next().unwrap(), String::from_utf8_lossy(body));
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        let rest = if head.starts_with("HEAD") { "" } else { &all };
        format!("{early}HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n{rest}", all.len())
    });
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    for request in [
        format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello"),
        format!("HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
    ] {
        client.send(&request);
        assert_eq!(client.head(), "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
        let head = client.head();
        assert_eq!(super::support::status(&head), 200, "{request}: {}", &head[..200]);
        assert!(head.contains("\r\nx-1999: 1999\r\n"));
        let cookies = field(&head, "set-cookie").unwrap();
        assert!(cookies.starts_with("c0=1, c1=1, ") && cookies.ends_with(", c1999=1"));
        if !request.starts_with("HEAD") {
            let body = client.exactly(field(&head, "content-length").unwrap().parse().unwrap());
            assert!(
                body.starts_with(&request.as_bytes()[..10])
                    && body.ends_with(&request.as_bytes()[request.len() - 5..]) == request.starts_with("POST")
            );
        }
    }
}

#[test]
fn a_head_without_bounds_is_a_bad_gateway() {
    for fields in ["a: b\r\n".repeat(5000), "a:\r\n".repeat(60_000), format!("a: {}\r\n", "b".repeat(300_000))] {
        let upstream = Upstream::answering(move |_, _| format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        let router = Router::before(upstream.address, Setup::default());
        let answer = router.get("/");
        assert_eq!((answer.status, answer.error().as_str()), (502, "upstream-invalid"));
    }
}

#[test]
fn invalid_answers_are_bad_gateways() {
    for (bytes, code) in [
        ("this is not HTTP\r\n\r\n", "upstream-invalid"),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "upstream-invalid"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "upstream-invalid"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "upstream-invalid"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "upstream-invalid"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "upstream-invalid"),
        ("HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n", "upstream-invalid"),
        ("HTTP/1.1 20", "upstream-reset"),
    ] {
        let upstream = Upstream::new(move |client, _| {
            client.request();
            client.send(bytes);
        });
        let router = Router::before(upstream.address, Setup::default());
        let answer = router.ask(&format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!((answer.status, answer.error().as_str()), (502, code), "{bytes:?}");
    }
}
