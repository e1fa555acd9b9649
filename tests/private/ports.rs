//! Every replica has every port it declares, and what is not declared is refused.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use crate::land::Land;
use crate::need_network;
use crate::support::{Inside, Router, eventually};

const CI: &str = "schemaVersion: v0.2
run:
  web:
    steps: [{ command: ./test-app }]
    replicas: 3
    network: { ports: [{ port: 3000, isPublic: false }], paths: [{ port: 3000, path: / }] }
  api:
    steps: [{ command: \"./test-app --port 4000 & exec ./test-app\" }]
    network: { ports: [{ port: 3000, isPublic: false }, { port: 4000, isPublic: false }], paths: [{ port: 3000, path: /api }] }
";

fn replica(text: &str) -> String {
    text.split_whitespace().find(|w| w.starts_with("replica=")).unwrap_or_else(|| panic!("{text:?}")).to_owned()
}

#[test]
fn replicas_and_services_all_have_port_3000_and_share_the_calls() {
    need_network!();
    let land = Land::shop("", "", CI);
    let router = Router::start(&land.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    assert_eq!(router.shop("/api").status, 200, "{}", router.log());
    router.await_ready("web", 3);
    let pids = land.pids("shop", "web");
    assert_eq!(pids.len(), 3);
    let mut addresses = BTreeSet::new();
    for pid in &pids {
        let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
        assert!(environment.split('\0').any(|l| l == "PORT=3000"), "{environment}");
        let inside = Inside::of(*pid);
        assert_eq!(listening(&inside), BTreeSet::from([3000]));
        addresses.insert(inside.address());
    }
    assert_eq!(addresses.len(), 3, "each has an address of its own: {addresses:?}");
    let api = land.inside("shop", "api");
    assert_eq!(listening(&api), BTreeSet::from([3000, 4000]));

    let (web, other) = (api.at("web", 3000), api.at("api", 3000));
    assert_ne!(web.ip(), other.ip());
    let mut seen = BTreeSet::new();
    eventually("an answer of each replica", &router, || {
        let text = api.get(web, "web", "/").text();
        assert!(text.starts_with("service=web"), "{text}");
        seen.insert(replica(&text));
        seen.len() == 3
    });
    assert!(api.get(other, "web", "/").text().starts_with("service=api"), "the address counts, not the Host header");
    assert!(api.get(api.at("api", 4000), "api", "/").text().starts_with("service=api"));
}

/// The ports that something listens at in there.
fn listening(inside: &Inside) -> BTreeSet<u16> {
    let text = inside.run("cat /proc/net/tcp");
    let sockets = text.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[3] == "0A").then(|| u16::from_str_radix(words[1].split(':').nth(1).unwrap(), 16).unwrap())
    });
    sockets.collect()
}

#[test]
fn what_is_not_declared_is_refused_and_wakes_nothing() {
    need_network!();
    let land = Land::shop("", "", CI);
    let router = Router::start(&land.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    let web = land.inside("shop", "web");
    let api = web.resolve("api").unwrap();
    for port in [1, 22, 53, 80, 443, 3001, 5000, router.http.port(), router.admin.port(), 65535] {
        assert!(web.is_refused(SocketAddrV4::new(api, port)), "{port}");
    }
    assert_eq!(router.service("api")["state"], "off");
}
