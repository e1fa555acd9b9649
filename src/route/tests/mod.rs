//! Tables built from landscapes, asked.

mod explained;
mod reference;

use std::path::PathBuf;
use std::sync::Arc;

use super::{Conflict, Lookup, Route, Table, TableBuilder};
use crate::landscape::{
    Health, Home, LandscapeSpec, PathRule, PathTarget, Plan, Port, ServiceKey, ServiceSpec, TargetUrl, Workload,
};

/// A service by its name, its paths (prefix, whether it is stripped, port) and its public ports.
pub(super) struct Given<'g> {
    pub(super) name: &'g str,
    pub(super) paths: Vec<(&'g str, bool, u16)>,
    pub(super) public: Vec<u16>,
}

pub(super) fn given<'g>(name: &'g str, paths: &[(&'g str, bool, u16)], public: &[u16]) -> Given<'g> {
    Given { name, paths: paths.to_vec(), public: public.to_vec() }
}

pub(super) fn landscape(id: &str, services: &[Given<'_>]) -> LandscapeSpec {
    let home = Arc::new(Home::new(id, "", "localhost", PathBuf::from("/srv")));
    let service = |g: &Given<'_>| {
        let rule = |&(prefix, strip, port): &(&str, bool, u16)| PathRule {
            prefix: prefix.to_owned(),
            strip,
            to: PathTarget::Port(port),
        };
        let spec = ServiceSpec {
            key: ServiceKey::new(id, g.name),
            home: home.clone(),
            workload: Workload::Reactive { steps: Vec::new(), base: None },
            plan: Plan { id: "1".into(), cpu: 1.0, memory: 1, max_replicas: 1 },
            replicas: 1,
            health: Health::Default,
            ports: g.public.iter().map(|&number| Port { number, public: true }).collect(),
            primary_port: 3000,
            paths: g.paths.iter().map(rule).collect(),
            env: Default::default(),
            user: None,
            group: None,
            mounts: Vec::new(),
        };
        (spec.key.service.clone(), Arc::new(spec))
    };
    LandscapeSpec {
        home: home.clone(),
        prepare: Vec::new(),
        test: Vec::new(),
        services: services.iter().map(service).collect(),
    }
}

/// A table whose targets are `<service>:<port>`.
pub(super) fn builder(landscapes: &[LandscapeSpec]) -> TableBuilder<String> {
    let mut builder = TableBuilder::new("localhost");
    for spec in landscapes {
        builder.landscape(spec, |service, to| match to {
            PathTarget::Port(port) => format!("{}:{port}", service.key.service),
            PathTarget::Url(url) => format!("{}:{url}", service.key.service),
        });
    }
    builder
}

pub(super) fn shop() -> LandscapeSpec {
    landscape(
        "4711",
        &[
            given("web", &[("/", true, 3000)], &[]),
            given("api", &[("/api", true, 3000), ("/raw", false, 9000)], &[9000]),
            given("docs", &[("/api/docs", false, 3000)], &[3000]),
            given("more", &[], &[3000]),
        ],
    )
}

/// What was found, in short.
pub(super) fn told<T: AsRef<str>>(lookup: Lookup<'_, T>, path: &str) -> String {
    let short = |r: &Route<T>| format!("{}/{} {}", r.landscape, r.target.as_ref(), r.rewrite(path));
    match lookup {
        Lookup::Found(route) => short(route),
        Lookup::Shared(routes) => routes.iter().map(|r| short(r)).collect::<Vec<_>>().join(" | "),
        Lookup::NoRoute { landscape } => format!("no route {}", landscape.map_or("-", |id| id)),
        Lookup::UnknownHost => "unknown host".to_owned(),
        Lookup::Invalid { landscape, reason } => format!("invalid {landscape}: {reason}"),
    }
}

fn ask(table: &Table<String>, host: &str, path: &str) -> String {
    told(table.lookup(host, path), path)
}

#[test]
fn a_dev_host_leads_by_the_longest_path() {
    let table = builder(&[shop()]).build().unwrap();
    for (path, expected) in [
        ("/", "4711/web:3000 /"),
        ("/apidocs", "4711/web:3000 /apidocs"),
        ("/api", "4711/api:3000 /"),
        ("/api/", "4711/api:3000 /"),
        ("/api?x=1", "4711/api:3000 /?x=1"),
        ("/api/users?x=1", "4711/api:3000 /users?x=1"),
        ("/api%2Fdocs", "4711/web:3000 /api%2Fdocs"),
        ("/api/%2Fdocs", "4711/api:3000 /%2Fdocs"),
        ("/api/docs/x", "4711/docs:3000 /api/docs/x"),
        ("/api//evil.example", "4711/api:3000 /evil.example"),
        ("/raw/x", "4711/api:9000 /raw/x"),
        ("//api", "4711/web:3000 //api"),
    ] {
        assert_eq!(ask(&table, "4711.localhost", path), expected, "{path}");
    }
}

#[test]
fn a_host_is_compared_without_case_port_and_final_dot() {
    let table = builder(&[shop()]).build().unwrap();
    for host in ["4711.localhost", "4711.LOCALHOST:8080", "4711.localhost.", "4711.localhost.:80"] {
        assert_eq!(ask(&table, host, "/"), "4711/web:3000 /", "{host}");
        assert!(table.knows_host(host));
    }
    for host in ["localhost", "4712.localhost", "x.4711.localhost", "4711.localhost.example", "4711", ""] {
        assert_eq!(ask(&table, host, "/"), "unknown host", "{host}");
        assert!(!table.knows_host(host));
    }
}

#[test]
fn a_public_ports_host_serves_that_port_without_paths() {
    let table = builder(&[shop()]).build().unwrap();
    assert_eq!(ask(&table, "4711-9000.localhost", "/api/x"), "4711/api:9000 /api/x");
}

#[test]
fn another_ports_host_falls_to_the_paths() {
    let table = builder(&[shop()]).build().unwrap();
    assert_eq!(ask(&table, "4711-5555.localhost", "/api/x"), "4711/api:3000 /x");
    assert_eq!(ask(&table, "4711-3000.localhost", "/api/x"), "4711/api:3000 /x", "public in two services");
    for host in
        ["4711-0.localhost", "4711-09000.localhost", "4711-65536.localhost", "4711-.localhost", "4712-1.localhost"]
    {
        assert_eq!(ask(&table, host, "/"), "unknown host", "{host}");
    }
}

#[test]
fn an_id_wins_over_a_port_that_looks_alike() {
    let other = landscape("4711-9000", &[given("other", &[("/", false, 1)], &[])]);
    let table = builder(&[shop(), other]).build().unwrap();
    assert_eq!(ask(&table, "4711-9000.localhost", "/"), "4711-9000/other:1 /");
}

#[test]
fn a_landscape_without_a_root_path_has_no_route_there() {
    let table = builder(&[landscape("a", &[given("web", &[("/web", false, 1)], &[])])]).build().unwrap();
    assert_eq!(ask(&table, "a.localhost", "/webs"), "no route a");
    assert_eq!(ask(&table, "a.localhost", "*"), "no route a");
}

#[test]
fn a_domain_leads_to_a_landscape_and_keeps_the_path() {
    let mut b = builder(&[shop()]);
    b.domain("Shop.Example", &[("/", vec!["4711"]), ("/only/", vec!["4711"])]);
    b.domain("api.example.", &[("/api", vec!["4711"])]);
    let table = b.build().unwrap();
    assert_eq!(ask(&table, "shop.example:443", "/api/x"), "4711/api:3000 /x");
    assert_eq!(ask(&table, "api.example", "/api/x"), "4711/api:3000 /x");
    assert_eq!(ask(&table, "api.example", "/"), "no route -");
}

#[test]
fn a_wildcard_covers_every_name_below_and_the_nearest_wins() {
    let a = landscape("a", &[given("a", &[("/", false, 1)], &[])]);
    let b = landscape("b", &[given("b", &[("/", false, 1)], &[])]);
    let mut table = builder(&[a, b]);
    table.domain("*.example", &[("/", vec!["a"])]);
    table.domain("*.x.example", &[("/", vec!["b"])]);
    table.domain("y.x.example", &[("/", vec!["a"])]);
    table.domain("*.localhost", &[("/", vec!["b"])]);
    let table = table.build().unwrap();
    for (host, expected) in [
        ("z.example", "a/a:1 /"),
        ("x.example", "a/a:1 /"),
        ("Z.X.Example", "b/b:1 /"),
        ("w.z.x.example", "b/b:1 /"),
        ("y.x.example", "a/a:1 /"),
        ("example", "unknown host"),
        (".example", "unknown host"),
        ("a.localhost", "a/a:1 /"),
        ("nobody.localhost", "b/b:1 /"),
    ] {
        assert_eq!(ask(&table, host, "/"), expected, "{host}");
    }
}

#[test]
fn an_exact_domain_shadows_a_dev_host() {
    let a = landscape("a", &[given("a", &[("/", false, 1)], &[])]);
    let b = landscape("b", &[given("b", &[("/", false, 1)], &[])]);
    let mut table = builder(&[a, b]);
    table.domain("a.localhost", &[("/", vec!["b"])]);
    assert_eq!(ask(&table.build().unwrap(), "a.localhost", "/"), "b/b:1 /");
}

#[test]
fn several_landscapes_share_a_domain() {
    let a = landscape("a", &[given("a", &[("/", false, 1), ("/x", true, 2)], &[])]);
    let b = landscape("b", &[given("b", &[("/x", false, 3)], &[])]);
    let mut table = builder(&[a, b]);
    table.invalid("c".into(), "never good");
    table.domain("s.example", &[("/", vec!["a", "b", "a", "c"])]);
    table.domain("bc.example", &[("/", vec!["b", "c"])]);
    table.domain("none.example", &[("/", Vec::<&str>::new())]);
    let table = table.build().unwrap();
    assert_eq!(ask(&table, "s.example", "/x/y"), "a/a:2 /y | b/b:3 /x/y");
    assert_eq!(ask(&table, "s.example", "/"), "a/a:1 /");
    assert_eq!(ask(&table, "bc.example", "/x"), "b/b:3 /x");
    assert_eq!(ask(&table, "bc.example", "/"), "invalid c: never good");
    assert_eq!(ask(&table, "none.example", "/"), "no route -");
}

#[test]
fn a_landscape_that_never_was_good_says_so() {
    let mut table = builder(&[shop()]);
    table.invalid("bad".into(), "no steps");
    let table = table.build().unwrap();
    assert_eq!(ask(&table, "bad.localhost", "/x"), "invalid bad: no steps");
    assert_eq!(ask(&table, "bad-3000.localhost", "/x"), "invalid bad: no steps");
}

#[test]
fn a_headless_path_is_stripped_like_any_other() {
    let mut spec = landscape("a", &[given("ext", &[("/ext", true, 1)], &[])]);
    let url = TargetUrl { tls: true, host: "h.example".into(), port: 443, base_path: "/v1".into(), secret: false };
    let service = Arc::make_mut(&mut spec.services["ext"]);
    service.workload = Workload::Headless;
    service.paths[0].to = PathTarget::Url(url);
    let table = builder(&[spec]).build().unwrap();
    assert_eq!(ask(&table, "a.localhost", "/ext/y?z"), "a/ext:https://h.example:443/v1 /y?z");
}

#[test]
fn contradictions_are_told_all_together() {
    let twice = landscape("a", &[given("one", &[("/x", false, 1)], &[]), given("two", &[("/x/", false, 1)], &[])]);
    let mut table = builder(&[twice, landscape("a", &[])]);
    table.domain("d.example", &[("/", vec!["a"]), ("//", vec!["a"])]);
    table.domain("D.example", &[("/", vec!["nobody"])]);
    let conflicts = table.build().unwrap_err();
    assert_eq!(conflicts.len(), 5, "{conflicts:#?}");
    assert!(matches!(&conflicts[0], Conflict::Path { first, second, .. } if &**first == "one" && &**second == "two"));
    assert!(matches!(&conflicts[1], Conflict::Landscape(_)));
    let all: Vec<String> = conflicts.iter().map(ToString::to_string).collect();
    assert!(all[0].contains("services one and two of landscape a both claim path /x"), "{all:?}");
    assert!(all.iter().any(|c| c.contains("nobody")), "{all:?}");
}
