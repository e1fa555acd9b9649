//! The router on Kubernetes, and the cluster that it is tested with: the fixture, or a real one where `KUBECONFIG` says so.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)]
mod fixture;
#[path = "../support/mod.rs"]
mod support;

mod client;
mod semantics;
mod town;
