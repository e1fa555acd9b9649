//! What private listeners lead to, and whose callers come by them.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddrV4};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;

use super::endpoint::Endpoint;
use crate::config::settings::Protocol;
use crate::landscape::{LandscapeId, ServiceKey};
use crate::lifecycle::Neighbours;
use crate::observe::ServiceStats;
use crate::observe::calls::NOBODY;
use crate::route::{PrefixTree, Route};

/// The private ports of every service, by virtual address.
pub type PrivatePorts = HashMap<SocketAddrV4, Arc<PrivatePort>>;

/// A declared port of a service, as its landscape's other services reach it.
#[derive(Debug)]
pub struct PrivatePort {
    /// Whose.
    pub key: ServiceKey,
    /// Its counters.
    pub stats: Arc<ServiceStats>,
    /// What is spoken; `None`: what the first bytes tell.
    pub protocol: Option<Protocol>,
    /// Where requests go: one route for `/`, or the paths of a headless service.
    pub paths: PrefixTree<Route<Arc<Endpoint>>>,
    /// Raw TCP on which nothing moved for so long is ended.
    pub idle: Duration,
}

/// Where a private connection came in: the landscape's own interface, and what it was sent to there.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The interface.
    pub segment: Arc<Segment>,
    /// The service's virtual address, and the declared port.
    pub address: SocketAddrV4,
}

/// An interface that one landscape's replicas alone are behind, or this machine's loopback, where what calls is
/// taken at its word.
#[derive(Debug)]
pub struct Segment {
    /// The landscape.
    pub landscape: LandscapeId,
    /// How callers come to the listener.
    pub way: Way,
    /// Who has which address.
    pub neighbours: Arc<Neighbours>,
}

/// How callers of virtual addresses come to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The packet filter leads what is sent to a virtual address to the segment's one listener, and the kernel
    /// knows where it was sent to.
    Redirect,
    /// The listener is at the address itself.
    Straight,
}

impl Entry {
    /// The entry of a connection that was accepted on a segment.
    pub(crate) fn of<S: AsFd>(segment: &Arc<Segment>, accepted: &S) -> io::Result<Self> {
        let accepted = SockRef::from(accepted);
        let address = match segment.way {
            Way::Redirect => accepted.original_dst_v4()?,
            Way::Straight => accepted.local_addr()?,
        };
        let address = address.as_socket_ipv4().ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { segment: segment.clone(), address })
    }

    /// The private port that it leads to; `None` for another landscape's.
    pub(super) fn port<'p>(&self, ports: &'p PrivatePorts) -> Option<&'p Arc<PrivatePort>> {
        ports.get(&self.address).filter(|port| port.key.landscape == self.segment.landscape)
    }

    /// Who calls, from this address; `-` where nobody is known there.
    pub fn caller(&self, from: IpAddr) -> Arc<str> {
        self.segment.neighbours.name(from, &self.segment.landscape).unwrap_or_else(|| NOBODY.into())
    }
}
