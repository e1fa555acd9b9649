//! `prepare` on the landscape's claim: once, however many routers there are and however often they are replaced.

use serde_json::json;

use super::rig::{Rig, service};
use crate::need_fixture;
use crate::town::{Town, image};

const SETTINGS: &str = "defaults: { stopGrace: 1s }\n";

fn rig() -> Rig {
    let text = format!(
        "schemaVersion: v0.4\nprepare:\n  steps:\n    - {{ name: once, command: \"echo begin >> said; sleep 1; echo end >> said\" }}\n\
         run:\n{}",
        service("web", 1, "/", "")
    );
    let kubernetes = format!("pull: never, base: \"{}\", claim: files", image());
    let town = Town::new();
    let wants = json!({ "accessModes": ["ReadWriteMany"], "resources": { "requests": { "storage": "1Gi" } } });
    town.create("persistentvolumeclaims", &json!({ "metadata": { "name": "files" }, "spec": wants })).good();
    let rig = Rig::of(town, SETTINGS, &kubernetes, &text);
    rig.site.write("second.yaml", &rig.router_yaml(&format!("{SETTINGS}state: second\n"), &kubernetes));
    rig
}

fn said(rig: &Rig) -> String {
    // The landscape's folder in the claim.
    let folder = rig.town.fixture().claims().join(&rig.town.namespace).join("files/shop");
    std::fs::read_to_string(folder.join("said")).unwrap_or_default()
}

#[test]
fn it_runs_once_for_two_routers_and_for_those_that_come_after_them() {
    need_fixture!("it has no claim with files");
    let rig = rig();
    let routers = ["router.yaml", "second.yaml"].map(|file| rig.router(file));
    rig.await_deployment("web");
    std::thread::scope(|scope| {
        for router in &routers {
            scope.spawn(|| assert_eq!(router.shop("/").status, 200, "{}", router.log()));
        }
    });
    assert_eq!(said(&rig), "begin\nend\n");
    rig.cli(&routers[0], &["sleep", "shop/web"]);
    rig.await_off(&routers[1], "web");
    for router in routers {
        router.kill();
    }
    // As a pod has it: nothing is left of `state`.
    for folder in [".landscape-router", "second"] {
        std::fs::remove_dir_all(rig.site.path().join(folder)).unwrap();
    }
    let next = rig.router("router.yaml");
    assert_eq!(next.shop("/").status, 200, "{}", next.log());
    assert_eq!(said(&rig), "begin\nend\n", "it is known to have run");
    rig.cli(&next, &["prepare", "shop"]);
    rig.eventually("its second run", &next, || said(&rig) == "begin\nend\nbegin\nend\n");
}

#[test]
fn who_dies_while_it_runs_is_followed_by_one_that_takes_its_end_for_done() {
    need_fixture!("it has no claim with files");
    let rig = rig();
    let first = rig.router("router.yaml");
    rig.await_deployment("web");
    let at = first.http;
    let held =
        std::thread::spawn(move || crate::support::request(at, "GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n"));
    rig.eventually("its begin", &first, || said(&rig) == "begin\n");
    first.kill();
    assert!(held.join().unwrap().is_err(), "the router of that request is gone");
    let next = rig.router("second.yaml");
    assert_eq!(next.shop("/").status, 200, "{}", next.log());
    assert_eq!(said(&rig), "begin\nend\n", "{}", next.log());
}
