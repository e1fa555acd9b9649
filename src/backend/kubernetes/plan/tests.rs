//! What is asked for, and what is left over.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::config::{Purpose, load};

const ROUTER: &str = "backend: kubernetes
kubernetes: { namespace: apps, claim: 'files-{id}' }
vault: { file: secrets.yaml }
state: state
landscapes:
  - { id: shop, ci: shop.yml, root: root, services: { theirs: { attach: { statefulSet: db, namespace: data } }, here: { backend: process } } }
  - { id: blog, ci: blog.yml }
  - { id: bad, ci: bad.yml }
";

const SHOP: &str = "schemaVersion: v0.4
run:
  web: { image: nginx, env: { PASS: '${{ vault.PASS }}' } }
  base: { steps: [{ command: x }] }
  theirs: { image: nginx }
  here: { steps: [{ command: x }] }
  ext: { network: { paths: [{ path: /x, target: 'http://a.example' }] } }
";

fn settings(folder: &Path) -> Settings {
    for (name, text) in [
        ("router.yaml", ROUTER),
        ("shop.yml", SHOP),
        (
            "blog.yml",
            "schemaVersion: v0.4\nrun:\n  ext: { network: { paths: [{ path: /x, target: 'http://a.example' }] } }\n",
        ),
        ("bad.yml", "run: 3\n"),
        ("secrets.yaml", "PASS: hunter2\n"),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    std::fs::create_dir_all(folder.join("root")).unwrap();
    let loaded = load(&folder.join("router.yaml"), Purpose::Check);
    loaded.settings.unwrap_or_else(|| panic!("{:?}", loaded.mistakes))
}

fn live(objects: &[(Kind, Value)]) -> Live {
    let mut live = Live::default();
    for (kind, object) in objects {
        live.add(*kind, &mut json!({ "items": [object] }));
    }
    live
}

/// An object of ours; without a service, of a landscape as a whole.
fn ours(name: &str, landscape: &str, service: Option<&str>) -> Value {
    let mut annotations = json!({ "landscape-router/landscape": landscape });
    if let Some(service) = service {
        annotations["landscape-router/service"] = service.into();
    }
    json!({ "metadata": { "name": name, "uid": format!("uid of {name}"), "annotations": annotations } })
}

fn named(wanted: &Wanted) -> Vec<(&'static str, &str)> {
    wanted.objects.iter().map(|o| (o.kind.word(), &*o.name)).collect()
}

#[test]
fn each_service_of_the_cluster_has_its_objects() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let wanted = wanted(&settings, "apps", &[], &Live::default());
    assert_eq!(
        named(&wanted),
        [
            ("ConfigMap", "ws-shop"),
            ("NetworkPolicy", "ws-shop"),
            ("Secret", "ws-server-shop-web"),
            ("Deployment", "ws-server-shop-web"),
        ]
    );
    assert!(wanted.objects.iter().all(|o| o.value["metadata"]["namespace"] == "apps"));
    let keys = |all: &[(ServiceKey, String)]| all.iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>();
    assert_eq!(keys(&wanted.not_runnable), ["shop/base"], "it has no base image");
    assert_eq!(wanted.attached.iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>(), ["shop/theirs"]);
    assert_eq!(wanted.unknown.iter().map(|(id, _)| &**id).collect::<Vec<_>>(), ["bad"]);
    let deployment = &wanted.objects[3].value;
    assert_eq!((&deployment["spec"]["replicas"], deployment["metadata"].get("ownerReferences")), (&json!(0), None));
}

#[test]
fn what_nobody_configures_is_kept_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let mut deployment = ours("ws-server-shop-web", "shop", Some("web"));
    deployment["spec"] = json!({ "replicas": 3, "minReadySeconds": 86_400 });
    let mut policy = ours("ws-shop", "shop", None);
    policy["metadata"]["annotations"]["landscape-router/callers"] = r#"{"namespace":"routers","addresses":[]}"#.into();
    let live = live(&[
        (Kind::Deployment, deployment),
        (Kind::ConfigMap, ours("ws-shop", "shop", None)),
        (Kind::NetworkPolicy, policy),
    ]);
    let wanted = wanted(&settings, "apps", &[], &live);
    let spec = &wanted.objects[3].value["spec"];
    assert_eq!((&spec["replicas"], &spec["minReadySeconds"]), (&json!(3), &json!(86_400)), "it rolls");
    assert!(wanted.objects[1..].iter().all(|o| o.value["metadata"]["ownerReferences"][0]["uid"] == "uid of ws-shop"));
    let callers = wanted.objects[1].value["spec"]["ingress"].to_string();
    assert!(callers.contains("routers"), "the router may run elsewhere than the plan is made: {callers}");
}

#[test]
fn what_nobody_asks_for_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let live = live(&[
        (Kind::ConfigMap, ours("ws-shop", "shop", None)),
        (Kind::Secret, ours("ws-server-shop-web", "shop", Some("web"))),
        // No longer: its registries, a service, one that runs elsewhere now, a landscape without services there.
        (Kind::Secret, ours("ws-pull-shop", "shop", None)),
        (Kind::Deployment, ours("ws-server-shop-gone", "shop", Some("gone"))),
        (Kind::Deployment, ours("ws-server-shop-here", "shop", Some("here"))),
        (Kind::Deployment, ours("ws-server-shop-theirs", "shop", Some("theirs"))),
        (Kind::ConfigMap, ours("ws-blog", "blog", None)),
        (Kind::ConfigMap, ours("ws-former", "former", None)),
        // Nothing is known of these two.
        (Kind::Deployment, ours("ws-server-shop-base", "shop", Some("base"))),
        (Kind::Deployment, ours("ws-server-bad-web", "bad", Some("web"))),
    ]);
    let removed: Vec<_> = removals(&wanted(&settings, "apps", &[], &live), &live, None)
        .into_iter()
        .map(|change| (change.kind, change.name, change.landscape, change.service))
        .collect();
    let expected = [
        ("ConfigMap", "ws-blog", "blog", None),
        ("ConfigMap", "ws-former", "former", None),
        ("Secret", "ws-pull-shop", "shop", None),
        ("Deployment", "ws-server-shop-gone", "shop", Some("gone")),
        ("Deployment", "ws-server-shop-here", "shop", Some("here")),
        ("Deployment", "ws-server-shop-theirs", "shop", Some("theirs")),
    ];
    let expected = expected.map(|(k, n, l, s)| (k, n.to_owned(), l.to_owned(), s.map(str::to_owned)));
    assert_eq!(removed, expected);
}

#[test]
fn a_plan_in_json_holds_no_secret() {
    let before = json!({ "kind": "Secret", "data": { "PASS": "aHVudGVyMg==" } });
    let change = Change {
        action: Action::Change,
        kind: "Secret",
        name: "ws-server-shop-web".into(),
        namespace: None,
        landscape: "shop".into(),
        service: Some("web".into()),
        fields: diff::fields(&before, &json!({ "kind": "Secret", "data": { "PASS": "b3RoZXI=" } })),
    };
    assert_eq!(
        json!(change),
        json!({
            "action": "change", "kind": "Secret", "name": "ws-server-shop-web", "landscape": "shop", "service": "web",
            "fields": [{ "path": "data.PASS", "hidden": true }],
        })
    );
}
