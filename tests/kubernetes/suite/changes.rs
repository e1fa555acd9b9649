//! Edits: of what runs, of what is there, of what is secret.

use std::time::Duration;

use serde_json::Value;

use super::rig::{Rig, ci, service};
use crate::fixture::kinds::KINDS;
use crate::fixture::knobs::Deny;
use crate::fixture::object::Object;
use crate::fixture::unbase64;
use crate::support::{Load, Router};

fn colored(color: &str) -> String {
    let env = format!("    env: {{ COLOR: {color} }}\n");
    ci(&[service("web", 3, "/", &env), service("other", 1, "/other", "")])
}

#[test]
fn a_change_of_env_rolls_that_service_alone_and_fails_no_request() {
    let rig = Rig::new("", &colored("red"));
    let router = Router::start(&rig.site);
    assert_eq!(router.shop("/other").status, 200, "{}\n{}", rig.town.tell(), router.log());
    assert_eq!(router.shop("/").status, 200, "{}\n{}", rig.town.tell(), router.log());
    rig.await_ready(&router, "web", 3);
    let (web, other) = (rig.pod_names("web"), rig.pod_names("other"));
    let load = Load::start(router.http, "shop.localhost", "/sleep/10", 4, Duration::from_millis(2));
    load.await_more(50);
    rig.site.write("shop/ci.yml", &colored("blue"));
    let mut blue = 0;
    rig.eventually("blue alone", &router, || {
        blue = if router.shop("/env").text().contains("COLOR=blue") { blue + 1 } else { 0 };
        blue > 20
    });
    rig.eventually("three new pods alone", &router, || {
        let now = rig.pod_names("web");
        now.len() == 3 && now.iter().all(|n| !web.contains(n)) && rig.all_pods("web") == 3
    });
    load.await_more(50);
    let (_, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}\n{}", router.log());
    assert_eq!(rig.pod_names("other"), other, "the other service was left alone");
    let strategy = rig.deployment("web").unwrap();
    assert_eq!(strategy.int("/spec/minReadySeconds"), 0, "nothing is held back any more");
    rig.await_ready(&router, "web", 3);
}

#[test]
fn a_change_of_replicas_makes_and_takes_pods_and_touches_no_other() {
    let of = |n| ci(&[service("web", n, "/", "")]);
    let rig = Rig::new("", &of(1));
    let router = Router::start(&rig.site);
    assert_eq!(router.shop("/").status, 200, "{}\n{}", rig.town.tell(), router.log());
    let first = rig.pod_names("web");
    let load = Load::start(router.http, "shop.localhost", "/sleep/5", 2, Duration::from_millis(2));
    rig.site.write("shop/ci.yml", &of(3));
    rig.await_ready(&router, "web", 3);
    assert!(rig.pod_names("web").contains(&first[0]));
    rig.site.write("shop/ci.yml", &of(1));
    rig.eventually("one pod", &router, || rig.pod_names("web").len() == 1 && router.ready("web") == 1);
    load.await_more(20);
    let (_, failures) = load.stop();
    assert!(failures.is_empty(), "{failures:?}\n{}", router.log());
}

#[test]
fn a_change_of_what_is_off_is_there_when_it_wakes() {
    let rig = Rig::new("", &colored("red"));
    let router = Router::start(&rig.site);
    let before = rig.await_deployment("web");
    rig.site.write("shop/ci.yml", &colored("blue"));
    rig.eventually("the new template", &router, || {
        let now = rig.deployment("web").unwrap();
        now.at("/spec/template") != before.at("/spec/template") && now.int("/spec/replicas") == 0
    });
    assert!(router.shop("/env").text().contains("COLOR=blue"), "{}", router.log());
}

#[test]
fn another_cluster_namespace_or_instance_is_refused_and_taking_it_back_is_not() {
    let rig = Rig::new("", &colored("red"));
    let router = Router::start(&rig.site);
    assert_eq!(router.shop("/other").status, 200, "{}\n{}", rig.town.tell(), router.log());
    let config = || router.api("landscapes")["router"]["config"].clone();
    let good = std::fs::read_to_string(rig.site.path().join("router.yaml")).unwrap();
    let line = good.lines().position(|l| l.starts_with("kubernetes: {")).unwrap() + 1;
    for (key, from, to) in [
        ("kubernetes.kubeconfig", "kubeconfig: \"", "kubeconfig: \"/elsewhere"),
        ("kubernetes.context", "pull: never", "pull: never, context: other"),
        ("kubernetes.namespace", "namespace: lr-", "namespace: other-"),
        ("kubernetes.instance", "pull: never", "pull: never, instance: other"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{key}");
        rig.site.write("router.yaml", &bad);
        rig.eventually("the mistake", &router, || config()["ok"] == false);
        let told = config()["mistakes"].to_string();
        assert!(told.contains(&format!("router.yaml:{line}:")) && told.contains(&format!("error: {key}: ")), "{told}");
        assert_eq!(router.metric("landscape_router_config_last_reload_successful"), Some(0.0));
        assert_eq!(router.shop("/other").status, 200, "what was there is served on: {}", router.log());
        rig.site.write("router.yaml", &good);
        rig.eventually("its end", &router, || config()["ok"] == true);
        assert_eq!(config()["mistakes"].as_array().map_or(0, Vec::len), 0);
    }
    let all = rig.town.list("deployments", "labelSelector=landscape-router/service");
    assert_eq!(all.len(), 2, "{all:?}");
}

#[test]
fn a_removed_service_leaves_nothing_and_the_others_stay() {
    let rig = Rig::new("", &colored("red"));
    let foreign = crate::town::deployment("ws-server-shop-web2", 0, &[]);
    rig.town.create("deployments", &foreign).good();
    let router = Router::start(&rig.site);
    assert_eq!(router.shop("/").status, 200, "{}\n{}", rig.town.tell(), router.log());
    assert_eq!(router.shop("/other").status, 200);
    let other = rig.pod_names("other");
    rig.site.write("shop/ci.yml", &ci(&[service("other", 1, "/other", "")]));
    rig.eventually("nothing of web", &router, || rig.deployment("web").is_none() && rig.all_pods("web") == 0);
    assert_eq!(rig.pod_names("other"), other);
    assert_eq!(router.shop("/other").status, 200);
    rig.town.get("deployments", "ws-server-shop-web2").good();
}

#[test]
fn what_may_not_be_removed_goes_as_soon_as_it_may() {
    crate::need_fixture!("its rights are not ours to take");
    let rig = Rig::new("", &colored("red"));
    let router = Router::start(&rig.site);
    rig.await_deployment("web");
    rig.await_deployment("other");
    let fixture = rig.town.fixture();
    for resource in ["configmaps", "deployments"] {
        fixture.turn(|k| k.denied.push(Deny { verb: "delete".into(), resource: resource.into() }));
    }
    let theirs = crate::town::deployment("theirs", 0, &[]);
    rig.town.create("deployments", &theirs).good();
    let attached = "    services: { web: { attach: { deployment: theirs } } }\n";
    let yaml = rig.router_yaml("", "pull: never");
    rig.site.write("router.yaml", &format!("{yaml}{attached}"));
    rig.eventually("word of the Deployment", &router, || router.log().contains("ws-server-shop-web of shop/web stays"));
    fixture.turn(|k| k.denied.retain(|d| d.resource != "deployments"));
    rig.eventually("its end", &router, || rig.deployment("web").is_none());
    let (before, _) = yaml.split_once("landscapes:").unwrap();
    rig.site.write("router.yaml", &format!("{before}landscapes: []\n"));
    rig.eventually("word of the ConfigMap", &router, || {
        router.log().contains("ConfigMap ws-shop of the landscape shop stays")
    });
    assert_eq!(rig.deployment("other"), None);
    fixture.turn(|k| k.denied.clear());
    rig.eventually("its end", &router, || {
        rig.town.list("configmaps", "labelSelector=landscape-router/landscape").is_empty()
    });
}

#[test]
fn what_an_earlier_router_left_goes_when_it_is_known_not_to_be_configured() {
    let rig = Rig::new("", &colored("red"));
    let router = Router::start(&rig.site);
    assert_eq!(router.shop("/other").status, 200, "{}\n{}", rig.town.tell(), router.log());
    rig.await_deployment("web");
    let other = rig.pod_names("other");
    assert_eq!(router.stop(), Some(0));
    // One that cannot read the file, and has never read another one, does not know.
    rig.site.write("shop/ci.yml", "schemaVersion: v0.4\nrun: nothing\n");
    rig.site.write("shop/stall.yml", &ci(&[service("web", 1, "/", "")]));
    let second = rig.router_yaml("state: second\n", "pull: never");
    rig.site.write("second.yaml", &format!("{second}  - {{ id: stall, ci: shop/stall.yml, root: shop }}\n"));
    let router = rig.router("second.yaml");
    rig.await_routers(&router, 1);
    assert_eq!(router.get("stall.localhost", "/").status, 200, "{}", router.log());
    assert_eq!((rig.pod_names("other"), rig.deployment("web").is_some()), (other.clone(), true), "{}", router.log());
    rig.site.write("shop/ci.yml", &ci(&[service("other", 1, "/other", "")]));
    rig.eventually("nothing of web", &router, || rig.deployment("web").is_none());
    assert_eq!(router.shop("/other").status, 200);
    assert_eq!(rig.pod_names("other"), other);
    assert_eq!(router.stop(), Some(0));
    rig.site.write("shop/ci.yml", &ci(&[service("web", 1, "/", "")]));
    let router = rig.router("second.yaml");
    rig.eventually("nothing of other", &router, || rig.deployment("other").is_none() && rig.all_pods("other") == 0);
}

#[test]
fn what_a_landscape_has_as_a_whole_follows_its_settings_though_nothing_starts() {
    const LOGIN: &str = "registries: { registry.example.com: { username: shop, passwordFile: password } }\n";
    let rig = Rig::new(LOGIN, &colored("red"));
    let yaml = |settings: &str, kubernetes: &str| rig.site.write("router.yaml", &rig.router_yaml(settings, kubernetes));
    rig.site.write("password", "old");
    let login = || {
        let secret = rig.town.get("secrets", "ws-pull-shop").body;
        String::from_utf8(unbase64(secret.text("/data/.dockerconfigjson")).unwrap()).unwrap()
    };
    let says = |what: &str| login().contains(what);
    let allows = |range: &str| rig.town.get("networkpolicies", "ws-shop").good().to_string().contains(range);
    let router = Router::start(&rig.site);
    rig.eventually("the password", &router, || says("old"));
    rig.site.write("password", "new");
    rig.eventually("another password", &router, || says("new"));
    yaml(LOGIN, "pull: never, allowFrom: [192.0.2.0/24]");
    rig.eventually("whom it lets in", &router, || allows("192.0.2.0/24"));
    assert_eq!(router.stop(), Some(0));
    rig.site.write("password", "third");
    yaml(LOGIN, "pull: never, allowFrom: [198.51.100.0/24]");
    let router = Router::start(&rig.site);
    rig.eventually("what changed meanwhile", &router, || says("third") && allows("198.51.100.0/24"));
    yaml("", "pull: never");
    rig.eventually("nothing to pull with", &router, || login().is_empty());
    assert!(!router.log().contains("third"), "{}", router.log());
}

#[test]
fn what_a_landscape_has_as_a_whole_is_there_again_when_somebody_takes_it_away() {
    let rig = Rig::new("", &colored("red"));
    let router = Router::start(&rig.site);
    rig.await_deployment("web");
    rig.await_deployment("other");
    let uid = |plural: &str| rig.town.get(plural, "ws-shop").body.text("/metadata/uid").to_owned();
    let take = |plural: &str| rig.town.delete(plural, "ws-shop", &serde_json::json!({})).good();
    let anew = |plural: &str, before: &str| !uid(plural).is_empty() && uid(plural) != before;
    let policy = uid("networkpolicies");
    take("networkpolicies");
    rig.eventually("another NetworkPolicy", &router, || anew("networkpolicies", &policy));
    let anchor = uid("configmaps");
    take("configmaps");
    rig.eventually("another ConfigMap", &router, || anew("configmaps", &anchor));
    let anchor = uid("configmaps");
    rig.eventually("all that it owns", &router, || {
        let of = |plural: &&str| rig.town.list(plural, "labelSelector=landscape-router/landscape=shop");
        let owned: Vec<Value> = ["deployments", "networkpolicies"].iter().flat_map(of).collect();
        owned.len() == 3 && owned.iter().all(|o| o.text("/metadata/ownerReferences/0/uid") == anchor)
    });
    assert_eq!(router.shop("/other").status, 200, "{}\n{}", rig.town.tell(), router.log());
    assert_eq!(uid("configmaps"), anchor, "{}", router.log());
}

#[test]
fn a_removed_landscape_leaves_nothing() {
    let rig = Rig::new("", &colored("red"));
    let alone = std::fs::read_to_string(rig.site.path().join("router.yaml")).unwrap();
    rig.site.write("router.yaml", &format!("{alone}  - {{ id: stall, ci: shop/ci.yml, root: shop }}\n"));
    let router = Router::start(&rig.site);
    assert_eq!(router.get("stall.localhost", "/other").status, 200, "{}\n{}", rig.town.tell(), router.log());
    let of_stall = || -> Vec<String> {
        let all = ["configmaps", "deployments", "replicasets", "pods", "secrets", "networkpolicies", "services"];
        let listed = all.iter().flat_map(|p| rig.town.list(p, "labelSelector=landscape-router/landscape=stall"));
        listed.map(|o| format!("{} {}", o.text("/kind"), o.name())).collect()
    };
    assert!(of_stall().len() > 3, "{:?}", of_stall());
    rig.site.write("router.yaml", &alone);
    rig.eventually("nothing of stall", &router, || of_stall().is_empty());
    rig.await_deployment("web");
}

#[test]
fn an_anchor_takes_all_of_its_landscape_along() {
    let rig = Rig::new("", &colored("red"));
    let router = Router::start(&rig.site);
    rig.await_deployment("web");
    rig.await_deployment("other");
    assert_eq!(router.stop(), Some(0));
    rig.town.delete("configmaps", "ws-shop", &serde_json::json!({})).good();
    rig.town.eventually("nothing of ours", || {
        let ours = |p: &str| rig.town.list(p, "labelSelector=landscape-router/instance").is_empty();
        ["deployments", "replicasets", "pods", "secrets", "networkpolicies", "configmaps"].into_iter().all(ours)
    });
}

#[test]
fn values_of_the_vault_are_in_secrets_alone() {
    const HUSH: &str = "correct-horse-7391";
    let env = "    env: { TOKEN: \"${{ vault.TOKEN }}\", PLAIN: seen }\n";
    let rig = Rig::new("vault: { file: secrets.yaml }", &ci(&[service("web", 1, "/", env)]));
    rig.site.write("secrets.yaml", &format!("TOKEN: {HUSH}\n"));
    let router = Router::start(&rig.site);
    let answer = router.shop("/env").text();
    assert!(answer.contains(&format!("TOKEN={HUSH}")) && answer.contains("PLAIN=seen"), "{answer}\n{}", router.log());
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, HUSH);
    for kind in KINDS.iter().filter(|k| k.namespaced) {
        let all = Value::Array(rig.town.list(kind.plural, "")).to_string();
        assert!(!all.contains(HUSH), "in {}: {all}", kind.plural);
        assert_eq!(all.contains(&encoded), kind.plural == "secrets", "in {}", kind.plural);
    }
    assert!(!router.log().contains(HUSH));
    // A new value reaches the pods, too.
    let before = rig.pod_names("web");
    rig.site.write("secrets.yaml", "TOKEN: other-horse\n");
    router.hangup();
    rig.eventually("the new value", &router, || router.shop("/env").text().contains("TOKEN=other-horse"));
    rig.eventually("its pod alone", &router, || {
        let now = rig.pod_names("web");
        now.len() == 1 && now != before
    });
}
