//! The router dies, ends or is replaced; its applications do not notice: seen from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{BufReader, Write};
use std::time::Duration;

use support::http::{connect, read_answer};
use support::{Load, Router, Site, router_yaml};

const SHOP: &str = "schemaVersion: v0.2
run:
  web:
    steps: [{ command: ./test-app }]
    replicas: 2
    network: { paths: [{ port: 3000, path: / }] }
  slow:
    steps: [{ command: \"while [ ! -e go ]; do sleep 0.02; done; exec ./test-app\" }]
    network: { paths: [{ port: 3000, path: /slow }] }
";

/// The applications of this site that run: their pids, by the folder they run in.
fn running(site: &Site) -> Vec<u32> {
    let root = std::fs::canonicalize(site.path().join("shop")).unwrap();
    let mut pids: Vec<u32> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == root))
        .filter(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.starts_with(b"./test-app")))
        .collect();
    pids.sort_unstable();
    pids
}

fn both_ready(router: &Router) {
    let first = router.shop("/");
    assert_eq!(first.status, 200, "{}\n{}", first.text(), router.log());
    router.await_ready("web", 2);
}

#[test]
fn a_killed_router_finds_its_replicas_again() {
    let site = Site::new(&router_yaml(""), SHOP);
    let router = Router::start(&site);
    both_ready(&router);
    let before = running(&site);
    assert_eq!(before.len(), 2);
    router.kill();
    let router = Router::start(&site);
    let answer = router.shop("/");
    assert_eq!((answer.status, answer.text().contains("service=web")), (200, true));
    assert_eq!(running(&site), before, "the same processes, none twice");
}

#[test]
fn a_router_that_ends_takes_its_processes_along() {
    let site = Site::new(&router_yaml(""), SHOP);
    let router = Router::start(&site);
    both_ready(&router);
    let code = router.stop();
    assert_eq!(code, Some(0));
    assert_eq!(running(&site), [] as [u32; 0]);
}

#[test]
fn ending_waits_for_what_is_in_flight() {
    let site = Site::new(&router_yaml(""), SHOP);
    let router = Router::start(&site);
    both_ready(&router);
    let at = router.http;
    let (sent, started) = std::sync::mpsc::channel();
    let asking = std::thread::spawn(move || {
        let mut stream = connect(at).unwrap();
        stream.write_all(b"GET /stream/5/200 HTTP/1.1\r\nHost: shop.localhost\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        std::io::BufRead::fill_buf(&mut reader).unwrap();
        sent.send(()).unwrap();
        read_answer(&mut reader).unwrap()
    });
    started.recv().unwrap();
    assert_eq!(router.stop(), Some(0));
    let answer = asking.join().unwrap();
    assert_eq!(answer.text().matches("data:").count(), 5, "{}", answer.text());
}

#[test]
fn a_second_router_on_the_same_state_is_refused() {
    let site = Site::new(&router_yaml(""), SHOP);
    let _router = Router::start(&site);
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_landscape-router"))
        .args(["run", "--config"])
        .arg(site.path().join("router.yaml"))
        .env("XDG_RUNTIME_DIR", site.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(text.contains("--take-over"), "{text}");
}

#[test]
fn a_take_over_loses_no_request() {
    let site = Site::new(&router_yaml(""), SHOP);
    let mut old = Router::start(&site);
    both_ready(&old);
    let before = running(&site);
    let at = old.http;
    let load = Load::start(at, "shop.localhost", "/", 4, Duration::from_millis(2));
    load.await_more(50);
    let ask = |path: &'static str| {
        let (sent, begun) = std::sync::mpsc::channel();
        let asking = std::thread::spawn(move || {
            let mut stream = connect(at).unwrap();
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: shop.localhost\r\n\r\n").as_bytes()).unwrap();
            sent.send(()).unwrap();
            read_answer(&mut BufReader::new(stream)).unwrap()
        });
        begun.recv().unwrap();
        asking
    };
    let stream = ask("/stream/20/100");
    let held = ask("/slow/hello");
    old.await_state("slow", "starting");
    let new = Router::start_with(&site, &["--take-over"]);
    assert_eq!(new.http, at, "the listeners were handed over");
    site.go();
    load.await_more(100);
    let stream = stream.join().unwrap();
    assert_eq!(stream.text().matches("data:").count(), 20, "an open stream goes on: {}", stream.text());
    let held = held.join().unwrap();
    assert_eq!(held.status, 200, "a held request is served: {}\n{}\n---\n{}", held.text(), old.log(), new.log());
    let (_, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}\n{}\n---\n{}", old.log(), new.log());
    assert_eq!(old.wait(), Some(0), "the old router ends when nothing is left to do");
    let after = running(&site);
    assert!(before.iter().all(|pid| after.contains(pid)), "{before:?} {after:?}");
    assert_eq!(after.len(), 3, "the same two, and the slow one once");
}

#[test]
fn a_second_take_over_knows_what_the_first_router_still_forwards() {
    let site = Site::new(&router_yaml("defaults: { idleAfter: 500ms }"), SHOP);
    let first = Router::start(&site);
    let at = first.http;
    let stream = std::thread::spawn(move || {
        let mut stream = connect(at).unwrap();
        stream.write_all(b"GET /stream/60/100 HTTP/1.1\r\nHost: shop.localhost\r\n\r\n").unwrap();
        read_answer(&mut BufReader::new(stream)).unwrap()
    });
    first.await_metric("landscape_router_in_flight_requests{landscape=\"shop\",service=\"web\"}", 1.0);
    let second = Router::start_with(&site, &["--take-over"]);
    let third = Router::start_with(&site, &["--take-over"]);
    let stream = stream.join().unwrap();
    let logs = || format!("{}\n---\n{}\n---\n{}", first.log(), second.log(), third.log());
    assert_eq!(stream.text().matches("data:").count(), 60, "it is use, not idleness:\n{}", logs());
}

#[test]
fn what_was_sent_to_sleep_before_a_take_over_ends_its_requests_and_sleeps() {
    let site = Site::new(&router_yaml(""), SHOP);
    let mut old = Router::start(&site);
    both_ready(&old);
    let at = old.http;
    let stream = std::thread::spawn(move || {
        let mut stream = connect(at).unwrap();
        stream.write_all(b"GET /stream/30/100 HTTP/1.1\r\nHost: shop.localhost\r\n\r\n").unwrap();
        read_answer(&mut BufReader::new(stream)).unwrap()
    });
    old.await_metric("landscape_router_in_flight_requests{landscape=\"shop\",service=\"web\"}", 1.0);
    assert!(old.cli(&site, &["sleep", "shop/web"]).status.success());
    old.await_state("web", "draining");
    let new = Router::start_with(&site, &["--take-over"]);
    let stream = stream.join().unwrap();
    let logs = format!("{}\n---\n{}", old.log(), new.log());
    assert_eq!(stream.text().matches("data:").count(), 30, "it had its time to end:\n{logs}");
    new.await_state("web", "off");
    assert!(running(&site).is_empty());
    assert_eq!(old.wait(), Some(0));
    assert_eq!(new.shop("/").status, 200, "the next request wakes it");
}
