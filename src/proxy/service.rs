//! The way of one request, from its head to its answer's.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::Either;
use http::header::{self, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use super::again::Patience;
use super::answer::{Answer, Format};
use super::body::Body;
use super::checks::{self, Survey};
use super::endpoint::{Endpoint, Target};
use super::forward::Outgoing;
use super::hold;
use super::local::{Loaded, Local};
use super::private::Entry;
use super::request_body::RequestBody;
use super::snapshot::Rules;
use super::usage::Usage;
use super::{ErrorCode, forwarded, headers, page};
use crate::config::settings::TrafficClass;
use crate::landscape::{TargetUrl, climbs};
use crate::lifecycle::{Demand, Service, Use};
use crate::listen::Client;
use crate::route::{Lookup, Route};

/// Answers one request. A panic on the way ends this request alone.
pub(crate) fn serve(
    local: Rc<Local>,
    client: Rc<Client>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Body>, Infallible>> {
    guarded(client.clone(), answer(local, client, request)).map(Ok)
}

/// The answer that `answer` makes, or 500 if it panics.
pub(super) fn guarded(
    client: Rc<Client>,
    answer: impl Future<Output = Response<Body>>,
) -> impl Future<Output = Response<Body>> {
    AssertUnwindSafe(answer).catch_unwind().map(move |answer| {
        answer.unwrap_or_else(|_| {
            tracing::error!(peer = %client.peer(), "a request panicked; it was answered with 500");
            // Its usage was dropped by the panic, which has already marked the answer's end.
            Answer::from(ErrorCode::Internal).closing().response(Format::Problem, None)
        })
    })
}

async fn answer(local: Rc<Local>, client: Rc<Client>, request: Request<Incoming>) -> Response<Body> {
    let loaded = local.loaded();
    let both_framings = client.begin(request.version(), !request.body().is_end_stream());
    let usage = Usage::begin(&local, &client, &request);
    let format = Format::of(request.headers());
    let mut way = Outgoing {
        loaded: loaded.clone(),
        usage,
        format,
        method: request.method().clone(),
        version: request.version(),
        websocket: false,
        use_: Use::Counts,
        cold: None,
        patience: Patience::default(),
        sticky: None,
    };
    let survey = match checks::survey(&request, both_framings) {
        Ok(survey) => survey,
        Err(rejected) => {
            tracing::debug!(peer = %client.peer(), "a request was refused: {}", rejected.why);
            return way.refuse(Answer::because(rejected.code, format!("({})", rejected.why)).closing());
        }
    };
    let found = match client.entry() {
        Some(entry) => find_private(&loaded, entry, request.uri().path()),
        None => find(&local, &loaded, &survey, request.uri().path()),
    };
    let (endpoint, route) = match found {
        Ok(found) => found,
        Err(answer) => return way.refuse(answer),
    };
    way.usage.route_to(endpoint);
    if too_large(&request, &loaded.snapshot.rules) {
        return way.refuse(Answer::from(ErrorCode::BodyTooLarge).closing());
    }
    match &endpoint.target {
        Target::Nowhere { code, detail } => way.refuse(Answer { detail: detail.clone(), ..(*code).into() }),
        Target::Replicas { service, .. } => {
            if is_status(&request) {
                // The loading page's own question: no use, not forwarded.
                way.usage.answered(StatusCode::OK, None);
                return way.finish(page::status(service));
            }
            if let Some(done) = way.lease(endpoint, service, &request, &client).await {
                return match done {
                    hold::NotHeld::Answer(answer) => way.refuse(answer),
                    hold::NotHeld::Page(page, code) => {
                        way.usage.answered(page.status(), Some(code.name()));
                        way.finish(*page)
                    }
                };
            }
            way.send(endpoint, route, &survey, request, None).await
        }
        Target::Url(url) => way.send(endpoint, route, &survey, request, Some(url)).await,
    }
}

/// The endpoint of a request, and the route that leads to it.
fn find<'a>(
    local: &Local,
    loaded: &'a Loaded,
    survey: &Survey,
    path: &str,
) -> Result<(&'a Arc<Endpoint>, &'a Route<Arc<Endpoint>>), Answer> {
    // What the checks let through is visible ASCII.
    let host = survey.host.to_str().map_err(|_| Answer::from(ErrorCode::BadHost))?;
    let route = match loaded.snapshot.table.lookup(host, path) {
        Lookup::Found(route) => route,
        Lookup::Shared(routes) => share(local, &routes),
        Lookup::NoRoute { .. } => return Err(ErrorCode::NoRoute.into()),
        Lookup::UnknownHost => return Err(ErrorCode::UnknownHost.into()),
        Lookup::Invalid { .. } => return Err(ErrorCode::LandscapeInvalid.into()),
    };
    Ok((&route.target, route))
}

/// The same for a private port: the listener tells, whatever the Host field says.
fn find_private<'a>(
    loaded: &'a Loaded,
    entry: &Entry,
    path: &str,
) -> Result<(&'a Arc<Endpoint>, &'a Route<Arc<Endpoint>>), Answer> {
    let port = entry.port(&loaded.snapshot.private).ok_or(ErrorCode::Removed)?;
    let route = port.paths.longest(path).ok_or(ErrorCode::NoRoute)?;
    Ok((&route.target, route))
}

/// One of several landscapes that share a domain's load: by turns, those that are awake first.
fn share<'a>(local: &Local, routes: &[&'a Route<Arc<Endpoint>>]) -> &'a Route<Arc<Endpoint>> {
    let awake = |route: &&Route<Arc<Endpoint>>| match &route.target.target {
        Target::Replicas { service, .. } => service.is_ready(),
        Target::Url(_) => true,
        Target::Nowhere { .. } => false,
    };
    let turn = local.turn(routes.len());
    let by_turns = || routes.iter().cycle().skip(turn).take(routes.len());
    by_turns().find(|route| awake(route)).unwrap_or_else(|| &routes[turn])
}

fn too_large<B>(request: &Request<B>, rules: &Rules) -> bool {
    // Without a usable number there is none: hyper has refused what is malformed.
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|n| n > rules.limits.body)
}

fn is_status<B>(request: &Request<B>) -> bool {
    request.method() == http::Method::GET
        && request.headers().get(header::ACCEPT).is_some_and(|v| v.as_bytes() == page::STATUS.as_bytes())
}

impl Outgoing {
    /// Takes a lease for the request, waiting where it may; or says what the client gets instead.
    async fn lease(
        &mut self,
        endpoint: &Endpoint,
        service: &Arc<Service>,
        request: &Request<Incoming>,
        client: &Rc<Client>,
    ) -> Option<hold::NotHeld> {
        let source = || {
            let trusted = || self.loaded.snapshot.rules.trusted_proxies.clone();
            forwarded::client(client.peer().ip(), forwarded::chain(request.headers()).as_ref(), trusted)
        };
        let class = endpoint.traffic.class(request.method(), request.uri().path(), request.headers(), source);
        self.use_ = match class {
            None | Some(TrafficClass::Wake) => Use::Counts,
            Some(_) => Use::NeverExtends,
        };
        self.sticky = endpoint.sticky.as_ref().and_then(|cookie| cookie.read(request.headers()));
        if let Some(lease) = service.try_lease(self.use_, self.sticky) {
            self.usage.lease(lease);
            return None;
        }
        match class {
            Some(TrafficClass::OnlyIfAwake) => return Some(hold::NotHeld::Answer(ErrorCode::Asleep.into())),
            Some(TrafficClass::AnswerWhileAsleep { status, body }) => {
                return Some(hold::NotHeld::Page(Box::new(while_asleep(*status, body)), ErrorCode::Asleep));
            }
            _ => {}
        }
        let demand = Demand {
            bytes: hold::buffered(request),
            // What a service asks for, no person looks at.
            page: client.entry().is_none() && hold::is_navigation(request.method(), request.headers()),
            ..Demand::of(self.use_)
        };
        // Boxed: what is rare may not make every connection's future larger.
        match Box::pin(hold::hold(service, &mut self.usage, endpoint.policy.hold.half_closed, demand)).await {
            Ok(held) => {
                self.held(held.lease, held.waited);
                None
            }
            Err(refused) => Some(refused),
        }
    }

    /// Makes the request the upstream's, and sends it.
    fn send(
        mut self,
        endpoint: &Endpoint,
        route: &Route<Arc<Endpoint>>,
        survey: &Survey,
        request: Request<Incoming>,
        url: Option<&TargetUrl>,
    ) -> impl Future<Output = Response<Body>> {
        self.websocket = survey.upgrade && headers::is_websocket(&request);
        match self.prepare(route, survey, request, url) {
            Ok(request) => Either::Left(self.forward(endpoint, request)),
            Err(answer) => Either::Right(std::future::ready(self.refuse(answer))),
        }
    }

    fn prepare(
        &self,
        route: &Route<Arc<Endpoint>>,
        survey: &Survey,
        request: Request<Incoming>,
        url: Option<&TargetUrl>,
    ) -> Result<Request<RequestBody>, Answer> {
        let client = self.usage.client();
        let rules = &self.loaded.snapshot.rules;
        let limit = rules.limits.body;
        let mut request = request.map(|incoming| RequestBody::new(incoming, client, limit));
        let from = headers::From {
            peer: client.peer_text(),
            address: client.peer().ip().to_canonical(),
            trusted: &rules.trusted_proxies,
            version: request.version(),
        };
        headers::forward_request(request.headers_mut(), survey, &from);
        if self.websocket {
            headers::ask_websocket(request.headers_mut());
        }
        if let Some(uri) = target(request.uri(), route, url)? {
            *request.uri_mut() = uri;
        }
        if let Some(url) = url {
            let host = host_of(url).ok_or(ErrorCode::TargetUnresolved)?;
            request.headers_mut().insert(header::HOST, host);
        }
        if request.body().is_empty() {
            request.headers_mut().remove(header::TRANSFER_ENCODING);
        }
        *request.version_mut() = Version::HTTP_11;
        // Among them are hyper's own way to take the connection over, which is not needed, and the names of
        // the fields as they came.
        match rules.keep_header_case {
            true => drop(request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>()),
            false => request.extensions_mut().clear(),
        }
        Ok(request)
    }
}

/// The target that the upstream sees, where it differs from the one that came.
fn target(uri: &Uri, route: &Route<Arc<Endpoint>>, url: Option<&TargetUrl>) -> Result<Option<Uri>, Answer> {
    let base = url.map_or("", |url| &url.base_path);
    if route.strip == 0 && base.is_empty() {
        return Ok(match (uri.authority(), uri.path_and_query()) {
            (None, Some(_)) => None,
            // RFC 9112, 3.2.1: inward it is origin-form.
            (_, Some(path)) => Some(Uri::from(path.clone())),
            (_, None) => Some(Uri::from(PathAndQuery::from_static("/"))),
        });
    }
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    if !base.is_empty() && climbs(uri.path()) {
        // The other side would resolve it to a path that the target does not lead to.
        return Err(Answer::because(ErrorCode::BadRequest, "(the path holds dot segments)"));
    }
    let rest = route.rewrite(path);
    let whole = if base.is_empty() { rest.into_owned() } else { format!("{base}{rest}") };
    let path = PathAndQuery::try_from(whole).map_err(|_| Answer::from(ErrorCode::BadRequest))?;
    Ok(Some(Uri::from(path)))
}

/// The Host field for a target.
fn host_of(url: &TargetUrl) -> Option<HeaderValue> {
    let usual = if url.tls { 443 } else { 80 };
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.to_string() };
    let text = if url.port == usual { host } else { format!("{host}:{}", url.port) };
    HeaderValue::try_from(text).ok()
}

/// What a traffic rule answers for a sleeping service.
fn while_asleep(status: u16, body: &Arc<str>) -> Response<Body> {
    let mut response = Response::new(Body::full(bytes::Bytes::copy_from_slice(body.as_bytes())));
    // The configuration has checked it.
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(super::answer::ERROR, HeaderValue::from_static(ErrorCode::Asleep.name()));
    response
}

#[cfg(test)]
mod tests {
    /// A held request is its connection and this.
    #[test]
    fn a_requests_future_is_small() {
        fn size<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = size(super::serve);
        assert!(bytes <= 4096, "{bytes}");
    }
}
