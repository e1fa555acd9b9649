//! Why a service is awake, and when it will sleep: as data and as sentences.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::{Life, PrivateView, ServiceView};
use crate::lifecycle::{ServiceStatus, StateName, Why};
use crate::observe::calls::{CallerView, NOBODY};

/// The answer to `why`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WhyView {
    landscape: Arc<str>,
    service: Arc<str>,
    /// Absent where nothing runs for it.
    state: Option<StateName>,
    paused: bool,
    why: Vec<Why>,
    seconds_until_sleep: Option<f64>,
    private: Option<PrivateView>,
    callers: Vec<CallerView>,
    /// For people, a sentence each.
    sentences: Vec<String>,
}

impl WhyView {
    pub(super) fn of(view: ServiceView) -> Self {
        let ServiceView { private, callers, .. } = view;
        let found = found(private.as_ref(), &callers, super::stream::millis(SystemTime::now()));
        let mut why = match view.life {
            Life::Runs(status) => Self {
                private,
                callers,
                sentences: sentences(&status),
                landscape: status.landscape,
                service: status.service,
                state: Some(status.state),
                paused: status.paused,
                seconds_until_sleep: status.seconds_until_sleep,
                why: status.why,
            },
            Life::Nothing { landscape, service, .. } => {
                let note = view.note.unwrap_or_else(|| "there is nothing to run".to_owned());
                Self {
                    landscape,
                    service,
                    state: None,
                    paused: false,
                    why: Vec::new(),
                    seconds_until_sleep: None,
                    private,
                    callers,
                    sentences: vec![format!("Nothing runs for it: {note}.")],
                }
            }
        };
        why.sentences.extend(found);
        why
    }
}

/// How other services reach it, and which ones did.
fn found(private: Option<&PrivateView>, callers: &[CallerView], now: u64) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(PrivateView { address, names, ports }) = private {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let name = names.first().map_or_else(|| address.to_string(), |name| format!("{name} ({address})"));
        let word = if ports.len() == 1 { "port" } else { "ports" };
        all.push(format!("Other services reach it as {name} at {word} {}.", ports.join(", ")));
    }
    all.extend(callers.iter().map(|c| call(c, now)));
    all
}

fn call(c: &CallerView, now: u64) -> String {
    let who = if &*c.service == NOBODY { "What is no service of its landscape" } else { &c.service };
    let ago = c.last_unix_ms.map(|at| span(now.saturating_sub(at) as f64 / 1000.0));
    let count = |n: u64, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
    let requests = if c.requests == 0 { String::new() } else { format!(", {}", count(c.requests, "request")) };
    let ago = ago.map(|ago| format!(" {ago} ago")).unwrap_or_default();
    format!("{who} called it{ago}: {}{requests}.", count(c.connections, "connection"))
}

fn sentences(s: &ServiceStatus) -> Vec<String> {
    let mut all = vec![state(s)];
    all.extend(s.why.iter().map(|why| reason(why, s)));
    if let Some(replicas) = s.outside_replicas {
        all.push(format!("It is scaled to {replicas} from outside."));
    }
    match s.seconds_until_sleep {
        Some(secs) => all.push(format!("It will be switched off in {} if nobody uses it.", span(secs))),
        None if s.mode == "always-on" => all.push("It is never switched off for idleness.".into()),
        None if s.state == StateName::Ready && !s.why.is_empty() => {
            all.push("It will not be switched off while that is so.".into());
        }
        None => {}
    }
    if let Some(unknown) = &s.unknown {
        all.push(format!("Its engine does not answer, so this may be out of date: {unknown}"));
    }
    all
}

fn state(s: &ServiceStatus) -> String {
    let held = match s.held {
        0 => String::new(),
        1 => "; 1 request waits".into(),
        n => format!("; {n} requests wait"),
    };
    match s.state {
        _ if s.not_runnable.is_some() => {
            format!("It cannot run here: {}", s.not_runnable.as_deref().unwrap_or_default())
        }
        StateName::Off if s.paused => "It sleeps, its replicas frozen in memory; a request wakes it.".into(),
        StateName::Off => "It is off; a request wakes it.".into(),
        StateName::Preparing => format!("Its landscape is being prepared{held}."),
        StateName::Starting => format!("It is starting{held}."),
        StateName::Ready => "It is awake.".into(),
        StateName::Draining => "It is about to be switched off: its last requests go on.".into(),
        StateName::Stopping => format!("It is being switched off{held}."),
        StateName::Failed => match &s.last_failure {
            Some(f) => {
                let retry = f.retry_in_ms.filter(|ms| *ms > 0);
                let when = retry.map_or_else(
                    || "at the next request".to_owned(),
                    |ms| format!("in {} at the earliest", span(ms as f64 / 1000.0)),
                );
                format!("It failed: {}. It is tried again {when}.", f.failure.detail)
            }
            None => "It failed.".into(),
        },
    }
}

fn reason(why: &Why, s: &ServiceStatus) -> String {
    match why {
        Why::Demand => "Requests wait for it.".into(),
        Why::Use => match s.last_use_ms {
            Some(ms) => format!("It was used {} ago.", span(ms as f64 / 1000.0)),
            None => "It was woken a while ago and is given time to be used.".into(),
        },
        Why::InFlight { count: 1 } => "1 request or open stream is in flight.".into(),
        Why::InFlight { count } => format!("{count} requests or open streams are in flight."),
        Why::AlwaysOn => "Its mode is always-on.".into(),
        Why::Pinned => "It is pinned; unpin lets it sleep again.".into(),
        Why::Operator => "An operator woke it.".into(),
        Why::Outside => "It was woken from outside: somebody set the number of its replicas.".into(),
        Why::Landscape => "A routed service of its landscape is awake.".into(),
        Why::NeededBy { services } => format!("Services that depend on it are awake: {}.", services.join(", ")),
    }
}

/// `12 s`, `3 min 20 s`, `2 h 5 min`.
fn span(secs: f64) -> String {
    let whole = secs.max(0.0).ceil() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, 0) => format!("{m} min"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, 0, _) => format!("{h} h"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::landscape::ServiceKey;
    use crate::lifecycle::Service;

    fn status() -> ServiceStatus {
        Service::new(ServiceKey::new("4711", "web"), Default::default()).status()
    }

    #[test]
    fn an_awake_service_says_why_and_until_when() {
        let s = ServiceStatus {
            state: StateName::Ready,
            why: vec![Why::Use],
            last_use_ms: Some(61_000),
            seconds_until_sleep: Some(3540.2),
            ..status()
        };
        assert_eq!(
            sentences(&s),
            ["It is awake.", "It was used 1 min 1 s ago.", "It will be switched off in 59 min 1 s if nobody uses it."]
        );
        let outside = ServiceStatus { why: vec![Why::Outside], outside_replicas: Some(5), ..s.clone() };
        assert_eq!(
            sentences(&outside)[1..3],
            ["It was woken from outside: somebody set the number of its replicas.", "It is scaled to 5 from outside."]
        );
        let pinned = ServiceStatus { why: vec![Why::Pinned], seconds_until_sleep: None, ..s };
        assert_eq!(sentences(&pinned)[2], "It will not be switched off while that is so.");
    }

    #[test]
    fn a_sleeping_or_starting_one_says_so() {
        assert_eq!(sentences(&status()), ["It is off; a request wakes it."]);
        let starting = ServiceStatus { state: StateName::Starting, held: 2, why: vec![Why::Demand], ..status() };
        assert_eq!(sentences(&starting), ["It is starting; 2 requests wait.", "Requests wait for it."]);
    }

    #[test]
    fn who_called_is_told_and_by_which_name() {
        let address = std::net::Ipv4Addr::new(10, 212, 0, 7);
        let view = |ports| PrivateView { address, names: vec!["api".into(), "ws-server-4711-api".into()], ports };
        let caller = |service: &str, connections, requests| CallerView {
            service: service.into(),
            connections,
            requests,
            last_unix_ms: Some(60_000),
        };
        assert_eq!(
            found(Some(&view(vec![3000])), &[caller("-", 1, 0), caller("web", 2, 40)], 72_000),
            [
                "Other services reach it as api (10.212.0.7) at port 3000.",
                "What is no service of its landscape called it 12 s ago: 1 connection.",
                "web called it 12 s ago: 2 connections, 40 requests.",
            ]
        );
        let two = &found(Some(&view(vec![80, 3000])), &[], 0)[0];
        assert!(two.ends_with("at ports 80, 3000."), "{two}");
        let nameless = PrivateView { names: Vec::new(), ..view(vec![3000]) };
        assert_eq!(found(Some(&nameless), &[], 0), ["Other services reach it as 10.212.0.7 at port 3000."]);
        assert!(found(None, &[], 0).is_empty());
    }

    #[test]
    fn spans_are_short() {
        let all = [0.0, 0.2, 59.5, 120.0, 7200.0, 7320.0].map(span);
        assert_eq!(all, ["0 s", "1 s", "1 min", "2 min", "2 h", "2 h 2 min"]);
    }
}
