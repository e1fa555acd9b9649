//! What the access log tells of one request.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, Version, uri::PathAndQuery};

use crate::backend::ReplicaId;
use crate::landscape::ServiceKey;

/// One request, from its first byte to the end of its answer. Made on a data thread by cloning
/// what is cheap to clone (reference counts); everything that costs, the log's own thread does.
#[derive(Clone, Debug)]
pub struct AccessRecord {
    /// When its first byte came.
    pub at: SystemTime,
    /// From its first byte to the end of the answer.
    pub duration: Duration,
    /// The client's address, behind trusted proxies the one they name.
    pub client: IpAddr,
    /// The method.
    pub method: Method,
    /// The version that the client speaks.
    pub version: Version,
    /// As the client sent it; `None` where there was none.
    pub host: Option<HeaderValue>,
    /// As the client sent it. The query is not written: it may hold secrets.
    pub path: Option<PathAndQuery>,
    /// What the client got; 499 if it left before an answer.
    pub status: u16,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body, or of an upgraded stream towards the client.
    pub bytes_out: u64,
    /// The service; `None` where none was found.
    pub service: Option<ServiceKey>,
    /// The replica that answered.
    pub replica: Option<ReplicaId>,
    /// How long it was held for a cold service; zero if it was not.
    pub held: Duration,
    /// Attempts after the first one.
    pub retries: u32,
    /// The code of an answer that the router made itself.
    pub error: Option<&'static str>,
    /// Who the client says it is.
    pub user_agent: Option<HeaderValue>,
    /// The request's id, where it has one.
    pub request_id: Option<HeaderValue>,
}
