//! Several routers on a simulated API server. What must always hold, the world checks itself: nothing is
//! committed or scaled to nothing while a router whose Lease has not run out may lease it.

use std::time::Duration;

use proptest::prelude::*;

use super::sim::{IDLE_AFTER, Weather, World};

const FINE: Weather = Weather { delay: 20, lost: 0, stuck: 0 };

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn routers(services: usize, weather: Weather, count: u64, seed: u64) -> World {
    let mut w = World::new(services, weather, seed);
    for id in 0..count {
        w.join(id);
    }
    w.pass(secs(3));
    w
}

#[test]
fn one_router_alone_switches_off_what_is_idle() {
    let mut w = routers(1, FINE, 1, 1);
    let web = w.keys[0].clone();
    w.request(0, &web, ms(50));
    w.pass(secs(5));
    assert_eq!((w.served, w.count(&web)), (1, 1));
    w.pass(IDLE_AFTER + secs(10));
    assert_eq!((w.count(&web), w.downs[&web]), (0, 1));
    w.request(0, &web, ms(50));
    w.pass(secs(1));
    assert_eq!((w.served, w.count(&web)), (2, 1), "and wakes it again at once");
}

#[test]
fn a_service_that_one_router_uses_stays_up() {
    for user in [0, 1] {
        let mut w = routers(1, FINE, 2, 2);
        let web = w.keys[0].clone();
        for _ in 0..300 {
            w.request(user, &web, ms(50));
            w.pass(secs(1));
        }
        assert_eq!(w.downs.len(), 0);
        assert_eq!((w.served, w.wakes), (300, 1));
        w.pass(IDLE_AFTER + secs(15));
        assert_eq!(w.downs[&web], 1, "both idle: down once");
        w.pass(secs(300));
        assert_eq!(w.downs[&web], 1);
    }
}

#[test]
fn a_service_that_another_router_does_not_know_is_switched_off_without_it() {
    let mut w = routers(1, FINE, 2, 3);
    let web = w.keys[0].clone();
    let stranger = 1 - w.leader().unwrap();
    w.request(1 - stranger, &web, ms(50));
    w.pass(secs(5));
    w.know(stranger, &web, false);
    w.pass(IDLE_AFTER + secs(15));
    assert_eq!((w.count(&web), w.downs[&web]), (0, 1));
}

#[test]
fn what_is_used_again_while_it_drains_serves_at_once() {
    let mut w = routers(1, Weather { delay: 400, ..FINE }, 3, 3);
    let web = w.keys[0].clone();
    w.request(0, &web, ms(50));
    w.pass(secs(5));
    while w.routers[&0].core.marks().is_empty() {
        w.pass(ms(10));
    }
    w.request(2, &web, ms(50));
    w.pass(secs(4));
    assert_eq!((w.downs.len(), w.served, w.count(&web)), (0, 2, 1));
    w.pass(IDLE_AFTER + secs(20));
    assert_eq!(w.downs[&web], 1);
}

#[test]
fn the_leader_is_killed_at_any_moment_and_it_is_still_right() {
    for step in 0..400 {
        let mut w = routers(1, Weather { delay: 200, ..FINE }, 3, step);
        let web = w.keys[0].clone();
        w.request(1, &web, ms(50));
        w.pass(IDLE_AFTER + ms(step * 20));
        let leader = w.leader().expect("one leads");
        w.kill(leader);
        w.pass(secs(90));
        assert_eq!((w.count(&web), w.downs[&web]), (0, 1), "killed at {step}");
        let other = (leader + 1) % 3;
        w.request(other, &web, ms(50));
        w.pass(secs(3));
        assert_eq!(
            (w.served, w.held()),
            (2, 0),
            "killed at {step}: {:?} {:#?}",
            w.routers[&other].services[&web],
            w.routers[&other].core
        );
    }
}

#[test]
fn who_is_there_is_known_to_those_who_are() {
    let mut w = routers(1, FINE, 3, 1);
    let known = |w: &World, id: u64| {
        let members = w.routers[&id].core.members(w.now)?;
        Some([members.there, members.run_out].map(|all| all.iter().map(|r| r.to_string()).collect::<String>()))
    };
    let told = |there: &str, run_out: &str| Some([there.to_owned(), run_out.to_owned()]);
    for id in 0..3 {
        assert_eq!(known(&w, id), told("r0r1r2", ""));
    }
    w.kill(0);
    w.pass(secs(9));
    assert_eq!(known(&w, 1), told("r0r1r2", ""));
    w.pass(secs(12));
    assert_eq!(known(&w, 1), told("r1r2", "r0"));
    w.cut(1, true);
    w.pass(secs(14));
    assert_eq!(known(&w, 1), None);
    assert_eq!(known(&w, 2).unwrap()[0], "r1r2", "it says so before others think so");
    w.pass(secs(10));
    assert_eq!(known(&w, 2), told("r2", "r0r1"));
    w.join(3);
    assert_eq!(known(&w, 3), None, "nobody knows of it yet");
    w.cut(1, false);
    w.pass(secs(6));
    // A fresh one waits for what it finds to run out.
    assert_eq!(known(&w, 3), told("r0r1r2r3", ""));
    w.end(2);
    w.pass(secs(1));
    assert_eq!(known(&w, 1), told("r1r3", "r0"));
    w.away(true);
    w.pass(secs(14));
    assert_eq!((known(&w, 1), known(&w, 3)), (None, None));
}

#[test]
fn a_leader_that_is_late_does_not_switch_off_what_was_woken_meanwhile() {
    for seed in 0..100 {
        let mut w = routers(1, Weather { stuck: 50, ..FINE }, 2, seed);
        let web = w.keys[0].clone();
        w.request(1, &web, ms(50));
        w.pass(IDLE_AFTER + secs(8));
        let leader = w.leader().expect("one leads");
        // It lives, and nobody hears of it.
        w.cut(leader, true);
        w.weather.stuck = 0;
        w.pass(secs(30));
        let other = 1 - leader;
        w.request(other, &web, ms(50));
        w.pass(secs(1));
        w.cut(leader, false);
        w.pass(secs(20));
        assert_eq!(
            (w.held(), w.count(&web)),
            (0, 1),
            "seed {seed}: {:?} {:#?}",
            w.routers[&other].services[&web],
            w.routers[&other].core
        );
    }
}

#[test]
fn without_the_api_server_nothing_is_switched_off_and_what_runs_serves_on() {
    let mut w = routers(2, FINE, 2, 4);
    let [web, other] = [w.keys[0].clone(), w.keys[1].clone()];
    w.request(0, &web, ms(50));
    w.request(1, &other, ms(50));
    w.pass(secs(10));
    w.away(true);
    for _ in 0..600 {
        w.request(1, &web, ms(50));
        w.pass(secs(1));
    }
    assert_eq!((w.served, w.downs.len()), (602, 0));
    assert!(w.leader().is_none(), "nobody leads");
    w.away(false);
    w.pass(secs(60));
    assert_eq!((w.downs.contains_key(&other), w.downs.get(&web)), (true, Some(&1)));
}

#[test]
fn an_operators_sleep_reaches_every_router_and_the_next_request_wakes() {
    let mut w = routers(1, FINE, 3, 5);
    let web = w.keys[0].clone();
    w.request(0, &web, ms(50));
    w.pass(secs(2));
    w.request(1, &web, secs(5));
    w.pass(secs(1));
    w.sleep(2, &web);
    w.pass(secs(2));
    assert_eq!(w.count(&web), 1, "what is in flight has its time");
    w.request(0, &web, ms(50));
    w.pass(secs(5));
    assert_eq!((w.downs[&web], w.count(&web), w.served), (1, 1, 3), "off, and on for what has come meanwhile");
}

#[test]
fn what_is_pinned_at_one_router_stays_up_whatever_the_others_want() {
    let mut w = routers(1, FINE, 2, 6);
    let web = w.keys[0].clone();
    w.pin(1, &web, true);
    w.request(0, &web, ms(50));
    w.pass(secs(200));
    w.sleep(0, &web);
    w.pass(secs(100));
    assert_eq!((w.downs.len(), w.count(&web)), (0, 1));
}

#[test]
fn a_router_that_ends_is_not_waited_for_and_another_one_leads_at_once() {
    let mut w = routers(1, FINE, 2, 7);
    let web = w.keys[0].clone();
    w.request(0, &web, ms(50));
    w.pass(IDLE_AFTER - secs(5));
    let leader = w.leader().unwrap();
    w.end(leader);
    w.pass(secs(3));
    assert_eq!(w.routers.len(), 1, "it has ended");
    assert!(w.leader().is_some(), "the other one leads");
    w.pass(secs(20));
    assert_eq!(w.downs[&web], 1);
}

#[test]
fn a_leader_that_ends_while_it_renews_gives_its_lease_up() {
    for moment in 0..110 {
        let mut w = routers(1, Weather { delay: 200, ..FINE }, 2, 7);
        w.pass(secs(1) + ms(50 * moment));
        let leader = w.leader().unwrap();
        w.end(leader);
        w.pass(secs(3));
        assert!(w.leader().is_some_and(|next| next != leader), "{} ms", 50 * moment);
    }
}

#[test]
fn little_is_written_whatever_goes_on() {
    let mut w = routers(200, FINE, 3, 8);
    let keys = w.keys.clone();
    for key in &keys {
        w.request(0, key, ms(50));
    }
    for _ in 0..120 {
        for id in 0..3 {
            w.request(id, &keys[0], ms(50));
            w.request(id, &keys[id as usize], ms(50));
        }
        w.pass(secs(1));
    }
    w.pass(secs(60));
    assert_eq!(w.downs.len(), 200, "all are off");
    let seconds = 183.0;
    for (id, writes) in &w.writes {
        let rate = f64::from(*writes) / seconds;
        assert!(rate < 0.7, "router {id} writes {rate:.2} times a second");
    }
    // And at rest.
    w.writes.clear();
    w.pass(secs(1000));
    let mut rates: Vec<_> = w.writes.values().map(|n| f64::from(*n) / 1000.0).collect();
    rates.sort_by(f64::total_cmp);
    assert!(rates[1] < 0.21 && rates[2] < 0.42, "{rates:?}");
}

#[test]
fn whoever_scales_it_up_meanwhile_is_respected() {
    let mut w = routers(1, Weather { delay: 300, ..FINE }, 2, 9);
    let web = w.keys[0].clone();
    w.scale_from_outside(&web, 3);
    w.pass(secs(10));
    assert_eq!(w.count(&web), 3);
    w.pass(IDLE_AFTER + secs(20));
    assert_eq!((w.count(&web), w.downs[&web]), (0, 1));
}

#[derive(Clone, Debug)]
enum Action {
    Pass(u64),
    Request(u64, usize, u64),
    Kill(u64),
    Join(u64),
    End(u64),
    Cut(u64, bool),
    Away(bool),
    Sleep(u64, usize),
    Pin(u64, usize, bool),
    Know(u64, usize, bool),
    Stuck(u64),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (0u64..5_000).prop_map(Action::Pass),
        6 => (0u64..45_000).prop_map(Action::Pass),
        8 => (0u64..4, 0usize..3, 1u64..8_000).prop_map(|(r, s, t)| Action::Request(r, s, t)),
        1 => (0u64..4).prop_map(Action::Kill),
        3 => (0u64..4).prop_map(Action::Join),
        1 => (0u64..4).prop_map(Action::End),
        2 => (0u64..4, any::<bool>()).prop_map(|(r, c)| Action::Cut(r, c)),
        1 => any::<bool>().prop_map(Action::Away),
        1 => (0u64..4, 0usize..3).prop_map(|(r, s)| Action::Sleep(r, s)),
        1 => (0u64..4, 0usize..3, any::<bool>()).prop_map(|(r, s, p)| Action::Pin(r, s, p)),
        1 => (0u64..4, 0usize..3, any::<bool>()).prop_map(|(r, s, k)| Action::Know(r, s, k)),
        1 => (0u64..30).prop_map(Action::Stuck),
    ]
}

/// A history is hours of several routers: fewer than usual, unless more are asked for.
fn cases() -> u32 {
    if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { 64 }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: cases(), ..ProptestConfig::default() })]

    /// The world's own assertions hold throughout; in the end every request is served, and what nobody
    /// uses is off.
    #[test]
    fn whatever_happens(
        actions in proptest::collection::vec(action(), 1..60),
        delay in 1u64..3_000,
        lost in 0u64..20,
        seed: u64,
    ) {
        let mut w = World::new(3, Weather { delay, lost, stuck: 0 }, seed);
        let keys = w.keys.clone();
        w.join(0);
        w.join(1);
        for action in actions {
            match action {
                Action::Pass(n) => w.pass(ms(n)),
                Action::Request(id, at, takes) => w.request(id, &keys[at], ms(takes)),
                Action::Kill(id) => w.kill(id),
                Action::Join(id) if !w.routers.contains_key(&id) => w.join(id),
                Action::Join(_) => {}
                Action::End(id) => w.end(id),
                Action::Cut(id, cut) => w.cut(id, cut),
                Action::Away(away) => w.away(away),
                Action::Sleep(id, at) => w.sleep(id, &keys[at]),
                Action::Pin(id, at, pin) => {
                    w.pin(id, &keys[at], pin);
                }
                Action::Know(id, at, knows) => w.know(id, &keys[at], knows),
                Action::Stuck(n) => w.weather.stuck = n,
            }
        }
        w.away(false);
        w.weather = Weather { delay: 50, lost: 0, stuck: 0 };
        if w.routers.values().all(|r| r.ending) {
            w.join(9);
        }
        for id in w.routers.keys().copied().collect::<Vec<_>>() {
            w.cut(id, false);
            for key in &keys {
                w.know(id, key, true);
                w.pin(id, key, false);
            }
        }
        // An old leader's scaling may be a minute late, and a mark that nobody answers is taken away then.
        w.pass(secs(200));
        prop_assert_eq!(w.held(), 0, "a request waits for ever");
        w.pass(secs(400));
        for key in &keys {
            prop_assert_eq!(w.count(key), 0, "{} stays up", key);
        }
        let served = w.served;
        let id = *w.routers.iter().find(|(_, r)| !r.ending).unwrap().0;
        for key in &keys {
            w.request(id, key, ms(10));
        }
        w.pass(secs(5));
        prop_assert_eq!(w.served, served + 3);
    }
}

/// What was seen of it is as before: its count went to nothing and back while this router was cut off.
#[test]
fn a_service_that_was_off_and_on_while_nobody_looked_is_not_forgotten() {
    let mut w = World::new(1, Weather { delay: 676, lost: 17, stuck: 0 }, 15393655100801784806);
    let web = w.keys[0].clone();
    w.join(0);
    w.join(1);
    w.request(1, &web, ms(1));
    w.request(0, &web, ms(1));
    w.pass(ms(39_256));
    w.cut(0, true);
    w.pass(ms(43_500));
    w.request(1, &web, ms(1));
    w.end(1);
    w.pass(secs(2));
    w.weather = FINE;
    w.cut(0, false);
    w.pass(secs(300));
    assert_eq!(w.count(&web), 0);
}
