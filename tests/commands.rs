//! The commands against an admin listener: what they print, and how they end.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use landscape_router::admin::{
    AdminServer, ConfigHealth, EventLog, LandscapeView, Life, Model, Refused, Reloaded, RouterView, ServiceView, Token,
};
use landscape_router::backend::{LogLine, LogQuery};
use landscape_router::landscape::ServiceKey;
use landscape_router::lifecycle::{self, Service, StateName};
use landscape_router::observe::calls::CallerView;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A router of two services that are ready once they were woken; the one is pinned.
#[derive(Default)]
struct Router {
    awake: std::sync::atomic::AtomicBool,
    broken: bool,
    events: EventLog,
}

#[async_trait]
impl Model for Router {
    fn landscapes(&self) -> Vec<LandscapeView> {
        let mut status = Service::new(ServiceKey::new("shop", "web"), Arc::default()).status();
        if self.awake.load(std::sync::atomic::Ordering::SeqCst) {
            status.state = StateName::Ready;
        }
        let view = |life| ServiceView {
            kind: "reactive",
            paths: vec!["/".into()],
            urls: vec!["http://shop.localhost/".into()],
            env: vec![],
            note: None,
            pinned: false,
            depends_on: vec![],
            private: None,
            callers: vec![],
            life,
        };
        let called = |view: ServiceView, by: &str, requests| {
            let caller = CallerView { service: by.into(), connections: 1, requests, last_unix_ms: Some(1) };
            ServiceView { callers: vec![caller], ..view }
        };
        let mut other = Service::new(ServiceKey::new("shop", "zoo"), Arc::default()).status();
        other.state = status.state;
        let services = vec![
            called(view(Life::Runs(Box::new(status))), "zoo", 7),
            called(view(Life::nothing(&ServiceKey::new("shop", "db"))), "web", 1),
            called(view(Life::Runs(Box::new(other))), "web", 3),
        ];
        vec![LandscapeView { id: "shop".into(), error: None, urls: vec![], services }]
    }

    fn router(&self) -> RouterView {
        let at = SystemTime::UNIX_EPOCH;
        let config = ConfigHealth { file: "router.yaml".into(), ok: !self.broken, at, mistakes: vec![] };
        RouterView { version: "0", started: at, config, cluster: None }
    }

    fn readiness(&self) -> Result<(), String> {
        Ok(())
    }

    async fn command(&self, service: &ServiceKey, command: lifecycle::Command) -> Result<(), Refused> {
        match command {
            lifecycle::Command::Wake => self.awake.store(true, std::sync::atomic::Ordering::SeqCst),
            lifecycle::Command::Sleep if &*service.service == "web" => {
                return Err(Refused::Impossible("it is pinned; unpin it first".into()));
            }
            _ => {}
        }
        Ok(())
    }

    async fn prepare(&self, _: &str) -> Result<(), Refused> {
        Ok(())
    }

    async fn logs(&self, service: &ServiceKey, query: LogQuery) -> Result<mpsc::Receiver<LogLine>, Refused> {
        if &*service.service == "zoo" {
            return Err(Refused::Unavailable("the engine does not answer".into()));
        }
        let (to, lines) = mpsc::channel(8);
        let line =
            |text: String| LogLine { at: SystemTime::UNIX_EPOCH, source: "0".into(), step: None, stderr: false, text };
        let has = if query.replica.is_some_and(|ordinal| ordinal > 0) { 0 } else { 3 };
        for n in 0..query.tail.min(has) {
            to.try_send(line(format!("line {n}"))).unwrap();
        }
        Ok(lines)
    }

    async fn reload(&self) -> Reloaded {
        let mistakes = if self.broken { vec!["other/ci.yml:3:1: error: x".to_owned()] } else { vec![] };
        Reloaded { ok: !self.broken, changes: vec!["shop/web: rolled".into()], mistakes }
    }

    fn events(&self) -> &EventLog {
        &self.events
    }

    fn metrics(&self) -> Result<String, String> {
        Ok(String::new())
    }
}

/// An admin listener, and a user's runtime directory with its token.
struct Rig {
    url: String,
    home: tempfile::TempDir,
    server: Option<AdminServer>,
    runtime: tokio::runtime::Runtime,
}

impl Rig {
    fn new(router: Router) -> Self {
        let home = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let token = Token::random().unwrap();
        let server = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            AdminServer::start(listener, Arc::new(router), token.clone()).unwrap()
        });
        let folder = home.path().join("landscape-router");
        fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
        let file = folder.join(format!("admin-{}.token", server.address().port()));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).unwrap();
        std::io::Write::write_all(&mut file, token.reveal().as_bytes()).unwrap();
        Self { url: format!("http://{}", server.address()), home, server: Some(server), runtime }
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.run_at(self.home.path(), arguments)
    }

    fn run_at(&self, home: &Path, arguments: &[&str]) -> Ended {
        let output = Command::new(env!("CARGO_BIN_EXE_landscape-router"))
            .args(arguments)
            .env("LANDSCAPE_ROUTER_ADMIN", &self.url)
            .env_remove("LANDSCAPE_ROUTER_TOKEN")
            .env("XDG_RUNTIME_DIR", home)
            .env("TMPDIR", home)
            .output()
            .unwrap();
        Ended::of(output)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.shutdown(Duration::from_secs(1)));
        }
    }
}

#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// What it printed, having gone well.
    fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// What it complained of, having ended so.
    fn failed(self, code: i32) -> String {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        self.err
    }
}

#[test]
fn status_is_a_table_without_colours_for_programs_and_json_on_request() {
    let rig = Rig::new(Router::default());
    let table = rig.run(&["status"]).ok();
    assert!(table.contains("shop/web") && table.contains("off") && table.contains("shop/db"), "{table}");
    assert!(!table.contains('\x1b'));
    let json: serde_json::Value = serde_json::from_str(&rig.run(&["status", "--json"]).ok()).unwrap();
    assert_eq!(json["landscapes"][0]["services"][0]["state"], "off");
    let one: serde_json::Value = serde_json::from_str(&rig.run(&["status", "shop/web", "--json"]).ok()).unwrap();
    assert_eq!(one["service"], "web");
    assert!(!rig.run(&["status", "shop/web"]).ok().contains("shop/db"));
}

#[test]
fn callers_are_proposed_as_a_configuration_that_is_good() {
    let rig = Rig::new(Router::default());
    let part = rig.run(&["status", "shop", "--propose"]).ok();
    assert!(part.contains("      zoo: { dependsOn: [web] }   # new: web (1 connection, 7 requests)\n"), "{part}");
    assert!(part.contains("# Left out: shop/web → zoo: together with zoo → web"), "{part}");
    assert!(part.contains("# Left out: shop/web → db: nothing runs for it here"), "{part}");
    let ci = "schemaVersion: v0.4\nrun:\n  web: {steps: [{command: x}]}\n  zoo: {steps: [{command: x}]}\n";
    fs::write(rig.home.path().join("ci.yml"), ci).unwrap();
    let whole = part.replace("  - id: shop\n", "  - id: shop\n    root: .\n");
    let file = rig.home.path().join("router.yaml");
    fs::write(&file, format!("state: ../state\n{whole}")).unwrap();
    let check = rig.run(&["check", "--config", file.to_str().unwrap()]);
    assert!(check.code == Some(0) && !check.out.contains("warning: landscapes"), "{check:?}");
    let json: serde_json::Value = serde_json::from_str(&rig.run(&["status", "--propose", "--json"]).ok()).unwrap();
    assert_eq!(json["landscapes"][0]["services"]["zoo"]["dependsOn"], serde_json::json!(["web"]));
    assert!(rig.run(&["status", "shup", "--propose"]).failed(1).contains("Did you mean shop?"));
}

#[test]
fn commands_find_the_token_and_tell_what_is_so() {
    let rig = Rig::new(Router::default());
    assert!(rig.run(&["why", "shop/web"]).ok().contains("It is off; a request wakes it."));
    assert!(rig.run(&["wake", "shop", "--wait"]).ok().contains("shop/web is ready after"));
    for command in ["restart", "pin", "unpin"] {
        assert!(rig.run(&[command, "shop/web"]).ok().starts_with("shop/web "), "{command}");
    }
    assert!(rig.run(&["prepare", "shop"]).ok().contains("prepared again"));
    assert_eq!(rig.run(&["reload"]).ok(), "Read again:\n  shop/web: rolled\n");
    assert_eq!(rig.run(&["logs", "shop/web", "--tail", "2"]).ok(), "0 | line 0\n0 | line 1\n");
    assert_eq!(rig.run(&["logs", "shop/web", "-f", "--tail", "1"]).ok(), "0 | line 0\n");
    let never = rig.run(&["logs", "shop/web", "--replica", "9"]);
    let why = "There is no replica 9 of shop/web, and no line of one is kept.";
    assert!(never.code == Some(1) && never.out.is_empty() && never.err.contains(why), "{}{}", never.out, never.err);
}

#[test]
fn refusals_end_with_1_and_say_what_to_do() {
    let rig = Rig::new(Router { broken: true, ..Router::default() });
    assert_eq!(
        rig.run(&["wake", "shop/wep"]).failed(1),
        "error: There is no service shop/wep. Did you mean shop/web?\n"
    );
    assert!(rig.run(&["status", "shup"]).failed(1).contains("Did you mean shop?"));
    assert!(rig.run(&["sleep", "shop/web"]).failed(1).contains("unpin it first"));
    let error = rig.run(&["reload"]).failed(1);
    assert!(error.contains("\n  other/ci.yml:3:1: error: x\n"), "{error}");
    assert!(error.ends_with("What is different now:\n  shop/web: rolled\n"), "{error}");
    let elsewhere = tempfile::tempdir().unwrap();
    let error = rig.run_at(elsewhere.path(), &["wake", "shop/web"]).failed(1);
    assert!(error.contains("wants its token") && error.contains(elsewhere.path().to_str().unwrap()), "{error}");
    assert!(rig.run_at(elsewhere.path(), &["status"]).ok().contains("shop/web"), "status needs no token");
}

#[test]
fn a_token_that_cannot_be_used_hinders_only_what_needs_it() {
    use std::os::unix::fs::PermissionsExt;
    let rig = Rig::new(Router::default());
    let folder = fs::read_dir(rig.home.path().join("landscape-router")).unwrap();
    for file in folder {
        fs::set_permissions(file.unwrap().path(), fs::Permissions::from_mode(0o644)).unwrap();
    }
    assert!(rig.run(&["status"]).ok().contains("shop/web"));
    assert!(rig.run(&["wake", "shop/web"]).failed(1).contains("is not this user's alone"));
}

#[test]
fn a_landscape_alone_means_all_its_services_also_when_one_is_refused() {
    let rig = Rig::new(Router::default());
    let sleep = rig.run(&["sleep", "shop"]);
    assert_eq!((sleep.code, sleep.out.as_str()), (Some(1), "shop/zoo is sent to sleep\n"));
    assert_eq!(sleep.err, "error: shop/web: it is pinned; unpin it first\n");
    for more in [&[][..], &["-f"]] {
        let logs = rig.run(&[&["logs", "shop", "--tail", "1"], more].concat());
        assert_eq!((logs.code, logs.out.as_str()), (Some(1), "web 0 | line 0\n"), "{more:?}");
        assert_eq!(logs.err, "error: shop/zoo: the engine does not answer\n", "{more:?}");
    }
}

#[test]
fn wrong_arguments_end_with_2_and_no_router_with_3() {
    let rig = Rig::new(Router::default());
    assert!(rig.run(&["wake"]).failed(2).contains("LANDSCAPE"));
    assert!(rig.run(&["wake", "a/b/c"]).failed(2).contains("<landscape>/<service>"));
    assert!(rig.run(&["status", "--admin", "https://x:1"]).failed(2).contains("speaks http"));
    let unset = Command::new(env!("CARGO_BIN_EXE_landscape-router"))
        .arg("status")
        .env("LANDSCAPE_ROUTER_ADMIN", "")
        .output()
        .unwrap();
    // Whether a router runs at the usual place, nobody knows; asked is that one.
    assert_ne!(unset.status.code(), Some(2), "{unset:?}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = rig.run(&["status", "--admin", &format!("http://{free}")]).failed(3);
    assert!(error.contains("no router answers") && error.contains("is it running"), "{error}");
}

#[test]
fn completions_are_for_every_shell() {
    let rig = Rig::new(Router::default());
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(rig.run(&["completions", shell]).ok().contains("landscape-router"), "{shell}");
    }
}
