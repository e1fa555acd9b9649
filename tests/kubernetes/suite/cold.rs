//! From nothing to something and back.

use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use super::rig::{Rig, ci, requests, service, writes};
use crate::fixture::object::Object;
use crate::support::{Answer, Router, figure, get};
use crate::town::real;

/// A number of `/times`: µs since 1970.
fn time(answer: &Answer, name: &str) -> Duration {
    let text = answer.text();
    let number = text.split([' ', '\n']).find_map(|w| w.strip_prefix(name)?.strip_prefix('='));
    Duration::from_micros(number.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap())
}

fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

/// When the API server tells where the next pod is, to somebody who watches as the router does.
fn address_told(rig: &Rig) -> JoinHandle<Duration> {
    let list = rig.town.client.call("GET", &rig.town.path("pods", ""), "", None).good();
    let from = list.text("/metadata/resourceVersion").to_owned();
    let watch = rig.town.client.watch(&format!("{}?watch=true&resourceVersion={from}", rig.town.path("pods", "")));
    std::thread::spawn(move || {
        loop {
            let event = watch.next().expect("a pod with an address");
            if !event.text("/object/status/podIP").is_empty() {
                return wall_clock();
            }
        }
    })
}

/// Figures, of which a bench makes claims; what has to hold is that one write wakes it, and that it is served.
#[test]
fn a_cold_request_takes_one_write_and_is_served() {
    let rig = Rig::new("", &ci(&[service("web", 1, "/", "")]));
    let router = Router::start(&rig.site);
    let off = rig.await_deployment("web");
    assert_eq!(off.int("/spec/replicas"), 0, "it is there and off");
    let (mut whole, mut beyond, mut after, mut before) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut ours = Vec::new();
    for _ in 0..if real().is_some() { 3 } else { 9 } {
        rig.town.on_fixture().inspect(|f| f.forget_requests());
        let told = address_told(&rig);
        let begin = Instant::now();
        let answer = router.shop("/times");
        let took = begin.elapsed();
        let answered = wall_clock();
        assert_eq!(answer.status, 200, "{}\n{}\n{}", answer.text(), rig.town.tell(), router.log());
        assert_eq!(answer.header("x-landscape-cold-start"), Some("true"));
        let own = time(&answer, "listening") - time(&answer, "start");
        whole.push(took);
        beyond.push(took.saturating_sub(own));
        after.push(answered.saturating_sub(time(&answer, "listening")));
        // It cannot be asked before its address is told, nor before it listens.
        let possible = told.join().unwrap().max(time(&answer, "listening"));
        ours.push(answered.saturating_sub(possible));
        if let Some(fixture) = rig.town.on_fixture() {
            let requests = requests(fixture);
            let scaled: Vec<_> =
                requests.iter().filter(|r| r.resource == "deployments/scale" && r.verb != "get").collect();
            assert_eq!(scaled.len(), 1, "one write wakes it: {requests:#?}");
            before.push(scaled[0].at.saturating_duration_since(begin));
            assert_eq!(writes(&requests, "deployments"), 0, "and no other: {requests:#?}");
        }
        rig.cli(&router, &["sleep", "shop/web"]);
        rig.await_off(&router, "web");
    }
    figure("cold request, 0 to 1, median", median(whole));
    figure("of that beyond the pod's own, from its start until it listens, median", median(beyond));
    figure("from the pod's listening to the answer, median", median(after));
    figure("the router's own: from the first moment it could be asked to the answer, median", median(ours));
    if !before.is_empty() {
        figure("and from the request to the write that scales, median", median(before));
    }
}

#[test]
fn what_nobody_uses_is_scaled_to_nothing_and_woken_again() {
    let rig = Rig::new("defaults: { stopGrace: 1s, idleAfter: 1s }", &ci(&[service("web", 2, "/", "")]));
    let router = Router::start(&rig.site);
    for _ in 0..2 {
        assert_eq!(router.shop("/").status, 200, "{}\n{}", rig.town.tell(), router.log());
        rig.await_off(&router, "web");
        assert_eq!(rig.deployment("web").unwrap().int("/spec/replicas"), 0);
    }
}

#[test]
fn a_thousand_requests_while_three_start_are_all_answered_after_one_write() {
    const CLIENTS: usize = 1000;
    let settings = "hold: { maxRequests: 2000, timeout: 120s, perService: { maxRequests: 2000 } }";
    let rig = Rig::new(settings, &ci(&[service("web", 3, "/", "")]));
    let router = Router::start(&rig.site);
    let before = rig.await_deployment("web");
    rig.eventually("the Deployment to be settled", &router, || {
        rig.deployment("web").is_some_and(|d| d.int("/status/observedGeneration") == d.int("/metadata/generation"))
    });
    rig.town.on_fixture().inspect(|f| f.forget_requests());
    let at = router.http;
    let begin = Instant::now();
    let ask = move || get(at, "shop.localhost", "/sleep/5").status;
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| std::thread::Builder::new().stack_size(128 << 10).spawn(ask).unwrap()).collect();
    let answers: Vec<u16> = clients.into_iter().map(|c| c.join().unwrap_or(0)).collect();
    figure("1,000 requests at once while 0 becomes 3, all answered", begin.elapsed());
    let bad: Vec<&u16> = answers.iter().filter(|s| **s != 200).collect();
    assert!(bad.is_empty(), "{} of {CLIENTS} failed: {bad:?}\n{}\n{}", bad.len(), rig.town.tell(), router.log());
    rig.await_ready(&router, "web", 3);
    let after = rig.deployment("web").unwrap();
    let counted = after.int("/metadata/generation") - before.int("/metadata/generation");
    assert_eq!((after.int("/spec/replicas"), counted), (3, 1), "one change of the specification");
    if let Some(fixture) = rig.town.on_fixture() {
        let requests = requests(fixture);
        let written = (writes(&requests, "deployments/scale"), writes(&requests, "deployments"));
        assert_eq!(written, (1, 0), "{requests:#?}");
    }
}
