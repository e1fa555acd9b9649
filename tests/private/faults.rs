//! A replica dies under its callers.

use std::io::{BufReader, Read};

use rustix::process::{Pid, Signal, kill_process};

use crate::land::Land;
use crate::need_network;
use crate::support::inside::Lines;
use crate::support::{Router, eventually};

const CI: &str = "schemaVersion: v0.2
run:
  web:
    steps: [{ command: ./test-app }]
    network: { paths: [{ port: 3000, path: / }] }
  raw:
    steps: [{ command: exec ./test-app --raw }]
    network: { ports: [{ port: 7000, isPublic: false }] }
";

fn pid(who: &str) -> u32 {
    who.rsplit("pid=").next().unwrap().parse().unwrap()
}

#[test]
fn who_was_reading_from_a_killed_replica_is_reset_and_who_comes_next_is_served() {
    need_network!();
    let land = Land::shop("", "raw: { wake: onCall }", CI);
    let router = Router::start(&land.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    let web = land.inside("shop", "web");
    let at = web.at("raw", 7000);
    let mut open = web.lines(at);
    let first = pid(&open.say("who"));
    open.tell("flood");
    let mut bytes: BufReader<_> = open.bytes();
    bytes.read_exact(&mut vec![0; 4 << 20]).unwrap();
    // One that only waits is told, too.
    let mut waiting = web.lines(at);
    assert_eq!(waiting.say("hello"), "hello");
    kill_process(Pid::from_raw(first.cast_signed()).unwrap(), Signal::KILL).unwrap();
    let end = std::io::copy(&mut bytes, &mut std::io::sink());
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "not an end that looks like success");
    assert!(waiting.hear().is_err());
    let next = pid(&web.lines(at).say("who"));
    assert_ne!(next, first);
    eventually("one replica", &router, || land.pids("shop", "raw") == [next]);
}

#[test]
fn an_end_that_the_application_chose_is_an_end_and_no_reset() {
    need_network!();
    let land = Land::shop("", "raw: { wake: onCall }", CI);
    let router = Router::start(&land.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    let web = land.inside("shop", "web");
    let open: Lines = web.lines(web.at("raw", 7000));
    let mut open = open;
    open.tell("one");
    open.tell("two");
    // Half closed: what was said is still answered, then the application ends it.
    let mut bytes = open.bytes();
    bytes.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    let mut said = String::new();
    bytes.read_to_string(&mut said).unwrap();
    assert_eq!(said, "one\ntwo\n");
}

#[test]
fn a_call_to_what_cannot_be_started_is_reset_and_the_log_says_why() {
    need_network!();
    let ci = CI.replace("exec ./test-app --raw", "\"while [ ! -e go ]; do sleep 0.02; done; exit 3\"");
    let land = Land::shop("", "raw: { wake: onCall }", &ci);
    let router = Router::start(&land.site);
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    let web = land.inside("shop", "web");
    let mut held = web.lines(web.at("raw", 7000));
    held.tell("who");
    eventually("it to be held", &router, || router.service("raw")["held"] == 1);
    land.site.go();
    assert_eq!(held.hear().unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "{}", router.log());
    router.await_log("a private connection was reset: The service exited right after its start");
}

#[test]
fn a_paused_replica_is_reached_in_its_network_again() {
    need_network!();
    let land = Land::shop("defaults: { idleAfter: 300ms, whenIdle: pause }", "raw: { wake: onCall }", CI);
    let router = Router::start(&land.site);
    let mut answered = router.shop("/");
    for _ in 0..2 {
        assert_eq!(answered.status, 200, "{}", router.log());
        eventually("a paused replica", &router, || router.service("web")["replicas"][0]["state"] == "paused");
        answered = router.shop("/");
    }
    assert_eq!(answered.status, 200, "{}", router.log());
    let raws = land.inside("shop", "web");
    let first = pid(&raws.lines(raws.at("raw", 7000)).say("who"));
    eventually("a paused store", &router, || router.service("raw")["replicas"][0]["state"] == "paused");
    assert_eq!(pid(&raws.lines(raws.at("raw", 7000)).say("who")), first);
}
