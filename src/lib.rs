//! landscape-router: one process in front of every workspace.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod admin;
pub mod app;
pub mod backend;
pub mod balance;
mod capabilities;
pub mod cli;
pub mod cluster;
pub mod config;
mod descriptors;
pub mod landscape;
pub mod lifecycle;
pub mod listen;
mod moment;
mod netlink;
pub mod observe;
pub mod private;
pub mod probe;
pub mod proxy;
pub mod route;
pub mod yaml;
