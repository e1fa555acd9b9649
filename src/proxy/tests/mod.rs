//! The data path as a whole: real sockets on loopback, clients and upstreams that speak raw bytes.

mod answers;
mod cold;
mod connections;
mod exhaustion;
mod framing;
mod log;
mod malformed;
mod names;
mod panics;
mod retries;
mod sharing;
mod streaming;
mod support;
mod targets;
mod upgrades;
