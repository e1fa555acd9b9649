//! What tests of the life cycle run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::{Failure, FailureKind};
use crate::config::settings::{BackendKind, HalfClosed, Mode, Policy, ServiceHold, Sticky, WakeRule, WhenIdle};
use crate::landscape::{
    Health, Home, LandscapeSpec, PathRule, PathTarget, Plan, Port, ServiceKey, ServiceSpec, Step, Value, Workload,
};

pub fn home() -> Arc<Home> {
    Arc::new(Home::new("4711", "7", "localhost", PathBuf::from("/nowhere")))
}

/// A routed service; `version` makes a difference that asks for other replicas.
pub fn spec(name: &str, replicas: u32, version: u32) -> ServiceSpec {
    ServiceSpec {
        key: ServiceKey::new("4711", name),
        home: home(),
        workload: Workload::Reactive { steps: vec![Step { name: None, command: "serve".to_owned() }], base: None },
        plan: Plan { id: "default".into(), cpu: 1.0, memory: 1 << 30, max_replicas: 10 },
        replicas,
        health: Health::Tcp { port: 3000 },
        ports: vec![Port { number: 3000, public: false }],
        primary_port: 3000,
        paths: vec![PathRule { prefix: "/".to_owned(), strip: false, to: PathTarget::Port(3000) }],
        env: BTreeMap::from([("VERSION".to_owned(), Value::plain(version.to_string()))]),
        user: None,
        group: None,
        mounts: Vec::new(),
    }
}

pub fn policy() -> Policy {
    Policy {
        mode: Mode::OffWhenUnused,
        idle_after: Duration::from_secs(60),
        when_idle: WhenIdle::Stop,
        start_timeout: Duration::from_secs(300),
        stop_grace: Duration::from_secs(10),
        drain_timeout: Duration::from_secs(30),
        backend: BackendKind::Process,
        depends_on: Vec::new(),
        wake: WakeRule::WithLandscape,
        sticky: Sticky::Off,
        hold: ServiceHold {
            max_requests: 1000,
            max_bytes: 1 << 20,
            timeout: Duration::from_secs(60),
            page_after: Duration::from_secs(1),
            release: 256,
            half_closed: HalfClosed::Leave,
        },
        traffic: Arc::from([]),
        idle_bytes: None,
        attach: None,
        protocols: Vec::new(),
    }
}

pub fn landscape(prepare: &[&str]) -> Arc<LandscapeSpec> {
    Arc::new(LandscapeSpec {
        home: home(),
        prepare: prepare.iter().map(|c| Step { name: None, command: (*c).to_owned() }).collect(),
        test: Vec::new(),
        services: Default::default(),
    })
}

pub fn exited() -> Failure {
    Failure {
        kind: FailureKind::Exited,
        public: "The service exited right after its start.".to_owned(),
        detail: "exit status 3".to_owned(),
        log_tail: vec!["no such file".to_owned()],
        permanent: false,
    }
}
