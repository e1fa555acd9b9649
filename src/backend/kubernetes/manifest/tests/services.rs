//! A service as a Deployment.

use super::*;
use crate::backend::script::{self, Shell};
use crate::landscape::Step;

/// The command line of one step, its dollars doubled where Kubernetes would read them.
fn stepped(shell: Shell, command: &str) -> Value {
    let step = Step { name: None, command: command.into() };
    json!(pod::literals(script::command(shell, &[step], false)))
}

#[test]
fn a_reactive_is_the_base_on_the_shared_file_system() {
    let spec = web("plan: 8\nsteps: [{command: 'echo $(id -u) $HOME'}]\nenv: {A: 'x $(B) $$', B: y}\n\
         network: {ports: [{port: 3000}, {port: 9000}], paths: [{port: 3000, path: /}]}");
    let expected = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "ws-server-4711-web",
            "namespace": "apps",
            "labels": {
                "app.kubernetes.io/managed-by": "landscape-router",
                "landscape-router/instance": "landscape-router",
                "landscape-router/landscape": "4711",
                "landscape-router/service": "web",
            },
            "annotations": {
                "landscape-router/landscape": "4711",
                "landscape-router/service": "web",
                "landscape-router/template": "TEMPLATE",
            },
        },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": {
                "app.kubernetes.io/managed-by": "landscape-router",
                "landscape-router/instance": "landscape-router",
                "landscape-router/landscape": "4711",
                "landscape-router/service": "web",
            } },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "100%", "maxUnavailable": 0 } },
            "minReadySeconds": 0,
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 1,
            "template": {
                "metadata": {
                    "labels": {
                        "app.kubernetes.io/managed-by": "landscape-router",
                        "landscape-router/instance": "landscape-router",
                        "landscape-router/landscape": "4711",
                        "landscape-router/service": "web",
                        "landscape-router/digest": spec.run_digest().0,
                    },
                    "annotations": { "landscape-router/landscape": "4711", "landscape-router/service": "web" },
                },
                "spec": {
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "terminationGracePeriodSeconds": 11,
                    "securityContext": {
                        "supplementalGroups": [1010],
                        "fsGroup": 1010,
                        "fsGroupChangePolicy": "OnRootMismatch",
                        "seccompProfile": { "type": "RuntimeDefault" },
                    },
                    "volumes": [
                        { "name": "workspace", "persistentVolumeClaim": { "claimName": "workspace-4711" } },
                    ],
                    "containers": [{
                        "name": "app",
                        "image": "registry.example/base:1",
                        "imagePullPolicy": "IfNotPresent",
                        "lifecycle": { "preStop": { "sleep": { "seconds": 1 } } },
                        "command": stepped(Shell::BashOrSh, "echo $(id -u) $HOME"),
                        "workingDir": "/home/user/app",
                        "env": [
                            { "name": "A", "value": "x $$(B) $$$$" },
                            { "name": "B", "value": "y" },
                            { "name": "CS_SERVER", "value": "web" },
                            { "name": "PORT", "value": "3000" },
                            { "name": "TEAM_ID", "value": "7" },
                            { "name": "WORKSPACE_DEV_DOMAIN", "value": "4711.example.com" },
                            { "name": "WORKSPACE_ID", "value": "4711" },
                        ],
                        "ports": [
                            { "containerPort": 3000, "protocol": "TCP" },
                            { "containerPort": 9000, "protocol": "TCP" },
                        ],
                        "startupProbe": {
                            "tcpSocket": { "port": 3000 },
                            "periodSeconds": 1,
                            "timeoutSeconds": 2,
                            "failureThreshold": i32::MAX,
                        },
                        "readinessProbe": {
                            "tcpSocket": { "port": 3000 },
                            "periodSeconds": 10,
                            "timeoutSeconds": 2,
                            "failureThreshold": 2,
                        },
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
            },
        },
    });
    let mut found = deployed(&spec, &settings());
    let template = &mut found["metadata"]["annotations"]["landscape-router/template"];
    assert_eq!(template.as_str().map(str::len), Some(16));
    *template = "TEMPLATE".into();
    assert!(found.to_string().contains("echo $$(id -u) $HOME"), "{found}");
    same(&found, &expected);
}

#[test]
fn an_image_keeps_its_entry_point_and_its_own_port() {
    let spec = web("image: nginx:1.27\ncommand: [nginx, -g, 'daemon off; $(x)']\nnetwork: {ports: [{port: 80}]}");
    let found = deployed(&spec, &KubernetesSettings { base: None, claim: None, ..settings() });
    same(
        &found["spec"]["template"]["spec"],
        &json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 11,
            "securityContext": { "supplementalGroups": [1010], "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "app",
                "image": "nginx:1.27",
                "imagePullPolicy": "IfNotPresent",
                "lifecycle": { "preStop": { "sleep": { "seconds": 1 } } },
                "args": ["nginx", "-g", "daemon off; $$(x)"],
                "env": [
                    { "name": "CS_SERVER", "value": "web" },
                    { "name": "TEAM_ID", "value": "7" },
                    { "name": "WORKSPACE_DEV_DOMAIN", "value": "4711.example.com" },
                    { "name": "WORKSPACE_ID", "value": "4711" },
                ],
                "ports": [{ "containerPort": 80, "protocol": "TCP" }],
                "startupProbe": {
                    "tcpSocket": { "port": 80 },
                    "periodSeconds": 1,
                    "timeoutSeconds": 2,
                    "failureThreshold": i32::MAX,
                },
                "readinessProbe": {
                    "tcpSocket": { "port": 80 },
                    "periodSeconds": 10,
                    "timeoutSeconds": 2,
                    "failureThreshold": 2,
                },
                "resources": {
                    "limits": { "cpu": "1", "memory": "1Gi" },
                    "requests": { "cpu": "100m", "memory": "1Gi" },
                },
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": {
                        "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "KILL", "NET_BIND_SERVICE"],
                        "drop": ["ALL"],
                    },
                },
            }],
        }),
    );
}

#[test]
fn a_custom_base_runs_its_steps_in_its_own_shell() {
    let spec = web("image: node:22\nsteps: [{command: node .}]\n\
                    volumeMounts: [{workspacePath: data, mountPath: /data}, {workspacePath: ., mountPath: /all}]");
    let settings = KubernetesSettings { base: None, claim: Some("files".into()), ..settings() };
    let found = deployed(&spec, &settings);
    same(&app(&found)["command"], &stepped(Shell::Sh, "node ."));
    assert!(app(&found).get("workingDir").is_none() && app(&found).get("args").is_none());
    // One claim for all landscapes: each sees its own folder alone.
    same(
        &app(&found)["volumeMounts"],
        &json!([
            { "name": "workspace", "mountPath": "/data", "subPath": "4711/data" },
            { "name": "workspace", "mountPath": "/all", "subPath": "4711" },
        ]),
    );
    same(
        &found["spec"]["template"]["spec"]["volumes"],
        &json!([{ "name": "workspace", "persistentVolumeClaim": { "claimName": "files" } }]),
    );
}

#[test]
fn a_claim_of_its_own_is_the_root() {
    let spec = web(
        "image: node:22\nvolumeMounts: [{workspacePath: data, mountPath: /data}, {workspacePath: ., mountPath: /all}]",
    );
    same(
        &app(&deployed(&spec, &settings()))["volumeMounts"],
        &json!([
            { "name": "workspace", "mountPath": "/data", "subPath": "data" },
            { "name": "workspace", "mountPath": "/all" },
        ]),
    );
}

#[test]
fn a_mount_may_take_the_place_of_the_root() {
    let spec = web("steps: [{command: x}]\nvolumeMounts: [{workspacePath: app, mountPath: /home/user/app}]");
    same(
        &app(&deployed(&spec, &settings()))["volumeMounts"],
        &json!([{ "name": "workspace", "mountPath": "/home/user/app", "subPath": "app" }]),
    );
}

#[test]
fn a_named_base_is_one_of_those_listed_or_an_image() {
    let image = |base: &str| {
        let spec = web(&format!("baseImage: {base}\nsteps: [{{command: x}}]"));
        app(&deployed(&spec, &settings()))["image"].clone()
    };
    assert_eq!(image("ubuntu-24.04"), "registry.example/ubuntu:24.04");
    assert_eq!(image("debian"), "debian");
}

#[test]
fn who_is_not_root_keeps_no_more_than_a_strict_namespace_admits() {
    let context = |lines: &str| {
        let spec = web(&format!("image: nginx\n{lines}"));
        let settings = KubernetesSettings { allow_root: true, ..settings() };
        app(&deployed(&spec, &settings))["securityContext"].clone()
    };
    same(
        &context("runAsUser: 1000\nrunAsGroup: 2000"),
        &json!({
            "allowPrivilegeEscalation": false,
            "capabilities": { "add": ["NET_BIND_SERVICE"], "drop": ["ALL"] },
            "runAsUser": 1000,
            "runAsGroup": 2000,
            "runAsNonRoot": true,
        }),
    );
    let root = context("runAsUser: 0");
    assert_eq!((&root["runAsUser"], root.get("runAsNonRoot")), (&json!(0), None));
    assert_eq!(root["capabilities"]["add"].as_array().map(Vec::len), Some(7));
    let group = context("runAsGroup: 2000");
    assert_eq!((group.get("runAsUser"), &group["runAsGroup"]), (None, &json!(2000)));
}

#[test]
fn the_probes_are_of_the_health_endpoint() {
    let probe = |endpoint: &str| {
        let spec = web(&format!("image: nginx\nhealthEndpoint: {endpoint}\nnetwork: {{ports: [{{port: 80}}]}}"));
        let found = deployed(&spec, &settings());
        let (startup, readiness) = (&app(&found)["startupProbe"], &app(&found)["readinessProbe"]);
        assert_eq!((&startup["httpGet"], &startup["tcpSocket"]), (&readiness["httpGet"], &readiness["tcpSocket"]));
        (readiness.clone(), app(&found)["ports"].clone())
    };
    let (http, ports) = probe("http://localhost:8081/health?full=1");
    same(
        &http,
        &json!({
            "httpGet": { "port": 8081, "path": "/health?full=1", "scheme": "HTTP" },
            "periodSeconds": 10, "timeoutSeconds": 2, "failureThreshold": 2,
        }),
    );
    // The router probes it as well, so that it has to reach it.
    assert!(ports.as_array().unwrap().iter().any(|p| p["containerPort"] == 8081), "{ports}");
    assert_eq!(probe("https://127.0.0.1:80/").0["httpGet"]["scheme"], "HTTPS");
    same(&probe("tcp://localhost:81").0["tcpSocket"], &json!({ "port": 81 }));
}

#[test]
fn plans_become_limits_that_kubernetes_writes_the_same() {
    let written = |cpu, memory| json!(pod::resources(cpu, memory));
    let limits = |cpu, memory| {
        let all = written(cpu, memory);
        (all["limits"].clone(), all["requests"]["cpu"].clone())
    };
    assert_eq!(limits(0.05, 100 << 20), (json!({ "cpu": "50m", "memory": "100Mi" }), json!("10m")));
    assert_eq!(limits(16.0, 1_000_001), (json!({ "cpu": "16", "memory": "6Mi" }), json!("1600m")));
    assert_eq!(limits(0.0, 1 << 40), (json!({ "cpu": "10m", "memory": "1024Gi" }), json!("10m")));
    assert_eq!(limits(20.0, 7_000_001), (json!({ "cpu": "20", "memory": "7000001" }), json!("2")));
    // As many as there are.
    assert_eq!(limits(f64::INFINITY, 8 << 10 << 10), (json!({ "memory": "8Mi" }), json!("10m")));
    assert_eq!(written(1.0, u64::MAX)["limits"]["memory"], i64::MAX.to_string());
}

#[test]
fn while_rolling_no_old_pod_is_retired_by_kubernetes() {
    let spec = web("image: nginx");
    let settings = settings();
    let found = json!(deployment(&spec, place(&settings), 3, true, GRACE).unwrap());
    assert_eq!((&found["spec"]["replicas"], &found["spec"]["minReadySeconds"]), (&json!(3), &json!(86_400)));
    assert_eq!(found["spec"]["progressDeadlineSeconds"], 172_800);
}

#[test]
fn the_noted_digest_follows_the_template_alone() {
    let settings = settings();
    let noted = |spec: &ServiceSpec, settings: &KubernetesSettings, count, rolling| {
        let made = deployment(spec, place(settings), count, rolling, GRACE).unwrap();
        template_of(&made).unwrap().to_owned()
    };
    let (one, other) = (web("image: nginx:1"), web("image: nginx:2"));
    assert_eq!(noted(&one, &settings, 0, false), noted(&one, &settings, 9, true));
    assert_ne!(noted(&one, &settings, 0, false), noted(&other, &settings, 0, false));
    let always = KubernetesSettings { pull: Pull::Always, ..settings.clone() };
    assert_ne!(noted(&one, &settings, 0, false), noted(&one, &always, 0, false));
}

#[test]
fn a_grace_of_nothing_is_a_second_more_than_the_farewell() {
    let settings = settings();
    let made = json!(deployment(&web("image: nginx"), place(&settings), 1, false, Duration::ZERO).unwrap());
    assert_eq!(made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 2);
}

#[test]
fn credentials_are_named_where_the_image_needs_them() {
    let registry = Registry { username: "u".into(), password_file: "p".into() };
    let settings = KubernetesSettings {
        image_pull_secrets: vec!["mine".into()],
        registries: vec![("https://registry.example".into(), registry)],
        ..settings()
    };
    let secrets = |image: &str| {
        let found = deployed(&web(&format!("image: {image}")), &settings);
        found["spec"]["template"]["spec"]["imagePullSecrets"].clone()
    };
    assert_eq!(secrets("registry.example/a:1"), json!([{ "name": "mine" }, { "name": "ws-pull-4711" }]));
    assert_eq!(secrets("nginx"), json!([{ "name": "mine" }]));
}
