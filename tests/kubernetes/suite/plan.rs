//! `plan`: what would change, without changing it.

use std::process::Command;

use serde_json::{Value, json};

use super::rig::{Rig, ci, requests, service};
use crate::fixture::object::Object;
use crate::need_fixture;
use crate::support::Router;

/// The plan, and whether it could be told and would be accepted.
fn plan(rig: &Rig) -> (Value, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_landscape-router"))
        .args(["plan", "--json", "--config"])
        .arg(rig.site.path().join("router.yaml"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let plan = serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    (plan, output.status.success())
}

/// Its changes as `create Deployment web`.
fn changes(plan: &Value) -> Vec<String> {
    let told = |c: &Value| format!("{} {} {}", c.text("/action"), c.text("/kind"), c.text("/service"));
    let mut all: Vec<String> = plan.list("/changes").iter().map(told).collect();
    all.sort();
    all
}

fn version(color: &str) -> String {
    let env = format!("    env: {{ COLOR: {color}, TOKEN: \"${{{{ vault.TOKEN }}}}\" }}\n");
    ci(&[service("web", 2, "/", &env), service("other", 1, "/other", "")])
}

#[test]
fn a_plan_tells_what_a_start_makes_and_then_what_an_edit_changes() {
    let rig = Rig::new("vault: { file: secrets.yaml }", &version("red"));
    rig.site.write("secrets.yaml", "TOKEN: correct-horse-7391\n");
    let (before, good) = plan(&rig);
    assert!(good, "{before:#}");
    let told = changes(&before);
    for expected in ["create ConfigMap ", "create Deployment other", "create Deployment web", "create Secret web"] {
        assert!(told.iter().any(|c| c == expected), "{expected} in {told:?}");
    }
    assert!(rig.town.list("deployments", "").is_empty(), "nothing was made");

    let router = Router::start(&rig.site);
    rig.await_deployment("web");
    rig.await_deployment("other");
    rig.eventually("nothing to do", &router, || changes(&plan(&rig).0).is_empty());
    assert_eq!(router.shop("/").status, 200, "{}\n{}", rig.town.tell(), router.log());
    rig.await_ready(&router, "web", 2);
    let (running, good) = plan(&rig);
    assert!(good && changes(&running).is_empty(), "replicas are no change: {running:#}");
    let config = rig.site.path().join("router.yaml").display().to_string();
    let said = rig.cli(&router, &["plan", "--config", &config]);
    assert!(said.ends_with(": no changes\n"), "{said}");

    // The router is away, so that only the plan sees the edit.
    assert_eq!(router.stop(), Some(0));
    rig.site.write("shop/ci.yml", &version("blue"));
    let generation = rig.deployment("web").unwrap().int("/metadata/generation");
    rig.town.on_fixture().inspect(|f| f.forget_requests());
    let (edited, good) = plan(&rig);
    assert!(good, "{edited:#}");
    assert_eq!(changes(&edited), ["change Deployment web"], "{edited:#}");
    assert!(edited.to_string().contains("blue") && !edited.to_string().contains("correct-horse"), "{edited:#}");
    assert_eq!(rig.deployment("web").unwrap().int("/metadata/generation"), generation, "nothing was changed");
    if let Some(fixture) = rig.town.on_fixture() {
        let all = requests(fixture);
        let writes = all.iter().filter(|r| !["get", "list", "watch", ""].contains(&r.verb.as_str()));
        let real: Vec<_> = writes.filter(|r| !r.query.contains("dryRun=All")).collect();
        assert!(real.is_empty(), "{real:#?}");
    }
    rig.site.write("shop/ci.yml", &ci(&[service("other", 1, "/other", "")]));
    let told = changes(&plan(&rig).0);
    assert!(told.contains(&"remove Deployment web".to_owned()), "{told:?}");
    rig.deployment("web").expect("it is still there");
}

#[test]
fn names_are_planned_as_a_router_makes_them_wherever_it_is() {
    need_fixture!("the router's own address is not one that a cluster takes");
    let rig = Rig::new("", &ci(&[service("web", 1, "/", ""), service("api", 1, "/api", "")]));
    let first = 30_000 + 10 * fastrand::u16(400..500);
    let names = format!("pull: never, names: {{ namespace: {}, ports: {first}-{} }}", rig.town.namespace, first + 9);
    rig.site.write("router.yaml", &rig.router_yaml("", &names));
    let of_names = |plan: &Value| {
        let told = |c: &Value| format!("{} {} {}", c.text("/action"), c.text("/kind"), c.text("/name"));
        let changes = plan.list("/changes").iter().filter(|c| c.text("/namespace") == rig.town.namespace);
        changes.map(told).collect::<Vec<_>>()
    };
    let (before, good) = plan(&rig);
    assert!(good, "{before:#}");
    let expected = ["api", "web"].map(|name| {
        let label = format!("ws-server-shop-{name}");
        [format!("create Service {label}"), format!("create EndpointSlice {label}-ipv4-router")]
    });
    assert_eq!(of_names(&before), expected.concat());
    assert!(rig.town.list("services", "").is_empty(), "nothing was made");

    let mut command = Router::command(&rig.site);
    command.env("POD_IP", "127.0.0.1");
    let router = Router::launch(command);
    // Here nobody knows the router's address, and it is no change.
    rig.eventually("nothing to do", &router, || changes(&plan(&rig).0).is_empty());
    // Nor is what another router has of its own.
    let slice = |name: &str| {
        let all = rig.town.list("endpointslices", "labelSelector=landscape-router/router");
        all.into_iter().find(|s| s.name().starts_with(&format!("ws-server-shop-{name}-ipv4-"))).unwrap()
    };
    let own = ["web", "api"].map(|name| slice(name).name().to_owned());
    let mut others = slice("web");
    let router_label = others["metadata"]["labels"]["landscape-router/router"].clone();
    others["metadata"]["name"] = "ws-server-shop-web-ipv4-other".into();
    others["metadata"]["labels"]["landscape-router/router"] = "other".into();
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"] {
        others["metadata"].as_object_mut().unwrap().remove(field);
    }
    others["endpoints"][0]["addresses"] = json!(["127.0.0.2"]);
    others["ports"][0]["port"] = json!(31_234);
    assert_ne!(router_label, "other");
    // Killed: what ends in order leaves nothing.
    router.kill();
    rig.town.create("endpointslices", &others).good();
    let told = of_names(&plan(&rig).0);
    assert!(told == ["create EndpointSlice ws-server-shop-api-ipv4-other"], "it is to come: {told:?}");
    rig.town.delete("endpointslices", "ws-server-shop-web-ipv4-other", &json!({})).good();
    rig.site.write(
        "shop/ci.yml",
        &ci(&[service("web", 1, "/", "").replace("port: 3000, isPublic", "port: 3001, isPublic")]),
    );
    let (edited, good) = plan(&rig);
    assert!(good, "{edited:#}");
    let expected = [
        "change Service ws-server-shop-web",
        &format!("change EndpointSlice {}", own[0]),
        "remove Service ws-server-shop-api",
        &format!("remove EndpointSlice {}", own[1]),
    ];
    assert_eq!(of_names(&edited), expected);
    // A person's Service of the same name is nobody's to change.
    let theirs = json!({ "metadata": { "name": "ws-server-shop-more" }, "spec": { "ports": [{ "port": 80 }] } });
    rig.town.create("services", &theirs).good();
    rig.site.write("shop/ci.yml", &ci(&[service("more", 1, "/", "")]));
    let (conflict, good) = plan(&rig);
    assert!(
        !good && conflict["problems"].to_string().contains("Service ws-server-shop-more is there already"),
        "{conflict:#}"
    );
}
