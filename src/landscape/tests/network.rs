//! Ports, paths, their legacy form, and the primary port.

use super::{clean, one_mistake, refused, service, warned};
use crate::landscape::{Health, PathTarget, Port};
use crate::yaml::Severity;

const RUNS: &str = "    steps: [{command: x}]\n";

fn port(number: u16, public: bool) -> Port {
    Port { number, public }
}

#[test]
fn no_network_is_port_3000_private() {
    for network in ["", "    network:\n", "    network: {}\n", "    network: {paths: []}\n"] {
        let s = service(&format!("{RUNS}{network}"));
        assert_eq!(s.ports, [port(3000, false)], "{network}");
        assert!(!s.is_routed(), "{network}");
    }
    let s = service(&format!("{RUNS}    isPublic: true"));
    assert_eq!(s.ports, [port(3000, true)]);
}

#[test]
fn the_legacy_form_may_stand_beside_keys_without_a_value() {
    let s = service(
        "    steps: [{command: x}]\n    isPublic: true\n    network:\n      path: /\n      ports:\n      paths:",
    );
    assert_eq!((s.paths.len(), s.primary_port, s.ports[0].public), (1, 3000, true));
}

#[test]
fn the_legacy_form_is_one_route_to_port_3000() {
    let s = service(&format!("{RUNS}    isPublic: true\n    network: {{path: /api/, stripPath: true}}"));
    assert_eq!(s.ports, [port(3000, true)]);
    assert_eq!((&*s.paths[0].prefix, s.paths[0].strip, &s.paths[0].to), ("/api", true, &PathTarget::Port(3000)));
    let s = service(&format!("{RUNS}    network: {{path: /}}"));
    assert_eq!((&s.ports[..], s.paths[0].strip), (&[port(3000, false)][..], false));
}

#[test]
fn is_public_is_ignored_once_ports_are_declared() {
    let s = service(&format!(
        "{RUNS}    isPublic: true\n    network: {{ports: [{{port: 3000}}, {{port: 80, isPublic: true}}]}}"
    ));
    assert_eq!(s.ports, [port(3000, false), port(80, true)]);
    let s = service(&format!("{RUNS}    isPublic: true\n    network: {{ports: []}}"));
    assert_eq!(s.ports, [port(3000, false)]);
}

#[test]
fn without_ports_those_of_the_paths_are_declared() {
    let s = service(&format!("{RUNS}    network: {{paths: [{{port: 8080, path: /a}}, {{port: 8080, path: /b}}]}}"));
    assert_eq!(s.ports, [port(8080, false)]);
    assert_eq!(s.primary_port, 8080);
}

#[test]
fn two_paths_lead_to_two_ports() {
    let s = service(&format!(
        "{RUNS}    network:\n      ports: [{{port: 1000}}, {{port: 2000}}]\n      paths: [{{port: 1000, path: /a}}, {{port: 2000, path: /}}]"
    ));
    assert_eq!(s.primary_port, 2000);
    assert_eq!(s.all_ports(), [2000, 1000]);
}

#[test]
fn the_primary_port_is_found_in_order() {
    let of = |lines: &str| service(&format!("{RUNS}{lines}")).primary_port;
    let ports = "ports: [{port: 1}, {port: 2}, {port: 3}, {port: 4}]";
    let health = "    healthEndpoint: http://localhost:3/\n";
    assert_eq!(
        of(&format!("{health}    network: {{{ports}, paths: [{{path: /a, port: 4}}, {{path: /, port: 2}}]}}")),
        2
    );
    assert_eq!(
        of(&format!("{health}    network: {{{ports}, paths: [{{path: /a, port: 4}}, {{path: /b, port: 2}}]}}")),
        4
    );
    assert_eq!(of(&format!("{health}    network: {{{ports}}}")), 3);
    assert_eq!(of(&format!("    network: {{{ports}}}")), 1);
    assert_eq!(of(""), 3000);
}

#[test]
fn a_health_endpoint_may_probe_what_is_not_declared() {
    let of = |url: &str| service(&format!("{RUNS}    healthEndpoint: '{url}'")).health;
    let http = |port, path: &str, tls| Health::Http { port, path: path.into(), tls };
    assert_eq!(of("http://localhost:3000/"), http(3000, "/", false));
    assert_eq!(of("http://127.0.0.1:8080/health?full=1"), http(8080, "/health?full=1", false));
    assert_eq!(of("https://[::1]"), http(443, "/", true));
    assert_eq!(of("http://LOCALHOST?x"), http(80, "/?x", false));
    assert_eq!(of("tcp://localhost:5432"), Health::Tcp { port: 5432 });
    assert_eq!(of(""), Health::Default);
    let s = service(&format!(
        "{RUNS}    healthEndpoint: http://localhost:81/\n    network: {{ports: [{{port: 82}}], paths: []}}"
    ));
    assert_eq!(s.all_ports(), [81, 82]);
}

#[test]
fn other_health_endpoints_are_refused() {
    for (url, words) in [
        ("http://web:3000/", "localhost, 127.0.0.1 or ::1, found `web`"),
        ("http://169.254.169.254/latest", "found `169.254.169.254`"),
        ("http://127.0.0.2/", "found `127.0.0.2`"),
        ("http://0.0.0.0:3000/", "found `0.0.0.0`"),
        ("http://u:p@localhost/", "user or password"),
        ("/health", "did you mean `http://localhost:3000/health`?"),
        ("localhost:3000", "expected a full URL"),
        ("ftp://localhost", "http, https or tcp"),
        ("tcp://localhost", "needs a port"),
        ("http://localhost:99999/", "port"),
        ("http://localhost:9090/", "admin listener"),
    ] {
        let errors = refused(&format!("schemaVersion: v0.4\nrun:\n  web:\n{RUNS}    healthEndpoint: '{url}'\n"));
        assert!(errors[0].to_string().contains(words), "{url}: {}", errors[0]);
        assert_eq!((errors[0].place.line, &*errors[0].field), (5, "run.web.healthEndpoint"));
    }
}

#[test]
fn prefixes_are_brought_into_one_form() {
    let of = |path: &str| {
        let s = service(&format!("{RUNS}    network: {{paths: [{{port: 3000, stripPath: true, path: \"{path}\"}}]}}"));
        (s.paths[0].prefix.clone(), s.paths[0].strip)
    };
    assert_eq!(of("/api/"), ("/api".into(), true));
    assert_eq!(of("/"), ("/".into(), false));
    assert_eq!(of("//"), ("/".into(), false));
    assert_eq!(of("/a//b"), ("/a//b".into(), true));
    assert_eq!(of("/_!='$&()*+,;:@"), ("/_!='$&()*+,;:@".into(), true));
    assert_eq!(of("/a%2Fb"), ("/a%2Fb".into(), true));
}

#[test]
fn prefixes_that_could_not_match_are_refused() {
    for (path, words) in [
        ("api", "write `/api`"),
        ("/a?b", "no `?`"),
        ("/a#b", "no `?` and no `#`"),
        ("/a b", "white space"),
        ("/a/../b", "segments"),
        ("/%2e%2E/b", "segments"),
    ] {
        let network = format!("    network: {{paths: [{{port: 3000, path: \"{path}\"}}]}}\n");
        let errors = refused(&format!("schemaVersion: v0.4\nrun:\n  web:\n{RUNS}{network}"));
        assert!(errors[0].to_string().contains(words), "{path}: {}", errors[0]);
    }
    let (_, warnings) = warned(&format!(
        "schemaVersion: v0.4\nrun:\n  web:\n{RUNS}    network: {{paths: [{{port: 3000, path: /ü}}]}}\n"
    ));
    assert!(warnings[0].to_string().contains("/%C3%BC"), "{}", warnings[0]);
}

#[test]
fn the_two_forms_never_mix() {
    let text = format!("schemaVersion: v0.2\nrun:\n  web:\n{RUNS}    network:\n      path: /\n      ports: []\n");
    one_mistake(&text, Severity::Error, (6, 13), &["run.web.network.path", "excludes"]);
}

#[test]
fn a_path_leads_to_a_port_or_to_a_target() {
    for (path, words) in [
        ("{path: /}", "`port` or `target` is missing"),
        ("{port: 3000}", "`path` is missing"),
        ("{path: /, port: 3000, target: 'http://a.example'}", "exclude each other"),
        ("{path: /, port: 0}", "from 1 to 65535, found 0"),
        ("{path: /, port: 65536}", "found 65536"),
        ("{path: /, port: web}", "found text"),
        ("/api", "expected a mapping"),
    ] {
        let errors = refused(&format!("schemaVersion: v0.4\nrun:\n  web:\n{RUNS}    network: {{paths: [{path}]}}\n"));
        assert!(errors[0].to_string().contains(words), "{path}: {}", errors[0]);
    }
}

#[test]
fn two_services_on_one_path_are_refused_with_both_places() {
    let text = "schemaVersion: v0.4
run:
  one:
    steps: [{command: x}]
    network: {paths: [{port: 3000, path: /api}]}
  two:
    steps: [{command: x}]
    network:
      path: /api/
";
    one_mistake(text, Severity::Error, (9, 13), &["service `two` claims path `/api`", "service `one` claims at 5:42"]);
    let text = "schemaVersion: v0.4\nrun:\n  one:\n    steps: [{command: x}]\n    network:\n      paths:\n        - {port: 1, path: /}\n        - {port: 2, path: /}\n";
    one_mistake(text, Severity::Error, (8, 27), &["service `one` claims path `/` twice, first at 7:27"]);
}

#[test]
fn a_port_that_is_declared_twice_or_not_at_all_is_warned_of() {
    let text = format!(
        "schemaVersion: v0.4\nrun:\n  web:\n{RUNS}    network:\n      ports:\n        - port: 1\n        - port: 1\n          isPublic: true\n"
    );
    one_mistake(&text, Severity::Warning, (8, 11), &["port 1 is declared twice"]);
    assert_eq!(warned(&text).0.services["web"].ports, [port(1, true)]);
    let text = format!(
        "schemaVersion: v0.4\nrun:\n  web:\n{RUNS}    network:\n      ports: [{{port: 1}}]\n      paths: [{{port: 2, path: /}}]\n"
    );
    one_mistake(&text, Severity::Warning, (7, 22), &["port 2 is not among"]);
    assert_eq!(warned(&text).0.services["web"].all_ports(), [2, 1]);
}

#[test]
fn a_nested_path_may_belong_to_another_service() {
    let spec = clean(
        "schemaVersion: v0.4
run:
  a:
    steps: [{command: x}]
    network: {path: /foo}
  b:
    steps: [{command: x}]
    network: {path: /foo/bar}
",
    );
    assert_eq!(spec.services["b"].paths[0].prefix, "/foo/bar");
}
