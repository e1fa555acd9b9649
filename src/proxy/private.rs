//! What private listeners lead to, and whose callers come by them.
//!
//! There are two kinds of them. On the machine's own network, a landscape's replicas alone are behind an
//! interface, its [`Segment`], and services are told apart by their virtual addresses. In a cluster, all
//! pods come by the same network: a listener stands for a port of a name ([`Named`]), and who calls is known
//! by the caller's address. Either way a caller is led to a service of its own landscape, or nowhere.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use socket2::SockRef;

use super::endpoint::Endpoint;
use crate::config::settings::Protocol;
use crate::landscape::{LandscapeId, ServiceKey};
use crate::lifecycle::Neighbours;
use crate::observe::calls::NOBODY;
use crate::observe::{RouterStats, ServiceStats};
use crate::route::{PrefixTree, Route};

/// The private ports of every service.
#[derive(Debug, Default)]
pub struct PrivatePorts {
    /// By virtual address.
    pub by_address: HashMap<SocketAddrV4, Arc<PrivatePort>>,
    /// By landscape, of which one name means one service.
    pub by_name: HashMap<LandscapeId, HashMap<Called, Arc<PrivatePort>>>,
}

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

/// What a private listener stands for.
#[derive(Clone, Debug)]
pub enum Gateway {
    /// An interface of one landscape.
    Segment(Arc<Segment>),
    /// A port of a name.
    Named(Arc<Named>),
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

/// A port of a name that callers of any landscape may come by.
#[derive(Debug)]
pub struct Named {
    /// What was called.
    pub called: Called,
    /// Who has which address.
    pub callers: Arc<dyn Callers>,
}

/// A port of a name, such as `ws-server-4711-api:3000`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Called {
    /// In lower case.
    pub name: Arc<str>,
    /// As the service declares it.
    pub port: u16,
}

impl fmt::Display for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

/// Who it is that calls, where the network does not tell.
#[async_trait]
pub trait Callers: fmt::Debug + Send + Sync {
    /// The service that has this address; `None` where nobody is known there, also not after a short while in
    /// which it may become known.
    async fn at(&self, address: IpAddr) -> Option<ServiceKey>;
}

/// Where a private connection came in.
#[derive(Clone, Debug)]
pub enum Entry {
    /// On a landscape's own interface.
    Segment {
        /// The interface.
        segment: Arc<Segment>,
        /// The service's virtual address, and the declared port.
        address: SocketAddrV4,
    },
    /// By a name.
    Named {
        /// The name.
        named: Arc<Named>,
        /// Who calls, once that is known.
        caller: OnceCell<ServiceKey>,
    },
}

impl From<Arc<Segment>> for Gateway {
    fn from(segment: Arc<Segment>) -> Self {
        Self::Segment(segment)
    }
}

impl From<Arc<Named>> for Gateway {
    fn from(named: Arc<Named>) -> Self {
        Self::Named(named)
    }
}

impl Entry {
    /// The entry of a connection that was accepted there.
    pub(crate) fn of<S: AsFd>(gateway: &Gateway, accepted: &S) -> io::Result<Self> {
        match gateway {
            Gateway::Segment(segment) => {
                let accepted = SockRef::from(accepted);
                let address = match segment.way {
                    Way::Redirect => accepted.original_dst_v4()?,
                    Way::Straight => accepted.local_addr()?,
                };
                let address = address.as_socket_ipv4().ok_or(io::ErrorKind::InvalidData)?;
                Ok(Self::Segment { segment: segment.clone(), address })
            }
            Gateway::Named(named) => Ok(Self::Named { named: named.clone(), caller: OnceCell::new() }),
        }
    }

    /// Finds out who calls, where that is not known by the interface. `None`: nobody that is known.
    pub(super) async fn identify(&self, from: IpAddr) -> Option<()> {
        if let Self::Named { named, caller } = self {
            let service = named.callers.at(from.to_canonical()).await?;
            // It is asked once.
            let _known = caller.set(service);
        }
        Some(())
    }

    /// The private port that it leads to; `None` for another landscape's.
    pub(super) fn port<'p>(&self, ports: &'p PrivatePorts) -> Option<&'p Arc<PrivatePort>> {
        match self {
            Self::Segment { segment, address } => {
                ports.by_address.get(address).filter(|port| port.key.landscape == segment.landscape)
            }
            Self::Named { named, caller } => ports.by_name.get(&caller.get()?.landscape)?.get(&named.called),
        }
    }

    /// A caller was led nowhere.
    pub(super) fn refused(&self, from: SocketAddr, stats: &RouterStats) {
        match self {
            // It was removed a moment ago: the packet filter will refuse the next one.
            Self::Segment { .. } => {}
            Self::Named { named, caller } => match caller.get() {
                Some(caller) => {
                    stats.private_refused_foreign.inc();
                    if may_tell() {
                        tracing::warn!(peer = %from, "{caller} has no {} in its landscape: refused", named.called);
                    }
                }
                None => {
                    stats.private_refused_unknown.inc();
                    if may_tell() {
                        tracing::warn!(peer = %from, "nobody known there calls {}: refused", named.called);
                    }
                }
            },
        }
    }

    /// Who calls, from this address; `-` where nobody is known there.
    pub fn caller(&self, from: IpAddr) -> Arc<str> {
        let known = match self {
            Self::Segment { segment, .. } => segment.neighbours.name(from, &segment.landscape),
            Self::Named { caller, .. } => caller.get().map(|key| key.service.clone()),
        };
        known.unwrap_or_else(|| NOBODY.into())
    }
}

/// Whoever tries again and again is found by a line a second; the counters have them all.
fn may_tell() -> bool {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    LAST.swap(now, Ordering::Relaxed) != now
}
