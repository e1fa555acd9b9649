//! Applications that exit, hang, fail, do not go, or die under load.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Load, PATIENCE, Router, Site, free_port, request, router_yaml};

fn web(command: &str, more: &str) -> String {
    format!(
        "schemaVersion: v0.2\nrun:\n  web:\n    steps: [{{ command: \"{command}\" }}]\n    \
         network: {{ paths: [{{ port: 3000, path: / }}] }}\n{more}"
    )
}

pub fn pid_of(text: &str) -> Option<i32> {
    text.split("pid=").nth(1)?.split(' ').next()?.parse().ok()
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// Waits in small steps.
#[track_caller]
fn until(router: &Router, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "never {what}:\n{:#}\n{}", router.service("web"), router.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    begin.elapsed()
}

/// The first request to a service that cannot start: 503 with a reason, when to come again, nothing
/// of the inside; how long that took.
#[track_caller]
fn fails(router: &Router) -> (Duration, String) {
    let begin = Instant::now();
    let answer = router.shop("/");
    let took = begin.elapsed();
    assert_eq!((answer.status, answer.header("x-landscape-error")), (503, Some("start-failed")), "{}", answer.text());
    assert!(answer.header("retry-after").is_some(), "{}", answer.head);
    let text = answer.text();
    assert!(!text.contains("inside") && !text.contains("test-app"), "nothing of the inside: {text}");
    (took, text)
}

fn failed_starts(router: &Router) -> f64 {
    let outcome = "landscape_router_cold_starts_total{landscape=\"shop\",service=\"web\",outcome=\"failed\"}";
    router.metric(outcome).unwrap()
}

#[test]
fn a_process_that_exits_at_once_is_told_at_once() {
    for exit in ["exit 3", "exit 0", "kill -9 $$"] {
        let site = Site::new(&router_yaml(""), &web(&format!("echo inside; {exit}"), ""));
        let router = Router::start(&site);
        let (took, text) = fails(&router);
        println!("{exit}: answered after {took:?}: {text}");
        let status = router.cli(&site, &["status", "--json"]);
        assert!(String::from_utf8_lossy(&status.stdout).contains("inside"), "the last lines: {status:?}");
        let logs = router.cli(&site, &["logs", "shop/web"]);
        assert!(String::from_utf8_lossy(&logs.stdout).contains("inside"), "{logs:?}");
        let why = router.cli(&site, &["why", "shop/web"]);
        assert!(why.status.success() && !why.stdout.is_empty(), "{why:?}");
    }
}

#[test]
fn a_client_in_the_back_off_is_answered_at_once_and_a_repair_is_tried_at_once() {
    let site = Site::new(&router_yaml(""), &web("exit 3", ""));
    let router = Router::start(&site);
    // Without another start: at the latest once the back-off is longer than this takes.
    until(&router, "answered in the back-off", || {
        let before = failed_starts(&router);
        fails(&router);
        before > 0.0 && failed_starts(&router) == before
    });
    site.write("shop/ci.yml", &web("./test-app", ""));
    until(&router, "repaired", || router.shop("/").status == 200);
}

#[test]
fn a_process_that_never_listens_fails_at_its_deadline_and_is_ended() {
    let site = Site::new(
        &router_yaml("defaults: { startTimeout: 1s, stopGrace: 1s }"),
        &web("echo inside; exec sleep 4711", ""),
    );
    let router = Router::start(&site);
    let (took, text) = fails(&router);
    println!("never listens: answered after {took:?}: {text}");
    assert!(took >= Duration::from_millis(900), "{took:?}");
    until(&router, "gone", || {
        router.service("web")["replicas"].as_array().unwrap().iter().all(|r| r["state"] == "waiting")
    });
}

#[test]
fn an_application_that_insists_on_a_port_which_was_taken_gets_it_once_it_is_free() {
    let port = free_port();
    let holder = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let command = format!("while [ ! -e go ]; do sleep 0.02; done; exec ./test-app --port {port}");
    let site = Site::new(&router_yaml(""), &web(&command, "").replace("port: 3000", &format!("port: {port}")));
    let router = Router::start(&site);
    let at = router.http;
    let held = std::thread::spawn(move || crate::support::get(at, "shop.localhost", "/"));
    until(&router, "mapped", || router.service("web")["replicas"][0]["address"].is_string());
    drop(holder);
    site.go();
    let held = held.join().unwrap();
    assert_eq!(held.status, 200, "{}\n{}", held.text(), router.log());
    let status = router.service("web");
    assert_eq!(status["replicas"][0]["address"], format!("127.0.0.1:{port}"), "{status:#}");
    assert_eq!(status["lastFailure"]["kind"], "port-taken", "{status:#}");
}

#[test]
fn an_application_that_answers_500_never_becomes_ready() {
    let unhealthy = "    healthEndpoint: http://localhost:3000/status/500\n";
    for (command, more) in [("./test-app --status 500", ""), ("./test-app", unhealthy)] {
        let site = Site::new(&router_yaml("defaults: { startTimeout: 1s }"), &web(command, more));
        let router = Router::start(&site);
        let (took, text) = fails(&router);
        println!("answers 500: answered after {took:?}: {text}");
        let status = router.service("web").to_string();
        assert!(status.contains("500"), "the operator sees why: {status}");
    }
}

#[test]
fn a_health_endpoint_at_the_routers_own_port_is_refused() {
    // The router itself would answer there, and well.
    let admin = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let yaml = router_yaml("").replace("admin: \"127.0.0.1:0\"", &format!("admin: \"{admin}\""));
    let health = format!("    healthEndpoint: http://localhost:{}/healthz\n", admin.port());
    let site = Site::new(&yaml, &web("exec sleep 4711", &health));
    let router = Router::start(&site);
    let answer = router.shop("/");
    assert_eq!((answer.status, answer.header("x-landscape-error")), (503, Some("landscape-invalid")));
    assert!(router.log().contains("run.web.healthEndpoint") && router.log().contains("admin"), "{}", router.log());
}

#[test]
fn one_that_ignores_sigterm_is_killed_and_a_request_meanwhile_is_served_by_the_next() {
    let site = Site::new(
        &router_yaml("defaults: { idleAfter: 200ms, stopGrace: 3s }"),
        &web("trap '' TERM; exec ./test-app", ""),
    );
    let router = Router::start(&site);
    let first = pid_of(&router.shop("/").text()).unwrap();
    router.await_state("web", "stopping");
    assert!(std::path::Path::new(&format!("/proc/{first}")).exists());
    let begin = Instant::now();
    let answer = router.shop("/");
    assert_eq!((answer.status, answer.header("x-landscape-cold-start")), (200, Some("true")), "{}", answer.text());
    let second = pid_of(&answer.text()).unwrap();
    println!("ignores SIGTERM: the request during the stop waited {:?}", begin.elapsed());
    assert_ne!(first, second);
    assert!(!std::path::Path::new(&format!("/proc/{first}")).exists(), "killed");
}

#[test]
fn one_of_three_killed_under_load_costs_no_request_that_may_be_repeated() {
    let site = Site::new(&router_yaml(""), &web("./test-app", "    replicas: 3\n"));
    let router = Router::start(&site);
    let first = router.shop("/");
    assert_eq!(first.status, 200, "{}", first.text());
    until(&router, "three ready", || router.ready("web") == 3);
    let quick = Load::start(router.http, "shop.localhost", "/", 8, Duration::from_millis(1));
    let slow = Load::start(router.http, "shop.localhost", "/sleep/30", 8, Duration::from_millis(1));
    quick.await_more(100);
    slow.await_more(20);
    for _ in 0..3 {
        kill(pid_of(&router.shop("/").text()).unwrap());
        quick.await_more(100);
        slow.await_more(20);
        until(&router, "three ready again", || router.ready("web") == 3);
    }
    for load in [quick, slow] {
        let (good, failures) = load.stop();
        println!("three replicas, three kills: {good} good, {} failed", failures.len());
        assert!(failures.is_empty(), "{failures:?}\n{}", router.log());
    }
}

#[test]
fn the_only_replica_killed_holds_its_requests_for_the_next_one() {
    let site = Site::new(&router_yaml(""), &web("./test-app", ""));
    let router = Router::start(&site);
    let before = pid_of(&router.shop("/").text()).unwrap();
    let quick = Load::start(router.http, "shop.localhost", "/", 4, Duration::from_millis(1));
    let slow = Load::start(router.http, "shop.localhost", "/sleep/30", 4, Duration::from_millis(1));
    quick.await_more(50);
    slow.await_more(10);
    let begin = Instant::now();
    kill(before);
    // Once it is reaped, the last of its threads has closed its sockets.
    until(&router, "gone", || !std::path::Path::new(&format!("/proc/{before}")).exists());
    // Sent after the death: it may not be repeated, and need not be.
    let post = "POST /echo HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    let answer = request(router.http, post).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{}\n{}", answer.text(), router.log());
    println!("the only replica killed: served again after {:?}", begin.elapsed());
    quick.await_more(50);
    assert_ne!(pid_of(&router.shop("/").text()), Some(before));
    for load in [quick, slow] {
        let (good, failures) = load.stop();
        println!("one replica: {good} good, {} failed", failures.len());
        assert!(failures.is_empty(), "{failures:?}\n{}", router.log());
    }
}

#[test]
fn an_answer_that_breaks_off_ends_the_clients_connection_and_not_the_router() {
    let site = Site::new(&router_yaml(""), &web("./test-app", ""));
    let router = Router::start(&site);
    assert_eq!(router.shop("/").status, 200);
    let broken = request(router.http, "GET /die-midway HTTP/1.1\r\nHost: shop.localhost\r\n\r\n");
    assert!(broken.is_err(), "a cut answer may not look whole: {broken:?}");
    assert_eq!(router.shop("/").status, 200);
}

#[test]
fn a_request_that_may_not_be_repeated_is_answered_and_not_sent_twice() {
    let site = Site::new(&router_yaml(""), &web("./test-app", ""));
    let router = Router::start(&site);
    let pid = pid_of(&router.shop("/").text()).unwrap();
    let at = router.http;
    let post = "POST /sleep/5000 HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let asking = std::thread::spawn(move || request(at, post).unwrap());
    router.await_metric("landscape_router_in_flight_requests{landscape=\"shop\",service=\"web\"}", 1.0);
    let begin = Instant::now();
    kill(pid);
    let answer = asking.join().unwrap();
    println!("a POST whose replica died: {} after {:?}", answer.status, begin.elapsed());
    assert_eq!((answer.status, answer.header("x-landscape-error")), (502, Some("upstream-reset")), "{}", answer.text());
    assert_eq!(router.shop("/").status, 200);
}

#[test]
fn everyone_who_waits_for_a_crash_loop_is_answered_at_its_exit() {
    // No deadline answers them before this test gives up: only the exit can.
    let yaml = router_yaml("defaults: { startTimeout: 1h }\nhold: { timeout: 1h }");
    let site = Site::new(&yaml, &web("while [ ! -e go ]; do sleep 0.02; done; exit 3", ""));
    let router = Router::start(&site);
    let at = router.http;
    let clients: Vec<_> = (0..50)
        .map(|_| {
            std::thread::spawn(move || {
                let answer = crate::support::get(at, "shop.localhost", "/");
                (answer.status, answer.header("x-landscape-error").map(str::to_owned), Instant::now())
            })
        })
        .collect();
    router.await_metric("landscape_router_held_requests{landscape=\"shop\",service=\"web\"}", 50.0);
    site.go();
    let answers: Vec<_> = clients.into_iter().map(|c| c.join().unwrap()).collect();
    let failed = |code: &Option<String>| code.as_deref() == Some("start-failed");
    assert!(answers.iter().all(|(status, code, _)| *status == 503 && failed(code)), "{answers:?}");
    assert_eq!(failed_starts(&router), 1.0, "one exit answered them all");
    let (first, last) = (answers.iter().map(|a| a.2).min().unwrap(), answers.iter().map(|a| a.2).max().unwrap());
    println!("50 who waited for a crash loop: the last {:?} after the first", last - first);
}
