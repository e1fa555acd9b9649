//! The names by which services of a landscape find each other in a cluster.
//!
//! Each name is a Service without a selector, whose EndpointSlice leads to the router: to one port of it for
//! each port of the name. So the router knows what was called by the port, and who calls by the address: it
//! follows the pods of every landscape.
//!
//! | file | concept |
//! |---|---|
//! | `wanted` | which names there are to be; without IO |
//! | `objects` | what a name is in a cluster; without IO |
//! | `shelf` | where these objects are kept: the API, or memory in tests |
//! | `keeper` | makes what is there what is wanted |
//! | `pods` | pods as callers; without IO |
//! | `follow` | watches them |

mod follow;
mod keeper;
mod objects;
mod pods;
mod shelf;
mod wanted;

pub use follow::{Followed, follow};
pub(super) use keeper::adopt_ports;
pub use keeper::{Keeper, Names, Opener};
pub use objects::{Ports, Site};
pub use shelf::ApiShelf;
pub use wanted::{named, wanted};
