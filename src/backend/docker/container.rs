//! From a specification to a container's configuration.

use std::collections::HashMap;

use bollard::models::RestartPolicyNameEnum;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, ImageConfig, Mount, RestartPolicy};

use super::mounts::Source;
use super::networks::Joined;
use super::script::{self, Shell};
use crate::backend::ReplicaId;
use crate::config::settings::DockerSettings;
use crate::landscape::{Home, ServiceSpec, Step, Value, Workload};

/// Where a Reactive finds the landscape's root.
pub(super) const APP: &str = "/home/user/app";
/// The group that owns the shared file system; every container is in it.
const SHARED_GROUP: &str = "1010";
/// What is left of the capabilities: enough for an image that starts as root, prepares its files and
/// becomes someone else.
const CAPABILITIES: [&str; 7] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "KILL", "NET_BIND_SERVICE"];
/// Enough for every server that is not a fork bomb.
const PROCESSES: i64 = 4096;
/// The least memory that engines accept.
const LEAST_MEMORY: u64 = 6 * 1024 * 1024;
/// What a container's log may take on disk: two files of this size.
const LOG_SIZE: &str = "8m";

/// What a container is made from, besides its mounts and its network.
pub(super) struct Plan<'a> {
    pub(super) image: &'a Value,
    /// What the image says of itself.
    pub(super) config: &'a ImageConfig,
    pub(super) labels: HashMap<String, String>,
    pub(super) mounts: Vec<Mount>,
    pub(super) network: &'a Joined,
    /// Cores of the engine.
    pub(super) cores: f64,
    /// Whether the engine has an init to offer.
    pub(super) init: bool,
}

/// The image a service runs in; the error is the remedy, for people.
pub(super) fn image<'a>(
    spec: &'a ServiceSpec,
    settings: &DockerSettings,
) -> Result<std::borrow::Cow<'a, Value>, String> {
    use std::borrow::Cow;
    match &spec.workload {
        Workload::Container { image, .. } | Workload::CustomBase { image, .. } => Ok(Cow::Borrowed(image)),
        Workload::Reactive { base: Some(name), .. } => Ok(Cow::Owned(named_base(name, settings))),
        Workload::Reactive { base: None, .. } => base(settings).map(Cow::Owned),
        Workload::Headless => Err("a headless service has nothing to run".into()),
        Workload::Managed { provider } => Err(format!("the managed service `{provider}` is not provided here")),
    }
}

/// The image that runs Reactives, `prepare` and `test`.
pub(super) fn base(settings: &DockerSettings) -> Result<Value, String> {
    settings.base.as_ref().map(|image| Value::plain(image.as_str())).ok_or_else(|| {
        "no base image for services with `steps`: set `docker.base` in router.yaml, or `backend: process`".into()
    })
}

/// One of `docker.bases`, or where they do not list it an image of that name.
fn named_base(name: &str, settings: &DockerSettings) -> Value {
    let listed = settings.bases.iter().find(|(listed, _)| listed == name).map(|(_, image)| image.as_str());
    Value::plain(listed.unwrap_or(name))
}

/// Whether the specification can run; the error is the remedy, for people.
pub(super) fn runnable(spec: &ServiceSpec, settings: &DockerSettings) -> Result<(), String> {
    image(spec, settings)?;
    if spec.user == Some(0) && !settings.allow_root {
        return Err("`runAsUser: 0` needs the operator's consent: `docker.allowRoot: true` in router.yaml".into());
    }
    Ok(())
}

/// What of the shared file system the service gets to see. A mount of its own may take the root's place.
pub(super) fn sources(spec: &ServiceSpec) -> Vec<Source<'_>> {
    let replaced = spec.mounts.iter().any(|m| m.mount_path == APP);
    let whole = matches!(spec.workload, Workload::Reactive { .. }) && !replaced;
    let whole = whole.then_some(Source { path: "", target: APP });
    let mounts = spec.mounts.iter().map(|m| Source { path: &m.workspace_path, target: &m.mount_path });
    whole.into_iter().chain(mounts).collect()
}

/// The configuration of one replica's container.
pub(super) fn replica(spec: &ServiceSpec, id: ReplicaId, plan: Plan<'_>) -> ContainerCreateBody {
    let reactive = matches!(spec.workload, Workload::Reactive { .. });
    // Images bring a PORT of their own; a Reactive has ours, unless its env says otherwise.
    let port = reactive.then(|| ("PORT", spec.primary_port.to_string()));
    let own = spec.env.iter().map(|(name, value)| (name.as_str(), value.text.to_string()));
    let server = ("CS_SERVER", spec.key.service.to_string());
    let env = merged(port.into_iter().chain(own).chain(workspace_env(&spec.home, id.ordinal)).chain([server]));
    let user = user(spec, plan.config);
    let (nano_cpus, memory) = (nano_cpus(spec.plan.cpu, plan.cores), memory(spec.plan.memory));
    let mut body = bare(plan, env);
    body.user = user;
    match &spec.workload {
        Workload::Container { command, .. } => body.cmd = command.clone(),
        Workload::Reactive { steps, .. } => in_steps(&mut body, Shell::BashOrSh, steps, false),
        Workload::CustomBase { steps, .. } => in_steps(&mut body, Shell::Sh, steps, false),
        Workload::Headless | Workload::Managed { .. } => {}
    }
    if reactive {
        body.working_dir = Some(APP.into());
    }
    if let Some(host) = &mut body.host_config {
        if matches!(spec.workload, Workload::Container { .. }) {
            // An image's entry point may insist on being the first process, as with plain `docker run`.
            host.init = Some(false);
        }
        host.nano_cpus = Some(nano_cpus);
        host.memory = Some(memory);
        // Equal to the memory: no swap on top.
        host.memory_swap = Some(memory);
    }
    body
}

/// The configuration of the container that runs `prepare` or `test`.
pub(super) fn job(home: &Home, steps: &[Step], plan: Plan<'_>) -> ContainerCreateBody {
    // The main replica is where these run.
    let mut body = bare(plan, merged(workspace_env(home, 0).into_iter()));
    in_steps(&mut body, Shell::BashOrSh, steps, true);
    body.working_dir = Some(APP.into());
    body
}

fn bare(plan: Plan<'_>, env: Vec<String>) -> ContainerCreateBody {
    let log = [("max-size", LOG_SIZE), ("max-file", "2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    ContainerCreateBody {
        image: Some(plan.image.text.to_string()),
        env: Some(env),
        labels: Some(plan.labels),
        host_config: Some(HostConfig {
            network_mode: Some(plan.network.id.clone()),
            dns: plan.network.resolver.map(|resolver| vec![resolver.to_string()]),
            // A service's short name is to be asked for as it is.
            dns_search: plan.network.resolver.map(|_| vec![".".into()]),
            restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), ..Default::default() }),
            mounts: Some(plan.mounts),
            group_add: Some(vec![SHARED_GROUP.into()]),
            cap_drop: Some(vec!["ALL".into()]),
            cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
            security_opt: Some(vec!["no-new-privileges:true".into()]),
            pids_limit: Some(PROCESSES),
            init: Some(plan.init),
            log_config: Some(HostConfigLogConfig { typ: Some("json-file".into()), config: Some(log.into()) }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn in_steps(body: &mut ContainerCreateBody, shell: Shell, steps: &[Step], announce: bool) {
    // Set anew even where it equals the image's: an image's CMD would be appended otherwise.
    body.entrypoint = Some(script::command(shell, steps, announce));
    body.cmd = Some(Vec::new());
    // What the script passes on; an image's STOPSIGNAL is meant for its own entry point.
    body.stop_signal = Some("SIGTERM".into());
}

/// What every container is told of where it runs; ci.yml cannot say otherwise.
fn workspace_env(home: &Home, ordinal: u32) -> [(&'static str, String); 4] {
    [
        ("CS_REPLICA", ordinal.to_string()),
        ("WORKSPACE_ID", home.id.to_string()),
        ("TEAM_ID", home.team.to_string()),
        ("WORKSPACE_DEV_DOMAIN", home.dev_domain.to_string()),
    ]
}

/// `NAME=value`, the last value of a name wins.
fn merged<'a>(vars: impl Iterator<Item = (&'a str, String)>) -> Vec<String> {
    let all: std::collections::BTreeMap<&str, String> = vars.collect();
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// `user[:group]` where one of both is asked for; `None` leaves the image's own.
fn user(spec: &ServiceSpec, image: &ImageConfig) -> Option<String> {
    match (spec.user, spec.group) {
        (None, None) => None,
        (Some(user), None) => Some(user.to_string()),
        (Some(user), Some(group)) => Some(format!("{user}:{group}")),
        (None, Some(group)) => {
            let own = image.user.as_deref().and_then(|u| u.split(':').next()).filter(|u| !u.is_empty());
            Some(format!("{}:{group}", own.unwrap_or("0")))
        }
    }
}

/// Engines refuse more cores than they have, and less than a hundredth.
fn nano_cpus(wanted: f64, cores: f64) -> i64 {
    let wanted = if wanted.is_finite() { wanted } else { cores };
    (wanted.min(cores).max(0.01) * 1e9) as i64
}

fn memory(wanted: u64) -> i64 {
    i64::try_from(wanted.max(LEAST_MEMORY)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_stay_within_what_engines_accept() {
        assert_eq!(nano_cpus(8.0, 2.0), 2_000_000_000);
        assert_eq!(nano_cpus(0.0, 2.0), 10_000_000);
        assert_eq!(nano_cpus(0.5, 2.0), 500_000_000);
        assert_eq!(nano_cpus(f64::INFINITY, 2.0), 2_000_000_000);
        assert_eq!(memory(1), 6 * 1024 * 1024);
        assert_eq!(memory(u64::MAX), i64::MAX);
    }

    #[test]
    fn a_later_value_wins() {
        let env = merged([("PORT", "3000".to_owned()), ("A", "1".to_owned()), ("PORT", "80".to_owned())].into_iter());
        assert_eq!(env, ["A=1", "PORT=80"]);
    }
}
