//! Several routers as one: who switches a service off, and that nobody uses it then.
//!
//! Each router serves everything, and any may wake a service. The API server is all that they share.
//!
//! | file | concept |
//! |---|---|
//! | `core` | what is decided; without IO |
//! | `view` | what the API server has said, and how far behind that is |
//! | `object` | what is written there |
//! | `members` | which routers there are, for what each keeps for itself |
//! | `driver` | the task that carries it out |
//! | `leases` | the Leases, by the client |
//! | `scale` | from some replicas to none, if nothing has changed |

pub mod core;
mod driver;
mod leases;
mod members;
pub mod object;
mod scale;
pub mod view;

pub use self::core::Timing;
pub use driver::{Cluster, ClusterOptions, ClusterStatus, Connect, FindWorkload, Tell};
pub use members::{KnownMembers, Members};
pub use scale::Workload;
