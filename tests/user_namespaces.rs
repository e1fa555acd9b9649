//! `process.namespaces: user`: the network between services, by a router that has no rights.
//!
//! As root these tests run it as a user without rights; elsewhere as the user who runs them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::network::skipped;
use support::user::{self, as_user, by_user, start};
use support::{Answer, PATIENCE, Router, Site};

const ROUTER: &str = "listen: { http: [\"127.0.0.1:0\"], admin: \"127.0.0.1:0\" }
process: { namespaces: user }
landscapes:
  - { id: shop, ci: shop/ci.yml, root: shop, services: { api: { wake: onCall }, store: { wake: onCall, protocols: { \"6379\": tcp } } } }
  - { id: blog, ci: blog/ci.yml, root: blog }
";

const SHOP: &str = "schemaVersion: v0.2
prepare:
  steps: [{ command: readlink /proc/self/ns/net > prepared-on }]
run:
  web:
    steps: [{ command: \"grep ^Cap /proc/self/status > capabilities; cat /proc/sys/net/ipv4/ping_group_range > pingers; exec ./test-app\" }]
    replicas: 3
    network: { ports: [{ port: 3000, isPublic: false }], paths: [{ port: 3000, path: / }] }
  api:
    steps: [{ command: \"getent ahostsv4 api | cut -d' ' -f1 > api-address; exec ./test-app\" }]
    network: { ports: [{ port: 3000, isPublic: false }] }
  store:
    steps: [{ command: exec ./test-app --raw --port 6379 --host 0.0.0.0 }]
    network: { ports: [{ port: 6379, isPublic: false }] }
";

/// Before it serves, it tries to go where others are: as it is, and with all rights in a namespace of its own.
const BLOG: &str = "schemaVersion: v0.2
run:
  web:
    steps:
      - command: |
          for process in /proc/[0-9]*; do
            nsenter --net=$process/ns/net true 2> /dev/null && echo $process >> entered
            unshare --user --map-root-user nsenter --net=$process/ns/net true 2> /dev/null && echo $process >> entered
          done
          command -v nsenter && touch tried
      - command: exec ./test-app
    network: { ports: [{ port: 3000, isPublic: false }], paths: [{ port: 3000, path: / }] }
";

/// A site of a user without rights, or `None` where that user may not make user namespaces; says why.
fn site() -> Option<Site> {
    let site = user::site(ROUTER, &[("shop", SHOP), ("blog", BLOG)]);
    let survey =
        as_user(&site, "bin/landscape-router").arg("survey-user-namespace").stdout(Stdio::piped()).output().unwrap();
    let survey: serde_json::Value = serde_json::from_slice(&survey.stdout).unwrap();
    let lack = [&survey["namespaces"], &survey["filters"]].into_iter().find(|lack| !lack.is_null());
    if let Some(lack) = lack {
        skipped(&format!("user namespaces are not tested: {lack}"));
        return None;
    }
    Some(site)
}

/// What `path` answers at a landscape's host.
fn ask(router: &Router, landscape: &str, path: &str) -> Answer {
    router.get(&format!("{landscape}.localhost"), path)
}

/// The processes that answer at `/`, once there are this many.
fn all_of_web(router: &Router, number: usize) -> BTreeSet<String> {
    let begin = Instant::now();
    let mut seen = BTreeSet::new();
    while seen.len() < number {
        let answer = router.shop("/");
        assert_eq!(answer.status, 200, "{}\n{}", answer.text(), router.log());
        seen.insert(answer.text().split(' ').find(|word| word.starts_with("pid=")).unwrap().to_owned());
        assert!(begin.elapsed() < PATIENCE, "{seen:?}\n{}", router.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    seen
}

fn finds_api_and_store(router: &Router) {
    for name in ["api", "ws-server-shop-api.workspaces"] {
        let answer = router.shop(&format!("/fetch/{name}:3000/x"));
        assert!(answer.status == 200 && answer.text().contains("service=api"), "{}\n{}", answer.text(), router.log());
    }
    assert_eq!(router.shop("/ask/store:6379/hello").text().trim(), "hello", "{}", router.log());
}

#[test]
fn without_rights_replicas_share_a_port_and_find_each_other_and_nobody_else() {
    let Some(site) = site() else { return };
    let router = start(&site, &[]);
    assert!(router.log().contains("nothing outside of this machine"), "{}", router.log());
    let pids = all_of_web(&router, 3);
    assert_eq!(pids.len(), 3);
    assert!(router.shop("/env").text().contains("PORT=3000"));
    finds_api_and_store(&router);

    // Every set is empty; of the one that bounds others, nothing that reaches beyond the replica's network.
    let capabilities = std::fs::read_to_string(site.path().join("shop/capabilities")).unwrap();
    let sets: Vec<&str> = capabilities.lines().filter(|line| !line.starts_with("CapBnd")).collect();
    assert!(sets.len() == 4 && sets.iter().all(|line| line.ends_with("\t0000000000000000")), "{capabilities}");
    assert!(capabilities.contains("CapBnd:\t0000000000000400"), "{capabilities}");

    let pingers = std::fs::read_to_string(site.path().join("shop/pingers")).unwrap();
    let pingers: Vec<u32> = pingers.split_whitespace().map(|gid| gid.parse().unwrap()).collect();
    assert!(pingers[0] <= pingers[1], "its own group may ask for an echo: {pingers:?}");

    let prepared_on = std::fs::read_to_string(site.path().join("shop/prepared-on")).unwrap();
    let machine = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(Path::new(prepared_on.trim()), machine, "it may have to download something");

    let address = std::fs::read_to_string(site.path().join("shop/api-address")).unwrap();
    let address = address.lines().next().unwrap();
    assert_eq!(router.shop(&format!("/fetch/{address}:3000/")).status, 200, "{address}\n{}", router.log());
    let own = router.shop("/fetch/store:1/");
    assert_eq!(own.status, 502, "an undeclared port: {}", own.text());
    let http = router.http.port();
    for elsewhere in [
        "ws-server-shop-api.workspaces:3000".to_owned(),
        "store:6379".to_owned(),
        format!("{address}:3000"),
        format!("{address}:{http}"),
        format!("127.0.0.1:{http}"),
        "203.0.113.1:80".to_owned(),
    ] {
        let begin = Instant::now();
        let answer = ask(&router, "blog", &format!("/fetch/{elsewhere}/"));
        assert_eq!(answer.status, 502, "{elsewhere}: {}", answer.text());
        assert!(begin.elapsed() < Duration::from_secs(5), "{elsewhere} took {:?}", begin.elapsed());
    }
    let blog = site.path().join("blog");
    assert!(blog.join("tried").exists() && !blog.join("entered").exists());
    // Each is refused: the kernel's own words about what cannot be reached are few, and the rest would hang.
    let begin = Instant::now();
    for host in 1..=20 {
        assert_eq!(ask(&router, "blog", &format!("/fetch/203.0.113.{host}:80/")).status, 502);
    }
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(router.stop(), Some(0));
}

#[test]
fn a_killed_router_without_rights_finds_its_replicas_and_their_network_again() {
    let Some(site) = site() else { return };
    let router = start(&site, &[]);
    let before = all_of_web(&router, 3);
    finds_api_and_store(&router);
    router.kill();
    let router = start(&site, &[]);
    assert_eq!(all_of_web(&router, 3), before, "the same processes");
    finds_api_and_store(&router);
    // What is started now is on the same network.
    let admin = format!("http://{}", router.admin);
    let restart = as_user(&site, "bin/landscape-router").args(["restart", "shop/api", "--admin", &admin]).status();
    assert!(restart.unwrap().success());
    finds_api_and_store(&router);
}

#[test]
fn a_router_without_rights_is_taken_over_with_and_without_replicas() {
    let Some(site) = site() else { return };
    let mut first = start(&site, &[]);
    let mut second = start(&site, &["--take-over"]);
    assert_eq!(first.wait(), Some(0));
    let before = all_of_web(&second, 3);
    finds_api_and_store(&second);
    let third = start(&site, &["--take-over"]);
    assert_eq!(second.wait(), Some(0));
    assert_eq!(all_of_web(&third, 3), before, "the same processes");
    finds_api_and_store(&third);
}

#[test]
fn a_changed_configuration_leaves_what_runs_where_it_can_be_reached() {
    let Some(site) = site() else { return };
    site.write("router.yaml", &ROUTER.replace("user", "auto"));
    let mut on_the_machine = start(&site, &[]);
    let before = all_of_web(&on_the_machine, 3);

    site.write("router.yaml", ROUTER);
    on_the_machine.await_log("stop it and start it anew");
    let successor = start(&site, &["--take-over"]);
    assert_eq!(on_the_machine.wait(), Some(0));
    assert!(successor.log().contains("start this one without --take-over"), "{}", successor.log());
    assert_eq!(all_of_web(&successor, 3), before, "the same processes");
    assert_eq!(successor.stop(), Some(0));

    let router = start(&site, &[]);
    let before = all_of_web(&router, 3);
    finds_api_and_store(&router);
    router.kill();
    site.write("router.yaml", &ROUTER.replace("user", "\"off\""));
    let router = start(&site, &[]);
    assert_eq!(all_of_web(&router, 3), before, "the same processes");
    finds_api_and_store(&router);
}

#[test]
fn where_user_namespaces_are_forbidden_the_router_says_so_and_serves_without() {
    let Some(site) = site() else { return };
    let inside = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --ambient-caps=-all \
                  bin/landscape-router run --config router.yaml";
    let unshare = |then: &[&str]| {
        let mut unshare = by_user(Command::new("unshare"), &site);
        unshare.args(["--user", "--map-current-user", "--keep-caps"]).args(then);
        unshare
    };
    if !unshare(&["setpriv", "--version"]).status().is_ok_and(|status| status.success()) {
        return skipped(
            "a machine without user namespaces is not tested: unshare and setpriv of util-linux are missing",
        );
    }
    let router = Router::launch(unshare(&["sh", "-c", inside]));
    assert!(router.log().contains("sysctl user.max_user_namespaces"), "{}", router.log());
    assert_eq!(all_of_web(&router, 3).len(), 3);
    assert_eq!(router.stop(), Some(0));
}

#[test]
fn check_says_what_a_user_namespace_cannot_give() {
    let Some(site) = site() else { return };
    let check = as_user(&site, "bin/landscape-router")
        .args(["check", "--config", "router.yaml"])
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    let told = String::from_utf8(check.stdout).unwrap();
    assert!(check.status.success(), "{told}");
    assert!(told.contains("nothing outside of this machine"), "{told}");
}
