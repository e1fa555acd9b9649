//! Two routers before the same cluster: what one of them uses stays, and what none uses goes once.

use std::process::Command;
use std::time::{Duration, Instant};

use super::rig::{Rig, ci, service};
use crate::fixture::object::Object;
use crate::support::{Router, Site};

/// Soon enough for a test, and longer than the second between two requests.
const IDLE: &str = "defaults: { stopGrace: 1s, idleAfter: 4s }\n";

struct Two {
    rig: Rig,
    routers: Vec<Router>,
}

impl Two {
    fn start() -> Self {
        let text = ci(&[service("web", 2, "/", "")]);
        let rig = Rig::new(IDLE, &text);
        // Of the same files, as pods of one Deployment are.
        rig.site.write("second.yaml", &rig.router_yaml(&format!("{IDLE}state: second\n"), "pull: never"));
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
