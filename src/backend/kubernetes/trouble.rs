//! What can go wrong in a cluster, and what is told of it: to clients no internals, to operators the
//! cluster's own reason and message.

use kube::core::Status;
use kube::runtime::watcher;

use super::core::Problem;
use crate::backend::{Failure, FailureKind};

/// Bounds what the cluster says, and puts it on one line.
pub(super) fn line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(1000) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn failure(kind: FailureKind, public: &str, detail: String) -> Failure {
    Failure { kind, public: public.to_owned(), detail: line(&detail), log_tail: Vec::new(), permanent: false }
}

/// The cluster refused or failed; trying again may help.
pub(super) fn backend(detail: impl Into<String>) -> Failure {
    failure(FailureKind::Backend, "The service could not be started.", detail.into())
}

/// A failure that lasts until someone changes something.
pub(super) fn not_runnable(detail: impl Into<String>) -> Failure {
    let public = "The service cannot run here as it is configured.";
    Failure { permanent: true, ..failure(FailureKind::NotRunnable, public, detail.into()) }
}

/// No node takes the pod.
pub(super) fn unschedulable(message: &str) -> Failure {
    let public = "There is no room for the service at the moment.";
    failure(FailureKind::Backend, public, format!("no node takes its pod: {message}"))
}

/// Pods are not made: a quota, an admission.
pub(super) fn not_made(reason: &str, message: &str) -> Failure {
    failure(
        FailureKind::Backend,
        "The service could not be started.",
        format!("its pod is not made: {reason}: {message}"),
    )
}

/// The image could not be had.
pub(super) fn image(reason: &str, message: &str) -> Failure {
    let public = "The service's image could not be loaded.";
    failure(FailureKind::Image, public, format!("{reason}: {message}"))
}

/// An object that the router would make is there already, and somebody else's.
pub(super) fn taken(object: &str, namespace: &str, marks: &str) -> Failure {
    backend(format!(
        "{object} is in the way: it is in the namespace {namespace} already, and does not carry the labels {marks} of \
         this router's objects. Rename it, or attach the service to it (`attach`), or label it to hand it over"
    ))
}

/// A workload that should be there already is not.
pub(super) fn missing(workload: &str) -> Failure {
    backend(format!("the workload that it is attached to, {workload}, is not there: make it, or correct `attach`"))
}

/// Its pod was told to go, and no reason is known.
pub(super) fn stopped() -> Failure {
    let public = "The service was stopped from outside.";
    failure(FailureKind::Exited, public, "its pod was deleted by someone else".into())
}

/// Its pod was told to go since its workload makes other ones: another router has read newer files.
pub(super) fn replaced() -> Failure {
    let public = "The service was restarted from outside.";
    failure(FailureKind::Exited, public, "its pod was replaced: its Deployment has another template by now".into())
}

/// Its pod is gone.
pub(super) fn removed() -> Failure {
    let public = "The service was stopped from outside.";
    failure(FailureKind::Exited, public, "its pod is gone".into())
}

/// Its pod was told to go, for this reason.
pub(super) fn disrupted(reason: &str, message: &str) -> Failure {
    let public = "The service was stopped from outside.";
    failure(FailureKind::Exited, public, format!("its pod was stopped: {reason}: {message}"))
}

/// It ended and was started again before anything was seen of it.
pub(super) fn restarted() -> Failure {
    failure(FailureKind::Exited, "The service exited.", "its container was restarted".into())
}

/// How a container ended.
pub(super) fn exited(code: i32, signal: Option<i32>, reason: &str, message: Option<&str>) -> Failure {
    let said = message.filter(|m| !m.trim().is_empty()).map(|m| format!(": {m}")).unwrap_or_default();
    if reason == "OOMKilled" {
        let detail = format!("it used more memory than its plan has (exit status {code}){said}");
        return failure(FailureKind::OutOfMemory, "The service ran out of memory.", detail);
    }
    let how = match signal.filter(|s| *s > 0) {
        Some(signal) => format!("signal {signal}"),
        None if code > 128 => format!("exit status {code} (signal {})", code - 128),
        None => format!("exit status {code}"),
    };
    let reason = if matches!(reason, "" | "Error" | "Completed") { String::new() } else { format!(" ({reason})") };
    failure(FailureKind::Exited, "The service exited.", format!("{how}{reason}{said}"))
}

/// The cluster was away for too long to hold requests for it.
pub(super) fn unreachable(why: &str) -> Failure {
    failure(FailureKind::Backend, "The cluster that runs the service cannot be reached at the moment.", why.to_owned())
}

/// Whether a call did not reach the API server, or its answer did not reach us.
pub(super) fn is_away(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 408 | 409 | 429 | 502..=504),
        kube::Error::SerdeError(_) | kube::Error::BuildRequest(_) => false,
        _ => true,
    }
}

/// Whether the API server says that it does not know the object.
pub(super) fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// What the cluster said, or why it said nothing.
pub(crate) fn text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => line(&said(status)),
        other => line(&chain(other)),
    }
}

/// Why a watch ended.
pub(super) fn of_watch(error: &watcher::Error) -> String {
    use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(e) | WatchStartFailed(e) | WatchFailed(e) => text(e),
        other => chain(other),
    }
}

fn said(status: &Status) -> String {
    match (status.message.is_empty(), status.reason.is_empty()) {
        (true, true) => format!("status {}", status.code),
        (true, false) => status.reason.clone(),
        _ => status.message.clone(),
    }
}

/// An error with its causes: the client's outermost words alone say nothing.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let more = e.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = e.source();
    }
    text
}

/// Judges why a write was not done.
pub(super) fn judge(doing: &str, error: &kube::Error) -> Problem {
    if is_missing(error) {
        return Problem::Missing;
    }
    if is_away(error) {
        return Problem::Away;
    }
    Problem::Refused(backend(format!("{doing}: {}", text(error))))
}
