//! `prepare` and `test`.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ipnet::Ipv4Net;
use landscape_router::backend::{Attached, Backend, FailureKind, Job, Network, Stage};
use landscape_router::config::settings::Namespaces;
use landscape_router::landscape::LandscapeId;

use crate::bench::{Bench, eventually, lives, numbers, shims};

fn job(bench: &Bench, steps: &[(&str, &str)]) -> Job {
    Job::new(Arc::new(bench.landscape(steps)), Stage::Prepare, Duration::from_secs(60))
}

#[tokio::test]
async fn a_preparation_runs_its_steps_and_tells_how_far_it_is() {
    let bench = Bench::new();
    let told = Mutex::new(Vec::new());
    let job = job(&bench, &[("Install", "echo one > order"), ("", ""), ("Build", "echo two >> order; echo built")]);
    bench.backend.run_job(job, &|p| told.lock().unwrap().push(p.text)).await.unwrap();
    assert_eq!(bench.file("order").await, "one\ntwo\n");
    assert_eq!(*told.lock().unwrap(), ["prepare step 1 of 3: Install", "prepare step 3 of 3: Build"]);
    let mut lines = bench.follow(&bench.service(&[])).await;
    let line = lines.wait_for("built").await;
    assert_eq!((line.source.as_str(), line.step), ("prepare", Some(3)));
}

#[tokio::test]
async fn a_failing_step_stops_the_rest_and_says_so() {
    let bench = Bench::new();
    let job = job(&bench, &[("Install", "echo no network >&2; exit 4"), ("Build", "echo > built")]);
    let failure = bench.backend.run_job(job, &|_| {}).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Prepare);
    assert!(failure.detail.starts_with("prepare: exit status 4 after "), "{}", failure.detail);
    assert!(failure.detail.ends_with("in step 1 (Install)"), "{}", failure.detail);
    assert_eq!(failure.log_tail, ["no network"]);
    assert!(!bench.root().join("built").exists());
}

#[tokio::test]
async fn nothing_to_prepare_is_done_at_once() {
    let bench = Bench::new();
    bench.backend.run_job(job(&bench, &[("", "")]), &|_| {}).await.unwrap();
}

#[tokio::test]
async fn a_late_preparation_is_ended() {
    let bench = Bench::new();
    let late = Job { deadline: Duration::from_millis(300), ..job(&bench, &[("", "sleep 600")]) };
    let failure = bench.backend.run_job(late, &|_| {}).await.unwrap_err();
    assert!(failure.detail.contains("was still running after 300 ms"), "{}", failure.detail);
}

#[tokio::test]
async fn dropping_a_preparation_ends_it() {
    let bench = Bench::new();
    let job = job(&bench, &[("", "echo $$ > pid; exec sleep 600")]);
    let pid = tokio::select! {
        result = bench.backend.run_job(job, &|_| {}) => panic!("{result:?}"),
        text = bench.file("pid") => numbers(&text)[0],
    };
    eventually(|| (!lives(pid)).then_some(())).await;
}

#[tokio::test]
async fn of_a_preparation_that_was_called_off_nothing_is_left_when_that_is_told() {
    let bench = Bench::new();
    // Its end takes a while, and is waited for.
    let job = job(&bench, &[("", "trap 'sleep 0.3; exit 1' TERM; echo $$ > pid; while :; do sleep 0.1; done")]);
    let called_off = job.called_off.clone();
    let running = bench.backend.run_job(job, &|_| {});
    tokio::pin!(running);
    let pid = tokio::select! {
        result = &mut running => panic!("{result:?}"),
        text = bench.file("pid") => numbers(&text)[0],
    };
    called_off.cancel();
    assert_eq!(running.await.unwrap_err().kind, FailureKind::Prepare);
    assert!(!lives(pid));
}

#[tokio::test]
async fn a_preparation_that_a_crashed_router_began_is_ended_before_anything_else() {
    let bench = Bench::new();
    let job = job(&bench, &[("", "echo $$ > pid; trap '' TERM; while :; do sleep 1; done")]);
    let pid = {
        let running = bench.backend.run_job(job, &|_| {});
        tokio::pin!(running);
        let pid = tokio::select! {
            result = &mut running => panic!("{result:?}"),
            text = bench.file("pid") => numbers(&text)[0],
        };
        let (observer, _seen) = tokio::sync::mpsc::unbounded_channel();
        let next = landscape_router::backend::process::ProcessBackend::new(bench.options.clone(), observer).unwrap();
        assert!(next.adopt().await.unwrap().is_empty());
        pid
    };
    assert!(!lives(pid));
    eventually(|| shims(&bench.options.state).is_empty().then_some(())).await;
}

/// One without an address left.
#[derive(Debug)]
struct Full;

#[async_trait]
impl Network for Full {
    async fn attach(&self, _: &LandscapeId) -> io::Result<Attached> {
        Err(io::Error::other("no address is left"))
    }

    fn lacks_egress(&self) -> bool {
        false
    }

    async fn keep(&self, _: &LandscapeId, _: Ipv4Addr) -> io::Result<()> {
        Ok(())
    }

    fn release(&self, _: &LandscapeId, _: Ipv4Addr) {}

    fn bridge_name(&self, _: &LandscapeId) -> String {
        String::new()
    }

    async fn bridged(&self, _: &LandscapeId, _: Ipv4Net) -> io::Result<Ipv4Addr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn unbridged(&self, _: &LandscapeId) {}
}

#[tokio::test]
async fn a_preparation_that_gets_no_network_says_so() {
    let bench = Bench::with(|options| {
        options.settings.namespaces = Namespaces::Auto;
        options.network = Some(Arc::new(Full));
    });
    let failure = bench.backend.run_job(job(&bench, &[("", "true")]), &|_| {}).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Prepare);
    assert_eq!(failure.detail, "its network cannot be made: no address is left");
}
