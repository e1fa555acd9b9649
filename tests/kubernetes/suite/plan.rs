//! `plan`: what would change, without changing it.

use std::process::Command;

use serde_json::Value;

use super::rig::{Rig, ci, requests, service};
use crate::fixture::object::Object;
use crate::support::Router;

/// The plan, and whether it could be told and would be accepted.
fn plan(rig: &Rig) -> (Value, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_landscape-router"))
        .args(["plan", "--json", "--config"])
        .arg(rig.site.path().join("router.yaml"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let plan = serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    (plan, output.status.success())
}

/// Its changes as `create Deployment web`.
fn changes(plan: &Value) -> Vec<String> {
    let told = |c: &Value| format!("{} {} {}", c.text("/action"), c.text("/kind"), c.text("/service"));
    let mut all: Vec<String> = plan.list("/changes").iter().map(told).collect();
    all.sort();
    all
}

fn version(color: &str) -> String {
    let env = format!("    env: {{ COLOR: {color}, TOKEN: \"${{{{ vault.TOKEN }}}}\" }}\n");
    ci(&[service("web", 2, "/", &env), service("other", 1, "/other", "")])
}

#[test]
fn a_plan_tells_what_a_start_makes_and_then_what_an_edit_changes() {
    let rig = Rig::new("vault: { file: secrets.yaml }", &version("red"));
    rig.site.write("secrets.yaml", "TOKEN: correct-horse-7391\n");
    let (before, good) = plan(&rig);
    assert!(good, "{before:#}");
    let told = changes(&before);
    for expected in ["create ConfigMap ", "create Deployment other", "create Deployment web", "create Secret web"] {
        assert!(told.iter().any(|c| c == expected), "{expected} in {told:?}");
    }
    assert!(rig.town.list("deployments", "").is_empty(), "nothing was made");

    let router = Router::start(&rig.site);
    rig.await_deployment("web");
    rig.await_deployment("other");
    rig.eventually("nothing to do", &router, || changes(&plan(&rig).0).is_empty());
    assert_eq!(router.shop("/").status, 200, "{}\n{}", rig.town.tell(), router.log());
    rig.await_ready(&router, "web", 2);
    let (running, good) = plan(&rig);
    assert!(good && changes(&running).is_empty(), "replicas are no change: {running:#}");
    let config = rig.site.path().join("router.yaml").display().to_string();
    let said = rig.cli(&router, &["plan", "--config", &config]);
    assert!(said.ends_with(": no changes\n"), "{said}");

    // The router is away, so that only the plan sees the edit.
    assert_eq!(router.stop(), Some(0));
    rig.site.write("shop/ci.yml", &version("blue"));
    let generation = rig.deployment("web").unwrap().int("/metadata/generation");
    rig.town.on_fixture().inspect(|f| f.forget_requests());
    let (edited, good) = plan(&rig);
    assert!(good, "{edited:#}");
    assert_eq!(changes(&edited), ["change Deployment web"], "{edited:#}");
    assert!(edited.to_string().contains("blue") && !edited.to_string().contains("correct-horse"), "{edited:#}");
    assert_eq!(rig.deployment("web").unwrap().int("/metadata/generation"), generation, "nothing was changed");
    if let Some(fixture) = rig.town.on_fixture() {
        let all = requests(fixture);
        let writes = all.iter().filter(|r| !["get", "list", "watch", ""].contains(&r.verb.as_str()));
        let real: Vec<_> = writes.filter(|r| !r.query.contains("dryRun=All")).collect();
        assert!(real.is_empty(), "{real:#?}");
    }
    rig.site.write("shop/ci.yml", &ci(&[service("other", 1, "/other", "")]));
    let told = changes(&plan(&rig).0);
    assert!(told.contains(&"remove Deployment web".to_owned()), "{told:?}");
    rig.deployment("web").expect("it is still there");
}
