//! The admin API: status, commands, logs, events and metrics over HTTP.
//!
//! A connection comes in at [`server`]; [`guard`] refuses what a web page elsewhere could have sent
//! and asks for the token where one is needed; [`route`] names what is asked for; [`answer`] asks the
//! [`Model`], which is the rest of the router as this room sees it. `docs/admin-api.md` tells users
//! the same from their side.

mod answer;
pub mod events;
mod guard;
pub mod model;
mod patient;
mod problem;
mod route;
pub mod server;
mod stream;
pub mod token;
mod why;

pub use events::EventLog;
pub use model::{ConfigHealth, LandscapeView, Life, Model, PrivateView, Refused, Reloaded, RouterView, ServiceView};
pub use server::AdminServer;
pub use token::Token;
