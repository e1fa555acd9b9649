//! Services that are to run in a cluster.

use super::{CI, Folder, SHOP, only, told};
use crate::config::settings::{Attach, AttachKind, BackendKind, OnExit, Pull, WhenIdle};

/// The mistakes of these services of landscape `shop` on Kubernetes.
fn services(text: &str) -> Vec<String> {
    told(&format!("backend: kubernetes\n{SHOP}    services: {text}\n"))
}

#[test]
fn every_key_is_read() {
    let folder = Folder::new();
    let loaded = folder.check(&format!(
        "backend: kubernetes\nkubernetes:\n  kubeconfig: kube/config\n  context: prod\n  namespace: apps\n  instance: prod.1\n  \
         allowFrom: [10.9.0.0/16, 10.8.0.1]\n  base: base:1\n  bases: {{ubuntu-24.04: 'ubuntu:24.04'}}\n  claim: files-{{id}}\n  \
         imagePullSecrets: [mine]\n  pull: never\n  onExit: stop\n  allowRoot: true\n{SHOP}    services:\n      db: \
         {{attach: {{statefulSet: shop-db, namespace: data}}}}\n"
    ));
    assert!(folder.told(&loaded).is_empty(), "{:?}", folder.told(&loaded));
    let settings = loaded.settings.unwrap();
    let k = &settings.kubernetes;
    assert_eq!(k.kubeconfig, Some(folder.path().join("kube/config")));
    assert_eq!((k.context.as_deref(), k.namespace.as_deref(), &*k.instance), (Some("prod"), Some("apps"), "prod.1"));
    assert_eq!(k.allow_from, ["10.9.0.0/16".parse().unwrap(), "10.8.0.1/32".parse().unwrap()]);
    assert_eq!((k.base.as_deref(), k.bases.len(), k.claim.as_deref()), (Some("base:1"), 1, Some("files-{id}")));
    assert_eq!((&*k.image_pull_secrets, k.pull, k.on_exit), (&["mine".to_owned()][..], Pull::Never, OnExit::Stop));
    assert!(k.allow_root);
    let db = &settings.landscapes[0].policies.iter().find(|(key, _)| &*key.service == "db").unwrap().1;
    let attach = Attach { kind: AttachKind::StatefulSet, name: "shop-db".into(), namespace: Some("data".into()) };
    assert_eq!((db.backend, db.attach.as_ref()), (BackendKind::Kubernetes, Some(&attach)));
}

#[test]
fn what_is_not_said_is_usual() {
    let folder = Folder::new();
    let k = folder.check(SHOP).settings.unwrap().kubernetes;
    assert_eq!((&*k.instance, k.pull, k.on_exit), ("landscape-router", Pull::IfNotPresent, OnExit::Leave));
    assert!(k.namespace.is_none() && k.claim.is_none() && k.allow_from.is_empty() && !k.allow_root);
}

#[test]
fn names_that_a_cluster_would_refuse_are_told() {
    for (head, expected) in [
        (
            "kubernetes: { instance: 'my router' }",
            "router.yaml:1:25: error: kubernetes.instance: expected the value of a Kubernetes label, found `my router`; \
             letters, digits, `-`, `_` and `.`, at most 63, a letter or digit first and last",
        ),
        (
            "kubernetes: { namespace: a.b }",
            "router.yaml:1:26: error: kubernetes.namespace: expected the name of a namespace, found `a.b`; lower-case \
             letters, digits and `-`, at most 63",
        ),
        (
            "kubernetes: { claim: 'Files-{id}' }",
            "router.yaml:1:22: error: kubernetes.claim: expected the name of a Kubernetes object, found `Files-{id}`; \
             lower-case letters, digits, `-` and `.`",
        ),
    ] {
        assert_eq!(only(head), expected);
    }
    assert!(only("kubernetes: { imagePullSecrets: [a, B] }").contains("kubernetes.imagePullSecrets[1]"));
    assert!(only("kubernetes: { bases: { ubuntu-24.04: ' ' } }").contains("expected an image"));
    assert!(only("kubernetes: { instance: '' }").contains("kubernetes.instance"));
    assert!(only("kubernetes: { allowFrom: [10.1.0.0/8] }").contains("the network is 10.0.0.0/8"));
    assert!(only("kubernetes: { claims: x }").contains("did you mean `claim`?"));
}

#[test]
fn a_service_is_attached_to_one_workload_of_its_own() {
    assert_eq!(
        services("{web: {attach: {}}}"),
        [
            "router.yaml:5:30: error: landscapes[0].services.web.attach: expected one of `deployment` and `statefulSet`; \
             such as `attach: { deployment: shop-api }`"
        ]
    );
    assert!(services("{web: {attach: {deployment: a, statefulSet: b}}}")[0].contains("expected one of"));
    assert!(services("{web: {attach: {deployment: A}}}")[0].contains("attach.deployment: expected the name"));
    assert!(
        services("{web: {attach: {deployment: a, namespace: a.b}}}")[0].contains("expected the name of a namespace")
    );
    assert!(services("{web: {attach: {deployment: a}}, db: {attach: {statefulSet: a}}}").is_empty());
    let twice = services("{web: {attach: {deployment: a}}, db: {attach: {deployment: a}}}");
    assert!(twice[0].contains("`shop/web` is attached to it already"), "{twice:?}");
    let both = told(
        "backend: kubernetes\nkubernetes: {namespace: apps}\nlandscapes:\n  - {id: a, root: shop, services: {web: {attach: \
         {deployment: x}}}}\n  - {id: b, root: shop, services: {web: {attach: {deployment: x, namespace: apps}}}}\n",
    );
    assert!(both.len() == 1 && both[0].starts_with("router.yaml:5:") && both[0].contains("`a/web`"), "{both:?}");
}

#[test]
fn what_is_attached_runs_on_kubernetes() {
    let all = told(&format!("{SHOP}    services: {{web: {{attach: {{deployment: a}}}}}}\n"));
    assert_eq!(
        all,
        [
            "router.yaml:4:22: error: landscapes[0].services.web.attach: `web` does not run on Kubernetes; add `backend: \
             kubernetes` to the service, or remove `attach`"
        ]
    );
    assert!(
        told(&format!("{SHOP}    services: {{web: {{backend: kubernetes, attach: {{deployment: a}}}}}}\n")).is_empty()
    );
    let folder = Folder::new();
    folder.write(
        "shop/ci.yml",
        format!("{CI}  ext:\n    network: {{paths: [{{path: /x, target: 'http://a.example'}}]}}\n"),
    );
    let loaded =
        folder.check(&format!("backend: kubernetes\n{SHOP}    services: {{ext: {{attach: {{deployment: a}}}}}}\n"));
    assert!(folder.told(&loaded)[0].contains("`ext` runs nothing that a workload could stand for"));
}

#[test]
fn pods_are_not_paused() {
    assert_eq!(
        services("{web: {whenIdle: pause}}"),
        ["router.yaml:5:32: error: landscapes[0].services.web.whenIdle: pods cannot be paused; write `whenIdle: stop`"]
    );
    assert!(services("{web: {whenIdle: {pause: 1m, then: stop}}}")[0].contains("pods cannot be paused"));
    let folder = Folder::new();
    let pause = "backend: kubernetes\ndefaults: {whenIdle: pause}\nlandscapes:\n  - {id: a, root: shop}\n  - {id: b, root: \
                 shop, services: {web: {backend: docker}, db: {whenIdle: stop}}}\n  - {id: c, root: shop}\n";
    let loaded = folder.check(pause);
    // Once, for however many services.
    assert_eq!(
        folder.told(&loaded),
        [
            "router.yaml:2:22: warning: defaults.whenIdle: pods cannot be paused: what runs on Kubernetes is stopped; say \
             `whenIdle: stop` where they are configured"
        ]
    );
    let landscapes = loaded.settings.unwrap().landscapes;
    let when_idle: Vec<_> =
        landscapes.iter().flat_map(|l| l.policies.iter().map(|(_, policy)| policy.when_idle)).collect();
    let (stop, pause) = (WhenIdle::Stop, WhenIdle::Pause);
    assert_eq!(when_idle, [stop, stop, pause, stop, stop, stop]);
    let own = told("backend: kubernetes\nlandscapes:\n  - {id: a, root: shop, defaults: {whenIdle: pause}}\n");
    assert!(own.len() == 1 && own[0].contains("warning: landscapes[0].defaults.whenIdle"), "{own:?}");
    assert!(told(&format!("backend: docker\ndefaults: {{whenIdle: pause}}\n{SHOP}")).is_empty());
}

#[test]
fn a_root_in_a_claim_need_not_be_on_this_machine() {
    let folder = Folder::new();
    let landscape = "landscapes:\n  - {id: shop, ci: shop/ci.yml, root: nowhere}\n";
    let loaded = folder.check(&format!("backend: kubernetes\n{landscape}"));
    assert!(folder.told(&loaded).is_empty(), "{:?}", folder.told(&loaded));
    assert!(loaded.settings.unwrap().landscapes[0].spec.is_ok());
    // Each of its services says so, or one of them does not.
    let each = "    services: {web: {backend: kubernetes}, db: {backend: kubernetes}}\n";
    let long = "landscapes:\n  - id: shop\n    ci: shop/ci.yml\n    root: nowhere\n";
    assert!(told(&format!("{long}{each}")).is_empty());
    let one = told(&format!("backend: kubernetes\n{long}    services: {{db: {{backend: process}}}}\n"));
    assert!(one.len() == 1 && one[0].contains("there is no folder"), "{one:?}");
    // What is wrong with its ci.yml is told, not where it lies.
    folder.write("shop/ci.yml", "run: 3\n");
    let all = folder.told(&folder.check(&format!("backend: kubernetes\n{landscape}")));
    assert!(all.len() == 1 && all[0].starts_with("shop/ci.yml:1:6: error"), "{all:?}");
}

#[test]
fn beside_state_lies_no_root_of_this_machine() {
    let folder = Folder::new();
    folder.write("ci.yml", CI);
    let landscape = "landscapes:\n  - {id: shop, ci: ci.yml}\n";
    assert!(folder.told(&folder.check(&format!("backend: kubernetes\n{landscape}"))).is_empty());
    assert!(folder.told(&folder.check(landscape))[0].contains("lies inside this root"));
}
