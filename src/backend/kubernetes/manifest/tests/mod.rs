//! Whole objects, as a cluster gets them.

mod landscapes;
mod refused;
mod secrets;
mod services;

use std::time::Duration;

use serde_json::{Value, json};

use super::fixtures::{landscape, settings};
use super::*;
use crate::config::settings::{Pull, Registry};

const GRACE: Duration = Duration::from_millis(9_500);

fn place(settings: &KubernetesSettings) -> Place<'_> {
    Place { settings, namespace: "apps", owner: None }
}

/// The service `web` of these lines.
fn web(lines: &str) -> ServiceSpec {
    let indented: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    let landscape = landscape(&format!("schemaVersion: v0.4\nrun:\n  web:\n{indented}"));
    (*landscape.services["web"]).clone()
}

fn deployed(spec: &ServiceSpec, settings: &KubernetesSettings) -> Value {
    json!(deployment(spec, place(settings), 2, false, GRACE).unwrap())
}

/// The container of a Deployment.
fn app(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]
}

/// Shows both, whole, where they differ.
#[track_caller]
fn same(found: &Value, expected: &Value) {
    if found != expected {
        let pretty = |value| serde_json::to_string_pretty(value).unwrap();
        panic!("found {}\nexpected {}", pretty(found), pretty(expected));
    }
}
