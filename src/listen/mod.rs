//! Client connections, below HTTP: listeners that come and go, data threads, limits, deadlines.
//!
//! A data thread is one operating-system thread with a runtime of its own; a connection lives on the
//! thread that it was given at its beginning, with everything its requests need, so that nothing on
//! the warm path is shared between threads but counters. What is not tied to a connection (names,
//! logs, life cycles) runs elsewhere.
//!
//! [`Listeners`] is the handle from outside: which addresses, how many connections, the end.

mod accept;
mod bind;
mod client;
mod clock;
mod connection;
mod count;
mod listeners;
mod refuse;
mod scan;
mod thread;

pub use bind::BindError;
pub use listeners::{Listeners, Opened, Options};
pub use thread::Quiet;

pub(crate) use client::{Client, Phase};
#[cfg(test)]
pub(crate) use clock::Clock;
