//! What the access log tells of a request.

use super::support::*;
use crate::config::settings;
use crate::observe::AccessLogWriter;

#[test]
fn each_request_is_one_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let settings = settings::AccessLog { json: true, path: Some(path.clone()) };
    let writer = AccessLogWriter::start(Some(&settings), Default::default()).unwrap();
    let upstream = Upstream::echo();
    let router = {
        let mut setup = Setup { log: writer.log(), ..Setup::default() };
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
    writer.finish();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[0]["status"], 200);
    assert_eq!(lines[0]["method"], "POST");
    assert_eq!(lines[0]["path"], "/a", "without its query");
    assert!(text.contains(&sent.to_string()) && !text.contains("secret"), "{text}");
    assert_eq!(lines[1]["status"], 404);
    assert!(lines[1].to_string().contains("unknown-host"), "{}", lines[1]);
    assert_eq!(lines[2]["client"], "192.0.2.7", "the line that the trusted proxy added");
}
