//! The private network in this process: started where the machine allows it, and told what is served.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::routes::{self, Served};
use super::standing::Standing;
use super::state::State;
use crate::config::settings::{BackendKind, Namespaces, Policy, PrivateSettings, Protocol, Settings};
use crate::landscape::{LandscapeId, LandscapeSpec, PathTarget, ServiceKey, ServiceSpec, Workload};
use crate::lifecycle::Neighbours;
use crate::listen::Listeners;
use crate::private::ground::{self, Namespace, Place, Survey, user};
use crate::private::{Footing, Hosts, Loopback, Ports, PrivateNetwork, ports_of};
use crate::proxy::{PrivatePort, PrivatePorts};
use crate::route::{PrefixTree, Route, strip_prefix_length};

/// What is possible on the machine's own network, if the private one is to be there. To be found out before a
/// predecessor lets go of its replicas: it takes a while, in which nobody would wake anything.
pub(super) async fn survey(settings: &Settings, standing: &Standing) -> Option<Survey> {
    if settings.private.is_none() || !matches!(standing, Standing::Machine) {
        return None;
    }
    tokio::task::spawn_blocking(ground::rights).await.ok()
}

/// The private network as it can be had here.
#[derive(Clone, Debug)]
pub(super) struct Private {
    between: Between,
    hosts: Arc<Hosts>,
}

/// By what services reach each other.
#[derive(Clone, Debug)]
enum Between {
    Network(Arc<PrivateNetwork>),
    Loopback(Arc<Loopback>),
}

impl Private {
    /// The network that replicas can be put on, if it is one.
    pub(super) fn network(&self) -> Option<&Arc<PrivateNetwork>> {
        match &self.between {
            Between::Network(network) => Some(network),
            Between::Loopback(_) => None,
        }
    }

    /// What replicas on the machine's network are told.
    pub(super) fn hosts(&self) -> &Arc<Hosts> {
        &self.hosts
    }

    /// Where services' addresses are from.
    pub(super) fn range(&self) -> Ipv4Net {
        match &self.between {
            Between::Network(network) => network.range(),
            Between::Loopback(loopback) => loopback.range(),
        }
    }

    /// Gives every service of these settings its address.
    pub(super) fn assign(&self, settings: &Settings) -> HashMap<ServiceKey, Ipv4Addr> {
        let ports = ports(settings);
        let (addresses, here) = match &self.between {
            Between::Network(network) => {
                let here = settings.process.namespaces == Namespaces::Off && network.hub().is_none();
                let addresses = network.assign(&ports);
                network.serve_here(here);
                (addresses, here)
            }
            Between::Loopback(loopback) => (loopback.assign(&ports), true),
        };
        self.hosts.set(if here { &ports } else { &[] }, &addresses);
        addresses
    }

    /// Serves what was assigned.
    pub(super) async fn follow(&self) {
        match &self.between {
            Between::Network(network) => network.follow().await,
            Between::Loopback(loopback) => loopback.follow(),
        }
    }

    /// Lets go of everything. `containers`: those that there are go on.
    pub(super) async fn end(&self, containers: bool) {
        match &self.between {
            Between::Network(network) => network.end(containers).await,
            Between::Loopback(loopback) => loopback.end(),
        }
    }
}

/// The private network, or `None` where it is switched off or cannot be had; the log says why. With what
/// [`survey`] found.
pub(super) async fn start(
    settings: &Settings,
    (standing, survey): (Standing, Option<Survey>),
    state: &State,
    listeners: Arc<Listeners>,
    neighbours: Arc<Neighbours>,
    inherited: Vec<(String, TcpListener)>,
) -> Option<Private> {
    let private = settings.private.clone()?;
    let range = private.loopback;
    let (instance, state) = (state.instance().to_owned(), state.path().to_owned());
    let containers = super::policies(settings).any(|policy| policy.backend == BackendKind::Docker);
    // Those at addresses of loopback are of no use to a network, which lets go of them.
    let at_addresses = inherited.iter().filter(|(name, _)| range.is_some() && name.contains(':'));
    let at_addresses: Vec<(String, TcpListener)> =
        at_addresses.filter_map(|(name, socket)| Some((name.clone(), socket.try_clone().ok()?))).collect();
    let start = {
        let (state, listeners, neighbours) = (state.clone(), listeners.clone(), neighbours.clone());
        move || {
            let at = place(standing, &inherited)?;
            let rights = match survey {
                Some(rights) => rights,
                None => at.within(|| Ok(ground::rights())).map_err(|e| e.to_string())?,
            };
            let footing = Footing { at, rights };
            PrivateNetwork::start(&private, footing, &instance, &state, listeners, neighbours, inherited)
        }
    };
    // It talks to the kernel, and waits for it.
    let lack = match tokio::task::spawn_blocking(start).await {
        Ok(Ok(network)) => {
            if network.hub().is_some() {
                tracing::info!("{}", user::no_egress());
                if containers {
                    tracing::warn!("containers are not on the private network, which is in a user namespace");
                }
            }
            tracing::info!("services have virtual addresses of {} and find each other by name", network.range());
            let hosts = hosts(state).await?;
            return Some(Private { between: Between::Network(network), hosts });
        }
        Ok(Err(lack)) => lack,
        Err(e) => {
            tracing::error!("the private network could not be started: {e}");
            return None;
        }
    };
    let Some(range) = range else {
        tracing::warn!("services do not find each other by name here: {lack}");
        return None;
    };
    tracing::warn!("services have addresses on loopback, of {range}, and nothing keeps landscapes apart: {lack}");
    let hosts = hosts(state.clone()).await?;
    match hosts.lack() {
        None => tracing::info!("services find each other by name"),
        Some(lack) => tracing::warn!("services find each other by variables, and not by name: {lack}"),
    }
    let loopback = Loopback::start(range, &state, listeners, neighbours, at_addresses);
    Some(Private { between: Between::Loopback(loopback), hosts })
}

async fn hosts(state: PathBuf) -> Option<Arc<Hosts>> {
    // It may start a program.
    let hosts = tokio::task::spawn_blocking(move || Hosts::new(&state)).await;
    hosts.inspect_err(|e| tracing::error!("the private network could not be started: {e}")).ok().map(Arc::new)
}

/// Where the network is to be: where what an earlier router left is.
fn place(standing: Standing, inherited: &[(String, TcpListener)]) -> Result<Place, String> {
    let found = match standing {
        Standing::Machine => return Ok(Place::Machine),
        Standing::Refused(lack) => return Err(lack.to_string()),
        Standing::User(found) => found,
    };
    let of_sockets = || inherited.iter().find_map(|(_, socket)| Namespace::of_socket(socket).ok());
    let hub = found.or_else(of_sockets).map_or_else(ground::new_hub, Ok);
    hub.map(|hub| Place::Hub(Arc::new(hub))).map_err(|e| format!("a network namespace cannot be made: {e}"))
}

/// The services of every landscape and their private ports.
fn ports(settings: &Settings) -> Vec<(LandscapeId, Ports)> {
    let known = settings.landscapes.iter().filter_map(|l| l.spec.as_ref().ok());
    let of = |spec: &Arc<LandscapeSpec>| {
        let services =
            spec.services.values().map(|s| (s.key.clone(), ports_of(s))).filter(|(_, ports)| !ports.is_empty());
        (spec.home.id.clone(), services.collect())
    };
    known.map(of).collect()
}

/// What requests read: every private port by its virtual address.
pub(super) fn table(settings: &Settings, served: &HashMap<ServiceKey, Served>) -> PrivatePorts {
    let Some(private) = &settings.private else { return PrivatePorts::default() };
    let known = settings.landscapes.iter().filter_map(|l| l.spec.as_ref().ok());
    let services = known.flat_map(|spec| spec.services.values());
    let of = |spec: &Arc<ServiceSpec>| {
        let served = served.get(&spec.key)?;
        let address = served.address?;
        let each = |number| (SocketAddrV4::new(address, number), Arc::new(port(spec, number, served, private)));
        Some(ports_of(spec).into_iter().map(each).collect::<Vec<_>>())
    };
    services.filter_map(of).flatten().collect()
}

fn port(spec: &Arc<ServiceSpec>, number: u16, served: &Served, private: &PrivateSettings) -> PrivatePort {
    let mut paths = PrefixTree::default();
    let mut add = |prefix: &str, to: &PathTarget, strip: usize| {
        let route = Route {
            target: routes::endpoint(spec, to, served),
            landscape: spec.key.landscape.clone(),
            service: spec.key.service.clone(),
            to: to.clone(),
            prefix: Some(prefix.into()),
            strip,
        };
        // A service's paths were found to be different when its landscape was read.
        drop(paths.insert(prefix, route));
    };
    if spec.workload == Workload::Headless {
        for rule in &spec.paths {
            add(&rule.prefix, &rule.to, strip_prefix_length(&rule.prefix, rule.strip));
        }
    } else {
        add("/", &PathTarget::Port(number), 0);
    }
    PrivatePort {
        key: spec.key.clone(),
        stats: served.stats.clone(),
        protocol: protocol(spec, &served.policy, number),
        paths,
        idle: private.idle,
    }
}

fn protocol(spec: &ServiceSpec, policy: &Policy, number: u16) -> Option<Protocol> {
    if spec.workload == Workload::Headless {
        return Some(Protocol::Http);
    }
    policy.protocols.iter().find(|(port, _)| *port == number).map(|(_, protocol)| *protocol)
}
