//! Somebody else sets the number of replicas.

use std::time::Duration;

use super::scale::MOST;
use super::world::{App, World, simple};
use super::{Effect, Event, Facts};
use crate::backend::{Abilities, Seen, Want};
use crate::config::settings::{Attach, AttachKind, Mode};
use crate::lifecycle::events::{Cause, What};
use crate::lifecycle::fixtures;
use crate::lifecycle::service::Refusal;
use crate::lifecycle::status::StateName::{Draining, Failed, Off, Preparing, Ready, Starting, Stopping};
use crate::lifecycle::status::{Snapshot, Why};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn ready(replicas: u32) -> World {
    let mut w = World::new(fixtures::spec("web", replicas, 1), fixtures::policy());
    w.request(ms(10));
    w.pass(secs(1));
    assert_eq!((w.state(), w.rotation.len()), (Ready, replicas as usize));
    w.states();
    w
}

fn snapshot(w: &World) -> Snapshot {
    w.machine.snapshot(std::time::SystemTime::now(), None)
}

/// What the machine itself gives for an event, in a world that does not hear of it.
fn effects(w: &mut World, event: Event) -> Vec<Effect> {
    w.machine.on(event, w.now, &Facts::default())
}

fn scaled(n: u32) -> Event {
    Event::Seen(Seen::Scaled(n))
}

fn wants(effects: &[Effect]) -> Vec<&Want> {
    effects.iter().filter_map(|e| if let Effect::Apply(want) = e { Some(want) } else { None }).collect()
}

#[test]
fn what_is_off_is_woken_with_that_many_and_sleeps_when_nobody_uses_it() {
    let mut w = simple();
    w.scale(3);
    assert_eq!((w.state(), w.starts.len()), (Starting, 3));
    assert_eq!(snapshot(&w).why, [Why::Outside]);
    w.pass(secs(1));
    assert_eq!((w.state(), w.rotation.len()), (Ready, 3));
    w.pass(secs(58));
    assert_eq!(w.state(), Ready, "it counts as one use");
    w.pass(secs(3));
    assert_eq!((w.state(), w.stops), (Off, 3));
}

#[test]
fn its_start_and_its_stop_say_that_it_came_from_outside() {
    let mut w = simple();
    let first = effects(&mut w, scaled(2));
    let id = wants(&first)[0].replicas[0].id;
    let at = super::world::addresses(id);
    effects(&mut w, Event::Seen(Seen::Running(id, at.clone())));
    let started = effects(&mut w, Event::ProbePassed(id, at));
    let start = |e: &Effect| matches!(e, Effect::Tell(What::Start { cause: Cause::Outside, replicas: 2, .. }));
    assert!(started.iter().any(start), "{started:?}");
    let stopped = effects(&mut w, scaled(0));
    let stop = |e: &Effect| matches!(e, Effect::Tell(What::Stop { cause: Cause::Outside, paused: false, .. }));
    assert!(stopped.iter().any(stop), "{stopped:?}");
}

#[test]
fn more_are_added_and_fewer_are_wanted_at_once_without_any_number_in_between() {
    let mut w = ready(2);
    w.scale(5);
    assert_eq!(w.starts.len(), 5);
    w.pass(secs(1));
    assert_eq!((w.rotation.len(), snapshot(&w).wanted_replicas, snapshot(&w).outside_replicas), (5, 5, Some(5)));
    // Each has a request: to wait for those would mean to want five, then four, against the cluster's two.
    (0..5).for_each(|_| w.request(secs(20)));
    let effects = effects(&mut w, scaled(2));
    let want = wants(&effects);
    assert_eq!(want.len(), 1);
    assert_eq!(want[0].replicas.iter().map(|r| r.id.ordinal).collect::<Vec<_>>(), [0, 1]);
    let published = effects.iter().position(|e| matches!(e, Effect::Publish(r) if r.len() == 2));
    let retired = effects.iter().position(|e| matches!(e, Effect::Retire(id) if id.ordinal == 4));
    assert!(published < retired && published.is_some(), "out of rotation, then closed: {effects:?}");
}

#[test]
fn the_number_is_told_though_nothing_else_is_another() {
    let mut w = ready(2);
    // The second fails, is started again at once, and fails again: now it is between two starts.
    let id = w.rotation[1];
    let first = effects(&mut w, Event::Seen(Seen::Ended(id, fixtures::exited())));
    let again = wants(&first)[0].replicas[1].id;
    let second = effects(&mut w, Event::Seen(Seen::Ended(again, fixtures::exited())));
    assert_eq!((wants(&second)[0].replicas.len(), wants(&second)[0].number), (1, 2));
    let fewer = effects(&mut w, scaled(1));
    assert_eq!((wants(&fewer)[0].replicas.len(), wants(&fewer)[0].number), (1, 1));
}

#[test]
fn what_somebody_else_ends_leaves_rotation_and_the_rest_serves() {
    let mut w = ready(3);
    (0..9).for_each(|_| w.request(secs(20)));
    w.scale(1);
    assert_eq!((w.state(), w.rotation.len(), w.rotation[0].ordinal), (Ready, 1, 0));
    w.pass(secs(1));
    assert_eq!((w.running().len(), w.starts.len(), w.states()), (1, 3, vec![]));
}

#[test]
fn the_same_number_again_is_nothing() {
    let mut w = ready(2);
    w.pass(secs(30));
    assert!(effects(&mut w, scaled(2)).is_empty());
    w.pass(secs(32));
    assert_eq!((w.state(), snapshot(&w).outside_replicas), (Off, None), "nor is it a use");
}

#[test]
fn the_number_outlives_sleep_failure_and_a_new_version_and_ends_with_a_configured_one() {
    let mut w = ready(2);
    w.scale(4);
    w.pass(secs(100));
    assert_eq!(w.state(), Off);
    w.request(ms(10));
    w.pass(secs(1));
    assert_eq!((w.state(), w.rotation.len()), (Ready, 4));
    w.configure(|spec, _| *spec = fixtures::spec("web", 2, 2));
    w.configure(|_, p| p.idle_after = secs(1000));
    w.pass(secs(5));
    assert_eq!((w.rotation.len(), w.states().contains(&Starting)), (4, true));
    w.configure(|spec, _| spec.replicas = 3);
    w.pass(secs(5));
    assert_eq!((w.rotation.len(), snapshot(&w).outside_replicas), (3, None));
}

#[test]
fn the_number_of_one_workload_is_none_of_another() {
    let mut w = ready(1);
    let to = |name: &str| Some(Attach { kind: AttachKind::Deployment, name: name.into(), namespace: None });
    w.configure(|_, p| p.attach = to("old"));
    w.scale(4);
    w.configure(|_, p| p.attach = to("new"));
    w.pass(secs(1));
    assert_eq!((w.state(), w.rotation.len()), (Ready, 1));
}

#[test]
fn zero_is_off_at_once_whatever_is_in_flight_and_the_next_request_wakes_as_many_as_before() {
    let mut w = ready(3);
    w.scale(2);
    w.request(secs(20));
    w.scale(0);
    assert_eq!((w.state(), w.rotation.len()), (Stopping, 0));
    w.pass(secs(1));
    assert_eq!((w.state(), w.states()), (Off, vec![Stopping, Off]));
    w.pass(secs(3600));
    assert_eq!(w.state(), Off);
    w.request(ms(10));
    w.pass(secs(1));
    assert_eq!((w.state(), w.rotation.len(), w.held(), w.refused.len()), (Ready, 2, 0, 0));
}

#[test]
fn requests_that_wait_when_it_is_ended_or_come_afterwards_start_it_again() {
    let mut w = simple();
    w.boot = secs(2);
    w.request(ms(10));
    w.pass(secs(1));
    w.scale(0);
    assert_eq!((w.state(), w.held()), (Stopping, 1), "the one that waits is not answered");
    w.pass(secs(4));
    assert_eq!((w.state(), w.held(), w.refused.len(), w.starts.len()), (Ready, 0, 0, 2));
    w.scale(0);
    w.request(ms(10));
    assert_eq!((w.state(), w.held()), (Stopping, 1));
    w.pass(secs(4));
    assert_eq!((w.state(), w.held(), w.refused.len(), w.starts.len()), (Ready, 0, 0, 3));
}

#[test]
fn what_is_pinned_or_always_on_is_wanted_again_at_once() {
    for always in [true, false] {
        let mut w = simple();
        if always {
            w.configure(|_, p| p.mode = Mode::AlwaysOn);
        } else {
            w.tell(Event::Pin);
        }
        w.pass(secs(1));
        w.request(secs(20));
        w.states();
        w.scale(0);
        w.pass(secs(1));
        assert_eq!((w.states(), w.starts.len()), (vec![Stopping, Starting, Ready], 2));
    }
}

#[test]
fn what_others_need_is_off_until_they_need_it_anew() {
    let mut w = simple();
    let needed = |by: &[&str]| Event::Derived { landscape: false, needed_by: by.iter().map(|s| (*s).into()).collect() };
    w.tell(needed(&["a"]));
    w.pass(secs(1));
    w.scale(0);
    w.pass(secs(100));
    assert_eq!(w.state(), Off);
    w.tell(needed(&["a", "b"]));
    w.pass(secs(1));
    assert_eq!(w.state(), Ready);
}

#[test]
fn scaled_up_again_while_it_goes_down_it_is_awake_again_afterwards() {
    // The poor man's restart.
    let mut w = ready(2);
    w.scale(0);
    assert_eq!(w.state(), Stopping);
    w.scale(2);
    w.pass(secs(1));
    assert_eq!((w.state(), w.rotation.len(), w.starts.len()), (Ready, 2, 4));
    // Behind an operator's back, while the last request goes on.
    w.request(secs(10));
    w.tell(Event::Sleep);
    assert_eq!(w.state(), Draining);
    w.scale(3);
    assert_eq!(w.state(), Draining, "what is on its way out goes first");
    w.pass(secs(12));
    assert_eq!((w.state(), w.rotation.len()), (Ready, 3));
    w.request(secs(10));
    w.tell(Event::Sleep);
    w.scale(0);
    w.pass(secs(1));
    assert_eq!(w.state(), Off, "nobody waits for what somebody else has ended");
}

#[test]
fn the_last_word_counts() {
    let mut w = ready(1);
    w.scale(0);
    w.scale(4);
    w.scale(0);
    w.pass(secs(10));
    assert_eq!((w.state(), w.starts.len()), (Off, 1));
    w.tell(Event::Wake);
    w.pass(ms(1));
    w.scale(0);
    w.pass(secs(10));
    assert_eq!(w.state(), Off, "also over an operator's earlier one");
}

#[test]
fn it_ends_a_back_off() {
    let mut w = simple();
    w.next_app = App::ExitsAtOnce;
    w.request(ms(10));
    w.pass(ms(500));
    assert_eq!(w.state(), Failed);
    w.next_app = App::Good;
    w.scale(0);
    assert_eq!(w.state(), Failed, "nothing runs already");
    w.scale(2);
    w.pass(ms(200));
    assert_eq!((w.state(), w.rotation.len()), (Ready, 2));
}

#[test]
fn what_has_to_be_prepared_is_prepared_first_and_called_off_by_zero() {
    let mut w = simple();
    w.config.prepared = false;
    w.configure(|_, _| {});
    w.scale(2);
    assert_eq!((w.state(), w.starts.len()), (Preparing, 0));
    w.scale(0);
    assert_eq!(w.state(), Off);
    w.pass(secs(10));
    assert_eq!((w.state(), w.starts.len()), (Off, 0));
    w.scale(3);
    w.pass(secs(10));
    assert_eq!((w.state(), w.rotation.len()), (Ready, 3));
}

#[test]
fn a_roll_goes_on_with_as_many() {
    let mut w = ready(3);
    w.next_app = App::NeverListens;
    w.configure(|spec, _| *spec = fixtures::spec("web", 3, 2));
    assert_eq!(w.running().len(), 4, "the first successor");
    w.scale(1);
    w.pass(secs(1));
    assert_eq!((w.running().len(), w.rotation.len(), w.state()), (2, 1, Ready));
    w.scale(2);
    w.next_app = App::Good;
    w.pass(secs(400));
    assert_eq!(w.state(), Off);
    w.request(secs(1));
    w.pass(secs(2));
    assert_eq!((w.rotation.len(), w.refused.len()), (2, 0));
}

#[test]
fn what_cannot_run_here_or_ends_is_not_woken() {
    let mut w = simple();
    w.config.runnable = Err("no base".to_owned());
    w.configure(|_, _| {});
    w.scale(3);
    w.pass(secs(1));
    assert_eq!((w.state(), w.starts.len()), (Off, 0));
    w.config.runnable = Ok(());
    w.configure(|_, _| {});
    w.pass(secs(1));
    assert_eq!(w.state(), Off);

    let mut w = ready(2);
    w.request(secs(5));
    w.tell(Event::Remove);
    w.scale(4);
    w.pass(secs(6));
    assert!(w.done && w.running().is_empty() && w.refused.iter().all(|r| *r == Refusal::Removed));

    let mut w = ready(1);
    w.request(secs(5));
    w.tell(Event::Shutdown { stop: false });
    w.tell(scaled(0));
    w.pass(secs(4));
    assert!(!w.done, "it takes no part any more, and what is in flight has its time");
}

#[test]
fn a_number_without_end_has_an_end() {
    let abilities = Abilities { pause: false, local: false, shared_ports: true };
    let mut w = World::with(fixtures::spec("web", 1, 1), fixtures::policy(), abilities);
    let up = effects(&mut w, scaled(u32::MAX));
    assert_eq!(wants(&up)[0].replicas.len(), MOST as usize);
    assert_eq!(snapshot(&w).wanted_replicas, MOST);
}

#[test]
fn a_next_router_takes_as_many_over_as_somebody_else_has_set() {
    let mut w = ready(1);
    w.scale(3);
    w.pass(secs(1));
    w.restart_router(w.later_generation());
    w.pass(secs(1));
    assert_eq!((w.state(), w.rotation.len(), w.starts.len(), w.stops), (Ready, 3, 3, 0));
    w.pass(secs(100));
    assert_eq!(w.state(), Off);
}
