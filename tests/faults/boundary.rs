//! Random requests around the moment at which a service falls asleep: none may fail.
//!
//! `FAULTS_BOUNDARY_SECONDS` sets for how long.

use std::io::{BufReader, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::http::{connect, read_answer};
use crate::support::{Router, Site, router_yaml};

const SERVICES: u32 = 6;

/// How a service is off, and how its requests come.
struct Rhythm {
    idle_after: Duration,
    clients: u32,
    /// Milliseconds from one request of a client to the next: the least, and the most more.
    spacing: (u64, u64),
    seconds: u64,
}

#[test]
fn no_request_fails_around_the_idle_boundary() {
    let seconds = std::env::var("FAULTS_BOUNDARY_SECONDS").map_or(60, |s| s.parse().expect("a number of seconds"));
    run(&Rhythm { idle_after: Duration::from_millis(100), clients: 1, spacing: (50, 101), seconds });
}

#[test]
fn nor_do_requests_that_meet_each_other_there() {
    run(&Rhythm { idle_after: Duration::from_millis(15), clients: 3, spacing: (0, 80), seconds: 10 });
}

/// Two of each kind: one that is stopped, one that is paused, one that is paused and then stopped.
fn run(rhythm: &Rhythm) {
    let mut ci = "schemaVersion: v0.2\nrun:\n".to_owned();
    let idle_after = rhythm.idle_after.as_millis();
    let mut yaml = router_yaml(&format!("defaults: {{ idleAfter: {idle_after}ms, stopGrace: 2s }}"));
    yaml += "    services:\n";
    for n in 0..SERVICES {
        let replicas = 1 + n % 2;
        ci += &format!(
            "  s{n}:\n    steps: [{{ command: ./test-app }}]\n    replicas: {replicas}\n    \
             network: {{ paths: [{{ port: 3000, path: /s{n}, stripPath: true }}] }}\n"
        );
        let when = ["stop", "pause", "{ pause: 20ms, then: stop }"][n as usize / 2];
        yaml += &format!("      s{n}: {{ whenIdle: {when} }}\n");
    }
    let site = Site::new(&yaml, &ci);
    let router = Router::start(&site);
    let (good, end) = (Arc::new(AtomicU64::new(0)), Instant::now() + Duration::from_secs(rhythm.seconds));
    let uses: Vec<_> = (0..SERVICES).map(|_| Arc::new(Mutex::new(Use::default()))).collect();
    let clients: Vec<_> = (0..SERVICES * rhythm.clients)
        .map(|n| {
            let (at, good, spacing, service) = (router.http, good.clone(), rhythm.spacing, n % SERVICES);
            let its_use = uses[service as usize].clone();
            std::thread::spawn(move || client(at, n, spacing, end, &good, &its_use))
        })
        .collect();
    let failures: Vec<String> = clients.into_iter().flat_map(|c| c.join().unwrap()).collect();
    let wakes = router.log().matches("from=\"off\" to=\"starting\"").count() as u64;
    let good = good.load(Ordering::Relaxed);
    // Those that came when nothing had been in flight for clearly longer than `idleAfter`.
    let late = rhythm.idle_after * 5 / 4;
    let asleep = uses.iter().flat_map(|u| u.lock().unwrap().pauses.clone()).filter(|p| *p >= late).count() as u64;
    println!(
        "{} s at the boundary: {good} good, {asleep} of them late, {} failed, woken {wakes} times",
        rhythm.seconds,
        failures.len()
    );
    assert!(failures.is_empty(), "{failures:#?}\n{}", router.log());
    // A busy machine may fall asleep late, but not most of the time.
    assert!(asleep > 0 && wakes >= asleep / 2, "it was at the boundary: {wakes} wakes, {asleep} came late");
}

/// What all clients of one service have in flight, and how long they had nothing.
#[derive(Default)]
struct Use {
    in_flight: u32,
    ended: Option<Instant>,
    pauses: Vec<Duration>,
}

impl Use {
    fn begin(&mut self) {
        if self.in_flight == 0 {
            self.pauses.extend(self.ended.map(|at| at.elapsed()));
        }
        self.in_flight += 1;
    }

    fn end(&mut self) {
        self.in_flight -= 1;
        self.ended = Some(Instant::now());
    }
}

fn client(
    at: SocketAddr,
    number: u32,
    spacing: (u64, u64),
    end: Instant,
    good: &AtomicU64,
    its_use: &Mutex<Use>,
) -> Vec<String> {
    let service = number % SERVICES;
    let mut random = u64::from(number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut next = move |below: u64| {
        // xorshift64
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let (mut failures, mut open) = (Vec::new(), None);
    while Instant::now() < end && failures.len() < 5 {
        let post = next(3) == 0;
        let ask = if post {
            format!("POST /s{service}/echo HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 5\r\n\r\nhello")
        } else {
            format!("GET /s{service}/x HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
        };
        let mut stream = open.take().unwrap_or_else(|| BufReader::new(connect(at).unwrap()));
        let begin = Instant::now();
        its_use.lock().unwrap().begin();
        let answer = stream.get_mut().write_all(ask.as_bytes()).and_then(|()| read_answer(&mut stream));
        its_use.lock().unwrap().end();
        match answer {
            Ok(answer) if answer.status == 200 && (post == (answer.text() == "hello")) => {
                good.fetch_add(1, Ordering::Relaxed);
                if next(2) == 0 {
                    open = Some(stream);
                }
            }
            Ok(answer) => failures.push(format!(
                "s{service} {} after {:?}: {} {}",
                if post { "POST" } else { "GET" },
                begin.elapsed(),
                answer.status,
                answer.text()
            )),
            Err(e) => failures.push(format!("s{service} post={post} after {:?}: {e}", begin.elapsed())),
        }
        std::thread::sleep(Duration::from_millis(spacing.0 + next(spacing.1)));
    }
    failures
}
