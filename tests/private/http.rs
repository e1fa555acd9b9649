//! HTTP on private ports is what public HTTP is, and is counted with who called.

use crate::land::Land;
use crate::need_network;
use crate::support::{Inside, Router, eventually};

const CI: &str = "schemaVersion: v0.2
run:
  web:
    steps: [{ command: ./test-app }]
    network: { paths: [{ port: 3000, path: / }] }
  api:
    steps: [{ command: ./test-app }]
    network: { ports: [{ port: 3000, isPublic: false }] }
  raw:
    steps: [{ command: exec ./test-app --raw }]
    network: { ports: [{ port: 7000, isPublic: false }] }
";

fn up() -> (Land, Router, Inside) {
    let land = Land::shop("", "api: { wake: onCall }, raw: { wake: onCall }", CI);
    let router = Router::start(&land.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    let inside = land.inside("shop", "web");
    (land, router, inside)
}

#[test]
fn the_first_answer_says_that_it_was_a_cold_start() {
    need_network!();
    let (_land, router, web) = up();
    let api = web.at("api", 3000);
    let first = web.get(api, "ws-server-shop-api.workspaces:3000", "/hello");
    assert_eq!(first.status, 200, "{}\n{}", first.text(), router.log());
    assert!(first.text().starts_with("service=api") && first.text().ends_with("path=/hello\n"), "{}", first.text());
    assert_eq!(first.header("x-landscape-cold-start"), Some("true"), "{}", first.head);
    assert!(first.header("server-timing").is_some_and(|t| t.starts_with("wake;dur=")), "{}", first.head);
    let second = web.get(api, "api", "/");
    assert_eq!((second.status, second.header("x-landscape-cold-start")), (200, None), "{}", second.head);
    let head = web.get(api, "api:3000", "/head").text().to_lowercase();
    assert!(head.contains("host: api:3000\r\n"), "{head}");
    assert!(head.contains(&format!("x-forwarded-for: {}\r\n", web.address())), "{head}");
}

#[test]
fn private_traffic_is_counted_by_who_called_and_in_which_direction() {
    need_network!();
    let (_land, router, web) = up();
    let of = |name: &str, service: &str, more: &str| {
        let text = router.metrics();
        let mut labels =
            vec![format!("landscape=\"shop\""), format!("service=\"{service}\""), "peer=\"web\"".to_owned()];
        labels.extend((!more.is_empty()).then(|| format!("direction=\"{more}\"")));
        let full = format!("landscape_router_private_{name}{{");
        let line = text.lines().find(|l| l.starts_with(&full) && labels.iter().all(|label| l.contains(label)));
        line.and_then(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
    };
    let api = web.at("api", 3000);
    for _ in 0..3 {
        assert_eq!(web.get(api, "api", "/bytes/1000").status, 200, "{}", router.log());
    }
    eventually("three requests", &router, || of("requests_total", "api", "") == Some(3.0));
    assert_eq!(of("connections_total", "api", ""), Some(3.0));
    eventually("their ends", &router, || of("connections", "api", "") == Some(0.0));
    assert!(of("bytes_total", "api", "received").is_some_and(|n| n > 100.0), "{}", router.metrics());
    assert!(of("bytes_total", "api", "sent").is_some_and(|n| n > 3000.0), "{}", router.metrics());

    let mut raw = web.lines(web.at("raw", 7000));
    assert_eq!(raw.say("hello"), "hello");
    assert_eq!(of("connections_total", "raw", ""), Some(1.0));
    assert_eq!(of("connections", "raw", ""), Some(1.0));
    assert_eq!(of("bytes_total", "raw", "received"), Some(6.0));
    assert_eq!(of("bytes_total", "raw", "sent"), Some(6.0));
    assert_eq!(of("requests_total", "raw", "").unwrap_or(0.0), 0.0, "it was no HTTP");
    drop(raw);
    eventually("its end", &router, || of("connections", "raw", "") == Some(0.0));
}
