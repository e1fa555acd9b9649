//! Files that are wrong: every mistake has its place and a remedy, and the rest goes on.

use std::process::Command;

use crate::support::{Router, Site, get, router_yaml};

const GOOD: &str = "schemaVersion: v0.2
run:
  web:
    steps: [{ command: ./test-app }]
    network: { paths: [{ port: 3000, path: / }] }
";

/// A ci.yml of one service `web` with `more` in it, a line each, and what follows it.
fn web(more: &str) -> String {
    format!("{GOOD}    {more}\n")
}

/// The exit code of `check`, and everything it says.
fn check(site: &Site) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_landscape-router"))
        .args(["check", "--config", "router.yaml"])
        .current_dir(site.path())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// What `check` says of this router.yaml, all of `words` among it; `run` has to refuse it as well.
#[track_caller]
fn refused(router: &str, words: &[&str]) {
    let site = Site::new(router, GOOD);
    let (code, said) = check(&site);
    assert_eq!(code, 1, "{said}");
    for text in [said, Router::refusal(&site)] {
        assert!(words.iter().all(|w| text.contains(w)), "{words:?} in\n{text}");
    }
}

/// What `check` says of this ci.yml; its place (`line:column`) and all of `words` among it.
#[track_caller]
fn judged(ci: &str, code: i32, words: &[&str]) {
    let site = Site::new(&router_yaml(""), ci);
    let (was, said) = check(&site);
    assert_eq!(was, code, "{said}");
    assert!(words.iter().all(|w| said.contains(w)), "{words:?} in\n{said}");
}

fn bomb(landscapes: &str) -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let refer = format!("*a{}", n - 1);
        text.push_str(&format!("a{n}: &a{n} [{}]\n", [refer.as_str(); 10].join(", ")));
    }
    text + landscapes
}

#[test]
fn mistakes_of_router_yaml_have_their_place_and_a_remedy() {
    refused(
        &router_yaml("").replace("landscapes:", "landscape:"),
        &["router.yaml:4:1: error", "did you mean `landscapes`"],
    );
    refused(
        &router_yaml("hold: { maxRequests: lots }"),
        &["router.yaml:2:22: error: hold.maxRequests", "whole number", "found text"],
    );
    refused(&router_yaml("hold:\n\tmaxRequests: 1"), &["router.yaml:3:1: error", "tab"]);
    refused(
        &router_yaml("backend: process\nbackend: process"),
        &["router.yaml:3:1: error: backend", "twice", "line 2"],
    );
    refused(&bomb(&router_yaml("")), &["router.yaml:", "aliases"]);
    refused(&(router_yaml("") + &"#".repeat(10 << 20)), &["router.yaml: error", "bytes", "at most"]);
    refused("", &["router.yaml", "empty"]);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let router = router_yaml("backend: proces\ntimeouts: { connct: 2s, header: soon }");
    refused(&router, &["router.yaml:2:10", "`process`", "did you mean `connect`", "router.yaml:3:33"]);
}

#[test]
fn mistakes_of_a_landscape_have_their_place_and_a_remedy() {
    judged(&web("replica: 2"), 0, &["ci.yml:6:5: warning: run.web.replica", "did you mean `replicas`"]);
    judged(&web("replicas: many"), 1, &["ci.yml:6:15: error: run.web.replicas", "whole number"]);
    judged(&web("plan: 8\n\treplicas: 2"), 1, &["ci.yml:7:1: error", "tab"]);
    judged(&web("replicas: 1\n    replicas: 2"), 0, &["ci.yml:7:5: warning: run.web.replicas", "twice", "line 6"]);
    judged(&bomb(GOOD), 1, &["ci.yml:", "aliases"]);
    judged(&(GOOD.to_owned() + &"#".repeat(10 << 20)), 1, &["ci.yml: error", "bytes", "at most"]);
    judged("", 1, &["ci.yml: error", "empty"]);
    let twice = GOOD
        .replace("run:", "run:\n  api:\n    steps: [{ command: x }]\n    network: { paths: [{ path: /, port: 1 }] }");
    judged(&twice, 1, &["error", "`api`", "`web`", "path"]);
    judged(&web("env: { A: \"${{ vault.NOPE }}\" }"), 1, &["ci.yml:6:15: error: run.web.env.A", "NOPE", "vault"]);
    judged(
        &web("volumeMounts: [{ name: _workspace, mountPath: /data, workspacePath: ../../etc }]"),
        1,
        &["run.web.volumeMounts[0].workspacePath", "leads out of the shared file system"],
    );
    judged(&web("plan: 77"), 0, &["warning: run.web.plan", "default plan"]);
}

#[test]
fn without_a_default_plan_an_unknown_one_is_an_error() {
    let site = Site::new(&router_yaml("plans: { 8: { cpu: 1, memory: 1GiB, maxReplicas: 3 } }"), &web("plan: 77"));
    let (code, said) = check(&site);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("ci.yml:6:11: error: run.web.plan") && said.contains("default"), "{said}");
}

#[test]
fn targets_and_probes_do_not_reach_the_router_or_the_metadata() {
    for (target, why) in [
        ("http://127.0.0.1:9090/", "loopback"),
        ("http://localhost:9090/", "loopback"),
        ("http://[::1]:9090/", "loopback"),
        ("http://[::ffff:127.0.0.1]:9090/", "loopback"),
        ("http://2130706433:9090/", ""),
        ("http://0x7f.1:9090/", ""),
        ("http://0.0.0.0:9090/", "unspecified"),
        ("http://169.254.169.254/latest", "metadata"),
        ("http://u:p@example.com/", "password"),
        ("ftp://example.com/", ""),
    ] {
        let head = format!("  away:\n    network: {{ paths: [{{ path: /away, target: \"{target}\" }}] }}\n");
        judged(&(GOOD.to_owned() + &head), 1, &["error: run.away.network.paths[0].target", why]);
    }
    for health in ["http://169.254.169.254/", "http://example.com/", "http://10.0.0.1:9090/", "tcp://10.0.0.1:1"] {
        judged(&web(&format!("healthEndpoint: {health}")), 1, &["error: run.web.healthEndpoint", "localhost"]);
    }
}

#[test]
fn the_rest_goes_on_beside_a_missing_an_empty_and_a_broken_landscape() {
    let more = "  - { id: gone, ci: gone/ci.yml, root: shop }\n  - { id: void, ci: void.yml, root: shop }\n  \
                - { id: broken, ci: broken.yml, root: shop }\n";
    let site = Site::new(&(router_yaml("") + more), GOOD);
    site.write("void.yml", "");
    site.write("broken.yml", "run: [");
    let router = Router::start(&site);
    assert_eq!(router.shop("/").status, 200);
    for id in ["gone", "void", "broken"] {
        let answer = router.get(&format!("{id}.localhost"), "/");
        assert_eq!((answer.status, answer.header("x-landscape-error")), (503, Some("landscape-invalid")), "{id}");
        let text = answer.text();
        assert!(!text.contains(".yml") && !text.contains('/'), "nothing of the inside: {text}");
        assert!(
            router.log().contains(&format!("{id}{}", if id == "gone" { "/ci.yml" } else { ".yml" })),
            "{}",
            router.log()
        );
        let told = router.api(&format!("landscapes/{id}")).to_string();
        assert!(told.contains(".yml"), "{told}");
    }
    // And comes to life with its file.
    site.write("void.yml", GOOD);
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while router.get("void.localhost", "/").status != 200 {
        assert!(std::time::Instant::now() < deadline, "{}", router.log());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let http = router_yaml("").replace("http: [\"127.0.0.1:0\"]", &format!("http: [\"{address}\"]"));
    let admin = router_yaml("").replace("admin: \"127.0.0.1:0\"", &format!("admin: \"{address}\""));
    for yaml in [http, admin] {
        let said = Router::refusal(&Site::new(&yaml, GOOD));
        assert!(said.contains(&address) && said.contains("another"), "{said}");
    }
}

#[test]
fn a_port_in_use_at_a_reload_leaves_everything_as_it_was() {
    let site = Site::new(&router_yaml(""), GOOD);
    let router = Router::start(&site);
    assert_eq!(router.shop("/").status, 200);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let more = format!("http: [\"127.0.0.1:0\", \"{address}\"]");
    site.write("router.yaml", &router_yaml("").replace("http: [\"127.0.0.1:0\"]", &more));
    router.await_metric("landscape_router_config_last_reload_successful", 0.0);
    assert!(router.log().contains(&address), "{}", router.log());
    assert_eq!(get(router.http, "shop.localhost", "/").status, 200, "the old listener still serves");
    drop(taken);
    router.hangup();
    router.await_metric("landscape_router_config_last_reload_successful", 1.0);
    assert_eq!(get(address.parse().unwrap(), "shop.localhost", "/").status, 200);
}
