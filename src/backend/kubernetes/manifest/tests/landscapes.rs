//! What a landscape has as a whole.

use super::*;
use crate::backend::Stage;
use crate::backend::script::{self, Shell};

fn labels() -> Value {
    json!({
        "app.kubernetes.io/managed-by": "landscape-router",
        "landscape-router/instance": "landscape-router",
        "landscape-router/landscape": "4711",
    })
}

#[test]
fn everything_belongs_to_the_anchor() {
    let settings = settings();
    let mut anchor = anchor("4711", place(&settings));
    same(
        &json!(anchor),
        &json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "ws-4711",
                "namespace": "apps",
                "labels": labels(),
                "annotations": { "landscape-router/landscape": "4711" },
            },
            "data": {
                "landscape": "4711",
                "note": "Everything of this landscape belongs to this object and is deleted with it.",
            },
        }),
    );
    assert_eq!(owner(&anchor), None, "before a cluster has answered");
    anchor.metadata.uid = Some("0-1-2".into());
    let owner = owner(&anchor).unwrap();
    let place = Place { owner: Some(&owner), ..place(&settings) };
    let landscape = landscape(
        "schemaVersion: v0.4\nprepare: {steps: [{command: make}]}\nrun:\n  web:\n    image: nginx\n    env: {A: '${{ vault.PASS }}'}\n",
    );
    let spec = &landscape.services["web"];
    let login = Login { registry: "r".into(), username: "u".into(), password: "p".into() };
    let job = JobPod { landscape: &landscape, stage: Stage::Prepare, run: "abc", deadline: GRACE };
    for object in [
        json!(deployment(spec, place, 1, false, GRACE).unwrap()),
        json!(secret(spec, place).unwrap()),
        json!(pull_secret("4711", &[login], place).unwrap()),
        json!(network_policy("4711", &Callers::default(), place)),
        json!(job_pod(job, place).unwrap()),
    ] {
        same(
            &object["metadata"]["ownerReferences"],
            &json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "ws-4711", "uid": "0-1-2" }]),
        );
    }
    assert_eq!(super::anchor("4711", place).metadata.owner_references, None);
}

#[test]
fn only_its_own_pods_and_the_router_reach_a_landscape() {
    let settings = KubernetesSettings {
        allow_from: vec!["10.1.2.3/16".parse().unwrap(), "10.9.0.1/32".parse().unwrap()],
        ..settings()
    };
    let callers = Callers {
        namespace: Some("routers".into()),
        addresses: vec!["10.9.0.1/32".parse().unwrap(), "fd00::1/128".parse().unwrap()],
    };
    let policy = network_policy("4711", &callers, place(&settings));
    assert_eq!(Callers::of(&policy).as_ref(), Some(&callers));
    same(
        &json!(policy),
        &json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {
                "name": "ws-4711",
                "namespace": "apps",
                "labels": labels(),
                "annotations": {
                    "landscape-router/landscape": "4711",
                    "landscape-router/callers": "{\"namespace\":\"routers\",\"addresses\":[\"10.9.0.1/32\",\"fd00::1/128\"]}",
                },
            },
            "spec": {
                "podSelector": { "matchLabels": labels() },
                "policyTypes": ["Ingress"],
                "ingress": [{ "from": [
                    { "podSelector": { "matchLabels": labels() } },
                    {
                        "podSelector": { "matchLabels": { "app.kubernetes.io/name": "landscape-router" } },
                        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "routers" } },
                    },
                    { "ipBlock": { "cidr": "10.1.0.0/16" } },
                    { "ipBlock": { "cidr": "10.9.0.1/32" } },
                    { "ipBlock": { "cidr": "fd00::1/128" } },
                ] }],
            },
        }),
    );
}

#[test]
fn where_services_have_names_the_router_alone_reaches_them() {
    let settings = with_names();
    let found = json!(network_policy("4711", &Callers::default(), place(&settings)));
    same(
        &found["spec"]["ingress"],
        &json!([{ "from": [{ "podSelector": { "matchLabels": { "app.kubernetes.io/name": "landscape-router" } } }] }]),
    );
}

#[test]
fn where_services_have_names_these_are_found_without_their_domain() {
    let spec = web("image: nginx");
    let dns = &deployed(&spec, &with_names())["spec"]["template"]["spec"]["dnsConfig"];
    same(dns, &json!({ "searches": ["workspaces.svc.cluster.local"] }));
    assert_eq!(deployed(&spec, &settings())["spec"]["template"]["spec"].get("dnsConfig"), None);
}

#[test]
fn beside_its_workloads_the_router_is_known_without_its_namespace() {
    let settings = settings();
    for namespace in [None, Some("apps".to_owned())] {
        let callers = Callers { namespace, addresses: Vec::new() };
        let found = json!(network_policy("4711", &callers, place(&settings)));
        same(
            &found["spec"]["ingress"][0]["from"][1],
            &json!({ "podSelector": { "matchLabels": { "app.kubernetes.io/name": "landscape-router" } } }),
        );
    }
}

#[test]
fn no_pod_of_ours_passes_for_the_router() {
    let found = deployed(&web("image: nginx"), &settings());
    let labels = &found["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels.get(names::ROUTER.0), None);
}

#[test]
fn a_job_runs_once_on_the_base() {
    let landscape = landscape(
        "schemaVersion: v0.4\nprepare: {steps: [{name: build, command: 'make $(nproc)'}]}\ntest: {steps: [{command: check}]}\n\
         run:\n  web:\n    image: nginx\n    plan: 8\n  api:\n    image: nginx\n  ext:\n    network: {paths: [{path: /x, target: 'http://a.example'}]}\n",
    );
    let settings = settings();
    let job = JobPod {
        landscape: &landscape,
        stage: Stage::Prepare,
        run: "x1y2z3",
        deadline: Duration::from_millis(1_799_001),
    };
    let mut labels = labels();
    labels["landscape-router/job"] = "prepare".into();
    same(
        &json!(job_pod(job, place(&settings)).unwrap()),
        &json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "ws-job-4711-prepare-x1y2z3",
                "namespace": "apps",
                "labels": labels,
                "annotations": { "landscape-router/landscape": "4711" },
            },
            "spec": {
                "restartPolicy": "Never",
                "activeDeadlineSeconds": 1800,
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "securityContext": {
                    "supplementalGroups": [1010],
                    "fsGroup": 1010,
                    "fsGroupChangePolicy": "OnRootMismatch",
                    "seccompProfile": { "type": "RuntimeDefault" },
                },
                "volumes": [{ "name": "workspace", "persistentVolumeClaim": { "claimName": "workspace-4711" } }],
                "containers": [{
                    "name": "app",
                    "image": "registry.example/base:1",
                    "imagePullPolicy": "IfNotPresent",
                    "command": pod::literals(script::command(Shell::BashOrSh, &landscape.prepare, true)),
                    "workingDir": "/home/user/app",
                    "env": [
                        { "name": "CS_REPLICA", "value": "0" },
                        { "name": "TEAM_ID", "value": "7" },
                        { "name": "WORKSPACE_DEV_DOMAIN", "value": "4711.example.com" },
                        { "name": "WORKSPACE_ID", "value": "4711" },
                    ],
                    "resources": {
                        "limits": { "cpu": "2500m", "memory": "4Gi" },
                        "requests": { "cpu": "250m", "memory": "4Gi" },
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": false,
                        "capabilities": {
                            "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "KILL", "NET_BIND_SERVICE"],
                            "drop": ["ALL"],
                        },
                    },
                    "volumeMounts": [{ "name": "workspace", "mountPath": "/home/user/app" }],
                }],
            },
        }),
    );
    let test = job_pod(JobPod { stage: Stage::Test, ..job }, place(&settings)).unwrap();
    assert!(json!(test)["spec"]["containers"][0]["command"].as_array().unwrap().contains(&json!("check")));
    for (lacking, words) in [
        (KubernetesSettings { base: None, ..settings.clone() }, "kubernetes.base"),
        (KubernetesSettings { claim: None, ..settings.clone() }, "kubernetes.claim"),
    ] {
        let why = job_pod(job, place(&lacking)).unwrap_err();
        assert!(why.contains(words), "{why}");
    }
}
