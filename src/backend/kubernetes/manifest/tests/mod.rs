//! Whole objects, as a cluster gets them.

mod landscapes;
mod refused;
mod secrets;
mod services;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::config::settings::{OnExit, Pull, Registry};
use crate::landscape::{Allowances, Context, Home, LandscapeSpec, Plan, Plans, TargetGuard, Vault, load};

const GRACE: Duration = Duration::from_millis(9_500);

fn settings() -> KubernetesSettings {
    KubernetesSettings {
        kubeconfig: None,
        context: None,
        namespace: None,
        instance: "landscape-router".into(),
        allow_from: Vec::new(),
        base: Some("registry.example/base:1".into()),
        bases: vec![("ubuntu-24.04".into(), "registry.example/ubuntu:24.04".into())],
        claim: Some("workspace-{id}".into()),
        image_pull_secrets: Vec::new(),
        pull: Pull::IfNotPresent,
        on_exit: OnExit::Leave,
        allow_root: false,
        registries: Vec::new(),
    }
}

fn place(settings: &KubernetesSettings) -> Place<'_> {
    Place { settings, namespace: "apps", owner: None }
}

/// The landscape 4711 of a ci.yml; the vault has PASS, the plan 8 is the larger one.
fn landscape(text: &str) -> LandscapeSpec {
    let plan = |id: &str, cpu, memory| Plan { id: id.into(), cpu, memory, max_replicas: 10 };
    let context = Context {
        home: &Arc::new(Home::new("4711", "7", "example.com", "/srv/shop".into())),
        env: &Default::default(),
        vault: &Vault::new([("PASS", "hunter2")]),
        plans: &Plans { by_id: [(8, plan("8", 2.5, 4 << 30))].into(), default: Some(plan("default", 1.0, 1 << 30)) },
        targets: &TargetGuard::new(Arc::new([]), [], None, []),
        allowances: &|_| Allowances { root: true, shares_ports: false },
    };
    let (spec, mistakes) = load(Arc::new("ci.yml".into()), text.as_bytes(), &context);
    spec.unwrap_or_else(|| panic!("{mistakes:?}"))
}

/// The service `web` of these lines.
fn web(lines: &str) -> ServiceSpec {
    let indented: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    let landscape = landscape(&format!("schemaVersion: v0.4\nrun:\n  web:\n{indented}"));
    (*landscape.services["web"]).clone()
}

fn deployed(spec: &ServiceSpec, settings: &KubernetesSettings) -> Value {
    json!(deployment(spec, place(settings), 2, false, GRACE).unwrap())
}

/// The container of a Deployment.
fn app(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]
}

/// Shows both, whole, where they differ.
#[track_caller]
fn same(found: &Value, expected: &Value) {
    if found != expected {
        let pretty = |value| serde_json::to_string_pretty(value).unwrap();
        panic!("found {}\nexpected {}", pretty(found), pretty(expected));
    }
}
