//! Attempts after the first: which requests get them, and which do not.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::support::*;

fn get() -> String {
    format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

fn post() -> String {
    format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nhi")
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An address where nothing listens. It stays taken, so that no other test's server comes to be there.
fn nobody() -> SocketAddr {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(socket);
    address
}

#[test]
fn connections_are_reused() {
    let upstream = Upstream::echo();
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    for _ in 0..10 {
        client.send(get());
        assert_eq!(client.answer().status, 200);
        client.send(post());
        assert_eq!(client.answer().status, 200);
    }
    for _ in 0..10 {
        assert_eq!(router.get("/").status, 200);
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_connection_that_was_to_close_is_not_reused() {
    let upstream =
        Upstream::answering(|_, _| "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok".into());
    let router = Router::before(upstream.address, Setup::default());
    for _ in 0..3 {
        assert_eq!(router.get("/").status, 200);
    }
    assert_eq!(upstream.count(), 3);
    let brief =
        Upstream::answering(|_, _| "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok".into());
    let router = Router::before(brief.address, Setup::default());
    for _ in 0..2 {
        assert_eq!(router.get("/").status, 200);
    }
    assert_eq!(brief.count(), 2, "a second's announcement, less a second");
}

#[test]
fn another_replica_at_the_same_address_gets_fresh_connections() {
    let upstream = Upstream::echo();
    let router = Router::before(upstream.address, Setup::default());
    assert_eq!(router.get("/").status, 200);
    router.ready(&[upstream.address]);
    assert_eq!(router.get("/").status, 200);
    assert_eq!(upstream.count(), 2);
}

#[test]
fn a_reused_connection_that_dies_costs_a_get_nothing() {
    // Every connection serves one request and breaks at the second.
    let upstream = Upstream::new(|client, _| {
        client.request();
        client.send(OK);
        client.request();
    });
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    for _ in 0..5 {
        client.send(get());
        assert_eq!(client.answer().text(), "ok");
    }
    assert_eq!(upstream.count(), 5);
    assert_eq!(router.service.stats().retries.get(), 4);
}

#[test]
fn a_reused_connection_that_closed_costs_a_post_nothing() {
    // Closed right after the answer: found before the next request is sent.
    let upstream = Upstream::new(|client, _| {
        let head = client.request().unwrap_or_default();
        client.request_body(&head);
        client.send(OK);
    });
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    for _ in 0..20 {
        client.send(post());
        let answer = client.answer();
        assert!(answer.status == 200 || answer.error() == "upstream-reset", "{answer:?}");
        // Between the answer and the end there may be a moment in which nothing tells.
        std::thread::yield_now();
    }
}

#[test]
fn a_post_that_was_sent_is_not_sent_again() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    let upstream = Upstream::new(move |client, _| {
        while let Some(head) = client.request() {
            client.request_body(&head);
            if head.starts_with("POST") {
                counted.fetch_add(1, Ordering::Relaxed);
                return;
            }
            client.send(OK);
        }
    });
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    client.send(get());
    client.answer();
    client.send(post());
    let answer = client.answer();
    assert_eq!((answer.status, answer.error().as_str()), (502, "upstream-reset"));
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}

#[test]
fn a_get_whose_upstream_dies_goes_to_another() {
    let dying = Upstream::new(|client, _| {
        client.request();
    });
    let alive = Upstream::answering(|_, _| OK.into());
    for _ in 0..20 {
        let router = Router::new(Setup::default());
        router.ready(&[dying.address, alive.address]);
        assert_eq!(router.get("/").status, 200);
    }
    let router = Router::before(dying.address, Setup::default());
    let before = dying.count();
    let answer = router.get("/");
    assert_eq!((answer.status, answer.error().as_str()), (502, "upstream-reset"));
    let seen = dying.count() - before;
    assert!((2..=3).contains(&seen), "sent twice, and perhaps the look whether it is there: {seen}");
}

#[test]
fn a_get_is_held_when_the_only_replica_dies_with_its_listener_last() {
    // As the kernel does it: first the connections are closed, then those that nobody accepted.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let router = Router::before(listener.local_addr().unwrap(), Setup::default());
    let mut client = router.client();
    client.send(get());
    let (first, _) = listener.accept().unwrap();
    drop(first);
    // The second attempt waits to be accepted, and breaks as the listener closes.
    eventually("the second attempt", || router.service.stats().upstream_connections.get() == 1 && waits(&listener));
    drop(listener);
    eventually("the request is held", || router.service.held() == 1);
    let alive = Upstream::answering(|_, _| OK.into());
    router.ready(&[alive.address]);
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_request_that_a_dead_connection_did_not_take_is_known_whole() {
    use crate::proxy::upstream::{Asker, Broken, Stream, Upstream, connect};
    struct Patient;
    impl Asker for Patient {
        fn expired(&self) -> bool {
            false
        }
        fn inform(&self, _: &[u8]) {}
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = connect(&crate::backend::Door::at(address), LONG).await.unwrap();
        let (peer, _) = listener.accept().unwrap();
        // Broken, and the runtime has not looked yet: the write is the first to know.
        socket2::SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(peer);
        let mut upstream = Upstream::over(Stream::Plain(stream.into()), Default::default(), false).await.unwrap();
        let mut request = http::Request::new(crate::proxy::request_body::RequestBody::default());
        *request.uri_mut() = "/a".parse().unwrap();
        let broken = upstream.exchange(&mut Some(request), true, &Patient).await;
        assert!(matches!(broken, Err(Broken::Died(_))));
        assert!(!upstream.meter().sent.get());
        let again = crate::proxy::replay::read(&upstream.meter().take_record()).unwrap();
        assert_eq!(again.uri(), "/a");
    });
}

/// Whether a connection waits to be accepted.
fn waits(listener: &TcpListener) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
}

#[test]
fn a_refused_connect_goes_to_another_replica_whatever_the_method() {
    let alive = Upstream::answering(|_, _| OK.into());
    for request in [get(), post()] {
        for _ in 0..10 {
            let router = Router::new(Setup::default());
            router.ready(&[nobody(), alive.address]);
            assert_eq!(router.ask(&request).status, 200);
        }
    }
}

#[test]
fn a_request_that_finds_no_replica_listening_is_held() {
    let alive = Upstream::echo();
    let router = Router::before(nobody(), Setup::default());
    let mut client = router.client();
    client.send(post());
    eventually("the request is held", || router.service.held() == 1);
    router.ready(&[alive.address]);
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.text().ends_with("hi"), "the body was not lost: {}", answer.text());
    assert_eq!(answer.field("x-landscape-cold-start").as_deref(), Some("true"));
}

#[test]
fn a_request_that_every_one_of_many_replicas_refuses_is_held() {
    let alive = Upstream::echo();
    let router = Router::new(Setup::default());
    router.ready(&std::iter::repeat_with(nobody).take(9).collect::<Vec<_>>());
    let mut client = router.client();
    client.send(post());
    eventually("the request is held", || router.service.held() == 1);
    // The next ones die at the same moment.
    router.ready(&[nobody(), nobody()]);
    eventually("the request is held again", || router.service.held() == 1);
    router.ready(&[alive.address]);
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_service_that_never_listens_is_not_tried_for_ever() {
    let router = Router::before(nobody(), Setup::default());
    let mut client = router.client();
    client.send(get());
    for _ in 0..5 {
        eventually("the request is held", || router.service.held() == 1);
        router.ready(&[nobody()]);
    }
    let answer = client.answer();
    assert_eq!((answer.status, answer.error().as_str()), (502, "upstream-connect"));
}
