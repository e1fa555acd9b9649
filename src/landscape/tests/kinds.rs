//! A service's kind follows from its keys.

use super::{clean, one_mistake, refused, service, warned};
use crate::landscape::{Health, PathTarget, Port, Step, Workload};
use crate::yaml::Severity;

fn step(name: Option<&str>, command: &str) -> Step {
    Step { name: name.map(str::to_owned), command: command.to_owned() }
}

#[test]
fn a_flat_file_is_one_service_at_the_root() {
    let spec = clean("prepare:\n  steps:\n  - name: Get\n    command: make\nrun:\n  steps:\n  - command: ./serve\n");
    assert_eq!(spec.prepare, [step(Some("Get"), "make")]);
    assert_eq!(spec.services.len(), 1);
    let app = &spec.services["app"];
    assert_eq!(app.workload, Workload::Reactive { steps: vec![step(None, "./serve")], base: None });
    assert_eq!(app.ports, [Port { number: 3000, public: false }]);
    assert_eq!((app.replicas, app.primary_port), (1, 3000));
    assert_eq!((&*app.paths[0].prefix, app.paths[0].strip, &app.paths[0].to), ("/", false, &PathTarget::Port(3000)));
    assert_eq!(&*app.plan.id, "default");
    assert_eq!(app.health, Health::Default);
}

#[test]
fn every_version_reads_named_services() {
    for version in ["v0.2", "v0.3", "v0.4"] {
        let spec = clean(&format!("schemaVersion: {version}\nrun:\n  web:\n    steps:\n      - command: x\n"));
        assert!(spec.services["web"].runs());
    }
}

#[test]
fn an_unknown_version_is_refused_with_the_known_ones() {
    let text = "schemaVersion: v0.9\nrun:\n  web:\n    steps: [{command: x}]\n";
    let errors = refused(text);
    assert!(errors[0].to_string().starts_with("ci.yml:1:16: error: schemaVersion: unknown schemaVersion `v0.9`"));
}

#[test]
fn versions_that_do_not_fit_are_read_with_a_warning() {
    let (spec, warnings) = warned("run:\n  web:\n    steps: [{command: x}]\n");
    assert!(spec.services.contains_key("web"));
    assert!(warnings[0].to_string().contains("schemaVersion"));
    let (spec, warnings) = warned("schemaVersion: v0.2\nrun:\n  steps: [{command: x}]\n");
    assert!(spec.services.contains_key("app"));
    assert!(warnings[0].message.contains("v0.1"));
}

#[test]
fn steps_are_a_reactive() {
    let s = service("    steps: [{command: a}, {name: b, command: b}, {name: b, command: b}]");
    let steps = vec![step(None, "a"), step(Some("b"), "b"), step(Some("b"), "b")];
    assert_eq!(s.workload, Workload::Reactive { steps, base: None });
}

#[test]
fn an_image_is_a_managed_container() {
    for key in ["image", "baseImage"] {
        let s = service(&format!("    {key}: nginx:1.27\n    command: [nginx, -g, 'daemon off;']"));
        let Workload::Container { image, command } = &s.workload else { panic!("{:?}", s.workload) };
        assert_eq!(&*image.text, "nginx:1.27");
        assert_eq!(command.as_deref(), Some(&["nginx", "-g", "daemon off;"].map(str::to_owned)[..]));
    }
    let s = service("    image: nginx\n    steps: []");
    assert!(matches!(s.workload, Workload::Container { command: None, .. }));
}

#[test]
fn an_image_with_steps_is_a_custom_base() {
    for key in ["image", "baseImage"] {
        let s = service(&format!("    {key}: node:22\n    steps: [{{command: node .}}]"));
        let Workload::CustomBase { image, steps } = &s.workload else { panic!("{:?}", s.workload) };
        assert_eq!((&*image.text, &steps[..]), ("node:22", &[step(None, "node .")][..]));
    }
}

#[test]
fn a_bare_base_image_names_a_base_of_the_platform() {
    let s = service("    baseImage: ubuntu-24.04\n    steps: [{command: x}]");
    assert!(matches!(&s.workload, Workload::Reactive { base: Some(base), .. } if base == "ubuntu-24.04"));
}

#[test]
fn targets_alone_are_headless() {
    let s = service(
        "    network:\n      paths:\n        - {path: /ext, stripPath: true, target: 'https://api.example/v1/'}",
    );
    assert_eq!(s.workload, Workload::Headless);
    assert!(!s.runs() && s.is_routed() && s.ports.is_empty());
    let PathTarget::Url(url) = &s.paths[0].to else { panic!() };
    assert_eq!((url.tls, &*url.host, url.port, &*url.base_path), (true, "api.example", 443, "/v1"));
}

#[test]
fn a_provider_is_understood_and_not_provided() {
    let text = "schemaVersion: v0.4
run:
  DP default DB:
    provider: {name: postgres, version: v1}
    plan: {id: 0, parameters: {cpu: 5}}
    config: {version: '17', list: [a, {b: c}]}
    secrets: {userPassword: \"${{ vault.PASS }}\", other: \"${{ vault.NOT_THERE }}\"}
    backups: {schedule: daily}
  web:
    steps: [{command: x}]
";
    let spec = clean(text);
    assert_eq!(spec.services["DP default DB"].workload, Workload::Managed { provider: "postgres".into() });
    assert!(spec.services["web"].runs());
    let notes = super::judged(text);
    assert!(notes.iter().any(|n| n.contains("`postgres` is not provided")), "{notes:?}");
}

#[test]
fn a_mistake_in_a_providers_templates_is_a_warning() {
    let text = "schemaVersion: v0.4\nrun:\n  db:\n    provider: {name: p}\n    config: {a: '${{ nope.x }}'}\n";
    one_mistake(text, Severity::Warning, (5, 17), &["run.db.config.a", "nope.x"]);
}

#[test]
fn kinds_that_exclude_each_other_are_refused() {
    let target = "network: {paths: [{path: /, target: 'http://a.example'}]}";
    for (lines, words) in [
        ("provider: {name: p}\n    steps: [{command: x}]", "`steps` and `provider` exclude"),
        ("provider: {name: p}\n    image: nginx", "`image` and `provider` exclude"),
        (&*format!("provider: {{name: p}}\n    {target}"), "`network` and `provider` exclude"),
        (&*format!("steps: [{{command: x}}]\n    {target}"), "cannot also lead a path to a `target`"),
        (&*format!("image: nginx\n    {target}"), "cannot also lead a path to a `target`"),
        ("image: nginx\n    command: [a]\n    steps: [{command: x}]", "`command` and `steps` exclude"),
        ("steps: [{command: x}]\n    command: [a]", "`command` and `steps` exclude"),
        ("command: [a]", "`command` needs an `image`"),
        ("image: a\n    baseImage: b", "`baseImage` is the older name"),
        ("plan: 8", "nothing to run"),
        ("network: {paths: [{path: /, port: 3000}]}", "nothing to run"),
    ] {
        let errors = refused(&format!("schemaVersion: v0.4\nrun:\n  web:\n    {lines}\n"));
        assert!(errors[0].message.contains(words), "{lines}: {}", errors[0]);
    }
    assert!(refused("schemaVersion: v0.4\nrun:\n  web:\n")[0].message.contains("nothing to run"));
}

#[test]
fn keys_that_do_nothing_are_warned_of() {
    let text = "schemaVersion: v0.4\nrun:\n  db:\n    provider: {name: p}\n    replicas: 1\n";
    one_mistake(text, Severity::Warning, (5, 5), &["`replicas` does nothing for a Managed Service"]);
    let text = "schemaVersion: v0.4\nrun:\n  web:\n    steps: [{command: x}]\n    config: {}\n";
    one_mistake(text, Severity::Warning, (5, 13), &["belongs to a Managed Service"]);
}
