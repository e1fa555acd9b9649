//! The private network: services find each other by name, asleep or not, and no one else can.
//!
//! A landscape's replicas sit on one or two *segments*, bridges of this machine: one that the router
//! makes for processes, each in a network namespace of its own, and one that the Docker Engine makes for
//! containers. Every service has one stable *virtual address*. The router has one listener a segment, to
//! which packet filters redirect the declared ports of its landscape's services, and so knows by the
//! interface that a packet came by whose it is. Names are answered at the segment's gateway. What replicas
//! may reach besides is fenced by packet filters.
//!
//! Replicas on the machine's own network are not kept apart, and find services by name all the same: [`here`]
//! by the same filters, and without rights at addresses of [`loopback`], each by a hosts file ([`hosts`]).

pub mod addresses;
mod departed;
pub mod dns;
pub mod ground;
mod here;
mod hosts;
mod loopback;
pub mod names;
mod network;
mod rejoin;
mod seats;
#[cfg(test)]
mod tests;

use crate::landscape::{ServiceSpec, Workload};

pub use addresses::usual_range;
pub use hosts::{Hosts, HostsFile, Told};
pub use loopback::Loopback;
pub use network::{Footing, Ports, PrivateNetwork};

/// The private ports of a headless service, which has none of its own.
const HEADLESS: [u16; 2] = [80, 3000];

/// The ports at which a service's virtual address answers; none where nothing can.
pub fn ports_of(spec: &ServiceSpec) -> Vec<u16> {
    match spec.workload {
        Workload::Managed { .. } => Vec::new(),
        Workload::Headless => HEADLESS.to_vec(),
        _ => spec.ports.iter().map(|p| p.number).collect(),
    }
}
