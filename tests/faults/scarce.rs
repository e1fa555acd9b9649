//! No space on the disk, no descriptors left: the router serves on, says so, and recovers.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::http::connect;
use crate::support::{PATIENCE, Router, Site, request, router_yaml};

const SHOP: &str = "schemaVersion: v0.2
run:
  web:
    steps: [{ command: ./test-app }]
    network: { paths: [{ port: 3000, path: / }] }
  api:
    steps: [{ command: ./test-app }]
    network: { paths: [{ port: 3000, path: /api }] }
  chatty:
    steps: [{ command: \"head -c 3000000 /dev/zero | tr '\\\\0' x; exec ./test-app\" }]
    network: { paths: [{ port: 3000, path: /chatty }] }
";

/// Processor time that a process has used, in clock ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// How many descriptors a process has open.
fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn a_full_disk_stops_nothing() {
    let yaml = router_yaml("state: small/state\naccessLog: { format: json, path: small/access.log }");
    let site = Site::new(&yaml, SHOP);
    std::fs::create_dir(site.path().join("small")).unwrap();
    // A mount of the router's own: it ends with the router, whatever happens here.
    let mount = "mount -t tmpfs -o size=1m,mode=0700 tmpfs small";
    let possible =
        std::process::Command::new("unshare").args(["-m", "sh", "-c", mount]).current_dir(site.path()).output();
    if !possible.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: file systems cannot be mounted here");
        return;
    }
    let mut command = std::process::Command::new("unshare");
    let run = Router::command_after(&site, mount);
    command.arg("-m").arg(run.get_program()).args(run.get_args());
    Router::surround(&mut command, &site);
    let router = Router::launch(command);
    assert_eq!(router.shop("/").status, 200);
    let small = PathBuf::from(format!("/proc/{}/root", router.pid()))
        .join(site.path().strip_prefix("/").unwrap())
        .join("small");
    let mut filler = std::fs::File::create(small.join("filler")).unwrap();
    while filler.write_all(&[b'x'; 4096]).is_ok() {}

    for _ in 0..300 {
        assert_eq!(router.shop("/").status, 200, "{}", router.log());
    }
    router.await_log("access log cannot be written");
    let begin = Instant::now();
    let cold = router.shop("/api");
    println!("disk full, a cold start: {} after {:?}: {}", cold.status, begin.elapsed(), cold.text());
    let begin = Instant::now();
    let chatty = router.shop("/chatty");
    println!("disk full, one that writes 3 MB: {} after {:?}: {}", chatty.status, begin.elapsed(), chatty.text());
    // A change of the configuration is applied although its copy cannot be kept.
    site.write("shop/ci.yml", &SHOP.replace("path: / }", "path: /elsewhere }"));
    let deadline = Instant::now() + PATIENCE;
    while router.shop("/elsewhere").status != 200 {
        assert!(Instant::now() < deadline, "{}", router.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    for line in router.log().lines().filter(|l| l.contains("No space") || l.contains("is full")) {
        println!("disk full: {}", &line[..line.len().min(300)]);
    }
    router.await_log("last good");
    assert_eq!((cold.status, chatty.status), (200, 200), "{}\n{}", chatty.text(), router.log());

    drop(filler);
    std::fs::remove_file(small.join("filler")).unwrap();
    assert_eq!(router.shop("/elsewhere").status, 200);
    let written = |path: &str| std::fs::metadata(small.join(path)).map_or(0, |m| m.len());
    let (before, deadline) = (written("access.log"), Instant::now() + PATIENCE);
    while written("access.log") <= before {
        assert_eq!(router.shop("/elsewhere").status, 200);
        assert!(Instant::now() < deadline, "the log is written again:\n{}", router.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!router.log().contains("panicked at src"), "{}", router.log());
    assert_eq!(router.stop(), Some(0));
}

#[test]
fn without_descriptors_it_neither_spins_nor_ends_and_recovers() {
    // More connections than descriptors are allowed for, so that they do run out.
    let yaml = router_yaml("").replace("listen: {", "listen: { maxConnections: 5000,");
    let site = Site::new(&yaml, SHOP);
    let router = Router::launch(Router::command_after(&site, "ulimit -n 300"));
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    let before = descriptors(router.pid());
    let mut open: Vec<_> = (0..500).filter_map(|_| connect(router.http).ok()).collect();
    router.await_log("cannot be accepted");
    println!("descriptors: {before} at rest, {} of 300 with {} clients", descriptors(router.pid()), open.len());
    // Idle meanwhile: looking again now and then is all it may cost.
    let (begin, used) = (Instant::now(), ticks(router.pid()));
    std::thread::sleep(Duration::from_secs(2));
    let share = (ticks(router.pid()) - used) as f64 / 100.0 / begin.elapsed().as_secs_f64();
    println!("descriptors used up: {:.1} % of a core", share * 100.0);
    assert!(share < 0.3, "it spins: {share}");
    let told = router.log().matches("cannot be accepted").count();
    assert!(told < 20, "it says so without flooding the log: {told}");
    // Who is connected is still answered: by the application or, without a descriptor for it, at once.
    let first = open.first_mut().unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n").unwrap();
    let answer = crate::support::http::read_answer(&mut std::io::BufReader::new(first)).unwrap();
    println!("descriptors used up: a connected client got {}", answer.status);
    assert!(answer.status == 200 || answer.status == 503, "{}", answer.text());
    drop(open);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let again = request(router.http, "GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n");
        if again.is_ok_and(|a| a.status == 200) {
            break;
        }
        assert!(Instant::now() < deadline, "it recovers:\n{}", router.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let deadline = Instant::now() + PATIENCE;
    while descriptors(router.pid()) > before + 10 {
        assert!(Instant::now() < deadline, "{} descriptors, {before} before", descriptors(router.pid()));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(router.shop("/api").status, 200, "what sleeps can be started again:\n{}", router.log());
    assert!(!router.log().contains("panicked at src"), "{}", router.log());
}

#[test]
fn a_service_that_cannot_be_started_for_want_of_descriptors_is_started_later() {
    let yaml = router_yaml("").replace("listen: {", "listen: { maxConnections: 5000,");
    let site = Site::new(&yaml, SHOP);
    let router = Router::launch(Router::command_after(&site, "ulimit -n 200"));
    let mut open: Vec<_> = (0..400).filter_map(|_| connect(router.http).ok()).collect();
    router.await_log("cannot be accepted");
    let first = open.first_mut().unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n").unwrap();
    let answer = crate::support::http::read_answer(&mut std::io::BufReader::new(first)).unwrap();
    println!("a cold start without descriptors: {} {}", answer.status, answer.text());
    assert_eq!((answer.status, answer.header("x-landscape-error")), (503, Some("start-failed")), "{}", answer.text());
    assert!(answer.text().contains("The service could not be started."), "{}", answer.text());
    router.await_log("no file descriptors are left");
    drop(open);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let again = request(router.http, "GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n");
        if again.is_ok_and(|a| a.status == 200) {
            break;
        }
        assert!(Instant::now() < deadline, "it recovers:\n{}", router.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}
