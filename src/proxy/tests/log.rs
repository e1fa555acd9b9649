//! What the access log tells of a request.

use std::time::Duration;

use super::support::*;
use crate::config::settings;
use crate::observe::AccessLogWriter;

/// A log in a folder of its own.
struct Log {
    folder: tempfile::TempDir,
    writer: AccessLogWriter,
}

impl Log {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings::AccessLog { json: true, path: Some(folder.path().join("access.log")) };
        Self { folder, writer: AccessLogWriter::start(Some(&settings), Default::default()).unwrap() }
    }

    /// Its records, as text and one by one.
    fn end(self) -> (String, Vec<serde_json::Value>) {
        self.writer.finish();
        let text = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (text, lines)
    }
}

#[test]
fn each_request_is_one_record() {
    let log = Log::new();
    let upstream = Upstream::echo();
    let router = {
        let mut setup = Setup { log: log.writer.log(), ..Setup::default() };
        setup.rules.trusted_proxies = std::sync::Arc::new(["127.0.0.0/8".parse().unwrap()]);
        Router::before(upstream.address, setup)
    };
    let mut client = router.client();
    client.send(format!(
        "POST /a?secret=1 HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: test\r\nX-Request-Id: 7\r\nContent-Length: 5\r\n\r\nhello"
    ));
    let sent = client.answer().body.len();
    client.send("GET /b HTTP/1.1\r\nHost: nobody\r\n\r\n");
    assert_eq!(client.answer().status, 404);
    client.send(format!(
        "GET /c HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"
    ));
    assert_eq!(client.answer().status, 200);
    drop(router);
    let (text, lines) = log.end();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[0]["status"], 200);
    assert_eq!(lines[0]["method"], "POST");
    assert_eq!(lines[0]["path"], "/a", "without its query");
    assert!(text.contains(&sent.to_string()) && !text.contains("secret"), "{text}");
    assert_eq!(lines[1]["status"], 404);
    assert!(lines[1].to_string().contains("unknown-host"), "{}", lines[1]);
    assert_eq!(lines[2]["client"], "192.0.2.7", "the line that the trusted proxy added");
}

#[test]
fn a_held_request_tells_how_long_it_was_held_whatever_came_of_it() {
    const HELD: Duration = Duration::from_millis(120);
    let log = Log::new();
    let mut setup = Setup { log: log.writer.log(), ..Setup::default() };
    setup.policy.hold.timeout = HELD;
    setup.policy.hold.max_requests = 1;
    let router = Router::new(setup);
    let ask = |path: &str| {
        let mut client = router.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        client
    };
    let mut first = ask("/deadline");
    eventually("it is held", || router.service.held() == 1);
    assert_eq!(ask("/overflow").answer().error(), "hold-full");
    assert_eq!(first.answer().error(), "hold-timeout");
    let leaving = ask("/left");
    eventually("it is held", || router.service.held() == 1);
    drop(leaving);
    eventually("it is held no longer", || router.service.held() == 0);
    let upstream = Upstream::echo();
    let mut served = ask("/served");
    eventually("it is held", || router.service.held() == 1);
    router.ready(&[upstream.address]);
    assert_eq!(served.answer().status, 200);
    assert_eq!(ask("/warm").answer().status, 200);
    drop((first, served));
    eventually("connections end", || router.listeners.connections() == 0);
    drop(router);
    let (text, lines) = log.end();
    let held = |path: &str| {
        let line = lines.iter().find(|line| line["path"] == path).unwrap_or_else(|| panic!("{path} in {text}"));
        assert!(line["heldMs"].as_f64() <= line["durationMs"].as_f64(), "{line}");
        line["heldMs"].as_f64().unwrap()
    };
    assert!(held("/deadline") >= HELD.as_secs_f64() * 1000.0, "{text}");
    assert!(held("/left") > 0.0 && held("/served") > 0.0, "{text}");
    assert_eq!((held("/overflow"), held("/warm")), (0.0, 0.0), "{text}");
}
