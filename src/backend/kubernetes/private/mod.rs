//! The names by which services of a landscape find each other in a cluster.
//!
//! Each name is a Service without a selector, whose EndpointSlices lead to the routers, one to each: to one port
//! of it for each port of the name. So the router knows what was called by the port, and who calls by the address: it
//! follows the pods of every landscape.
//!
//! | file | concept |
//! |---|---|
//! | `wanted` | which names there are to be; without IO |
//! | `objects` | what a name is in a cluster; without IO |
//! | `others` | which of other routers' slices lead nowhere any more; without IO |
//! | `shelf` | where these objects are kept: the API, or memory in tests |
//! | `keeper` | makes what is there what is wanted |
//! | `pods` | pods as callers; without IO |
//! | `follow` | watches them |

mod follow;
mod keeper;
mod objects;
mod others;
mod pods;
mod shelf;
mod wanted;

pub use follow::{Followed, follow};
pub(super) use keeper::adopt_ports;
pub use keeper::{Keeper, Names, Opener};
pub use objects::{Ports, Site};
/// What EndpointSlices say.
pub(super) mod slices {
    pub use super::objects::{address_of, name_of, router_of, targets_of};
}
pub use shelf::ApiShelf;
pub use wanted::{named, wanted};
