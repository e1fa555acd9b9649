//! A site whose services are containers, and what the engine says of them.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::rig::{docker, says};
use crate::support::{PATIENCE, Router, Site, eventually, test_app};

/// The image that holds the tests' application, as `/bin/test-app`, and a shell.
pub const APP: &str = "lr-test/app:1";

/// The address that containers have to listen on, and short waits for what ignores SIGTERM as the
/// first process of a container does.
pub const SETTINGS: &str = "backend: docker
defaults: { stopGrace: 1s }
docker: { base: \"lr-test/app:1\", subnets: [10.232.0.0/16] }";

/// A site, and the containers of its routers.
pub struct Town {
    pub site: Site,
}

/// One container; that of a preparation belongs to no service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Container {
    pub service: String,
    pub id: String,
    pub state: String,
}

impl Town {
    /// A site whose router.yaml has free ports, `settings` and the landscape `shop` of `ci`.
    pub fn new(settings: &str, ci: &str) -> Self {
        app();
        let site = Site::new(&crate::support::router_yaml(settings), ci);
        // The containers' users come by, too.
        crate::rig::open_to_all(site.path());
        crate::rig::open_to_all(&site.path().join("shop"));
        Self { site }
    }

    /// What the engine knows its containers and networks by.
    fn label(&self) -> Option<String> {
        self.site.instance().map(|instance| format!("label=landscape-router.instance={instance}"))
    }

    /// Every container of this site, in the order of its services.
    pub fn containers(&self) -> Vec<Container> {
        let Some(label) = self.label() else { return Vec::new() };
        let format = "{{.Label \"landscape-router.service\"}},{{.ID}},{{.State}}";
        let text = says(&["ps", "-a", "--no-trunc", "--filter", &label, "--format", format]);
        let mut all: Vec<Container> = text
            .lines()
            .map(|line| {
                let mut words = line.split(',').map(str::to_owned);
                let mut word = || words.next().unwrap();
                Container { service: word(), id: word(), state: word() }
            })
            .collect();
        all.sort();
        all
    }

    /// Those of one service.
    pub fn of(&self, service: &str) -> Vec<Container> {
        self.containers().into_iter().filter(|c| c.service == service).collect()
    }

    /// Every network of this site.
    pub fn networks(&self) -> Vec<String> {
        let Some(label) = self.label() else { return Vec::new() };
        says(&["network", "ls", "-q", "--filter", &label]).lines().map(str::to_owned).collect()
    }

    /// Waits until the containers are as they should be.
    pub fn await_containers(&self, what: &str, router: &Router, mut good: impl FnMut(&[Container]) -> bool) {
        eventually(what, router, || good(&self.containers()));
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        let Some(label) = self.label() else { return };
        let list = |args: &[&str]| String::from_utf8_lossy(&docker(args).stdout).into_owned();
        for id in list(&["ps", "-aq", "--filter", &label]).lines() {
            docker(&["rm", "-fv", id]);
        }
        for kind in ["network", "volume"] {
            for id in list(&[kind, "ls", "-q", "--filter", &label]).lines() {
                docker(&[kind, "rm", id]);
            }
        }
    }
}

/// Makes the image: the application with the libraries it is linked to, on the shell's image.
fn app() {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let put = |from: &Path, to: &str| {
            let to = dir.path().join("root").join(to.trim_start_matches('/'));
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(from, to).unwrap();
        };
        put(&test_app(), "/bin/test-app");
        let linked = Command::new("ldd").arg(test_app()).output().unwrap();
        let linked = String::from_utf8(linked.stdout).unwrap();
        for library in linked.split_whitespace().filter(|w| w.starts_with('/')) {
            put(Path::new(library), library);
        }
        let mut tar = Command::new("tar");
        tar.arg("-C")
            .arg(dir.path().join("root"))
            .args(["--owner=0", "--group=0", "--mtime=@0", "--sort=name", "-cf"])
            .arg(dir.path().join("root.tar"));
        assert!(tar.arg(".").status().unwrap().success());
        let recipe = "FROM lr-test/sh:1\nADD root.tar /\nCMD [\"/bin/test-app\", \"--host\", \"0.0.0.0\"]\n";
        std::fs::remove_dir_all(dir.path().join("root")).unwrap();
        std::fs::write(dir.path().join("Dockerfile"), recipe).unwrap();
        let build = Command::new("docker")
            .env("DOCKER_BUILDKIT", "0")
            .args(["build", "-q", "-t", APP])
            .arg(dir.path())
            .output();
        let build = build.unwrap();
        assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    });
}

/// The engine's own account of what happens to containers with `label`, a line each.
pub struct Events {
    child: std::process::Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Events {
    /// From now on.
    pub fn of(town: &Town, event: &str) -> Self {
        let label = town.label().expect("a router has run");
        let mut child = Command::new("docker")
            .args(["events", "--filter", &label, "--filter", &format!("event={event}"), "--format", "{{.TimeNano}}"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = child.stdout.take().unwrap();
        let (tell, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(std::io::BufReader::new(out)).map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        Self { child, lines }
    }

    /// When the next one happened, since 1970.
    pub fn next(&self) -> Duration {
        let line = self.lines.recv_timeout(PATIENCE).expect("an event");
        Duration::from_nanos(line.trim().parse().unwrap())
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Since 1970, as [`Events::next`] counts.
pub fn wall_clock() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap()
}
