//! `process.namespaces: off`: replicas on the machine's network find each other by name there.

use std::net::{SocketAddr, TcpStream};

use crate::land::Land;
use crate::need_network;
use crate::support::{Router, eventually, free_port};

/// Two services that declare the same port, of which the one that runs first does not heed `PORT`, and a store
/// that does not either.
fn land(shared: u16, store: u16) -> Land {
    let ci = format!(
        "schemaVersion: v0.2
run:
  web:
    steps: [{{ command: exec ./test-app --host 0.0.0.0 --port {shared} }}]
    network: {{ ports: [{{ port: {shared}, isPublic: false }}], paths: [{{ port: {shared}, path: / }}] }}
  api:
    steps: [{{ command: exec ./test-app --host 0.0.0.0 }}]
    network: {{ ports: [{{ port: {shared}, isPublic: false }}] }}
  store:
    runAsUser: 64321
    steps: [{{ command: exec ./test-app --raw --host 0.0.0.0 --port {store} }}]
    network: {{ ports: [{{ port: {store}, isPublic: false }}] }}
"
    );
    let more = "process: { namespaces: \"off\" }\ndefaults: { idleAfter: 2s }";
    let land = Land::shop(more, "api: { wake: onCall }, store: { wake: onCall }", &ci);
    // The store's user has to find the application there.
    for open in [land.site.path().to_owned(), land.site.path().join("shop")] {
        std::fs::set_permissions(open, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    land
}

fn says(router: &Router, at: &str, what: &str) {
    let answer = router.shop(at);
    assert!(answer.status == 200 && answer.text().contains(what), "{at}: {}\n{}", answer.text(), router.log());
}

#[test]
fn replicas_on_the_machines_network_call_sleeping_services_by_name() {
    need_network!();
    let (shared, port) = (free_port(), free_port());
    let land = land(shared, port);
    let router = Router::start(&land.site);
    says(&router, "/", "service=web");
    for name in ["api", "ws-server-shop-api", "ws-server-shop-api.workspaces"] {
        // Where web itself listens on all addresses.
        says(&router, &format!("/fetch/{name}:{shared}/x"), "service=api");
    }
    says(&router, &format!("/ask/store:{port}/hello"), "hello");
    assert_eq!(router.shop(&format!("/fetch/store:{}/", free_port())).status, 502, "an undeclared port");
    for service in ["api", "store"] {
        router.await_state(service, "off");
    }
    says(&router, &format!("/ask/store:{port}/again"), "again");
}

#[test]
fn the_next_router_serves_them_and_one_that_gives_namespaces_does_so_no_more() {
    need_network!();
    let (shared, port) = (free_port(), free_port());
    let land = land(shared, port);
    let router = Router::start(&land.site);
    let environment = router.shop("/env").text();
    let of = |name: &str| environment.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
    let store: SocketAddr = format!("{}:{}", of("STORE_SERVICE_HOST="), of("STORE_SERVICE_PORT=")).parse().unwrap();
    router.kill();
    let mut router = Router::start(&land.site);
    says(&router, &format!("/ask/{store}/one"), "one");
    let next = Router::start_with(&land.site, &["--take-over"]);
    assert_eq!(router.wait(), Some(0));
    says(&next, &format!("/ask/{store}/two"), "two");
    assert!(TcpStream::connect(store).is_ok());
    let yaml = std::fs::read_to_string(land.site.path().join("router.yaml")).unwrap();
    land.site.write("router.yaml", &yaml.replace("namespaces: \"off\"", "namespaces: auto"));
    eventually("its end", &next, || TcpStream::connect(store).is_err());
    assert_eq!(next.stop(), Some(0));
    assert_eq!(land.traces(), [""; 0]);
}
