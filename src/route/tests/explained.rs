//! Explanations say what a lookup does, and why.

use super::{builder, given, landscape, shop};
use crate::landscape::{PathTarget, TargetUrl};
use crate::route::{Explanation, Outcome, Table};

fn table() -> Table<String> {
    let mut b = builder(&[shop(), landscape("b", &[given("web", &[("/", false, 1)], &[])])]);
    b.invalid("bad".into(), "no steps");
    b.domain("shop.example", &[("/", vec!["4711", "b"]), ("/bad", vec!["bad"])]);
    b.domain("api.example", &[("/api", vec!["4711"])]);
    b.build().unwrap()
}

fn explain(host: &str, path: &str) -> Explanation {
    table().explain(host, path)
}

fn says(lines: &[String], words: &str) -> bool {
    lines.iter().any(|line| line.contains(words))
}

#[test]
fn a_route_is_told_with_its_rule_and_what_nearly_matched() {
    let e = explain("4711.LOCALHOST:8080", "/api/docsy?x=1");
    let Outcome::Found { routes } = &e.outcome else { panic!("{e:?}") };
    let [route] = routes.as_slice() else { panic!("{e:?}") };
    assert_eq!((&*route.landscape, &*route.service, route.port), ("4711", "api", Some(3000)));
    assert_eq!((route.prefix.as_deref(), &*route.rewritten), (Some("/api"), "/docsy?x=1"));
    assert!(says(&e.because, "host 4711.localhost is landscape 4711"));
    assert!(says(&e.because, "path /api of service api in landscape 4711 is the longest"));
    assert!(says(&e.because, "removed (stripPath)"));
    assert!(says(&e.nearly, "path / of service web covers it too and is shorter"), "{e}");
    assert!(
        says(&e.nearly, "path /api/docs of service docs is close and does not cover it: only whole segments"),
        "{e}"
    );
    let text = e.to_string();
    assert!(text.contains("service    api\nport       3000\npath       /docsy?x=1\n"), "{text}");
}

#[test]
fn ports_are_told_apart_from_paths() {
    let e = explain("4711-9000.localhost", "/api");
    assert!(says(&e.because, "is the public port 9000 of service api"), "{e}");
    let e = explain("4711-3000.localhost", "/api");
    assert!(says(&e.because, "port 3000 is public in 2 services (docs, more)"), "{e}");
    let e = explain("4711-1.localhost", "/api");
    assert!(says(&e.because, "port 1 is not public"), "{e}");
}

#[test]
fn a_shared_domain_tells_every_landscape() {
    let e = explain("shop.example", "/x");
    let Outcome::Found { routes } = &e.outcome else { panic!("{e:?}") };
    assert_eq!(routes.len(), 2);
    assert!(says(&e.because, "custom domain whose path / leads to landscape 4711, b; the path is kept"), "{e}");
    assert!(e.to_string().contains("share the load"));
}

#[test]
fn what_is_not_found_tells_the_nearest() {
    let e = explain("4712.localhost", "/");
    assert_eq!(e.outcome, Outcome::UnknownHost);
    assert!(says(&e.nearly, "host 4711.localhost"), "{e}");
    let e = explain("sop.example", "/");
    assert!(says(&e.nearly, "host shop.example"), "{e}");
    let e = explain("api.example", "/other");
    assert_eq!(e.outcome, Outcome::NoRoute { landscape: None });
    assert!(says(&e.because, "none of its paths covers /other"), "{e}");
    let e = explain("api.example", "/apis?x");
    assert!(says(&e.nearly, "path /api of the domain is close and does not cover it: only whole segments"), "{e}");
    let only = builder(&[landscape("a", &[given("web", &[("/Shop", false, 1)], &[])])]).build().unwrap();
    let e = only.explain("a.localhost", "/shop/x");
    assert_eq!(e.outcome, Outcome::NoRoute { landscape: Some("a".into()) });
    assert!(says(&e.nearly, "path /Shop of service web is close"), "{e}");
}

#[test]
fn a_wildcard_is_named_and_a_host_told_once() {
    let mut b = builder(&[shop()]);
    b.domain("*.example", &[("/", vec!["4711"])]);
    b.domain("4711.localhost", &[("/x", vec!["4711"])]);
    let table = b.build().unwrap();
    let e = table.explain("any.thing.example", "/api");
    assert!(says(&e.because, "host any.thing.example is of the custom domain *.example whose path /"), "{e}");
    let nearly = table.explain("471.localhost", "/").nearly;
    assert_eq!(nearly.iter().filter(|line| *line == "host 4711.localhost").count(), 1, "{nearly:?}");
}

#[test]
fn a_path_that_would_leave_its_target_is_told_as_refused() {
    let url = TargetUrl { tls: false, host: "h.example".into(), port: 80, base_path: "/v1".into(), secret: false };
    let mut spec = landscape("a", &[given("web", &[("/ext", true, 1)], &[])]);
    let web = std::sync::Arc::make_mut(&mut spec.services[0]);
    web.paths[0].to = PathTarget::Url(url);
    let table = builder(&[spec]).build().unwrap();
    assert!(matches!(table.explain("a.localhost", "/ext/a/..%2f").outcome, Outcome::Refused { .. }));
    let e = table.explain("a.localhost", "/ext/../x");
    assert!(e.to_string().starts_with("refused by the route to a/web: the path holds dot segments"), "{e}");
    assert!(matches!(table.explain("a.localhost", "/ext/a?b=/../c").outcome, Outcome::Found { .. }));
}

#[test]
fn an_invalid_landscape_tells_why() {
    let e = explain("shop.example", "/bad");
    assert_eq!(e.outcome, Outcome::Invalid { landscape: "bad".into(), reason: "no steps".into() });
}

#[test]
fn programs_read_it_as_json() {
    let json = serde_json::to_value(explain("4711.localhost", "/api/x")).unwrap();
    assert_eq!(json["outcome"], "found");
    assert_eq!(json["routes"][0]["service"], "api");
    assert_eq!(json["routes"][0]["rewritten"], "/x");
    let json = serde_json::to_value(explain("nobody", "/")).unwrap();
    assert_eq!(json["outcome"], "unknown-host");
}
