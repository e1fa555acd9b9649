//! What router.yaml says about Kubernetes, and about services that are to run there.

use std::collections::HashMap;

use super::checks::Checks;
use super::defaults as d;
use super::model;
use super::policy::Layers;
use super::settings::{AttachKind, BackendKind, KubernetesSettings, LandscapeSettings, Registry};
use super::validate::{bases, networks, on_exit, pull};
use crate::landscape::LandscapeSpec;
use crate::yaml::field::{self, quote};

/// The longest name of a namespace, and the longest value of a label.
const LONGEST: usize = 63;

/// The `kubernetes` block, its names checked.
pub(super) fn settings(
    given: &model::Kubernetes,
    registries: Vec<(String, Registry)>,
    c: &mut Checks<'_>,
) -> KubernetesSettings {
    if let Some(name) = &given.namespace {
        namespace("kubernetes.namespace", name, c);
    }
    if let Some(claim) = &given.claim {
        object("kubernetes.claim", &claim.replace("{id}", "id"), claim, c);
    }
    for (i, name) in given.image_pull_secrets.iter().enumerate() {
        object(&field::index("kubernetes.imagePullSecrets", i), name, name, c);
    }
    KubernetesSettings {
        kubeconfig: given.kubeconfig.as_deref().map(|path| c.resolve(path)),
        context: given.context.clone(),
        namespace: given.namespace.clone(),
        instance: instance(given.instance.as_deref(), c),
        allow_from: networks(&given.allow_from),
        base: given.base.clone(),
        bases: bases("kubernetes.bases", &given.bases, c),
        claim: given.claim.clone(),
        image_pull_secrets: given.image_pull_secrets.clone(),
        pull: pull(given.pull),
        on_exit: on_exit(given.on_exit),
        allow_root: given.allow_root,
        registries,
    }
}

/// Tells services that are attached and run elsewhere, or nowhere, and pauses that no cluster knows.
pub(super) fn relations(spec: &LandscapeSpec, layers: Layers<'_>, at: &str, c: &mut Checks<'_>) {
    for service in spec.services.values() {
        let name = &*service.key.service;
        let path = field::key(&format!("{at}.services"), name);
        let own = layers.landscape.services.get(name);
        let is_here = layers.backend(name) == BackendKind::Kubernetes;
        if let Some(attach) = own.and_then(|own| own.attach.as_ref()) {
            attached(attach, &format!("{path}.attach"), c);
            if !service.runs() {
                c.key_error(
                    &format!("{path}.attach"),
                    format!("{} runs nothing that a workload could stand for", quote(name)),
                )
                .help("remove `attach`");
            } else if !is_here {
                c.key_error(&format!("{path}.attach"), format!("{} does not run on Kubernetes", quote(name)))
                    .help("add `backend: kubernetes` to the service, or remove `attach`");
            }
        }
        if !is_here || !service.runs() {
            continue;
        }
        let (landscape, router) = (&layers.landscape.defaults, &layers.router.defaults);
        let told = "pods cannot be paused: what runs on Kubernetes is stopped";
        if let Some(own) = own.and_then(|own| own.when_idle.as_ref()) {
            if own.pauses() {
                c.error(&format!("{path}.whenIdle"), "pods cannot be paused").help("write `whenIdle: stop`");
            }
        } else if let Some(given) = &landscape.when_idle {
            if given.pauses() {
                once(&format!("{at}.defaults.whenIdle"), told, c);
            }
        } else if router.when_idle.as_ref().is_some_and(model::WhenIdle::pauses) {
            once("defaults.whenIdle", told, c);
        }
    }
}

/// Tells workloads that two services are attached to: what one of them switches off, the other is served by.
pub(super) fn attached_twice(landscapes: &[LandscapeSettings], settings: &KubernetesSettings, c: &mut Checks<'_>) {
    let mut known: HashMap<(AttachKind, &str, Option<&str>), String> = HashMap::new();
    for (i, landscape) in landscapes.iter().enumerate() {
        for (key, policy) in &landscape.policies {
            let Some(attach) = &policy.attach else { continue };
            let namespace = attach.namespace.as_deref().or(settings.namespace.as_deref());
            let workload = (attach.kind, attach.name.as_str(), namespace);
            if let Some(other) = known.get(&workload) {
                let path = format!("{}.attach", field::key(&format!("landscapes[{i}].services"), &key.service));
                c.error(&path, format!("{} is attached to it already", quote(other)))
                    .help("each service needs a workload of its own");
                continue;
            }
            known.insert(workload, key.to_string());
        }
    }
}

fn once(path: &str, told: &str, c: &mut Checks<'_>) {
    if !c.diagnostics.mistakes().iter().any(|m| m.field == path && m.message == told) {
        c.warning(path, told).help("say `whenIdle: stop` where they are configured");
    }
}

fn attached(attach: &model::Attach, path: &str, c: &mut Checks<'_>) {
    if attach.deployment.is_some() == attach.stateful_set.is_some() {
        c.error(path, "expected one of `deployment` and `statefulSet`")
            .help("such as `attach: { deployment: shop-api }`");
    }
    for (key, name) in [("deployment", &attach.deployment), ("statefulSet", &attach.stateful_set)] {
        if let Some(name) = name {
            object(&format!("{path}.{key}"), name, name, c);
        }
    }
    if let Some(name) = &attach.namespace {
        namespace(&format!("{path}.namespace"), name, c);
    }
}

fn namespace(path: &str, name: &str, c: &mut Checks<'_>) {
    if !is_label(name) {
        c.error(path, format!("expected the name of a namespace, found {}", quote(name)))
            .help("lower-case letters, digits and `-`, at most 63");
    }
}

/// `name` is what objects would be called, `given` what was written.
fn object(path: &str, name: &str, given: &str, c: &mut Checks<'_>) {
    if name.len() > 253 || !name.split('.').all(is_label) {
        c.error(path, format!("expected the name of a Kubernetes object, found {}", quote(given)))
            .help("lower-case letters, digits, `-` and `.`");
    }
}

fn instance(given: Option<&str>, c: &mut Checks<'_>) -> String {
    let name = given.unwrap_or(d::INSTANCE);
    if !is_label_value(name) {
        c.error("kubernetes.instance", format!("expected the value of a Kubernetes label, found {}", quote(name)))
            .help("letters, digits, `-`, `_` and `.`, at most 63, a letter or digit first and last");
    }
    name.to_owned()
}

/// Whether a label can have it; an empty one would tell nothing apart.
fn is_label_value(text: &str) -> bool {
    let ends_well = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= LONGEST
        && ends_well(text.chars().next())
        && ends_well(text.chars().next_back())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A DNS label (RFC 1123).
fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
