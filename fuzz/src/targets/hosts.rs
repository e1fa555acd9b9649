//! Any `Host` and path against a table: never a landscape that the host does not name.
//!
//! The first line is the host, the rest the path.

use landscape_router::route::{Lookup, TableBuilder, hostname};

const CI: &str = "schemaVersion: v0.4
run:
  web:
    steps: [{ command: x }]
    network:
      ports: [{ port: 3000, isPublic: true }]
      paths: [{ port: 3000, path: / }, { port: 3000, path: /api, stripPath: true }]
";

/// See the module's words.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (host, path) = text.split_once('\n').unwrap_or((text, "/"));
    let Some(spec) = super::landscape::read(CI.as_bytes()) else { panic!("our own file is refused") };
    let mut builder = TableBuilder::new("localhost");
    builder.landscape(&spec, |_, _| ());
    builder.domain("shop.example.com", &[("/", vec!["4711"])]);
    builder.domain("*.example.org", &[("/sub", vec!["4711"])]);
    let Ok(table) = builder.build() else { panic!("our own table is refused") };
    let name = hostname(host).to_ascii_lowercase();
    // `<id>-<port>` is a host of its landscape for every port: of one that is not public, the path table's.
    let dev = |label: &str| {
        label == "4711"
            || label.strip_prefix("4711-").is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    let ours = name.strip_suffix(".localhost").is_some_and(dev)
        || name == "shop.example.com"
        || name.ends_with(".example.org");
    if let Lookup::Found(route) = table.lookup(host, path) {
        assert!(ours, "{host:?} leads to {}", route.landscape);
        if path.starts_with('/') {
            let seen = route.rewrite(path);
            assert!(seen.starts_with('/'), "{path} became {seen}");
            assert!(route.strip == 0 || !seen.starts_with("//"), "{path} became {seen}, which looks like a host");
        }
    }
}
