//! The heart: when a service runs.

mod actor;
mod adoption;
mod budget;
mod command;
pub mod consent;
pub mod events;
#[cfg(test)]
pub(crate) mod fixtures;
mod follower;
mod gate;
mod handles;
mod hold;
mod landscape;
mod ledger;
pub mod machine;
mod neighbours;
mod pins;
mod prepare;
mod probes;
mod queue;
mod registry;
pub mod replica;
pub mod service;
mod signals;
pub mod status;
#[cfg(test)]
mod tests;
pub mod word;

pub use budget::GateBudget;
pub use command::{Command, CommandError, Handle};
pub use events::{Cause, LifeEvent, What};
pub use follower::Follower;
pub use neighbours::Neighbours;
pub use registry::{Lifecycle, LifecycleSettings, ServiceSetup};
pub use replica::{Lease, Outcome, Replica, Use};
pub use service::{Demand, Held, ReadySet, Refusal, Service};
pub use status::{ReplicaState, ReplicaStatus, ServiceStatus, StateName, Why};
