//! What the Roles of `deploy/kubernetes` grant is enough: the router is bound by them here as in a cluster.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::rig::{Rig, ci, requests, service};
use crate::client::{AGENT, path};
use crate::fixture::Fixture;
use crate::fixture::knobs::{Grant, Rights};
use crate::fixture::object::Object;
use crate::need_fixture;
use crate::support::Router;
use crate::town::{Town, image, template};

/// What a Role grants, bound in this namespace.
fn granted(role: &str, namespace: &str) -> Vec<Grant> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes").join(role);
    let objects: Vec<Value> = serde_saphyr::from_multiple(&std::fs::read_to_string(file).unwrap()).unwrap();
    let role = objects.iter().find(|o| o["kind"] == "Role").unwrap();
    let all = |rule: &Value, field: &str| {
        rule[field].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let rule = |rule: &Value| Grant {
        namespace: namespace.to_owned(),
        groups: all(rule, "apiGroups"),
        resources: all(rule, "resources"),
        verbs: all(rule, "verbs"),
    };
    role["rules"].as_array().unwrap().iter().map(rule).collect()
}

fn bind(fixture: &Fixture, granted: Vec<Grant>) {
    fixture.turn(|knobs| knobs.rights = Some(Rights { except: AGENT.to_owned(), granted }));
}

/// What the routers were refused for want of a right, in words.
fn refused(fixture: &Fixture) -> Vec<String> {
    let all = requests(fixture).into_iter().filter(|r| r.status == 403);
    all.map(|r| format!("{} {} {}", r.verb, r.resource, r.path)).collect()
}

/// `update leases`, and so on: all that was asked for and not refused.
fn done(fixture: &Fixture) -> BTreeSet<String> {
    let all = requests(fixture).into_iter().filter(|r| r.status < 300 && !r.verb.is_empty());
    all.map(|r| format!("{} {}", r.verb, r.resource)).collect()
}

/// A namespace beside the test's own, in which pods can be made.
fn namespace(town: &Town, name: &str) -> String {
    let name = format!("{}-{name}", town.namespace);
    let object = json!({ "metadata": { "name": name } });
    town.client.call("POST", "/api/v1/namespaces", "application/json", Some(&object)).good();
    town.eventually("a service account", || {
        town.client.call("GET", &path(&name, "serviceaccounts", "default"), "", None).status == 200
    });
    name
}

const SETTINGS: &str = "defaults: { stopGrace: 1s, idleAfter: 6s }
vault: { file: secrets.yaml }
hold: { timeout: 60s }
registries: { r.example.com: { username: u, passwordFile: password } }
";

fn text(color: &str, old: bool) -> String {
    let env = format!("    env: {{ COLOR: {color}, TOKEN: \"${{{{ vault.TOKEN }}}}\" }}\n");
    let mut services = vec![
        service("web", 2, "/", &env),
        service("theirs", 1, "/theirs", ""),
        service("absent", 1, "/absent", "").replace(&image(), "lr-test/absent:1"),
    ];
    services.extend(old.then(|| service("old", 1, "/old", "    env: { TOKEN: \"${{ vault.TOKEN }}\" }\n")));
    ci(&services)
}

#[test]
fn two_routers_get_along_with_their_roles() {
    need_fixture!("its rights are its administrator's");
    let town = Town::new();
    let (there, names) = (namespace(&town, "there"), namespace(&town, "names"));
    let labels = json!({ "app": "theirs" });
    let theirs = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "theirs" },
        "spec": { "replicas": 0, "serviceName": "theirs", "selector": { "matchLabels": labels }, "template": template(&labels, &[]) },
    });
    let at = path(&there, "statefulsets", "");
    town.client.call("POST", &at, "application/json", Some(&theirs)).good();
    let all = [
        granted("base/role.yaml", &town.namespace),
        granted("attach/role.yaml", &there),
        granted("names/role.yaml", &names),
    ];
    bind(town.fixture(), all.concat());

    let rig = Rig::of(town, "", "", &text("red", true));
    let attach = format!("    services: {{ theirs: {{ attach: {{ statefulSet: theirs, namespace: {there} }} }} }}\n");
    let first = 30_000 + 10 * fastrand::u16(200..400);
    let named = format!("pull: never, names: {{ namespace: {names}, ports: {first}-{} }}", first + 9);
    let write = |color: &str, old: bool| rig.site.write("shop/ci.yml", &text(color, old));
    rig.site.write("secrets.yaml", "TOKEN: correct-horse-7391\n");
    rig.site.write("password", "secret\n");
    // Of the same files, as pods of one Deployment have them.
    rig.site.write("router.yaml", &(rig.router_yaml(SETTINGS, &named) + &attach));
    rig.site.write("second.yaml", &(rig.router_yaml(&format!("{SETTINGS}state: second\n"), &named) + &attach));
    let launch = |file: &str, address: &str| {
        let mut command = rig.command(file);
        command.env("POD_IP", address);
        Router::launch(command)
    };
    let (one, two) = (launch("router.yaml", "127.0.0.1"), launch("second.yaml", "127.0.0.2"));
    for router in [&one, &two] {
        rig.await_routers(router, 2);
    }
    // Waking, a failure that is explained, what an application wrote, a pod that is replaced.
    assert_eq!(two.shop("/").status, 200, "{}\n{}", rig.town.tell(), two.log());
    rig.cli(&two, &["pin", "shop/web"]);
    assert_eq!(one.shop("/theirs").status, 200, "{}\n{}", rig.town.tell(), one.log());
    assert_eq!(one.shop("/absent").status, 503, "{}", one.log());
    assert_eq!(Rig::failure(&one, "absent", "kind"), "image", "{}", one.log());
    rig.await_ready(&one, "web", 2);
    assert!(!rig.cli(&one, &["logs", "shop/web"]).is_empty());
    rig.cli(&one, &["restart", "shop/web"]);
    // Another version, and a service that leaves.
    write("blue", false);
    rig.eventually("the new version", &two, || two.shop("/env").text().contains("COLOR=blue"));
    rig.eventually("the end of what has left", &one, || rig.deployment("old").is_none());
    // None uses them: whoever leads switches them off, here and in the other namespace.
    rig.cli(&two, &["unpin", "shop/web"]);
    rig.await_off(&one, "web");
    let replicas = || rig.town.client.call("GET", &path(&there, "statefulsets", "theirs"), "", None).good();
    rig.eventually("the other one's end", &one, || replicas().int("/spec/replicas") == 0);
    let slices = || {
        let slices = rig.town.client.call("GET", &path(&names, "endpointslices", ""), "", None).good();
        slices.list("/items").len()
    };
    rig.eventually("names, which lead to both", &one, || slices() == 6);
    assert_eq!(two.stop(), Some(0));
    assert_eq!(slices(), 3);
    // All of it leaves.
    rig.site.write("router.yaml", &rig.router_yaml(SETTINGS, &named).replace("id: shop", "id: another"));
    rig.site.add("another", &ci(&[service("web", 1, "/", "")]));
    rig.eventually("the landscape's end", &one, || {
        rig.town.list("configmaps", "labelSelector=landscape-router/landscape=shop").is_empty()
    });
    assert_eq!(one.stop(), Some(0));

    let fixture = rig.town.fixture();
    assert_eq!(refused(fixture), [""; 0]);
    let done = done(fixture);
    for needed in [
        "list leases",
        "watch leases",
        "get leases",
        "create leases",
        "update leases",
        "patch leases",
        "delete leases",
        "patch secrets",
        "delete secrets",
        "patch statefulsets/scale",
        "get pods/log",
        "delete configmaps",
        "delete services",
        "list endpointslices",
        "patch endpointslices",
        "delete endpointslices",
    ] {
        assert!(done.contains(needed), "{needed} was not even tried: {done:?}");
    }
}
