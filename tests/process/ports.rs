//! Ports without namespaces.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use landscape_router::backend::{Backend, FailureKind, Goal, Job, Stage};

use crate::bench::{Bench, FIRST, SECOND, eventually};

const GRACE: Duration = Duration::from_secs(5);

/// A server of nothing but Python's standard library; it listens where it is told.
fn server(port: &str) -> String {
    format!("exec python3 -m http.server --bind 127.0.0.1 {port}")
}

#[tokio::test]
async fn replicas_have_different_ports_and_own_what_listens_there() {
    let mut bench = Bench::new();
    let spec = bench.service(&[&server("$PORT")]);
    bench.want(&spec, &[FIRST, SECOND], Goal::Run, GRACE);
    let at = |addresses: landscape_router::backend::Addresses| addresses.of(spec.primary_port).unwrap();
    let first = at(bench.running(FIRST).await);
    let (mut bench, found) = {
        let second_seen = bench.running(SECOND).await;
        let second = at(second_seen);
        assert_ne!(first, second);
        for (id, own, other) in [(FIRST, &first, &second), (SECOND, &second, &first)] {
            until_listening(own.address).await;
            until_listening(other.address).await;
            bench.backend.owns_listener(&spec.key, id, own).await.unwrap();
            let holder = bench.backend.owns_listener(&spec.key, id, other).await.unwrap_err();
            assert!(holder.contains("python3 (pid "), "{holder}");
        }
        bench.crash_and_adopt().await
    };
    // Adopted ones hold their ports, and are known to from the first moment.
    assert_eq!(found.len(), 2);
    bench.backend.owns_listener(&spec.key, FIRST, &first).await.unwrap();
    bench.running(FIRST).await;
    bench.backend.owns_listener(&spec.key, FIRST, &first).await.unwrap();
    bench.backend.shutdown(true, GRACE).await;
}

#[tokio::test]
async fn a_grandchild_in_a_session_of_its_own_owns_its_listener() {
    let mut bench = Bench::new();
    let spec = bench.service(&["setsid sh -c 'python3 -m http.server --bind 127.0.0.1 $PORT; true' & wait"]);
    let at = bench.run(&spec).await.of(spec.primary_port).unwrap();
    until_listening(at.address).await;
    bench.backend.owns_listener(&spec.key, FIRST, &at).await.unwrap();
    bench.backend.shutdown(true, GRACE).await;
}

#[tokio::test]
async fn an_application_that_ignores_port_on_a_taken_one_fails_with_the_holders_name() {
    let mut bench = Bench::new();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().port();
    let mut spec = bench.service(&[&server(&taken.to_string())]);
    spec.primary_port = taken;
    spec.ports[0].number = taken;
    let mapped = bench.run(&spec).await.of(taken).unwrap();
    assert_ne!(mapped.address.port(), taken);
    let failure = bench.ended(FIRST).await;
    assert_eq!(failure.kind, FailureKind::PortTaken, "{failure:?}");
    assert!(failure.detail.contains(&format!("(pid {})", std::process::id())), "{}", failure.detail);
    assert!(failure.detail.contains(&format!("ignore PORT={}", mapped.address.port())), "{}", failure.detail);
}

#[tokio::test]
async fn a_port_that_an_application_insists_on_is_its_own_again_once_it_can_be() {
    let mut bench = Bench::new();
    let mut spec = bench.service(&[]);
    let port = spec.primary_port;
    let insists = format!("until [ -e free ]; do sleep 0.05; done; {}", server(&port.to_string()));
    spec.workload = bench.service(&[&insists]).workload;
    let first = bench.run(&spec).await.of(port).unwrap();
    assert_eq!(first.address.port(), port);
    // Another program is faster, twice.
    let snatched = TcpListener::bind(first.address).unwrap();
    for _ in 0..2 {
        bench.backend.owns_listener(&spec.key, FIRST, &first).await.unwrap_err();
    }
    bench.want(&spec, &[], Goal::Run, GRACE);
    bench.stopped(FIRST).await;
    drop(snatched);
    let mapped = bench.run(&spec).await.of(port).unwrap();
    assert_ne!(mapped.address.port(), port, "it was lost too often");
    assert_eq!(bench.backend.ignores_mapping(&spec.key, FIRST, port).await, None, "it does not listen yet");
    std::fs::write(bench.root().join("free"), "").unwrap();
    until_listening(first.address).await;
    let why = bench.backend.ignores_mapping(&spec.key, FIRST, port).await.unwrap();
    assert!(why.contains(&format!("port {port} ")) && why.contains("ignore PORT"), "{why}");
    bench.want(&spec, &[], Goal::Run, GRACE);
    bench.stopped(FIRST).await;
    assert_eq!(bench.run(&spec).await.of(port), Some(first));
    bench.backend.shutdown(true, GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_is_given_again_once_its_replica_is_gone() {
    let mut bench = Bench::new();
    let spec = bench.service(&["exec sleep 600"]);
    let before = bench.run(&spec).await;
    // Others are started all the while, and may not hold on to what is given back.
    let others = Bench::new();
    let jobs = async {
        let landscape = Arc::new(others.landscape(&[("", "true")]));
        loop {
            let job = Job::new(landscape.clone(), Stage::Prepare, Duration::from_secs(60));
            others.backend.run_job(job, &|_| {}).await.unwrap();
        }
    };
    let again = async {
        for _ in 0..30 {
            bench.want(&spec, &[], Goal::Run, GRACE);
            bench.stopped(FIRST).await;
            assert_eq!(bench.run(&spec).await, before);
        }
    };
    tokio::select! {
        () = again => {}
        () = jobs => {}
    }
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, spec.primary_port));
    assert_eq!(before.of(spec.primary_port).map(|door| door.address), Some(at));
    bench.backend.shutdown(true, GRACE).await;
}

/// Nothing tells when a server begins to listen; the router itself probes.
async fn until_listening(at: SocketAddr) {
    eventually(|| std::net::TcpStream::connect(at).ok().map(drop)).await;
}
