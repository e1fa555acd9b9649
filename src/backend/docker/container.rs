//! From a specification to a container's configuration.

use std::collections::{BTreeMap, HashMap};

use bollard::models::RestartPolicyNameEnum;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, ImageConfig, Mount, RestartPolicy};

use super::networks::Joined;
use crate::backend::ReplicaId;
use crate::backend::container::APP;
use crate::backend::container::{CAPABILITIES, Ground, SHARED_GROUP, environment, memory, start, workspace};
use crate::backend::script::{self, Shell};
use crate::config::settings::DockerSettings;
use crate::landscape::{Home, ServiceSpec, Step, Value, Workload};

/// Enough for every server that is not a fork bomb.
const PROCESSES: i64 = 4096;
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

/// What router.yaml says of images for Docker.
pub(super) fn ground(settings: &DockerSettings) -> Ground<'_> {
    Ground { key: "docker", base: settings.base.as_deref(), bases: &settings.bases, allow_root: settings.allow_root }
}

/// The configuration of one replica's container.
pub(super) fn replica(spec: &ServiceSpec, id: ReplicaId, plan: Plan<'_>) -> ContainerCreateBody {
    let replica = ("CS_REPLICA", Value::plain(id.ordinal.to_string()));
    let env = texts(environment(spec).into_iter().chain([replica]));
    let user = user(spec, plan.config);
    let (nano_cpus, memory) = (nano_cpus(spec.plan.cpu, plan.cores), memory(spec.plan.memory));
    let mut body = bare(plan, env);
    body.user = user;
    let start = start(spec);
    body.cmd = start.command;
    if let Some(entrypoint) = start.entrypoint {
        in_steps(&mut body, entrypoint);
    }
    body.working_dir = start.folder.map(str::to_owned);
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
    let replica = ("CS_REPLICA", Value::plain("0"));
    let mut body = bare(plan, texts(workspace(home).into_iter().chain([replica])));
    in_steps(&mut body, script::command(Shell::BashOrSh, steps, true));
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
            group_add: Some(vec![SHARED_GROUP.to_string()]),
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

fn in_steps(body: &mut ContainerCreateBody, entrypoint: Vec<String>) {
    // Set anew even where it equals the image's: an image's CMD would be appended otherwise.
    body.entrypoint = Some(entrypoint);
    body.cmd = Some(Vec::new());
    // What the script passes on; an image's STOPSIGNAL is meant for its own entry point.
    body.stop_signal = Some("SIGTERM".into());
}

/// `NAME=value`, the last value of a name wins.
fn texts<'a>(vars: impl Iterator<Item = (&'a str, Value)>) -> Vec<String> {
    let all: BTreeMap<&str, Value> = vars.collect();
    all.into_iter().map(|(name, value)| format!("{name}={}", value.text)).collect()
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
        let env = texts([("PORT", "3000"), ("A", "1"), ("PORT", "80")].map(|(n, v)| (n, Value::plain(v))).into_iter());
        assert_eq!(env, ["A=1", "PORT=80"]);
    }
}
