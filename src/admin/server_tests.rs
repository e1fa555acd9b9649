use std::collections::VecDeque;
use std::time::SystemTime;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::super::{
    ConfigHealth, EventLog, LandscapeView, Life, PrivateView, Refused, Reloaded, RouterView, ServiceView,
};
use super::*;
use crate::backend::{Failure, FailureKind, LogLine, LogQuery};
use crate::landscape::ServiceKey;
use crate::lifecycle::status::FailureStatus;
use crate::lifecycle::{Command, Service};
use crate::observe::calls::CallerView;

/// A router of one landscape with a service that runs and one that is only forwarded to.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) commands: Mutex<Vec<String>>,
    not_ready: Mutex<Option<String>>,
    pub(crate) broken: Mutex<Vec<String>>,
    pub(crate) logs: Mutex<VecDeque<mpsc::Receiver<LogLine>>>,
    /// A reload waits for it.
    applying: tokio::sync::Mutex<()>,
    pub(crate) events: EventLog,
}

fn service(name: &str, kind: &'static str, runs: bool) -> ServiceView {
    let key = ServiceKey::new("4711", name);
    ServiceView {
        kind,
        paths: vec!["/".into()],
        urls: vec!["http://4711.localhost:8080/".into()],
        env: vec!["API_KEY".into()],
        note: None,
        pinned: false,
        depends_on: vec!["store".into()],
        private: Some(PrivateView {
            address: Some([10, 212, 0, 7].into()),
            names: vec![name.into(), format!("ws-server-4711-{name}")],
            ports: vec![3000],
        }),
        callers: vec![CallerView { service: "cron".into(), connections: 2, requests: 7, last_unix_ms: Some(1000) }],
        life: match runs {
            true => {
                let mut status = Service::new(key, Default::default()).status();
                status.wanted_replicas = 2;
                status.last_failure = Some(FailureStatus {
                    failure: Failure {
                        kind: FailureKind::Exited,
                        public: "The service exited.".into(),
                        detail: "exit status 3".into(),
                        log_tail: vec!["connecting with hunter2".into()],
                        permanent: false,
                    },
                    at: SystemTime::UNIX_EPOCH,
                    retry_in_ms: None,
                });
                Life::Runs(Box::new(status))
            }
            false => Life::nothing(&key),
        },
    }
}

#[async_trait]
impl Model for Fake {
    fn landscapes(&self) -> Vec<LandscapeView> {
        let services = vec![service("web", "reactive", true), service("api", "headless", false)];
        let good = LandscapeView { id: "4711".into(), error: None, urls: vec![], services };
        let bad =
            LandscapeView { id: "bad".into(), error: Some("ci.yml:1:1: tab".into()), urls: vec![], services: vec![] };
        vec![good, bad]
    }

    fn router(&self) -> RouterView {
        let config =
            ConfigHealth { file: "router.yaml".into(), ok: true, at: SystemTime::UNIX_EPOCH, mistakes: vec![] };
        RouterView { version: "1.2.3", started: SystemTime::UNIX_EPOCH, config, cluster: None }
    }

    fn readiness(&self) -> Result<(), String> {
        self.not_ready.lock().clone().map_or(Ok(()), Err)
    }

    async fn command(&self, service: &ServiceKey, command: Command) -> Result<(), Refused> {
        if &*service.service == "api" {
            return Err(Refused::Impossible("nothing runs for it".into()));
        }
        self.commands.lock().push(format!("{command:?} {service}"));
        Ok(())
    }

    async fn prepare(&self, landscape: &str) -> Result<(), Refused> {
        self.commands.lock().push(format!("prepare {landscape}"));
        Ok(())
    }

    async fn logs(&self, _: &ServiceKey, query: LogQuery) -> Result<mpsc::Receiver<LogLine>, Refused> {
        self.commands.lock().push(format!("{query:?}"));
        self.logs.lock().pop_front().ok_or(Refused::Unavailable("the engine does not answer".into()))
    }

    async fn reload(&self) -> Reloaded {
        self.commands.lock().push("reload begins".into());
        drop(self.applying.lock().await);
        self.commands.lock().push("reload ends".into());
        let mistakes = self.broken.lock().clone();
        // A mistake of router.yaml stops all of it, one of a ci.yml that landscape alone.
        let nothing = mistakes.iter().any(|m| m.starts_with("router.yaml"));
        let changes = if nothing { vec![] } else { vec!["4711/web: rolled".into()] };
        Reloaded { ok: mistakes.is_empty(), changes, mistakes }
    }

    fn events(&self) -> &EventLog {
        &self.events
    }

    fn metrics(&self) -> Result<String, String> {
        Ok("up 1\n".into())
    }
}

pub(crate) struct Rig {
    pub(crate) fake: Arc<Fake>,
    server: AdminServer,
    pub(crate) token: Token,
}

async fn rig_on(address: &str) -> Rig {
    let fake = Arc::new(Fake::default());
    let token = Token::random().unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
    let server = AdminServer::start(listener, fake.clone(), token.clone()).unwrap();
    Rig { fake, server, token }
}

pub(crate) async fn rig() -> Rig {
    rig_on("127.0.0.1:0").await
}

/// An answer, taken apart.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn of(raw: &str) -> Self {
        let (head, body) = raw.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {raw:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// Status and code of a well-formed problem.
    fn problem(&self) -> (u16, String) {
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        let p = self.json();
        assert_eq!(p["status"], self.status);
        assert_eq!(p["type"], format!("urn:landscape-router:admin:{}", p["code"].as_str().unwrap()));
        assert!(!p["title"].as_str().unwrap().is_empty() && !p["detail"].as_str().unwrap().is_empty());
        (self.status, p["code"].as_str().unwrap().to_owned())
    }
}

impl Rig {
    pub(crate) fn port(&self) -> u16 {
        self.server.address().port()
    }

    async fn connect(&self, head: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port())).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    /// Sends a raw request and reads to the end of the connection.
    async fn raw(&self, request: &str) -> String {
        let mut stream = self.connect(request).await;
        let mut answer = Vec::new();
        timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn ask(&self, line: &str, fields: &str) -> Answer {
        let request =
            format!("{line} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n{fields}\r\n", self.port());
        Answer::of(&self.raw(&request).await)
    }

    fn bearer(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.token.reveal())
    }

    async fn tell(&self, line: &str) -> Answer {
        self.ask(line, &self.bearer()).await
    }
}

/// Reads until `wanted` was seen.
async fn until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut seen = String::new();
    let mut chunk = [0; 4096];
    while !seen.contains(wanted) {
        let n = timeout(Duration::from_secs(10), stream.read(&mut chunk)).await.unwrap().unwrap();
        assert!(n > 0, "ended before {wanted:?}: {seen}");
        seen.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
    }
    seen
}

#[tokio::test]
async fn status_and_metrics_are_open_on_loopback() {
    let r = rig().await;
    let all = r.ask("GET /api/v1/landscapes", "").await;
    assert_eq!(all.status, 200);
    assert!(all.head.contains("cache-control: no-store") && all.head.contains("content-type: application/json"));
    let v = all.json();
    assert_eq!(v["router"]["version"], "1.2.3");
    assert_eq!(v["router"]["config"]["ok"], true);
    assert_eq!(v["landscapes"][0]["services"][0]["state"], "off");
    let forwarded = &v["landscapes"][0]["services"][1];
    assert_eq!((&forwarded["service"], &forwarded["state"]), (&json!("api"), &Value::Null));
    assert_eq!(v["landscapes"][1]["error"], "ci.yml:1:1: tab");
    assert_eq!(r.ask("GET /api/v1/landscapes/4711", "").await.json()["id"], "4711");
    assert_eq!(r.ask("GET /api/v1/landscapes/4711/services/web", "").await.json()["env"], json!(["API_KEY"]));
    let why = r.ask("GET /api/v1/landscapes/4711/services/web/why", "").await.json();
    assert_eq!(
        (&why["sentences"][0], &why["sentences"][1]),
        (&json!("It is off; a request wakes it."), &json!("Other services reach it as web (10.212.0.7) at port 3000."))
    );
    for seen in [&v["landscapes"][0]["services"][1], &why] {
        let called = json!([{ "service": "cron", "connections": 2, "requests": 7, "lastUnixMs": 1000 }]);
        assert_eq!((&seen["callers"], &seen["private"]["address"]), (&called, &json!("10.212.0.7")), "{seen}");
    }
    let metrics = r.ask("GET /metrics", "").await;
    assert_eq!((metrics.status, metrics.body.as_str()), (200, "up 1\n"));
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"));
    let head = r.ask("HEAD /metrics", "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn what_an_application_wrote_needs_the_token() {
    let r = rig().await;
    for path in ["landscapes", "landscapes/4711", "landscapes/4711/services/web", "landscapes/4711/services/web/why"] {
        let line = format!("GET /api/v1/{path}");
        for fields in ["", "Authorization: Bearer 00\r\n"] {
            let open = r.ask(&line, fields).await;
            assert_eq!(open.status, 200, "{path}");
            assert!(!open.body.contains("hunter2"), "{path}");
        }
        assert_eq!(r.tell(&line).await.body.contains("hunter2"), !path.ends_with("why"), "{path}");
    }
    let failed = r.ask("GET /api/v1/landscapes/4711/services/web", "").await.json()["lastFailure"].clone();
    assert_eq!((&failed["detail"], &failed["logTail"]), (&json!("exit status 3"), &json!([])));
}

#[tokio::test]
async fn beyond_loopback_only_health_is_open() {
    let r = rig_on("0.0.0.0:0").await;
    for path in ["/metrics", "/api/v1/landscapes", "/api/v1/landscapes/4711/services/web/why"] {
        let refused = r.ask(&format!("GET {path}"), "").await;
        assert_eq!(refused.problem(), (401, "token-needed".into()), "{path}");
        assert!(refused.head.contains("www-authenticate: bearer"));
        assert_eq!(r.tell(&format!("GET {path}")).await.status, 200, "{path}");
    }
    assert_eq!(r.ask("GET /healthz", "").await.status, 200);
    assert_eq!(r.ask("GET /readyz", "").await.status, 200);
}

#[tokio::test]
async fn readiness_follows_the_model_and_health_does_not() {
    let r = rig().await;
    assert_eq!(r.ask("GET /readyz", "").await.json(), json!({ "ready": true }));
    *r.fake.not_ready.lock() = Some("The router is ending.".into());
    let not = r.ask("GET /readyz", "").await;
    assert_eq!(not.problem(), (503, "not-ready".into()));
    assert!(not.body.contains("The router is ending."));
    assert_eq!(r.ask("GET /healthz", "").await.status, 200);
}

#[tokio::test]
async fn commands_need_the_token_and_reach_the_model() {
    let r = rig().await;
    let base = "/api/v1/landscapes/4711/services/web";
    let lines = [
        format!("POST {base}/wake"),
        format!("POST {base}/sleep"),
        format!("POST {base}/restart"),
        format!("PUT {base}/pin"),
        format!("DELETE {base}/pin"),
        "POST /api/v1/landscapes/4711/prepare".to_owned(),
    ];
    for line in &lines {
        assert_eq!(r.ask(line, "").await.problem().0, 401, "{line}");
        assert_eq!(r.ask(line, "Authorization: Bearer 00\r\n").await.problem().0, 401, "{line}");
    }
    assert!(r.fake.commands.lock().is_empty());
    for line in &lines {
        assert_eq!(r.tell(line).await.status, 202, "{line}");
    }
    assert_eq!(
        *r.fake.commands.lock(),
        ["Wake 4711/web", "Sleep 4711/web", "Restart 4711/web", "Pin 4711/web", "Unpin 4711/web", "prepare 4711"]
    );
    for line in ["GET /api/v1/events", "POST /api/v1/reload", &format!("GET {base}/logs")] {
        assert_eq!(r.ask(line, "").await.problem().0, 401, "{line}");
    }
}

#[tokio::test]
async fn what_does_not_exist_names_what_does() {
    let r = rig().await;
    let of = async |line: &str| {
        let answer = r.tell(line).await;
        (answer.problem().1, answer.json()["detail"].as_str().unwrap().to_owned())
    };
    let (code, detail) = of("GET /api/v1/landscapes/4712").await;
    assert_eq!(
        (code.as_str(), detail.as_str()),
        ("unknown-landscape", "There is no landscape 4712. Did you mean 4711?")
    );
    let (code, detail) = of("POST /api/v1/landscapes/4711/services/wep/wake").await;
    assert_eq!(
        (code.as_str(), detail.as_str()),
        ("unknown-service", "There is no service 4711/wep. Did you mean 4711/web?")
    );
    let (code, detail) = of("GET /api/v1/events?landscape=4712").await;
    assert!(code == "unknown-landscape" && detail.contains("Did you mean 4711?"), "{detail}");
    let (code, detail) = of("GET /api/v1/landscapes/bad/services/web").await;
    assert!(code == "landscape-invalid" && detail.contains("ci.yml:1:1: tab"), "{detail}");
    let (code, detail) = of("POST /api/v1/landscapes/4711/services/api/wake").await;
    assert_eq!((code.as_str(), detail.as_str()), ("impossible", "4711/api: nothing runs for it"));
    assert_eq!(of("GET /api/v1/requests").await.0, "not-built");
    assert_eq!(r.ask("GET /api/v1/requests", "").await.status, 501);
    let wrong = r.tell("DELETE /api/v1/landscapes").await;
    assert_eq!(wrong.problem(), (405, "method-not-allowed".into()));
    assert!(wrong.head.contains("allow: get"));
}

#[tokio::test]
async fn strangers_hosts_and_pages_are_refused_everywhere() {
    let r = rig().await;
    for (head, want) in [
        ("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n", (421, "unknown-host")),
        ("GET /healthz HTTP/1.1\r\nHost: evil.example\r\n", (421, "unknown-host")),
        ("GET /metrics HTTP/1.1\r\n", (400, "bad-host")),
        ("GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n", (400, "bad-host")),
        ("GET http://localhost/metrics HTTP/1.1\r\nHost: localhost\r\n", (400, "bad-host")),
        ("GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n", (403, "cross-site")),
        ("GET /metrics HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n", (403, "cross-site")),
    ] {
        let answer = Answer::of(&r.raw(&format!("{head}Connection: close\r\n\r\n")).await);
        assert_eq!(answer.problem(), (want.0, want.1.to_owned()), "{head}");
    }
}

#[tokio::test]
async fn a_reload_tells_what_changed_or_every_mistake() {
    let r = rig().await;
    let good = r.tell("POST /api/v1/reload").await;
    assert_eq!((good.status, &good.json()["changes"]), (200, &json!(["4711/web: rolled"])));
    *r.fake.broken.lock() = vec!["router.yaml:3:1: error: x".into()];
    let bad = r.tell("POST /api/v1/reload").await;
    assert_eq!(bad.problem(), (422, "config-invalid".into()));
    assert_eq!(bad.json()["mistakes"], json!(["router.yaml:3:1: error: x"]));
    assert_eq!(bad.json()["detail"], "The configuration has mistakes; everything is as it was.");
    *r.fake.broken.lock() = vec!["shop/ci.yml:3:1: error: x".into()];
    let partly = r.tell("POST /api/v1/reload").await;
    assert_eq!(partly.problem(), (422, "config-invalid".into()));
    assert_eq!(partly.json()["changes"], json!(["4711/web: rolled"]));
    assert!(!partly.json()["detail"].as_str().unwrap().contains("everything is as it was"));
}

#[tokio::test]
async fn a_reload_goes_on_when_its_caller_leaves() {
    let r = rig().await;
    let told = async |what: &str| {
        while !r.fake.commands.lock().iter().any(|c| c == what) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let applying = r.fake.applying.lock().await;
    let head = format!("POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\n{}\r\n", r.bearer());
    let caller = r.connect(&head).await;
    timeout(Duration::from_secs(10), told("reload begins")).await.unwrap();
    drop(caller);
    let left = async {
        // What is left is the task that accepts.
        while r.server.tasks.len() > 1 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(10), left).await.expect("the connection ends with its caller");
    drop(applying);
    timeout(Duration::from_secs(10), told("reload ends")).await.expect("it was cut off in the middle");
}

#[tokio::test]
async fn logs_are_lines_of_json_or_events() {
    let r = rig().await;
    let line = |text: &str| LogLine {
        at: SystemTime::UNIX_EPOCH,
        source: "0".into(),
        step: Some(1),
        stderr: true,
        text: text.into(),
    };
    let (tx, rx) = mpsc::channel(4);
    r.fake.logs.lock().push_back(rx);
    tx.send(line("one\u{1b}[0m")).await.unwrap();
    drop(tx);
    let answer = r.tell("GET /api/v1/landscapes/4711/services/web/logs?tail=3").await;
    assert!(answer.head.contains("content-type: application/x-ndjson"));
    let json = answer.body.lines().find(|l| l.starts_with('{')).unwrap();
    let want = json!({ "atUnixMs": 0, "source": "0", "step": 1, "stderr": true, "text": "one\u{1b}[0m" });
    assert_eq!(serde_json::from_str::<Value>(json).unwrap(), want);
    assert_eq!(r.fake.commands.lock()[0], "LogQuery { tail: 3, follow: false, replica: None }");

    let (tx, rx) = mpsc::channel(4);
    r.fake.logs.lock().push_back(rx);
    let head = format!(
        "GET /api/v1/landscapes/4711/services/web/logs?follow=true HTTP/1.1\r\nHost: localhost\r\n\
         Accept: text/event-stream\r\n{}\r\n",
        r.bearer()
    );
    let mut stream = r.connect(&head).await;
    tx.send(line("two")).await.unwrap();
    let seen = until(&mut stream, "\"text\":\"two\"}\n\n").await;
    assert!(seen.contains("content-type: text/event-stream") && seen.contains("data: {\"atUnixMs\":0"), "{seen}");
    drop(stream);
    timeout(Duration::from_secs(10), tx.closed()).await.expect("a client that leaves ends the following");

    let failing = r.tell("GET /api/v1/landscapes/4711/services/web/logs").await;
    assert_eq!(failing.problem(), (503, "unavailable".into()));
}

#[tokio::test]
async fn a_replica_that_never_was_has_no_log_and_one_that_was_has() {
    let r = rig().await;
    let log = |lines: usize| {
        let (tx, rx) = mpsc::channel(4);
        for _ in 0..lines {
            let (at, source, text) = (SystemTime::UNIX_EPOCH, "9".to_owned(), "was here".to_owned());
            tx.try_send(LogLine { at, source, step: None, stderr: false, text }).unwrap();
        }
        r.fake.logs.lock().push_back(rx);
    };
    for more in ["", "&follow=true"] {
        log(0);
        let none = r.tell(&format!("GET /api/v1/landscapes/4711/services/web/logs?replica=9{more}")).await;
        assert_eq!(none.problem(), (404, "unknown-replica".into()));
        let detail = "There is no replica 9 of 4711/web, and no line of one is kept. Its replicas are 0 to 1.";
        assert_eq!(none.json()["detail"], detail);
    }
    // It was taken away with a smaller number of replicas.
    (0..2).for_each(|_| log(1));
    let was = r.tell("GET /api/v1/landscapes/4711/services/web/logs?replica=9").await;
    assert!(was.status == 200 && was.body.contains("was here"), "{}", was.body);
    log(0);
    let silent = r.tell("GET /api/v1/landscapes/4711/services/web/logs?replica=1").await;
    assert_eq!((silent.status, silent.body.contains('{')), (200, false), "it has written nothing yet");
}

#[tokio::test]
async fn events_stream_resume_and_end_with_the_router() {
    let r = rig().await;
    let watch = |more: &str| format!("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n{}{more}\r\n", r.bearer());
    let mut stream = r.connect(&watch("")).await;
    until(&mut stream, "retry: 1000\n\n").await;
    r.fake.events.publish(Some("4711".into()), &json!({ "event": "state" }));
    let seen = until(&mut stream, "data: {\"event\":\"state\"}\n\n").await;
    let id: u64 = seen.split("id: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    r.fake.events.publish(Some("other".into()), &json!({ "n": 2 }));
    let mut again = r.connect(&watch(&format!("Last-Event-ID: {id}\r\n"))).await;
    let missed = until(&mut again, "{\"n\":2}").await;
    assert!(!missed.contains("gap") && missed.contains(&format!("id: {}\n", id + 1)), "{missed}");
    let mut old = r.connect(&watch("Last-Event-ID: 1\r\n")).await;
    until(&mut old, "{\"event\":\"gap\"}").await;
    let one =
        format!("GET /api/v1/events?landscape=4711&after={} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", id - 1, r.bearer());
    let mut filtered = r.connect(&one).await;
    r.fake.events.publish(Some("4711".into()), &json!({ "n": 3 }));
    let seen = until(&mut filtered, "{\"n\":3}").await;
    assert!(!seen.contains("{\"n\":2}"), "{seen}");

    let port = r.port();
    timeout(Duration::from_secs(10), r.server.shutdown(Duration::from_secs(5))).await.unwrap();
    for mut stream in [stream, again, old, filtered] {
        let mut rest = Vec::new();
        timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    }
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "the listener is closed");
}

#[tokio::test]
async fn too_much_is_refused() {
    let r = rig().await;
    let body = r.ask("POST /api/v1/reload", &format!("{}Content-Length: 100000\r\n", r.bearer())).await;
    assert_eq!(body.problem(), (413, "body-too-large".into()));
    let long = format!("X: {}\r\n", "x".repeat(HEADER_BYTES * 2));
    let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{long}\r\n");
    assert!(r.raw(&request).await.starts_with("HTTP/1.1 431 "));
    let many = "X: y\r\n".repeat(HEADER_FIELDS + 1);
    let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{many}\r\n");
    assert!(r.raw(&request).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn streams_leave_room_for_health_checks() {
    let r = rig().await;
    let head = format!("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n{}\r\n", r.bearer());
    let mut watching = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = r.connect(&head).await;
        until(&mut stream, "retry: 1000").await;
        watching.push(stream);
    }
    assert_eq!(r.tell("GET /api/v1/events").await.problem(), (503, "too-many-streams".into()));
    assert_eq!(r.ask("GET /healthz", "").await.status, 200);
}
