//! The hub: a network namespace that takes the machine's place where the router has no rights there.
//!
//! Bridges, the router's ends of cables, packet filters and the router's own sockets for replicas are in
//! it. Nothing leads out of it. It lasts as long as anyone holds it: the router, each replica's shim, or a
//! socket on its way to the next router.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::namespace::{self, Namespace};
use super::wire::Wire;

/// The descriptor of a hub that is kept for the next router. Below it are those that a small process has.
const KEPT: RawFd = 100;

/// Where the private network is.
#[derive(Debug, Clone)]
pub enum Place {
    /// In the machine's own network namespace.
    Machine,
    /// In a hub.
    Hub(Arc<Namespace>),
}

impl Place {
    /// Runs `work`, which speaks of the calling thread's namespace, where the private network is.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        match self {
            Self::Machine => work(),
            Self::Hub(hub) => hub.enter(work)?,
        }
    }

    /// The hub, for whoever is to keep it.
    pub fn hub(&self) -> Option<&Arc<Namespace>> {
        match self {
            Self::Machine => None,
            Self::Hub(hub) => Some(hub),
        }
    }

    /// Whether `socket` belongs there, and not to a hub that there once was.
    pub fn has(&self, socket: &TcpListener) -> bool {
        match self {
            Self::Machine => true,
            Self::Hub(hub) => Namespace::of_socket(socket).and_then(|of| of.is(hub)).unwrap_or(false),
        }
    }
}

/// Makes a hub.
pub fn new_hub() -> io::Result<Namespace> {
    let prepare = || {
        let mut wire = Wire::open()?;
        let loopback = wire.link("lo")?.map_or(1, |link| link.index);
        wire.set_up(loopback)?;
        // Who asks for the world outside is refused by the filters, at once and every time: what the kernel
        // says of itself of what cannot be reached, it says now and then.
        wire.lead_nowhere(loopback)?;
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")
            .map_err(|error| io::Error::new(error.kind(), format!("net.ipv4.ip_forward cannot be set: {error}")))
    };
    namespace::make(prepare).map(|(hub, ())| hub)
}

/// Keeps a hub, until this process ends and where [`hub_of`] finds it.
pub fn keep_hub(hub: OwnedFd) -> io::Result<OwnedFd> {
    let kept = fcntl_dupfd_cloexec(&hub, KEPT)?;
    if kept.as_raw_fd() == KEPT { Ok(kept) } else { Err(io::Error::other("the place of the hub is taken")) }
}

/// The hub that the process `pid` keeps. Which descriptors it has is not shown to us, who may take one whose
/// number we know.
pub fn hub_of(pid: u32) -> io::Result<Namespace> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let kept = pidfd_getfd(process, KEPT, PidfdGetfdFlags::empty())?;
    let what = std::fs::read_link(format!("/proc/self/fd/{}", kept.as_raw_fd()))?;
    if what.to_string_lossy().starts_with("net:[") {
        return Ok(Namespace::new(kept));
    }
    Err(io::Error::other(format!("{} is kept in its place", what.display())))
}
