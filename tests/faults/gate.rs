//! Requests that wait: how many, which of them, and what becomes of those whose client leaves.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::http::{connect, read_answer};
use crate::support::{Router, Site, WAITING, request, router_yaml};

const HELD: &str = "landscape_router_held_requests{landscape=\"shop\",service=\"web\"}";

fn slow_to_start(boot_ms: u32) -> String {
    started_by(&format!("./test-app --boot-ms {boot_ms}"))
}

/// One that starts when the test says so.
fn told_to_start() -> String {
    started_by(WAITING)
}

fn started_by(command: &str) -> String {
    format!(
        "schemaVersion: v0.2\nrun:\n  web:\n    steps: [{{ command: \"{command}\" }}]\n    \
         network: {{ paths: [{{ port: 3000, path: / }}] }}\n"
    )
}

/// Lets this process have as many descriptors as it may.
fn many_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

/// So many clients, each of which has sent its request.
fn ask_at_once(at: SocketAddr, clients: usize) -> Vec<TcpStream> {
    many_descriptors();
    let ask = b"GET /x HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n";
    let open = |_| {
        let mut stream = connect(at).unwrap();
        stream.write_all(ask).unwrap();
        stream
    };
    (0..clients).map(open).collect()
}

fn starts(router: &Router) -> f64 {
    let count = |labels: &str| router.metric(&format!("landscape_router_cold_starts_total{{{labels}}}"));
    count("landscape=\"shop\",outcome=\"success\",service=\"web\"")
        .or_else(|| count("landscape=\"shop\",service=\"web\",outcome=\"success\""))
        .unwrap()
}

#[test]
fn a_thousand_requests_start_it_once_and_are_all_answered() {
    let site = Site::new(&router_yaml(""), &slow_to_start(1500));
    let router = Router::start(&site);
    let begin = Instant::now();
    let clients = ask_at_once(router.http, 1000);
    let mut pids = std::collections::BTreeSet::new();
    for client in clients {
        let answer = read_answer(&mut BufReader::new(client)).unwrap();
        assert_eq!(answer.status, 200, "{}\n{}", answer.text(), router.log());
        pids.insert(super::apps::pid_of(&answer.text()));
    }
    println!("1000 at once, a boot of 1.5 s: all answered after {:?}", begin.elapsed());
    assert_eq!((pids.len(), starts(&router)), (1, 1.0), "one start");
    assert_eq!(router.metric(HELD), Some(0.0));
}

#[test]
fn what_is_too_much_for_the_gate_is_refused_at_once() {
    let site = Site::new(&router_yaml("hold: { perService: { maxRequests: 100 } }"), &told_to_start());
    let router = Router::start(&site);
    let mut clients = ask_at_once(router.http, 1000);
    let refused = "landscape_router_hold_rejections_total{landscape=\"shop\",service=\"web\",reason=\"overflow\"}";
    router.await_metric(refused, 900.0);
    router.await_metric(HELD, 100.0);
    // Only now: nobody who was refused has waited for the start.
    site.go();
    let answers: Vec<_> = clients.drain(..).map(|c| read_answer(&mut BufReader::new(c)).unwrap()).collect();
    let (good, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    for answer in &refused {
        let why = (answer.status, answer.header("x-landscape-error"));
        assert_eq!(why, (503, Some("hold-full")), "{}\n{}", answer.text(), router.log());
        assert!(answer.header("retry-after").is_some(), "{}", answer.head);
    }
    assert_eq!((good.len(), refused.len()), (100, 900));
}

#[test]
fn a_refusal_does_not_wait_for_the_start() {
    let site = Site::new(&router_yaml("hold: { perService: { maxRequests: 1 } }"), &told_to_start());
    let router = Router::start(&site);
    let first = ask_at_once(router.http, 1);
    router.await_metric(HELD, 1.0);
    // It cannot have: the start waits for this test.
    assert_eq!(router.shop("/").header("x-landscape-error"), Some("hold-full"));
    drop(first);
}

/// What a client does that no longer wants its answer.
fn leave(how: &str, stream: TcpStream) -> Option<TcpStream> {
    let socket = socket2::SockRef::from(&stream);
    match how {
        "reset" => socket.set_linger(Some(Duration::ZERO)).unwrap(),
        "half-close" => {
            stream.shutdown(Shutdown::Write).unwrap();
            return Some(stream);
        }
        _ => {}
    }
    None
}

#[test]
fn a_client_that_leaves_frees_its_place_at_once() {
    // Nothing but a client's leaving can free its place before this test gives up.
    let site = Site::new(&router_yaml("defaults: { startTimeout: 1h }\nhold: { timeout: 1h }"), &told_to_start());
    let router = Router::start(&site);
    let plain = "GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n".to_owned();
    let head = "POST / HTTP/1.1\r\nHost: shop.localhost\r\n";
    let upload = format!("{head}Content-Length: 10000000\r\n\r\n{}", "x".repeat(20_000));
    let short = format!("{head}Content-Length: 5\r\n\r\nhello");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    let pipelined = format!("{plain}{plain}");
    // Where more was sent than the router's socket takes in unread, a FIN waits behind it in the client's
    // system and nothing on the wire tells of it. A reset does, in any case.
    let large = format!("{head}Content-Length: 50000000\r\n\r\n{}", "x".repeat(8_000_000));
    let every = ["close", "reset", "half-close"];
    let cases = [
        ("GET", plain, &every[..]),
        ("an unread upload", upload, &every),
        ("a small body", short, &every),
        ("chunked", chunked, &every),
        ("pipelined", pipelined, &every),
        ("a large upload", large, &["reset"]),
    ];
    for (name, request, ways) in &cases {
        for how in *ways {
            let mut stream = connect(router.http).unwrap();
            stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
            // An upload that is not read blocks once the buffers are full.
            let _ = stream.write_all(request.as_bytes());
            router.await_metric(HELD, 1.0);
            let rest = leave(how, stream);
            let took = router.await_metric(HELD, 0.0);
            println!("{name}, {how}: its place was free after {took:?}");
            drop(rest);
        }
    }
}

#[test]
fn an_http10_client_that_keeps_waiting_is_not_taken_for_gone() {
    let site = Site::new(&router_yaml(""), &slow_to_start(500));
    let router = Router::start(&site);
    let mut stream = connect(router.http).unwrap();
    stream.write_all(b"GET /stream/2/10 HTTP/1.0\r\nHost: shop.localhost\r\n\r\n").unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert!(all.starts_with("HTTP/1.") && all.contains(" 200 "), "{all}");
    assert!(!all.to_lowercase().contains("transfer-encoding"), "{all}");
    assert!(all.ends_with("\r\n\r\ndata: 0\n\ndata: 1\n\n"), "{all}");
}

#[test]
fn browsers_see_the_loading_page_and_everything_else_is_held() {
    let site = Site::new(&router_yaml("hold: { pageAfter: 300ms }"), &told_to_start());
    let router = Router::start(&site);
    let at = router.http;
    let html = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";
    let ask = move |first: &str, fields: &str| {
        let text = format!("{first} HTTP/1.1\r\nHost: shop.localhost\r\n{fields}\r\n");
        std::thread::spawn(move || request(at, &text).unwrap())
    };
    let held = [
        ("POST", ask("POST /echo", &format!("{html}Content-Length: 0\r\n"))),
        ("fetch", ask("GET /", &format!("{html}Sec-Fetch-Mode: cors\r\n"))),
        ("API", ask("GET /", "Accept: application/json\r\n")),
        (
            "WebSocket",
            ask(
                "GET /head",
                &format!(
                    "{html}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                ),
            ),
        ),
    ];
    router.await_metric(HELD, 4.0);
    let begin = Instant::now();
    let page = ask("GET /", &format!("{html}Sec-Fetch-Mode: navigate\r\n")).join().unwrap();
    println!("the page came after {:?}", begin.elapsed());
    assert_eq!(page.status, 503);
    assert!(page.text().contains("Workspace server is starting"), "{}", page.text());
    assert!(
        page.header("retry-after").is_some() && page.header("x-landscape-error") == Some("starting"),
        "{}",
        page.head
    );
    for word in ["src=", "href=", "url(", "@import"] {
        assert!(!page.text().contains(word), "nothing from elsewhere: {word}");
    }
    site.go();
    for (what, asking) in held {
        let answer = asking.join().unwrap();
        assert_eq!(
            (answer.status, answer.header("x-landscape-cold-start")),
            (200, Some("true")),
            "{what}: {}",
            answer.text()
        );
    }
    assert_eq!(router.shop("/").status, 200);
}

#[test]
fn a_head_request_is_held_and_has_no_body() {
    let site = Site::new(&router_yaml("hold: { pageAfter: 100ms }"), &slow_to_start(1000));
    let router = Router::start(&site);
    let mut stream = connect(router.http).unwrap();
    let ask = "HEAD / HTTP/1.1\r\nHost: shop.localhost\r\nAccept: text/html\r\nConnection: close\r\n\r\n";
    stream.write_all(ask.as_bytes()).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert!(all.starts_with("HTTP/1.1 200 ") && all.ends_with("\r\n\r\n"), "{all}");
    assert!(all.contains("x-landscape-cold-start: true"), "{all}");
}
