//! Two routers before the same cluster: what one of them uses stays, and what none uses goes once.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::rig::{Rig, ci, cluster, service};
use crate::fixture::object::Object;
use crate::need_a_server_to_stop;
use crate::support::{Load, Router};
use crate::town::Town;

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
        Self::before(Rig::new(settings, text), settings, text)
    }

    fn before(rig: Rig, settings: &str, text: &str) -> Self {
        rig.site.write("shop/second.yml", text);
        let second = rig.router_yaml(&format!("{settings}state: second\n"), "pull: never");
        rig.site.write("second.yaml", &second.replace("shop/ci.yml", "shop/second.yml"));
        let routers: Vec<Router> = ["router.yaml", "second.yaml"].map(|file| rig.router(file)).into();
        rig.await_deployment("web");
        for router in &routers {
            rig.await_routers(router, 2);
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

    /// Served by both of them.
    fn wake(&self) {
        for router in &self.routers {
            assert_eq!(router.shop("/").status, 200, "{}", router.log());
            self.rig.await_ready(router, "web", 2);
        }
    }

    fn await_down(&self, router: &Router) {
        self.rig.eventually("the count of 0", router, || self.count() == 0);
        self.rig.eventually("web to be off", router, || router.service("web")["state"] == "off");
    }
}

fn load(router: &Router) -> Load {
    Load::posts(router.http, "shop.localhost", "/sleep/10", 3, Duration::from_millis(2))
}

fn unharmed(load: Load, router: &Router) {
    load.await_more(50);
    let (_, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}\n{}", router.log());
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
    two.wake();
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
    assert!(!second.log().contains("by someone else"), "{}", second.log());
    let before = replicas(second);
    // The second one reads it, too, and finds all as it should be.
    two.rig.site.write("shop/second.yml", &of("blue"));
    two.rig.eventually("its being read", second, || {
        let now = replicas(second);
        now.len() == 2 && now.iter().all(|id| !before.contains(id)) && second.ready("web") == 2
    });
    for (load, router) in loads.into_iter().zip([first, second]) {
        unharmed(load, router);
    }
    assert_eq!(two.rig.pod_names("web"), blue, "nothing is made anew");
    assert_eq!(two.rig.deployment("web").unwrap().int("/spec/minReadySeconds"), 0, "nothing is held back any more");
}

#[test]
fn one_that_starts_with_older_files_takes_nothing_from_the_others() {
    let old = ci(&[service("web", 1, "/", "")]);
    let new = ci(&[service("web", 1, "/", ""), service("api", 1, "/sleep", "")]);
    let mut two = Two::with("", &old);
    two.rig.site.write("shop/ci.yml", &new);
    let first = &two.routers[0];
    two.rig.await_deployment("api");
    two.rig.eventually("the new service", first, || {
        first.shop("/sleep/1").status == 200 && two.rig.pod_names("api").len() == 1
    });
    let pods = two.rig.pod_names("api");
    let load = Load::start(first.http, "shop.localhost", "/sleep/10", 3, Duration::from_millis(2));
    // As a container does that is started again in its pod, before the new files are there.
    let second = two.routers.remove(1);
    assert_eq!(second.stop(), Some(0));
    let second = two.rig.router("second.yaml");
    two.rig.await_routers(&second, 2);
    assert_eq!(second.shop("/").status, 200, "{}", second.log());
    assert_eq!(two.rig.pod_names("api"), pods, "{}", second.log());
    two.rig.site.write("shop/second.yml", &new);
    two.rig.eventually("its being read", &second, || second.api("landscapes/shop").to_string().contains("\"api\""));
    two.rig.await_ready(&second, "api", 1);
    assert_eq!(second.shop("/sleep/1").header("x-landscape-cold-start"), None, "{}", second.log());
    unharmed(load, &two.routers[0]);
    assert_eq!(two.rig.pod_names("api"), pods);
}

#[test]
fn routers_that_are_replaced_one_by_one_fail_no_request() {
    let mut two = Two::with("", &ci(&[service("web", 2, "/", "")]));
    two.wake();
    let pods = two.rig.pod_names("web");
    let up = two.generation();
    for file in ["router.yaml", "second.yaml"] {
        let old = two.routers.remove(0);
        let others = load(&two.routers[0]);
        assert_eq!(old.stop(), Some(0));
        // The other one leads at once, and not when a Lease has run out.
        let begin = Instant::now();
        two.leader();
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}\n{}", begin.elapsed(), two.routers[0].log());
        two.routers.push(two.rig.router(file));
        two.rig.await_ready(&two.routers[1], "web", 2);
        assert_eq!(two.routers[1].shop("/").header("x-landscape-cold-start"), None, "{}", two.routers[1].log());
        unharmed(others, &two.routers[0]);
    }
    assert_eq!((two.rig.pod_names("web"), two.generation()), (pods, up), "what runs was left alone");
}

#[test]
fn one_that_is_taken_over_beside_another_fails_no_request() {
    let mut two = Two::with("", &ci(&[service("web", 2, "/", "")]));
    two.wake();
    let (pods, up) = (two.rig.pod_names("web"), two.generation());
    let loads = [load(&two.routers[0]), load(&two.routers[1])];
    let next = Router::start_with(&two.rig.site, &["--take-over"]);
    assert_eq!(two.routers[0].wait(), Some(0), "{}", two.routers[0].log());
    two.routers[0] = next;
    for (load, router) in loads.into_iter().zip(&two.routers) {
        unharmed(load, router);
    }
    assert_eq!((two.rig.pod_names("web"), two.generation()), (pods, up), "what runs was left alone");
}

#[test]
fn a_leader_that_sleeps_for_a_while_switches_nothing_off_when_it_wakes() {
    let two = Two::start();
    let leader = two.leader();
    let (lead, follow) = (&two.routers[leader], &two.routers[1 - leader]);
    two.wake();
    let up = two.generation();
    let pid = Pid::from_raw(i32::try_from(lead.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::STOP).unwrap();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(25) {
        assert_eq!(follow.shop("/").status, 200, "{}", follow.log());
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(cluster(follow)["leads"], true, "{}", follow.log());
    rustix::process::kill_process(pid, Signal::CONT).unwrap();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(8) {
        assert_eq!(follow.shop("/").status, 200, "{}", follow.log());
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!((two.count(), two.generation()), (2, up), "{}\n{}", lead.log(), follow.log());
    two.rig.eventually("one leader", follow, || cluster(lead)["leads"] == false && cluster(follow)["leads"] == true);
    two.await_down(lead);
    two.await_down(follow);
    assert_eq!(two.generation(), up + 1, "one write\n{}\n{}", lead.log(), follow.log());
}

#[test]
fn without_an_api_server_both_serve_on_and_nothing_is_switched_off() {
    need_a_server_to_stop!();
    let text = ci(&[service("web", 2, "/", "")]);
    let rig = Rig::of(Town::alone(), IDLE, "pull: never", &text);
    let mut two = Two::before(rig, IDLE, &text);
    two.wake();
    let up = two.generation();
    let loads = [load(&two.routers[0])];
    two.rig.town.stop_api();
    // Longer than a Lease, and than what makes it idle at the one that has no requests.
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(20) {
        loads[0].await_more(20);
    }
    assert_eq!(two.routers[1].shop("/").status, 200, "{}", two.routers[1].log());
    two.rig.town.start_api();
    two.leader();
    let [load] = loads;
    unharmed(load, &two.routers[0]);
    assert_eq!(two.generation(), up, "nothing was switched off");
    two.await_down(&two.routers[0]);
    two.await_down(&two.routers[1]);
    assert_eq!(two.generation(), up + 1, "one write");
}
