//! A real `landscape-router run` with a folder of its own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::http;
use crate::proc::Tree;

/// File descriptors that the router, and we, may have.
pub const DESCRIPTORS: u64 = 20_000;

/// A folder with a router.yaml and a ci.yml in it, and a router that serves it.
#[derive(Debug)]
pub struct Router {
    child: Child,
    files: Files,
    /// Where it serves.
    pub http: SocketAddr,
    /// Its admin API.
    pub admin: SocketAddr,
}

/// What is written into the folder.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Keys of router.yaml besides `listen`.
    pub router: String,
    /// Keys inside `listen` besides `http` and `admin`, such as `maxConnections: 9000, `.
    pub listen: String,
    /// The ci.yml of the one landscape `bench`.
    pub ci: String,
}

impl Setup {
    /// One landscape `bench`. `extra` are further keys of router.yaml, `policies` the landscape's
    /// `services`, `services` those of the ci.yml's `run`.
    pub fn new(extra: &str, policies: &str, services: &[Service]) -> Self {
        // The application is reached by its peers, too: it stays in this machine's network, unless that is not
        // what is measured.
        let private = if extra.contains("private:") { "" } else { "private: off\n" };
        let router = format!(
            "{private}{extra}\nlandscapes:\n  - {{ id: bench, ci: ci.yml, root: root, services: {{ {policies} }} }}\n"
        );
        Self { router, listen: String::new(), ci: ci(services) }
    }
}

/// A service of a ci.yml.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name; its path is `/` and this name, and stripped.
    pub name: String,
    /// The one step's command.
    pub command: String,
    /// The port that it declares.
    pub port: u16,
    /// How many replicas.
    pub replicas: usize,
    /// The value of `WORD` in its environment.
    pub word: String,
}

impl Service {
    /// The sample application with these options, one replica, on a port that is free.
    pub fn sample(name: &str, options: &str) -> Result<Self> {
        let command = format!("exec '{}' {options}", sibling("sample-app", "SAMPLE_APP_BIN")?.display());
        let port = free_port()?.port();
        Ok(Self { name: name.to_owned(), command, port, replicas: 1, word: "first".to_owned() })
    }
}

/// The text of a ci.yml with these services.
pub fn ci(services: &[Service]) -> String {
    let mut text = "schemaVersion: v0.4\nrun:\n".to_owned();
    for Service { name, command, port, replicas, word } in services {
        text += &format!(
            "  {name}:\n    steps: [{{ command: {command:?} }}]\n    replicas: {replicas}\n    env: {{ WORD: {word:?} }}\n    \
             network:\n      ports: [{{ port: {port}, isPublic: false }}]\n      \
             paths: [{{ port: {port}, path: /{name}, stripPath: true }}]\n"
        );
    }
    text
}

impl Router {
    /// Writes the files, starts the router and waits until it is ready.
    pub async fn start(setup: &Setup) -> Result<Self> {
        raise_descriptors()?;
        let folder = tempfile::Builder::new().prefix("landscape-router-bench-").tempdir()?;
        fs::create_dir(folder.path().join("root"))?;
        let (http, admin) = (free_port()?, free_port()?);
        let files = Files { folder, admin };
        files.replace("ci.yml", &setup.ci)?;
        files.write_router(&[http], setup)?;
        let mut router = Self { child: files.spawn(&[])?, files, http, admin };
        if let Err(error) = router.until_ready().await {
            return Err(error.context(router.last_words()));
        }
        Ok(router)
    }

    /// Replaces the ci.yml whole, as editors do.
    pub fn write_ci(&self, text: &str) -> Result<()> {
        self.files.replace("ci.yml", text)
    }

    /// Replaces the router.yaml whole.
    pub fn write_router(&self, http: &[SocketAddr], setup: &Setup) -> Result<()> {
        self.files.write_router(http, setup)
    }

    /// The files' folder.
    pub fn folder(&self) -> &Path {
        self.files.folder.path()
    }

    /// The router's process and its shims.
    pub fn tree(&self) -> Tree {
        Tree::of(self.child.id())
    }

    /// Starts a second router that takes over from this one, and becomes the one that is held here.
    pub async fn take_over(&mut self) -> Result<()> {
        let old = std::mem::replace(&mut self.child, self.files.spawn(&["--take-over"])?);
        let mut old = Reaped(old);
        self.until_ready().await?;
        old.wait(Duration::from_secs(60)).await.context("the old router did not end after the take-over")
    }

    /// One line of `/metrics`: the sum of all samples of `name` whose labels contain every part.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let answer = http::once(self.admin, &http::get(&self.admin.to_string(), "/metrics")).await?;
        ensure!(answer.status == 200, "/metrics answered {}", answer.status);
        let text = answer.text();
        let samples = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let rest = series.strip_prefix(name)?;
            let fits = (rest.is_empty() || rest.starts_with('{')) && labels.iter().all(|label| rest.contains(label));
            fits.then(|| value.parse::<f64>().ok()).flatten()
        });
        Ok(samples.sum())
    }

    /// Waits until a service is in a state, as the metrics tell it.
    pub async fn until_state(&self, service: &str, state: &str) -> Result<()> {
        let (service, state) = (format!("service=\"{service}\""), format!("state=\"{state}\""));
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.metric("landscape_router_service_state", &[&service, &state]).await? != 1.0 {
            ensure!(Instant::now() < deadline, "{service} was not {state} within 60 s");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// The end of the router's own log.
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(self.folder().join("router.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("the router's last words:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"))
    }

    /// Ends it politely and waits for that.
    pub async fn stop(mut self) -> Result<()> {
        signal(&self.child, Signal::TERM)?;
        let deadline = Instant::now() + Duration::from_secs(40);
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "the router did not end within 40 s of SIGTERM");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    async fn until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let ask = http::get(&self.admin.to_string(), "/readyz");
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the router ended: {status}");
            }
            match http::once(self.admin, &ask).await {
                Ok(answer) if answer.status == 200 => return Ok(()),
                answer => ensure!(Instant::now() < deadline, "the router was not ready within 20 s: {answer:?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The folder that a router runs on.
#[derive(Debug)]
struct Files {
    folder: tempfile::TempDir,
    admin: SocketAddr,
}

impl Files {
    fn write_router(&self, http: &[SocketAddr], setup: &Setup) -> Result<()> {
        let sockets: Vec<String> = http.iter().map(|socket| format!("{:?}", socket.to_string())).collect();
        let (listen, admin) = (&setup.listen, self.admin);
        let head = format!("listen: {{ {listen}http: [{}], admin: \"{admin}\" }}\n", sockets.join(", "));
        self.replace("router.yaml", &(head + &setup.router))
    }

    fn spawn(&self, more: &[&str]) -> Result<Child> {
        let log = File::options().create(true).append(true).open(self.folder.path().join("router.log"))?;
        let binary = sibling("landscape-router", "LANDSCAPE_ROUTER_BIN")?;
        let mut command = Command::new(&binary);
        command.arg("run").arg("--config").arg(self.folder.path().join("router.yaml")).args(more);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().with_context(|| format!("start {}", binary.display()))
    }

    fn replace(&self, name: &str, text: &str) -> Result<()> {
        let (target, fresh) = (self.folder.path().join(name), self.folder.path().join(format!(".{name}.new")));
        fs::write(&fresh, text)?;
        Ok(fs::rename(fresh, target)?)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // After `stop` there is nothing left to kill, which is no mistake.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().and_then(|()| self.child.wait()).ok();
        }
    }
}

/// A child that is not left behind.
struct Reaped(Child);

impl Reaped {
    async fn wait(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while self.0.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "it still runs after {} s", patience.as_secs());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.0.kill().and_then(|()| self.0.wait()).ok();
        }
    }
}

/// Sends a signal to a child.
pub fn signal(child: &Child, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(child.id() as i32).context("a child without a pid")?;
    Ok(kill_process(pid, signal)?)
}

/// A program that was built into the same folder as this one, unless the environment names another.
pub fn sibling(name: &str, variable: &str) -> Result<PathBuf> {
    let path = match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name(name),
    };
    ensure!(path.is_file(), "{} is missing: `make bench` builds it, or name another in {variable}", path.display());
    Ok(path)
}

/// A port of 127.0.0.1 that nothing listens on at the moment, and that the system gives to nobody by
/// itself: below the range of outgoing connections, away from what programs like to listen on.
pub fn free_port() -> Result<SocketAddr> {
    let candidates = std::iter::repeat_with(|| SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(10_000..20_000))));
    let mut free = candidates.take(1000).filter(|address| TcpListener::bind(address).is_ok());
    free.next().context("no port of 127.0.0.1 between 10000 and 20000 is free")
}

/// As many descriptors as [`DESCRIPTORS`], for us and for what we start.
pub fn raise_descriptors() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX).min(DESCRIPTORS);
    if limit.current.is_some_and(|current| current < most) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum })?;
    }
    Ok(())
}
