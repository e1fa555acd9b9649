//! A site whose services are Deployments, and what the cluster says of them.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::client::AGENT;
use crate::fixture::object::Object;
use crate::fixture::{Fixture, Logged};
use crate::support::{Router, Site, router_yaml};
use crate::town::{Town, image};

pub struct Rig {
    pub site: Site,
    // After the site: its folder is of no use without the cluster.
    pub town: Town,
}

/// One service: its name, how many replicas, its path, and further lines of its own.
pub fn service(name: &str, replicas: u32, path: &str, more: &str) -> String {
    format!(
        "  {name}:
    image: {}
    replicas: {replicas}
{more}    network: {{ ports: [{{ port: 3000, isPublic: false }}], paths: [{{ port: 3000, path: {path} }}] }}
",
        image()
    )
}

/// A ci.yml of such services.
pub fn ci(services: &[String]) -> String {
    format!("schemaVersion: v0.4\nrun:\n{}", services.concat())
}

/// What a router says of itself as one of several.
pub fn cluster(router: &Router) -> Value {
    router.api("landscapes")["router"]["cluster"].clone()
}

impl Rig {
    /// A site in a namespace of its own. `settings` are further lines of router.yaml.
    pub fn new(settings: &str, ci: &str) -> Self {
        Self::of(Town::new(), settings, "pull: never", ci)
    }

    /// The same in a cluster that is there, with further settings of the backend.
    pub fn of(town: Town, settings: &str, kubernetes: &str, ci: &str) -> Self {
        let rig = Self { site: Site::new("", ci), town };
        rig.site.write("router.yaml", &rig.router_yaml(settings, kubernetes));
        rig
    }

    /// A router.yaml with the landscape `shop`, to which lines may be added.
    pub fn router_yaml(&self, settings: &str, kubernetes: &str) -> String {
        let defaults = if settings.contains("defaults:") { "" } else { "defaults: { stopGrace: 1s }\n" };
        // Many at a time have room on a node of two cores.
        let small = "plans: { default: { cpu: 0.4, memory: 128MiB, maxReplicas: 10 } }\n";
        let plans = if settings.contains("plans:") { "" } else { small };
        let (kubeconfig, namespace) = (self.town.kubeconfig().display(), &self.town.namespace);
        router_yaml(&format!(
            "backend: kubernetes\n{defaults}{plans}\
             kubernetes: {{ kubeconfig: \"{kubeconfig}\", namespace: {namespace}, {kubernetes} }}\n{settings}"
        ))
    }

    /// A router with a configuration of its own, beside others.
    pub fn router(&self, file: &str) -> Router {
        Router::launch(self.command(file))
    }

    /// The command that starts it.
    pub fn command(&self, file: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landscape-router"));
        command.args(["run", "--config"]).arg(self.site.path().join(file));
        Router::surround(&mut command, &self.site);
        command
    }

    /// Waits until a router knows of so many, itself among them.
    pub fn await_routers(&self, router: &Router, count: usize) {
        self.eventually("each other", router, || {
            cluster(router)["routers"].as_array().is_some_and(|routers| routers.len() == count)
        });
    }

    /// What marks the objects of a service.
    fn selector(service: &str) -> String {
        format!("landscape-router/landscape=shop,landscape-router/service={service}")
    }

    /// The Deployment of a service.
    pub fn deployment(&self, service: &str) -> Option<Value> {
        let mut all = self.town.list("deployments", &format!("labelSelector={}", Self::selector(service)));
        assert!(all.len() < 2, "{service} has several Deployments");
        all.pop()
    }

    /// Waits for the Deployment of a service that does not run, which is there from the start.
    pub fn await_deployment(&self, service: &str) -> Value {
        self.town.eventually(&format!("the Deployment of {service}"), || self.deployment(service).is_some());
        self.deployment(service).unwrap()
    }

    /// The pods of a service that are not leaving.
    pub fn pods(&self, service: &str) -> Vec<Value> {
        self.town.pods(&Self::selector(service))
    }

    /// Their names, in order.
    pub fn pod_names(&self, service: &str) -> Vec<String> {
        let mut all: Vec<String> = self.pods(service).iter().map(|p| p.name().to_owned()).collect();
        all.sort();
        all
    }

    /// All pods of a service, those that are leaving too.
    pub fn all_pods(&self, service: &str) -> usize {
        self.town.list("pods", &format!("labelSelector={}", Self::selector(service))).len()
    }

    /// Waits for something that the router and the cluster do together.
    pub fn eventually(&self, what: &str, router: &Router, mut done: impl FnMut() -> bool) -> Duration {
        let begin = std::time::Instant::now();
        while !done() {
            if begin.elapsed() > crate::town::PATIENCE {
                panic!("waited in vain for {what}:\n{}\n{}", self.town.tell(), router.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        begin.elapsed()
    }

    /// Waits until a service serves by so many ready replicas: a router that has just come leases none until it
    /// has heard of the others.
    pub fn await_ready(&self, router: &Router, service: &str, replicas: usize) {
        let serves = || router.service(service)["state"] == "ready";
        self.eventually(&format!("{replicas} of {service}"), router, || router.ready(service) == replicas && serves());
    }

    /// Waits until a service is off, and nothing of it runs.
    pub fn await_off(&self, router: &Router, service: &str) {
        self.eventually(&format!("{service} to be off"), router, || router.service(service)["state"] == "off");
        self.eventually(&format!("the pods of {service} to be gone"), router, || self.all_pods(service) == 0);
    }

    /// A command that must succeed; what it printed.
    pub fn cli(&self, router: &Router, arguments: &[&str]) -> String {
        let output = router.cli(&self.site, arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// A part of what a service's status says of its last failure.
    pub fn failure(router: &Router, service: &str, field: &str) -> String {
        router.service(service)["lastFailure"][field].as_str().unwrap_or_default().to_owned()
    }
}

/// The router's requests that the fixture has seen.
pub fn requests(fixture: &Fixture) -> Vec<Logged> {
    fixture.requests().into_iter().filter(|r| r.agent != AGENT).collect()
}

/// How many of them were writes to a resource.
pub fn writes(requests: &[Logged], resource: &str) -> usize {
    let verbs = ["create", "update", "patch", "delete"];
    requests.iter().filter(|r| r.resource == resource && verbs.contains(&r.verb.as_str())).count()
}
