//! `check` and `schema` as a shell sees them: exit codes, one place a mistake, no colours in a pipe.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn router(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_landscape-router")).current_dir(folder).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

const CI: &str = "schemaVersion: v0.4\nrun:\n  web:\n    steps:\n      - command: serve\n";
const ROUTER: &str = "landscapes:\n  - id: shop\n    root: shop\n";

#[test]
fn a_good_file_exits_with_0_and_a_sum() {
    // What this machine lacks for a private network is no part of the sum.
    let alone = format!("private: \"off\"\n{ROUTER}");
    let dir = folder(&[("router.yaml", &alone), ("shop/ci.yml", CI)]);
    let output = router(dir.path(), &["check", "--config", "router.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).ends_with("router.yaml: good, 1 landscape, 1 service: 1 note\n"), "{}", text(&output));
}

#[test]
fn what_this_machine_lacks_for_a_private_network_is_no_mistake() {
    let dir = folder(&[("router.yaml", ROUTER), ("shop/ci.yml", CI)]);
    // Even root, without a right.
    let mut check = match rustix::process::geteuid().is_root() {
        true => Command::new("setpriv"),
        false => Command::new("env"),
    };
    if check.get_program() == "setpriv" {
        check.args(["--bounding-set=-all", "--inh-caps=-all", "--"]);
    }
    check.args([env!("CARGO_BIN_EXE_landscape-router"), "check", "--config", "router.yaml"]);
    let output = check.current_dir(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output).contains("note: private: services do not find each other by name here: "), "{output:?}");
    assert!(!dir.path().join(".landscape-router").exists());
}

#[test]
fn every_mistake_has_its_place_its_line_and_a_caret() {
    let bad = format!("defaults: {{ idelAfter: 5m }}\nbackend: 3\n{ROUTER}");
    let dir = folder(&[("sub/router.yaml", &bad), ("sub/shop/ci.yml", "run:\n\tweb: {}\n")]);
    let output = router(dir.path(), &["check", "--config", "sub/router.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = "\
sub/router.yaml:1:13: error: defaults.idelAfter: unknown key `idelAfter`; did you mean `idleAfter`?
  1 | defaults: { idelAfter: 5m }
    |             ^
sub/router.yaml:2:10: error: backend: expected `process`, `docker` or `kubernetes`, found `3`
  2 | backend: 3
    |          ^
sub/shop/ci.yml:2:1: error: a tab is used as indentation, expected spaces; replace tabs by spaces
  2 | →web: {}
    | ^
sub/router.yaml: not good: 3 errors
";
    assert_eq!(text(&output), expected);
}

#[test]
fn json_is_for_programs() {
    let dir = folder(&[("router.yaml", "threads: x\n"), ("shop/ci.yml", CI)]);
    let output = router(dir.path(), &["check", "--json", "--config", "router.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["good"], false);
    assert_eq!(value["mistakes"].as_array().unwrap().len(), 2);
}

#[test]
fn strict_makes_warnings_errors() {
    let twice = format!("{CI}    env: {{A: 1, A: 2}}\n");
    let dir = folder(&[("ci.yml", &twice)]);
    assert_eq!(router(dir.path(), &["check", "--ci", "ci.yml"]).status.code(), Some(0));
    let strict = router(dir.path(), &["check", "--strict", "--ci", "ci.yml"]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(
        text(&strict).contains("ci.yml:6:17: warning: run.web.env.A: this key is given twice"),
        "{}",
        text(&strict)
    );
}

#[test]
fn missing_and_empty_files_are_mistakes() {
    let dir = folder(&[("empty.yml", ""), ("router.yaml", ROUTER)]);
    for (args, says) in [
        (["check", "--ci", "none.yml"], "none.yml: error: there is no such file"),
        (["check", "--ci", "empty.yml"], "empty.yml: error: the file is empty"),
        (["check", "--config", "empty.yml"], "empty.yml: error: the file is empty"),
        (["check", "--config", "router.yaml"], "there is no folder"),
    ] {
        let output = router(dir.path(), &args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output).contains(says), "{args:?}: {}", text(&output));
    }
}

#[test]
fn the_schema_is_json_and_the_page_is_the_committed_one() {
    let dir = folder(&[]);
    let schema: serde_json::Value = serde_json::from_slice(&router(dir.path(), &["schema"]).stdout).unwrap();
    assert_eq!(schema["title"], "router.yaml");
    let page = text(&router(dir.path(), &["schema", "--markdown"]));
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    assert_eq!(page, fs::read_to_string(committed).unwrap());
}
