//! Bad input and bad luck: each with a clear error and nothing lost, seen from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod apps;
mod boundary;
mod edits;
mod files;
mod gate;
mod malformed;
mod scarce;
mod secrets;
