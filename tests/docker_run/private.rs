//! Containers find each other by name, and only through the router; those of another landscape find nothing.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

use crate::rig::says;
use crate::support::network::{Plot, addresses};
use crate::support::{Inside, Router, eventually};
use crate::town::{SETTINGS, Town};
use crate::{need_engine, need_network};

const SHOP: &str = r#"
schemaVersion: v0.4
run:
  web:
    image: lr-test/app:1
    network: { ports: [{ port: 3000, isPublic: false }], paths: [{ port: 3000, path: / }] }
  api:
    image: lr-test/app:1
    replicas: 2
    network: { ports: [{ port: 3000, isPublic: false }] }
  store:
    steps: [{ command: "exec test-app --raw --host 0.0.0.0 --port 6379" }]
    network: { ports: [{ port: 6379, isPublic: false }] }
"#;
const OTHER: &str = r"
schemaVersion: v0.4
run:
  web:
    image: lr-test/app:1
    network: { ports: [{ port: 3000, isPublic: false }], paths: [{ port: 3000, path: / }] }
";
const ASK: &str = "/fetch/ws-server-shop-api.workspaces:3000/ask/ws-server-shop-store.workspaces:6379/hello";

/// A town of two landscapes with a private network of its own.
struct Pair {
    town: Town,
    plot: Plot,
}

impl Pair {
    fn new(defaults: &str, on_exit: &str) -> Self {
        let plot = Plot::new();
        let settings = SETTINGS
            .replace("stopGrace: 1s", &format!("stopGrace: 1s, {defaults}"))
            .replace("docker: {", &format!("docker: {{ onExit: {on_exit},"));
        let town = Town::new(&format!("{settings}\nprivate: {}", plot.yaml()), SHOP);
        town.site.add("other", OTHER);
        let yaml = std::fs::read_to_string(town.site.path().join("router.yaml")).unwrap();
        let yaml = yaml.trim_end();
        let services = "services: { api: { wake: onCall }, store: { wake: onCall } }";
        let other = "  - id: other\n    ci: other/ci.yml\n    root: other\n";
        town.site.write("router.yaml", &format!("{yaml}\n    {services}\n{other}"));
        Self { town, plot }
    }

    /// The containers of a service: their ids, names, and processes.
    fn containers(&self, id: &str, service: &str) -> Vec<Container> {
        let ids: Vec<String> = self.town.of(service).into_iter().map(|c| c.id).collect();
        let format = "{{.Id}} {{.Name}} {{.State.Pid}} {{index .Config.Labels \"landscape-router.landscape\"}} \
                      {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let all = ids.iter().map(|id| says(&["inspect", "-f", format, id]));
        let understood = all.filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[3] == id).then(|| Container {
                id: words[0].to_owned(),
                name: words[1].trim_start_matches('/').to_owned(),
                inside: Inside::of(words[2].parse().unwrap()),
                address: words[4].parse().unwrap(),
            })
        });
        understood.collect()
    }

    fn container(&self, id: &str, service: &str) -> Container {
        self.containers(id, service).into_iter().next().unwrap_or_else(|| panic!("{id}/{service} does not run"))
    }

    /// Everything of the shop awake, and the other's web.
    fn awake(&self) -> Router {
        let router = Router::start(&self.town.site);
        assert_answered(&router);
        assert_eq!(router.get("other.localhost", "/").status, 200, "{}", router.log());
        router.await_ready("api", 2);
        router
    }

    fn traces(&self) -> Vec<String> {
        self.plot.traces(&self.town.site)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.plot.sweep(&self.town.site);
    }
}

#[derive(Debug)]
struct Container {
    id: String,
    name: String,
    inside: Inside,
    address: Ipv4Addr,
}

fn assert_answered(router: &Router) {
    let answer = router.shop(ASK);
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), router.log());
    assert!(answer.text().ends_with("\r\n\r\nhello\n"), "{}\n{}", answer.text(), router.log());
}

#[test]
fn one_request_wakes_a_chain_of_containers_call_by_call() {
    need_engine!();
    need_network!();
    let pair = Pair::new("idleAfter: 3s", "stop");
    let router = Router::start(&pair.town.site);
    assert_eq!(pair.town.containers(), []);
    assert_answered(&router);
    for service in ["web", "api", "store"] {
        router.await_state(service, "off");
    }
    eventually("the end of all", &router, || pair.town.containers().is_empty());
    assert_answered(&router);
    let calls = "landscape_router_private_connections_total{";
    let text = router.metrics();
    let of = |service: &str, peer: &str| {
        let has = |l: &&str| l.contains(&format!("service=\"{service}\"")) && l.contains(&format!("peer=\"{peer}\""));
        text.lines().filter(|l| l.starts_with(calls)).find(has).and_then(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
    };
    assert_eq!((of("api", "web"), of("store", "api")), (Some(2.0), Some(2.0)), "{text}");
    assert_eq!(router.stop(), Some(0));
    assert_eq!(pair.town.containers(), []);
    assert_eq!(pair.traces(), [] as [String; 0]);
}

#[test]
fn names_lead_to_the_router_and_never_past_it() {
    need_engine!();
    need_network!();
    let pair = Pair::new("idleAfter: 10m", "stop");
    let router = pair.awake();
    let web = pair.container("shop", "web");
    let api = pair.containers("shop", "api");
    assert_eq!(api.len(), 2);
    let names = ["ws-server-shop-api.workspaces", "ws-server-shop-api", "api"];
    let found = web.inside.resolve(names[0]).unwrap();
    for name in names {
        assert_eq!(web.inside.resolve(name), Some(found), "{name}");
        let said = says(&["exec", &web.id, "/bin/nslookup", name]);
        assert!(said.contains(&found.to_string()), "{name}: {said}");
    }
    assert!(api.iter().all(|c| c.address != found), "a virtual address is nobody's: {api:?}");
    assert_ne!(web.inside.resolve("web"), Some(web.address), "not even one's own");
    for container in &api {
        for port in [3000, 80, 6379] {
            let at = SocketAddrV4::new(container.address, port);
            assert!(web.inside.is_closed(at), "past the router to {at}");
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    eventually("an answer of both", &router, || {
        let text = web.inside.get(SocketAddrV4::new(found, 3000), "api", "/").text();
        seen.insert(text.split_whitespace().find(|w| w.starts_with("replica=")).unwrap().to_owned());
        seen.len() == 2
    });
    for port in [1, 22, 53, 80, 6379, 8080] {
        assert!(web.inside.is_refused(SocketAddrV4::new(found, port)), "an undeclared port: {port}");
    }
    let outside = pair.plot.asked();
    assert!(!outside.iter().any(|name| name.starts_with("ws-server-")), "told to nobody: {outside:?}");
}

#[test]
fn a_container_of_another_landscape_finds_nothing() {
    need_engine!();
    need_network!();
    let pair = Pair::new("idleAfter: 10m", "stop");
    let router = pair.awake();
    let other = pair.container("other", "web");
    for service in ["web", "api", "store"] {
        let name = format!("ws-server-shop-{service}");
        assert_eq!(other.inside.ask(&name).code, 3);
        assert_eq!(other.inside.ask(&format!("{name}.workspaces")).code, 3);
        for container in pair.containers("shop", service) {
            for name in [&container.name, &container.id, &container.id[..12]] {
                // A full id is too long for a label of a name.
                assert!(name.len() > 63 || other.inside.resolve(name).is_none(), "{name}");
            }
        }
    }
    assert_eq!(other.inside.resolve("api"), None);
    assert_eq!(other.inside.resolve("store"), None);

    let shop = pair.container("shop", "web");
    let gateway = |inside: &Inside| -> Ipv4Addr {
        inside.run_here("ip route show default").split_whitespace().nth(2).unwrap().parse().unwrap()
    };
    let mut addresses_of_shop = vec![gateway(&shop.inside)];
    for service in ["web", "api", "store"] {
        addresses_of_shop.extend(shop.inside.resolve(service));
        addresses_of_shop.extend(pair.containers("shop", service).into_iter().map(|c| c.address));
    }
    assert!(addresses_of_shop.len() >= 8, "{addresses_of_shop:?}");
    for address in addresses_of_shop {
        for port in [3000, 6379, 22, 53, 80] {
            let at = SocketAddrV4::new(address, port);
            assert!(other.inside.is_closed(at), "{at} answers");
        }
    }
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let bystander = everywhere.local_addr().unwrap().port();
    let mut machine: Vec<Ipv4Addr> = addresses().into_iter().filter(|a| !a.is_loopback()).collect();
    machine.push(other.inside.resolve("web").unwrap());
    for address in machine {
        for port in [bystander, router.http.port(), router.admin.port(), 22, 2375] {
            let at = SocketAddrV4::new(address, port);
            let seen = || format!("{bystander}, {}, {}: {:?}", router.http, router.admin, addresses());
            assert!(other.inside.is_closed(at), "{at} of this machine answers: {}\n{}", seen(), router.log());
        }
    }
    let web = SocketAddrV4::new(other.inside.resolve("web").unwrap(), 3000);
    for host in ["shop.localhost", "ws-server-shop-api.workspaces:3000", "api"] {
        let text = other.inside.get(web, host, "/env").text();
        assert!(text.lines().any(|l| l == "WORKSPACE_ID=other"), "{host}: {text}");
    }
}

#[test]
fn containers_that_outlive_the_router_stay_fenced_and_are_found_again() {
    need_engine!();
    need_network!();
    let pair = Pair::new("idleAfter: 10m", "leave");
    let router = pair.awake();
    let (shop, other) = (pair.container("shop", "web"), pair.container("other", "web"));
    let before = (pair.town.containers(), shop.inside.resolve("api"));
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let gateway = other.inside.run_here("ip route show default").split_whitespace().nth(2).unwrap().parse().unwrap();
    let bystander = SocketAddrV4::new(gateway, everywhere.local_addr().unwrap().port());
    let api = pair.container("shop", "api").address;
    let fenced = || {
        assert!(other.inside.is_closed(bystander), "a port of this machine");
        assert!(other.inside.is_closed(SocketAddrV4::new(api, 3000)), "a container of another landscape");
        assert!(shop.inside.is_closed(SocketAddrV4::new(api, 3000)), "past the router");
    };
    fenced();
    assert_eq!(router.stop(), Some(0));
    fenced();
    let router = Router::start(&pair.town.site);
    fenced();
    assert_answered(&router);
    assert_eq!((pair.town.containers(), shop.inside.resolve("api")), before, "{}", router.log());
    router.kill();
    fenced();
    let router = Router::start(&pair.town.site);
    assert_answered(&router);
    fenced();
    assert_eq!((pair.town.containers(), shop.inside.resolve("api")), before, "{}", router.log());
    let new = Router::start_with(&pair.town.site, &["--take-over"]);
    assert_answered(&new);
    fenced();
    assert_eq!((pair.town.containers(), shop.inside.resolve("api")), before, "{}", new.log());
}
