//! What a router made on this machine goes with it.

use crate::land::Land;
use crate::need_network;
use crate::support::{Router, eventually};

const CI: &str = "schemaVersion: v0.2
run:
  web:
    steps: [{ command: ./test-app }]
    replicas: 2
    network: { ports: [{ port: 3000, isPublic: false }], paths: [{ port: 3000, path: / }] }
";

#[test]
fn nothing_is_left_of_a_router_that_was_told_to_end() {
    need_network!();
    let land = Land::shop("", "", CI);
    let router = Router::start(&land.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    router.await_ready("web", 2);
    let namespaces: Vec<_> = land.pids("shop", "web").iter().map(|pid| namespace(*pid).unwrap()).collect();
    assert_eq!(namespaces.len(), 2);
    let traces = land.traces();
    for kind in ["lr", "table inet", "local 10."] {
        assert!(traces.iter().any(|t| t.contains(kind)), "this test would not see {kind}: {traces:#?}");
    }
    assert_eq!(router.stop(), Some(0));
    assert_eq!(land.traces(), [] as [String; 0]);
    let mut left = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        namespaces.contains(&namespace(pid)?).then_some(pid)
    });
    assert_eq!(left.next(), None::<u32>, "a process is in a replica's namespace");
}

#[test]
fn a_landscape_that_is_asleep_leaves_no_replica_on_its_bridge() {
    need_network!();
    let land = Land::shop("defaults: { idleAfter: 300ms }", "", CI);
    let router = Router::start(&land.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    eventually("two replicas", &router, || router.ready("web") == 2 || router.service("web")["state"] == "off");
    router.await_state("web", "off");
    let instance = land.site.instance().unwrap();
    let bridge = landscape_router::private::ground::bridge_name(&instance, "shop");
    let ports = || std::fs::read_dir(format!("/sys/class/net/{bridge}/brif")).unwrap().count();
    eventually("the end of the cables", &router, || ports() == 0);
}

fn namespace(pid: u32) -> Option<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}
