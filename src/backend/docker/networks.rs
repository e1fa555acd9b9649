//! One bridge network a landscape, its addresses cut from `docker.subnets`.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, NetworkInspect};
use bollard::query_parameters::{ListNetworksOptions, ListNetworksOptionsBuilder};
use ipnet::{IpNet, Ipv4Net};
use parking_lot::Mutex;

use super::engine::Up;
use super::labels::{Instance, landscape_of};
use super::trouble::{CALL, Trouble, backend, judge, not_runnable, status, text, within};
use crate::backend::Network;
use crate::landscape::LandscapeId;
use crate::private::ground::{gateway_of, overlap};

/// The engine's options of a bridge.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
const AMONG_CONTAINERS: &str = "com.docker.network.bridge.enable_icc";
/// The size of a landscape's piece.
const PIECE: u8 = 24;
/// Engines know of addresses in use that we cannot see; so many pieces are tried in one go.
const ATTEMPTS: usize = 32;

/// A landscape's network, as containers are put on it.
#[derive(Clone, Debug)]
pub(super) struct Net {
    /// The engine's id of it.
    pub(super) id: String,
    /// The address of its bridge, with its size.
    gateway: Option<Ipv4Net>,
    /// Whether the bridge has the name that the private network gave it.
    private: bool,
}

/// What a container is told of its network.
#[derive(Clone, Debug)]
pub(super) struct Joined {
    /// The engine's id of it.
    pub(super) id: String,
    /// Who answers for names, where it is not the engine alone.
    pub(super) resolver: Option<Ipv4Addr>,
}

/// The networks of this instance.
pub(super) struct Networks {
    instance: Instance,
    /// The router's part in them, if it has one.
    private: Option<Arc<dyn Network>>,
    /// As far as known, by landscape. The lock around each is held while it is made.
    known: Mutex<HashMap<LandscapeId, Arc<tokio::sync::Mutex<Option<Net>>>>>,
    /// Pieces are chosen one landscape at a time, else two would choose the same.
    choice: tokio::sync::Mutex<()>,
}

impl Networks {
    pub(super) fn new(instance: Instance, private: Option<Arc<dyn Network>>) -> Self {
        Self { instance, private, known: Mutex::default(), choice: tokio::sync::Mutex::new(()) }
    }

    /// The landscape's network, which is made if it is not there. With the router's own part in it.
    pub(super) async fn ensure(&self, up: &Up, subnets: &[IpNet], landscape: &LandscapeId) -> Result<Joined, Trouble> {
        let slot = Arc::clone(self.known.lock().entry(landscape.clone()).or_default());
        let mut known = slot.lock().await;
        let net = match &*known {
            Some(net) if self.is_wanted(net) => net.clone(),
            before => match self.usable(up, landscape, before.is_none()).await? {
                Some(found) => found,
                None => self.make(up, subnets, landscape).await?,
            },
        };
        *known = Some(net.clone());
        let joined = self.join(landscape, &net).await;
        joined.map_err(|e| backend(format!("the private network cannot be joined: {e}")).into())
    }

    /// Has the router's part in a network that containers run on already. Without it they run on.
    pub(super) async fn rejoin(&self, up: &Up, landscape: &LandscapeId) -> Result<(), Trouble> {
        if let Some(net) = self.find(up, landscape).await?
            && let Err(e) = self.join(landscape, &net).await
        {
            tracing::warn!(%landscape, "what runs there cannot call other services yet: {e}");
        }
        Ok(())
    }

    async fn join(&self, landscape: &LandscapeId, net: &Net) -> io::Result<Joined> {
        let resolver = match (&self.private, net.gateway) {
            (Some(private), Some(gateway)) if net.private => Some(private.bridged(landscape, gateway).await?),
            _ => None,
        };
        Ok(Joined { id: net.id.clone(), resolver })
    }

    /// Whether a network is as it would be made. One of before the private network is not.
    fn is_wanted(&self, net: &Net) -> bool {
        net.private || self.private.is_none()
    }

    /// What is there, if containers can be put on it: one of before the private network is made anew, as
    /// soon as nothing runs on it. Until then it is asked for each time, and told the first time: if that is `news`.
    async fn usable(&self, up: &Up, landscape: &LandscapeId, news: bool) -> Result<Option<Net>, Trouble> {
        let Some(found) = self.find(up, landscape).await? else { return Ok(None) };
        if self.is_wanted(&found) {
            return Ok(Some(found));
        }
        if remove(up, &found.id, "remove an older network").await?.is_none() {
            return Ok(None);
        }
        if news {
            tracing::warn!(
                %landscape,
                "its containers are on an older network: its services find each other by name once all were off"
            );
        }
        Ok(Some(found))
    }

    /// Forgets an id that the engine no longer knows.
    pub(super) fn forget(&self, landscape: &LandscapeId) {
        self.known.lock().remove(landscape);
    }

    /// Removes the networks of landscapes that `keep` does not want and that no container uses.
    pub(super) async fn sweep(&self, up: &Up, keep: impl Fn(&str) -> bool) -> Result<(), Trouble> {
        let filters = HashMap::from([("label".to_owned(), vec![self.instance.filter()])]);
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let all = within(CALL, up.docker.list_networks(Some(options))).await.map_err(|e| judge("list networks", &e))?;
        for network in all {
            let landscape = network.labels.as_ref().and_then(landscape_of);
            let (Some(landscape), Some(id)) = (landscape, network.id) else { continue };
            if keep(&landscape) {
                continue;
            }
            let slot = Arc::clone(self.known.lock().entry(landscape.clone()).or_default());
            let mut known = slot.lock().await;
            match remove(up, &id, "remove a network").await? {
                None => self.gone(&landscape, &mut known).await,
                // In use by a container that is still on its way out: the next sweep gets it.
                Some(why) => tracing::debug!(%landscape, "the network stays: {why}"),
            }
        }
        Ok(())
    }

    async fn gone(&self, landscape: &LandscapeId, known: &mut Option<Net>) {
        *known = None;
        if let Some(private) = &self.private {
            private.unbridged(landscape).await;
        }
    }

    async fn find(&self, up: &Up, landscape: &LandscapeId) -> Result<Option<Net>, Trouble> {
        let name = self.instance.network_name(landscape);
        match within(CALL, up.docker.inspect_network(&name, None)).await {
            Ok(network) => Ok(self.understand(landscape, network)),
            Err(e) if status(&e) == Some(404) => Ok(None),
            Err(e) => Err(judge("look for the network", &e)),
        }
    }

    fn understand(&self, landscape: &LandscapeId, network: NetworkInspect) -> Option<Net> {
        let named = network.options.as_ref().and_then(|o| o.get(BRIDGE_NAME));
        let private = self.private.as_ref().is_some_and(|p| named == Some(&p.bridge_name(landscape)));
        let config = network.ipam.and_then(|ipam| ipam.config?.into_iter().next());
        let gateway = config.and_then(|config| {
            let (subnet, gateway) = (config.subnet?.parse::<Ipv4Net>().ok()?, config.gateway?.parse().ok()?);
            Ipv4Net::new(gateway, subnet.prefix_len()).ok()
        });
        Some(Net { id: network.id?, gateway, private })
    }

    async fn make(&self, up: &Up, subnets: &[IpNet], landscape: &LandscapeId) -> Result<Net, Trouble> {
        let _choice = self.choice.lock().await;
        let mut taken = engine_subnets(up).await?;
        if let Ok(routes) = tokio::fs::read_to_string("/proc/net/route").await {
            taken.extend(host_routes(&routes));
        }
        let mut last = None;
        for piece in pieces(subnets, &taken).take(ATTEMPTS) {
            match within(CALL, up.docker.create_network(self.request(landscape, piece))).await {
                Ok(made) => {
                    return Ok(Net { id: made.id, gateway: gateway_of(piece), private: self.private.is_some() });
                }
                // The engine says so with different codes: 403 for a pool that overlaps, 409 for a name.
                Err(e) if text(&e).contains("overlap") => last = Some(text(&e)),
                Err(e) if status(&e) == Some(409) => {
                    if let Some(found) = self.find(up, landscape).await? {
                        return Ok(found);
                    }
                    return Err(judge("create the network", &e));
                }
                Err(e) => return Err(judge("create the network", &e)),
            }
        }
        Err(match last {
            Some(said) => backend(format!("no piece of `docker.subnets` can be used for the network: {said}")).into(),
            None => not_runnable(
                "`docker.subnets` has no free piece for another landscape's network: add a range".to_owned(),
            )
            .into(),
        })
    }

    fn request(&self, landscape: &LandscapeId, piece: Ipv4Net) -> NetworkCreateRequest {
        let gateway = gateway_of(piece).map(|g| g.addr().to_string());
        let subnet = IpamConfig { subnet: Some(piece.to_string()), gateway, ..Default::default() };
        let options = self.private.as_ref().map(|private| {
            // By its name the router finds it; and nobody talks on it past the router.
            let options = [(BRIDGE_NAME, private.bridge_name(landscape)), (AMONG_CONTAINERS, "false".to_owned())];
            options.map(|(name, value)| (name.to_owned(), value)).into()
        });
        NetworkCreateRequest {
            options,
            name: self.instance.network_name(landscape),
            driver: Some("bridge".into()),
            ipam: Some(Ipam { config: Some(vec![subnet]), ..Default::default() }),
            labels: Some(self.instance.landscape_labels(landscape)),
            ..Default::default()
        }
    }
}

/// Removes a network; that it is gone already is no error. What the engine says where containers are on it, which
/// keeps it.
async fn remove(up: &Up, id: &str, what: &str) -> Result<Option<String>, Trouble> {
    match within(CALL, up.docker.remove_network(id)).await {
        Ok(()) => Ok(None),
        Err(e) if status(&e) == Some(404) => Ok(None),
        Err(e) if status(&e) == Some(403) => Ok(Some(text(&e))),
        Err(e) => Err(judge(what, &e)),
    }
}

/// What the engine's networks already use.
async fn engine_subnets(up: &Up) -> Result<Vec<Ipv4Net>, Trouble> {
    let all = within(CALL, up.docker.list_networks(None::<ListNetworksOptions>))
        .await
        .map_err(|e| judge("list networks", &e))?;
    let configs = all.into_iter().filter_map(|n| n.ipam?.config).flatten();
    Ok(configs.filter_map(|c| c.subnet?.parse().ok()).collect())
}

/// Destinations of the host's IPv4 routes, the default route aside.
fn host_routes(table: &str) -> HashSet<Ipv4Net> {
    let net = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (destination, mask) = (fields.nth(1)?, fields.nth(5)?);
        // The kernel prints the bytes of the address as one number in the machine's order.
        let address = |hex: &str| u32::from_str_radix(hex, 16).ok().map(|n| Ipv4Addr::from(n.to_ne_bytes()));
        let net = Ipv4Net::with_netmask(address(destination)?, address(mask)?).ok()?;
        (net.prefix_len() > 0).then_some(net)
    };
    table.lines().skip(1).filter_map(net).collect()
}

/// Free pieces of `subnets`, in order.
fn pieces<'a>(subnets: &'a [IpNet], taken: &'a [Ipv4Net]) -> impl Iterator<Item = Ipv4Net> + 'a {
    let v4 = subnets.iter().filter_map(|n| match n {
        IpNet::V4(net) => Some(net.trunc()),
        IpNet::V6(_) => None,
    });
    v4.flat_map(|net| {
        let size = PIECE.max(net.prefix_len());
        net.subnets(size).into_iter().flatten()
    })
    .filter(move |piece| !taken.iter().any(|t| overlap(*piece, *t)))
}

#[cfg(test)]
#[path = "networks_tests.rs"]
mod with_an_engine;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_piece_that_overlaps_nothing() {
        let subnets: Vec<IpNet> = vec!["fd00::/64".parse().unwrap(), "10.5.0.0/22".parse().unwrap()];
        let taken: Vec<Ipv4Net> = vec!["10.5.0.64/26".parse().unwrap(), "10.5.2.0/23".parse().unwrap()];
        assert_eq!(pieces(&subnets, &taken).collect::<Vec<_>>(), ["10.5.1.0/24".parse::<Ipv4Net>().unwrap()]);
    }

    #[test]
    fn a_range_smaller_than_a_piece_is_one() {
        let subnets: Vec<IpNet> = vec!["10.5.0.0/28".parse().unwrap()];
        assert_eq!(pieces(&subnets, &[]).count(), 1);
    }

    #[test]
    fn the_kernel_s_routes_without_the_default_one() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                     eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\n\
                     docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\n";
        let net: Ipv4Net = "172.17.0.0/16".parse().unwrap();
        assert_eq!(host_routes(table), HashSet::from([net]));
    }
}
