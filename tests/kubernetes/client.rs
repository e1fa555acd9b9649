//! A plain client of an API server, which shows exactly what came.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use futures_util::StreamExt;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};

use crate::fixture::kinds;
use crate::fixture::object::Object;

/// What tells the tests' own requests from the router's.
pub const AGENT: &str = "landscape-router-tests";

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
}

impl Reply {
    /// The body of an answer that must be a good one.
    pub fn good(self) -> Value {
        assert!(self.status < 300, "{}: {:#}", self.status, self.body);
        self.body
    }

    /// The message of a refusal that must be one with this status and reason.
    pub fn refused(self, status: u16, reason: &str) -> String {
        assert_eq!((self.status, self.body.text("/reason")), (status, reason), "{:#}", self.body);
        assert_eq!((self.body.text("/kind"), self.body.int("/code")), ("Status", i64::from(status)), "{:#}", self.body);
        self.body.text("/message").to_owned()
    }
}

/// A client, and the runtime that it lives on.
pub struct Client {
    client: kube::Client,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// Of a kubeconfig file.
    pub fn new(kubeconfig: &Path) -> Self {
        // Another test of this process may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let config = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
        let client = runtime.block_on(async {
            let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await.unwrap();
            kube::Client::try_from(config).unwrap()
        });
        Self { client, runtime }
    }

    /// Any request.
    pub fn call(&self, method: &str, path: &str, content: &str, body: Option<&Value>) -> Reply {
        self.try_call(method, path, content, body).unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    /// Any request, of a server that may not be there.
    pub fn try_call(&self, method: &str, path: &str, content: &str, body: Option<&Value>) -> kube::Result<Reply> {
        let bytes = body.map(|b| b.to_string().into_bytes()).unwrap_or_default();
        let request = http::Request::builder().method(method).uri(path).header("user-agent", AGENT);
        let request = if content.is_empty() { request } else { request.header("content-type", content) };
        let request = request.body(Body::from(bytes)).unwrap();
        self.runtime.block_on(async {
            let answer = self.client.send(request).await?;
            let status = answer.status().as_u16();
            let bytes = answer.into_body().collect().await?.to_bytes();
            let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
            Ok(Reply { status, body: serde_json::from_slice(&bytes).unwrap_or_else(|_| text()) })
        })
    }

    /// A watch: its events until the stream ends, or nobody listens.
    pub fn watch(&self, path: &str) -> Events {
        let (to, from) = mpsc::channel();
        let client = self.client.clone();
        let request = http::Request::get(path).header("user-agent", AGENT).body(Body::empty()).unwrap();
        self.runtime.spawn(async move {
            let answer = match client.send(request).await {
                Ok(answer) => answer,
                Err(e) => return drop(to.send(json!({ "type": "FAILED", "object": e.to_string() }))),
            };
            let mut frames = answer.into_body().into_data_stream();
            let mut rest = Vec::new();
            while let Some(Ok(frame)) = frames.next().await {
                rest.extend_from_slice(&frame);
                while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    let event = serde_json::from_slice(&line).unwrap_or_else(|e| panic!("{e} in a watch"));
                    if to.send(event).is_err() {
                        return;
                    }
                }
            }
            if let Ok(whole) = serde_json::from_slice(&rest) {
                let _ = to.send(whole);
            }
        });
        Events { from }
    }
}

/// The events of a watch.
pub struct Events {
    from: mpsc::Receiver<Value>,
}

impl Events {
    /// The next one; `None` once the stream has ended.
    pub fn next(&self) -> Option<Value> {
        match self.from.recv_timeout(Duration::from_secs(30)) {
            Ok(event) => Some(event),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("nothing came in a watch"),
        }
    }

    /// Type and name of the next one that is no bookmark.
    pub fn next_named(&self) -> (String, String) {
        loop {
            let event = self.next().expect("an event");
            if event["type"] != "BOOKMARK" {
                return (event.text("/type").into(), event.text("/object/metadata/name").into());
            }
        }
    }
}

/// The path of a resource's objects, or of one.
pub fn path(namespace: &str, plural: &str, name: &str) -> String {
    let kind = kinds::of(plural);
    let root =
        if kind.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}/{}", kind.group, kind.version) };
    let within = if kind.namespaced { format!("/namespaces/{namespace}") } else { String::new() };
    let name = if name.is_empty() { String::new() } else { format!("/{name}") };
    format!("{root}{within}/{plural}{name}")
}
