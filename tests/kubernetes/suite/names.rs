//! Names of services: what is kept in the cluster, and who is let in by them.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::rig::{self, Rig, service};
use crate::fixture::object::Object;
use crate::need_fixture;
use crate::support::Router;
use crate::town::template;

/// What answers every request with its own head.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                    head.push(byte[0]);
                }
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", head.len());
                let _ = stream.write_all(&[answer.as_bytes(), &head].concat());
            });
        }
    });
    address
}

fn ci(services: &[&str], to: SocketAddr) -> String {
    let service =
        |name: &&str| format!("  {name}: {{ network: {{ paths: [{{ path: /{name}, target: 'http://{to}' }}] }} }}\n");
    format!("schemaVersion: v0.4\nrun:\n{}", services.iter().map(service).collect::<String>())
}

/// A router whose services are only forwarded to, and have names; its ports are of a range that others hardly have.
fn rig(services: &[&str]) -> (Rig, SocketAddr) {
    let to = upstream();
    (with_names("headless: { allow: [127.0.0.0/8] }", &ci(services, to)), to)
}

fn with_names(settings: &str, ci: &str) -> Rig {
    let first = 30_000 + 10 * fastrand::u16(0..200);
    let rig = Rig::new(settings, ci);
    let names = format!("pull: never, names: {{ namespace: {}, ports: {first}-{} }}", rig.town.namespace, first + 9);
    rig.site.write("router.yaml", &rig.router_yaml(settings, &names));
    rig
}

fn start(rig: &Rig) -> Router {
    let mut command = Router::command(&rig.site);
    command.env("POD_IP", "127.0.0.1");
    Router::launch(command)
}

/// A running pod; its address.
fn pod(rig: &Rig, name: &str, labels: &Value, landscape: &str) -> String {
    let mut pod = template(labels, &[]);
    pod["metadata"]["name"] = name.into();
    pod["metadata"]["annotations"] =
        json!({ "landscape-router/landscape": landscape, "landscape-router/service": "web" });
    rig.town.create("pods", &pod).good();
    let address = || rig.town.get("pods", name).good().text("/status/podIP").to_owned();
    rig.town.eventually("an address of the pod", || !address().is_empty());
    address()
}

fn ours() -> Value {
    json!({ "app.kubernetes.io/managed-by": "landscape-router", "landscape-router/instance": "landscape-router" })
}

/// The EndpointSlices of a name.
pub fn slices(rig: &Rig, name: &str) -> Vec<Value> {
    rig.town.list("endpointslices", &format!("labelSelector=kubernetes.io/service-name={name}"))
}

/// Where an EndpointSlice leads to for a port of its name.
pub fn leads(slice: &Value, port: u16) -> Option<SocketAddr> {
    let of_port = |p: &&Value| p.text("/name") == format!("p{port}");
    let port = slice.list("/ports").iter().find(of_port).map(|p| u16::try_from(p.int("/port")).unwrap())?;
    Some(SocketAddr::new(slice.text("/endpoints/0/addresses/0").parse().unwrap(), port))
}

/// The router's port for a port of a name, once its EndpointSlice leads there.
fn target(rig: &Rig, router: &Router, name: &str, port: u16) -> u16 {
    let found = || {
        let all = slices(rig, name);
        assert!(all.len() < 2, "one router has one: {all:#?}");
        let at = leads(all.first()?, port)?;
        assert_eq!(at.ip().to_string(), "127.0.0.1");
        Some(at.port())
    };
    rig.eventually(&format!("the EndpointSlice of {name}"), router, || found().is_some());
    found().unwrap()
}

fn ask(from: &str, port: u16, service: &str) -> Option<String> {
    ask_at(from, ([127, 0, 0, 1], port).into(), service)
}

/// What a program at this address gets that asks there; `None` if the connection is broken off or refused.
pub fn ask_at(from: &str, at: SocketAddr, service: &str) -> Option<String> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into()).unwrap();
    if let Err(error) = socket.connect(&at.into()) {
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        return None;
    }
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut answer = String::new();
    let asked = write!(stream, "GET /{service}/x HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n");
    match asked.and_then(|()| stream.read_to_string(&mut answer)) {
        Ok(_) => Some(answer),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
            None
        }
    }
}

#[test]
fn pods_of_the_landscape_are_let_in_by_a_name_and_nobody_else_is() {
    need_fixture!("a test is at a pod's address on this machine alone");
    let (rig, _) = rig(&["ext"]);
    let router = start(&rig);
    let port = target(&rig, &router, "ws-server-shop-ext", 80);
    let inside = pod(&rig, "inside", &ours(), "shop");
    let other = pod(&rig, "other", &ours(), "other");
    let stranger = pod(&rig, "stranger", &json!({ "app": "stranger" }), "shop");
    let answer = ask(&inside, port, "ext").unwrap_or_else(|| panic!("{}", router.log()));
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("GET /"), "{answer}");
    assert_eq!(ask(&other, port, "ext"), None);
    let begin = Instant::now();
    assert_eq!(ask(&stranger, port, "ext"), None);
    assert!(begin.elapsed() >= Duration::from_secs(4), "it may become known for a while");
    router.await_metric("landscape_router_private_refused_total{reason=\"foreign\"}", 1.0);
    router.await_metric("landscape_router_private_refused_total{reason=\"unknown\"}", 1.0);
    let calls = "landscape_router_private_requests_total{landscape=\"shop\",service=\"ext\",peer=\"web\"}";
    router.await_metric(calls, 1.0);

    // Its address goes to another one's pod.
    rig.town.delete("pods", "inside", &json!({})).good();
    rig.eventually("the pod to be gone", &router, || rig.town.get("pods", "inside").status == 404);
    rig.eventually("its address to be nobody's", &router, || ask(&inside, port, "ext").is_none());
}

#[test]
fn names_follow_the_configuration_and_outlive_the_router() {
    need_fixture!("the router's own address is not one that a cluster takes");
    let (rig, to) = rig(&["ext", "more"]);
    let router = start(&rig);
    let ports = [("ws-server-shop-ext", 80), ("ws-server-shop-ext", 3000), ("ws-server-shop-more", 80)];
    let known = |router: &Router| ports.map(|(name, port)| target(&rig, router, name, port));
    let before = known(&router);
    let uid = || rig.town.get("services", "ws-server-shop-more").good().uid().to_owned();
    let made = uid();
    router.stop();
    assert!(rig.town.list("endpointslices", "").is_empty(), "they lead to nobody");
    // Another name that comes first takes no port from those that are there.
    rig.site.write("shop/ci.yml", &ci(&["a", "ext", "more"], to));
    let router = start(&rig);
    target(&rig, &router, "ws-server-shop-a", 80);
    assert_eq!((known(&router), uid()), (before, made));
    let inside = pod(&rig, "inside", &ours(), "shop");
    assert!(ask(&inside, before[2], "more").is_some(), "{}", router.log());

    rig.site.write("shop/ci.yml", &ci(&["a", "more"], to));
    rig.eventually("the name to be gone", &router, || {
        let name = "ws-server-shop-ext";
        rig.town.get("services", name).status == 404 && slices(&rig, name).is_empty()
    });
    assert_eq!(ask(&inside, before[0], "ext"), None);
    assert!(ask(&inside, before[2], "more").is_some());
}

#[test]
fn a_service_that_somebody_else_made_is_left_alone() {
    need_fixture!("the router's own address is not one that a cluster takes");
    let (rig, _) = rig(&["ext", "more"]);
    let theirs = json!({ "metadata": { "name": "ws-server-shop-ext" }, "spec": { "ports": [{ "port": 80 }] } });
    let before = rig.town.create("services", &theirs).good();
    let router = start(&rig);
    target(&rig, &router, "ws-server-shop-more", 80);
    router.await_log("ws-server-shop-ext in the namespace");
    assert_eq!(rig.town.get("services", "ws-server-shop-ext").good()["spec"], before["spec"]);
}

#[test]
fn a_call_by_name_wakes_the_service_that_is_called() {
    need_fixture!("a test is at a pod's address on this machine alone");
    let rig = with_names("", &rig::ci(&[service("web", 1, "/", ""), service("api", 1, "/api", "")]));
    let router = start(&rig);
    let port = target(&rig, &router, "ws-server-shop-api", 3000);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    let web = rig.pods("web")[0].text("/status/podIP").to_owned();
    assert!(rig.pods("api").is_empty());
    let answer = ask(&web, port, "api").unwrap_or_else(|| panic!("{}", router.log()));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    rig.await_ready(&router, "api", 1);
    assert_eq!(router.service("api")["callers"][0]["service"], "web");
    let api = router.service("api")["private"].clone();
    let names = ["ws-server-shop-api".to_owned(), format!("ws-server-shop-api.{}", rig.town.namespace)];
    assert_eq!(api, json!({ "address": null, "names": names, "ports": [3000] }));
    // Its own pod is a caller like any other, and the policy lets the router alone through.
    let own = rig.pods("api")[0].text("/status/podIP").to_owned();
    assert!(ask(&own, port, "api").is_some());
    let policy = rig.town.list("networkpolicies", "");
    assert_eq!(policy.len(), 1);
    let router_alone = |peer: &Value| peer.text("/podSelector/matchLabels/landscape-router~1landscape").is_empty();
    assert!(policy[0].list("/spec/ingress/0/from").iter().all(router_alone), "{policy:#?}");
}
