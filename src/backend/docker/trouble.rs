//! What can go wrong with a call to the engine, and what is told of it.

use std::time::Duration;

use bollard::errors::Error;

use crate::backend::{Failure, FailureKind};

/// Why a step towards what is wanted was not made.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// The engine does not answer: tried again when it does.
    Away(String),
    /// The engine or the system said no.
    Failed(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Failed(failure)
    }
}

/// Whether the call did not reach the engine, or its answer did not reach us.
pub(super) fn is_away(error: &Error) -> bool {
    matches!(
        error,
        Error::HyperLegacyError { .. }
            | Error::HyperResponseError { .. }
            | Error::IOError { .. }
            | Error::RequestTimeoutError
            | Error::SocketNotFoundError(_)
    )
}

/// The engine's status code, where it answered.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// What the engine said, without the client library's preamble, on one line and bounded.
pub(super) fn text(error: &Error) -> String {
    let text = match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        Error::RequestTimeoutError => "no answer in time".into(),
        Error::HyperLegacyError { err } => chain(err),
        other => chain(other),
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(1000) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
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

/// Judges an error of a call that had no special meaning: away, or a failure of the backend.
pub(super) fn judge(doing: &str, error: &Error) -> Trouble {
    if is_away(error) {
        return Trouble::Away(format!("{doing}: {}", text(error)));
    }
    Trouble::Failed(backend(format!("{doing}: {}", text(error))))
}

/// A failure of the backend itself; trying again may help.
pub(super) fn backend(detail: String) -> Failure {
    Failure {
        kind: FailureKind::Backend,
        public: "The service could not be started.".into(),
        detail,
        log_tail: Vec::new(),
        permanent: false,
    }
}

/// A failure that lasts until someone changes something.
pub(super) fn not_runnable(detail: String) -> Failure {
    Failure {
        kind: FailureKind::NotRunnable,
        public: "The service cannot run here as it is configured.".into(),
        detail,
        log_tail: Vec::new(),
        permanent: true,
    }
}

/// What to do where the engine and the router see different files.
pub(super) const ELSEWHERE: &str = "the engine does not see the router's files as the router does, so that nothing of the landscape's root can be \
     mounted safely: run the router on the engine's own host, outside of a container and of a service sandbox that \
     has a mount or process namespace of its own";

/// Judges why a container was not made or did not start: what its configuration, image or command is to
/// blame for will not get better by itself. The engine calls such a request bad (400), most of the time.
pub(super) fn judge_start(error: &Error) -> Trouble {
    if is_away(error) {
        return Trouble::Away(format!("start: {}", text(error)));
    }
    let said = text(error);
    let of_the_image =
        ["executable file not found", "no such file or directory", "permission denied", "exec format error"];
    let of_a_mount = ["invalid mount config", "error mounting"];
    let says = |words: &[&str]| words.iter().any(|m| said.contains(m));
    let bad = status(error) == Some(400);
    let detail = format!("the container did not start: {said}");
    Trouble::Failed(if says(&["failed to mount local volume"]) {
        if says(&["invalid argument"]) {
            // The descriptor's mount is not one of the engine's mount namespace.
            not_runnable(format!("{ELSEWHERE} ({said})"))
        } else {
            backend(detail)
        }
    } else if says(&["not a directory"]) || (bad && says(&of_a_mount)) {
        not_runnable(detail)
    } else if says(&of_the_image) {
        Failure { public: "The service's command cannot be run in its image.".into(), ..not_runnable(detail) }
    } else if bad {
        not_runnable(detail)
    } else {
        backend(detail)
    })
}

/// Waits for a call at most so long, and makes a call without an answer an error like any other.
pub(super) async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::RequestTimeoutError),
    }
}

/// The limit for calls that the engine answers from memory or with little work; generous, because a
/// busy disk under the engine is no reason to call it lost.
pub(super) const CALL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError { status_code, message: message.into() }
    }

    #[test]
    fn a_command_that_is_not_there_is_permanent_and_a_full_disk_is_not() {
        let missing =
            said(400, "OCI runtime create failed: exec: \"nope\": executable file not found in $PATH: unknown");
        let Trouble::Failed(f) = judge_start(&missing) else { panic!("away?") };
        assert!(f.permanent && f.kind == FailureKind::NotRunnable, "{f:?}");
        for bad in [
            "invalid mount config for type \"bind\": bind source path does not exist: /x",
            "Minimum memory limit allowed is 6MB",
            "invalid reference format",
        ] {
            let Trouble::Failed(f) = judge_start(&said(400, bad)) else { panic!("away?") };
            assert!(f.permanent && f.public.contains("as it is configured"), "{f:?}");
        }
        let odd = said(
            500,
            "error mounting \"/a\" to rootfs at \"/b\": not a directory: Are you trying to mount a directory onto a file?",
        );
        let Trouble::Failed(f) = judge_start(&odd) else { panic!("away?") };
        assert!(f.permanent && f.public.contains("as it is configured"), "{f:?}");
        let volume = |why: &str| said(400, &format!("error while mounting: failed to mount local volume: {why}"));
        let Trouble::Failed(f) = judge_start(&volume("invalid argument")) else { panic!("away?") };
        assert!(f.permanent && f.detail.starts_with(ELSEWHERE), "{f:?}");
        let Trouble::Failed(f) = judge_start(&volume("no such file or directory")) else { panic!("away?") };
        assert!(!f.permanent && f.kind == FailureKind::Backend, "{f:?}");
        let full = said(500, "mkdir /var/lib/docker/x: no space left on device");
        let Trouble::Failed(f) = judge_start(&full) else { panic!("away?") };
        assert!(!f.permanent && f.kind == FailureKind::Backend, "{f:?}");
    }

    #[test]
    fn what_the_engine_says_is_bounded_and_one_line() {
        let long = said(500, &format!("a\n  b {}", "x".repeat(5000)));
        let text = text(&long);
        assert!(text.starts_with("a b x") && text.chars().count() <= 1001);
    }

    #[test]
    fn no_answer_is_away() {
        assert!(matches!(judge("stop", &Error::RequestTimeoutError), Trouble::Away(_)));
        assert!(matches!(judge("stop", &said(500, "no")), Trouble::Failed(_)));
    }
}
