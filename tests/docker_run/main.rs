//! The whole router with `backend: docker` against a real engine, seen from outside. Every test has a
//! router of its own and removes only what carries its label. See `tests/docker/ensure-docker.sh`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../docker/rig.rs"]
#[allow(dead_code)]
mod rig;
#[path = "../support/mod.rs"]
mod support;

mod town;

mod changes;
mod endures;
mod engine;
mod fails;
mod private;
mod serves;
mod sleeps;
