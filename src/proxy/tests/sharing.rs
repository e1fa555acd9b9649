//! One of several: landscapes of one domain, replicas of one service.

use std::collections::HashMap;

use super::support::*;
use crate::config::settings::Sticky;

fn named(name: &'static str) -> Upstream {
    Upstream::answering(move |_, _| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()))
}

#[test]
fn landscapes_share_a_domain_by_turns_those_first_that_are_awake() {
    let (one, two, three) = (named("one"), named("two"), named("three"));
    let router =
        Router::new(Setup { others: vec![("4712", two.address), ("4713", three.address)], ..Setup::default() });
    let count = || {
        let mut seen = HashMap::<String, usize>::new();
        for _ in 0..12 {
            let answer = router.ask("GET / HTTP/1.1\r\nHost: shared.example\r\n\r\n");
            *seen.entry(answer.text().to_owned()).or_default() += 1;
        }
        seen
    };
    let asleep = count();
    assert_eq!(asleep.values().sum::<usize>(), 12);
    assert!(!asleep.contains_key("one") && asleep["two"] >= 4 && asleep["three"] >= 4, "{asleep:?}");
    router.ready(&[one.address]);
    assert_eq!(count(), HashMap::from(["one", "two", "three"].map(|name| (name.to_owned(), 4))));
}

#[test]
fn a_cookie_leads_back_to_its_replica() {
    let (one, two) = (named("one"), named("two"));
    let mut setup = Setup::default();
    setup.policy.sticky = Sticky::Cookie;
    let router = Router::new(setup);
    router.ready(&[one.address, two.address]);
    let first = router.get("/");
    let cookie = first.field("set-cookie").unwrap();
    let cookie = cookie.split(';').next().unwrap();
    for _ in 0..20 {
        let again = router.ask(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nCookie: a=b; {cookie}\r\n\r\n"));
        assert_eq!(again.text(), first.text());
        assert_eq!(again.field("set-cookie"), None, "it has the cookie already");
    }
    // Its replica is gone: another one, and another cookie.
    let left = if first.text() == "one" { [two.address] } else { [one.address] };
    router.ready(&[]);
    router.ready(&left);
    let other =
        router.ask(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nCookie: {}1\r\n\r\n", &cookie[..cookie.len() - 1]));
    assert_eq!(other.status, 200);
    assert!(other.field("set-cookie").is_some());
}
