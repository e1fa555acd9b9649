//! A process backend on a folder of its own, and what it was seen to do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use landscape_router::backend::process::{ProcessBackend, ProcessOptions};
use landscape_router::backend::{
    Addresses, Backend, Failure, Found, Goal, LogLine, LogQuery, Observation, ReplicaId, Seen, Want, WantReplica,
};
use landscape_router::config::settings::{Namespaces, ProcessSettings};
use landscape_router::landscape::{Health, Home, LandscapeSpec, Plan, Port, ServiceSpec, Step, Value, Workload};
use tokio::sync::mpsc;

/// How long anything that has to happen may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A backend, what it observes, and the folders it works in.
pub struct Bench {
    pub dir: Arc<tempfile::TempDir>,
    pub options: ProcessOptions,
    pub backend: ProcessBackend,
    pub seen: mpsc::UnboundedReceiver<Observation>,
    /// Seen while something else was waited for.
    pub missed: Vec<Seen>,
}

impl Bench {
    /// With nothing running, and without control groups.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// With other options.
    pub fn with(change: impl FnOnce(&mut ProcessOptions)) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        std::fs::create_dir(dir.path().join("root")).unwrap();
        // Tests run beside each other, and each has a part of the range.
        let first = 20_000 + (std::process::id() % 90) as u16 * 100 + fastrand::u16(..80);
        let settings = ProcessSettings {
            ports: (first, first + 20),
            allow_root: false,
            low_ports: false,
            namespaces: Namespaces::Off,
            log_keep: 1 << 20,
        };
        let mut options = ProcessOptions::new(settings, &dir.path().join("state"));
        options.shim = PathBuf::from(env!("CARGO_BIN_EXE_landscape-router"));
        options.control_groups = false;
        change(&mut options);
        Self::open(dir, options)
    }

    fn open(dir: Arc<tempfile::TempDir>, options: ProcessOptions) -> Self {
        let (observer, seen) = mpsc::unbounded_channel();
        let backend = ProcessBackend::new(options.clone(), observer).unwrap();
        Self { dir, options, backend, seen, missed: Vec::new() }
    }

    /// The router crashes, and another one takes over.
    pub async fn crash_and_adopt(self) -> (Self, Vec<Found>) {
        let Self { dir, options, backend, .. } = self;
        drop(backend);
        let next = Self::open(dir, options);
        let found = next.backend.adopt().await.unwrap();
        (next, found)
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// A service of these steps, on a port that was free a moment ago.
    pub fn service(&self, steps: &[&str]) -> ServiceSpec {
        let home = Home { id: "4711".into(), team: "7".into(), dev_domain: "4711.localhost".into(), root: self.root() };
        let port = free_port();
        ServiceSpec {
            key: landscape_router::landscape::ServiceKey::new("4711", "web"),
            home: Arc::new(home),
            workload: Workload::Reactive { steps: steps.iter().map(|s| step("", s)).collect(), base: None },
            plan: Plan { id: "default".into(), cpu: 1.0, memory: 1 << 30, max_replicas: 10 },
            replicas: 1,
            health: Health::Default,
            ports: vec![Port { number: port, public: false }],
            primary_port: port,
            paths: Vec::new(),
            env: BTreeMap::from([("GREETING".into(), Value::plain("hello"))]),
            user: None,
            group: None,
            mounts: Vec::new(),
        }
    }

    /// A landscape of the services that prepares so.
    pub fn landscape(&self, prepare: &[(&str, &str)]) -> LandscapeSpec {
        let spec = self.service(&["true"]);
        LandscapeSpec {
            home: spec.home.clone(),
            prepare: prepare.iter().map(|(name, command)| step(name, command)).collect(),
            test: Vec::new(),
            services: [(spec.key.service.clone(), Arc::new(spec))].into_iter().collect(),
        }
    }

    /// Says that exactly these should exist.
    pub fn want(&self, spec: &ServiceSpec, ids: &[ReplicaId], goal: Goal, grace: Duration) {
        let spec = Arc::new(spec.clone());
        let replicas = ids.iter().map(|&id| WantReplica { id, spec: spec.clone(), goal }).collect();
        self.backend.apply(Want { service: spec.key.clone(), replicas, number: spec.replicas, grace });
    }

    /// One running replica.
    pub async fn run(&mut self, spec: &ServiceSpec) -> Addresses {
        self.want(spec, &[FIRST], Goal::Run, Duration::from_secs(5));
        self.running(FIRST).await
    }

    pub async fn running(&mut self, id: ReplicaId) -> Addresses {
        self.until(|seen| match seen {
            Seen::Running(of, addresses) if *of == id => Some(addresses.clone()),
            _ => None,
        })
        .await
    }

    pub async fn ended(&mut self, id: ReplicaId) -> Failure {
        self.until(|seen| match seen {
            Seen::Ended(of, failure) if *of == id => Some(failure.clone()),
            _ => None,
        })
        .await
    }

    pub async fn stopped(&mut self, id: ReplicaId) {
        self.until(|seen| matches!(seen, Seen::Stopped(of) if *of == id).then_some(())).await;
    }

    pub async fn paused(&mut self, id: ReplicaId) {
        self.until(|seen| matches!(seen, Seen::Paused(of) if *of == id).then_some(())).await;
    }

    /// The next of a kind; others are kept for those who wait for them later.
    async fn until<T>(&mut self, mut wanted: impl FnMut(&Seen) -> Option<T>) -> T {
        if let Some((index, found)) = self.missed.iter().enumerate().find_map(|(i, s)| Some((i, wanted(s)?))) {
            self.missed.remove(index);
            return found;
        }
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let seen = self.seen.recv().await.expect("the backend lives").seen;
                match wanted(&seen) {
                    Some(found) => return found,
                    None => self.missed.push(seen),
                }
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("not seen; but {:#?}", self.missed),
        }
    }

    /// Lines of the service's log from its beginning, as they come.
    pub async fn follow(&self, spec: &ServiceSpec) -> Lines {
        let query = LogQuery { tail: 1000, follow: true, replica: None };
        Lines(self.backend.logs(&spec.key, query).await.unwrap())
    }

    /// Waits for a file of the root, and reads it.
    pub async fn file(&self, name: &str) -> String {
        let path = self.root().join(name);
        eventually(|| std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'))).await
    }
}

/// A followed log.
pub struct Lines(mpsc::Receiver<LogLine>);

impl Lines {
    pub async fn next(&mut self) -> LogLine {
        tokio::time::timeout(PATIENCE, self.0.recv()).await.expect("a line in time").expect("more lines")
    }

    /// The line after this text, which some line is.
    pub async fn wait_for(&mut self, text: &str) -> LogLine {
        loop {
            let line = self.next().await;
            if line.text == text {
                return line;
            }
        }
    }
}

pub const FIRST: ReplicaId = ReplicaId { ordinal: 0, generation: 1 };
pub const SECOND: ReplicaId = ReplicaId { ordinal: 1, generation: 1 };

pub fn step(name: &str, command: &str) -> Step {
    Step { name: Some(name.to_owned()).filter(|n| !n.is_empty()), command: command.to_owned() }
}

/// One that the system gives to no connection.
pub fn free_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| fastrand::u16(10_000..20_000));
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// Looks again and again until there is something; for what no event tells.
pub async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("in time")
}

/// Whether a process runs: neither gone nor a zombie.
pub fn lives(pid: u32) -> bool {
    state_of(pid).is_some_and(|s| s != 'Z' && s != 'X')
}

/// Sends a signal.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Its state's letter.
pub fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The shims that have a folder in this state, by their metadata.
pub fn shims(state: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(state.join("process/run")) else { return Vec::new() };
    entries
        .filter_map(|e| std::fs::read(e.unwrap().path().join("meta.json")).ok())
        .filter_map(|json| serde_json::from_slice::<serde_json::Value>(&json).ok())
        .filter_map(|meta| u32::try_from(meta["shim"]["pid"].as_u64()?).ok())
        .collect()
}

pub fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace().map(|n| n.parse().unwrap()).collect()
}
