//! A landscape tries to reach another one, and this machine.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};

use socket2::SockAddr;

use crate::land::{Land, Landscape};
use crate::need_network;
use crate::support::inside::SILENCE;
use crate::support::network::addresses;
use crate::support::{Inside, PATIENCE, Router, eventually};

const SHOP: &str = "schemaVersion: v0.2
run:
  web:
    steps: [{ command: ./test-app --host 0.0.0.0 }]
    network: { ports: [{ port: 3000, isPublic: false }], paths: [{ port: 3000, path: / }] }
  api:
    steps: [{ command: ./test-app --host 0.0.0.0 }]
    network: { ports: [{ port: 3000, isPublic: false }, { port: 3001, isPublic: false }] }
  raw:
    steps: [{ command: exec ./test-app --raw --host 0.0.0.0 }]
    network: { ports: [{ port: 7000, isPublic: false }] }
";
const OTHER: &str = "schemaVersion: v0.2
run:
  web:
    steps: [{ command: ./test-app --host 0.0.0.0 }]
    network: { ports: [{ port: 3000, isPublic: false }], paths: [{ port: 3000, path: / }] }
";
const ON_CALL: &str = "api: { wake: onCall }, raw: { wake: onCall }";
/// Declared ones, and others that are worth a try.
const PORTS: [u16; 10] = [3000, 3001, 7000, 22, 53, 80, 443, 2375, 6379, 8080];

fn up() -> (Land, Router) {
    let landscapes =
        [Landscape { id: "shop", ci: SHOP, services: ON_CALL }, Landscape { id: "other", ci: OTHER, services: "" }];
    let land = Land::new("0.0.0.0:0", "", &landscapes);
    let router = Router::start(&land.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    assert_eq!(router.get("other.localhost", "/").status, 200, "{}", router.log());
    (land, router)
}

/// The same with everything of the shop awake, and reached from its own web: the bait.
fn awake() -> (Land, Router, Inside) {
    let (land, router) = up();
    let shop = land.inside("shop", "web");
    assert_eq!(shop.get(shop.at("api", 3000), "api", "/").status, 200, "{}", router.log());
    assert!(shop.lines(shop.at("raw", 7000)).say("who").starts_with("service=raw"));
    (land, router, shop)
}

#[test]
fn no_name_of_another_landscape_resolves() {
    need_network!();
    let (land, _router) = up();
    let (shop, other) = (land.inside("shop", "web"), land.inside("other", "web"));
    for service in ["web", "api", "raw"] {
        for name in [format!("ws-server-shop-{service}.workspaces"), format!("ws-server-shop-{service}")] {
            assert!(shop.resolve(&name).is_some(), "{name}");
            assert_eq!(other.ask(&name).code, 3, "{name}");
        }
    }
    assert_eq!(other.resolve("api"), None);
    assert_eq!(other.resolve("raw"), None);
    assert_ne!(shop.resolve("web"), other.resolve("web"), "an alias is one's own");
    let outside = land.asked_outside();
    assert!(!outside.iter().any(|name| name.starts_with("ws-server-")), "told to nobody: {outside:?}");
    let shops = shop.resolver();
    assert_ne!(shops, other.resolver());
    assert!(!other.names_are_answered_at(shops) && !shop.names_are_answered_at(other.resolver()));
    assert!(other.names_are_answered_at(other.resolver()), "this test would see an answer");
}

#[test]
fn no_address_of_another_landscape_answers() {
    need_network!();
    let (land, router, shop) = awake();
    let other = land.inside("other", "web");
    let served = router.metrics().lines().filter(|l| l.contains("private_connections_total")).count();
    for service in ["web", "api", "raw"] {
        let virtual_address = shop.resolve(service).unwrap();
        let own = land.inside("shop", service).address();
        for port in PORTS {
            assert!(other.is_closed(SocketAddrV4::new(virtual_address, port)), "{service} at {virtual_address}:{port}");
            assert!(other.is_closed(SocketAddrV4::new(own, port)), "a replica of {service} at {own}:{port}");
        }
        // Nor do neighbours reach each other past the router.
        for port in [3000, 3001, 7000] {
            assert!(service == "web" || shop.is_closed(SocketAddrV4::new(own, port)), "{service} at {own}:{port}");
        }
    }
    for port in PORTS {
        assert!(other.is_closed(SocketAddrV4::new(shop.resolver(), port)), "the shop's gateway at {port}");
    }
    let after = router.metrics().lines().filter(|l| l.contains("private_connections_total")).count();
    assert_eq!(after, served, "nobody was even counted");
    // Forged words lead to one's own.
    let web = other.at("web", 3000);
    for host in ["shop.localhost", "ws-server-shop-api.workspaces:3000", "shop-3000.localhost", "api"] {
        let text = other.get(web, host, "/env").text();
        assert!(text.lines().any(|l| l == "WORKSPACE_ID=other"), "{host}: {text}");
    }
}

#[test]
fn a_forged_source_address_is_not_believed() {
    need_network!();
    let (land, _router, shop) = awake();
    let other = land.inside("other", "web");
    let (theirs, own) = (shop.address(), other.address());
    let web = other.at("web", 3000);
    let reaches = |from: Ipv4Addr| {
        let socket = other.socket();
        socket.bind(&SockAddr::from(SocketAddrV4::new(from, 0))).unwrap();
        socket.set_nonblocking(false).unwrap();
        let patience = if from == own { PATIENCE } else { SILENCE };
        socket.connect_timeout(&SockAddr::from(web), patience).is_ok()
    };
    // As root it may give itself what addresses it likes; nothing comes of it.
    other.run(&format!("ip addr add {theirs}/32 dev eth0"));
    assert!(reaches(own), "this test would see a connection");
    assert!(!reaches(theirs));
}

#[test]
fn no_port_of_the_machine_answers() {
    need_network!();
    let (land, router) = up();
    let other = land.inside("other", "web");
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let bystander = everywhere.local_addr().unwrap().port();
    let mut machine: Vec<Ipv4Addr> = addresses();
    machine.push(other.resolver());
    machine.push(other.resolve("web").unwrap());
    for address in machine.into_iter().filter(|a| !a.is_loopback()) {
        for port in [router.http.port(), router.admin.port(), bystander, 22, 2375, 2376, 8080, 9090] {
            assert!(other.is_closed(SocketAddrV4::new(address, port)), "{address}:{port}");
        }
    }
    // Its own resolver is the one thing that does, by either transport.
    assert!(!other.is_closed(SocketAddrV4::new(other.resolver(), 53)));
    drop(everywhere);
}

#[test]
fn virtual_addresses_answer_on_their_landscapes_interface_alone() {
    need_network!();
    let (land, router, shop) = awake();
    for service in ["web", "api", "raw"] {
        for port in [3000, 7000] {
            let at = SocketAddr::from((shop.resolve(service).unwrap(), port));
            let reached = std::net::TcpStream::connect_timeout(&at, SILENCE);
            assert!(reached.is_err(), "{at} answers on the machine itself");
        }
    }
    assert!(shop.lines(shop.at("raw", 7000)).say("who").starts_with("service=raw"), "{}", router.log());
    drop(land);
}

#[test]
fn a_private_port_is_not_reached_from_outside_whatever_host_is_sent() {
    need_network!();
    let (land, router) = up();
    let shop = land.inside("shop", "web");
    let api = shop.resolve("api").unwrap();
    let hosts = [
        "shop-3001.localhost".to_owned(),
        "shop-3000.localhost:3001".to_owned(),
        "ws-server-shop-api.workspaces".to_owned(),
        "ws-server-shop-api.workspaces:3001".to_owned(),
        "ws-server-shop-api".to_owned(),
        "ws-server-shop-api.localhost".to_owned(),
        "api".to_owned(),
        "api:3001".to_owned(),
        "api.shop.localhost".to_owned(),
        api.to_string(),
        format!("{api}:3001"),
    ];
    for host in &hosts {
        for path in ["/", "/api", "/api/"] {
            let answer = router.get(host, path);
            assert!(!answer.text().contains("service=api"), "{host}{path}: {}", answer.text());
        }
    }
    assert_eq!(router.service("api")["state"], "off", "nor is it woken");
    // From within it is there.
    assert!(shop.get(SocketAddrV4::new(api, 3000), "api", "/").text().starts_with("service=api"));
    eventually("it", &router, || router.service("api")["state"] == "ready");
}

#[test]
fn a_landscape_that_is_removed_stays_fenced_until_its_last_request_has_ended() {
    need_network!();
    let (land, router) = up();
    let other = land.inside("other", "web");
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let bystander = SocketAddrV4::new(other.resolver(), everywhere.local_addr().unwrap().port());
    let mut slow = std::net::TcpStream::connect(("127.0.0.1", router.http.port())).unwrap();
    write!(slow, "GET /stream/1000/100 HTTP/1.1\r\nHost: other.localhost\r\n\r\n").unwrap();
    slow.read_exact(&mut [0; 64]).unwrap();
    let yaml = std::fs::read_to_string(land.site.path().join("router.yaml")).unwrap();
    let without: String = yaml.lines().filter(|l| !l.contains("id: other")).map(|l| format!("{l}\n")).collect();
    land.site.write("router.yaml", &without);
    eventually("the reload", &router, || router.get("other.localhost", "/").status == 404);
    assert_eq!(other.resolve("web"), None);
    // It is still there, as is what keeps it from the rest of the machine.
    slow.read_exact(&mut [0; 64]).unwrap();
    for _ in 0..20 {
        assert!(other.is_closed(bystander), "{}", router.log());
    }
    slow.read_exact(&mut [0; 64]).unwrap();
    drop(slow);
    eventually("its end", &router, || land.pids("other", "web").is_empty());
}

/// Also as root it has no right to: without its bounds, `nsenter` would lead it into the machine's network.
#[test]
fn a_replica_does_not_leave_its_network() {
    need_network!();
    let outside = format!("/proc/{}/ns/net", std::process::id());
    let ci = format!(
        "schemaVersion: v0.2
run:
  web:
    steps:
      - command: >-
          if nsenter --net={outside} true 2> why; then echo left > came; else echo stayed > came; fi;
          exec ./test-app
    network: {{ ports: [{{ port: 3000, isPublic: false }}], paths: [{{ port: 3000, path: / }}] }}
"
    );
    let land = Land::shop("", "", &ci);
    let router = Router::start(&land.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    let read = |name: &str| std::fs::read_to_string(land.site.path().join("shop").join(name)).unwrap();
    assert_eq!(read("came").trim(), "stayed");
    assert!(read("why").contains("ermi"), "{}", read("why"));
}
