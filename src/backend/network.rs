//! The private network, as backends put replicas on it.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use ipnet::Ipv4Net;

use crate::landscape::LandscapeId;
use crate::private::ground::Namespace;

/// A network namespace that is connected to its landscape's network.
#[derive(Debug)]
pub struct Attached {
    /// The namespace; it lasts as long as this or a process in it.
    pub namespace: OwnedFd,
    /// Its address.
    pub address: Ipv4Addr,
    /// Who answers for names there.
    pub resolver: Ipv4Addr,
    /// What the namespace hangs on, if it is not this machine's own: lost once nobody holds it any more.
    pub hub: Option<Arc<Namespace>>,
}

/// Networks of landscapes. Without one, replicas are on the machine's or the engine's own.
#[async_trait]
pub trait Network: Send + Sync + fmt::Debug + 'static {
    /// A new namespace on the landscape's network, for a process replica or a job.
    async fn attach(&self, landscape: &LandscapeId) -> io::Result<Attached>;

    /// Whether nothing leads from there to the outside, though it should.
    fn lacks_egress(&self) -> bool;

    /// A namespace that an earlier router made has this address, and is served again once this returns.
    async fn keep(&self, landscape: &LandscapeId, address: Ipv4Addr) -> io::Result<()>;

    /// The address is free again.
    fn release(&self, landscape: &LandscapeId, address: Ipv4Addr);

    /// The name that an engine is to give a landscape's bridge.
    fn bridge_name(&self, landscape: &LandscapeId) -> String;

    /// An engine's bridge for the landscape is there, with this address and size. Containers may start on
    /// it once this returns; `Ok` says who answers for names there.
    async fn bridged(&self, landscape: &LandscapeId, gateway: Ipv4Net) -> io::Result<Ipv4Addr>;

    /// An engine's bridge is gone.
    async fn unbridged(&self, landscape: &LandscapeId);
}
