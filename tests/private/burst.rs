//! A thousand connections at once to what sleeps.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::land::Land;
use crate::need_network;
use crate::support::{Inside, PATIENCE, Router, eventually};

const CI: &str = "schemaVersion: v0.2
run:
  web:
    steps: [{ command: ./test-app }]
    network: { paths: [{ port: 3000, path: / }] }
  raw:
    steps: [{ command: \"while [ ! -e go ]; do sleep 0.02; done; ulimit -Sn 8000; exec ./test-app --raw\" }]
    network: { ports: [{ port: 7000, isPublic: false }] }
";

const MANY: usize = 1000;
const HELD: &str = "landscape_router_held_requests{landscape=\"shop\",service=\"raw\"}";
const STARTS: &str = "landscape_router_cold_starts_total{landscape=\"shop\",service=\"raw\",outcome=\"success\"}";

/// Opens them all, and says who is asked for on each, before any of them is waited for.
fn crowd(inside: &Inside, at: SocketAddrV4) -> Vec<(TcpStream, Option<std::io::Error>)> {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
    let sockets: Vec<_> = (0..MANY)
        .map(|_| {
            let socket = inside.socket();
            let begun = socket.connect(&SocketAddr::V4(at).into());
            assert!(begun.is_ok() || begun.is_err_and(|e| e.raw_os_error() == Some(libc::EINPROGRESS)));
            socket
        })
        .collect();
    sockets
        .into_iter()
        .map(|socket| {
            socket.set_nonblocking(false).unwrap();
            let mut stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            // Writing waits for the connection. One that is reset meanwhile says so once, now or when it is read.
            let said = stream.write_all(b"who\n");
            (stream, said.err())
        })
        .collect()
}

/// The answer on each, or why there is none.
fn answers(crowd: impl IntoIterator<Item = TcpStream>) -> Vec<Result<String, ErrorKind>> {
    let heard = |stream| {
        let mut line = String::new();
        match BufReader::new(stream).read_line(&mut line) {
            Ok(0) => Err(ErrorKind::UnexpectedEof),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(e) => Err(e.kind()),
        }
    };
    crowd.into_iter().map(heard).collect()
}

fn awake(router: &Router, land: &Land) -> (Inside, SocketAddrV4) {
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    let inside = land.inside("shop", "web");
    let at = inside.at("raw", 7000);
    (inside, at)
}

#[test]
fn a_thousand_connections_make_one_start_and_are_all_served() {
    need_network!();
    let land = Land::shop("", "raw: { wake: onCall }", CI);
    let router = Router::start(&land.site);
    let (inside, at) = awake(&router, &land);
    let crowd = crowd(&inside, at);
    router.await_metric(HELD, MANY as f64);
    land.site.go();
    let mut said: Vec<String> = answers(crowd.into_iter().map(|(stream, _)| stream))
        .into_iter()
        .map(|answer| answer.unwrap_or_else(|e| panic!("{e}\n{}", router.log())))
        .collect();
    assert_eq!(said.len(), MANY);
    said.dedup();
    assert_eq!(said.len(), 1, "one replica served all: {said:?}");
    assert_eq!(router.metric(STARTS), Some(1.0));
    assert_eq!(land.pids("shop", "raw").len(), 1);
}

#[test]
fn of_a_thousand_connections_those_beyond_the_bound_are_reset_at_once() {
    need_network!();
    let land = Land::shop("hold: { perService: { maxRequests: 100 } }", "raw: { wake: onCall }", CI);
    let router = Router::start(&land.site);
    let (inside, at) = awake(&router, &land);
    let crowd = crowd(&inside, at);
    // Nothing has started: what ends now is refused, and the others wait.
    let ended = |stream: &TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let seen = stream.peek(&mut [0]);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match seen {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(e) => Some(e.kind()),
            Ok(n) => panic!("{n} bytes"),
        }
    };
    let is_reset = |kind| matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
    let mut waiting: Vec<TcpStream> = Vec::new();
    for (stream, error) in crowd {
        match error {
            Some(e) => assert!(is_reset(e.kind()), "{e}"),
            None => waiting.push(stream),
        }
    }
    eventually("the refusals", &router, || {
        waiting.retain(|stream| {
            let end = ended(stream);
            assert!(end.is_none_or(is_reset), "{end:?}");
            end.is_none()
        });
        waiting.len() <= 100
    });
    assert_eq!(waiting.len(), 100, "{}", router.log());
    assert_eq!(router.metric(HELD), Some(100.0));
    land.site.go();
    let said = answers(waiting);
    assert!(said.iter().all(|s| s.as_ref().is_ok_and(|s| s.starts_with("service=raw"))), "{said:?}");
    assert!(router.log().contains("too many wait for the service already"), "the log says why");
}
