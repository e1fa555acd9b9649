//! What is asked for: method and path, taken apart.

use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use super::guard::Need;
use super::problem::Problem;
use crate::backend::LogQuery;
use crate::landscape::ServiceKey;
use crate::lifecycle::Command;

/// Lines of a log where nobody says how many.
const TAIL: usize = 100;
/// The most lines of a log that may be asked for.
const MOST: usize = 100_000;

/// Everything that can be asked for.
#[derive(Clone, Debug)]
pub(super) enum Route {
    Health,
    Readiness,
    Metrics,
    Landscapes,
    Landscape(String),
    Service(ServiceKey),
    Why(ServiceKey),
    Command(ServiceKey, Command),
    Prepare(String),
    Logs(ServiceKey, LogQuery),
    Events { landscape: Option<String>, after: Option<u64> },
    Reload,
}

impl Route {
    /// `query` without its `?`.
    pub(super) fn of(method: &Method, path: &str, query: &str) -> Result<Self, Problem> {
        let segments: Vec<String> = path
            .strip_prefix('/')
            .unwrap_or(path)
            .split('/')
            .map(|s| percent_decode_str(s).decode_utf8().map(Into::into))
            .collect::<Result<_, _>>()
            .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "bad-path", "The path is not UTF-8."))?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (route, allowed) = match *segments.as_slice() {
            ["healthz"] => (Self::Health, "GET"),
            ["readyz"] => (Self::Readiness, "GET"),
            ["metrics"] => (Self::Metrics, "GET"),
            ["api", "v1", ref rest @ ..] => Self::of_api(method, rest, query)?,
            _ => return Err(nothing(path)),
        };
        let asked = method.as_str();
        if allowed.split(", ").any(|m| m == asked || (m == "GET" && asked == "HEAD")) {
            return Ok(route);
        }
        let detail = format!("{path} takes {allowed}.");
        Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail).with_allow(allowed))
    }

    fn of_api(method: &Method, rest: &[&str], query: &str) -> Result<(Self, &'static str), Problem> {
        Ok(match *rest {
            ["reload"] => (Self::Reload, "POST"),
            ["events"] => {
                let after = one(query, "after").map(|v| number(&v, "after")).transpose()?;
                (Self::Events { landscape: one(query, "landscape"), after }, "GET")
            }
            ["requests"] => return Err(not_built("request records")),
            ["landscapes"] => (Self::Landscapes, "GET"),
            ["landscapes", id] => (Self::Landscape(id.into()), "GET"),
            ["landscapes", id, "prepare"] => (Self::Prepare(id.into()), "POST"),
            ["landscapes", id, "services", name] => (Self::Service(ServiceKey::new(id, name)), "GET"),
            ["landscapes", id, "services", name, verb] => {
                let key = ServiceKey::new(id, name);
                match verb {
                    "why" => (Self::Why(key), "GET"),
                    "logs" => (Self::Logs(key, logs(query)?), "GET"),
                    "wake" => (Self::Command(key, Command::Wake), "POST"),
                    "sleep" => (Self::Command(key, Command::Sleep), "POST"),
                    "restart" => (Self::Command(key, Command::Restart), "POST"),
                    "pin" if method == Method::DELETE => (Self::Command(key, Command::Unpin), "PUT, DELETE"),
                    "pin" => (Self::Command(key, Command::Pin), "PUT, DELETE"),
                    _ => return Err(nothing(&format!("/api/v1/{}", rest.join("/")))),
                }
            }
            _ => return Err(nothing(&format!("/api/v1/{}", rest.join("/")))),
        })
    }

    /// What the caller needs for it.
    pub(super) fn need(&self) -> Need {
        match self {
            Self::Health | Self::Readiness => Need::Nothing,
            Self::Metrics | Self::Landscapes | Self::Landscape(_) | Self::Service(_) | Self::Why(_) => Need::Local,
            Self::Command(..) | Self::Prepare(_) | Self::Logs(..) | Self::Events { .. } | Self::Reload => Need::Token,
        }
    }
}

fn logs(query: &str) -> Result<LogQuery, Problem> {
    let tail = one(query, "tail").map(|v| number(&v, "tail")).transpose()?.unwrap_or(TAIL);
    let replica = one(query, "replica").map(|v| number(&v, "replica")).transpose()?;
    let follow = match one(query, "follow").as_deref() {
        None | Some("false") => false,
        Some("" | "true") => true,
        Some(other) => return Err(parameter("follow", other, "true or false")),
    };
    Ok(LogQuery { tail: tail.min(MOST), follow, replica })
}

/// The last value of a query parameter; `""` where it has none.
fn one(query: &str, name: &str) -> Option<String> {
    let mut values = query.split('&').filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    });
    values.next_back().map(|v| percent_decode_str(v).decode_utf8_lossy().into_owned())
}

fn number<N: std::str::FromStr>(text: &str, name: &str) -> Result<N, Problem> {
    text.parse().map_err(|_| parameter(name, text, "a number"))
}

fn parameter(name: &str, found: &str, wanted: &str) -> Problem {
    let detail = format!("The parameter {name} is {found:?}; it has to be {wanted}.");
    Problem::new(StatusCode::BAD_REQUEST, "bad-parameter", detail)
}

fn not_built(what: &str) -> Problem {
    let detail = format!("This version keeps no {what}; the access log has one line a request.");
    Problem::new(StatusCode::NOT_IMPLEMENTED, "not-built", detail)
}

fn nothing(path: &str) -> Problem {
    let detail = format!("There is nothing at {path}. The API is described in docs/admin-api.md.");
    Problem::new(StatusCode::NOT_FOUND, "not-found", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, target: &str) -> Result<String, &'static str> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Route::of(&method.parse().unwrap(), path, query).map(|r| format!("{r:?}")).map_err(|p| p.code)
    }

    #[test]
    fn paths_lead_to_what_they_name() {
        let service = "/api/v1/landscapes/4711/services/web";
        for (method, path, want) in [
            ("GET", "/healthz", "Health"),
            ("HEAD", "/readyz", "Readiness"),
            ("GET", "/api/v1/landscapes", "Landscapes"),
            ("GET", "/api/v1/landscapes/4711", "Landscape(\"4711\")"),
            ("GET", service, "Service(4711/web)"),
            ("GET", "/api/v1/landscapes/4711/services/w%65b", "Service(4711/web)"),
            ("POST", &format!("{service}/wake"), "Command(4711/web, Wake)"),
            ("PUT", &format!("{service}/pin"), "Command(4711/web, Pin)"),
            ("DELETE", &format!("{service}/pin"), "Command(4711/web, Unpin)"),
            ("POST", "/api/v1/landscapes/4711/prepare", "Prepare(\"4711\")"),
            (
                "GET",
                &format!("{service}/logs?tail=5&follow=true&replica=1"),
                "Logs(4711/web, LogQuery { tail: 5, follow: true, replica: Some(1) })",
            ),
            (
                "GET",
                &format!("{service}/logs?tail=999999999"),
                "Logs(4711/web, LogQuery { tail: 100000, follow: false, replica: None })",
            ),
            ("GET", "/api/v1/events?landscape=a&after=7", "Events { landscape: Some(\"a\"), after: Some(7) }"),
        ] {
            assert_eq!(of(method, path), Ok(want.to_owned()), "{method} {path}");
        }
    }

    #[test]
    fn what_is_not_offered_says_so() {
        for (method, path, want) in [
            ("GET", "/", "not-found"),
            ("GET", "/api/v1/requests", "not-built"),
            ("GET", "/api/v2/landscapes", "not-found"),
            ("GET", "/api/v1/landscapes/4711/services/web/dance", "not-found"),
            ("GET", "/api/v1/reload", "method-not-allowed"),
            ("POST", "/metrics", "method-not-allowed"),
            ("POST", "/api/v1/landscapes/4711/services/web/pin", "method-not-allowed"),
            ("GET", "/api/v1/landscapes/%ff", "bad-path"),
            ("GET", "/api/v1/landscapes/a/services/b/logs?tail=x", "bad-parameter"),
            ("GET", "/api/v1/landscapes/a/services/b/logs?follow=maybe", "bad-parameter"),
        ] {
            assert_eq!(of(method, path), Err(want), "{method} {path}");
        }
    }
}
