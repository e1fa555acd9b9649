//! Several routers as one: who switches a service off, and that nobody uses it then.
//!
//! Each router serves everything, and any may wake a service. The API server is all that they share.
//! [`core`] decides, [`view`] knows what the API server has said, [`object`] is what is written there.

pub mod core;
pub mod object;
pub mod view;

pub use self::core::{Core, Order, Stand, Timing, Word};
