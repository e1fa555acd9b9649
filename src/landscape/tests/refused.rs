//! Wrong types, misspelt keys and duplicates, each with place and remedy; every mistake, not the first alone.

use super::{judged, one_mistake, refused, warned};
use crate::yaml::Severity;

fn web(lines: &str) -> String {
    format!("schemaVersion: v0.4\nrun:\n  web:\n    steps: [{{command: x}}]\n{lines}\n")
}

#[test]
fn the_line_that_is_shown_has_no_byte_order_mark() {
    let mistakes = refused("\u{feff}schemaVersion: v9\nrun: {}\n");
    assert_eq!(mistakes[0].excerpt.as_deref(), Some("schemaVersion: v9"));
}

#[test]
fn wrong_types_say_what_was_expected_and_found() {
    for (lines, words) in [
        ("    env: [A=b]", "expected a mapping, found a list"),
        ("    env: {A: [x]}", "expected text, a number or a boolean, found a list"),
        ("    env: {A: {b: c}}", "found a mapping"),
        ("    env: {'A=B': c}", "cannot name a variable"),
        ("    env: {'': c}", "as the key"),
        ("    env: {A: \"a\\0b\"}", "NUL"),
        ("    network: 3000", "expected a mapping, found a whole number"),
        ("    network: {ports: 3000}", "expected a list, found a whole number"),
        ("    network: {ports: [3000]}", "write it as `- port: 3000`"),
        ("    network: {ports: [{port: 3000, isPublic: yes}]}", "write `true`"),
        ("    isPublic: maybe", "expected true or false, found text"),
        ("    replicas: two", "expected a whole number"),
        ("    healthEndpoint: [x]", "expected text, found a list"),
        ("    volumeMounts: {}", "expected a list, found a mapping"),
    ] {
        let errors = refused(&web(lines));
        assert!(errors[0].to_string().contains(words), "{lines}: {}", errors[0]);
        assert!(errors[0].place.line >= 5, "{lines}: {}", errors[0]);
    }
    for (run, words) in [
        ("{web: {steps: [npm start]}}", "write it as `- command: …`"),
        ("{web: {steps: {command: x}}}", "expected a list, found a mapping"),
        ("{web: {image: [x]}}", "expected text"),
        ("{web: {image: 'A B'}}", "registry.example/name:tag"),
        ("{web: {image: nginx, command: nginx}}", "write it as `command: [program, argument]`"),
        ("{web: {provider: postgres}}", "write it as `provider: {"),
        ("{web: {provider: {}}}", "`name` is missing"),
        ("{web: text}", "expected a mapping, found text"),
        ("[web]", "expected a mapping, found a list"),
    ] {
        let errors = refused(&format!("schemaVersion: v0.4\nrun: {run}\n"));
        assert!(errors[0].to_string().contains(words), "{run}: {}", errors[0]);
    }
}

#[test]
fn steps_that_are_refused_are_not_called_idle_as_well() {
    for run in ["{web: {steps: [npm start]}}", "{web: {steps: {command: x}}}", "{web: {steps: [{command: [x]}]}}"] {
        let text = format!("schemaVersion: v0.4\nrun: {run}\n");
        assert_eq!(judged(&text).len(), 1, "{:#?}", judged(&text));
    }
    assert_eq!(judged("run: {steps: [npm start]}\n").len(), 1);
    let (_, idle) = warned("schemaVersion: v0.4\nrun: {web: {steps: []}}\n");
    assert!(idle.iter().any(|m| m.message.contains("nothing stays up")), "{idle:#?}");
}

#[test]
fn a_file_that_is_no_landscape_is_refused() {
    for (text, words) in [
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("- a\n", "expected a mapping, found a list"),
        ("services:\n  web: {image: nginx}\n", "`run` is missing"),
        ("schemaVersion: v0.4\nprepare: {steps: []}\n", "`run` is missing"),
        ("schemaVersion: [v0.4]\nrun: {}\n", "expected text"),
        ("run:\n\t- x\n", "tab"),
    ] {
        let errors = refused(text);
        assert!(errors.iter().any(|e| e.to_string().contains(words)), "{text}: {errors:#?}");
    }
}

#[test]
fn misspelt_keys_are_warned_of_with_the_nearest() {
    one_mistake(&web("    replica: 1"), Severity::Warning, (5, 5), &["run.web.replica", "did you mean `replicas`?"]);
    let text = web("    network: {paths: [{port: 3000, path: /, isPublic: true}]}");
    one_mistake(&text, Severity::Warning, (5, 45), &["run.web.network.paths[0].isPublic", "unknown key"]);
    one_mistake(&format!("{}schema: x\n", web("")), Severity::Warning, (6, 1), &["unknown key `schema`"]);
}

#[test]
fn a_duplicate_key_is_warned_of_and_the_last_counts() {
    let text = web("    env:\n      A: one\n      A: two");
    one_mistake(&text, Severity::Warning, (7, 7), &["run.web.env.A"]);
    assert_eq!(&*warned(&text).0.services["web"].env["A"].text, "two");
}

#[test]
fn a_running_services_name_is_a_label() {
    for (name, words) in [("My App", "write `my-app`"), ("web_1", "write `web-1`"), ("1a", "cannot name a service")] {
        let errors = refused(&format!("schemaVersion: v0.4\nrun:\n  {name}:\n    steps: [{{command: x}}]\n"));
        assert!(errors[0].to_string().contains(words), "{}", errors[0]);
        assert_eq!((errors[0].place.line, errors[0].place.column), (3, 3));
    }
    let headless = "schemaVersion: v0.4\nrun:\n  Ext:\n    network: {paths: [{path: /, target: 'http://a.example'}]}\n";
    assert!(refused(headless)[0].to_string().contains("write `ext`"));
}

#[test]
fn every_mistake_is_told_in_the_files_order() {
    let errors = refused(
        "schemaVersion: v0.4
run:
  one:
    steps: [{command: x}]
    healthEndpoint: /x
    replicas: 0
    env: {A: '${{ nope }}', B: '${{ vault.NOPE }}', C: [x]}
    volumeMounts: [{mountPath: x, workspacePath: ..}]
  Two:
    image: 'A:B:C'
    plan: x
    runAsUser: 0
",
    );
    let lines: Vec<u32> = errors.iter().map(|e| e.place.line).collect();
    assert_eq!(lines, [5, 6, 7, 7, 7, 8, 8, 9, 10, 11, 12], "{errors:#?}");
}

#[test]
fn a_headless_target_is_plain() {
    for (target, words) in [
        ("ftp://a", "neither http nor https"),
        ("http://u:p@a/", "user or password"),
        ("http://a/?q", "query"),
        ("http://127.0.0.1", "loopback"),
        ("http://169.254.169.254/", "metadata"),
        ("a.example", "no scheme"),
        ("", "no URL"),
    ] {
        let text =
            format!("schemaVersion: v0.4\nrun:\n  ext:\n    network: {{paths: [{{path: /, target: '{target}'}}]}}\n");
        let errors = refused(&text);
        assert_eq!(errors.len(), 1, "{target}: {errors:#?}");
        assert!(errors[0].to_string().contains(words), "{target}: {}", errors[0]);
    }
}
