//! The router on Kubernetes, and the cluster that it is tested with.
//!
//! `semantics` holds API server, controllers and kubelet to what they have to do; `suite` runs the router and looks
//! at it from outside. Both run, unchanged, in one of two clusters:
//!
//! * the `fixture`, one for each test, whose containers are processes of this machine: nothing is needed;
//! * a real one, where `KUBECONFIG` says which. Every test makes a namespace `lr-…` there and removes it. Pod
//!   addresses have to be reachable from this machine; no kube-proxy, DNS or ingress is asked for. What a real
//!   cluster cannot be made to do is skipped, and said to be.
//!
//! | variable | what it says |
//! |---|---|
//! | `KUBECONFIG` | the real cluster |
//! | `LANDSCAPE_ROUTER_TEST_IMAGE` | the image of the pods, which is on every node: the pull policy is `Never`. Default `lr-test/app:1`; `image.sh` makes it, and says what has to be in another one |
//! | `LANDSCAPE_ROUTER_TEST_API_STOP`, `…_API_START` | shell commands that stop and start the API server of a real cluster; without them the tests that need its absence are skipped |
//! | `LANDSCAPE_ROUTER_TEST_ABSENCE` | for how many seconds the API server is away, 8 unless said |
//!
//! ```sh
//! cargo build --example test-app && tests/kubernetes/image.sh /tmp/app.tar
//! ctr -n k8s.io images import /tmp/app.tar
//! KUBECONFIG=~/.kube/config cargo test --test kubernetes
//! ```
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
