//! The router on Kubernetes, and the cluster that it is tested with: the fixture, or a real one where `KUBECONFIG` says so.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)]
mod fixture;
#[path = "../support/mod.rs"]
mod support;

mod client;
mod plan;
mod routers;
mod semantics;
mod suite;
mod town;

/// Not a test: a cluster to play with, for as many seconds as `FIXTURE_SECONDS` says.
#[test]
#[ignore = "it only waits"]
fn a_cluster_to_play_with() {
    let fixture = fixture::Fixture::start();
    eprintln!("export KUBECONFIG={}", fixture.kubeconfig().display());
    let seconds = std::env::var("FIXTURE_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(600);
    std::thread::sleep(std::time::Duration::from_secs(seconds));
}
