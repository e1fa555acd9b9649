//! Replicas that stay on the machine's own network, on purpose, and the rights are there: the packet filter
//! brings what the machine's programs send to virtual addresses to a listener for each landscape.
//!
//! A socket at the address itself would keep every application from listening at its port on all addresses.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::ground::filter::{Redirect, Transport};
use super::ground::{Place, listen_tcp};
use super::network::{BACKLOG, PrivateNetwork};
use crate::landscape::LandscapeId;
use crate::proxy::{Segment, Way};

impl PrivateNetwork {
    /// Serves what was assigned to this machine's own programs, or, unless `wanted`, does so no longer. The
    /// filters follow with the rest.
    pub fn serve_here(&self, wanted: bool) {
        // From a hub nothing leads to the machine's network.
        let wanted = wanted && matches!(self.at, Place::Machine);
        if !wanted {
            self.inherited.lock().retain(|(name, _)| !name.contains('/'));
        }
        let with_ports: Vec<LandscapeId> = {
            let known = self.known.lock();
            let some = known.landscapes.iter().filter(|(_, landscape)| wanted && !landscape.ports.is_empty());
            some.map(|(id, _)| id.clone()).collect()
        };
        self.close_here(|id| !with_ports.contains(id));
        for id in with_ports {
            if self.known.lock().here.contains_key(&id) {
                continue;
            }
            match self.listen_here(&id) {
                Ok(port) => drop(self.known.lock().here.insert(id, port)),
                Err(e) => tracing::error!(landscape = %id, "processes find no services of it: {e}"),
            }
        }
    }

    fn listen_here(&self, id: &LandscapeId) -> std::io::Result<u16> {
        let name = name(id);
        let inherited = {
            let mut inherited = self.inherited.lock();
            inherited.iter().position(|(of, _)| *of == *name).map(|at| inherited.swap_remove(at).1)
        };
        let socket = match inherited {
            Some(socket) => socket,
            None => listen_tcp(None, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), BACKLOG)?,
        };
        socket.set_nonblocking(true)?;
        let port = socket.local_addr()?.port();
        let segment = Segment { landscape: id.clone(), way: Way::Redirect, neighbours: self.neighbours.clone() };
        self.listeners.serve_private(name, Arc::new(segment), socket)?;
        Ok(port)
    }

    /// Stops listening for these.
    pub(super) fn close_here(&self, of: impl Fn(&LandscapeId) -> bool) {
        self.known.lock().here.retain(|id, _| {
            let ends = of(id);
            if ends {
                self.listeners.end_private(&name(id));
            }
            !ends
        });
    }

    pub(super) fn redirects_here(&self) -> Vec<Redirect> {
        let known = self.known.lock();
        let mut all = Vec::new();
        for (id, to) in &known.here {
            let ports = known.landscapes.get(id).map_or(&[][..], |landscape| &landscape.ports);
            all.extend(ports.iter().map(|from| Redirect { transport: Transport::Tcp, from: *from, to: *to }));
        }
        all
    }
}

/// Of a landscape's listener: that of no interface, for these have no slash.
fn name(id: &str) -> Arc<str> {
    format!("here/{id}").into()
}
