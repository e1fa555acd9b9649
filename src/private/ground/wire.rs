//! What is said to the kernel about links, addresses and routes.
//!
//! The messages are `rtnetlink`'s. Its handle needs a runtime that drives the connection; half of the
//! requests here are made in namespaces that exist for a thread without one.

use std::io;

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;

use crate::netlink::Netlink;

/// A conversation with the namespace in which it was opened, whichever thread goes on with it.
pub(super) struct Wire(Netlink);

impl Wire {
    /// Opens one in the calling thread's namespace.
    pub(super) fn open() -> io::Result<Self> {
        Netlink::open(NETLINK_ROUTE).map(Self)
    }

    /// Has the kernel do something; `flags` beside those that every request has.
    pub(super) fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.0.change(message, flags)
    }

    /// Asks for one thing.
    pub(super) fn get(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.0.get(message)
    }

    /// Asks for everything of a kind.
    pub(super) fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.0.dump(message)
    }
}
