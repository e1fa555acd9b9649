//! The router is replaced, or dies and comes back: replicas keep their networks.

use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::land::Land;
use crate::need_network;
use crate::support::http::read_answer;
use crate::support::inside::Lines;
use crate::support::{Inside, Router, eventually};

const CI: &str = "schemaVersion: v0.2
run:
  web:
    steps: [{ command: ./test-app }]
    network: { paths: [{ port: 3000, path: / }] }
  api:
    steps: [{ command: ./test-app }]
    replicas: 2
    network: { ports: [{ port: 3000, isPublic: false }] }
  raw:
    steps: [{ command: exec ./test-app --raw }]
    network: { ports: [{ port: 7000, isPublic: false }] }
  slow:
    steps: [{ command: \"while [ ! -e go ]; do sleep 0.02; done; exec ./test-app\" }]
    network: { ports: [{ port: 3000, isPublic: false }] }
  slow-raw:
    steps: [{ command: \"while [ ! -e go ]; do sleep 0.02; done; exec ./test-app --raw\" }]
    network: { ports: [{ port: 7000, isPublic: false }] }
";
const ON_CALL: &str =
    "api: { wake: onCall }, raw: { wake: onCall }, slow: { wake: onCall }, slow-raw: { wake: onCall }";

/// What must not change: replicas, where they are, and where services are found.
#[derive(Debug, PartialEq, Eq)]
struct World {
    replicas: Vec<(u32, Ipv4Addr)>,
    services: Vec<Option<Ipv4Addr>>,
}

fn world(land: &Land, web: &Inside) -> World {
    let replicas = ["web", "api", "raw"].into_iter().flat_map(|service| land.pids("shop", service));
    World {
        replicas: replicas.map(|pid| (pid, Inside::of(pid).address())).collect(),
        services: ["web", "api", "raw", "slow", "slow-raw"].map(|name| web.resolve(name)).into(),
    }
}

/// Something that is tried again and again until it is told to end.
struct Trying {
    stop: Arc<AtomicBool>,
    tries: Arc<AtomicU64>,
    thread: JoinHandle<Vec<String>>,
}

impl Trying {
    fn start(mut what: impl FnMut() -> Result<(), String> + Send + 'static) -> Self {
        let (stop, tries) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, counted) = (stop.clone(), tries.clone());
        let thread = std::thread::spawn(move || {
            let mut failures = Vec::new();
            while !told.load(Ordering::Relaxed) && failures.len() < 10 {
                failures.extend(what().err());
                counted.fetch_add(1, Ordering::Relaxed);
            }
            failures
        });
        Self { stop, tries, thread }
    }

    fn await_more(&self, router: &Router) {
        let before = self.tries.load(Ordering::Relaxed);
        eventually("more tries", router, || {
            self.thread.is_finished() || self.tries.load(Ordering::Relaxed) > before + 20
        });
    }

    /// What went wrong.
    fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// From within a landscape this machine's ports must be closed at every moment.
fn intruder(land: &Land) -> Trying {
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let inside = land.inside("shop", "web");
    let at = SocketAddrV4::new(inside.resolver(), everywhere.local_addr().unwrap().port());
    Trying::start(move || {
        let _ = &everywhere;
        match inside.try_connect(at, Duration::from_secs(1)) {
            Ok(_) => Err("a port of this machine answered".into()),
            Err(_) => Ok(()),
        }
    })
}

/// From within a landscape its services must be there at every moment.
fn caller(land: &Land) -> Trying {
    let inside = land.inside("shop", "web");
    let at = inside.at("raw", 7000);
    Trying::start(move || {
        if inside.resolve("raw") != Some(*at.ip()) {
            return Err("its name was lost".into());
        }
        let stream = inside.connect(at).map_err(|e| format!("connect: {e}"))?;
        let mut lines = Lines::new(stream);
        lines.tell("hello");
        match lines.hear() {
            Ok(said) if said == "hello" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
}

fn up() -> (Land, Router, Inside) {
    let land = Land::shop("", ON_CALL, CI);
    let router = Router::start(&land.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    let web = land.inside("shop", "web");
    assert_eq!(web.get(web.at("api", 3000), "api", "/").status, 200, "{}", router.log());
    assert!(web.lines(web.at("raw", 7000)).say("who").starts_with("service=raw"));
    router.await_ready("api", 2);
    (land, router, web)
}

#[test]
fn a_take_over_loses_no_private_connection_and_no_call() {
    need_network!();
    let (land, mut old, web) = up();
    let before = world(&land, &web);
    assert_eq!(before.replicas.len(), 4);
    let raw = web.at("raw", 7000);
    // Open, streaming, and held: by HTTP and not.
    let mut open = web.lines(raw);
    assert_eq!(open.say("before"), "before");
    let asked = |name: &str, path: &str| {
        let mut stream = web.connect(web.at(name, 3000)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n").unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || tell.send(read_answer(&mut BufReader::new(stream))));
        told
    };
    let stream = asked("api", "/stream/40/100");
    let held = asked("slow", "/hello");
    let mut held_raw = web.lines(web.at("slow-raw", 7000));
    held_raw.tell("who");
    for service in ["slow", "slow-raw"] {
        eventually("what is held", &old, || old.service(service)["held"] == 1);
    }
    old.await_metric("landscape_router_in_flight_requests{landscape=\"shop\",service=\"api\"}", 1.0);

    let (caller, intruder) = (caller(&land), intruder(&land));
    caller.await_more(&old);
    intruder.await_more(&old);
    let new = Router::start_with(&land.site, &["--take-over"]);
    caller.await_more(&new);
    let logs = || format!("{}\n---\n{}", old.log(), new.log());
    assert_eq!(caller.end(), [] as [String; 0], "{}", logs());
    assert_eq!(open.say("after"), "after", "{}", logs());
    // From here on it is quiet, for longer than any connection of HTTP may be idle at a router that ends.
    assert!(web.lines(raw).say("who").starts_with("service=raw"), "{}", logs());
    assert_eq!(web.get(web.at("api", 3000), "api", "/").status, 200, "{}", logs());
    land.site.go();
    let held = held.recv().unwrap().unwrap_or_else(|e| panic!("{e}\n{}", logs()));
    assert_eq!(held.status, 200, "{}\n{}", held.text(), logs());
    let said = held_raw.hear().unwrap_or_else(|e| panic!("{e}\n{}", logs()));
    assert!(said.starts_with("service=slow-raw"), "{said}");
    let stream = stream.recv().unwrap().unwrap_or_else(|e| panic!("{e}\n{}", logs()));
    assert_eq!(stream.text().matches("data:").count(), 40, "{}\n{}", stream.text(), logs());
    assert_eq!(world(&land, &web), before, "{}", logs());
    assert_eq!(open.say("still"), "still", "{}", logs());
    drop((open, held_raw));
    assert_eq!(old.wait(), Some(0));
    // The old one takes nothing along.
    intruder.await_more(&new);
    assert_eq!(intruder.end(), [] as [String; 0]);
    assert!(web.lines(raw).say("who").starts_with("service=raw"), "{}", new.log());
    assert_eq!(world(&land, &web), before, "{}", new.log());
    assert_eq!(new.stop(), Some(0));
    assert_eq!(land.traces(), [] as [String; 0]);
}

#[test]
fn a_killed_router_finds_the_networks_of_its_replicas_again() {
    need_network!();
    let (land, router, web) = up();
    let before = world(&land, &web);
    let mut open = web.lines(web.at("raw", 7000));
    assert_eq!(open.say("before"), "before");
    let intruder = intruder(&land);
    intruder.await_more(&router);
    router.kill();
    assert!(open.hear().is_err(), "its connections end with it");
    land.site.go();
    let router = Router::start(&land.site);
    // Started at once, it must not get the address of what is still to be found.
    assert!(web.lines(web.at("slow-raw", 7000)).say("who").starts_with("service=slow-raw"), "{}", router.log());
    assert_eq!(world(&land, &web), before, "{}", router.log());
    assert!(web.lines(web.at("raw", 7000)).say("who").starts_with("service=raw"), "{}", router.log());
    let answer = web.get(web.at("api", 3000), "api", "/");
    assert_eq!((answer.status, answer.header("x-landscape-cold-start")), (200, None), "{}", router.log());
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    assert_eq!(world(&land, &web), before, "the same processes, none twice: {}", router.log());
    intruder.await_more(&router);
    assert_eq!(intruder.end(), [] as [String; 0], "nor was the fence gone");
    assert_eq!(router.stop(), Some(0));
    assert_eq!(land.traces(), [] as [String; 0]);
}
