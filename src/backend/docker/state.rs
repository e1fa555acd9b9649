//! What a container is doing, as the engine tells it, and what its end means.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, HealthStatusEnum};
use bollard::query_parameters::InspectContainerOptions;

use super::clock;
use super::engine::Up;
use super::labels;
use super::trouble::{CALL, Trouble, judge, status, within};
use crate::backend::script;
use crate::backend::{Addresses, Failure, FailureKind};
use crate::landscape::{ServiceSpec, Workload};

/// An end so soon after the start is told as a failed start.
const SOON: Duration = Duration::from_secs(10);

/// One look at a container.
#[derive(Debug)]
pub(super) enum Look {
    /// There is none of that name.
    Missing,
    /// Made and never started.
    Made,
    /// On its way out.
    Leaving,
    /// Up.
    Running(Addresses, Option<bool>),
    /// Frozen.
    Paused(Addresses),
    /// Over.
    Ended(Box<ContainerState>),
}

/// Looks at the container called `name`.
pub(super) async fn look(up: &Up, name: &str) -> Result<Look, Trouble> {
    match within(CALL, up.docker.inspect_container(name, None::<InspectContainerOptions>)).await {
        Ok(found) => Ok(understand(found)),
        Err(e) if status(&e) == Some(404) => Ok(Look::Missing),
        Err(e) => Err(judge("look at the container", &e)),
    }
}

pub(super) fn understand(found: ContainerInspectResponse) -> Look {
    let ports = found.config.as_ref().and_then(|c| c.labels.as_ref()).and_then(labels::read).map(|l| l.ports);
    let networks = found.network_settings.and_then(|n| n.networks).unwrap_or_default();
    let address: Option<IpAddr> = networks.values().find_map(|n| n.ip_address.as_deref()?.parse().ok());
    let addresses = || {
        let each = address.into_iter().flat_map(|a| ports.iter().flatten().map(move |p| (*p, SocketAddr::new(a, *p))));
        Addresses::new(each.collect())
    };
    let state = found.state.unwrap_or_default();
    match state.status {
        Some(ContainerStateStatusEnum::RUNNING) => {
            let health = state.health.as_ref().and_then(|h| h.status).and_then(|h| match h {
                HealthStatusEnum::HEALTHY => Some(true),
                HealthStatusEnum::UNHEALTHY => Some(false),
                _ => None,
            });
            Look::Running(addresses(), health)
        }
        Some(ContainerStateStatusEnum::PAUSED) => Look::Paused(addresses()),
        Some(ContainerStateStatusEnum::CREATED) => Look::Made,
        Some(ContainerStateStatusEnum::REMOVING | ContainerStateStatusEnum::STOPPING) => Look::Leaving,
        _ => Look::Ended(Box::new(state)),
    }
}

/// What an end that nobody asked for means. `lines` are its last ones.
pub(super) fn failure(state: &ContainerState, spec: Option<&ServiceSpec>, lines: Vec<String>) -> Failure {
    let code = state.exit_code.unwrap_or(-1);
    let started = state.started_at.as_deref().and_then(clock::parse);
    let finished = state.finished_at.as_deref().and_then(clock::parse);
    // The engine notes the start after the fact: of one that exits at once, the end may be the earlier.
    let ran = started.zip(finished).map(|(s, f)| f.duration_since(s).unwrap_or_default());
    let after = match ran {
        Some(ran) if ran < Duration::from_millis(1) => " right after its start".into(),
        Some(ran) => format!(" after {}", span(ran)),
        None => String::new(),
    };
    let step = spec.and_then(|spec| match &spec.workload {
        Workload::Reactive { steps, .. } | Workload::CustomBase { steps, .. } => {
            script::failed(&lines).map(|n| format!(" in {}", script::called(steps, n)))
        }
        _ => None,
    });
    let said = state.error.as_deref().filter(|e| !e.is_empty()).map(|e| format!(": {e}")).unwrap_or_default();
    if state.oom_killed == Some(true) {
        let limit = spec.map(|s| {
            format!(" (the plan `{}` allows {} MiB: give the service a larger one)", s.plan.id, s.plan.memory >> 20)
        });
        return Failure {
            kind: FailureKind::OutOfMemory,
            public: "The service ran out of memory.".into(),
            detail: format!("killed for its memory{after}{}", limit.unwrap_or_default()),
            log_tail: lines,
            permanent: false,
        };
    }
    let detail = format!("{}{after}{}{said}", exit(code), step.unwrap_or_default());
    Failure { detail, log_tail: lines, ..exited(code, ran) }
}

/// What an end means of which only the exit status and the time it ran are known.
pub(super) fn exited(code: i64, ran: Option<Duration>) -> Failure {
    let soon = ran.is_none_or(|r| r < SOON);
    Failure {
        kind: FailureKind::Exited,
        public: if soon { "The service exited right after its start.".into() } else { "The service exited.".into() },
        detail: exit(code),
        log_tail: Vec::new(),
        permanent: false,
    }
}

/// `exit status 3`, and which signal hides behind a number above 128.
pub(super) fn exit(code: i64) -> String {
    let signal = match code {
        129 => "SIGHUP",
        130 => "SIGINT",
        131 => "SIGQUIT",
        132 => "SIGILL",
        134 => "SIGABRT",
        135 => "SIGBUS",
        136 => "SIGFPE",
        137 => "SIGKILL",
        139 => "SIGSEGV",
        141 => "SIGPIPE",
        143 => "SIGTERM",
        126 => return "exit status 126 (found, but not executable)".into(),
        127 => return "exit status 127 (command not found)".into(),
        other => return format!("exit status {other}"),
    };
    format!("exit status {code} ({signal})")
}

/// `12 ms`, `3.4 s`, `5 min`.
pub(super) fn span(time: Duration) -> String {
    match time.as_millis() {
        ms @ 0..1000 => format!("{ms} ms"),
        1000..120_000 => format!("{:.1} s", time.as_secs_f64()),
        ms => format!("{} min", ms / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: i64, oom: bool) -> ContainerState {
        ContainerState {
            exit_code: Some(code),
            oom_killed: Some(oom),
            started_at: Some("2024-01-01T00:00:00Z".into()),
            finished_at: Some("2024-01-01T00:00:00.012Z".into()),
            ..Default::default()
        }
    }

    #[test]
    fn an_end_says_how_and_when() {
        let f = failure(&ended(3, false), None, vec!["boom".into()]);
        assert_eq!((f.kind, f.detail.as_str()), (FailureKind::Exited, "exit status 3 after 12 ms"));
        assert_eq!(f.log_tail, ["boom"]);
        assert_eq!(failure(&ended(137, true), None, vec![]).kind, FailureKind::OutOfMemory);
    }

    #[test]
    fn an_end_before_its_start_is_right_after_it() {
        let state = ContainerState { started_at: Some("2024-01-01T00:00:01Z".into()), ..ended(3, false) };
        assert_eq!(failure(&state, None, vec![]).detail, "exit status 3 right after its start");
        let state = ContainerState { started_at: Some("2024-01-01T00:00:00.0118Z".into()), ..ended(3, false) };
        assert_eq!(failure(&state, None, vec![]).detail, "exit status 3 right after its start");
    }

    #[test]
    fn spans_for_people() {
        assert_eq!(span(Duration::from_millis(999)), "999 ms");
        assert_eq!(span(Duration::from_millis(3400)), "3.4 s");
        assert_eq!(span(Duration::from_secs(301)), "5 min");
    }
}
