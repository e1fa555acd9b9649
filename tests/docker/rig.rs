//! What the tests against a real engine share: the engine, a backend of a test's own, a private
//! registry, and a socket that can be cut.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use landscape_router::backend::docker::DockerBackend;
use landscape_router::backend::{Addresses, Backend, Failure, Goal, Observation, ReplicaId, Seen, Want, WantReplica};
use landscape_router::config::settings::{DockerSettings, OnExit, Pull};
use landscape_router::landscape::{Health, Home, Mount, Plan, Port, ServiceKey, ServiceSpec, Step, Value, Workload};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;

/// The most that anything here is waited for; nothing is waited for longer than it takes.
const PATIENCE: Duration = Duration::from_secs(90);
pub const SOCKET: &str = "/var/run/docker.sock";

/// Whether there is an engine with the test images. Under `CI=true` there has to be one.
pub fn engine() -> bool {
    static READY: OnceLock<bool> = OnceLock::new();
    *READY.get_or_init(|| {
        let demanded = std::env::var("CI").is_ok_and(|v| v == "true") || std::env::var_os("LR_DOCKER_TESTS").is_some();
        let there = docker(&["version"]).status.success();
        if !there && !demanded {
            eprintln!("\n*** SKIPPED: no Docker engine answers. LR_DOCKER_TESTS=1 as root installs and starts one.\n");
            return false;
        }
        for script in ["ensure-docker.sh", "images.sh"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker").join(script);
            let done = Command::new("sh").arg(path).status().expect("sh is there");
            if !done.success() {
                assert!(!demanded, "{script} failed, and Docker is demanded here");
                eprintln!("\n*** SKIPPED: {script} failed.\n");
                return false;
            }
        }
        true
    })
}

/// Skips a test loudly where no engine can be had.
#[macro_export]
macro_rules! need_engine {
    () => {
        if !$crate::rig::engine() {
            return;
        }
    };
}

pub fn docker(args: &[&str]) -> Output {
    Command::new("docker").args(args).stdin(Stdio::null()).output().unwrap_or_else(|_| Output {
        status: std::os::unix::process::ExitStatusExt::from_raw(127 << 8),
        stdout: Vec::new(),
        stderr: Vec::new(),
    })
}

/// What `docker` prints, trimmed.
pub fn says(args: &[&str]) -> String {
    let out = docker(args);
    assert!(out.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

pub fn random(length: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(length).collect::<String>().to_lowercase()
}

pub fn settings() -> DockerSettings {
    DockerSettings {
        host: Some(format!("unix://{SOCKET}")),
        base: Some("lr-test/sh:1".into()),
        bases: vec![("ubuntu-24.04".into(), "lr-test/user:1".into())],
        subnets: vec!["10.231.0.0/16".parse().unwrap()],
        pull: Pull::IfNotPresent,
        on_exit: OnExit::Leave,
        allow_root: false,
        registries: Vec::new(),
    }
}

/// A backend of the test's own, with everything removed at its end that carries its label.
pub struct Rig {
    pub backend: Option<DockerBackend>,
    pub seen: mpsc::UnboundedReceiver<Observation>,
    pub instance: String,
    pub home: Arc<Home>,
    pub dir: tempfile::TempDir,
    pub settings: DockerSettings,
}

impl Rig {
    pub fn new() -> Self {
        Self::with(settings())
    }

    pub fn with(settings: DockerSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        // The containers' users come by, too.
        open_to_all(dir.path());
        open_to_all(&dir.path().join("root"));
        let instance = format!("test-{}", random(12));
        let home = Home::new(format!("t{}", random(6)), "7", "localhost", dir.path().join("root"));
        let (sender, seen) = mpsc::unbounded_channel();
        let backend = DockerBackend::new(settings.clone(), instance.clone(), &dir.path().join("state"), None, sender);
        Self { backend: Some(backend), seen, instance, home: Arc::new(home), dir, settings }
    }

    /// Ends the backend as a crash would, and begins another of the same instance.
    pub fn reborn(&mut self) {
        self.backend = None;
        let (sender, seen) = mpsc::unbounded_channel();
        let state = self.dir.path().join("state");
        self.backend = Some(DockerBackend::new(self.settings.clone(), self.instance.clone(), &state, None, sender));
        self.seen = seen;
    }

    pub fn backend(&self) -> &DockerBackend {
        self.backend.as_ref().unwrap()
    }

    pub fn root(&self) -> PathBuf {
        self.home.root.clone()
    }

    pub fn spec(&self, name: &str, workload: Workload) -> ServiceSpec {
        ServiceSpec {
            key: ServiceKey::new(Arc::clone(&self.home.id), name),
            home: Arc::clone(&self.home),
            workload,
            plan: Plan { id: "default".into(), cpu: 1.0, memory: 64 << 20, max_replicas: 10 },
            replicas: 1,
            health: Health::Default,
            ports: vec![Port { number: 3000, public: true }],
            primary_port: 3000,
            paths: Vec::new(),
            env: Default::default(),
            user: None,
            group: None,
            mounts: Vec::new(),
        }
    }

    /// An HTTP server.
    pub fn web(&self) -> ServiceSpec {
        self.spec("web", image("lr-test/web:1", None))
    }

    /// Runs one shell command in the base and then stays.
    pub fn shell(&self, command: &str) -> ServiceSpec {
        self.spec(
            "sh",
            image(
                "lr-test/sh:1",
                Some(&["/bin/sh", "-c", &format!("trap 'exit 0' TERM; {command}; sleep 1000 & wait")]),
            ),
        )
    }

    pub fn want(&self, spec: &ServiceSpec, replicas: &[(ReplicaId, Goal)]) {
        let spec = Arc::new(spec.clone());
        let replicas =
            replicas.iter().map(|(id, goal)| WantReplica { id: *id, spec: Arc::clone(&spec), goal: *goal }).collect();
        let grace = Duration::from_secs(2);
        self.backend().apply(Want { service: spec.key.clone(), replicas, number: spec.replicas, grace });
    }

    /// Starts one replica and waits until it runs.
    pub async fn up(&mut self, spec: &ServiceSpec) -> Addresses {
        self.want(spec, &[(ONE, Goal::Run)]);
        self.running(ONE).await
    }

    /// Waits for the first observation that `pick` accepts.
    pub async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(&Seen) -> Option<T>) -> T {
        let mut others = Vec::new();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let seen = self.seen.recv().await.expect("the backend lives").seen;
                match pick(&seen) {
                    Some(found) => return found,
                    None => others.push(seen),
                }
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain for {what}; seen instead: {others:#?}"),
        }
    }

    pub async fn running(&mut self, id: ReplicaId) -> Addresses {
        self.until("running", |seen| match seen {
            Seen::Running(i, addresses) if *i == id => Some(addresses.clone()),
            Seen::Ended(i, failure) if *i == id => panic!("ended instead: {failure:#?}"),
            _ => None,
        })
        .await
    }

    pub async fn ended(&mut self, id: ReplicaId) -> Failure {
        self.until("ended", |seen| match seen {
            Seen::Ended(i, failure) if *i == id => Some(failure.clone()),
            _ => None,
        })
        .await
    }

    pub async fn stopped(&mut self, id: ReplicaId) {
        self.until("stopped", |seen| matches!(seen, Seen::Stopped(i) if *i == id).then_some(())).await;
    }

    /// Ids of this instance's containers, running or not.
    pub fn containers(&self) -> Vec<String> {
        let filter = format!("label=landscape-router.instance={}", self.instance);
        says(&["ps", "-aq", "--no-trunc", "--filter", &filter]).lines().map(str::to_owned).collect()
    }

    /// The one container there is.
    pub fn container(&self) -> String {
        let all = self.containers();
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap()
    }

    /// What a command prints in the one container.
    pub fn exec(&self, command: &str) -> String {
        says(&["exec", &self.container(), "/bin/sh", "-c", command])
    }

    pub fn listed(&self, kind: &str) -> Vec<String> {
        let filter = format!("label=landscape-router.instance={}", self.instance);
        says(&[kind, "ls", "-q", "--filter", &filter]).lines().map(str::to_owned).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.backend = None;
        let filter = format!("label=landscape-router.instance={}", self.instance);
        let list = |args: &[&str]| -> Vec<String> {
            let out = docker(args).stdout;
            String::from_utf8_lossy(&out).lines().map(str::to_owned).collect()
        };
        for id in list(&["ps", "-aq", "--filter", &filter]) {
            docker(&["rm", "-f", "-v", &id]);
        }
        for kind in ["network", "volume"] {
            for id in list(&[kind, "ls", "-q", "--filter", &filter]) {
                docker(&[kind, "rm", &id]);
            }
        }
    }
}

pub const ONE: ReplicaId = ReplicaId { ordinal: 0, generation: 1 };

pub fn id(ordinal: u32, generation: u64) -> ReplicaId {
    ReplicaId { ordinal, generation }
}

pub fn image(name: &str, command: Option<&[&str]>) -> Workload {
    let command = command.map(|c| c.iter().map(|a| (*a).to_owned()).collect());
    Workload::Container { image: Value::plain(name), command }
}

pub fn steps(commands: &[&str]) -> Vec<Step> {
    commands.iter().map(|c| Step { name: Some(format!("do {}", c.len())), command: (*c).to_owned() }).collect()
}

pub fn mount(workspace_path: &str, mount_path: &str) -> Mount {
    Mount { workspace_path: workspace_path.into(), mount_path: mount_path.into() }
}

pub fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
}

/// The body of a GET, tried again until something listens.
pub async fn get(addresses: &Addresses, path: &str) -> String {
    let address = addresses.of(3000).expect("port 3000");
    let begin = Instant::now();
    loop {
        if let Ok(mut stream) = address.connect().await {
            let request = format!("GET {path} HTTP/1.0\r\n\r\n");
            let mut answer = String::new();
            if stream.write_all(request.as_bytes()).await.is_ok()
                && stream.read_to_string(&mut answer).await.is_ok()
                && let Some((head, body)) = answer.split_once("\r\n\r\n")
            {
                assert!(head.contains("200"), "{head}");
                return body.trim().to_owned();
            }
        }
        assert!(begin.elapsed() < PATIENCE, "nothing answers at {address}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until `done` says so: for what only the engine's command line can tell.
pub async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A private registry on loopback.
pub struct Registry {
    process: Child,
    pub host: String,
    pub dir: tempfile::TempDir,
}

pub const USER: &str = "tester";
pub const PASSWORD: &str = "correct horse";

impl Registry {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let process = Command::new("sh")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker/registry.sh"))
            .arg(dir.path())
            .args([&port.to_string(), USER, PASSWORD])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        while TcpStream::connect(&host).await.is_err() {
            assert!(begin.elapsed() < PATIENCE, "the registry does not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { process, host, dir }
    }

    /// Pushes an image under a name of this registry and forgets it locally; returns that name.
    pub fn push(&self, image: &str, name: &str) -> String {
        let full = format!("{}/{name}", self.host);
        let config = self.dir.path().join("client");
        std::fs::create_dir_all(&config).unwrap();
        let config = config.to_string_lossy();
        let mut login = Command::new("docker")
            .args(["--config", &config, "login", "-u", USER, "--password-stdin", &self.host])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut login.stdin.take().unwrap(), PASSWORD.as_bytes()).unwrap();
        assert!(login.wait().unwrap().success());
        says(&["tag", image, &full]);
        says(&["--config", &config, "push", "-q", &full]);
        says(&["rmi", &full]);
        full
    }

    /// An entry of `registries` with this password.
    pub fn entry(&self, password: &str) -> (String, landscape_router::config::settings::Registry) {
        let password_file = self.dir.path().join(format!("password-{}", random(4)));
        std::fs::write(&password_file, format!("{password}\n")).unwrap();
        let entry = landscape_router::config::settings::Registry { username: USER.into(), password_file };
        (self.host.clone(), entry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A socket before the engine's that can be cut and mended.
pub struct Wire {
    pub path: PathBuf,
    serving: Option<tokio::task::JoinHandle<()>>,
}

impl Wire {
    pub fn new(path: PathBuf) -> Self {
        let mut wire = Self { path, serving: None };
        wire.mend();
        wire
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// Breaks every connection; new ones are refused.
    pub async fn cut(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
        std::fs::remove_file(&self.path).unwrap();
    }

    pub fn mend(&mut self) {
        let listener = UnixListener::bind(&self.path).unwrap();
        self.serving = Some(tokio::spawn(async move {
            // Aborting this task drops the set, and with it every connection.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((mut client, _)) = listener.accept().await else { return };
                connections.spawn(async move {
                    if let Ok(mut engine) = UnixStream::connect(SOCKET).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut engine).await;
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        }));
    }
}
