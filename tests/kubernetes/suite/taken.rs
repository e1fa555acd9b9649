//! Objects of our names that are somebody else's.

use serde_json::{Value, json};

use super::rig::{Rig, ci, requests, service};
use crate::fixture::Logged;
use crate::fixture::object::Object;
use crate::need_fixture;
use crate::support::Router;
use crate::town::deployment;

/// What does not change by itself.
fn lasting(object: &Value) -> (String, Value, Value) {
    (object.uid().to_owned(), object["spec"].clone(), object["metadata"]["labels"].clone())
}

/// A cold request is told that something is in the way, and the operator what.
fn told(rig: &Rig, router: &Router, what: &str) {
    let answer = router.shop("/");
    assert_eq!(answer.status, 503, "{}\n{}\n{}", answer.text(), rig.town.tell(), router.log());
    assert!(answer.header("retry-after").is_some(), "{}", answer.head);
    assert!(!answer.text().contains("ws-"), "{}", answer.text());
    let detail = Rig::failure(router, "web", "detail");
    for word in [what, &rig.town.namespace, "attach", "landscape-router/instance=landscape-router"] {
        assert!(detail.contains(word), "{word}: {detail}");
    }
    assert!(rig.cli(router, &["status"]).contains(what));
}

#[test]
fn a_deployment_of_somebody_else_is_left_alone_until_it_goes() {
    let rig = Rig::new("hold: { timeout: 60s }", &ci(&[service("web", 1, "/", "")]));
    let theirs = deployment("ws-server-shop-web", 1, &[]);
    let before = lasting(&rig.town.create("deployments", &theirs).good());
    let router = Router::start(&rig.site);
    told(&rig, &router, "Deployment ws-server-shop-web");
    told(&rig, &router, "Deployment ws-server-shop-web");
    assert_eq!(lasting(&rig.town.get("deployments", "ws-server-shop-web").good()), before);
    rig.town.delete("deployments", "ws-server-shop-web", &json!({})).good();
    rig.eventually("its place to be taken", &router, || router.shop("/").status == 200);
    assert!(rig.deployment("web").is_some());
}

#[test]
fn a_config_map_of_somebody_else_is_left_alone_until_it_goes() {
    let rig = Rig::new("hold: { timeout: 60s }", &ci(&[service("web", 1, "/", "")]));
    let theirs = json!({ "metadata": { "name": "ws-shop", "labels": { "app": "shop" } }, "data": { "a": "b" } });
    rig.town.create("configmaps", &theirs).good();
    let router = Router::start(&rig.site);
    told(&rig, &router, "ConfigMap ws-shop");
    let now = rig.town.get("configmaps", "ws-shop").good();
    assert_eq!((&now["data"], &now["metadata"]["labels"]), (&json!({ "a": "b" }), &json!({ "app": "shop" })));
    let labels =
        json!({ "app.kubernetes.io/managed-by": "landscape-router", "landscape-router/instance": "landscape-router" });
    rig.town.merge("configmaps", "ws-shop", &json!({ "metadata": { "labels": labels } })).good();
    rig.eventually("what was handed over to be used", &router, || router.shop("/").status == 200);
}

#[test]
fn what_is_not_ours_does_not_go_with_what_is() {
    let both = ci(&[service("web", 1, "/", ""), service("other", 1, "/other", "")]);
    let rig = Rig::new("", &both);
    // As if of `other`, which has no secrets.
    let theirs = json!({ "metadata": { "name": "ws-server-shop-other" }, "stringData": { "a": "b" } });
    let before = rig.town.create("secrets", &theirs).good();
    let router = Router::start(&rig.site);
    assert_eq!(router.shop("/other").status, 200, "{}\n{}", rig.town.tell(), router.log());
    rig.site.write("shop/ci.yml", &ci(&[service("web", 1, "/", "")]));
    rig.eventually("the Deployment to go", &router, || rig.deployment("other").is_none());
    // The Secret would have gone next: another service has come and gone by then.
    rig.site.write("shop/ci.yml", &both);
    rig.await_deployment("other");
    assert_eq!(rig.town.get("secrets", "ws-server-shop-other").good().uid(), before.uid());
}

#[test]
fn what_is_known_is_not_looked_for() {
    need_fixture!("its requests are not ours to count");
    let colored = |color: &str| {
        let env = format!("    env: {{ COLOR: {color}, TOKEN: \"${{{{ vault.TOKEN }}}}\" }}\n");
        ci(&[service("web", 1, "/", &env)])
    };
    let rig = Rig::new("vault: { file: secrets.yaml }", &colored("red"));
    rig.site.write("secrets.yaml", "TOKEN: correct-horse-7391\n");
    let router = Router::start(&rig.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    rig.town.fixture().forget_requests();
    rig.site.write("shop/ci.yml", &colored("blue"));
    rig.eventually("the change", &router, || router.shop("/env").text().contains("COLOR=blue"));
    rig.cli(&router, &["sleep", "shop/web"]);
    rig.await_off(&router, "web");
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    let kinds = ["deployments", "configmaps", "secrets", "networkpolicies"];
    // A Secret is looked for by a patch that is not carried out.
    let looks = |r: &Logged| r.verb == "get" || r.query.contains("dryRun");
    let asked = requests(rig.town.fixture()).into_iter().filter(looks);
    let asked: Vec<String> = asked.map(|r| r.resource).filter(|r| kinds.contains(&r.as_str())).collect();
    assert!(asked.is_empty(), "{asked:?}");
}
