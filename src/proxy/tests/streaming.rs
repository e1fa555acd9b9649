//! What flows: events, large bodies, uploads, pipelines, `100 Continue`.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::Duration;

use super::support::*;

#[test]
fn events_arrive_as_they_are_sent() {
    let (next, wanted) = mpsc::channel::<()>();
    let wanted = std::sync::Mutex::new(wanted);
    let upstream = Upstream::new(move |client, _| {
        client.request();
        client.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for n in 0..3 {
            wanted.lock().unwrap().recv().unwrap();
            client.send(format!("8\r\ndata: {n}\n\r\n"));
        }
        client.send("0\r\n\r\n");
    });
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(status(&client.head()), 200);
    for n in 0..3 {
        // The next event is sent only after the one before was read.
        next.send(()).unwrap();
        assert_eq!(client.chunk(), format!("data: {n}\n").as_bytes());
    }
    assert!(client.chunk().is_empty());
}

#[test]
fn a_reader_of_events_that_leaves_gives_its_lease_back() {
    let upstream = Upstream::new(|client, _| {
        client.request();
        client.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
        client.request();
    });
    let router = Router::new(Setup::default());
    let replica = router.ready(&[upstream.address]).remove(0);
    let mut client = router.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    client.head();
    client.chunk();
    assert_eq!(replica.word.in_flight(), 1);
    drop(client);
    eventually("the lease is given back", || replica.word.in_flight() == 0);
}

#[test]
fn large_bodies_flow_both_ways_at_once() {
    const SIZE: usize = 20_000_000;
    let upstream = Upstream::new(|client, _| {
        client.request();
        client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        let mut left = SIZE;
        while left > 0 {
            let n = left.min(50_000);
            let part = client.exactly(n);
            client.send(part);
            left -= n;
        }
    });
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    let mut writer = client.stream.try_clone().unwrap();
    let pattern = |n: usize| (n % 251) as u8;
    let sender = std::thread::spawn(move || {
        writer
            .write_all(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes())
            .unwrap();
        let all: Vec<u8> = (0..SIZE).map(pattern).collect();
        writer.write_all(&all).unwrap();
    });
    let answer = client.answer();
    sender.join().unwrap();
    assert_eq!(answer.body.len(), SIZE);
    assert!(answer.body.iter().enumerate().all(|(n, b)| *b == pattern(n)));
}

#[test]
fn a_slow_reader_holds_its_sender_back() {
    const SIZE: usize = 200_000_000;
    let (told, written) = mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let upstream = Upstream::new(move |client, _| {
        client.request();
        client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        client.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let part = vec![b'x'; 100_000];
        let mut sum = 0;
        while sum < SIZE {
            match client.stream.write(&part) {
                Ok(n) => sum += n,
                Err(_) => break,
            }
        }
        told.lock().unwrap().send(sum).unwrap();
    });
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    client.head();
    // The client reads nothing more. What the sender got rid of is in the kernel's buffers, which are
    // a few megabytes, and in ours, which are less.
    let sum = written.recv_timeout(LONG).unwrap();
    assert!(sum < 40_000_000, "{sum} bytes went on to a client that does not read");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::echo();
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    let one = |n: u32| match n % 3 {
        0 => format!("GET /{n} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        1 => format!("POST /{n} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3\r\n\r\nabc"),
        _ => format!("POST /{n} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
    };
    client.send((0..30).map(one).collect::<String>());
    for n in 0..30 {
        let answer = client.answer();
        assert!(answer.text().contains(&format!("/{n} HTTP/1.1")), "{n}: {}", answer.text());
    }
}

#[test]
fn a_client_is_asked_for_its_body_only_when_it_is_forwarded() {
    let upstream = Upstream::echo();
    let router = Router::new(Setup::default());
    let mut client = router.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"));
    eventually("the request is held", || router.service.held() == 1);
    client.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let early = client.stream.read(&mut [0; 1]);
    assert!(early.is_err(), "asked for its body while held: {early:?}");
    client.stream.set_read_timeout(Some(LONG)).unwrap();
    router.ready(&[upstream.address]);
    assert_eq!(status(&client.head()), 100);
    client.send("hello");
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.text().ends_with("hello"));
}

#[test]
fn an_answer_before_the_upload_is_over_is_passed_on() {
    let upstream = Upstream::new(|client, _| {
        client.request();
        client.exactly(10);
        client.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        client.request();
    });
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000000\r\n\r\n0123456789"));
    let answer = client.answer();
    assert_eq!((answer.status, answer.text()), (403, "no"));
    assert_eq!(answer.field("connection").as_deref(), Some("close"), "the rest of the upload is not read");
}

#[test]
fn an_answer_is_read_although_its_upstream_resets_the_upload() {
    for _ in 0..20 {
        let upstream = Upstream::new(|client, _| {
            client.request();
            client.send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
            // Closing with bytes unread is a reset.
        });
        let router = Router::before(upstream.address, Setup::default());
        let mut client = router.client();
        let mut writer = client.stream.try_clone().unwrap();
        let sender = std::thread::spawn(move || {
            let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10000000\r\n\r\n");
            let _ = writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&vec![0; 10_000_000]));
        });
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (413, "no"));
        drop(client);
        sender.join().unwrap();
    }
}

#[test]
fn an_upload_that_was_read_leaves_the_connection_open() {
    for body in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
        let upstream = Upstream::echo();
        let router = Router::before(upstream.address, Setup::default());
        let mut client = router.client();
        for _ in 0..2 {
            client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{body}"));
            let answer = client.answer();
            assert_eq!((answer.status, answer.field("connection")), (200, None));
        }
        assert_eq!(upstream.count(), 1);
    }
}

#[test]
fn an_upload_that_breaks_off_ends_upstream_too() {
    let (told, ended) = mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let upstream = Upstream::new(move |client, _| {
        let head = client.request().unwrap();
        assert!(head.starts_with("POST"));
        client.exactly(5);
        let rest = client.stream.read(&mut [0; 100]).unwrap_or(0);
        told.lock().unwrap().send(rest).unwrap();
    });
    let router = Router::new(Setup::default());
    let replica = router.ready(&[upstream.address]).remove(0);
    let mut client = router.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100\r\n\r\nhello"));
    eventually("the request is forwarded", || replica.word.in_flight() == 1);
    drop(client);
    assert_eq!(ended.recv_timeout(LONG).unwrap(), 0, "the upstream sees the end and not a whole body");
    eventually("the lease is given back", || replica.word.in_flight() == 0);
}

#[test]
fn an_answer_that_breaks_off_breaks_off_for_the_client() {
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let upstream = Upstream::new(move |client, _| {
            client.request();
            client.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nhello\r\n"));
        });
        let router = Router::new(Setup::default());
        let replica = router.ready(&[upstream.address]).remove(0);
        let mut client = router.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        client.head();
        let body = client.rest();
        assert!(!body.ends_with(b"0\r\n\r\n") && body.len() < 100, "{framing}: looks complete: {body:?}");
        eventually("the lease is given back", || replica.word.in_flight() == 0);
    }
}

#[test]
fn an_answer_that_does_not_come_is_a_timeout() {
    let upstream = Upstream::new(|client, _| {
        client.request();
        client.request();
    });
    let mut setup = Setup::default();
    setup.rules.timeouts.response = Duration::from_millis(100);
    let router = Router::new(setup);
    let replica = router.ready(&[upstream.address]).remove(0);
    let answer = router.get("/");
    assert_eq!((answer.status, answer.error().as_str()), (504, "response-timeout"));
    assert_eq!(replica.word.in_flight(), 0);
}

#[test]
fn a_stream_on_which_nothing_moves_ends() {
    let upstream = Upstream::new(|client, _| {
        client.request();
        client.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
        client.request();
    });
    let mut setup = Setup::default();
    setup.policy.idle_bytes = Some(Duration::from_millis(100));
    // The sweep is as frequent as the shortest deadline asks for.
    setup.rules.timeouts.header = Duration::from_secs(1);
    let router = Router::new(setup);
    let replica = router.ready(&[upstream.address]).remove(0);
    let mut client = router.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    client.head();
    client.chunk();
    client.rest();
    eventually("the lease is given back", || replica.word.in_flight() == 0);
}

#[test]
fn informational_answers_go_on_to_clients_that_know_them() {
    let upstream = Upstream::answering(|_, _| {
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Landscape-Error: x\r\n\r\n\
         HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            .into()
    });
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    for _ in 0..2 {
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        assert_eq!(client.head(), "HTTP/1.1 102 Processing\r\n\r\n");
        assert_eq!(client.head(), "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (200, "ok"));
    }
    let old = router.ask(&format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!((old.status, old.text()), (200, "ok"));
}

#[test]
fn an_informational_answer_goes_on_before_the_answer_comes() {
    let (next, wanted) = mpsc::channel::<()>();
    let wanted = std::sync::Mutex::new(wanted);
    let upstream = Upstream::new(move |client, _| {
        client.request();
        for _ in 0..3 {
            client.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
            wanted.lock().unwrap().recv().unwrap();
        }
        client.send("HTTP/1.1 103 Ear");
        wanted.lock().unwrap().recv().unwrap();
        client.send("ly Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
    });
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    for _ in 0..3 {
        assert_eq!(status(&client.head()), 103);
        next.send(()).unwrap();
    }
    next.send(()).unwrap();
    assert_eq!(status(&client.head()), 103);
    assert_eq!(status(&client.head()), 204);
}

#[test]
fn informational_answers_without_end_are_a_bad_gateway() {
    let upstream = Upstream::new(|client, _| {
        client.request();
        while client
            .stream
            .write_all("\r\nHTTP/1.0 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(100).as_bytes())
            .is_ok()
        {}
    });
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n"));
    let end = loop {
        match client.head() {
            head if status(&head) == 103 => {}
            head => break head,
        }
    };
    assert_eq!((status(&end), field(&end, "x-landscape-error").as_deref()), (502, Some("upstream-reset")));
}
