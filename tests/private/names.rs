//! Names follow the configuration, and lead to targets outside as well.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddrV4, TcpListener};

use crate::land::Land;
use crate::need_network;
use crate::support::{Router, eventually, figure};

const CI: &str = "schemaVersion: v0.2
run:
  web:
    steps: [{ command: ./test-app }]
    network: { paths: [{ port: 3000, path: / }] }
";
const MORE: &str = "  late:
    steps: [{ command: ./test-app }]
    network: { ports: [{ port: 3000, isPublic: false }] }
";

#[test]
fn a_name_comes_and_goes_with_its_service() {
    need_network!();
    let land = Land::shop("", "", CI);
    let router = Router::start(&land.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    let web = land.inside("shop", "web");
    let names = ["ws-server-shop-late.workspaces", "ws-server-shop-late", "late"];
    for name in names {
        let before = web.ask(name);
        assert_eq!((before.code, before.addresses.len()), (3, 0), "{name}");
    }
    land.site.write("shop/ci.yml", &format!("{CI}{MORE}"));
    figure("a new name", eventually("the name", &router, || web.resolve(names[0]).is_some()));
    let answer = web.ask(names[0]);
    assert!(answer.ttl.is_some_and(|ttl| ttl <= 1), "nobody may hold it for longer than a second: {answer:?}");
    for name in names {
        assert_eq!(web.ask(name), answer, "{name}");
    }
    // With the name comes the way, too.
    let at = SocketAddrV4::new(answer.addresses[0], 3000);
    eventually("its port", &router, || !web.is_closed(at));
    assert!(web.get(at, "late", "/").text().starts_with("service=late"), "{}", router.log());
    let web_address = web.resolve("web");
    land.site.write("shop/ci.yml", CI);
    figure("a removed name", eventually("its end", &router, || names.iter().all(|n| web.resolve(n).is_none())));
    eventually("the end of its port", &router, || web.is_refused(at));
    assert_eq!(web.resolve("web"), web_address);
    let outside = land.asked_outside();
    assert!(!outside.iter().any(|name| name.starts_with("ws-server-")), "told to nobody: {outside:?}");
}

#[test]
fn a_target_elsewhere_has_a_private_name() {
    need_network!();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = server.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in server.incoming().flatten() {
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            let body = format!("target: {line}");
            let _ =
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        }
    });
    let ci = format!("{CI}  away:\n    network: {{ paths: [{{ path: /away, target: \"http://{target}\" }}] }}\n");
    let land = Land::shop("headless: { allow: [127.0.0.0/8] }", "", &ci);
    let router = Router::start(&land.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    let web = land.inside("shop", "web");
    for name in ["ws-server-shop-away.workspaces", "away"] {
        let answer = web.get(web.at(name, 80), name, "/away/x");
        assert_eq!(answer.status, 200, "{}\n{}", answer.text(), router.log());
        assert_eq!(answer.text(), "target: GET /away/x HTTP/1.1\r\n");
    }
}
