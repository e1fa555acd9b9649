//! What a pod of a service is.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, Lifecycle, LifecycleHandler,
    LocalObjectReference, PersistentVolumeClaimVolumeSource, PodDNSConfig, PodSecurityContext, PodSpec, Probe,
    ResourceRequirements, SeccompProfile, SecretKeySelector, SecurityContext, SleepAction, TCPSocketAction, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::expansion::literal;
use super::{Place, ground, names};
use crate::backend::container::{self, CAPABILITIES, SHARED_GROUP, Source};
use crate::backend::reference::{Reference, canonical};
use crate::config::settings::{KubernetesSettings, Pull};
use crate::landscape::{Health, Home, Plan, ServiceSpec, Value};

/// The container that runs the service; there may be others, which a mesh injected.
pub const APP_CONTAINER: &str = "app";
/// The volume of the shared file system.
const WORKSPACE: &str = "workspace";
/// From when a pod is told to go until its container hears of it. Whoever told it - a drained node, a person, a
/// router with newer files - every router's requests go elsewhere by then.
pub const PAUSE: Duration = Duration::from_secs(1);
/// The least that a container is promised, in thousandths of a core.
const LEAST_CPU: u64 = 10;

/// The pod of a replica; the error is the remedy, for people.
pub(super) fn replica(spec: &ServiceSpec, place: Place<'_>, grace: Duration) -> Result<PodSpec, String> {
    super::runnable(spec, place.settings)?;
    let image = ground(place.settings).image(spec)?;
    let start = container::start(spec);
    let container = Container {
        command: start.entrypoint.map(literals),
        args: start.command.map(literals),
        working_dir: start.folder.map(str::to_owned),
        env: Some(env(container::environment(spec), &names::workload(&spec.key))),
        ports: Some(spec.all_ports().into_iter().map(port).collect()),
        startup_probe: Some(Probe {
            period_seconds: Some(1),
            timeout_seconds: Some(2),
            // How long a start may take is the router's to say.
            failure_threshold: Some(i32::MAX),
            ..health(spec)
        }),
        readiness_probe: Some(Probe {
            period_seconds: Some(10),
            timeout_seconds: Some(2),
            failure_threshold: Some(2),
            ..health(spec)
        }),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: seconds(PAUSE) }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        resources: Some(resources(spec.plan.cpu, spec.plan.memory)),
        ..bare(&image.text, place.settings, spec.user, spec.group)
    };
    let mut pod = around(container, &spec.home, &container::sources(spec), place.settings);
    // With none at all the API forgets a pod before its node has ended it.
    pod.termination_grace_period_seconds = Some(seconds(PAUSE) + seconds(grace).max(1));
    Ok(pod)
}

/// A container that has an image, and no more rights than it needs.
pub(super) fn bare(image: &str, settings: &KubernetesSettings, user: Option<u32>, group: Option<u32>) -> Container {
    // Who is not root, and cannot become root, has no use for the others; so a strict namespace admits it.
    let kept = |c: &str| user.is_none_or(|u| u == 0) || c == "NET_BIND_SERVICE";
    Container {
        name: APP_CONTAINER.into(),
        image: Some(image.to_owned()),
        image_pull_policy: Some(pull_policy(settings.pull).into()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                add: Some(CAPABILITIES.into_iter().filter(|c| kept(c)).map(str::to_owned).collect()),
                drop: Some(vec!["ALL".into()]),
            }),
            run_as_user: user.map(i64::from),
            run_as_group: group.map(i64::from),
            run_as_non_root: user.filter(|u| *u != 0).map(|_| true),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The pod around a container.
pub(super) fn around(
    mut container: Container,
    home: &Home,
    sources: &[Source<'_>],
    settings: &KubernetesSettings,
) -> PodSpec {
    let claim = settings.claim.as_deref().filter(|_| !sources.is_empty());
    let secrets = pull_secrets(container.image.as_deref().unwrap_or_default(), &home.id, settings);
    container.volume_mounts = claim.map(|claim| sources.iter().map(|s| mount(s, claim, home)).collect());
    PodSpec {
        containers: vec![container],
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        // After those of its own namespace: `ws-server-4711-api` is found without its domain.
        dns_config: settings.names.as_ref().map(|names| PodDNSConfig {
            searches: Some(vec![format!("{}.svc.{}", names.namespace, names.cluster_domain)]),
            ..Default::default()
        }),
        image_pull_secrets: (!secrets.is_empty()).then_some(secrets),
        security_context: Some(PodSecurityContext {
            supplemental_groups: Some(vec![i64::from(SHARED_GROUP)]),
            // A volume that nobody wrote to yet is root's.
            fs_group: claim.map(|_| i64::from(SHARED_GROUP)),
            fs_group_change_policy: claim.map(|_| "OnRootMismatch".into()),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), ..Default::default() }),
            ..Default::default()
        }),
        volumes: claim.map(|claim| {
            vec![Volume {
                name: WORKSPACE.into(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: claim.replace("{id}", &home.id),
                    ..Default::default()
                }),
                ..Default::default()
            }]
        }),
        ..Default::default()
    }
}

/// Variables; those that are secret are read from the Secret called `secret`.
pub(super) fn env(all: BTreeMap<&str, Value>, secret: &str) -> Vec<EnvVar> {
    let var = |(name, value): (&str, Value)| EnvVar {
        name: name.to_owned(),
        value: (!value.secret).then(|| literal(&value.text)),
        value_from: value.secret.then(|| EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                key: names::secret_key(name),
                name: secret.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }),
    };
    all.into_iter().map(var).collect()
}

/// Requests are limits for memory, which nobody can lend; a tenth for cores, which others use meanwhile.
pub(super) fn resources(cpu: f64, memory: u64) -> ResourceRequirements {
    let memory = ("memory".to_owned(), bytes(container::memory(memory)));
    let cores = cpu.is_finite().then(|| ((cpu.max(0.0) * 1000.0).ceil() as u64).max(LEAST_CPU));
    let cpu = |milli: u64| ("cpu".to_owned(), milli_cores(milli));
    let request = cores.map_or(LEAST_CPU, |milli| (milli / 10).max(LEAST_CPU));
    ResourceRequirements {
        limits: Some(cores.map(cpu).into_iter().chain([memory.clone()]).collect()),
        requests: Some([cpu(request), memory].into()),
        ..Default::default()
    }
}

/// What suffices for each of several plans.
pub(super) fn largest<'a>(plans: impl Iterator<Item = &'a Plan>) -> Option<ResourceRequirements> {
    plans
        .map(|p| (p.cpu, p.memory))
        .reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)))
        .map(|(cpu, memory)| resources(cpu, memory))
}

pub(super) fn literals(texts: Vec<String>) -> Vec<String> {
    texts.iter().map(|text| literal(text)).collect()
}

/// Rounded up.
pub(super) fn seconds(time: Duration) -> i64 {
    let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    i64::try_from(whole).unwrap_or(i64::MAX)
}

/// What is asked. Kubernetes tells others (endpoints, people) by its own probes; the router waits for them only where
/// pods shall go, of which Kubernetes ends those first that are not ready.
fn health(spec: &ServiceSpec) -> Probe {
    let port = |n: u16| IntOrString::Int(n.into());
    let connect = |n: u16| Probe {
        tcp_socket: Some(TCPSocketAction { port: port(n), ..Default::default() }),
        ..Default::default()
    };
    match &spec.health {
        Health::Default => connect(spec.primary_port),
        Health::Tcp { port } => connect(*port),
        Health::Http { port: n, path, tls } => Probe {
            http_get: Some(HTTPGetAction {
                path: Some(path.clone()),
                port: port(*n),
                scheme: Some(if *tls { "HTTPS" } else { "HTTP" }.into()),
                ..Default::default()
            }),
            ..Default::default()
        },
    }
}

fn port(number: u16) -> ContainerPort {
    ContainerPort { container_port: number.into(), protocol: Some("TCP".into()), ..Default::default() }
}

/// A claim of one landscape holds its root; in one for all, each has a folder.
fn mount(source: &Source<'_>, claim: &str, home: &Home) -> VolumeMount {
    let folder = if claim.contains("{id}") { "" } else { &*home.id };
    let path = match (folder, source.path) {
        ("", path) | (path, "") => path.to_owned(),
        (folder, path) => format!("{folder}/{path}"),
    };
    VolumeMount {
        name: WORKSPACE.into(),
        mount_path: source.target.to_owned(),
        sub_path: (!path.is_empty()).then_some(path),
        ..Default::default()
    }
}

fn pull_secrets(image: &str, landscape: &str, settings: &KubernetesSettings) -> Vec<LocalObjectReference> {
    let registry = Reference::parse(image).registry;
    let own = settings.registries.iter().any(|(host, _)| canonical(host) == registry);
    let own = own.then(|| names::pull_secret(landscape));
    settings.image_pull_secrets.iter().cloned().chain(own).map(|name| LocalObjectReference { name }).collect()
}

fn pull_policy(pull: Pull) -> &'static str {
    match pull {
        Pull::IfNotPresent => "IfNotPresent",
        Pull::Always => "Always",
        Pull::Never => "Never",
    }
}

/// As Kubernetes itself writes it.
fn milli_cores(milli: u64) -> Quantity {
    Quantity(if milli.is_multiple_of(1000) { (milli / 1000).to_string() } else { format!("{milli}m") })
}

fn bytes(count: i64) -> Quantity {
    let units = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    let unit = units.into_iter().find(|(_, size)| count % size == 0);
    Quantity(unit.map_or_else(|| count.to_string(), |(name, size)| format!("{}{name}", count / size)))
}
