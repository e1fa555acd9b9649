//! Descriptors used up: in a process of its own, for the limit is the process's.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::support::*;

const CHILD: &str = "LANDSCAPE_ROUTER_TEST_FEW_DESCRIPTORS";

/// The router with a few descriptors, until its standard input ends.
fn few_descriptors(upstream: &str) {
    let router = Router::before(upstream.parse().unwrap(), Setup::default());
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = Some(open + 12);
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    println!("address {}", router.address);
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Clock ticks of processor time that a process has used.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn used_up_descriptors_are_survived_without_spinning() {
    if let Ok(upstream) = std::env::var(CHILD) {
        return few_descriptors(&upstream);
    }
    let upstream = Upstream::echo();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "proxy::tests::exhaustion::used_up_descriptors_are_survived_without_spinning", "--nocapture"])
        .env(CHILD, upstream.address.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address =
        lines.find_map(|line| line.unwrap().split_once("address ").map(|(_, a)| a.trim().parse().unwrap())).unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let mut clients: Vec<Client> = (0..60).map(|_| Client::to(address)).collect();
    for client in &mut clients {
        client.send(&request);
    }
    // Those that got in are served, as far as an upstream connection can be had.
    let first = clients[0].answer();
    assert!(first.status == 200 || first.error() == "overloaded", "{first:?}");
    let before = ticks(child.id());
    std::thread::sleep(Duration::from_millis(500));
    let used = ticks(child.id()) - before;
    assert!(used < 15, "{used} of 50 ticks used while nothing could be done");
    drop(clients);
    let began = std::time::Instant::now();
    loop {
        let mut client = Client::to(address);
        client.send(&request);
        if client.answer().status == 200 {
            break;
        }
        assert!(began.elapsed() < LONG, "not served again");
    }
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
