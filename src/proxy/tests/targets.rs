//! Headless targets.

use std::sync::Arc;

use super::support::*;
use crate::landscape::TargetGuard;
use crate::landscape::TargetUrl;

fn url(host: &str, port: u16, base: &str) -> TargetUrl {
    TargetUrl { tls: false, host: host.into(), port, base_path: base.into(), secret: false }
}

fn setup(target: TargetUrl, allowed: &[&str]) -> Setup {
    let mut setup = Setup { target: Some(target), ..Setup::default() };
    setup.rules.targets = TargetGuard::new(allowed.iter().map(|n| n.parse().unwrap()).collect(), [], None, []);
    setup
}

#[test]
fn a_target_gets_its_own_host_and_path() {
    let upstream = Upstream::echo();
    let port = upstream.address.port();
    let router = Router::new(setup(url("127.0.0.1", port, "/base"), &["127.0.0.0/8"]));
    let answer = router.get("/x?y");
    assert!(answer.text().starts_with("GET /base/x?y HTTP/1.1\r\n"), "{}", answer.text());
    assert_eq!(field(answer.text(), "host"), Some(format!("127.0.0.1:{port}")));
    assert_eq!(field(answer.text(), "x-forwarded-host").as_deref(), Some(HOST));
    router.get("/");
    assert_eq!(upstream.count(), 1, "connections are reused");
}

#[test]
fn what_a_target_works_on_is_in_flight_until_its_answer_ends() {
    let seen = Arc::new(std::sync::Barrier::new(2));
    let go = seen.clone();
    let upstream = Upstream::new(move |client, _| {
        client.request();
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na");
        go.wait();
        client.send("b");
    });
    let router = Router::new(setup(url("127.0.0.1", upstream.address.port(), ""), &["127.0.0.0/8"]));
    let mut client = router.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    client.head();
    let in_flight = || router.service.stats().forwarding.get();
    assert_eq!(in_flight(), 1);
    seen.wait();
    assert_eq!(client.exactly(2), b"ab");
    eventually("it is over", || in_flight() == 0);
}

#[test]
fn dot_segments_do_not_climb_out_of_a_base() {
    let upstream = Upstream::echo();
    let target = |base| url("127.0.0.1", upstream.address.port(), base);
    let based = Router::new(setup(target("/base"), &["127.0.0.0/8"]));
    for path in ["/ext/../x", "/..", "/a/%2e%2E/b", "/.%2e/x", "/..%2Fx", "/a/..;v=1/b"] {
        let answer = based.get(path);
        assert_eq!((answer.status, answer.error().as_str()), (400, "bad-request"), "{path}");
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(based.get("/a..b/x?../y").status, 200);
    let whole = Router::new(setup(target(""), &["127.0.0.0/8"]));
    assert!(whole.get("/a/../b").text().starts_with("GET /a/../b "), "without a base there is nothing to leave");
}

#[test]
fn addresses_of_this_machine_are_refused() {
    let upstream = Upstream::echo();
    for host in ["127.0.0.1", "localhost", "0.0.0.0", "::1"] {
        let router = Router::new(setup(url(host, upstream.address.port(), ""), &[]));
        let answer = router.get("/");
        assert_eq!((answer.status, answer.error().as_str()), (502, "target-refused"), "{host}");
        assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn names_are_resolved_and_then_checked() {
    let upstream = Upstream::echo();
    let router = Router::new(setup(url("localhost", upstream.address.port(), ""), &["127.0.0.0/8", "::1/128"]));
    assert_eq!(router.get("/").status, 200);
    let router = Router::new(setup(url("no-such-name.invalid", 80, ""), &[]));
    let answer = router.get("/");
    assert_eq!((answer.status, answer.error().as_str()), (502, "target-unresolved"));
}

#[test]
fn a_target_that_does_not_listen_is_a_bad_gateway() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let router = Router::new(setup(url("127.0.0.1", port, ""), &["127.0.0.0/8"]));
    let answer = router.get("/");
    assert_eq!((answer.status, answer.error().as_str()), (502, "upstream-connect"));
}

/// An https upstream with a certificate for `localhost`, and the roots that trust it.
fn https() -> (u16, rustls::RootCertStore) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, config) = (stream.unwrap(), config.clone());
            std::thread::spawn(move || {
                let mut tls = rustls::ServerConnection::new(config).unwrap();
                let mut tls = rustls::Stream::new(&mut tls, &mut stream);
                let mut seen = Vec::new();
                let mut buf = [0; 4096];
                while let Ok(n) = std::io::Read::read(&mut tls, &mut buf) {
                    if n == 0 {
                        return;
                    }
                    seen.extend_from_slice(&buf[..n]);
                    if seen.ends_with(b"\r\n\r\n") {
                        let name = tls.conn.server_name().unwrap_or("none").to_owned();
                        let text = format!("{name}\n{}", String::from_utf8_lossy(&seen));
                        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
                        std::io::Write::write_all(&mut tls, answer.as_bytes()).unwrap();
                        seen.clear();
                    }
                }
            });
        }
    });
    (port, roots)
}

#[test]
fn https_targets_are_spoken_to_by_their_name() {
    let (port, roots) = https();
    let target = TargetUrl { tls: true, ..url("localhost", port, "") };
    let router = Router::new(Setup { roots, ..setup(target, &["127.0.0.0/8", "::1/128"]) });
    for _ in 0..3 {
        let answer = router.get("/x");
        assert_eq!(answer.status, 200, "{answer:?}");
        let (name, request) = answer.text().split_once('\n').unwrap();
        assert_eq!(name, "localhost", "SNI");
        assert_eq!(field(request, "host"), Some(format!("localhost:{port}")));
    }
}

#[test]
fn a_certificate_that_is_not_trusted_is_refused() {
    let (port, _) = https();
    let target = TargetUrl { tls: true, ..url("localhost", port, "") };
    let router = Router::new(setup(target, &["127.0.0.0/8", "::1/128"]));
    assert_eq!(router.get("/").error(), "upstream-connect");
}
