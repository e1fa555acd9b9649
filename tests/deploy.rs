//! The files below `deploy/kubernetes`, as kubectl and helm make objects of them. Without these programs the tests
//! say that they are skipped.
//!
//! `helm` may be the program or, for machines without it, the Python package `helm-python-sdk`, which holds the same
//! engine.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes")
}

/// What the program says; `None`: it is not installed.
fn said(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{command:?}: {error}"),
    }
}

fn objects(output: Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: Vec<Value> = serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    all.into_iter().filter(|object| !object.is_null()).collect()
}

/// The objects of a kustomization.
fn kustomized(at: &Path) -> Option<Vec<Value>> {
    let version = said(Command::new("kubectl").args(["version", "--client", "--output", "json"]));
    let version: Value = version.and_then(|o| serde_json::from_slice(&o.stdout).ok()).unwrap_or_default();
    // Older ones say nothing of it, and know no components.
    let version =
        version["kustomizeVersion"].as_str().and_then(|v| v.strip_prefix('v')?.split('.').next()?.parse().ok());
    if version.is_none_or(|major: u32| major < 5) {
        eprintln!("skipped: kubectl with kustomize 5 is not installed");
        return None;
    }
    said(Command::new("kubectl").args(["kustomize", "--load-restrictor=LoadRestrictionsNone"]).arg(at)).map(objects)
}

const RENDER: &str = "
import json, sys
try:
    import helm_python as helm
except ImportError:
    sys.exit(7)
chart, values = sys.argv[1], json.loads(sys.argv[2])
errors = [m for m in helm.lint(chart)['messages'] if m['severity'] > 1]
assert not errors, errors
with helm.Chart.load(chart) as chart:
    chart.validate_schema(values)
    for name, text in chart.render(values, name='landscape-router', namespace='landscapes').items():
        if not name.endswith('NOTES.txt'):
            print('---')
            print(text)
";

/// What a release of the chart says, with these values.
fn rendered(values: &Value) -> Option<Output> {
    let chart = folder().join("chart");
    let mut helm = Command::new("helm");
    helm.args(["template", "landscape-router"]).arg(&chart).args(["-n", "landscapes", "-f"]);
    let given = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(given.path(), values.to_string()).unwrap();
    if let Some(output) = said(helm.arg(given.path())) {
        return Some(output);
    }
    let mut python = Command::new("python3");
    let output = said(python.args(["-c", RENDER]).arg(&chart).arg(values.to_string()));
    let output = output.filter(|output| output.status.code() != Some(7));
    if output.is_none() {
        eprintln!("skipped: neither helm nor Python's helm-python-sdk is installed");
    }
    output
}

fn one<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found: Vec<_> = objects.iter().filter(|o| o["kind"] == kind && o["metadata"]["name"] == name).collect();
    assert_eq!(found.len(), 1, "{kind} {name}");
    found[0]
}

fn ours<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    one(objects, kind, "landscape-router")
}

/// What `check --strict` says about the files of a ConfigMap, where the router sees them.
fn check(config: &Value) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in config["data"].as_object().unwrap() {
        std::fs::write(dir.path().join(name), text.as_str().unwrap()).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_landscape-router"));
    let output = command.args(["check", "--strict", "--config"]).arg(dir.path().join("router.yaml")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

const PROD: &str = "
namespace: prod
resources: [DEPLOY/base]
components: [DEPLOY/monitoring]
images: [{ name: registry.example.com/landscape-router, newName: r.example.com/wake, newTag: '2' }]
configMapGenerator: [{ name: landscape-router, behavior: replace, files: [router.yaml] }]
";

/// The example landscape of the base, for the chart.
fn example() -> Value {
    let ci = std::fs::read_to_string(folder().join("base/hello.ci.yml")).unwrap();
    json!({ "router": { "landscapes": [{ "id": "hello", "ci": "hello.ci.yml" }] }, "files": { "hello.ci.yml": ci } })
}

#[test]
fn the_base_holds_a_configuration_without_a_mistake_and_reads_it_where_it_is_mounted() {
    let Some(objects) = kustomized(&folder().join("base")) else { return };
    // The name that the Deployment mounts: with a hash in it, every change would start the router anew.
    check(ours(&objects, "ConfigMap"));
    assert!(objects.iter().all(|o| o["kind"] == "Namespace" || o["metadata"]["namespace"] == "landscapes"));
    let pod = &ours(&objects, "Deployment")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["args"], json!(["run", "--config", "/etc/landscape-router/router.yaml"]));
    // `kubectl exec` finds it beside an init container, and a mesh's.
    let annotations = &ours(&objects, "Deployment")["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations["kubectl.kubernetes.io/default-container"], container["name"]);
    let mounts = container["volumeMounts"].as_array().unwrap();
    let config = mounts.iter().find(|m| m["mountPath"] == "/etc/landscape-router").unwrap();
    assert!(config.get("subPath").is_none());
    let named = |v: &&Value| v["name"] == config["name"];
    let volume = pod["volumes"].as_array().unwrap().iter().find(named).unwrap();
    assert_eq!(volume["configMap"]["name"], "landscape-router");
}

#[test]
fn routers_are_several_and_the_last_one_is_never_taken() {
    let Some(objects) = kustomized(&folder().join("base")) else { return };
    let spec = &ours(&objects, "Deployment")["spec"];
    assert!(spec["replicas"].as_u64().unwrap() > 1);
    let rolling = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } });
    assert_eq!(spec["strategy"], rolling);
    let labels = &spec["template"]["metadata"]["labels"];
    let selects = |selector: &Value| selector.as_object().unwrap().iter().all(|(key, value)| &labels[key] == value);
    let budget = &ours(&objects, "PodDisruptionBudget")["spec"];
    assert!(budget["maxUnavailable"] == 1 && selects(&budget["selector"]["matchLabels"]), "{budget}");
    let pod = &spec["template"]["spec"];
    let spread = pod["topologySpreadConstraints"].as_array().unwrap();
    assert!(spread.len() == 2 && spread.iter().all(|s| selects(&s["labelSelector"]["matchLabels"])), "{spread:?}");
    let container = &pod["containers"][0];
    // By this they tell each other apart; the name of the host would be the node's on its network.
    let env = container["env"].as_array().unwrap();
    let name = env.iter().find(|e| e["name"] == "POD_NAME").unwrap();
    assert_eq!(name["valueFrom"]["fieldRef"]["fieldPath"], "metadata.name");
    // Each has a memory of its own: on one folder a second router does not start.
    let config: Value =
        serde_saphyr::from_str(ours(&objects, "ConfigMap")["data"]["router.yaml"].as_str().unwrap()).unwrap();
    let at = Path::new(config["state"].as_str().unwrap());
    let mounts = container["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|m| at.starts_with(m["mountPath"].as_str().unwrap())).unwrap();
    let volume = pod["volumes"].as_array().unwrap().iter().find(|v| v["name"] == mount["name"]).unwrap();
    assert!(volume["emptyDir"].is_object(), "{volume}");
    // Its end: until nobody leads here any more, the default of `drainTimeout`, and 4 s for Leases and admin listener.
    let pause: u64 = container["lifecycle"]["preStop"]["exec"]["command"][1].as_str().unwrap().parse().unwrap();
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() >= pause + 30 + 4);
}

/// What a Role grants of a resource.
fn verbs<'a>(role: &'a Value, group: &str, resource: &str) -> Vec<&'a str> {
    let has = |list: &Value, wanted: &str| list.as_array().unwrap().iter().any(|one| one == wanted);
    let rules = role["rules"].as_array().unwrap().iter();
    let rules = rules.filter(|rule| has(&rule["apiGroups"], group) && has(&rule["resources"], resource));
    let mut all: Vec<&str> =
        rules.flat_map(|rule| rule["verbs"].as_array().unwrap()).map(|verb| verb.as_str().unwrap()).collect();
    all.sort_unstable();
    all
}

/// Whether the router gets along with them, `tests/kubernetes/suite/rights.rs` tries.
#[test]
fn leases_are_the_routers_own_and_secrets_are_never_read() {
    let Some(objects) = kustomized(&folder().join("base")) else { return };
    let role = ours(&objects, "Role");
    assert_eq!(
        verbs(role, "coordination.k8s.io", "leases"),
        ["create", "delete", "get", "list", "patch", "update", "watch"]
    );
    assert_eq!(verbs(role, "", "secrets"), ["create", "delete", "patch"]);
    // Nothing reaches over namespaces, and nothing is granted by a star.
    assert!(objects.iter().all(|o| !o["kind"].as_str().unwrap().starts_with("ClusterRole")));
    assert!(!role["rules"].to_string().contains('*'));
    let elsewhere = kustomized(&folder().join("attach")).unwrap();
    let role = one(&elsewhere, "Role", "landscape-router-attach");
    assert!(verbs(role, "coordination.k8s.io", "leases").is_empty(), "Leases are where the router's workloads are");
}

#[test]
fn monitoring_and_rights_elsewhere_are_added_by_an_overlay() {
    let dir = tempfile::tempdir().unwrap();
    let overlay = |name: &str, text: &str| {
        let at = dir.path().join(name);
        std::fs::create_dir(&at).unwrap();
        std::fs::write(at.join("router.yaml"), "landscapes: []\n").unwrap();
        let up = format!("{}{}", "../".repeat(at.canonicalize().unwrap().components().count()), folder().display());
        std::fs::write(at.join("kustomization.yaml"), text.replace("DEPLOY", &up.replace("//", "/"))).unwrap();
        at
    };
    let at = overlay("prod", PROD);
    let Some(objects) = kustomized(&at) else { return };
    assert_eq!(one(&objects, "Namespace", "prod")["metadata"]["name"], "prod");
    assert_eq!(ours(&objects, "RoleBinding")["subjects"][0]["namespace"], "prod");
    let pod = &ours(&objects, "Deployment")["spec"]["template"]["spec"];
    for container in ["initContainers", "containers"] {
        assert_eq!(pod[container][0]["image"], "r.example.com/wake:2", "{container}");
    }
    let data = &ours(&objects, "ConfigMap")["data"];
    assert_eq!(data, &json!({ "router.yaml": "landscapes: []\n" }), "none of the example's files is left");
    assert_eq!((pod["volumes"].as_array().unwrap().len(), pod["containers"].as_array().unwrap().len()), (5, 1));
    let monitor = &ours(&objects, "ServiceMonitor")["spec"];
    let service = one(&objects, "Service", "landscape-router-admin");
    for (label, value) in monitor["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&service["metadata"]["labels"][label], value, "{label}");
        assert!(
            ours(&objects, "Service")["metadata"]["labels"][label] != *value || label.ends_with("/name"),
            "one only"
        );
    }
    let at = overlay("search", "namespace: search\nresources: [DEPLOY/attach]\n");
    let objects = kustomized(&at).unwrap();
    let binding = one(&objects, "RoleBinding", "landscape-router-attach");
    assert_eq!(binding["metadata"]["namespace"], "search");
    assert_eq!(binding["subjects"][0]["namespace"], "landscapes", "where the router is");
}

#[test]
fn the_chart_makes_what_the_base_does() {
    let Some(output) = rendered(&example()) else { return };
    let chart = objects(output);
    check(ours(&chart, "ConfigMap"));
    let Some(base) = kustomized(&folder().join("base")) else { return };
    let config = |objects: &[Value]| -> Value {
        serde_saphyr::from_str(ours(objects, "ConfigMap")["data"]["router.yaml"].as_str().unwrap()).unwrap()
    };
    assert_eq!(config(&chart), config(&base));
    for kind in
        ["Role", "RoleBinding", "ServiceAccount", "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"]
    {
        assert_eq!(bare(ours(&chart, kind)), bare(ours(&base, kind)), "{kind}");
    }
    let kinds = |objects: &[Value]| {
        let mut kinds: Vec<String> = objects.iter().map(|o| o["kind"].as_str().unwrap().to_owned()).collect();
        // Helm makes the namespace by `--create-namespace`.
        kinds.retain(|kind| kind != "Namespace");
        kinds.sort();
        kinds
    };
    assert_eq!(kinds(&chart), kinds(&base));
}

#[test]
fn the_chart_grants_names_as_their_overlay_does() {
    let mut values = example();
    values["rbac"] = json!({ "names": true });
    let Some(output) = rendered(&values) else { return };
    let chart = objects(output);
    let Some(overlay) = kustomized(&folder().join("names")) else { return };
    for (kind, field) in [("Role", "rules"), ("RoleBinding", "subjects"), ("RoleBinding", "roleRef")] {
        let [chart, overlay] = [&chart, &overlay].map(|objects| one(objects, kind, "landscape-router-names"));
        assert_eq!(chart[field], overlay[field]);
        assert_eq!(chart["metadata"]["namespace"], overlay["metadata"]["namespace"]);
    }
}

/// Without what tells releases apart, and what helm and kustomize say of themselves.
fn bare(object: &Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|key, value| {
                    !matches!(
                        key.as_str(),
                        "app.kubernetes.io/instance" | "app.kubernetes.io/managed-by" | "app.kubernetes.io/version"
                    ) && key != "helm.sh/chart"
                        // The default, which the chart states.
                        && !(key == "imagePullPolicy" && *value == "IfNotPresent")
                });
                fields.values_mut().for_each(strip);
            }
            Value::Array(all) => all.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut object = object.clone();
    strip(&mut object);
    object
}

#[test]
fn every_value_of_the_chart_does_something_and_no_other_is_taken() {
    let values = json!({
        "fullnameOverride": "wake",
        "image": { "repository": "r.example.com/wake", "tag": "2", "pullPolicy": "Always" },
        "imagePullSecrets": [{ "name": "pull" }],
        "router": { "kubernetes": { "namespace": "work", "names": { "namespace": "ws" } }, "private": { "egress": false }, "landscapes": [] },
        "files": { "a.ci.yml": "schemaVersion: v0.4\n" },
        "vaultSecret": "keys",
        "serviceAccount": { "annotations": { "a": "b" } },
        "replicas": 1,
        "rbac": { "attachNamespaces": ["search", "shop"], "names": true },
        "service": { "type": "LoadBalancer", "port": 8000, "annotations": { "a": "b" }, "externalTrafficPolicy": "Local" },
        "podDisruptionBudget": { "enabled": false },
        "monitoring": { "enabled": true, "tokenSecret": "t", "namespace": "prom", "labels": { "release": "p" } },
        "state": { "existingClaim": "memory" },
        "terminationGracePeriodSeconds": 200,
        "podAnnotations": { "p": "q" }, "podLabels": { "l": "m" }, "nodeSelector": { "n": "o" },
        "tolerations": [{ "operator": "Exists" }], "affinity": { "nodeAffinity": {} }, "priorityClassName": "high",
        "env": [{ "name": "LANDSCAPE_ROUTER_LOG", "value": "debug" }],
    });
    let Some(output) = rendered(&values) else { return };
    let objects = objects(output);
    let pod = &one(&objects, "Deployment", "wake")["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "r.example.com/wake:2");
    assert_eq!(pod["initContainers"][0]["image"], "r.example.com/wake:2");
    let text = json!(objects).to_string();
    for expected in [
        r#""claimName":"memory""#,
        r#""secretName":"keys""#,
        r#""secretName":"t""#,
        r#""kubernetes.io/metadata.name":"prom""#,
        r#""externalTrafficPolicy":"Local""#,
        r#""terminationGracePeriodSeconds":200"#,
        r#""imagePullPolicy":"Always""#,
        r#""imagePullSecrets":[{"name":"pull"}]"#,
        r#""priorityClassName":"high""#,
        r#""nodeSelector":{"n":"o"}"#,
        r#""release":"p""#,
        r#""p":"q""#,
        r#""l":"m""#,
    ] {
        assert!(text.contains(expected), "{expected}");
    }
    assert_eq!(one(&objects, "Role", "wake")["metadata"]["namespace"], "work");
    let binding = one(&objects, "RoleBinding", "wake");
    assert_eq!(
        (&binding["metadata"]["namespace"], &binding["subjects"][0]["namespace"]),
        (&json!("work"), &json!("landscapes"))
    );
    // One alone may keep its folder; the next one waits for it.
    let spec = &one(&objects, "Deployment", "wake")["spec"];
    assert_eq!((&spec["replicas"], &spec["strategy"]), (&json!(1), &json!({ "type": "Recreate" })));
    let names = one(&objects, "Role", "wake-names");
    assert_eq!(names["metadata"]["namespace"], "ws");
    assert_eq!(one(&objects, "RoleBinding", "wake-names")["subjects"], binding["subjects"]);
    let attached: Vec<_> =
        objects.iter().filter(|o| o["metadata"]["name"] == "wake-attach" && o["kind"] == "Role").collect();
    assert_eq!(attached.iter().map(|o| &o["metadata"]["namespace"]).collect::<Vec<_>>(), ["search", "shop"]);
    let config = one(&objects, "ConfigMap", "wake")["data"]["router.yaml"].as_str().unwrap();
    let config: Value = serde_saphyr::from_str(config).unwrap();
    assert_eq!(
        config["kubernetes"],
        json!({ "namespace": "work", "names": { "namespace": "ws" }, "instance": "wake" })
    );
    assert_eq!((&config["private"], &config["listen"]["adminRemote"]), (&json!({ "egress": false }), &json!(true)));
    assert!(objects.iter().all(|o| o["kind"] != "PodDisruptionBudget"));
    for wrong in [
        json!({ "replicas": 0 }),
        json!({ "state": { "existingClaim": "memory" } }),
        json!({ "files": { "router.yaml": "x" } }),
        json!({ "image": { "tagg": "x" } }),
    ] {
        assert!(!rendered(&wrong).unwrap().status.success(), "{wrong}");
    }
}
