//! Names with two routers: they lead to both, and to none that is gone.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::names::{ask_at, leads, slices};
use super::rig::{Rig, ci, service};
use crate::fixture::object::Object;
use crate::need_fixture;
use crate::support::Router;

const API: &str = "ws-server-shop-api";
const PLACES: [(&str, &str); 2] = [("router.yaml", "127.0.0.1"), ("second.yaml", "127.0.0.2")];

struct Two {
    rig: Rig,
    routers: Vec<Router>,
    /// A pod of web, which calls api.
    web: String,
}

impl Two {
    fn start() -> Self {
        let text = ci(&[service("web", 1, "/", ""), service("api", 1, "/api", "")]);
        let rig = Rig::new("", &text);
        let first = 30_000 + 10 * fastrand::u16(500..700);
        let range = format!("{first}-{}", first + 9);
        let names = format!("pull: never, names: {{ namespace: {}, ports: {range} }}", rig.town.namespace);
        rig.site.write("router.yaml", &rig.router_yaml("", &names));
        rig.site.write("second.yaml", &rig.router_yaml("state: second\n", &names));
        let routers = [0, 1].map(|n| launch(&rig, n, &[])).into();
        let mut two = Self { rig, routers, web: String::new() };
        two.await_slices(2);
        assert_eq!(two.routers[0].shop("/").status, 200, "{}", two.routers[0].log());
        two.web = two.rig.pods("web")[0].text("/status/podIP").to_owned();
        two
    }

    /// Where the name leads.
    fn places(&self) -> Vec<SocketAddr> {
        slices(&self.rig, API).iter().map(|slice| leads(slice, 3000).unwrap()).collect()
    }

    fn place(&self, n: usize) -> Option<SocketAddr> {
        self.places().into_iter().find(|at| at.ip().to_string() == PLACES[n].1)
    }

    fn await_slices(&self, count: usize) {
        let there = || slices(&self.rig, API).len() == count && slices(&self.rig, "ws-server-shop-web").len() == count;
        self.rig.eventually(&format!("{count} EndpointSlices"), &self.routers[0], there);
    }

    fn ask(&self, at: SocketAddr) -> Option<String> {
        ask_at(&self.web, at, "api")
    }

    fn logs(&self) -> String {
        self.routers.iter().map(Router::log).collect::<Vec<_>>().join("\n---\n")
    }
}

fn launch(rig: &Rig, n: usize, arguments: &[&str]) -> Router {
    let mut command = rig.command(PLACES[n].0);
    command.args(arguments).env("POD_IP", PLACES[n].1);
    Router::launch(command)
}

#[test]
fn names_lead_to_each_router_and_wake_by_it() {
    need_fixture!("a test is at a pod's address on this machine alone");
    let two = Two::start();
    let service = two.rig.town.get("services", API).good();
    for n in [0, 1] {
        let at = two.place(n).unwrap();
        let answer = two.ask(at).unwrap_or_else(|| panic!("{n}: {}", two.logs()));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        two.rig.await_ready(&two.routers[1 - n], "api", 1);
        two.rig.cli(&two.routers[n], &["sleep", "shop/api"]);
        two.routers.iter().for_each(|router| two.rig.await_off(router, "api"));
    }
    let now = two.rig.town.get("services", API).good();
    assert_eq!(now["metadata"]["resourceVersion"], service["metadata"]["resourceVersion"], "it is nobody's alone");
}

#[test]
fn names_do_not_lead_to_a_router_that_was_killed() {
    need_fixture!("a test is at a pod's address on this machine alone");
    let mut two = Two::start();
    let other = two.place(0).unwrap();
    assert!(two.ask(other).is_some(), "{}", two.logs());
    two.routers.remove(1).kill();
    let begin = Instant::now();
    while two.place(1).is_some() {
        assert!(two.ask(other).is_some_and(|a| a.starts_with("HTTP/1.1 200 ")), "{}", two.logs());
        // A Lease is good for 15 s, and that it is not renewed shows with one's own renewal, every 5 s.
        assert!(begin.elapsed() < Duration::from_secs(25), "{}", two.logs());
        std::thread::sleep(Duration::from_millis(100));
    }
    crate::support::figure("names of a killed router are gone after", begin.elapsed());
    assert!(begin.elapsed() > Duration::from_secs(8), "it may have come back");
    two.await_slices(1);
    assert_eq!(two.places(), [other]);
}

#[test]
fn a_router_that_ends_is_led_to_by_nobody_before_it_closes() {
    need_fixture!("a test is at a pod's address on this machine alone");
    let mut two = Two::start();
    two.routers[1].terminate();
    let begin = Instant::now();
    let mut gone = None;
    let mut asked = [0, 0];
    // As a node has it, what is known is up to a second old.
    let (mut known, mut read) = (two.places(), Instant::now());
    assert_eq!(known.len(), 2);
    while gone.is_none_or(|at: Instant| at.elapsed() < Duration::from_secs(4)) {
        if read.elapsed() > Duration::from_secs(1) {
            (known, read) = (two.places(), Instant::now());
        }
        if gone.is_none() && two.place(1).is_none() {
            gone = Some(Instant::now());
            crate::support::figure("names of a router that ends are gone after", begin.elapsed());
        }
        for at in &known {
            let answer = two.ask(*at).unwrap_or_else(|| panic!("{at}: {}", two.logs()));
            assert!(answer.starts_with("HTTP/1.1 200 "), "{at}: {answer}");
            asked[usize::from(at.ip().to_string() == PLACES[1].1)] += 1;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{}", two.logs());
    }
    assert!(gone.unwrap() - begin < Duration::from_secs(3), "{}", two.logs());
    assert!(asked.iter().all(|n| *n > 0), "{asked:?}");
    assert_eq!(two.routers[1].wait(), Some(0), "{}", two.logs());
    // It comes back, under another name, and finds its ports.
    two.routers[1] = launch(&two.rig, 1, &[]);
    two.await_slices(2);
    let at = two.place(1).unwrap();
    assert!(two.ask(at).is_some(), "{}", two.logs());
}

#[test]
fn names_lead_to_a_successor_as_to_who_was_there_before() {
    need_fixture!("a test is at a pod's address on this machine alone");
    let mut two = Two::start();
    let at = two.place(0).unwrap();
    let before = slices(&two.rig, API);
    assert!(two.ask(at).is_some(), "{}", two.logs());
    let next = launch(&two.rig, 0, &["--take-over"]);
    let old = std::mem::replace(&mut two.routers[0], next);
    two.routers.push(old);
    let is_new = |slice: &serde_json::Value| before.iter().all(|b| b.name() != slice.name());
    let begin = Instant::now();
    let done = || {
        let now = slices(&two.rig, API);
        now.len() == 2 && now.iter().any(is_new)
    };
    while !done() {
        assert!(two.ask(at).is_some(), "{}", two.logs());
        assert!(begin.elapsed() < Duration::from_secs(10), "not after a Lease: {}", two.logs());
    }
    assert_eq!(two.routers[2].wait(), Some(0), "{}", two.logs());
    assert!(two.ask(at).is_some(), "{}", two.logs());
    assert_eq!(two.place(0), Some(at));
}
