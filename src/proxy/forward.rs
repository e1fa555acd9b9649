//! One request to its upstream and the answer's head back, with the attempts that may take.
//!
//! A request is tried again when nothing of it was sent, or when it may be repeated (an idempotent
//! method without a body) and no answer came. A connection from the pool that turns out to be dead is
//! nobody's fault; a fresh one that fails is told to the replica's health, and the next attempt goes to
//! another replica: [`super::again`].

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;

use super::again::{Last, Patience};
use super::answer::{Answer, Format};
use super::body::Body;
use super::endpoint::{Endpoint, Target};
use super::hold::NotHeld;
use super::local::Loaded;
use super::pool::Key;
use super::request_body::RequestBody;
use super::targets::TargetError;
use super::tunnel::Tunnel;
use super::turn::others_first;
use super::upstream::{self, Broken, Stream, Upstream};
use super::usage::Usage;
use super::{ErrorCode, headers, replay};
use crate::backend::Door;
use crate::landscape::TargetUrl;
use crate::lifecycle::{Lease, Outcome, Use};
use crate::listen::Phase;

const COLD_START: HeaderName = HeaderName::from_static("x-landscape-cold-start");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// A request on its way, and what has to be known of it until its answer.
pub(super) struct Outgoing {
    pub loaded: Rc<Loaded>,
    pub usage: Usage,
    pub format: Format,
    pub method: Method,
    /// What the client speaks.
    pub version: Version,
    pub websocket: bool,
    pub use_: Use,
    /// Held for so long, if it was.
    pub cold: Option<Duration>,
    pub patience: Patience,
    /// The ordinal that its cookie names.
    pub sticky: Option<u32>,
}

/// The request between attempts. It stays where it is while futures come and go: each that owned it
/// would keep room for it.
pub(super) type Slot = Option<Request<RequestBody>>;

/// Why one attempt did not bring an answer.
enum Failed {
    /// The request is in its slot again.
    Again(Why),
    Answer(Answer),
}

enum Why {
    /// A connection from the pool was dead.
    Stale,
    /// No connection could be made.
    Connect,
    /// A fresh connection broke.
    Reset,
}

impl Outgoing {
    /// Sends `request` and makes the answer for the client.
    pub async fn forward(mut self, endpoint: &Endpoint, request: Request<RequestBody>) -> Response<Body> {
        let mut slot = Some(request);
        match self.attempts(endpoint, &mut slot).await {
            Ok((upstream, key, answer)) => self.answer(endpoint, upstream, key, answer),
            Err(NotHeld::Answer(answer)) => self.refuse(answer),
            Err(NotHeld::Page(page, code)) => {
                self.usage.answered(page.status(), Some(code.name()));
                self.finish(*page)
            }
        }
    }

    /// The router's own answer.
    pub fn refuse(mut self, answer: Answer) -> Response<Body> {
        let service = self.usage.endpoint().map(|e| e.key.clone());
        let response = answer.response(self.format, service.as_ref());
        self.usage.answered(response.status(), Some(answer.code.name()));
        self.finish(response)
    }

    /// An answer that the router has made, whatever it is, as the end of the request.
    pub fn finish(self, mut response: Response<Body>) -> Response<Body> {
        self.close_if_last(&mut response);
        response.map(|body| body.ending(self.usage))
    }

    /// RFC 9112, 9.6: whoever will not read a further request says so with its last answer. With a
    /// part of this request's body still to come the engine ends the connection, and a client that
    /// was not told would send its next request into that end.
    fn close_if_last<B>(&self, answer: &mut Response<B>) {
        let client = self.usage.client();
        if client.draining() || client.unread() {
            headers::close_after(answer.headers_mut());
        }
        // The only option that is there by now is `close`. For an answer of version 1.1 to a client of
        // 1.0 the engine would promise `keep-alive` beside it.
        if self.version == Version::HTTP_10 && answer.headers().contains_key(header::CONNECTION) {
            *answer.version_mut() = Version::HTTP_10;
        }
    }

    async fn attempts(
        &mut self,
        endpoint: &Endpoint,
        slot: &mut Slot,
    ) -> Result<(Upstream, Key, Response<Incoming>), NotHeld> {
        let (mut broke, mut fresh) = (None, false);
        loop {
            let key = self.key(endpoint)?;
            let why = match self.attempt(endpoint, key, slot, fresh).await {
                Ok((upstream, answer)) => return Ok((upstream, key, answer)),
                Err(Failed::Answer(answer)) => return Err(NotHeld::Answer(answer)),
                Err(Failed::Again(why)) => why,
            };
            match why {
                Why::Stale => fresh = true,
                Why::Reset if broke.is_none() => {
                    broke = Some(key.uid);
                    self.another(endpoint, slot, Last::Broke).await?;
                }
                Why::Reset if broke != Some(key.uid) || self.accepts(endpoint).await => {
                    return Err(NotHeld::Answer(ErrorCode::UpstreamReset.into()));
                }
                Why::Connect | Why::Reset => self.another(endpoint, slot, Last::Unreachable).await?,
            }
            self.usage.retried();
        }
    }

    fn key(&self, endpoint: &Endpoint) -> Result<Key, NotHeld> {
        match (&endpoint.target, self.usage.current()) {
            (Target::Replicas { port, .. }, Some(lease)) => Ok(Key { uid: lease.replica().uid, port: *port }),
            (Target::Url(url), _) => Ok(Key { uid: endpoint.uid, port: url.port }),
            _ => Err(NotHeld::Answer(ErrorCode::Internal.into())),
        }
    }

    /// The gate gave this lease.
    pub fn held(&mut self, lease: Lease, waited: Duration) {
        if !waited.is_zero() {
            self.cold = Some(self.cold.unwrap_or_default() + waited);
        }
        self.usage.lease(lease);
    }

    async fn attempt(
        &mut self,
        endpoint: &Endpoint,
        key: Key,
        slot: &mut Slot,
        fresh: bool,
    ) -> Result<(Upstream, Response<Incoming>), Failed> {
        let empty = slot.as_ref().is_some_and(|request| request.body().is_empty());
        let repeatable = empty && self.method.is_idempotent();
        let pooled = if fresh || self.websocket {
            None
        } else {
            self.usage.local().pool().take(key, Instant::now(), repeatable)
        };
        let reused = pooled.is_some();
        let mut upstream = match pooled {
            Some(upstream) => upstream,
            None => match Box::pin(self.connect(endpoint)).await {
                Ok(upstream) => upstream,
                Err(None) => return Err(Failed::Again(Why::Connect)),
                Err(Some(answer)) => return Err(Failed::Answer(answer)),
            },
        };
        let client = self.usage.client().clone();
        client.touch();
        client.enter(if empty { Phase::Waiting } else { Phase::Streaming });
        others_first().await;
        match upstream.exchange(slot, empty, &*client).await {
            Ok(answer) => {
                self.report(Outcome::Answered);
                others_first().await;
                Ok((upstream, answer))
            }
            Err(Broken::Unsent) if reused => Err(Failed::Again(Why::Stale)),
            Err(Broken::Unsent) => {
                self.report(Outcome::Reset);
                Err(Failed::Again(Why::Reset))
            }
            Err(Broken::Expired) if client.phase() == Phase::Streaming => {
                Err(Failed::Answer(Answer::from(ErrorCode::RequestTimeout).closing()))
            }
            Err(Broken::Expired) => Err(Failed::Answer(ErrorCode::ResponseTimeout.into())),
            Err(Broken::Died(_)) if client.body_over_limit() => {
                Err(Failed::Answer(Answer::from(ErrorCode::BodyTooLarge).closing()))
            }
            Err(Broken::Died(_)) if client.body_broken() => {
                Err(Failed::Answer(Answer::because(ErrorCode::BadRequest, "Its body broke off.").closing()))
            }
            Err(Broken::Died(error)) if error.is_parse() => {
                tracing::debug!(service = %endpoint.key, "an upstream's answer is not HTTP: {error}");
                Err(Failed::Answer(ErrorCode::UpstreamInvalid.into()))
            }
            Err(Broken::Died(error)) => {
                let stale = reused && !upstream.meter().answered.get();
                if !stale {
                    self.report(Outcome::Reset);
                }
                // What never left may be sent whatever it is; it is known whole where it has no body.
                if repeatable || (empty && !upstream.meter().sent.get()) {
                    *slot = replay::read(&upstream.meter().take_record());
                }
                if slot.is_some() {
                    return Err(Failed::Again(if stale { Why::Stale } else { Why::Reset }));
                }
                tracing::debug!(service = %endpoint.key, "an upstream broke its connection off: {error}");
                Err(Failed::Answer(ErrorCode::UpstreamReset.into()))
            }
        }
    }

    fn report(&self, outcome: Outcome) {
        if let Some(lease) = self.usage.current() {
            lease.report(outcome);
        }
    }

    /// A fresh connection; an answer where another attempt would not help.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Upstream, Option<Answer>> {
        let rules = &self.loaded.snapshot.rules;
        let limit = rules.timeouts.connect;
        self.usage.client().enter(Phase::Busy);
        let stream = match &endpoint.target {
            Target::Replicas { port, .. } => {
                let door = self.usage.current().and_then(|lease| lease.door(*port));
                let Some(door) = door else {
                    tracing::warn!(service = %endpoint.key, port, "a replica has no such port");
                    return Err(Some(ErrorCode::UpstreamConnect.into()));
                };
                self.to_replica(endpoint, &door, limit).await?
            }
            Target::Url(url) => match self.usage.local().shared().targets.connect(url, &rules.targets, limit).await {
                Ok(stream) => stream,
                Err(error) => return Err(Some(target_failed(endpoint, url, &error))),
            },
            Target::Nowhere { code, .. } => return Err(Some((*code).into())),
        };
        Upstream::over(stream, endpoint.stats.clone(), rules.keep_header_case)
            .await
            .map_err(|_| Some(ErrorCode::UpstreamConnect.into()))
    }

    async fn to_replica(&self, endpoint: &Endpoint, door: &Door, limit: Duration) -> Result<Stream, Option<Answer>> {
        match upstream::connect(door, limit).await {
            Ok(stream) => Ok(Stream::Plain(stream.into())),
            // Nothing left of ours: not the replica's fault.
            Err(error) if is_exhausted(&error) => {
                tracing::warn!("no connection to {}: {error}; raise the limit of open files", endpoint.key);
                Err(Some(Answer::from(ErrorCode::Overloaded).retry(Duration::from_secs(1))))
            }
            Err(error) => {
                tracing::debug!(service = %endpoint.key, %door, "no connection: {error}");
                self.report(Outcome::ConnectFailed);
                Err(None)
            }
        }
    }

    /// Makes an upstream's answer the client's.
    fn answer(
        mut self,
        endpoint: &Endpoint,
        upstream: Upstream,
        key: Key,
        mut answer: Response<Incoming>,
    ) -> Response<Body> {
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.upgrade(endpoint, upstream, answer);
        }
        let length = http_body::Body::size_hint(answer.body()).exact();
        let seen = match headers::forward_answer(&mut answer, &self.method, length) {
            Ok(seen) => seen,
            Err(headers::Invalid(why)) => {
                tracing::debug!(service = %endpoint.key, "an upstream's answer may not be forwarded: {why}");
                return self.refuse(ErrorCode::UpstreamInvalid.into());
            }
        };
        self.mark(endpoint, &mut answer);
        if self.version == Version::HTTP_10 && length.is_none() {
            // Such an answer ends with the connection (RFC 9112, 6.3).
            headers::close_after(answer.headers_mut());
        }
        self.close_if_last(&mut answer);
        self.usage.answered(answer.status(), None);
        self.usage.client().begin_answer(endpoint.policy.idle_bytes);
        let (parts, incoming) = answer.into_parts();
        Response::from_parts(parts, Body::streamed(incoming, upstream, key, seen.keep_alive, self.usage))
    }

    /// What the router adds to an upstream's answer.
    fn mark<B>(&self, endpoint: &Endpoint, answer: &mut Response<B>) {
        *answer.version_mut() = Version::HTTP_11;
        let client = self.usage.client();
        let events = answer.headers().get(header::CONTENT_TYPE);
        if events.is_some_and(|v| v.as_bytes().starts_with(b"text/event-stream")) {
            // No reader of events shuts its sending side and stays: without this its leaving would be
            // noticed only with the next event.
            client.leaves_by_half_close(true);
        }
        let fields = answer.headers_mut();
        if let Some(waited) = self.cold {
            fields.insert(COLD_START, HeaderValue::from_static("true"));
            if let Ok(timing) = HeaderValue::try_from(format!("wake;dur={}", waited.as_millis())) {
                fields.append(SERVER_TIMING, timing);
            }
        }
        if let (Some(cookie), Some(lease)) = (&endpoint.sticky, self.usage.current())
            && self.sticky != Some(lease.replica().id.ordinal)
        {
            cookie.write(fields, lease.replica().id.ordinal);
        }
    }

    /// The upstream switches protocols: so does the client's connection, if that was asked for.
    fn upgrade(mut self, endpoint: &Endpoint, upstream: Upstream, mut answer: Response<Incoming>) -> Response<Body> {
        if !self.websocket || !headers::grants_websocket(answer.headers()) {
            return self.refuse(ErrorCode::UpstreamInvalid.into());
        }
        let Some((stream, early)) = upstream.into_stream() else {
            return self.refuse(ErrorCode::UpstreamReset.into());
        };
        if headers::forward_answer(&mut answer, &self.method, None).is_err() {
            return self.refuse(ErrorCode::UpstreamInvalid.into());
        }
        self.mark(endpoint, &mut answer);
        headers::ask_websocket(answer.headers_mut());
        self.usage.answered(StatusCode::SWITCHING_PROTOCOLS, None);
        let client = self.usage.client().clone();
        client.upgrade_to(Tunnel::new(stream, early, self.usage, endpoint.policy.idle_bytes));
        answer.map(|_| Body::empty())
    }
}

fn target_failed(endpoint: &Endpoint, url: &TargetUrl, error: &TargetError) -> Answer {
    tracing::warn!(service = %endpoint.key, target = %url, "no connection to a target: {error}");
    match error {
        TargetError::Unresolved(_) => ErrorCode::TargetUnresolved.into(),
        TargetError::Refused { .. } => ErrorCode::TargetRefused.into(),
        TargetError::Connect(e) if is_exhausted(e) => Answer::from(ErrorCode::Overloaded).retry(Duration::from_secs(1)),
        TargetError::Connect(_) => ErrorCode::UpstreamConnect.into(),
    }
}

/// Whether this process or machine has no descriptors, ports or memory left.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}
