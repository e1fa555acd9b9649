//! The private network of one router: what each landscape's replicas find on it.
//!
//! A change is made in one place, [`PrivateNetwork::settle`]: it renders the packet filters for all
//! segments and replaces them in one transaction, so that no replica is ever without a fence. What
//! requests read (which port leads where) is not here but in the snapshot.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::Ipv4Net;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::addresses::{Book, usual_range};
use super::dns::{Forwarder, Server};
use super::ground::filter::{self, Kind, Redirect, Transport};
use super::ground::{self, Ground, Namespace, Place, Survey};
use super::names::Zone;
use crate::config::settings::PrivateSettings;
use crate::landscape::{LandscapeId, ServiceKey};
use crate::lifecycle::Neighbours;
use crate::listen::Listeners;
use crate::proxy::{Segment, Way};

/// Connections that the system keeps for us before they are accepted; it bounds this by
/// `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 4096;

/// Virtual addresses and ports of the services of one landscape.
pub type Ports = Vec<(ServiceKey, Vec<u16>)>;

/// Where a private network is to be, and what is possible there.
#[derive(Debug)]
pub struct Footing {
    /// The place.
    pub at: Place,
    /// Found out there.
    pub rights: Survey,
}

/// See the module's words.
#[derive(Debug)]
pub struct PrivateNetwork {
    instance: String,
    pub(super) settings: PrivateSettings,
    pub(super) at: Place,
    pub(super) ground: Mutex<Option<Ground>>,
    pub(super) range: Ipv4Net,
    pub(super) listeners: Arc<Listeners>,
    forwarder: Forwarder,
    pub(super) neighbours: Arc<Neighbours>,
    pub(super) known: Mutex<Known>,
    pub(super) inherited: Mutex<Vec<(String, TcpListener)>>,
    /// What an earlier router left is taken up; until then nothing is changed.
    begun: watch::Sender<bool>,
    /// One segment at a time, until it is fenced.
    joining: tokio::sync::Mutex<()>,
    /// One change of the kernel's state at a time.
    settling: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
pub(super) struct Known {
    book: Book,
    /// Those of the configuration, and others that something runs of.
    pub(super) landscapes: HashMap<LandscapeId, Landscape>,
    segments: BTreeMap<(LandscapeId, bool), OnSegment>,
    /// The ports of 127.0.0.1 at which the machine's own programs are served, where these are a landscape's
    /// replicas.
    pub(super) here: BTreeMap<LandscapeId, u16>,
}

/// What is served to one landscape.
#[derive(Debug)]
pub(super) struct Landscape {
    /// Whether the configuration has it.
    configured: bool,
    zone: Arc<ArcSwap<Zone>>,
    pub(super) ports: Vec<SocketAddrV4>,
    /// Of the process segment: its network, and the addresses in use.
    pub(super) net: Option<Ipv4Net>,
    pub(super) taken: HashSet<Ipv4Addr>,
    /// Addresses that were in use, whose cables the kernel may not have removed yet.
    pub(super) ended: HashSet<Ipv4Addr>,
}

/// An interface and what the router has on it. By landscape and whether an engine made it.
#[derive(Debug)]
struct OnSegment {
    interface: Arc<str>,
    index: u32,
    gateway: Ipv4Net,
    tcp: u16,
    names: (u16, u16),
    _server: Server,
}

impl PrivateNetwork {
    /// Claims the range of virtual addresses. `inherited` are a predecessor's sockets, by interface, with what
    /// waits in them. An error says what is missing at that place.
    pub fn start(
        settings: &PrivateSettings,
        Footing { at, rights }: Footing,
        instance: &str,
        state: &Path,
        listeners: Arc<Listeners>,
        neighbours: Arc<Neighbours>,
        inherited: Vec<(String, TcpListener)>,
    ) -> Result<Arc<Self>, String> {
        if let Some(lack) = rights.lacks().next().filter(|_| !rights.can_isolate()) {
            return Err(lack.to_string());
        }
        let range = match settings.addresses {
            Some(range) => range,
            None => {
                at.within(|| usual_range(instance, settings).map_err(io::Error::other)).map_err(|e| e.to_string())?
            }
        };
        let subnets = if settings.subnets_given { &settings.subnets[..] } else { &[] };
        let ground = at.within(|| Ground::open(instance, range, subnets).map_err(io::Error::other));
        let ground = ground.map_err(|lack| lack.to_string())?;
        if let Some(lack) = rights.egress.filter(|_| leads_out(settings, &at))
            && let Err(e) = ground::forward()
        {
            tracing::warn!("{lack}; the router may not set it itself: {e}");
        }
        let forwarder = match settings.resolvers.as_slice() {
            [] => Forwarder::system(),
            some => Forwarder::new(some.iter().copied()),
        };
        let known = Known {
            book: Book::open(state, range),
            landscapes: HashMap::new(),
            segments: BTreeMap::new(),
            here: BTreeMap::new(),
        };
        Ok(Arc::new(Self {
            instance: instance.to_owned(),
            settings: settings.clone(),
            at,
            ground: Mutex::new(Some(ground)),
            range,
            listeners,
            forwarder,
            neighbours,
            known: Mutex::new(known),
            // Not those at addresses of loopback, which keep ports from applications.
            inherited: Mutex::new(inherited.into_iter().filter(|(name, _)| !name.contains(':')).collect()),
            begun: watch::Sender::new(false),
            joining: tokio::sync::Mutex::default(),
            settling: tokio::sync::Mutex::default(),
        }))
    }

    /// The hub that it is in, if that is not this machine's own network.
    pub fn hub(&self) -> Option<&Arc<Namespace>> {
        self.at.hub()
    }

    /// The range of virtual addresses.
    pub fn range(&self) -> Ipv4Net {
        self.range
    }

    /// Gives each service of these landscapes, which are all there are, its virtual address, and makes them
    /// known to each other by name. Ports follow with [`PrivateNetwork::follow`].
    pub fn assign(&self, landscapes: &[(LandscapeId, Ports)]) -> HashMap<ServiceKey, Ipv4Addr> {
        let mut known = self.known.lock();
        let addresses = known.book.assign(landscapes.iter().flat_map(|(_, ports)| ports.iter().map(|(key, _)| key)));
        for (id, services) in landscapes {
            let landscape = known.landscape(id);
            landscape.configured = true;
            let with_address = || services.iter().filter_map(|(key, ports)| Some((key, *addresses.get(key)?, ports)));
            let names = with_address().map(|(key, address, _)| (key.service.clone(), address));
            landscape.zone.store(Arc::new(Zone::new(id, names, self.range)));
            landscape.ports = with_address()
                .flat_map(|(_, address, ports)| ports.iter().map(move |port| SocketAddrV4::new(address, *port)))
                .collect();
        }
        for (id, landscape) in &mut known.landscapes {
            if !landscapes.iter().any(|(other, _)| other == id) {
                landscape.configured = false;
                landscape.zone.store(Arc::new(Zone::empty(id, self.range)));
                landscape.ports.clear();
            }
        }
        addresses
    }

    /// Makes the packet filters what was assigned. Replicas are put on the network from the first time on. What
    /// still runs of a landscape that was removed stays fenced.
    pub async fn follow(&self) {
        if !*self.begun.borrow() {
            let all: Vec<LandscapeId> = self.known.lock().landscapes.keys().cloned().collect();
            self.rejoin(all).await;
            self.begun.send_replace(true);
        }
        self.sweep().await;
        if let Err(e) = self.settle().await {
            tracing::error!("the private network could not be changed: {e}");
        }
    }

    /// Lets go of everything: sockets at once, interfaces where no replica is on them. `containers`: those that
    /// there are go on.
    pub async fn end(&self, containers: bool) {
        let _one = self.settling.lock().await;
        let (segments, cables) = {
            let mut known = self.known.lock();
            let addresses = known.landscapes.values().flat_map(|l| &l.taken);
            let cables: HashSet<String> = addresses.map(|address| self.cable(*address)).collect();
            (std::mem::take(&mut known.segments), cables)
        };
        for segment in segments.values() {
            self.listeners.end_private(&segment.interface);
        }
        self.close_here(|_| true);
        let containers = containers && segments.keys().any(|(_, by_engine)| *by_engine);
        let ground = self.ground.lock().take();
        let at = self.at.clone();
        let close = move || at.within(|| ground.map_or(Ok(()), |ground| ground.close(&cables, containers)));
        let closed = tokio::task::spawn_blocking(close);
        match closed.await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::warn!("the private network was not put away whole: {e}"),
            Err(e) => tracing::warn!("the private network was not put away: {e}"),
        }
    }

    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    /// Has the router's sockets on an interface, and its fence around it once this returns.
    pub(super) async fn join(
        &self,
        id: &LandscapeId,
        by_engine: bool,
        interface: &str,
        gateway: Ipv4Net,
    ) -> io::Result<()> {
        let _one = self.turn().await;
        self.join_in_turn(id, by_engine, interface, gateway).await
    }

    /// One at a time, once what an earlier router left is taken up.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        // Its sender is `self`.
        let _ = self.begun.subscribe().wait_for(|begun| *begun).await;
        self.joining.lock().await
    }

    /// See [`PrivateNetwork::join`]; for whoever has the [turn](PrivateNetwork::turn).
    pub(super) async fn join_in_turn(
        &self,
        id: &LandscapeId,
        by_engine: bool,
        interface: &str,
        gateway: Ipv4Net,
    ) -> io::Result<()> {
        if !self.place(id, by_engine, interface, gateway)? {
            return Ok(());
        }
        let settled = self.settle().await;
        if settled.is_err() {
            self.leave(id, by_engine);
        }
        settled
    }

    /// Has the router's sockets on an interface; whether that is news.
    pub(super) fn place(
        &self,
        id: &LandscapeId,
        by_engine: bool,
        interface: &str,
        gateway: Ipv4Net,
    ) -> io::Result<bool> {
        // An interface that is made anew has the same name, and our sockets are not on it.
        let index = self.at.within(|| ground::index_of(interface))?;
        let same = |s: &OnSegment| s.gateway == gateway && s.index == index;
        if self.known.lock().segments.get(&(id.clone(), by_engine)).is_some_and(same) {
            return Ok(false);
        }
        let any = |port| SocketAddrV4::new(gateway.addr(), port);
        let inherited = self.inherited(interface, index)?;
        let (tcp, name_udp, name_tcp) = self.at.within(|| {
            let tcp = match inherited {
                Some(socket) => socket,
                None => ground::listen_tcp(Some(interface), SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), BACKLOG)?,
            };
            Ok((tcp, ground::bind_udp(interface, any(0))?, ground::listen_tcp(Some(interface), any(0), 128)?))
        })?;
        let (tcp_port, names) =
            (tcp.local_addr()?.port(), (name_udp.local_addr()?.port(), name_tcp.local_addr()?.port()));
        let zone = self.known.lock().landscape(id).zone.clone();
        let server = Server::start(zone, self.forwarder.clone(), name_udp, name_tcp)?;
        let interface: Arc<str> = interface.into();
        let segment = Segment { landscape: id.clone(), way: Way::Redirect, neighbours: self.neighbours.clone() };
        self.listeners.serve_private(interface.clone(), Arc::new(segment), tcp)?;
        let made = OnSegment { interface, index, gateway, tcp: tcp_port, names, _server: server };
        self.known.lock().segments.insert((id.clone(), by_engine), made);
        Ok(true)
    }

    /// Processes of the landscape are on this network already.
    pub(super) fn has_net(&self, id: &LandscapeId, net: Ipv4Net) {
        self.known.lock().landscape(id).net.get_or_insert(net);
    }

    /// A predecessor's socket on this very interface, not on one that had its name.
    fn inherited(&self, interface: &str, index: u32) -> io::Result<Option<TcpListener>> {
        let mut inherited = self.inherited.lock();
        let Some(at) = inherited.iter().position(|(name, _)| name == interface) else { return Ok(None) };
        let (_, socket) = inherited.swap_remove(at);
        socket.set_nonblocking(true)?;
        Ok((self.at.has(&socket) && ground::device_of(&socket)? == index).then_some(socket))
    }

    pub(super) fn leave(&self, id: &LandscapeId, by_engine: bool) {
        let segment = self.known.lock().segments.remove(&(id.clone(), by_engine));
        if let Some(segment) = segment {
            self.listeners.end_private(&segment.interface);
        }
    }

    /// Makes the packet filters what they are to be.
    pub(super) async fn settle(&self) -> io::Result<()> {
        let _one = self.settling.lock().await;
        let ((segments, ours), here) = (self.segments()?, self.redirects_here());
        let (instance, range, egress) = (self.instance.clone(), self.range, leads_out(&self.settings, &self.at));
        let apply = move || {
            ground::apply(&filter::render(&instance, &segments, &here, range, egress))?;
            if let Err(warning) = ground::allow_through_docker(&instance, &ours) {
                // The fence is up; what may be missing is the way out.
                tracing::warn!("{warning}");
            }
            Ok(())
        };
        let at = self.at.clone();
        tokio::task::spawn_blocking(move || at.within(apply)).await.map_err(io::Error::other)?
    }

    /// As the packet filters have to know them, and the names of the bridges that are ours.
    fn segments(&self) -> io::Result<(Vec<filter::Segment>, Vec<String>)> {
        let known = self.known.lock();
        let mut all = Vec::new();
        for ((id, by_engine), segment) in &known.segments {
            let names = SocketAddrV4::new(segment.gateway.addr(), 53);
            let redirect = |transport, from, to| Redirect { transport, from, to };
            let mut redirects = vec![
                redirect(Transport::Udp, names, segment.names.0),
                redirect(Transport::Tcp, names, segment.names.1),
            ];
            let ports = known.landscapes.get(id).map_or(&[][..], |l| &l.ports);
            redirects.extend(ports.iter().map(|from| redirect(Transport::Tcp, *from, segment.tcp)));
            let kind = if *by_engine { Kind::Docker } else { Kind::Process };
            all.push(filter::Segment::new(&segment.interface, segment.gateway, kind)?.redirecting(redirects));
        }
        let ours = known.segments.iter().filter(|((_, by_engine), _)| !by_engine);
        Ok((all, ours.map(|(_, segment)| segment.interface.to_string()).collect()))
    }
}

impl Known {
    /// What is served to this landscape: nothing yet, if it is new.
    pub(super) fn landscape(&mut self, id: &LandscapeId) -> &mut Landscape {
        let range = self.book.range();
        self.landscapes.entry(id.clone()).or_insert_with(|| Landscape::new(id, range))
    }

    /// Takes a landscape's piece of the subnets back; the addresses whose cables may still be there.
    pub(super) fn give_up(&mut self, id: &LandscapeId) -> HashSet<Ipv4Addr> {
        let Some(landscape) = self.landscapes.get_mut(id) else { return HashSet::new() };
        landscape.net = None;
        let ended = std::mem::take(&mut landscape.ended);
        // Of containers that still run the names are answered from here.
        if !self.segments.contains_key(&(id.clone(), true)) {
            self.landscapes.remove(id);
        }
        ended
    }
}

impl Landscape {
    fn new(id: &str, range: Ipv4Net) -> Self {
        let zone = Arc::new(ArcSwap::from_pointee(Zone::empty(id, range)));
        let (taken, ended) = (HashSet::new(), HashSet::new());
        Self { configured: false, zone, ports: Vec::new(), net: None, taken, ended }
    }

    /// Whether it left the configuration, and no process of it is on its network any more.
    pub(super) fn has_departed(&self) -> bool {
        !self.configured && self.taken.is_empty()
    }
}

/// Whether there is a way to the outside: nothing leads out of a hub.
fn leads_out(settings: &PrivateSettings, at: &Place) -> bool {
    settings.egress && at.hub().is_none()
}
