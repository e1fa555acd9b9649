//! Every bad router.yaml has a clear error at its place.

use super::{CI, Folder, SHOP, only, told};

#[test]
fn a_misspelt_key_is_told_with_the_nearest_one() {
    assert_eq!(
        only("defaults: { idelAfter: 5m }"),
        "router.yaml:1:13: error: defaults.idelAfter: unknown key `idelAfter`; did you mean `idleAfter`?"
    );
    assert!(only("zzz: 1").contains("unknown key `zzz`; known here: accessLog, backend"));
}

#[test]
fn a_wrong_type_is_told_with_what_was_expected() {
    assert_eq!(
        only("listen: { http: 8080 }"),
        "router.yaml:1:17: error: listen.http: expected a list, found a whole number; write it as a list: `[…]`"
    );
    assert!(
        only("timeouts: { connect: 2 }")
            .contains("expected a duration such as `500ms`, `90s` or `60m`, found a whole number; add a unit")
    );
    assert!(
        only("timeouts: { connect: 2x }").contains("expected a duration such as `500ms`, `90s` or `60m`, found `2x`")
    );
    assert!(only("timeouts: { connect: 0s }").contains("it may not be zero"));
    assert!(only("limits: { headers: 3 }").contains("expected a whole number from 16 to 10000, found 3"));
    assert!(only("limits: { headers: 1.5 }").contains("expected a whole number from 16 to 10000, found a number"));
    assert!(only("limits: { header: 1KiB }").contains("expected a size from 8KiB to 16MiB, found 1KiB"));
    assert!(
        only("process: { allowRoot: yes }").contains("expected true or false, found text; write `true` or `false`")
    );
    assert_eq!(
        only("private: { egress: null }"),
        "router.yaml:1:20: error: private.egress: expected true or false, found nothing; give it a value, or remove the key"
    );
    assert!(only("listen:").contains("expected a mapping, found nothing; give it a value, or remove the key"));
    assert!(only("trustedProxies: [10.1.0.0/8]").contains("the network is 10.0.0.0/8"));
}

#[test]
fn a_word_of_a_few_is_told_with_the_nearest_one() {
    assert!(
        only("defaults: { mode: allways-on }")
            .contains("expected `off-when-unused` or `always-on`, found `allways-on`; did you mean `always-on`?")
    );
    assert!(only("defaults: { whenIdle: sleep }").contains("expected `stop` or `pause`, or a mapping, found `sleep`"));
    assert!(
        only("defaults: { whenIdle: [stop] }")
            .contains("expected `stop`, `pause` or `{ pause: …, then: … }`, found a list")
    );
    assert!(only("defaults: { whenIdle: { pause: 10m } }").contains("the key `then` is missing"));
    assert!(
        only("defaults: { traffic: [{path: /a, then: { answerWhileAsleep: { status: 200, bdy: x } } }] }")
            .contains("did you mean `body`?")
    );
}

#[test]
fn keys_of_later_features_say_so() {
    for (head, feature) in [
        ("listen: { https: [] }", "TLS at the router's own listeners"),
        ("listen: { proxyProtocol: true }", "the PROXY protocol"),
        ("cluster: {}", "several routers as one without Kubernetes"),
        ("traces: {}", "traces"),
        ("requestRecords: {}", "request records"),
    ] {
        assert!(only(head).contains(feature) && only(head).contains("not available"), "{head}: {}", only(head));
    }
}

#[test]
fn yaml_that_is_none_is_told_at_its_place() {
    assert!(only("listen:\n\tadmin: x").starts_with("router.yaml:2:1: error: a tab is used as indentation"));
    assert_eq!(
        only("threads: 1\nthreads: 2"),
        "router.yaml:2:1: error: threads: this key is given twice, before on line 1; the last one counts; remove one of them"
    );
    assert!(told("").iter().any(|m| m.starts_with("router.yaml: error: the file is empty")));
    assert!(told("a: &a [*a]").iter().any(|m| m.contains("own anchor")));
    assert!(told(&"# x\n".repeat(3_000_000)).iter().any(|m| m.contains("bytes; at most")), "10 MB");
    assert!(told("landscapes:\n  - id: sh").iter().any(|m| m.contains("expected `ci`, `root` or both")), "half-way");
    assert!(told("landscapes:\n  - id: \"sho").iter().any(|m| m.contains("close the quotes")), "half-way");
    assert!(told("threads: 2\n").iter().any(|m| m.contains("the key `landscapes` is missing")));
    assert!(told("- 1\n").iter().any(|m| m.contains("expected a mapping, found a list")));
}

#[test]
fn everything_wrong_is_told_at_once() {
    let folder = Folder::new();
    folder.write("blog/ci.yml", "run: 3\n");
    let loaded = folder.check(
        "threads: 0\nmode: x\ndefaults: {idleAfter: soon}\nlisten: {http: ['127.0.0.1:80', '127.0.0.1:80']}\ndomains: \
         {a.b: {/: [nobody]}}\nvault: {fil: x}\nlandscapes:\n  - {id: shop, root: shop}\n  - {id: blog, root: blog, tem: '7'}\n  \
         - {id: shop, root: shop}\n",
    );
    let all = folder.told(&loaded);
    let starts = [
        "router.yaml:1:10: error: threads: expected a whole number from 1 to 256, found 0",
        "router.yaml:2:1: error: mode: unknown key `mode`",
        "router.yaml:3:23: error: defaults.idleAfter: expected a duration",
        "router.yaml:4:33: error: listen.http[1]: 127.0.0.1:80 is listened on already",
        "router.yaml:5:21: error: domains[\"a.b\"][\"/\"][0]: there is no landscape `nobody`",
        "router.yaml:6:9: error: vault.fil: unknown key `fil`; did you mean `file`?",
        "router.yaml:9:28: error: landscapes[1].tem: unknown key `tem`; did you mean `team`?",
        "router.yaml:10:10: error: landscapes[2].id: the id `shop` is given twice",
        "blog/ci.yml:1:6: error: run",
    ];
    assert_eq!(all.len(), starts.len(), "{all:#?}");
    for (told, start) in all.iter().zip(starts) {
        assert!(told.starts_with(start), "{told}\n{start}");
    }
}

#[test]
fn ids_that_a_host_could_confuse_are_refused() {
    let two =
        |a: &str, b: &str| told(&format!("landscapes:\n  - {{id: {a}, root: shop}}\n  - {{id: {b}, root: shop}}\n"));
    assert!(
        two("a", "a")[0].starts_with("router.yaml:3:10: error: landscapes[1].id: the id `a` is given twice"),
        "{:?}",
        two("a", "a")
    );
    assert!(two("a", "a-3000")[0].contains("`a-3000` is also the host of port 3000 of landscape `a`"));
    assert!(two("a-3000", "a")[0].starts_with("router.yaml:2:10"));
    assert!(two("a", "a-b").is_empty() && two("a", "a-70000").is_empty());
}

#[test]
fn state_and_roots_stay_apart() {
    let all = told("state: shop/.state\nlandscapes:\n  - {id: shop, root: shop}\n");
    assert!(all[0].contains("lies inside this root"), "{all:?}");
    let folder = Folder::new();
    folder.write("ci.yml", CI);
    std::os::unix::fs::symlink("shop", folder.path().join("link")).unwrap();
    let all = folder.told(&folder.check("state: link/s\nlandscapes:\n  - {id: shop, root: shop}\n"));
    assert!(all[0].contains("lies inside this root"), "a link: {all:?}");
    let all = folder.told(&folder.check("landscapes:\n  - {id: shop, root: .}\n"));
    assert!(all[0].contains("state: ../.landscape-router"), "{all:?}");
}

#[test]
fn a_missing_root_makes_its_landscape_invalid() {
    let folder = Folder::new();
    let loaded = folder.check("landscapes:\n  - {id: a, root: nowhere}\n  - {id: shop, root: shop}\n");
    assert!(folder.told(&loaded)[0].starts_with("router.yaml:2:19: error: landscapes[0].root: there is no folder"));
    let landscapes = loaded.settings.unwrap().landscapes;
    assert!(landscapes[0].spec.is_err() && landscapes[1].spec.is_ok());
}

#[test]
fn listeners_do_not_clash() {
    assert!(only("listen: { http: ['127.0.0.1:9090'] }").contains("is the admin listener's address"));
    assert!(only("listen: { http: ['0.0.0.0:80', '127.0.0.1:80'] }").contains("listened on already"));
    assert!(only("listen: { admin: '0.0.0.0:9090' }").contains("adminRemote: true"));
    assert!(told(&format!("listen: {{ admin: '0.0.0.0:9090', adminRemote: true }}\n{SHOP}")).is_empty());
    assert!(only("listen: { http: [] }").contains("expected at least one item"));
    assert!(only("listen: { http: ['localhost:80'] }").contains("write 127.0.0.1"));
}

#[test]
fn services_that_ci_yml_does_not_have_are_told() {
    let services = |s: &str| told(&format!("{SHOP}    services: {s}\n"));
    let all = services("{wbe: {mode: always-on}}");
    assert_eq!(
        all,
        ["router.yaml:4:16: error: landscapes[0].services.wbe: the ci.yml has no service `wbe`; did you mean `web`?"]
    );
    assert!(services("{web: {dependsOn: [dp]}}")[0].contains("no service `dp`; did you mean `db`?"));
    assert!(services("{web: {dependsOn: [db]}, db: {dependsOn: [web]}}")[0].contains("`web` → `db` → `web`"));
}

#[test]
fn domains_lead_to_landscapes_that_exist() {
    assert!(
        only("domains: { a.example.com: { /: [shpo] } }")
            .contains("there is no landscape `shpo`; did you mean `shop`?")
    );
    assert!(only("domains: { a.example.com: { /: [shop], /x: [], } }").contains("at least one landscape"));
    assert!(
        only("domains: { a.example.com: { x: [shop] } }").contains("expected a path that begins with `/`, found `x`")
    );
    assert!(only("domains: { 'a.b:80': { /: [shop] } }").contains("leave out scheme, port and path"));
    assert!(only("domains: { a.b: { /x: [shop], /x/: [shop] } }").contains("given twice"));
    assert!(only("domains: { a.b: { /: [shop] }, A.b: { /: [shop] } }").contains("given twice"));
    assert!(only("domains: { shop.localhost: { /: [shop] } }").contains("hides a development host"));
}

#[test]
fn plans_without_a_default_do_not_serve_unknown_ones() {
    let folder = Folder::new();
    folder.write("shop/ci.yml", CI.replace("    network", "    plan: 8\n    network"));
    let loaded = folder.check(&format!("plans: {{9: {{cpu: 1, memory: 1GiB}}}}\n{SHOP}"));
    let all = folder.told(&loaded);
    assert!(all.iter().any(|m| m.starts_with("shop/ci.yml:6:") && m.contains("no default plan")), "{all:?}");
    assert!(only("plans: { default: {cpu: 1, memory: 1GiB}, big: {cpu: 1, memory: 1GiB} }").contains("found `big`"));
    assert!(
        only("plans: { default: {cpu: 0, memory: 1GiB}, 8: {cpu: 1, memory: 1GiB} }").contains("from 0.01 to 1024")
    );
}

#[test]
fn vaults_and_registries() {
    assert!(only("vault: {}").contains("expected one of `file` and `env`"));
    assert!(only("vault: { file: none.yaml }").contains("none.yaml: there is no such file"));
    assert!(
        only("registries: { 'https://r.example.com': { username: u, passwordFile: router.yaml } }")
            .contains("leave out scheme")
    );
    assert!(only("registries: { r: { username: u, passwordFile: none } }").contains("warning"));
    let folder = Folder::new();
    folder.write("secrets.yaml", "A: hunter2\nB: [hunter2]\n");
    let loaded = folder.check(&format!("vault: {{file: secrets.yaml}}\n{SHOP}"));
    assert!(loaded.settings.is_none());
    assert!(!format!("{:?}", loaded.mistakes).contains("hunter2"), "{:?}", loaded.mistakes);
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    for head in [
        "registries: { r: { username: u, password: hunter2, passwordFile: router.yaml } }",
        "landscapes: [{id: a, root: shop, env: {KEY: [hunter2]}}]\nx: |",
    ] {
        let all = told(&format!("{head}\n{}", if head.starts_with('l') { "" } else { SHOP }));
        assert!(!all.is_empty() && !format!("{all:?}").contains("hunter2"), "{all:?}");
        let folder = Folder::new();
        let loaded = folder.check(&format!("{head}\n{}", if head.starts_with('l') { "" } else { SHOP }));
        assert!(!format!("{:?}", loaded.mistakes).contains("hunter2"), "{:?}", loaded.mistakes);
    }
}

#[test]
fn traffic_rules_are_checked() {
    let rule = |r: &str| only(&format!("defaults: {{ traffic: [{r}] }}"));
    assert!(rule("{then: wake}").contains("expected at least one of `path`"));
    assert!(rule("{path: /a*b, then: wake}").contains("`*` may only stand"));
    assert!(rule("{methods: [get], then: wake}").contains("found `get`; methods are upper case"));
    assert!(rule("{path: /a, then: sleep}").contains("expected `wake`, `onlyIfAwake`"));
    assert!(rule("{path: /a, then: {answerWhileAsleep: {status: 99}}}").contains("from 200 to 599"));
}

#[test]
fn networks_that_overlap_are_refused() {
    for (head, told) in [
        (
            "private: { addresses: 10.213.64.0/20 }",
            "router.yaml:1:23: error: private.addresses: 10.213.64.0/20 overlaps `docker.subnets`; choose another network",
        ),
        (
            "private: { addresses: 10.9.0.0/16, subnets: [10.9.4.0/24] }",
            "router.yaml:1:46: error: private.subnets[0]: 10.9.4.0/24 overlaps `private.addresses`; choose another network",
        ),
        (
            "private: { subnets: [10.213.0.0/16] }",
            "router.yaml:1:22: error: private.subnets[0]: 10.213.0.0/16 overlaps `docker.subnets`; choose another network",
        ),
        (
            "private: { subnets: [10.9.0.0/16, 10.9.4.0/24] }",
            "router.yaml:1:35: error: private.subnets[1]: 10.9.4.0/24 overlaps another one of the list; remove one of them",
        ),
        (
            "private: { loopback: 127.0.0.0/16 }",
            "router.yaml:1:22: error: private.loopback: expected a network from /16 to /24 of loopback, beyond 127.0.0.0/16, found 127.0.0.0/16; such as 127.83.0.0/16",
        ),
        (
            "docker: { subnets: [10.9.4.0/24, 10.9.0.0/16] }",
            "router.yaml:1:34: error: docker.subnets[1]: 10.9.0.0/16 overlaps another one of the list; remove one of them",
        ),
    ] {
        assert_eq!(only(head), told);
    }
}
