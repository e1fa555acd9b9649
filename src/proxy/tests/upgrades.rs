//! WebSocket handshakes and the streams behind them.

use std::net::Shutdown;
use std::time::Duration;

use super::support::*;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn handshake() -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    )
}

const GRANTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

/// Grants the handshake, with a first message in the same packet, and echoes until the client ends.
fn echoing() -> Upstream {
    Upstream::new(|client, _| {
        let head = client.request().unwrap();
        assert_eq!(field(&head, "connection").unwrap().to_ascii_lowercase(), "upgrade", "{head}");
        assert_eq!(field(&head, "upgrade").as_deref(), Some("websocket"));
        assert_eq!(field(&head, "sec-websocket-key").as_deref(), Some(KEY));
        client.send(format!("{GRANTED}early"));
        loop {
            let mut buf = [0; 1000];
            match std::io::Read::read(&mut client.stream, &mut buf) {
                Ok(n) if n > 0 => client.send(&buf[..n]),
                _ => break,
            }
        }
        client.send("bye");
    })
}

#[test]
fn a_stream_goes_both_ways_and_holds_its_lease() {
    let upstream = echoing();
    let router = Router::new(Setup::default());
    let replica = router.ready(&[upstream.address]).remove(0);
    let mut client = router.client();
    client.send(format!("{}first", handshake()));
    let head = client.head();
    assert_eq!(status(&head), 101, "{head}");
    assert_eq!(field(&head, "upgrade").as_deref(), Some("websocket"));
    assert_eq!(field(&head, "connection").as_deref(), Some("upgrade"));
    assert_eq!(field(&head, "sec-websocket-protocol").as_deref(), Some("chat"));
    assert_eq!(field(&head, "sec-websocket-accept").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(client.exactly(10), b"earlyfirst");
    let big = vec![7; 3_000_000];
    let mut writer = client.stream.try_clone().unwrap();
    let copy = big.clone();
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &copy).unwrap());
    assert_eq!(client.exactly(big.len()), big);
    sender.join().unwrap();
    assert_eq!(replica.word.in_flight(), 1);
    // A half-close goes through, and the other direction goes on.
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"bye");
    eventually("the lease is given back", || replica.word.in_flight() == 0);
    eventually("it is counted", || router.service.stats().requests_by_code() == [(101, 1)]);
}

#[test]
fn a_refusal_is_relayed_and_the_connection_goes_on() {
    let upstream = Upstream::answering(|_, _| "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".into());
    let router = Router::before(upstream.address, Setup::default());
    let mut client = router.client();
    for _ in 0..2 {
        client.send(handshake());
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (403, "no"));
    }
}

#[test]
fn what_is_no_handshake_goes_on_without_its_upgrade() {
    let upstream = Upstream::echo();
    let router = Router::before(upstream.address, Setup::default());
    for request in [
        handshake().replace(KEY, "short"),
        handshake().replace("Version: 13", "Version: 8"),
        handshake().replace("WebSocket\r\n", "h2c\r\n"),
        handshake().replace("keep-alive, Upgrade", "keep-alive"),
        handshake().replace("GET", "PUT"),
    ] {
        let answer = router.ask(&request);
        assert_eq!(answer.status, 200);
        assert_eq!(field(answer.text(), "upgrade"), None, "{}", answer.text());
        assert_eq!(field(answer.text(), "connection"), None, "{}", answer.text());
    }
}

#[test]
fn a_held_handshake_is_granted_later() {
    let upstream = echoing();
    let router = Router::new(Setup::default());
    let mut client = router.client();
    client.send(handshake());
    eventually("the request is held", || router.service.held() == 1);
    router.ready(&[upstream.address]);
    assert_eq!(status(&client.head()), 101);
    assert_eq!(client.exactly(5), b"early");
}

#[test]
fn a_forgotten_stream_ends_after_its_idle_time() {
    let upstream = echoing();
    let mut setup = Setup::default();
    setup.policy.idle_bytes = Some(Duration::from_millis(100));
    setup.rules.timeouts.header = Duration::from_secs(1);
    let router = Router::new(setup);
    let replica = router.ready(&[upstream.address]).remove(0);
    let mut client = router.client();
    client.send(handshake());
    assert_eq!(status(&client.head()), 101);
    client.rest();
    eventually("the lease is given back", || replica.word.in_flight() == 0);
}

#[test]
fn a_stream_ends_with_either_side() {
    use socket2::SockRef;
    let upstream = Upstream::new(|client, _| {
        client.request();
        client.send(GRANTED);
        client.exactly(1);
    });
    let router = Router::new(Setup::default());
    let replica = router.ready(&[upstream.address]).remove(0);
    let mut client = router.client();
    client.send(handshake());
    client.head();
    client.send("x");
    client.rest();
    drop(client);
    eventually("the upstream's end ends it", || replica.word.in_flight() == 0);
    let mut client = router.client();
    client.send(handshake());
    client.head();
    SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    eventually("the client's reset ends it", || replica.word.in_flight() == 0);
}
