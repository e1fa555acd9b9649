//! The names of services in a cluster, in this process: who keeps them, and the listeners that they lead to.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Refusal;
use super::cluster::Seat;
use super::private;
use super::routes::Served;
use crate::backend::kubernetes::connect::connect;
use crate::backend::kubernetes::private::{ApiShelf, Followed, Keeper, Names, Opener, Site, follow, named, wanted};
use crate::config::settings::Settings;
use crate::landscape::{LandscapeId, ServiceKey};
use crate::listen::Listeners;
use crate::private::ports_of;
use crate::private::residents::Residents;
use crate::proxy::{Called, Callers, Named, PrivatePort};

/// What the names of listeners begin with; no interface is called so.
const LISTENER: &str = "names/";

/// One answer of an API server takes milliseconds.
const ANSWER: Duration = Duration::from_secs(20);
/// At the end, the EndpointSlices are taken away within this time, or by the others later.
const WITHDRAW: Duration = Duration::from_secs(5);
/// From their end until every node leads its calls elsewhere: kube-proxy gathers changes for a second.
const UNTIL_KNOWN: Duration = Duration::from_secs(3);

/// Keeps the names while the router owns its services.
#[derive(Debug)]
pub struct ClusterNames(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    wanted: watch::Sender<Option<Arc<Names>>>,
    attached: watch::Sender<Arc<Followed>>,
    /// Ends when nothing can be wanted any more; how many EndpointSlices it then took away.
    keeping: JoinHandle<usize>,
    following: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeping.abort();
        self.following.abort();
    }
}

impl ClusterNames {
    /// Begins to keep names, if the configuration says so; which ones, [`ClusterNames::follow`] tells.
    /// `inherited` are a predecessor's listeners.
    pub(super) async fn start(
        settings: &Settings,
        seat: &Seat,
        listeners: Arc<Listeners>,
        inherited: Vec<(String, TcpListener)>,
    ) -> Result<Option<Self>, Refusal> {
        let kubernetes = &settings.kubernetes;
        let Some(names) = &kubernetes.names else { return Ok(None) };
        let address = address(names.address, std::env::var("POD_IP").ok().as_deref())?;
        // A watch says nothing for as long as nothing happens.
        let watches = connect(kubernetes, None).await?;
        let asks = connect(kubernetes, Some(ANSWER)).await?;
        let (namespace, instance) = (names.namespace.clone(), kubernetes.instance.clone());
        let site = Site { namespace, instance, router: seat.identity().to_owned(), address };
        let residents = Arc::new(Residents::default());
        let doors = Doors {
            listeners,
            address,
            callers: residents.clone(),
            open: Mutex::default(),
            inherited: Mutex::new(inherited.into_iter().map(|(_, socket)| socket).collect()),
        };
        let shelf = Arc::new(ApiShelf::new(&asks.client, &site.namespace, &site.instance));
        let keeper = Keeper::new(site, names.ports, shelf, Arc::new(doors), residents.clone());
        let (wanted, wish) = watch::channel(None);
        let (attached, followed) = watch::channel(Arc::default());
        let known = seat.members();
        let keeping = tokio::spawn(async move { keeper.run(wish, known.clone()).await.withdraw(&known).await });
        let instance = kubernetes.instance.clone();
        let following = tokio::spawn(follow(watches.client, watches.namespace, instance, residents, followed));
        tracing::info!("services find each other by the names of the namespace {}", names.namespace);
        Ok(Some(Self(Mutex::new(Some(Kept { wanted, attached, keeping, following })))))
    }

    /// These settings hold from now on.
    pub(super) fn follow(&self, settings: &Settings) {
        if let Some(kept) = &*self.0.lock() {
            kept.attached.send_replace(Arc::new(followed(settings)));
            kept.wanted.send_replace(Some(Arc::new(wanted(settings))));
        }
    }

    /// The router ends: takes its EndpointSlices away, and waits until nobody is led here by them any more if there
    /// is another router to be led to. Meanwhile everything is served; nothing is kept afterwards.
    pub(super) async fn end(&self, alone: bool) {
        let Some(mut kept) = self.0.lock().take() else { return };
        // What is being written is written to its end, and taken away then.
        kept.wanted = watch::channel(None).0;
        let withdrawn = tokio::time::timeout(WITHDRAW, &mut kept.keeping).await;
        let removed = withdrawn.map_or(1, |ended| ended.unwrap_or(0));
        if removed > 0 && !alone {
            tokio::time::sleep(UNTIL_KNOWN).await;
        }
    }

    /// Leaves the names as they are: to a successor, or to the next router.
    pub(super) fn leave(&self) {
        self.0.lock().take();
    }
}

/// What of a predecessor's private listeners are names'.
pub(super) fn inherited(all: &mut Vec<(String, TcpListener)>) -> Vec<(String, TcpListener)> {
    all.extract_if(.., |(name, _)| name.starts_with(LISTENER)).collect()
}

/// Where pods reach this router.
fn address(given: Option<IpAddr>, pod: Option<&str>) -> Result<IpAddr, Refusal> {
    let address = given.or_else(|| pod.and_then(|pod| pod.parse().ok()));
    address.ok_or_else(|| {
        "kubernetes.names: this router does not know its own address. In a pod, set POD_IP to status.podIP in its env \
         (valueFrom.fieldRef); elsewhere set kubernetes.names.address to an address of this machine that pods reach"
            .into()
    })
}

/// The listeners that names lead to.
struct Doors {
    listeners: Arc<Listeners>,
    address: IpAddr,
    callers: Arc<dyn Callers>,
    open: Mutex<BTreeMap<u16, Called>>,
    inherited: Mutex<Vec<TcpListener>>,
}

impl Doors {
    fn listen(&self, called: &Called, port: u16) -> io::Result<()> {
        let address = SocketAddr::new(self.address, port);
        let mut inherited = self.inherited.lock();
        let known = inherited.iter().position(|socket| socket.local_addr().is_ok_and(|at| at == address));
        let socket = match known {
            Some(at) => inherited.swap_remove(at),
            None => Listeners::bind_private(address)?,
        };
        let named = Named { called: called.clone(), callers: self.callers.clone() };
        self.listeners.serve_private(format!("{LISTENER}{port}").into(), Arc::new(named), socket)
    }
}

impl Opener for Doors {
    fn open(&self, all: &[(Called, u16)]) -> Vec<(u16, io::Error)> {
        let mut open = self.open.lock();
        let wanted: BTreeMap<u16, &Called> = all.iter().map(|(called, port)| (*port, called)).collect();
        open.retain(|port, called| {
            let keep = wanted.get(port) == Some(&&*called);
            if !keep {
                self.listeners.end_private(&format!("{LISTENER}{port}"));
            }
            keep
        });
        let mut failed = Vec::new();
        for (port, called) in wanted {
            if open.contains_key(&port) {
                continue;
            }
            match self.listen(called, port) {
                Ok(()) => drop(open.insert(port, called.clone())),
                Err(error) => failed.push((port, error)),
            }
        }
        // What of the predecessor's is not wanted now will not be.
        self.inherited.lock().clear();
        failed
    }
}

/// The services whose pods are others'.
fn followed(settings: &Settings) -> Followed {
    let all = settings.landscapes.iter().flat_map(|l| &l.policies);
    all.filter_map(|(key, policy)| Some((key.clone(), policy.attach.clone()?))).collect()
}

/// What requests read: every port of every name, by the landscape it is called in.
pub(super) fn table(
    settings: &Settings,
    served: &HashMap<ServiceKey, Served>,
) -> HashMap<LandscapeId, HashMap<Called, Arc<PrivatePort>>> {
    let Some(names) = &settings.kubernetes.names else { return HashMap::new() };
    let mut all: HashMap<LandscapeId, HashMap<Called, Arc<PrivatePort>>> = HashMap::new();
    for (spec, name) in named(settings) {
        let Some(served) = served.get(&spec.key) else { continue };
        let of_landscape = all.entry(spec.key.landscape.clone()).or_default();
        for number in ports_of(spec) {
            let port = Arc::new(private::port(spec, number, served, names.idle));
            of_landscape.insert(Called { name: name.clone(), port: number }, port);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Purpose, load};

    fn settings(head: &str, landscapes: &str) -> Settings {
        let dir = tempfile::tempdir().unwrap();
        let port = |n: u16| format!("network: {{ports: [{{port: {n}}}]}}");
        let ci = format!(
            "schemaVersion: v0.4\nrun:\n  web: {{image: x, {}}}\n  b-c: {{image: x, {}}}\n  c: {{image: x, {}}}\n",
            port(3000),
            port(3001),
            port(3002)
        );
        std::fs::write(dir.path().join("ci.yml"), ci).unwrap();
        let file = dir.path().join("router.yaml");
        std::fs::write(&file, format!("state: ../state\n{head}\nlandscapes: {landscapes}\n")).unwrap();
        let loaded = load(&file, Purpose::Check);
        loaded.settings.unwrap_or_else(|| panic!("{:?}", loaded.mistakes))
    }

    fn names(settings: &Settings) -> Vec<String> {
        wanted(settings).iter().map(|(name, ports)| format!("{name} {ports:?}")).collect()
    }

    #[test]
    fn services_in_the_cluster_have_names_and_others_have_none() {
        let landscapes = "[{id: \"4711\", root: ., services: {web: {backend: process}}}]";
        let on = settings("backend: kubernetes\nkubernetes: {names: {}}", landscapes);
        assert_eq!(names(&on), ["ws-server-4711-b-c {3001}", "ws-server-4711-c {3002}"]);
        assert!(names(&settings("backend: kubernetes", landscapes)).is_empty());
        let attached = "[{id: a, root: ., services: {web: {backend: kubernetes, attach: {deployment: shop}}}}]";
        let attached = settings("kubernetes: {names: {}}", attached);
        let of_web = followed(&attached);
        assert_eq!(names(&attached), ["ws-server-a-web {3000}"]);
        assert_eq!(of_web[&ServiceKey::new("a", "web")].name, "shop");
    }

    #[test]
    fn one_name_of_two_landscapes_has_the_ports_of_both() {
        let both = settings("backend: kubernetes\nkubernetes: {names: {}}", "[{id: a, root: .}, {id: a-b, root: .}]");
        assert!(names(&both).contains(&"ws-server-a-b-c {3001, 3002}".to_owned()), "{:?}", names(&both));
    }

    #[test]
    fn the_address_is_the_configured_or_the_pods() {
        let given = "10.0.0.7".parse().ok();
        assert_eq!(address(given, Some("10.0.0.8")).unwrap(), given.unwrap());
        assert_eq!(address(None, Some("fd00::8")).unwrap().to_string(), "fd00::8");
        let refused = address(None, None).unwrap_err().to_string();
        assert!(refused.contains("POD_IP") && refused.contains("kubernetes.names.address"), "{refused}");
    }
}
