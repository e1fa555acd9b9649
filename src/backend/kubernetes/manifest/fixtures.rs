//! What tests describe objects of.

use std::sync::Arc;

use crate::config::settings::{KubernetesSettings, OnExit, Pull};
use crate::landscape::{Allowances, Context, Home, LandscapeSpec, Plan, Plans, TargetGuard, Vault, load};

/// Everything that a service can need.
pub(crate) fn settings() -> KubernetesSettings {
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

/// The landscape 4711 of a ci.yml; the vault has PASS, the plan 8 is the larger one.
pub(crate) fn landscape(text: &str) -> LandscapeSpec {
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
