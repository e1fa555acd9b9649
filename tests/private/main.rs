//! The private network with process replicas, seen from outside and from within: real namespaces, packet
//! filters and name servers of this machine, and a real redis. Without the rights for these every test says
//! that it was skipped; `LR_PRIVATE_TESTS=1` makes that a failure.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod burst;
mod chain;
mod ends;
mod faults;
mod http;
mod isolation;
mod land;
mod machine;
mod names;
mod ports;
mod restart;
