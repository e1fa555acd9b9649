//! A small HTTP/1 client for the admin API: a connection a request.

use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::api::Problem;
use super::remote::Failure;
use crate::admin::token::{Places, Token, TokenError};

const CONNECT: Duration = Duration::from_secs(5);
/// A reload may take its time; the router itself gives up after a minute.
const ANSWER: Duration = Duration::from_secs(70);
/// A status of thousands of services.
const LONGEST: usize = 64 * 1024 * 1024;
/// A line of a stream.
const LONGEST_LINE: usize = 1024 * 1024;

/// A router's admin listener, and what proves that we may talk to it.
#[derive(Debug)]
pub(super) struct Client {
    url: String,
    host: String,
    port: u16,
    token: Option<String>,
    /// Where a token was looked for.
    looked: Vec<PathBuf>,
    /// A file that was found and cannot be used; told only where the router wants a token.
    unusable: Option<TokenError>,
}

impl Client {
    /// Finds the token by itself: `LANDSCAPE_ROUTER_TOKEN`, or the file that a router of this machine
    /// wrote. The file's is not sent to another machine.
    pub(super) fn new(url: &str) -> Result<Self, Failure> {
        let (host, port) = parse(url)?;
        let mut client =
            Self { url: format!("http://{host}:{port}"), host, port, token: None, looked: Vec::new(), unusable: None };
        client.token =
            std::env::var("LANDSCAPE_ROUTER_TOKEN").ok().map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
        if client.token.is_none() && is_here(&client.host) {
            let places = Places::of_user();
            client.looked = places.files(port);
            match places.find(port) {
                Ok(token) => client.token = token.as_ref().map(Token::reveal).map(str::to_owned),
                Err(e) => client.unusable = Some(e),
            }
        }
        Ok(client)
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.send(Method::GET, path).await
    }

    /// Sends, and reads the whole JSON answer.
    pub(super) async fn send<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, Failure> {
        let answer = self.request(method, path, "application/json").await?;
        let bytes = self.read(answer).await?;
        serde_json::from_slice(&bytes).map_err(|e| self.strange(e))
    }

    /// Asks for an answer without an end, to be read line by line.
    pub(super) async fn follow(&self, path: &str, accept: &str) -> Result<Lines, Failure> {
        let body = self.request(Method::GET, path, accept).await?.into_body();
        Ok(Lines { body, rest: Vec::new(), url: self.url.clone() })
    }

    async fn request(&self, method: Method, path: &str, accept: &str) -> Result<Response<Incoming>, Failure> {
        let target = (self.host.trim_matches(['[', ']']), self.port);
        let stream = match timeout(CONNECT, TcpStream::connect(target)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => return Err(self.unreachable(e)),
            Err(_) => return Err(self.unreachable(format!("no connection within {} s", CONNECT.as_secs()))),
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.unreachable(e))?;
        // Ends with the answer's body; its error reaches us through that.
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, format!("{}:{}", self.host, self.port))
            .header(CONNECTION, "close")
            .header(ACCEPT, accept);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|e| self.strange(e))?;
        let answer = match timeout(ANSWER, sender.send_request(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(e)) => return Err(self.unreachable(e)),
            Err(_) => return Err(self.unreachable(format!("no answer within {} s", ANSWER.as_secs()))),
        };
        if answer.status().is_success() { Ok(answer) } else { Err(self.refused(answer).await) }
    }

    async fn refused(&self, answer: Response<Incoming>) -> Failure {
        let status = answer.status();
        if status == StatusCode::UNAUTHORIZED && self.token.is_none() {
            if let Some(unusable) = &self.unusable {
                return Failure::Token(unusable.to_string());
            }
            return Failure::NoToken { url: self.url.clone(), looked: self.looked.clone() };
        }
        let problem = match self.read(answer).await {
            Ok(bytes) => serde_json::from_slice::<Problem>(&bytes).ok().filter(|p| !p.code.is_empty()),
            Err(failure) => return failure,
        };
        problem.map_or_else(|| self.strange(format!("it answers {status}")), Failure::Refused)
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<Bytes, Failure> {
        match timeout(ANSWER, Limited::new(answer.into_body(), LONGEST).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(e)) => Err(self.unreachable(e)),
            Err(_) => Err(self.unreachable("its answer does not end")),
        }
    }

    fn unreachable(&self, why: impl ToString) -> Failure {
        Failure::Unreachable { url: self.url.clone(), why: why.to_string() }
    }

    fn strange(&self, why: impl ToString) -> Failure {
        Failure::Strange { url: self.url.clone(), why: why.to_string() }
    }
}

/// The lines of an answer without an end.
#[derive(Debug)]
pub(super) struct Lines {
    body: Incoming,
    rest: Vec<u8>,
    url: String,
}

impl Lines {
    /// The next line without its end; `None` when the router ends the answer.
    pub(super) async fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line = self.rest.drain(..=end).collect::<Vec<_>>();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            if self.rest.len() > LONGEST_LINE {
                return Err(Failure::Strange { url: self.url.clone(), why: "a line does not end".into() });
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.rest.extend(frame.data_ref().into_iter().flatten()),
                Some(Err(e)) => return Err(Failure::Unreachable { url: self.url.clone(), why: e.to_string() }),
                None => return Ok(None),
            }
        }
    }
}

/// Host (IPv6 in brackets) and port.
fn parse(url: &str) -> Result<(String, u16), Failure> {
    let bad = |why| Failure::Url { url: url.to_owned(), why };
    let rest = match url.split_once("://") {
        Some(("http", rest)) => rest,
        Some(("https", _)) => return Err(bad("the admin listener speaks http")),
        Some(_) => return Err(bad("its scheme is not http")),
        None => url,
    };
    let authority: http::uri::Authority =
        rest.trim_end_matches('/').parse().map_err(|_| bad("it has to be a host and a port alone"))?;
    if authority.as_str().contains('@') {
        return Err(bad("it may not hold a user"));
    }
    let port = authority.port_u16().ok_or_else(|| bad("the port is missing"))?;
    Ok((authority.host().to_owned(), port))
}

/// Whether the host is this machine: loopback, or an address that a socket can be bound to.
fn is_here(host: &str) -> bool {
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() else { return false };
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
