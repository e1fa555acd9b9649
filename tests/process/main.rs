//! The process backend with real shells, seen from outside: what runs, what is told, what is left.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bench;
mod ends;
mod jobs;
mod life;
mod logs;
mod ports;
mod routers;
