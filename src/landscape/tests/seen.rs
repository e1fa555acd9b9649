//! What occurs in files found in the wild, each in a small file of its own making.

use super::{clean, refused, service, warned};
use crate::landscape::Workload;

#[test]
fn commands_are_empty_folded_or_of_several_lines() {
    let spec = clean(
        "schemaVersion: v0.2
prepare:
  steps:
    - name: \"\"
      command: one
        two
    - command:
    - command: \"\"
    - command: |
        a
        b
    - {command: 12}
test: {steps: []}
run:
  web: {steps: [{command: x}]}
",
    );
    let commands: Vec<&str> = spec.prepare.iter().map(|s| &*s.command).collect();
    assert_eq!(commands, ["one two", "", "", "a\nb\n", "12"]);
    assert_eq!(spec.prepare[0].name.as_deref(), Some(""));
    assert!(spec.test.is_empty());
}

#[test]
fn stages_may_be_missing_or_empty() {
    for stages in ["", "prepare:\ntest:\n", "prepare: {}\n", "prepare: {steps: }\ntest: {steps: []}\n"] {
        let spec = clean(&format!("schemaVersion: v0.2\n{stages}run: {{web: {{steps: [{{command: x}}]}}}}\n"));
        assert!(spec.prepare.is_empty() && spec.test.is_empty());
    }
}

#[test]
fn a_run_that_runs_nothing_is_accepted_with_a_warning() {
    for run in ["run:\n", "run: {}\n"] {
        let (spec, warnings) = warned(&format!("schemaVersion: v0.2\n{run}"));
        assert!(spec.services.is_empty());
        assert!(warnings[0].message.contains("nothing runs"));
    }
    for run in ["run: {steps: []}\n", "run: {steps: }\n", "run: {steps: [{name: Run, command: ''}]}\n"] {
        let (spec, warnings) = warned(run);
        assert_eq!(spec.services.len(), 1);
        assert!(warnings[0].message.contains("nothing stays up"));
    }
    let (_, warnings) = warned("schemaVersion: v0.2\nrun: {web: {steps: []}}\n");
    assert!(warnings[0].message.contains("nothing stays up"));
    let (_, warnings) = warned("schemaVersion: v0.2\nrun: {web: {steps: [{name: only}, {command: x}]}}\n");
    assert!(warnings[0].message.contains("no `command`"));
}

#[test]
fn steps_that_are_null_are_no_steps() {
    for steps in ["", "~", "null", "[]"] {
        let (spec, warnings) = warned(&format!("schemaVersion: v0.2\nrun:\n  web:\n    steps: {steps}\n"));
        assert!(matches!(&spec.services["web"].workload, Workload::Reactive { steps, .. } if steps.is_empty()));
        assert!(warnings[0].message.contains("nothing stays up"), "{warnings:?}");
    }
    let s = service("    steps:\n    image: nginx:1");
    assert!(matches!(s.workload, Workload::Container { .. }));
    let s = service("    steps:\n    network: {paths: [{path: /, target: 'http://a.example'}]}");
    assert_eq!(s.workload, Workload::Headless);
    assert!(refused("schemaVersion: v0.2\nrun: {web: {image: }}\n")[0].message.contains("nothing to run"));
}

#[test]
fn a_step_without_a_command_beside_others_does_nothing() {
    let (spec, _) = warned("run: {steps: [{name: only}]}\n");
    let Workload::Reactive { steps, .. } = &spec.services["app"].workload else { panic!() };
    assert_eq!(steps[0].command, "");
}

#[test]
fn six_ports_and_one_route() {
    let ports: Vec<String> =
        [3000, 8080, 25, 587, 993, 443].iter().map(|p| format!("{{port: {p}, isPublic: false}}")).collect();
    let s = service(&format!(
        "    image: mail/server:1\n    steps: [{{command: run}}]\n    healthEndpoint: http://localhost:8080/login\n    network:\n      ports: [{}]\n      paths: [{{port: 8080, path: /}}]",
        ports.join(", ")
    ));
    assert_eq!(s.primary_port, 8080);
    assert_eq!(s.all_ports(), [8080, 3000, 25, 587, 993, 443]);
}

#[test]
fn a_service_that_is_reached_inside_alone() {
    let s = service(
        "    steps: [{command: x}]\n    isPublic: false\n    network: {ports: [{port: 9093, isPublic: false}], paths: []}",
    );
    assert!(!s.is_routed());
    assert_eq!(s.primary_port, 9093);
}

#[test]
fn no_service_needs_to_be_at_the_root() {
    let spec = clean("schemaVersion: v0.2\nrun:\n  web:\n    steps: [{command: x}]\n    network: {path: /web}\n");
    assert_eq!(spec.services["web"].paths[0].prefix, "/web");
}

#[test]
fn templates_without_the_dollar_stay() {
    let s = service("    steps: [{command: x}]\n    env: {HOST: 'ms-{{ team.id }}-{{ workspace.id }}-db'}");
    assert_eq!(&*s.env["HOST"].text, "ms-{{ team.id }}-{{ workspace.id }}-db");
}

#[test]
fn one_public_port_in_two_services_is_accepted() {
    let spec = clean(
        "schemaVersion: v0.2
run:
  a: {steps: [{command: x}], isPublic: true, network: {path: /}}
  b: {steps: [{command: x}], isPublic: true, network: {path: /api}}
",
    );
    assert!(spec.services.values().all(|s| s.ports[0].public));
}

#[test]
fn yaml_of_all_kinds_of_editors() {
    let text = "schemaVersion: v0.2\r\nrun:\r\n  web:\r\n    steps:\r\n    - command: x\r\n    plan: \"8\"\r\n    replicas: 1\r\n";
    assert_eq!(&*clean(text).services["web"].plan.id, "8");
    assert_eq!(clean(&format!("\u{feff}{text}")).services.len(), 1);
    assert_eq!(clean(&format!("---\n{text}...\n")).services.len(), 1);
    assert_eq!(clean(text.trim_end()).services.len(), 1);
}

#[test]
fn anchors_and_merges_of_ordinary_size_work() {
    let spec = clean(
        "schemaVersion: v0.2
run:
  a:
    steps: &steps [{command: x}]
    env: &env {A: b}
  b:
    steps: *steps
    env: *env
",
    );
    assert_eq!(&*spec.services["b"].env["A"].text, "b");
}
