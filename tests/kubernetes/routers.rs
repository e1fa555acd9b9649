//! Several routers by their Leases, on an API server: the ways that nothing but a server can judge. The lives
//! of services are stood in for; `suite` has whole routers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use landscape_router::cluster::{Cluster, ClusterOptions, ClusterStatus, Workload};
use landscape_router::config::settings::AttachKind;
use landscape_router::landscape::ServiceKey;
use landscape_router::lifecycle::consent::{Order, Stand, Word};
use parking_lot::Mutex;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::fixture::object::Object;
use crate::town::{PATIENCE, Town};

const LABELS: &str = "app.kubernetes.io/managed-by=landscape-router,landscape-router/instance=lr";

/// One router, in a runtime of its own: dropped, it is gone as if it was killed.
struct Router {
    runtime: Option<Runtime>,
    cluster: Arc<Cluster>,
    orders: Arc<Mutex<Vec<(ServiceKey, Order)>>>,
    /// Services that answer that they are wanted.
    wanted: Arc<Mutex<Vec<ServiceKey>>>,
}

impl Router {
    fn start(town: &Town, identity: &str, keys: &[ServiceKey]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let file = kube::config::Kubeconfig::read_from(town.kubeconfig()).unwrap();
        let namespace = town.namespace.clone();
        let (told, mut orders_in) = mpsc::unbounded_channel::<(ServiceKey, Order)>();
        let connect = async {
            let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
            (kube::Client::try_from(config).unwrap(), namespace)
        };
        let cluster = runtime.block_on(async {
            Cluster::start(ClusterOptions {
                connect: Box::pin(connect),
                instance: "lr".to_owned(),
                identity: identity.to_owned(),
                workload: Box::new(|key| {
                    Some(Workload {
                        kind: AttachKind::Deployment,
                        namespace: None,
                        name: key.service.to_string(),
                        instance: None,
                    })
                }),
                tell: Box::new(move |key, order| drop(told.send((key.clone(), order)))),
                members: tokio::sync::watch::channel(None).0,
            })
        });
        let orders: Arc<Mutex<Vec<_>>> = Arc::default();
        let wanted: Arc<Mutex<Vec<ServiceKey>>> = Arc::default();
        let (voice, list, busy) = (cluster.voice(), orders.clone(), wanted.clone());
        for key in keys {
            voice.send((key.clone(), Word::Joined)).unwrap();
        }
        runtime.spawn(async move {
            while let Some((key, order)) = orders_in.recv().await {
                list.lock().push((key.clone(), order));
                if let Order::Close { token, .. } = order {
                    let word = if busy.lock().contains(&key) { Word::Wanted(token) } else { Word::Closed(token) };
                    drop(voice.send((key, word)));
                }
            }
        });
        Self { runtime: Some(runtime), cluster: Arc::new(cluster), orders, wanted }
    }

    fn say(&self, key: &ServiceKey, word: Word) {
        self.cluster.voice().send((key.clone(), word)).unwrap();
    }

    fn status(&self) -> Arc<ClusterStatus> {
        self.cluster.status()
    }

    fn orders(&self, key: &ServiceKey) -> Vec<Order> {
        self.orders.lock().iter().filter(|(k, _)| k == key).map(|(_, order)| *order).collect()
    }

    /// As a signal that cannot be caught does it.
    fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    fn end(&self) {
        self.runtime.as_ref().unwrap().block_on(self.cluster.end());
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("4711", name)
}

/// A workload without pods to speak of: what is asked here is its count.
fn workload(town: &Town, name: &str, replicas: u32) {
    let labels = json!({ "app": name });
    let container = json!({ "name": "app", "image": crate::town::image(), "imagePullPolicy": "Never" });
    let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": [container] } });
    let spec = json!({ "replicas": replicas, "selector": { "matchLabels": labels }, "template": template });
    town.create("deployments", &json!({ "metadata": { "name": name }, "spec": spec })).good();
}

fn count(town: &Town, name: &str) -> i64 {
    town.get("deployments", name).good().int("/spec/replicas")
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let begin = std::time::Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Two routers that have found each other: the one that leads, and the other.
fn pair(town: &Town, keys: &[ServiceKey]) -> (Router, Router) {
    let one = Router::start(town, "one", keys);
    wait("a leader", || one.status().leads);
    let other = Router::start(town, "other", keys);
    wait("each other", || one.status().routers.len() == 2 && other.status().routers.len() == 2);
    assert_eq!(other.status().leader.as_deref(), Some("one"));
    for key in keys {
        wait("the first order", || !one.orders(key).is_empty() && !other.orders(key).is_empty());
        assert_eq!((one.orders(key), other.orders(key)), (vec![Order::Open], vec![Order::Open]));
    }
    (one, other)
}

fn down_once(router: &Router, key: &ServiceKey) -> bool {
    router.orders(key).iter().filter(|o| **o == Order::Off).count() == 1
}

#[test]
fn a_service_is_switched_off_when_both_routers_have_closed_it() {
    let town = Town::new();
    let (web, api) = (key("web"), key("api"));
    workload(&town, "web", 1);
    workload(&town, "api", 1);
    let (one, other) = pair(&town, &[web.clone(), api.clone()]);
    other.say(&web, Word::Stand(Stand::Busy));
    // It says so with its next renewal; before that it would be asked.
    let report = || town.get("leases", "lr-router-other").good().to_string();
    wait("its report", || report().contains("web"));
    for router in [&one, &other] {
        router.say(&api, Word::Stand(Stand::Idle));
    }
    one.say(&web, Word::Stand(Stand::Idle));
    wait("the idle one's end", || count(&town, "api") == 0);
    wait("its being told", || down_once(&one, &api) && down_once(&other, &api));
    assert_eq!(count(&town, "web"), 1, "one router uses it");
    assert_eq!(one.orders(&web), [Order::Open], "so nobody was even asked");
    other.say(&web, Word::Stand(Stand::Idle));
    wait("the other's end", || count(&town, "web") == 0);
    wait("its being told", || down_once(&one, &web) && down_once(&other, &web));
}

#[test]
fn who_wants_it_takes_the_mark_away_and_everybody_opens_again() {
    let town = Town::new();
    let web = key("web");
    workload(&town, "web", 1);
    let (one, other) = pair(&town, std::slice::from_ref(&web));
    other.wanted.lock().push(web.clone());
    for router in [&one, &other] {
        router.say(&web, Word::Stand(Stand::Idle));
    }
    wait("the way back", || one.orders(&web).len() == 3 && other.orders(&web).len() == 3);
    for router in [&one, &other] {
        let orders = router.orders(&web);
        assert!(matches!(orders[..], [Order::Open, Order::Close { force: false, .. }, Order::Open]), "{orders:?}");
    }
    assert_eq!(count(&town, "web"), 1);
}

#[test]
fn a_leader_that_is_killed_is_followed_and_what_it_began_comes_to_an_end() {
    let town = Town::new();
    let web = key("web");
    workload(&town, "web", 2);
    let (one, other) = pair(&town, std::slice::from_ref(&web));
    for router in [&one, &other] {
        router.say(&web, Word::Stand(Stand::Idle));
    }
    wait("the order to close", || other.orders(&web).len() >= 2);
    one.kill();
    wait("the end", || count(&town, "web") == 0);
    wait("its being told", || down_once(&other, &web));
    wait("another leader", || other.status().leads && other.status().routers.len() == 1);
}

#[test]
fn a_router_that_ends_leaves_nothing_behind_and_is_followed_at_once() {
    let town = Town::new();
    let (one, other) = pair(&town, &[]);
    let begin = std::time::Instant::now();
    one.end();
    wait("another leader", || other.status().leads);
    assert!(begin.elapsed() < Duration::from_secs(10), "its Lease was not waited for");
    wait("one router", || other.status().routers.len() == 1);
    let leases = town.list("leases", &format!("labelSelector={LABELS}"));
    let names: Vec<&str> = leases.iter().map(|l| l.name()).collect();
    assert!(names.contains(&"lr-router-other") && !names.contains(&"lr-router-one"), "{names:?}");
}

#[test]
fn a_router_writes_far_less_than_once_a_second() {
    let town = Town::new();
    let keys: Vec<ServiceKey> = (0..20).map(|n| key(&format!("s{n}"))).collect();
    let (one, other) = pair(&town, &keys);
    let versions = || {
        let leases = town.list("leases", &format!("labelSelector={LABELS}"));
        leases.iter().map(|l| (l.name().to_owned(), l.text("/metadata/resourceVersion").to_owned())).collect()
    };
    // Every change of a Lease is a write; they are looked at more often than they change.
    let mut before: BTreeMap<String, String> = versions();
    let mut writes: BTreeMap<String, u32> = BTreeMap::new();
    let begin = std::time::Instant::now();
    let mut busy = false;
    while begin.elapsed() < Duration::from_secs(30) {
        busy = !busy;
        for key in &keys {
            other.say(key, Word::Stand(if busy { Stand::Busy } else { Stand::Idle }));
            one.say(key, Word::Stand(Stand::Busy));
        }
        std::thread::sleep(Duration::from_millis(100));
        let now = versions();
        for (name, version) in &now {
            if before.get(name) != Some(version) {
                *writes.entry(name.clone()).or_default() += 1;
            }
        }
        before = now;
    }
    eprintln!("writes in 30 s: {writes:?}");
    let all: u32 = writes.values().sum();
    assert!((15..=21).contains(&all), "{writes:?}");
}
