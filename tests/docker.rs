//! The Docker backend against a real engine. Every test has an instance of its own and removes only
//! what carries its label. See `tests/docker/ensure-docker.sh`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "docker/rig.rs"]
mod rig;

#[path = "docker/engine.rs"]
mod engine;
#[path = "docker/images.rs"]
mod images;
#[path = "docker/life.rs"]
mod life;
#[path = "docker/logs.rs"]
mod logs;
#[path = "docker/mounts.rs"]
mod mounts;
#[path = "docker/runs.rs"]
mod runs;
