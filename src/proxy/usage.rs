//! What a request holds from its first byte to the end of its answer, and what is noted then.
//!
//! It travels from the request's future into the answer's body or the tunnel and is dropped with
//! it: at the end, when the client leaves, and when something panics.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Version, header};

use super::endpoint::{Endpoint, Target};
use super::local::Local;
use crate::backend::ReplicaId;
use crate::lifecycle::Lease;
use crate::listen::Client;
use crate::observe::AccessRecord;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What is noted for a client that left before an answer.
const LEFT: u16 = 499;

/// See the module's words.
#[derive(Debug)]
pub(super) struct Usage {
    local: Rc<Local>,
    client: Rc<Client>,
    began: Instant,
    status: u16,
    endpoint: Option<Arc<Endpoint>>,
    lease: Option<Lease>,
    log: Option<Box<Line>>,
}

/// What the access log wants, where one is written.
#[derive(Debug)]
struct Line {
    method: Method,
    version: Version,
    host: Option<HeaderValue>,
    path: Option<PathAndQuery>,
    user_agent: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    forwarded_for: Option<HeaderValue>,
    replica: Option<ReplicaId>,
    /// Since when it is held, while it is.
    holding: Option<Instant>,
    held: Duration,
    retries: u32,
    error: Option<&'static str>,
    bytes_out: u64,
}

impl Line {
    fn hold_ends(&mut self) {
        if let Some(since) = self.holding.take() {
            self.held += since.elapsed();
        }
    }
}

impl Usage {
    /// A request begins.
    pub fn begin<B>(local: &Rc<Local>, client: &Rc<Client>, request: &Request<B>) -> Self {
        let log = local.shared().log.is_on().then(|| {
            let field = |name: &HeaderName| request.headers().get(name).cloned();
            Box::new(Line {
                method: request.method().clone(),
                version: request.version(),
                host: field(&header::HOST),
                path: request.uri().path_and_query().cloned(),
                user_agent: field(&header::USER_AGENT),
                request_id: field(&X_REQUEST_ID),
                forwarded_for: super::forwarded::chain(request.headers()),
                replica: None,
                holding: None,
                held: Duration::ZERO,
                retries: 0,
                error: None,
                bytes_out: 0,
            })
        });
        Self {
            local: local.clone(),
            client: client.clone(),
            began: Instant::now(),
            status: LEFT,
            endpoint: None,
            lease: None,
            log,
        }
    }

    /// The client's connection.
    pub fn client(&self) -> &Rc<Client> {
        &self.client
    }

    /// Its thread's part of the proxy.
    pub fn local(&self) -> &Rc<Local> {
        &self.local
    }

    /// The route was found.
    pub fn route_to(&mut self, endpoint: &Arc<Endpoint>) {
        if let Target::Url(_) = endpoint.target {
            endpoint.stats.forwarding.inc();
        }
        self.endpoint = Some(endpoint.clone());
    }

    /// Where the route leads.
    pub fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        self.endpoint.as_ref()
    }

    /// Uses a replica from now on; the one before is given back.
    pub fn lease(&mut self, lease: Lease) {
        if let Some(line) = &mut self.log {
            line.replica = Some(lease.replica().id);
        }
        self.lease = Some(lease);
    }

    /// Gives the replica back before the end.
    pub fn release(&mut self) {
        self.lease = None;
    }

    /// The replica in use.
    pub fn current(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// It is held from now on.
    pub fn hold_begins(&mut self) {
        if let Some(line) = &mut self.log {
            line.holding = Some(Instant::now());
        }
    }

    /// It is held no longer, whatever comes now.
    pub fn hold_ends(&mut self) {
        if let Some(line) = &mut self.log {
            line.hold_ends();
        }
    }

    /// One more attempt.
    pub fn retried(&mut self) {
        if let Some(endpoint) = &self.endpoint {
            endpoint.stats.retries.inc();
        }
        if let Some(line) = &mut self.log {
            line.retries += 1;
        }
    }

    /// The answer's head is known.
    pub fn answered(&mut self, status: StatusCode, error: Option<&'static str>) {
        self.status = status.as_u16();
        if let Some(line) = &mut self.log {
            line.error = error;
        }
    }

    /// Bytes of the answer's body.
    pub fn sent(&mut self, bytes: usize) {
        if let Some(line) = &mut self.log {
            line.bytes_out += bytes as u64;
        }
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        self.client.answer_over();
        // A panic on the way is answered with 500 by whoever catches it.
        let status = if std::thread::panicking() { 500 } else { self.status };
        let duration = self.began.elapsed();
        if let Some(caller) = self.client.caller() {
            caller.requests.inc();
            caller.called();
        }
        let shared = self.local.shared();
        match &self.endpoint {
            Some(endpoint) => {
                if let Target::Url(_) = endpoint.target {
                    endpoint.stats.forwarding.dec();
                }
                endpoint.stats.request(status, duration);
            }
            None => shared.stats.unrouted.request(status, duration),
        }
        let Some(mut line) = self.log.take() else { return };
        // A client that leaves while it is held ends that, too.
        line.hold_ends();
        let client = super::forwarded::client(self.client.peer().ip(), line.forwarded_for.as_ref(), || {
            self.local.loaded().snapshot.rules.trusted_proxies.clone()
        });
        shared.log.log(AccessRecord {
            at: SystemTime::now().checked_sub(duration).unwrap_or(SystemTime::UNIX_EPOCH),
            duration,
            client,
            method: line.method,
            version: line.version,
            host: line.host,
            path: line.path,
            status,
            bytes_in: self.client.bytes_in(),
            bytes_out: line.bytes_out,
            service: self.endpoint.as_ref().map(|e| e.key.clone()),
            replica: line.replica,
            held: line.held,
            retries: line.retries,
            error: line.error,
            user_agent: line.user_agent,
            request_id: line.request_id,
        });
    }
}
