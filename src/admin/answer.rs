//! From a request to an answer.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::guard::Guard;
use super::problem::Problem;
use super::route::Route;
use super::stream::{self, Body, Format, Lifeline};
use super::why::WhyView;
use super::{LandscapeView, Life, Model, Refused, RouterView, ServiceView};
use crate::backend::LogQuery;
use crate::landscape::ServiceKey;

/// No request here has a body; one that is sent all the same may be so long.
const BODY: u64 = 64 * 1024;

/// What answering needs; one a listener.
#[derive(Clone)]
pub(super) struct Desk {
    pub model: Arc<dyn Model>,
    pub guard: Arc<Guard>,
    /// Places for answers without an end.
    pub streams: Arc<Semaphore>,
    pub closing: CancellationToken,
}

/// `GET /api/v1/landscapes`.
#[derive(Serialize)]
struct Overview {
    router: RouterView,
    landscapes: Vec<LandscapeView>,
}

impl Desk {
    /// Answers one request that came in at `local`.
    pub(super) async fn answer(&self, request: &Request<Incoming>, local: IpAddr) -> Response<Body> {
        let mut response = self.try_answer(request, local).await.unwrap_or_else(|p| problem(&p));
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
        response
    }

    async fn try_answer(&self, request: &Request<Incoming>, local: IpAddr) -> Result<Response<Body>, Problem> {
        let (uri, headers) = (request.uri(), request.headers());
        self.guard.check(uri, headers, local)?;
        let route = Route::of(request.method(), uri.path(), uri.query().unwrap_or_default())?;
        self.guard.admit(route.need(), headers)?;
        if request.body().size_hint().lower() > BODY {
            let detail = "No request of this API has a body.";
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail));
        }
        self.serve(route, headers).await
    }

    async fn serve(&self, route: Route, headers: &HeaderMap) -> Result<Response<Body>, Problem> {
        let model = &self.model;
        match route {
            Route::Health => json(StatusCode::OK, &serde_json::json!({ "healthy": true })),
            Route::Readiness => match model.readiness() {
                Ok(()) => json(StatusCode::OK, &serde_json::json!({ "ready": true })),
                Err(why) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", why)),
            },
            Route::Metrics => match model.metrics() {
                Ok(text) => Ok(response(StatusCode::OK, crate::observe::metrics::CONTENT_TYPE, full(text))),
                Err(why) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", why)),
            },
            Route::Landscapes => {
                let mut landscapes = model.landscapes();
                if !self.guard.is_trusted(headers) {
                    landscapes = landscapes.into_iter().map(LandscapeView::without_output).collect();
                }
                json(StatusCode::OK, &Overview { router: model.router(), landscapes })
            }
            Route::Landscape(id) => match self.landscape(&id)? {
                landscape if self.guard.is_trusted(headers) => json(StatusCode::OK, &landscape),
                landscape => json(StatusCode::OK, &landscape.without_output()),
            },
            Route::Service(key) => match self.service(&key)? {
                service if self.guard.is_trusted(headers) => json(StatusCode::OK, &service),
                service => json(StatusCode::OK, &service.without_output()),
            },
            Route::Why(key) => json(StatusCode::OK, &WhyView::of(self.service(&key)?)),
            Route::Command(key, command) => {
                self.service(&key)?;
                model.command(&key, command).await.map_err(|r| refused(&r, &key.to_string()))?;
                json(StatusCode::ACCEPTED, &self.service(&key)?)
            }
            Route::Prepare(id) => {
                self.landscape(&id)?;
                model.prepare(&id).await.map_err(|r| refused(&r, &id))?;
                json(StatusCode::ACCEPTED, &self.landscape(&id)?)
            }
            Route::Logs(key, query) => {
                let service = self.service(&key)?;
                if let Some(ordinal) = query.replica {
                    self.replica(&key, &service, ordinal).await?;
                }
                let accept = headers.get(ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or_default();
                let events = query.follow && accept.contains("text/event-stream");
                let format = if events { Format::Events } else { Format::Lines };
                let lifeline = self.lifeline()?;
                let lines = model.logs(&key, query).await.map_err(|r| refused(&r, &key.to_string()))?;
                Ok(response(StatusCode::OK, format.content_type(), stream::logs(lines, format, lifeline)))
            }
            Route::Events { landscape, after } => {
                if let Some(id) = &landscape {
                    self.landscape(id)?;
                }
                let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()?.trim().parse().ok());
                let lifeline = self.lifeline()?;
                let watch = model.events().watch(last.or(after));
                let body = stream::events(watch, landscape, lifeline);
                Ok(response(StatusCode::OK, Format::Events.content_type(), body))
            }
            Route::Reload => {
                // A task of its own: a caller who leaves drops this future, and a configuration is applied
                // whole or not at all.
                let model = model.clone();
                let reload = tokio::spawn(async move { model.reload().await });
                let report = reload
                    .await
                    .map_err(|e| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", e.to_string()))?;
                if report.ok {
                    return json(StatusCode::OK, &report);
                }
                let detail = if report.changes.is_empty() {
                    "The configuration has mistakes; everything is as it was."
                } else {
                    "The configuration has mistakes; what has none is live, the rest is as it was."
                };
                let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "config-invalid", detail);
                Err(problem.with_mistakes(report.mistakes).with_changes(report.changes))
            }
        }
    }

    fn landscape(&self, id: &str) -> Result<LandscapeView, Problem> {
        self.model.landscape(id).ok_or_else(|| {
            let known = self.model.landscapes();
            unknown("landscape", id, known.iter().map(|l| l.id.as_str()))
        })
    }

    fn service(&self, key: &ServiceKey) -> Result<ServiceView, Problem> {
        let landscape = self.landscape(&key.landscape)?;
        if let Some(error) = landscape.error.as_ref().filter(|_| landscape.services.is_empty()) {
            let detail = format!("The landscape {} has never had a good ci.yml: {error}", landscape.id);
            return Err(Problem::new(StatusCode::NOT_FOUND, "landscape-invalid", detail));
        }
        if let Some(i) = landscape.services.iter().position(|s| s.name() == &*key.service) {
            let mut services = landscape.services;
            return Ok(services.swap_remove(i));
        }
        let names: Vec<String> = landscape.services.iter().map(|s| format!("{}/{}", landscape.id, s.name())).collect();
        Err(unknown("service", &key.to_string(), names.iter().map(String::as_str)))
    }

    /// A replica is one that there should be, that there still is, or of which a line was kept.
    async fn replica(&self, key: &ServiceKey, service: &ServiceView, ordinal: u32) -> Result<(), Problem> {
        let Life::Runs(status) = &service.life else { return Ok(()) };
        let there = status.replicas.iter().map(|r| r.ordinal + 1).max().unwrap_or(0).max(status.wanted_replicas);
        if ordinal < there {
            return Ok(());
        }
        let any = LogQuery { tail: 1, follow: false, replica: Some(ordinal) };
        let mut kept = self.model.logs(key, any).await.map_err(|r| refused(&r, &key.to_string()))?;
        if kept.recv().await.is_some() {
            return Ok(());
        }
        let others = match there {
            0 => String::new(),
            1 => " Its one replica is 0.".to_owned(),
            n => format!(" Its replicas are 0 to {}.", n - 1),
        };
        let detail = format!("There is no replica {ordinal} of {key}, and no line of one is kept.{others}");
        Err(Problem::new(StatusCode::NOT_FOUND, "unknown-replica", detail))
    }

    fn lifeline(&self) -> Result<Lifeline, Problem> {
        let place = self.streams.clone().try_acquire_owned().map_err(|_| {
            let detail = "Too many logs and events are being followed; end some and try again.";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", detail)
        })?;
        Ok(Lifeline { _place: place, closing: self.closing.clone() })
    }
}

/// A name that nobody has, and the nearest one that somebody has.
fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Problem {
    let near = known
        .map(|k| (strsim::damerau_levenshtein(k, name), k))
        .filter(|(distance, k)| *distance <= k.chars().count().max(6) / 3)
        .min();
    let hint = near.map(|(_, k)| format!(" Did you mean {k}?")).unwrap_or_default();
    let code = if what == "landscape" { "unknown-landscape" } else { "unknown-service" };
    Problem::new(StatusCode::NOT_FOUND, code, format!("There is no {what} {name}.{hint}"))
}

fn refused(r: &Refused, name: &str) -> Problem {
    let (status, code) = match r {
        Refused::Unknown => (StatusCode::NOT_FOUND, "unknown-service"),
        Refused::Impossible(_) => (StatusCode::CONFLICT, "impossible"),
        Refused::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Refused::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
    };
    Problem::new(status, code, format!("{name}: {r}"))
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed_unsync()
}

fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>, Problem> {
    let text = serde_json::to_vec(value)
        .map_err(|e| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", e.to_string()))?;
    Ok(response(status, "application/json", full(text)))
}

/// The answer that tells of a problem.
pub(super) fn problem(p: &Problem) -> Response<Body> {
    let mut response = response(p.status, "application/problem+json", full(p.json()));
    if p.status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(methods) = p.allow {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    }
    response
}
