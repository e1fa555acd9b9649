//! The private network of a router without rights: services have addresses on loopback, and the router listens
//! there at their declared ports.
//!
//! A listener at `127.83.0.7:3000` keeps every program of this machine from listening at port 3000 on all
//! addresses, as most do, and the other way round. So replicas get other ports and have to heed `PORT`; and
//! what is taken is tried again until it is free.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ipnet::Ipv4Net;
use parking_lot::Mutex;

use super::addresses::Book;
use super::ground::listen_tcp;
use super::network::{BACKLOG, Ports};
use crate::landscape::{LandscapeId, ServiceKey};
use crate::lifecycle::Neighbours;
use crate::listen::Listeners;
use crate::proxy::{Segment, Way};

/// From one attempt to listen at what is taken to the next.
const AGAIN: Duration = Duration::from_secs(1);

/// See the module's words.
#[derive(Debug)]
pub struct Loopback {
    range: Ipv4Net,
    listeners: Arc<Listeners>,
    neighbours: Arc<Neighbours>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    book: Book,
    inherited: Vec<(String, TcpListener)>,
    wanted: BTreeMap<SocketAddrV4, ServiceKey>,
    open: BTreeMap<SocketAddrV4, Open>,
    /// What cannot be listened at now, as was told.
    missing: BTreeMap<SocketAddrV4, io::ErrorKind>,
}

#[derive(Debug)]
enum Open {
    /// Connections wait in it: what they lead to is about to be known.
    Listening(TcpListener),
    Served,
}

impl Loopback {
    /// With addresses of `range`. `inherited` are a predecessor's sockets. Must be called on the runtime that
    /// tries again what fails.
    pub fn start(
        range: Ipv4Net,
        state: &Path,
        listeners: Arc<Listeners>,
        neighbours: Arc<Neighbours>,
        inherited: Vec<(String, TcpListener)>,
    ) -> Arc<Self> {
        let (wanted, open, missing) = Default::default();
        let known = Mutex::new(Known { book: Book::open(state, range), inherited, wanted, open, missing });
        let this = Arc::new(Self { range, listeners, neighbours, known });
        tokio::spawn(try_again(Arc::downgrade(&this)));
        this
    }

    /// Where addresses are from.
    pub fn range(&self) -> Ipv4Net {
        self.range
    }

    /// Gives each service of these landscapes, which are all there are, its address, and takes its ports before
    /// a replica can. They are served with [`Loopback::follow`].
    pub fn assign(&self, landscapes: &[(LandscapeId, Ports)]) -> HashMap<ServiceKey, Ipv4Addr> {
        let mut known = self.known.lock();
        let services = || landscapes.iter().flat_map(|(_, ports)| ports);
        let addresses = known.book.assign(services().map(|(key, _)| key));
        let located = services().filter_map(|(key, ports)| Some((key, *addresses.get(key)?, ports)));
        known.wanted = located
            .flat_map(|(key, address, ports)| {
                ports.iter().map(move |port| (SocketAddrV4::new(address, *port), key.clone()))
            })
            .collect();
        known.listen();
        addresses
    }

    /// Serves what was assigned, and nothing else any more.
    pub fn follow(&self) {
        let mut known = self.known.lock();
        let Known { wanted, open, inherited, .. } = &mut *known;
        open.retain(|at, _| {
            let stays = wanted.contains_key(at);
            if !stays {
                self.listeners.end_private(&at.to_string());
            }
            stays
        });
        inherited.clear();
        self.serve(&mut known);
    }

    /// Lets go of all sockets.
    pub fn end(&self) {
        let mut known = self.known.lock();
        known.wanted.clear();
        for at in std::mem::take(&mut known.open).keys() {
            self.listeners.end_private(&at.to_string());
        }
    }

    fn serve(&self, known: &mut Known) {
        for (at, open) in &mut known.open {
            let Some(key) = known.wanted.get(at) else { continue };
            let Open::Listening(socket) = std::mem::replace(open, Open::Served) else { continue };
            let (landscape, neighbours) = (key.landscape.clone(), self.neighbours.clone());
            let segment = Arc::new(Segment { landscape, way: Way::Straight, neighbours });
            if let Err(e) = self.listeners.serve_private(at.to_string().into(), segment, socket) {
                tracing::error!(service = %key, "it is not served at {at}: {e}");
            }
        }
    }
}

impl Known {
    /// Opens what is wanted and not open yet. What fails is told once.
    fn listen(&mut self) {
        let before = std::mem::take(&mut self.missing);
        for (at, key) in &self.wanted {
            if self.open.contains_key(at) {
                continue;
            }
            let inherited = self.inherited.iter().position(|(name, _)| *name == at.to_string());
            let socket = match inherited.map(|at| self.inherited.swap_remove(at).1) {
                Some(socket) => socket.set_nonblocking(true).map(|()| socket),
                None => listen_tcp(None, *at, BACKLOG),
            };
            match socket {
                Ok(socket) => drop(self.open.insert(*at, Open::Listening(socket))),
                Err(e) => {
                    if before.get(at) != Some(&e.kind()) {
                        tracing::warn!(service = %key, "other services do not reach it: {e}; {}", remedy(&e, at.port()));
                    }
                    self.missing.insert(*at, e.kind());
                }
            }
        }
    }
}

fn remedy(error: &io::Error, port: u16) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "a program of this machine listens at port {port} of all addresses, or another router at this one \
             (`ss -ltnp 'sport = :{port}'`); it is tried again until it ends"
        ),
        io::ErrorKind::PermissionDenied => "ports below 1024 take CAP_NET_BIND_SERVICE".into(),
        _ => "it is tried again".into(),
    }
}

async fn try_again(of: Weak<Loopback>) {
    loop {
        tokio::time::sleep(AGAIN).await;
        let Some(loopback) = of.upgrade() else { return };
        let mut known = loopback.known.lock();
        if !known.missing.is_empty() {
            known.listen();
            loopback.serve(&mut known);
        }
    }
}
