use std::collections::VecDeque;

use async_trait::async_trait;
use parking_lot::Mutex;

use k8s_openapi::api::core::v1::Service;

use super::super::objects::{self, Ports};
use super::*;
use crate::cluster::Members;

/// A namespace in memory.
#[derive(Default)]
struct Memory {
    services: Mutex<BTreeMap<String, Service>>,
    slices: Mutex<BTreeMap<String, EndpointSlice>>,
    writes: Mutex<Vec<String>>,
    /// The next answers to a list of Services.
    failures: Mutex<VecDeque<ShelfError>>,
    /// The cluster knows no EndpointSlices.
    old: bool,
}

impl Memory {
    fn note(&self, what: &str, name: Option<&String>) {
        self.writes.lock().push(format!("{what} {}", name.unwrap()));
    }

    fn written(&self) -> Vec<String> {
        let mut writes = std::mem::take(&mut *self.writes.lock());
        writes.sort();
        writes
    }
}

#[async_trait]
impl Shelf for Memory {
    async fn look(&self, router: &str) -> Result<BTreeSet<String>, ShelfError> {
        let slices = self.slices().await?;
        let own = slices.into_iter().filter(|slice| objects::router_of(slice) == Some(router));
        Ok(own.filter_map(|slice| slice.metadata.name).collect())
    }

    async fn services(&self) -> Result<Vec<Service>, ShelfError> {
        match self.failures.lock().pop_front() {
            Some(error) => Err(error),
            None => Ok(self.services.lock().values().cloned().collect()),
        }
    }

    async fn slices(&self) -> Result<Vec<EndpointSlice>, ShelfError> {
        if self.old {
            return Err(ShelfError::Refused("no such thing".into()));
        }
        Ok(self.slices.lock().values().cloned().collect())
    }

    async fn put_service(&self, service: &Service) -> Result<Service, ShelfError> {
        let mut service = service.clone();
        let name = service.metadata.name.clone().unwrap();
        self.note("put", Some(&name));
        service.metadata.uid = Some(format!("uid-{name}"));
        self.services.lock().insert(name, service.clone());
        Ok(service)
    }

    async fn put_slice(&self, slice: &EndpointSlice) -> Result<(), ShelfError> {
        self.note("put", slice.metadata.name.as_ref());
        self.slices.lock().insert(slice.metadata.name.clone().unwrap(), slice.clone());
        Ok(())
    }

    async fn remove_service(&self, service: &Service) -> Result<(), ShelfError> {
        self.note("remove", service.metadata.name.as_ref());
        self.services.lock().remove(service.metadata.name.as_ref().unwrap());
        Ok(())
    }

    async fn remove_slice(&self, slice: &EndpointSlice) -> Result<(), ShelfError> {
        self.note("remove", slice.metadata.name.as_ref());
        self.slices.lock().remove(slice.metadata.name.as_ref().unwrap());
        Ok(())
    }
}

/// A machine on which something else has some ports.
#[derive(Default)]
struct Machine {
    taken: BTreeSet<u16>,
    open: Mutex<Vec<(Called, u16)>>,
}

impl Opener for Machine {
    fn open(&self, all: &[(Called, u16)]) -> Vec<(u16, io::Error)> {
        let (bad, good): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|(_, port)| self.taken.contains(port));
        *self.open.lock() = good;
        bad.into_iter().map(|(_, port)| (port, io::ErrorKind::AddrInUse.into())).collect()
    }
}

impl Machine {
    fn listens(&self) -> Vec<String> {
        self.open.lock().iter().map(|(called, port)| format!("{called}={port}")).collect()
    }
}

fn site() -> Site {
    Site {
        namespace: "workspaces".into(),
        instance: "prod".into(),
        router: "r1".into(),
        address: "10.0.0.7".parse().unwrap(),
    }
}

fn second() -> Site {
    Site { router: "r2".into(), address: "10.0.0.8".parse().unwrap(), ..site() }
}

fn members(there: &[&str], run_out: &[&str]) -> Members {
    let set = |all: &[&str]| all.iter().map(|router| (*router).into()).collect();
    Members { there: set(there), run_out: set(run_out), complete: tokio::time::Instant::now().into_std() }
}

/// The two routers of these tests.
fn both() -> Members {
    members(&["r1", "r2"], &[])
}

fn keeper(shelf: &Arc<Memory>, machine: &Arc<Machine>) -> Keeper {
    keeper_at(site(), shelf, machine)
}

fn keeper_at(site: Site, shelf: &Arc<Memory>, machine: &Arc<Machine>) -> Keeper {
    Keeper::new(site, (21000, 21003), shelf.clone(), machine.clone(), Arc::default())
}

fn names(all: &[(&str, &[u16])]) -> Names {
    all.iter().map(|(name, ports)| ((*name).into(), ports.iter().copied().collect())).collect()
}

#[tokio::test]
async fn names_are_written_once_and_removed_when_they_are_no_longer_wanted() {
    let (shelf, machine) = (Arc::new(Memory::default()), Arc::new(Machine::default()));
    let mut keeper = keeper(&shelf, &machine);
    keeper.settle(&names(&[("api", &[3000]), ("web", &[3000, 8080])]), &both()).await.unwrap();
    assert_eq!(shelf.written(), ["put api", "put api-ipv4-r1", "put web", "put web-ipv4-r1"]);
    assert_eq!(machine.listens(), ["api:3000=21000", "web:3000=21001", "web:8080=21002"]);
    let owners = shelf.slices.lock()["api-ipv4-r1"].metadata.owner_references.clone().unwrap();
    assert_eq!(owners[0].uid, "uid-api");
    keeper.settle(&names(&[("api", &[3000]), ("web", &[3000, 8080])]), &both()).await.unwrap();
    assert!(shelf.written().is_empty(), "nothing has changed");
    keeper.settle(&names(&[("web", &[8080])]), &both()).await.unwrap();
    assert_eq!(shelf.written(), ["put web", "put web-ipv4-r1", "remove api", "remove api-ipv4-r1"]);
    assert_eq!(machine.listens(), ["web:8080=21002"]);
}

#[tokio::test]
async fn a_router_without_memory_finds_its_ports_again() {
    let (shelf, machine) = (Arc::new(Memory::default()), Arc::new(Machine::default()));
    keeper(&shelf, &machine).settle(&names(&[("b", &[1]), ("c", &[1])]), &both()).await.unwrap();
    shelf.written();
    let next = Arc::new(Machine::default());
    keeper(&shelf, &next).settle(&names(&[("a", &[1]), ("b", &[1]), ("c", &[1])]), &both()).await.unwrap();
    assert_eq!(next.listens(), ["a:1=21002", "b:1=21000", "c:1=21001"]);
    assert_eq!(shelf.written(), ["put a", "put a-ipv4-r1"]);
    // Its address is another one now.
    let moved = Site { address: "10.0.0.8".parse().unwrap(), ..site() };
    let mut keeper = keeper_at(moved, &shelf, &next);
    keeper.settle(&names(&[("a", &[1]), ("b", &[1]), ("c", &[1])]), &both()).await.unwrap();
    assert_eq!(shelf.written(), ["put a-ipv4-r1", "put b-ipv4-r1", "put c-ipv4-r1"]);
}

#[tokio::test]
async fn what_others_changed_is_put_right_and_what_is_others_is_left() {
    let (shelf, machine) = (Arc::new(Memory::default()), Arc::new(Machine::default()));
    let theirs = Service {
        metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
            name: Some("web".into()),
            ..Default::default()
        },
        ..Default::default()
    };
    shelf.services.lock().insert("web".into(), theirs.clone());
    shelf.services.lock().insert(
        "db".into(),
        Service {
            metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                name: Some("db".into()),
                ..Default::default()
            },
            ..theirs
        },
    );
    let mut keeper = keeper(&shelf, &machine);
    keeper.settle(&names(&[("api", &[3000]), ("web", &[3000])]), &both()).await.unwrap();
    assert_eq!(shelf.written(), ["put api", "put api-ipv4-r1"]);
    assert_eq!(machine.listens(), ["api:3000=21000"]);
    shelf.slices.lock().remove("api-ipv4-r1");
    shelf.services.lock().get_mut("api").unwrap().spec.as_mut().unwrap().ports = None;
    keeper.settle(&names(&[("api", &[3000]), ("web", &[3000])]), &both()).await.unwrap();
    assert_eq!(shelf.written(), ["put api", "put api-ipv4-r1"]);
    shelf.services.lock().remove("web");
    keeper.settle(&names(&[("api", &[3000]), ("web", &[3000])]), &both()).await.unwrap();
    assert_eq!(shelf.written(), ["put web", "put web-ipv4-r1"]);
}

#[tokio::test]
async fn a_port_that_something_else_has_is_replaced_and_too_many_are_told() {
    let shelf = Arc::new(Memory::default());
    let machine = Arc::new(Machine { taken: [21000, 21002].into(), ..Machine::default() });
    let mut keeper = keeper(&shelf, &machine);
    let errors = keeper.settle(&names(&[("a", &[1]), ("b", &[1]), ("c", &[1])]), &both()).await.unwrap_err();
    assert!(errors[0].to_string().contains("kubernetes.names.ports"), "{errors:?}");
    assert_eq!(machine.listens(), ["a:1=21003", "b:1=21001"]);
    let written = ["put a", "put a-ipv4-r1", "put b", "put b-ipv4-r1", "put c"];
    assert_eq!(shelf.written(), written, "the others are served, and c by other routers");
}

#[tokio::test]
async fn without_endpoint_slices_the_services_and_listeners_are_there() {
    let (shelf, machine) = (Arc::new(Memory { old: true, ..Memory::default() }), Arc::new(Machine::default()));
    assert!(keeper(&shelf, &machine).settle(&names(&[("a", &[1])]), &both()).await.is_err());
    assert_eq!((shelf.written(), machine.listens()), (vec!["put a".to_owned()], vec!["a:1=21000".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_round_that_failed_is_repeated_and_a_change_is_followed_at_once() {
    let (shelf, machine) = (Arc::new(Memory::default()), Arc::new(Machine::default()));
    shelf.failures.lock().extend((0..4).map(|_| ShelfError::Silent("gone".into())));
    let (want, wanted) = watch::channel(Some(Arc::new(names(&[("a", &[1])]))));
    let (_members, known) = watch::channel(Some(both()));
    let running = tokio::spawn(keeper(&shelf, &machine).run(wanted, known));
    let is_open = async |n: usize| {
        while machine.open.lock().len() != n {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_open(1)).await.unwrap();
    want.send_replace(Some(Arc::new(names(&[("a", &[1]), ("b", &[1])]))));
    tokio::time::timeout(Duration::from_secs(1), is_open(2)).await.unwrap();
    // Somebody deletes one.
    while shelf.services.lock().len() != 2 {
        tokio::task::yield_now().await;
    }
    shelf.services.lock().remove("a");
    let back = async {
        while !shelf.services.lock().contains_key("a") {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(LOOK * (LOOKS + 1), back).await.unwrap();
    drop(want);
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_removed_before_it_is_known_what_is_wanted() {
    let (shelf, machine) = (Arc::new(Memory::default()), Arc::new(Machine::default()));
    keeper(&shelf, &machine).settle(&names(&[("a", &[1])]), &both()).await.unwrap();
    shelf.written();
    let (want, wanted) = watch::channel(None);
    let (_members, known) = watch::channel(Some(both()));
    let running = tokio::spawn(keeper(&shelf, &machine).run(wanted, known));
    tokio::time::sleep(LOOK).await;
    want.send_replace(Some(Arc::new(names(&[("a", &[1])]))));
    tokio::time::sleep(LOOK).await;
    drop(want);
    running.await.unwrap();
    assert!(shelf.written().is_empty());
}

#[tokio::test]
async fn each_router_keeps_slices_of_its_own_and_services_are_everybodys() {
    let (shelf, one, two) = (Arc::new(Memory::default()), Arc::new(Machine::default()), Arc::new(Machine::default()));
    let all = names(&[("a", &[1]), ("b", &[1])]);
    let mut first = keeper(&shelf, &one);
    first.settle(&all, &both()).await.unwrap();
    shelf.written();
    // Something else has a port of the second one's machine.
    let two = Arc::new(Machine { taken: [21000].into(), ..Arc::into_inner(two).unwrap() });
    let mut other = keeper_at(second(), &shelf, &two);
    other.settle(&all, &both()).await.unwrap();
    assert_eq!(shelf.written(), ["put a-ipv4-r2", "put b-ipv4-r2"]);
    assert_eq!(two.listens(), ["a:1=21002", "b:1=21001"]);
    first.settle(&all, &both()).await.unwrap();
    other.settle(&all, &both()).await.unwrap();
    assert!(shelf.written().is_empty(), "neither undoes what the other one wrote");
    // It starts again, as what it was, and finds its port though the Service remembers another.
    let two = Arc::new(Machine::default());
    keeper_at(second(), &shelf, &two).settle(&all, &both()).await.unwrap();
    assert_eq!(two.listens(), ["a:1=21002", "b:1=21001"]);
    assert!(shelf.written().is_empty());
    let all = names(&[("a", &[1])]);
    first.settle(&all, &both()).await.unwrap();
    assert_eq!(shelf.written(), ["remove b", "remove b-ipv4-r1", "remove b-ipv4-r2"]);
}

#[tokio::test]
async fn slices_of_a_router_whose_lease_has_run_out_are_removed() {
    let (shelf, machine) = (Arc::new(Memory::default()), Arc::new(Machine::default()));
    let all = names(&[("a", &[1])]);
    let mut first = keeper(&shelf, &machine);
    first.settle(&all, &both()).await.unwrap();
    keeper_at(second(), &shelf, &Arc::default()).settle(&all, &both()).await.unwrap();
    shelf.written();
    first.settle(&all, &members(&["r1"], &["r2"])).await.unwrap();
    assert_eq!(shelf.written(), ["remove a-ipv4-r2"]);
}

#[tokio::test(start_paused = true)]
async fn a_router_without_a_lease_is_gone_after_a_while_and_one_that_is_cut_off_does_nothing() {
    let (shelf, machine) = (Arc::new(Memory::default()), Arc::new(Machine::default()));
    let all = names(&[("a", &[1])]);
    keeper_at(second(), &shelf, &Arc::default()).settle(&all, &both()).await.unwrap();
    shelf.written();
    let (_want, wanted) = watch::channel(Some(Arc::new(all)));
    let (member, known) = watch::channel(None);
    let running = tokio::spawn(keeper(&shelf, &machine).run(wanted, known));
    tokio::time::sleep(LOOK * 2).await;
    assert!(shelf.written().is_empty() && machine.listens().is_empty(), "it is not known to be there");
    member.send_replace(Some(members(&["r1"], &[])));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(shelf.written(), ["put a-ipv4-r1"]);
    tokio::time::sleep(LOOK).await;
    assert!(shelf.written().is_empty(), "what is known ends before");
    // As with every renewal: nobody is told of it.
    member.send_if_modified(|known| {
        *known = Some(members(&["r1"], &[]));
        false
    });
    tokio::time::sleep(OPEN * 2).await;
    assert_eq!(shelf.written(), ["remove a-ipv4-r2"]);
    // Somebody takes one of its own: a look tells.
    shelf.slices.lock().clear();
    tokio::time::sleep(LOOK * 2).await;
    assert_eq!(shelf.written(), ["put a-ipv4-r1"]);
    // Cut off, it neither writes nor removes.
    member.send_replace(None);
    shelf.slices.lock().clear();
    tokio::time::sleep(LOOK * LOOKS * 2).await;
    assert!(shelf.written().is_empty());
    running.abort();
}

#[tokio::test]
async fn what_a_router_was_before_is_taken_over() {
    let (shelf, machine) = (Arc::new(Memory::default()), Arc::new(Machine::default()));
    let all = names(&[("a", &[1]), ("b", &[1])]);
    // Of a version that knew of one router alone.
    let mut old = site().slice(&site().service("a", &[1].into(), &Ports::new()), &[(1, 21002)].into());
    old.metadata.name = Some("a-ipv4".into());
    old.metadata.labels.as_mut().unwrap().remove(objects::ROUTER);
    shelf.slices.lock().insert("a-ipv4".into(), old);
    keeper(&shelf, &machine).settle(&all, &both()).await.unwrap();
    assert_eq!(machine.listens(), ["a:1=21002", "b:1=21000"]);
    assert_eq!(shelf.written(), ["put a", "put a-ipv4-r1", "put b", "put b-ipv4-r1", "remove a-ipv4"]);
    // A successor on the same machine, which is called something else: nobody else can have these ports.
    let next = Site { router: "r3".into(), ..site() };
    keeper_at(next, &shelf, &machine).settle(&all, &members(&["r1", "r3"], &[])).await.unwrap();
    assert_eq!(machine.listens(), ["a:1=21002", "b:1=21000"]);
    let written = ["put a-ipv4-r3", "put b-ipv4-r3", "remove a-ipv4-r1", "remove b-ipv4-r1"];
    assert_eq!(shelf.written(), written);
}

#[tokio::test]
async fn at_its_end_a_router_takes_its_own_slices_away() {
    let (shelf, machine) = (Arc::new(Memory::default()), Arc::new(Machine::default()));
    let all = names(&[("a", &[1]), ("b", &[1])]);
    keeper_at(second(), &shelf, &Arc::default()).settle(&all, &both()).await.unwrap();
    let (want, wanted) = watch::channel(Some(Arc::new(all)));
    let (member, known) = watch::channel(Some(both()));
    let mut keeper = keeper(&shelf, &machine);
    keeper.settle(&want.borrow().clone().unwrap(), &both()).await.unwrap();
    shelf.written();
    drop(want);
    assert_eq!(keeper.run(wanted, known.clone()).await.withdraw(&known).await, 2);
    assert_eq!(shelf.written(), ["remove a-ipv4-r1", "remove b-ipv4-r1"]);
    assert_eq!(machine.listens(), ["a:1=21000", "b:1=21001"], "what is under way arrives");
    // The next one finds its ports by the Services.
    let next = Arc::new(Machine::default());
    keeper_at(Site { router: "r9".into(), ..site() }, &shelf, &next)
        .settle(&names(&[("a", &[1]), ("aa", &[1]), ("b", &[1])]), &members(&["r2", "r9"], &[]))
        .await
        .unwrap();
    assert_eq!(next.listens(), ["a:1=21000", "aa:1=21002", "b:1=21001"]);
    shelf.written();
    member.send_replace(None);
    assert_eq!(keeper_at(second(), &shelf, &machine).withdraw(&known).await, 0, "nobody knows of it");
    assert!(shelf.written().is_empty());
}
