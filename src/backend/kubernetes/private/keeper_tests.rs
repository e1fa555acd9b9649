use std::collections::VecDeque;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::*;

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
    async fn look(&self) -> Result<(), ShelfError> {
        self.services().await.map(|_| ())
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
    Site { namespace: "workspaces".into(), instance: "prod".into(), address: "10.0.0.7".parse().unwrap() }
}

fn keeper(shelf: &Arc<Memory>, machine: &Arc<Machine>) -> Keeper {
    Keeper::new(site(), (21000, 21003), shelf.clone(), machine.clone(), Arc::default())
}

fn names(all: &[(&str, &[u16])]) -> Names {
    all.iter().map(|(name, ports)| ((*name).into(), ports.iter().copied().collect())).collect()
}

#[tokio::test]
async fn names_are_written_once_and_removed_when_they_are_no_longer_wanted() {
    let (shelf, machine) = (Arc::new(Memory::default()), Arc::new(Machine::default()));
    let mut keeper = keeper(&shelf, &machine);
    keeper.settle(&names(&[("api", &[3000]), ("web", &[3000, 8080])])).await.unwrap();
    assert_eq!(shelf.written(), ["put api", "put api-ipv4", "put web", "put web-ipv4"]);
    assert_eq!(machine.listens(), ["api:3000=21000", "web:3000=21001", "web:8080=21002"]);
    let owners = shelf.slices.lock()["api-ipv4"].metadata.owner_references.clone().unwrap();
    assert_eq!(owners[0].uid, "uid-api");
    keeper.settle(&names(&[("api", &[3000]), ("web", &[3000, 8080])])).await.unwrap();
    assert!(shelf.written().is_empty(), "nothing has changed");
    keeper.settle(&names(&[("web", &[8080])])).await.unwrap();
    assert_eq!(shelf.written(), ["put web", "put web-ipv4", "remove api", "remove api-ipv4"]);
    assert_eq!(machine.listens(), ["web:8080=21002"]);
}

#[tokio::test]
async fn a_router_without_memory_finds_its_ports_again() {
    let (shelf, machine) = (Arc::new(Memory::default()), Arc::new(Machine::default()));
    keeper(&shelf, &machine).settle(&names(&[("b", &[1]), ("c", &[1])])).await.unwrap();
    shelf.written();
    let next = Arc::new(Machine::default());
    keeper(&shelf, &next).settle(&names(&[("a", &[1]), ("b", &[1]), ("c", &[1])])).await.unwrap();
    assert_eq!(next.listens(), ["a:1=21002", "b:1=21000", "c:1=21001"]);
    assert_eq!(shelf.written(), ["put a", "put a-ipv4"]);
    // Its pod is another one now.
    let moved = Site { address: "10.0.0.8".parse().unwrap(), ..site() };
    let mut keeper = Keeper::new(moved, (21000, 21003), shelf.clone(), next.clone(), Arc::default());
    keeper.settle(&names(&[("a", &[1]), ("b", &[1]), ("c", &[1])])).await.unwrap();
    assert_eq!(shelf.written(), ["put a-ipv4", "put b-ipv4", "put c-ipv4"]);
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
    keeper.settle(&names(&[("api", &[3000]), ("web", &[3000])])).await.unwrap();
    assert_eq!(shelf.written(), ["put api", "put api-ipv4"]);
    assert_eq!(machine.listens(), ["api:3000=21000"]);
    shelf.slices.lock().remove("api-ipv4");
    shelf.services.lock().get_mut("api").unwrap().spec.as_mut().unwrap().ports = None;
    keeper.settle(&names(&[("api", &[3000]), ("web", &[3000])])).await.unwrap();
    assert_eq!(shelf.written(), ["put api", "put api-ipv4"]);
    shelf.services.lock().remove("web");
    keeper.settle(&names(&[("api", &[3000]), ("web", &[3000])])).await.unwrap();
    assert_eq!(shelf.written(), ["put web", "put web-ipv4"]);
}

#[tokio::test]
async fn a_port_that_something_else_has_is_replaced_and_too_many_are_told() {
    let shelf = Arc::new(Memory::default());
    let machine = Arc::new(Machine { taken: [21000, 21002].into(), ..Machine::default() });
    let mut keeper = keeper(&shelf, &machine);
    let errors = keeper.settle(&names(&[("a", &[1]), ("b", &[1]), ("c", &[1])])).await.unwrap_err();
    assert!(errors[0].to_string().contains("kubernetes.names.ports"), "{errors:?}");
    assert_eq!(machine.listens(), ["a:1=21003", "b:1=21001"]);
    assert_eq!(shelf.written(), ["put a", "put a-ipv4", "put b", "put b-ipv4"], "the others are served");
}

#[tokio::test]
async fn without_endpoint_slices_the_services_and_listeners_are_there() {
    let (shelf, machine) = (Arc::new(Memory { old: true, ..Memory::default() }), Arc::new(Machine::default()));
    assert!(keeper(&shelf, &machine).settle(&names(&[("a", &[1])])).await.is_err());
    assert_eq!((shelf.written(), machine.listens()), (vec!["put a".to_owned()], vec!["a:1=21000".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_round_that_failed_is_repeated_and_a_change_is_followed_at_once() {
    let (shelf, machine) = (Arc::new(Memory::default()), Arc::new(Machine::default()));
    shelf.failures.lock().extend((0..4).map(|_| ShelfError::Silent("gone".into())));
    let (want, wanted) = watch::channel(Some(Arc::new(names(&[("a", &[1])]))));
    let running = tokio::spawn(keeper(&shelf, &machine).run(wanted));
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
    keeper(&shelf, &machine).settle(&names(&[("a", &[1])])).await.unwrap();
    shelf.written();
    let (want, wanted) = watch::channel(None);
    let running = tokio::spawn(keeper(&shelf, &machine).run(wanted));
    tokio::time::sleep(LOOK).await;
    want.send_replace(Some(Arc::new(names(&[("a", &[1])]))));
    tokio::time::sleep(LOOK).await;
    drop(want);
    running.await.unwrap();
    assert!(shelf.written().is_empty());
}
