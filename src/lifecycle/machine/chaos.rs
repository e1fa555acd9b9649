//! Random histories of one service, on simulated time.

use std::time::Duration;

use proptest::prelude::*;

use super::Event;
use super::world::{App, World};
use crate::backend::Abilities;
use crate::config::settings::{Mode, WhenIdle};
use crate::lifecycle::fixtures;
use crate::lifecycle::status::StateName::{Failed, Off};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[derive(Clone, Debug)]
enum Action {
    Pass(u64),
    Request(u64),
    Burst(u8),
    Next(App),
    Crash(usize),
    Suspect(usize),
    FailProbes(usize, u8),
    Check(usize),
    Health(usize, bool),
    Sleep,
    Wake,
    Restart,
    Pin(bool),
    Derived(bool, bool),
    Version(u32),
    Replicas(u32),
    Scale(u32),
    Policy(u8),
    Unprepared(bool),
    Runnable(bool),
    Engine(bool),
    Router,
    StopPaused,
}

fn app() -> impl Strategy<Value = App> {
    prop_oneof![
        5 => Just(App::Good),
        1 => Just(App::ExitsAtOnce),
        1 => Just(App::NeverListens),
        1 => Just(App::IgnoresStop),
        1 => Just(App::WillNotPause),
        1 => Just(App::WillNotResume),
        1 => Just(App::PauseFails),
        1 => Just(App::ResumeFails),
        1 => Just(App::TakesThePort),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (0u64..2_000).prop_map(Action::Pass),
        4 => (0u64..200_000).prop_map(Action::Pass),
        6 => (0u64..100_000).prop_map(Action::Request),
        1 => (1u8..100).prop_map(Action::Burst),
        3 => app().prop_map(Action::Next),
        3 => (0usize..5).prop_map(Action::Crash),
        2 => (0usize..5).prop_map(Action::Suspect),
        2 => (0usize..5, 1u8..8).prop_map(|(n, times)| Action::FailProbes(n, times)),
        2 => (0usize..5).prop_map(Action::Check),
        2 => (0usize..5, any::<bool>()).prop_map(|(n, healthy)| Action::Health(n, healthy)),
        2 => Just(Action::Sleep),
        2 => Just(Action::Wake),
        1 => Just(Action::Restart),
        2 => any::<bool>().prop_map(Action::Pin),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(a, b)| Action::Derived(a, b)),
        2 => (0u32..3).prop_map(Action::Version),
        2 => (1u32..4).prop_map(Action::Replicas),
        3 => (0u32..5).prop_map(Action::Scale),
        2 => (0u8..4).prop_map(Action::Policy),
        1 => any::<bool>().prop_map(Action::Unprepared),
        1 => any::<bool>().prop_map(Action::Runnable),
        2 => any::<bool>().prop_map(Action::Engine),
        1 => Just(Action::Router),
        1 => Just(Action::StopPaused),
    ]
}

fn act(w: &mut World, action: Action) {
    match action {
        Action::Pass(n) => w.pass(ms(n)),
        Action::Request(takes) => w.request(ms(takes)),
        Action::Burst(n) => (0..n).for_each(|_| w.request(ms(20))),
        Action::Next(app) => w.next_app = app,
        Action::Crash(n) => w.crash(n),
        Action::Suspect(n) if !w.rotation.is_empty() => w.tell(Event::Suspect(w.rotation[n % w.rotation.len()])),
        Action::FailProbes(n, times) if !w.rotation.is_empty() => {
            let id = w.rotation[n % w.rotation.len()];
            for _ in 0..times {
                w.tell(Event::Checked { id, result: Err("500".to_owned()), answered: false });
            }
        }
        Action::Suspect(_) | Action::FailProbes(..) => {}
        Action::Check(n) => {
            let running = w.running();
            if !running.is_empty() {
                let id = running[n % running.len()];
                w.tell(Event::Checked { id, result: Ok(()), answered: false });
            }
        }
        Action::Health(n, healthy) => w.health(n, healthy),
        Action::Sleep => w.tell(Event::Sleep),
        Action::Wake => w.tell(Event::Wake),
        Action::Restart => w.tell(Event::Restart),
        Action::Pin(pin) => w.tell(if pin { Event::Pin } else { Event::Unpin }),
        Action::Derived(landscape, needed) => {
            let needed_by = needed.then(|| "other".into()).into_iter().collect();
            w.tell(Event::Derived { landscape, needed_by });
        }
        Action::Version(n) => w.configure(|s, _| *s = fixtures::spec("web", s.replicas, n)),
        Action::Replicas(n) => w.configure(|s, _| s.replicas = n),
        Action::Scale(n) => w.scale(n),
        Action::Policy(n) => w.configure(|_, p| match n {
            0 => p.mode = Mode::AlwaysOn,
            1 => (p.mode, p.when_idle) = (Mode::OffWhenUnused, WhenIdle::Stop),
            2 => (p.mode, p.when_idle) = (Mode::OffWhenUnused, WhenIdle::Pause),
            _ => p.when_idle = WhenIdle::PauseThenStop { stop_after: secs(100) },
        }),
        Action::Unprepared(fails) => {
            w.prepare_fails = fails;
            w.config.prepared = false;
            w.configure(|_, _| {});
            w.config.prepared = true;
        }
        Action::Runnable(yes) => {
            w.config.runnable = if yes { Ok(()) } else { Err("no base".to_owned()) };
            w.configure(|_, _| {});
        }
        Action::Engine(lost) => w.engine(lost),
        Action::Router => w.restart_router(w.later_generation()),
        Action::StopPaused => w.tell(Event::StopPaused),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The world's own assertions hold throughout; in the end everything that waits is answered, and
    /// what nobody wants is off.
    #[test]
    fn whatever_happens(
        replicas in 1u32..4,
        shared_ports: bool,
        actions in proptest::collection::vec(action(), 1..80),
        remove: bool,
    ) {
        let abilities = Abilities { pause: true, local: true, shared_ports };
        let mut w = World::with(fixtures::spec("web", replicas, 0), fixtures::policy(), abilities);
        for action in actions {
            act(&mut w, action);
        }
        w.next_app = App::Good;
        w.prepare_fails = false;
        w.engine(false);
        if w.config.runnable.is_ok() {
            w.request(ms(10));
            w.pass(secs(700));
            prop_assert_eq!(w.held(), 0, "a request waits for ever: {:#?}", w.machine);
            w.tell(Event::Pin);
            w.pass(secs(700));
            prop_assert_eq!(w.rotation.len() as u32, w.count, "not as many as was said last: {:#?}", w.machine);
        }
        if remove {
            w.tell(Event::Remove);
            w.pass(secs(3600));
            prop_assert!(w.done, "{:#?}", w.machine);
        } else {
            w.configure(|_, p| (p.mode, p.when_idle) = (Mode::OffWhenUnused, WhenIdle::Stop));
            w.tell(Event::Unpin);
            w.tell(Event::Derived { landscape: false, needed_by: vec![] });
            w.pass(secs(3600));
            prop_assert!(matches!(w.state(), Off | Failed), "{:#?}", w.machine);
        }
        prop_assert_eq!(w.held(), 0);
        prop_assert_eq!(w.running().len(), 0, "{:#?}", w.machine);
    }
}
