//! A ci.yml that is bad keeps its landscape's last good version, and stops no other landscape.

use super::{CI, Folder, SHOP};
use crate::config::{Loaded, Purpose};

const TWO: &str = "landscapes:\n  - {id: shop, root: shop}\n  - {id: blog, root: blog}\n";

fn services(loaded: &Loaded, at: usize) -> Vec<String> {
    let spec = loaded.settings.as_ref().unwrap().landscapes[at].spec.as_ref().unwrap();
    spec.services.keys().map(ToString::to_string).collect()
}

#[test]
fn a_landscape_that_never_was_good_is_invalid_alone() {
    for bad in ["", "run: [\n", "run:\n  web: {plan: x}\n", "schemaVersion: v0.2\nru"] {
        let folder = Folder::new();
        folder.write("blog/ci.yml", bad);
        let loaded = folder.run(TWO);
        let landscapes = &loaded.settings.as_ref().unwrap().landscapes;
        assert!(landscapes[0].spec.is_ok());
        let reason = landscapes[1].spec.as_ref().unwrap_err();
        assert!(reason.contains("blog/ci.yml"), "{reason}");
        assert!(loaded.has_errors(false));
    }
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("blog")).unwrap();
    let loaded = folder.run(TWO);
    let reason = loaded.settings.unwrap().landscapes.remove(1).spec.unwrap_err();
    assert!(reason.contains("blog/ci.yml: error: there is no such file"), "{reason}");
}

#[test]
fn the_last_good_version_runs_on_and_survives_a_restart() {
    for bad in [Some(""), Some("run: {web: {steps: 3}}"), None] {
        let folder = Folder::new();
        let first = folder.run(SHOP);
        assert_eq!((services(&first, 0).len(), first.mistakes.iter().any(|m| m.message.contains("kept"))), (2, false));
        match bad {
            Some(text) => folder.write("shop/ci.yml", text),
            None => std::fs::remove_file(folder.path().join("shop/ci.yml")).unwrap(),
        }
        let again = folder.run(SHOP);
        assert_eq!(services(&again, 0), ["web", "db"]);
        let stale = again.settings.as_ref().unwrap().landscapes[0].stale.as_deref().unwrap();
        assert!(stale.contains("shop/ci.yml"), "{stale}");
        assert!(again.has_errors(false));
        let judged = folder.check(SHOP);
        assert!(judged.settings.unwrap().landscapes[0].spec.is_err(), "to judge, nothing stands in");
    }
}

#[test]
fn without_a_disk_the_version_in_force_runs_on() {
    let folder = Folder::new();
    let first = folder.run(SHOP);
    std::fs::remove_dir_all(folder.path().join(".landscape-router")).unwrap();
    folder.write("shop/ci.yml", "");
    let again = folder.load(SHOP, Purpose::Run { previous: first.settings.as_ref() });
    assert_eq!(services(&again, 0), ["web", "db"]);
    assert!(again.settings.unwrap().landscapes[0].stale.is_some());
}

#[test]
fn a_root_that_goes_keeps_the_version_in_force() {
    let folder = Folder::new();
    let first = folder.run(SHOP);
    std::fs::remove_dir_all(folder.path().join("shop")).unwrap();
    let again = folder.load(SHOP, Purpose::Run { previous: first.settings.as_ref() });
    assert_eq!(services(&again, 0), ["web", "db"]);
    assert!(folder.told(&again)[0].contains("there is no folder"), "{:?}", folder.told(&again));
    let landscape = &again.settings.as_ref().unwrap().landscapes[0];
    assert!(landscape.stale.as_deref().unwrap().contains("there is no folder"));
    // A root that never was there is another matter.
    let other = SHOP.replace("root: shop", "root: shpo");
    let moved = folder.load(&other, Purpose::Run { previous: first.settings.as_ref() });
    assert!(moved.settings.unwrap().landscapes[0].spec.is_err());
}

#[test]
fn a_state_folder_that_cannot_be_written_is_told_and_no_more() {
    let folder = Folder::new();
    folder.write("file", "");
    let loaded = folder.run(&format!("state: file/state\n{SHOP}"));
    assert!(loaded.settings.is_some());
    assert!(
        folder.told(&loaded)[0].contains("warning: the last good landscapes cannot be kept"),
        "{:?}",
        folder.told(&loaded)
    );
}

#[test]
fn a_ci_yml_that_loses_a_named_service_keeps_its_version_and_a_typo_stops_router_yaml() {
    let named = format!("{SHOP}    services: {{db: {{mode: always-on}}}}\n");
    let folder = Folder::new();
    assert!(folder.run(&named).settings.is_some());
    folder.write("shop/ci.yml", CI.replace("  db:", "  data:"));
    let stale = folder.run(&named);
    assert_eq!(services(&stale, 0), ["web", "db"]);
    assert!(stale.settings.unwrap().landscapes[0].stale.is_some());
    folder.write("shop/ci.yml", CI);
    assert!(folder.run(&named).settings.is_some());
    assert!(folder.run(&named.replace("db:", "dv:")).settings.is_none(), "a typo in router.yaml");
}

#[test]
fn an_error_in_router_yaml_keeps_nothing() {
    let folder = Folder::new();
    assert!(folder.run(&format!("nonsense: 1\n{SHOP}")).settings.is_none());
    assert!(!folder.path().join(".landscape-router").exists());
}
