//! A thousand services: what watching them costs.

use std::io::Write;
use std::time::{Duration, Instant};

use super::rig::{Rig, ci, requests, service};
use crate::need_fixture;
use crate::support::{Router, figure, router_yaml};

const LANDSCAPES: usize = 20;
const EACH: usize = 50;

fn tell(what: &str, value: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "figure: {what}: {value}");
}

/// Resident memory of the router.
fn resident(router: &Router) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", router.pid())).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// The requests of the router in so much time: this is what is measured, and nothing to wait for.
fn requests_in(rig: &Rig, time: Duration) -> Vec<String> {
    rig.town.fixture().forget_requests();
    std::thread::sleep(time);
    requests(rig.town.fixture()).into_iter().map(|r| format!("{} {}", r.verb, r.resource)).collect()
}

#[test]
fn a_thousand_services_cost_little_and_a_reconnect_is_no_storm() {
    need_fixture!("a thousand Deployments are much for a small one");
    let mut rig = Rig::new("", &ci(&[service("web", 1, "/", "")]));
    let services: Vec<String> = (0..EACH).map(|n| service(&format!("s{n}"), 1, &format!("/s{n}"), "")).collect();
    let settings = format!(
        "backend: kubernetes\nkubernetes: {{ kubeconfig: \"{}\", namespace: {}, pull: never }}",
        rig.town.kubeconfig().display(),
        rig.town.namespace
    );
    let mut yaml = router_yaml(&settings);
    for n in 0..LANDSCAPES {
        rig.site.add(&format!("l{n}"), &ci(&services));
        yaml += &format!("  - {{ id: l{n}, ci: l{n}/ci.yml, root: l{n} }}\n");
    }
    rig.site.write("router.yaml", &yaml);
    let begin = Instant::now();
    let router = Router::start(&rig.site);
    figure("1,000 services: the router is ready", begin.elapsed());
    rig.eventually("every Deployment", &router, || {
        rig.town.list("deployments", "labelSelector=landscape-router/service").len() == LANDSCAPES * EACH + 1
    });
    figure("1,000 services: every Deployment is there", begin.elapsed());
    settle(&rig, &router);
    let quiet = requests_in(&rig, Duration::from_secs(10));
    tell("1,000 services: API requests a minute at rest", quiet.len() * 6);
    tell("1,000 services: resident memory of the router, MiB", resident(&router));
    assert!(quiet.len() <= 10, "{quiet:?}");

    rig.town.fixture().forget_requests();
    rig.town.fixture_mut().kill();
    rig.town.fixture_mut().restart();
    rig.eventually("a watch again", &router, || {
        requests(rig.town.fixture()).iter().any(|r| r.verb == "watch" && r.status == 200)
    });
    settle(&rig, &router);
    let after = requests(rig.town.fixture());
    let lists: Vec<String> =
        after.iter().filter(|r| r.verb == "list").map(|r| format!("{} {}", r.resource, r.query)).collect();
    tell("1,000 services: lists after a reconnect", lists.len());
    tell("1,000 services: API requests after a reconnect", after.len());
    assert!(lists.len() <= 12, "{lists:#?}");
    assert!(
        after.iter().filter(|r| !["list", "watch"].contains(&r.verb.as_str())).count() <= 20,
        "nothing is written again"
    );
    tell("1,000 services: resident memory after a reconnect, MiB", resident(&router));
    assert_eq!(router.get("l7.localhost", "/s7").status, 200, "{}", router.log());
}

/// Until the router has asked nothing for two seconds.
fn settle(rig: &Rig, router: &Router) {
    let mut last = (requests(rig.town.fixture()).len(), Instant::now());
    rig.eventually("the router to be quiet", router, || {
        let now = requests(rig.town.fixture()).len();
        if now != last.0 {
            last = (now, Instant::now());
        }
        last.1.elapsed() > Duration::from_secs(2)
    });
}
