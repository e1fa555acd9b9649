//! A real router, as a child process, in front of real applications.
//!
//! Every test has a router, ports and folders of its own; what it started ends with it.
#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used)]

pub mod http;
pub mod inside;
pub mod load;
pub mod network;
pub mod user;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use http::{Answer, get, request};
pub use inside::Inside;
pub use load::Load;

/// How long anything that has to happen may take before the test fails. Generous: CI has two cores.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something, and fails with the router's log where it never comes.
pub fn eventually(what: &str, router: &Router, mut done: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}:\n{}", router.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    begin.elapsed()
}

/// A figure for the reader of the tests' output; timing is not judged on a busy machine.
pub fn figure(what: &str, value: Duration) {
    let _ = writeln!(std::io::stderr(), "figure: {what}: {:.1} ms", value.as_secs_f64() * 1000.0);
}

/// The application of `tests/fixtures/test-app.rs`, built beside the tests.
pub fn test_app() -> PathBuf {
    let mut dir = std::env::current_exe().unwrap();
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    let app = dir.join("examples/test-app");
    assert!(app.exists(), "{} is missing: `cargo build --example test-app`", app.display());
    app
}

/// A folder with a router.yaml and the landscapes it names.
pub struct Site {
    dir: TempDir,
}

impl Site {
    /// A folder whose router.yaml is `router` (with `listen` and a short idle time of no interest
    /// added where it has none), and whose landscape `shop` is `ci`.
    pub fn new(router: &str, ci: &str) -> Self {
        let site = Self { dir: tempfile::tempdir().unwrap() };
        site.add("shop", ci);
        site.write("router.yaml", router);
        site
    }

    /// A folder for one more landscape, with the application in it.
    pub fn add(&self, id: &str, ci: &str) {
        std::fs::create_dir(self.path().join(id)).unwrap();
        std::os::unix::fs::symlink(test_app(), self.path().join(id).join("test-app")).unwrap();
        self.write(&format!("{id}/ci.yml"), ci);
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What the state says the router is, once there was one.
    pub fn instance(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.path().join(".landscape-router/instance")).ok()?;
        Some(text.trim().to_owned())
    }

    /// Lets what waits for the file `go` in the landscape's root go on.
    pub fn go(&self) {
        self.write("shop/go", "");
    }

    /// Replaces a file by rename, as editors do.
    pub fn write(&self, name: &str, text: &str) {
        let fresh = self.path().join(format!("{name}.fresh"));
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(fresh, self.path().join(name)).unwrap();
    }
}

/// A step that becomes the application once [`Site::go`] lets it.
pub const WAITING: &str = "while [ ! -e go ]; do sleep 0.02; done; exec ./test-app";

/// A port that nobody listens on, and that the system gives to no connection.
pub fn free_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| fastrand::u16(10_000..20_000));
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// The smallest router.yaml, with free ports and whatever `more` adds. Without a private network unless that
/// has one: the routers of tests that run at the same time would quarrel over its addresses.
pub fn router_yaml(more: &str) -> String {
    let private = if more.contains("private:") { "" } else { "private: off\n" };
    format!(
        "listen: {{ http: [\"127.0.0.1:0\"], admin: \"127.0.0.1:0\" }}\n{more}\n{private}landscapes:\n  - id: shop\n    ci: shop/ci.yml\n    root: shop\n"
    )
}

/// A running router.
pub struct Router {
    child: Child,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Router {
    /// Starts `run` on the site and waits until it is ready.
    pub fn start(site: &Site) -> Self {
        Self::start_with(site, &[])
    }

    /// The same with more arguments.
    pub fn start_with(site: &Site, arguments: &[&str]) -> Self {
        let mut command = Self::command(site);
        command.args(arguments);
        Self::launch(command)
    }

    /// `run` on the site.
    pub fn command(site: &Site) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landscape-router"));
        command.args(["run", "--config"]).arg(site.path().join("router.yaml"));
        Self::surround(&mut command, site);
        command
    }

    /// `run` on the site, by a shell that does `first` and then becomes the router.
    pub fn command_after(site: &Site, first: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{first} && exec \"$0\" run --config \"$1\""));
        command.arg(env!("CARGO_BIN_EXE_landscape-router")).arg(site.path().join("router.yaml"));
        Self::surround(&mut command, site);
        command
    }

    /// What every router of a test is given.
    pub fn surround(command: &mut Command, site: &Site) {
        command.env("LANDSCAPE_ROUTER_LOG", "debug").env("XDG_RUNTIME_DIR", site.path()).current_dir(site.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    }

    /// What `run` says when it refuses to start.
    pub fn refusal(site: &Site) -> String {
        let mut child = Self::command(site).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                let _ = child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        text
    }

    /// Runs this command, which becomes a router, and waits until it is ready.
    pub fn launch(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, seen) = mpsc::channel();
        let stderr = child.stderr.take().unwrap();
        let kept = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line.clone());
                let _ = lines.send(line);
            }
        });
        let (mut http, mut admin) = (None, None);
        let deadline = Instant::now() + PATIENCE;
        let tell = |log: &Arc<Mutex<Vec<String>>>| log.lock().unwrap().join("\n");
        loop {
            let line = match seen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => line,
                Err(_) => {
                    let _ = child.kill();
                    panic!("the router did not become ready:\n{}", tell(&log));
                }
            };
            let address = |l: &str| l.split("http://").nth(1)?.split([' ', ',', '/']).next()?.parse().ok();
            if line.contains("admin API on") {
                admin = address(&line);
            } else if line.contains("listening on") && http.is_none() {
                http = address(&line);
            } else if line.contains("ready") && line.contains("landscapes") {
                break;
            }
        }
        let (Some(http), Some(admin)) = (http, admin) else {
            let _ = child.kill();
            panic!("no addresses in the log:\n{}", tell(&log));
        };
        Self { child, http, admin, log }
    }

    /// `GET http://<host><path>`.
    pub fn get(&self, host: &str, path: &str) -> Answer {
        get(self.http, host, path)
    }

    /// The landscape's own host, `shop.localhost`.
    pub fn shop(&self, path: &str) -> Answer {
        self.get("shop.localhost", path)
    }

    /// How many replicas of a service are ready.
    pub fn ready(&self, name: &str) -> usize {
        let status = self.service(name);
        let replicas = status["replicas"].as_array().map(Vec::as_slice).unwrap_or_default();
        replicas.iter().filter(|r| r["state"] == "ready").count()
    }

    /// Waits until so many replicas are ready.
    pub fn await_ready(&self, name: &str, replicas: usize) {
        eventually(&format!("{replicas} of {name}"), self, || self.ready(name) == replicas);
    }

    /// What a service does, as the admin API tells it.
    pub fn service(&self, name: &str) -> serde_json::Value {
        self.api(&format!("landscapes/shop/services/{name}"))
    }

    /// `GET /api/v1/<path>`.
    pub fn api(&self, path: &str) -> serde_json::Value {
        let answer = get(self.admin, &self.admin.to_string(), &format!("/api/v1/{path}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Waits for a metric to have this value; how long that took.
    pub fn await_metric(&self, name_and_labels: &str, value: f64) -> Duration {
        let begin = Instant::now();
        loop {
            let now = self.metric(name_and_labels);
            if now == Some(value) {
                return begin.elapsed();
            }
            assert!(begin.elapsed() < PATIENCE, "{name_and_labels} is {now:?}, never {value}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until a service is in `state`, and fails the test with its status if it never is.
    pub fn await_state(&self, name: &str, state: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.service(name);
            if status["state"] == state {
                return;
            }
            assert!(Instant::now() < deadline, "{name} never became {state}: {status:#}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A command of the command line against this router.
    pub fn cli(&self, site: &Site, arguments: &[&str]) -> std::process::Output {
        Command::new(env!("CARGO_BIN_EXE_landscape-router"))
            .args(arguments)
            .env("LANDSCAPE_ROUTER_ADMIN", format!("http://{}", self.admin))
            .env("XDG_RUNTIME_DIR", site.path())
            .output()
            .unwrap()
    }

    /// All metrics.
    pub fn metrics(&self) -> String {
        get(self.admin, &self.admin.to_string(), "/metrics").text()
    }

    /// A metric's value: the first sample whose line begins so.
    pub fn metric(&self, name_and_labels: &str) -> Option<f64> {
        let text = self.metrics();
        text.lines().find_map(|l| l.strip_prefix(name_and_labels)?.trim().parse().ok())
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Waits for a line of the log that contains `words`.
    pub fn await_log(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(words) {
            assert!(Instant::now() < deadline, "no line with {words:?} in\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, as a crash.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for the end; the exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.terminate();
        self.child.wait().unwrap().code()
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&self) {
        signal(self.pid(), rustix::process::Signal::TERM);
    }

    /// SIGHUP.
    pub fn hangup(&self) {
        signal(self.pid(), rustix::process::Signal::HUP);
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the router did not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.terminate();
            let deadline = Instant::now() + Duration::from_secs(20);
            while let Ok(None) = self.child.try_wait() {
                if Instant::now() > deadline {
                    let _ = self.child.kill();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
