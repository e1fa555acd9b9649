//! Two routers before the same cluster: what one of them uses stays, and what none uses goes once.

use std::process::Command;
use std::time::{Duration, Instant};

use super::rig::{Rig, ci, service};
use crate::fixture::object::Object;
use crate::support::{Load, Router, Site};

/// Soon enough for a test, and longer than the second between two requests.
const IDLE: &str = "defaults: { stopGrace: 1s, idleAfter: 4s }\n";

struct Two {
    rig: Rig,
    routers: Vec<Router>,
}

impl Two {
    fn start() -> Self {
        Self::with(IDLE, &ci(&[service("web", 2, "/", "")]))
    }

    /// Of the same files, as pods of one Deployment have them: the first one's, and a copy that reaches the
    /// second one when a test says so.
    fn with(settings: &str, text: &str) -> Self {
        let rig = Rig::new(settings, text);
        rig.site.write("shop/second.yml", text);
        let second = rig.router_yaml(&format!("{settings}state: second\n"), "pull: never");
        rig.site.write("second.yaml", &second.replace("shop/ci.yml", "shop/second.yml"));
        let routers: Vec<Router> = ["router.yaml", "second.yaml"].map(|file| router(&rig.site, file)).into();
        rig.await_deployment("web");
        for router in &routers {
            rig.eventually("each other", router, || {
                cluster(router)["routers"].as_array().is_some_and(|r| r.len() == 2)
            });
        }
        Self { rig, routers }
    }

    /// The place of the one that leads.
    fn leader(&self) -> usize {
        let leads = |router: &Router| cluster(router)["leads"] == true;
        self.rig.eventually("a leader", &self.routers[0], || self.routers.iter().any(leads));
        self.routers.iter().position(leads).unwrap()
    }

    fn count(&self) -> i64 {
        self.rig.deployment("web").map_or(-1, |d| d.int("/spec/replicas"))
    }

    /// How often the Deployment was changed.
    fn generation(&self) -> i64 {
        self.rig.deployment("web").unwrap().int("/metadata/generation")
    }

    fn await_down(&self, router: &Router) {
        self.rig.eventually("the count of 0", router, || self.count() == 0);
        self.rig.eventually("web to be off", router, || router.service("web")["state"] == "off");
    }
}

fn router(site: &Site, file: &str) -> Router {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landscape-router"));
    command.args(["run", "--config"]).arg(site.path().join(file));
    Router::surround(&mut command, site);
    Router::launch(command)
}

fn cluster(router: &Router) -> serde_json::Value {
    router.api("landscapes")["router"]["cluster"].clone()
}

/// What a router calls its replicas.
fn replicas(router: &Router) -> Vec<String> {
    let all = router.service("web")["replicas"].clone();
    all.as_array().unwrap().iter().map(|r| format!("{}.{}", r["ordinal"], r["generation"])).collect()
}

#[test]
fn what_one_router_uses_stays_up_and_what_none_uses_goes_once() {
    let two = Two::start();
    let leader = two.leader();
    let (lead, follow) = (&two.routers[leader], &two.routers[1 - leader]);
    assert_eq!(follow.shop("/").status, 200, "{}", follow.log());
    two.rig.await_ready(follow, "web", 2);
    two.rig.await_ready(lead, "web", 2);
    assert_eq!(lead.shop("/").header("x-landscape-cold-start"), None, "the other one's wake is followed");
    let up = two.generation();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(25) {
        assert_eq!(follow.shop("/").status, 200, "{}", follow.log());
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!((two.count(), two.generation()), (2, up), "{}", lead.log());
    two.await_down(lead);
    two.await_down(follow);
    assert_eq!(two.generation(), up + 1, "one write\n{}\n{}", lead.log(), follow.log());
    let answer = lead.shop("/");
    assert_eq!((answer.status, answer.header("x-landscape-cold-start")), (200, Some("true")), "{}", lead.log());
    two.rig.await_ready(follow, "web", 2);
}

#[test]
fn the_leader_dies_and_the_other_one_goes_on() {
    let mut two = Two::start();
    let leader = two.leader();
    let lead = two.routers.remove(leader);
    let follow = &two.routers[0];
    assert_eq!(follow.shop("/").status, 200, "{}", follow.log());
    two.rig.await_ready(&lead, "web", 2);
    let up = two.generation();
    lead.kill();
    for _ in 0..5 {
        assert_eq!(follow.shop("/").status, 200, "{}", follow.log());
        std::thread::sleep(Duration::from_secs(1));
    }
    two.await_down(follow);
    assert_eq!(two.generation(), up + 1, "{}", follow.log());
    assert_eq!(follow.shop("/").status, 200, "{}", follow.log());
}

#[test]
fn an_operators_sleep_at_one_router_is_the_others_too() {
    let two = Two::start();
    let [one, other] = &two.routers[..] else { unreachable!() };
    assert_eq!(one.shop("/").status, 200, "{}", one.log());
    two.rig.await_ready(other, "web", 2);
    two.rig.cli(other, &["sleep", "shop/web"]);
    two.await_down(one);
    two.await_down(other);
    assert_eq!(one.shop("/").status, 200, "{}", one.log());
}

#[test]
fn files_that_reach_the_routers_one_after_the_other_fail_no_request() {
    let of = |color: &str| ci(&[service("web", 2, "/", &format!("    env: {{ COLOR: {color} }}\n"))]);
    let two = Two::with("", &of("red"));
    let [first, second] = &two.routers[..] else { unreachable!() };
    for router in [first, second] {
        assert_eq!(router.shop("/").status, 200, "{}", router.log());
        two.rig.await_ready(router, "web", 2);
    }
    let load = |router: &Router| Load::start(router.http, "shop.localhost", "/sleep/10", 3, Duration::from_millis(2));
    let loads = [load(first), load(second)];
    let red = two.rig.pod_names("web");
    two.rig.site.write("shop/ci.yml", &of("blue"));
    for router in [first, second] {
        let mut blue = 0;
        two.rig.eventually("blue alone", router, || {
            blue = if router.shop("/env").text().contains("COLOR=blue") { blue + 1 } else { 0 };
            blue > 20
        });
    }
    two.rig.eventually("two new pods alone", second, || {
        let now = two.rig.pod_names("web");
        now.len() == 2 && now.iter().all(|n| !red.contains(n)) && two.rig.all_pods("web") == 2
    });
    loads.iter().for_each(|load| load.await_more(50));
    let blue = two.rig.pod_names("web");
    let before = replicas(second);
    // The second one reads it, too, and finds all as it should be.
    two.rig.site.write("shop/second.yml", &of("blue"));
    two.rig.eventually("its being read", second, || {
        let now = replicas(second);
        now.len() == 2 && now.iter().all(|id| !before.contains(id)) && second.ready("web") == 2
    });
    loads.iter().for_each(|load| load.await_more(50));
    for (load, router) in loads.into_iter().zip([first, second]) {
        let (_, failures) = load.stop();
        assert!(failures.is_empty(), "{failures:?}\n{}", router.log());
    }
    assert_eq!(two.rig.pod_names("web"), blue, "nothing is made anew");
    assert_eq!(two.rig.deployment("web").unwrap().int("/spec/minReadySeconds"), 0, "nothing is held back any more");
}
