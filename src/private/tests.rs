//! Routers in a hub that stands in for a machine: nothing else is in it, and it goes with the test.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use super::addresses::hash;
use super::ground::{Namespace, Place, Survey, cut, index_of, new_hub};
use super::network::{Footing, PrivateNetwork};
use crate::backend::{Attached, Network};
use crate::config::settings::{Limits, PrivateSettings, Timeouts};
use crate::landscape::{LandscapeId, TargetGuard};
use crate::listen::{Listeners, Options};
use crate::observe::AccessLog;
use crate::proxy::{PrivatePorts, Rules, Shared, Snapshot, Targets};
use crate::route::Table;

/// A machine; `None` where none can be made.
fn machine() -> Option<Arc<Namespace>> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: making network namespaces needs root");
        return None;
    }
    Some(Arc::new(new_hub().unwrap()))
}

fn listeners() -> Arc<Listeners> {
    let long = Duration::from_secs(10);
    let rules = Rules {
        trusted_proxies: Arc::new([]),
        timeouts: Timeouts { connect: long, header: long, response: long, idle: long },
        limits: Limits { header: 64 * 1024, headers: 128, body: 1 << 30 },
        keep_header_case: false,
        targets: TargetGuard::default(),
    };
    let snapshot = Snapshot { table: Table::default(), private: PrivatePorts::default(), rules };
    let targets = Targets::new(Handle::current(), rustls::RootCertStore::empty()).unwrap();
    let shared = Shared { stats: Arc::default(), log: AccessLog::off(), targets };
    let options = Options { threads: 1, max_connections: 100 };
    Arc::new(Listeners::start(options, shared, Arc::new(ArcSwap::from_pointee(snapshot))).unwrap())
}

/// The network of a router, one after the other of one instance, that cuts from `subnets` for `landscapes`.
async fn router(machine: &Arc<Namespace>, subnets: &str, landscapes: &[&LandscapeId]) -> Arc<PrivateNetwork> {
    let settings = PrivateSettings {
        docker: Vec::new(),
        loopback: None,
        addresses: Some("10.231.0.0/16".parse().unwrap()),
        subnets: vec![subnets.parse().unwrap()],
        subnets_given: true,
        resolvers: vec!["127.0.0.1:53".parse().unwrap()],
        idle: Duration::from_secs(60),
        egress: false,
    };
    let state = tempfile::tempdir().unwrap();
    let footing = Footing { at: Place::Hub(machine.clone()), rights: Survey::default() };
    let network =
        PrivateNetwork::start(&settings, footing, "test", state.path(), listeners(), Arc::default(), Vec::new())
            .unwrap();
    configure(&network, landscapes).await;
    network
}

async fn configure(network: &PrivateNetwork, landscapes: &[&LandscapeId]) {
    network.assign(&landscapes.iter().map(|id| ((*id).clone(), Vec::new())).collect::<Vec<_>>());
    network.follow().await;
}

/// Has a replica end whose router is not told.
fn end(machine: &Namespace, network: &PrivateNetwork, replica: Attached) {
    machine.enter(|| cut(&network.cable(replica.address))).unwrap().unwrap();
}

fn has_bridge(machine: &Namespace, network: &PrivateNetwork, id: &LandscapeId) -> bool {
    machine.enter(|| index_of(&network.segment_name(id, false))).unwrap().is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_whose_landscape_sleeps_is_nobody_elses_after_a_restart() {
    let Some(machine) = machine() else { return };
    // Names that lead to the same one of two pieces.
    let mut ids =
        (0..).map(|n| LandscapeId::from(format!("shop{n}"))).filter(|id| hash(&format!("test/{id}")).is_multiple_of(2));
    let (shop, blog) = (ids.next().unwrap(), ids.next().unwrap());
    let first = router(&machine, "10.232.0.0/23", &[&shop, &blog]).await;
    let (of_shop, of_blog) = (first.attach(&shop).await.unwrap(), first.attach(&blog).await.unwrap());
    let before = [of_shop.address, of_blog.address];
    assert_ne!(before[0], before[1]);
    end(&machine, &first, of_shop);
    end(&machine, &first, of_blog);
    drop(first);
    let second = router(&machine, "10.232.0.0/23", &[&shop, &blog]).await;
    // The other way round.
    let of_blog = second.attach(&blog).await.unwrap();
    assert_eq!(of_blog.address, before[1], "it has the piece of a landscape whose bridge is there");
    assert_eq!(second.attach(&shop).await.unwrap().address, before[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_removed_landscape_held_is_free_once_nothing_of_it_runs() {
    let Some(machine) = machine() else { return };
    let (shop, blog, news) = (LandscapeId::from("shop"), LandscapeId::from("blog"), LandscapeId::from("news"));
    let network = router(&machine, "10.232.0.0/24", &[&shop]).await;
    let replica = network.attach(&shop).await.unwrap();
    configure(&network, &[&blog]).await;
    assert!(has_bridge(&machine, &network, &shop), "it runs on");
    assert!(network.attach(&blog).await.is_err(), "and has the only piece");
    let address = replica.address;
    drop(replica);
    network.release(&shop, address);
    let replica = network.attach(&blog).await.unwrap();
    assert!(!has_bridge(&machine, &network, &shop));
    network.release(&blog, replica.address);
    configure(&network, &[&blog]).await;
    assert!(has_bridge(&machine, &network, &blog), "who is asleep keeps its network");
    drop(replica);
    configure(&network, &[&news]).await;
    assert!(!has_bridge(&machine, &network, &blog));
    let replica = network.attach(&news).await.unwrap();
    // Also what an earlier router left.
    end(&machine, &network, replica);
    drop(network);
    let network = router(&machine, "10.232.0.0/24", &[&blog]).await;
    assert!(!has_bridge(&machine, &network, &news));
    network.attach(&blog).await.unwrap();
}
