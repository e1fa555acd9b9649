use super::*;
use crate::admin::server::tests::{Rig, rig};
use crate::backend::LogLine;
use crate::cli::api::{Overview, Reloaded, Service, Why};
use crate::cli::remote::{Name, path};
use serde_json::{Value, json};
use std::time::SystemTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

fn client(port: u16, token: Option<&str>) -> Client {
    let host = "127.0.0.1".to_owned();
    let looked = vec!["/nowhere/admin.token".into()];
    Client { url: format!("http://{host}:{port}"), host, port, token: token.map(str::to_owned), looked, unusable: None }
}

fn trusted(r: &Rig) -> Client {
    client(r.port(), Some(r.token.reveal()))
}

#[test]
fn urls_are_a_host_and_a_port() {
    let parsed = |url| parse(url).ok();
    let want = |host: &str, port| Some((host.to_owned(), port));
    assert_eq!(parsed("http://127.0.0.1:9090"), want("127.0.0.1", 9090));
    assert_eq!(parsed("localhost:1/"), want("localhost", 1));
    assert_eq!(parsed("http://[::1]:9090/"), want("[::1]", 9090));
    for bad in ["", "http://", "https://a:1", "ftp://a:1", "http://a", "http://a:1/x", "http://u@a:1", "a:99999"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_files_token_stays_on_this_machine() {
    assert!(is_here("localhost") && is_here("127.0.0.1") && is_here("[::1]"));
    // TEST-NET-1 is nobody's.
    assert!(!is_here("192.0.2.1") && !is_here("router.example"));
}

#[tokio::test]
async fn what_the_router_says_is_understood() {
    let r = rig().await;
    let c = trusted(&r);
    let all: Overview = c.get(&path(&["landscapes"])).await.unwrap();
    assert_eq!((all.router.version.as_str(), all.landscapes.len()), ("1.2.3", 2));
    assert_eq!(all.landscapes[0].services[0].state.as_deref(), Some("off"));
    let name: Name = "4711".parse().unwrap();
    assert_eq!(name.services(&c).await.unwrap(), ["web"], "those that something runs for");
    let why: Why = c.get(&name.path("web", &["why"])).await.unwrap();
    assert_eq!(why.sentences[0], "It is off; a request wakes it.");
    let woken: Service = c.send(Method::POST, &name.path("web", &["wake"])).await.unwrap();
    assert_eq!((woken.name.as_str(), r.fake.commands.lock()[0].as_str()), ("web", "Wake 4711/web"));
    let reloaded: Reloaded = c.send(Method::POST, &path(&["reload"])).await.unwrap();
    assert_eq!(reloaded.changes, ["4711/web: rolled"]);
}

#[tokio::test]
async fn refusals_are_told_with_what_to_do() {
    let r = rig().await;
    let c = trusted(&r);
    let text = |r: Result<Value, Failure>| r.unwrap_err().to_string();
    let unknown = c.send(Method::POST, "/api/v1/landscapes/4711/services/wep/wake").await;
    assert_eq!(text(unknown), "There is no service 4711/wep. Did you mean 4711/web?");
    *r.fake.broken.lock() = vec!["router.yaml:3:1: error: x".into()];
    let reload = text(c.send(Method::POST, "/api/v1/reload").await);
    assert_eq!(reload, "The configuration has mistakes; everything is as it was.\n  router.yaml:3:1: error: x");
    let none = text(client(r.port(), None).send(Method::POST, "/api/v1/reload").await);
    assert!(none.contains("/nowhere/admin.token"), "{none}");
    let wrong = text(client(r.port(), Some("00")).send(Method::POST, "/api/v1/reload").await);
    assert!(wrong.contains("not this router's"), "{wrong}");
}

#[tokio::test]
async fn nobody_and_strangers_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let failure = client(port, None).get::<Value>("/").await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Unreachable { .. }) && failure.to_string().contains("is it running"),
        "{failure}"
    );

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let other = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
    });
    let failure = client(port, None).get::<Value>("/").await.unwrap_err();
    assert!(matches!(failure, Failure::Strange { .. }), "{failure}");
    other.await.unwrap();
}

#[tokio::test]
async fn streams_are_read_line_by_line() {
    let r = rig().await;
    let c = trusted(&r);
    let (tx, rx) = mpsc::channel(2);
    r.fake.logs.lock().push_back(rx);
    let line = |text: &str| LogLine {
        at: SystemTime::UNIX_EPOCH,
        source: "0".into(),
        step: None,
        stderr: false,
        text: text.into(),
    };
    tx.send(line("eins")).await.unwrap();
    let mut lines =
        c.follow("/api/v1/landscapes/4711/services/web/logs?follow=true", "application/x-ndjson").await.unwrap();
    let text = |line: Option<String>| serde_json::from_str::<Value>(&line.unwrap()).unwrap()["text"].clone();
    assert_eq!(text(lines.next().await.unwrap()), "eins");
    tx.send(line("zwei")).await.unwrap();
    assert_eq!(text(lines.next().await.unwrap()), "zwei");
    drop(tx);
    assert_eq!(lines.next().await.unwrap(), None);

    let mut events = c.follow("/api/v1/events", "text/event-stream").await.unwrap();
    assert_eq!(events.next().await.unwrap().as_deref(), Some("retry: 1000"));
    r.fake.events.publish(None, &json!({ "event": "state" }));
    let mut seen = String::new();
    while !seen.starts_with("data: ") {
        seen = events.next().await.unwrap().unwrap();
    }
    assert_eq!(seen, "data: {\"event\":\"state\"}");
}
