//! The files below config/ are good, and show every key.

use std::path::Path;

use serde_json::Value;

use crate::config::{Purpose, load, schema};

fn example(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

#[test]
fn the_examples_are_good() {
    for name in ["router.yaml", "minimal.yaml", "kubernetes/router.yaml"] {
        let loaded = load(&example(name), Purpose::Check);
        assert!(!loaded.has_errors(true), "{name}: {:#?}", loaded.mistakes);
        let settings = loaded.settings.unwrap();
        assert!(settings.landscapes.iter().all(|l| l.spec.is_ok() && !l.policies.is_empty()));
    }
}

#[test]
fn the_examples_say_the_same_in_yaml_1_1() {
    let folders = ["config", "config/kubernetes", "deploy/container", "deploy/systemd"];
    for file in
        folders.map(|f| Path::new(env!("CARGO_MANIFEST_DIR")).join(f)).iter().flat_map(|f| f.read_dir().unwrap())
    {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let value = line.split(" #").next().unwrap().trim_start_matches('#');
            let mut words = value.split([' ', ',', '{', '}', '[', ']']);
            let switch = |w: &str| ["off", "on", "yes", "no"].contains(&w.to_lowercase().as_str());
            // Editors and other readers of the schema would see a truth value.
            assert!(line.starts_with('#') || !words.any(switch), "{}: {line}", path.display());
        }
    }
}

#[test]
fn the_unit_starts_whatever_one_ci_yml_says() {
    let unit = include_str!("../../../deploy/systemd/landscape-router.service");
    assert!(!unit.lines().any(|l| l.starts_with("ExecStartPre=") && l.contains(" check ")), "{unit}");
}

#[test]
fn the_example_shows_every_key() {
    let text = std::fs::read_to_string(example("router.yaml")).unwrap();
    let mut keys = Vec::new();
    names(&schema::public(), &mut keys);
    assert!(keys.len() > 60);
    for key in keys {
        let shown = [format!("{key}:"), format!("{{ {key}")].iter().any(|k| text.contains(k));
        assert!(shown, "`{key}` is not in config/router.yaml");
    }
}

fn names(schema: &Value, keys: &mut Vec<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(properties) = object.get("properties").and_then(Value::as_object) {
                keys.extend(properties.keys().cloned());
            }
            object.values().for_each(|v| names(v, keys));
        }
        Value::Array(items) => items.iter().for_each(|v| names(v, keys)),
        _ => {}
    }
}
