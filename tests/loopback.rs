//! `private.loopback`: services find each other on the machine's own network, by a router without rights.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use support::network::skipped;
use support::user::{self, as_user, by_user, start};
use support::{Router, Site, eventually, figure, free_port};

/// Addresses of a test's own: which ports are free is one machine's question.
struct Place {
    range: String,
    api: u16,
    admin: u16,
    store: u16,
}

impl Place {
    fn new() -> Self {
        let range = format!("127.{}.{}.0/24", fastrand::u8(64..128), fastrand::u8(..));
        Self { range, api: free_port(), admin: free_port(), store: free_port() }
    }

    fn router(&self, more: &str) -> String {
        format!(
            "listen: {{ http: [\"127.0.0.1:0\"], admin: \"127.0.0.1:0\" }}
private: {{ loopback: {} }}
{more}
landscapes:
  - {{ id: shop, ci: shop/ci.yml, root: shop, services: {{ api: {{ wake: onCall }}, store: {{ wake: onCall }} }} }}
",
            self.range
        )
    }

    fn ci(&self) -> String {
        let Self { api, admin, store, .. } = self;
        format!(
            "schemaVersion: v0.2
run:
  web:
    steps: [{{ command: exec ./test-app }}]
    network: {{ ports: [{{ port: 3000, isPublic: false }}], paths: [{{ port: 3000, path: / }}] }}
  api:
    steps: [{{ command: \"./test-app --host 0.0.0.0 --port $PORT_{admin} & exec ./test-app --host 0.0.0.0\" }}]
    replicas: 2
    network: {{ ports: [{{ port: {api}, isPublic: false }}, {{ port: {admin}, isPublic: false }}] }}
  store:
    steps: [{{ command: exec ./test-app --raw }}]
    network: {{ ports: [{{ port: {store}, isPublic: false }}] }}
"
        )
    }

    fn site(&self) -> Site {
        user::site(&self.router("defaults: { idleAfter: 2s }"), &[("shop", &self.ci())])
    }
}

/// A variable of `web`.
fn variable(router: &Router, name: &str) -> Option<String> {
    let environment = router.shop("/env").text();
    environment.lines().find_map(|l| Some(l.strip_prefix(name)?.strip_prefix('=')?.trim().to_owned()))
}

/// Where `web` reaches a service.
fn address(router: &Router, service: &str) -> SocketAddr {
    let of = |what: &str| variable(router, &format!("{service}_SERVICE_{what}")).unwrap();
    format!("{}:{}", of("HOST"), of("PORT")).parse().unwrap()
}

fn says(router: &Router, at: &str, what: &str) {
    let answer = router.shop(at);
    assert!(answer.status == 200 && answer.text().contains(what), "{at}: {}\n{}", answer.text(), router.log());
}

/// Whether this user may be shown a hosts file; says so if not.
fn has_names(site: &Site) -> bool {
    let survey =
        as_user(site, "bin/landscape-router").arg("survey-hosts-file").stdout(Stdio::piped()).output().unwrap();
    let lack = String::from_utf8(survey.stdout).unwrap();
    if lack != "null" {
        skipped(&format!("names on loopback are not tested: {lack}"));
    }
    lack == "null"
}

#[test]
fn sleeping_services_are_called_by_variables_and_sleep_again() {
    let place = Place::new();
    let site = place.site();
    let router = start(&site, &[]);
    assert!(router.log().contains("nothing keeps landscapes apart"), "{}", router.log());
    let (api, store) = (address(&router, "API"), address(&router, "STORE"));
    assert_eq!((api.port(), store.port()), (place.api, place.store));
    for service in ["api", "store"] {
        assert_eq!(router.service(service)["state"], "off", "{service}");
    }
    says(&router, &format!("/fetch/{api}/x"), "service=api");
    says(&router, &format!("/fetch/{}:{}/x", api.ip(), place.admin), "service=api");
    says(&router, &format!("/ask/{store}/hello"), "hello");
    router.await_ready("api", 2);
    assert_eq!(router.shop(&format!("/fetch/{}:{}/", store.ip(), place.api)).status, 502, "an undeclared port");
    for service in ["api", "store"] {
        router.await_state(service, "off");
    }
    says(&router, &format!("/ask/{store}/again"), "again");
    assert_eq!(router.stop(), Some(0));
    assert!(TcpStream::connect(store).is_err());
}

#[test]
fn names_lead_there_and_follow_the_configuration() {
    let place = Place::new();
    let site = place.site();
    if !has_names(&site) {
        return;
    }
    let router = start(&site, &[]);
    for name in ["api", "ws-server-shop-api", "ws-server-shop-api.workspaces"] {
        says(&router, &format!("/fetch/{name}:{}/x", place.api), "service=api");
    }
    let port = free_port();
    let late = "  late:\n    steps: [{ command: exec ./test-app }]\n    network: { ports: [{ port: PORT }] }\n";
    let late = late.replace("PORT", &port.to_string());
    let ask = format!("/fetch/late:{port}/");
    assert_eq!(router.shop(&ask).status, 502);
    site.write("shop/ci.yml", &(place.ci() + &late));
    figure("a new name in a hosts file", eventually("the name", &router, || router.shop(&ask).status == 200));
    site.write("shop/ci.yml", &place.ci());
    eventually("its end", &router, || router.shop(&ask).status == 502);
    // The files of others are there, and nothing else of the machine is hidden.
    assert_eq!(router.shop("/fetch/localhost:1/").status, 502);
}

#[test]
fn without_user_namespaces_there_are_variables_alone() {
    let place = Place::new();
    let site = place.site();
    let inside = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --ambient-caps=-all \
                  bin/landscape-router run --config router.yaml";
    let unshare = |then: &[&str]| {
        let mut unshare = by_user(Command::new("unshare"), &site);
        unshare.args(["--user", "--map-current-user", "--keep-caps"]).args(then);
        unshare
    };
    if !unshare(&["setpriv", "--version"]).status().is_ok_and(|status| status.success()) {
        return skipped("a machine without user namespaces is not tested: unshare and setpriv cannot make one");
    }
    let router = Router::launch(unshare(&["sh", "-c", inside]));
    assert!(router.log().contains("by variables, and not by name: user namespaces cannot be used"), "{}", router.log());
    says(&router, &format!("/fetch/{}/x", address(&router, "API")), "service=api");
    assert_eq!(router.shop(&format!("/fetch/api:{}/x", place.api)).status, 502);
}

#[test]
fn a_killed_and_a_replaced_router_serve_the_same_addresses() {
    let place = Place::new();
    let site = place.site();
    let router = start(&site, &[]);
    let store = address(&router, "STORE");
    says(&router, &format!("/ask/{store}/one"), "one");
    let web = router.shop("/").text();
    router.kill();
    let mut router = start(&site, &[]);
    assert_eq!(router.shop("/").text(), web, "the same process");
    says(&router, &format!("/ask/{store}/two"), "two");
    let next = start(&site, &["--take-over"]);
    assert_eq!(router.wait(), Some(0));
    assert_eq!(next.shop("/").text(), web, "the same process");
    says(&next, &format!("/ask/{store}/three"), "three");
}

#[test]
fn a_port_that_a_program_has_is_told_and_served_once_it_ends() {
    let place = Place::new();
    let site = place.site();
    let other = TcpListener::bind(("0.0.0.0", place.api)).unwrap();
    let router = start(&site, &[]);
    router.await_log(&format!("listens at port {} of all addresses", place.api));
    let api = address(&router, "API");
    drop(other);
    eventually("the port", &router, || router.shop(&format!("/fetch/{api}/x")).text().contains("service=api"));
}

#[test]
fn an_application_that_ignores_its_port_is_told_who_has_it() {
    let place = Place::new();
    let site = place.site();
    let stubborn = place
        .ci()
        .replace("exec ./test-app --raw", &format!("exec ./test-app --raw --host 0.0.0.0 --port {}", place.store));
    site.write("shop/ci.yml", &stubborn);
    let router = start(&site, &[]);
    let store = address(&router, "STORE");
    assert_eq!(router.shop(&format!("/ask/{store}/x")).status, 502);
    router.await_log("does the service ignore PORT=");
}

#[test]
fn check_says_what_holds_and_what_is_missing() {
    let place = Place::new();
    let site = place.site();
    let check = |site: &Site| {
        let output = as_user(site, "bin/landscape-router")
            .args(["check", "--config", "router.yaml"])
            .stdout(Stdio::piped())
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let told = check(&site);
    assert!(told.contains(&format!("services have addresses on loopback, of {}", place.range)), "{told}");
    assert!(told.contains("nothing keeps landscapes apart") && told.contains("CAP_NET_ADMIN"), "{told}");
    assert!(told.contains("have to listen at PORT"), "{told}");
    assert_eq!(told.contains("by variables, and not by name"), !has_names(&site), "{told}");
    site.write("shop/ci.yml", &place.ci().replace(&place.store.to_string(), "379"));
    assert!(check(&site).contains("below 1024"), "{}", check(&site));
    site.write("router.yaml", &place.router("").replace(&format!("private: {{ loopback: {} }}", place.range), ""));
    assert!(check(&site).contains("private.loopback"), "{}", check(&site));
}
