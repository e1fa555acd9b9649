//! One request through the router: checks, route, lease or hold, headers, forwarding, answer.
//!
//! Everything here runs on a data thread (see [`crate::listen`]) and stays on it: what a request
//! holds is `Rc`, its deadline is a cell that the thread's sweep reads, its upstream connection is
//! driven inside the request's own future.

mod again;
mod answer;
mod bell;
mod body;
mod checks;
pub mod code;
mod detect;
pub mod endpoint;
mod forward;
mod forwarded;
pub mod headers;
mod hold;
mod informational;
mod local;
mod page;
mod pool;
pub mod private;
mod raw;
mod replay;
mod request_body;
mod service;
pub mod snapshot;
mod sticky;
pub mod targets;
mod traffic;
mod tunnel;
mod turn;
mod upstream;
mod usage;
pub(crate) mod wire;

#[cfg(test)]
mod tests;

pub use code::ErrorCode;
pub use endpoint::{Endpoint, Target};
pub use local::Shared;
pub use private::{Entry, PrivatePort, PrivatePorts, Segment, Way};
pub use snapshot::{CurrentSnapshot, Rules, Snapshot};
pub use targets::Targets;

pub(crate) use answer::Answer;
pub(crate) use local::Local;
pub(crate) use raw::{Sorted, relay, sort};
pub(crate) use service::serve;
pub(crate) use tunnel::Tunnel;
