//! A namespace of one test: in the cluster of `KUBECONFIG` where that is set, else in a fixture of its own.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, Reply, path};
use crate::fixture::object::Object;
use crate::fixture::{Fixture, kinds};

/// How long anything in a cluster may take. Generous: a kubelet probes every ten seconds, and pods leave slowly.
pub const PATIENCE: Duration = Duration::from_secs(90);

pub struct Town {
    // Before the fixture that it talks to.
    pub client: Client,
    fixture: Option<Fixture>,
    pub namespace: String,
    kubeconfig: PathBuf,
    stopped: bool,
    _share: Share,
}

/// Every test has its part of a real cluster; one that stops the API server has it for itself.
static CLUSTER: RwLock<()> = RwLock::new(());

enum Share {
    OwnCluster,
    Part { _guard: RwLockReadGuard<'static, ()> },
    Whole { _guard: RwLockWriteGuard<'static, ()> },
}

/// Whether the tests run against a real cluster.
pub fn real() -> Option<PathBuf> {
    std::env::var_os("KUBECONFIG").filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// The image of the tests' application: what `tests/kubernetes/image.sh` makes.
pub fn image() -> String {
    std::env::var("LANDSCAPE_ROUTER_TEST_IMAGE").unwrap_or_else(|_| "lr-test/app:1".into())
}

/// Commands that stop and start the API server of a real cluster; without them it is left alone.
const STOP: &str = "LANDSCAPE_ROUTER_TEST_API_STOP";
const START: &str = "LANDSCAPE_ROUTER_TEST_API_START";

/// Ends a test that stops the API server where that must not be, and says so.
#[macro_export]
macro_rules! need_a_server_to_stop {
    () => {
        if $crate::town::real().is_some() && !$crate::town::may_stop() {
            eprintln!("skipped on a real cluster: no commands say how its API server is stopped and started");
            return;
        }
    };
}

/// Whether the API server may be stopped.
pub fn may_stop() -> bool {
    std::env::var_os(STOP).is_some() && std::env::var_os(START).is_some()
}

fn command(variable: &str) {
    let command = std::env::var(variable).expect("need_a_server_to_stop!");
    let done =
        std::process::Command::new("sh").arg("-c").arg(&command).stdin(std::process::Stdio::null()).status().unwrap();
    assert!(done.success(), "{command}: {done}");
}

/// Ends a test that needs what only the fixture has, and says so.
#[macro_export]
macro_rules! need_fixture {
    ($why:literal) => {
        if $crate::town::real().is_some() {
            eprintln!("skipped on a real cluster: {}", $why);
            return;
        }
    };
}

impl Town {
    pub fn new() -> Self {
        let share = match real() {
            None => Share::OwnCluster,
            Some(_) => Share::Part { _guard: CLUSTER.read().unwrap_or_else(PoisonError::into_inner) },
        };
        Self::with(share)
    }

    /// With a cluster that no other test uses meanwhile: its API server is to be stopped.
    pub fn alone() -> Self {
        let share = match real() {
            None => Share::OwnCluster,
            Some(_) => Share::Whole { _guard: CLUSTER.write().unwrap_or_else(PoisonError::into_inner) },
        };
        Self::with(share)
    }

    fn with(share: Share) -> Self {
        let fixture = real().is_none().then(Fixture::start);
        let kubeconfig = fixture.as_ref().map_or_else(|| real().unwrap(), Fixture::kubeconfig);
        let client = Client::new(&kubeconfig);
        let namespace = format!("lr-{}", crate::fixture::clock::letters(8));
        client
            .call("POST", "/api/v1/namespaces", "application/json", Some(&json!({ "metadata": { "name": namespace } })))
            .good();
        let town = Self { client, fixture, namespace, kubeconfig, stopped: false, _share: share };
        // Pods are refused until the controllers have furnished the namespace.
        town.eventually("a service account", || town.get("serviceaccounts", "default").status == 200);
        town
    }

    pub fn kubeconfig(&self) -> &std::path::Path {
        &self.kubeconfig
    }

    /// The fixture, in a test that called `need_fixture!`.
    pub fn fixture(&self) -> &Fixture {
        self.fixture.as_ref().expect("need_fixture!")
    }

    pub fn fixture_mut(&mut self) -> &mut Fixture {
        self.fixture.as_mut().expect("need_fixture!")
    }

    /// The API server dies; what runs on the nodes runs on.
    pub fn stop_api(&mut self) {
        self.stopped = true;
        match &mut self.fixture {
            Some(fixture) => fixture.kill(),
            None => command(STOP),
        }
    }

    /// It comes back with what it knew.
    pub fn start_api(&mut self) {
        match &mut self.fixture {
            Some(fixture) => fixture.restart(),
            None => command(START),
        }
        self.eventually_there();
        self.stopped = false;
    }

    fn eventually_there(&self) {
        let begin = Instant::now();
        while !self.client.try_call("GET", "/readyz", "", None).is_ok_and(|r| r.status == 200) {
            assert!(begin.elapsed() < PATIENCE, "the API server does not come back");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn on_fixture(&self) -> Option<&Fixture> {
        self.fixture.as_ref()
    }

    pub fn path(&self, plural: &str, name: &str) -> String {
        path(&self.namespace, plural, name)
    }

    pub fn get(&self, plural: &str, name: &str) -> Reply {
        self.client.call("GET", &self.path(plural, name), "", None)
    }

    pub fn list(&self, plural: &str, query: &str) -> Vec<Value> {
        let listed = self.client.call("GET", &format!("{}?{query}", self.path(plural, "")), "", None).good();
        listed.list("/items").to_vec()
    }

    pub fn create(&self, plural: &str, object: &Value) -> Reply {
        let mut object = object.clone();
        let kind = kinds::of(plural);
        object.default("/apiVersion", kind.api_version());
        object.default("/kind", kind.kind);
        self.client.call("POST", &self.path(plural, ""), "application/json", Some(&object))
    }

    pub fn replace(&self, plural: &str, object: &Value) -> Reply {
        let at = self.path(plural, object.name());
        self.client.call("PUT", &at, "application/json", Some(object))
    }

    pub fn merge(&self, plural: &str, name: &str, patch: &Value) -> Reply {
        self.client.call("PATCH", &self.path(plural, name), "application/merge-patch+json", Some(patch))
    }

    /// Server-side apply as this manager.
    pub fn apply(&self, plural: &str, object: &Value, manager: &str, force: bool) -> Reply {
        let mut object = object.clone();
        let kind = kinds::of(plural);
        object.default("/apiVersion", kind.api_version());
        object.default("/kind", kind.kind);
        let at = format!("{}?fieldManager={manager}&force={force}", self.path(plural, object.name()));
        self.client.call("PATCH", &at, "application/apply-patch+yaml", Some(&object))
    }

    pub fn delete(&self, plural: &str, name: &str, options: &Value) -> Reply {
        self.client.call("DELETE", &self.path(plural, name), "application/json", Some(options))
    }

    pub fn scale(&self, plural: &str, name: &str, replicas: u32) -> Reply {
        let patch = json!({ "spec": { "replicas": replicas } });
        let at = format!("{}/scale?fieldManager=someone", self.path(plural, name));
        self.client.call("PATCH", &at, "application/merge-patch+json", Some(&patch))
    }

    /// Pods with this label that are not leaving.
    pub fn pods(&self, selector: &str) -> Vec<Value> {
        let all = self.list("pods", &format!("labelSelector={selector}"));
        all.into_iter().filter(|p| !p.leaving() && p.text("/status/phase") != "Failed").collect()
    }

    /// Waits for something in the cluster.
    pub fn eventually(&self, what: &str, mut done: impl FnMut() -> bool) -> Duration {
        let begin = Instant::now();
        while !done() {
            assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}:\n{}", self.tell());
            std::thread::sleep(Duration::from_millis(20));
        }
        begin.elapsed()
    }

    /// What there is, for who reads why a test failed.
    pub fn tell(&self) -> String {
        let mut text = String::new();
        for plural in ["deployments", "statefulsets", "replicasets", "pods"] {
            for object in self.list(plural, "") {
                let (spec, status) = (object.int("/spec/replicas"), &object["status"]);
                text += &format!("{plural}/{} spec.replicas={spec} status={status}\n", object.name());
            }
        }
        for event in self.list("events", "") {
            text += &format!(
                "event {} {}: {}\n",
                event.text("/involvedObject/name"),
                event.text("/reason"),
                event.text("/message")
            );
        }
        text
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        if self.fixture.is_none() {
            if self.stopped {
                self.start_api();
            }
            let at = path("", "namespaces", &self.namespace);
            let _ = self.client.try_call("DELETE", &at, "application/json", Some(&json!({})));
        }
    }
}

/// A Deployment of the tests' application, `replicas` strong, with these arguments.
pub fn deployment(name: &str, replicas: u32, args: &[&str]) -> Value {
    let labels = json!({ "app": name });
    json!({
        "metadata": { "name": name },
        "spec": { "replicas": replicas, "selector": { "matchLabels": labels }, "template": template(&labels, args) },
    })
}

/// The template of such pods: ready as soon as a probe a second says so.
pub fn template(labels: &Value, args: &[&str]) -> Value {
    let mut command = vec!["/bin/test-app"];
    command.extend(args);
    json!({
        "metadata": { "labels": labels },
        "spec": {
            "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false, "enableServiceLinks": false,
            "containers": [{
                "name": "app", "image": image(), "imagePullPolicy": "Never", "command": command,
                "ports": [{ "name": "http", "containerPort": 3000 }],
                "readinessProbe": { "httpGet": { "path": "/", "port": 3000 }, "periodSeconds": 1 },
            }],
        },
    })
}
