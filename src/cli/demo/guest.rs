//! Somebody who asks the sample landscape for something.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, CONNECTION, HOST as HOST_FIELD};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use super::sample::HOST;
use crate::cli::remote::Failure;

/// What came of a request.
#[derive(Debug)]
pub(super) struct Visit {
    /// The status.
    pub status: u16,
    /// From the request to the end of its answer.
    pub took: Duration,
    /// Whether it woke the service.
    pub woke: bool,
    /// Why the router answered itself, in words.
    pub refused: Option<String>,
}

/// What an answer of the router's own says (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

/// Asks once, on a connection of its own.
pub(super) async fn visit(to: SocketAddr, path: &str) -> Result<Visit, Failure> {
    let lost = |why: &dyn std::fmt::Display| Failure::Failed(format!("GET {path} was not answered: {why}"));
    let begin = Instant::now();
    let stream = TcpStream::connect(to).await.map_err(|e| lost(&e))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| lost(&e))?;
    // Ends with the answer; its error reaches us through that.
    tokio::spawn(connection);
    let request = Request::get(path)
        .header(HOST_FIELD, format!("{HOST}:{}", to.port()))
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| lost(&e))?;
    let answer = sender.send_request(request).await.map_err(|e| lost(&e))?;
    let status = answer.status().as_u16();
    let has = |name: &str| answer.headers().contains_key(name);
    let (woke, own) = (has("x-landscape-cold-start"), has("x-landscape-error"));
    let body = answer.into_body().collect().await.map_err(|e| lost(&e))?.to_bytes();
    let problem = own.then(|| serde_json::from_slice::<Problem>(&body).ok()).flatten();
    Ok(Visit { status, took: begin.elapsed(), woke, refused: problem.map(|problem| problem.detail) })
}
