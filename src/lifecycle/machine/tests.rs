//! Every row of the table in "The life of a service".

use std::time::Duration;

use super::world::{App, PULL, World, simple};
use super::{Effect, Event};
use crate::backend::{Abilities, Failure, Progress, Seen};
use crate::config::settings::{Mode, WhenIdle};
use crate::lifecycle::fixtures;
use crate::lifecycle::service::Refusal;
use crate::lifecycle::status::StateName::{self, Draining, Failed, Off, Preparing, Ready, Starting, Stopping};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn ready() -> World {
    let mut w = simple();
    w.request(ms(10));
    w.pass(secs(1));
    assert_eq!(w.state(), Ready);
    w.states();
    w
}

fn many(replicas: u32) -> World {
    let mut w = World::new(fixtures::spec("web", replicas, 1), fixtures::policy());
    w.request(ms(10));
    w.pass(secs(1));
    w.states();
    w
}

#[test]
fn a_request_starts_it_and_idleness_from_the_end_of_the_last_use_stops_it() {
    let mut w = simple();
    w.request(secs(100));
    w.pass(secs(1));
    assert_eq!(w.states(), [Off, Starting, Ready]);
    w.pass(secs(158));
    assert_eq!(w.state(), Ready, "idleAfter has not passed since the request's end");
    w.pass(secs(3));
    assert_eq!(w.states(), [Draining, Stopping, Off]);
    assert_eq!((w.starts.len(), w.stops, w.refused.len()), (1, 1, 0));
}

#[test]
fn many_requests_are_one_start() {
    let mut w = simple();
    for _ in 0..9000 {
        w.request(ms(10));
    }
    assert_eq!((w.held(), w.starts.len()), (9000, 1));
    w.pass(secs(1));
    assert_eq!((w.held(), w.starts.len(), w.refused.len()), (0, 1, 0));
}

#[test]
fn preparation_comes_first_and_its_failure_answers_everyone() {
    let mut w = simple();
    w.config.prepared = false;
    w.configure(|_, _| {});
    w.prepare_fails = true;
    w.request(ms(10));
    assert_eq!((w.state(), w.starts.len()), (Preparing, 0));
    w.pass(ms(2001));
    assert_eq!((w.state(), w.held(), w.refused.len()), (Failed, 0, 1));
    w.prepare_fails = false;
    w.pass(secs(2));
    w.request(ms(10));
    w.pass(secs(3));
    assert_eq!(w.state(), Ready);
}

#[test]
fn a_request_after_a_failed_preparation_and_a_sleep_prepares_anew() {
    let mut w = simple();
    w.config.prepared = false;
    w.configure(|_, _| {});
    w.prepare_fails = true;
    w.request(ms(10));
    w.pass(ms(2001));
    w.tell(Event::Sleep);
    w.pass(ms(100));
    assert_eq!(w.state(), Off);
    w.prepare_fails = false;
    w.request(ms(10));
    w.pass(secs(3));
    assert_eq!((w.state(), w.held()), (Ready, 0), "the back-off is over with the sleep");
}

#[test]
fn a_preparation_that_fails_while_it_sleeps_does_not_keep_the_next_one_from_beginning() {
    let mut w = simple();
    w.config.prepared = false;
    w.configure(|_, _| {});
    w.prepare_fails = true;
    w.request(ms(10));
    w.tell(Event::Sleep);
    w.pass(ms(2001));
    assert_eq!(w.state(), Off);
    w.prepare_fails = false;
    w.request(ms(10));
    w.pass(secs(3));
    assert_eq!((w.state(), w.held()), (Ready, 0));
}

#[test]
fn a_crash_loop_answers_held_requests_at_the_exit_and_backs_off() {
    let mut w = simple();
    w.next_app = App::ExitsAtOnce;
    w.request(ms(10));
    w.pass(ms(11));
    assert_eq!(w.state(), Failed);
    let Refusal::Failed { public, retry_after } = &w.refused[0] else { panic!("{:?}", w.refused) };
    assert_eq!((public.as_str(), *retry_after), ("The service exited right after its start.", secs(1)));
    w.request(ms(10));
    assert_eq!((w.refused.len(), w.starts.len()), (2, 1), "answered at once, not tried again yet");
    w.pass(secs(2));
    assert_eq!(w.starts.len(), 1, "nobody wants it");
    w.request(ms(10));
    w.pass(ms(11));
    assert_eq!((w.starts.len(), w.refused.len()), (2, 3));
    w.pass(ms(1900));
    w.request(ms(10));
    assert_eq!(w.starts.len(), 2, "twice as long now");
}

#[test]
fn what_cannot_work_is_told_at_once_and_tried_anew_only_after_a_long_while() {
    let mut w = simple();
    w.next_app = App::NeverListens;
    w.request(ms(10));
    let failure = Failure { permanent: true, ..fixtures::exited() };
    w.tell(Event::Seen(Seen::Ended(w.starts[0], failure)));
    let Refusal::Failed { retry_after, .. } = w.refused[0] else { panic!("{:?}", w.refused) };
    assert_eq!((w.state(), retry_after), (Failed, secs(30)));
    w.pass(secs(29));
    w.request(ms(10));
    assert_eq!((w.refused.len(), w.held(), w.starts.len()), (2, 0, 1));
    w.next_app = App::Good;
    w.pass(secs(2));
    w.request(ms(10));
    w.pass(secs(1));
    assert_eq!((w.state(), w.starts.len(), w.refused.len()), (Ready, 2, 2));
}

#[test]
fn a_change_of_its_configuration_clears_the_back_off() {
    let mut w = simple();
    w.next_app = App::ExitsAtOnce;
    w.request(ms(10));
    w.pass(ms(11));
    w.next_app = App::Good;
    w.configure(|spec, _| *spec = fixtures::spec("web", 1, 2));
    w.pass(ms(200));
    assert_eq!(w.state(), Ready);
}

#[test]
fn a_replica_that_never_listens_fails_at_the_deadline() {
    let mut w = simple();
    w.next_app = App::NeverListens;
    w.request(ms(10));
    w.pass(secs(299));
    assert_eq!((w.state(), w.held()), (Starting, 1));
    w.pass(secs(2));
    assert_eq!((w.state(), w.held(), w.running().len()), (Failed, 0, 0));
}

#[test]
fn a_pull_that_stands_still_is_no_late_start() {
    let mut w = simple();
    w.next_app = App::Pulled;
    w.request(ms(10));
    let id = w.starts[0];
    let progress = Progress { text: "pulling shop/web:1".to_owned(), fraction: None };
    w.tell(Event::Seen(Seen::Progress(id, progress)));
    w.pass(PULL - secs(1));
    assert_eq!((w.state(), w.held()), (Starting, 1));
    w.pass(secs(2));
    assert_eq!((w.state(), w.held(), w.starts.len()), (Ready, 0, 1));
}

#[test]
fn always_on_starts_by_itself_and_after_every_failure() {
    let mut w = simple();
    w.next_app = App::ExitsAtOnce;
    w.configure(|_, p| p.mode = Mode::AlwaysOn);
    w.pass(secs(20));
    assert_eq!(w.starts.len(), 5, "after 0, 1, 3, 7 and 15 seconds");
    w.next_app = App::Good;
    w.pass(secs(20));
    assert_eq!(w.state(), Ready);
    w.pass(secs(3600));
    assert_eq!(w.state(), Ready);
}

#[test]
fn one_lost_replica_is_replaced_while_others_serve() {
    let mut w = many(3);
    assert_eq!(w.rotation.len(), 3);
    w.crash(1);
    assert_eq!((w.state(), w.rotation.len()), (Ready, 2));
    w.pass(secs(1));
    assert_eq!((w.state(), w.rotation.len(), w.starts.len()), (Ready, 3, 4));
}

#[test]
fn the_last_lost_replica_is_started_again_and_requests_wait_meanwhile() {
    let mut w = ready();
    w.pass(secs(20));
    w.crash(0);
    w.request(ms(10));
    assert_eq!((w.state(), w.held()), (Starting, 1));
    w.pass(secs(1));
    assert_eq!((w.state(), w.held(), w.refused.len()), (Ready, 0, 0));
}

#[test]
fn the_first_replica_that_is_ready_opens_the_gate_and_a_failing_one_does_not_close_it() {
    let mut w = World::new(fixtures::spec("web", 2, 1), fixtures::policy());
    w.next_app = App::NeverListens;
    w.request(ms(10));
    let slow = w.starts[0];
    w.next_app = App::Good;
    w.crash(1);
    w.pass(secs(2));
    assert_eq!((w.state(), w.held(), w.rotation.len()), (Ready, 0, 1));
    assert_ne!(w.rotation[0], slow);
}

#[test]
fn demand_while_stopping_waits_and_starts_again() {
    let mut w = ready();
    w.pass(ms(59_135));
    assert_eq!(w.state(), Stopping);
    w.request(ms(10));
    assert_eq!((w.state(), w.held()), (Stopping, 1));
    w.pass(secs(1));
    assert_eq!((w.state(), w.held(), w.starts.len()), (Ready, 0, 2));
}

#[test]
fn what_is_in_flight_is_never_stopped_by_idleness() {
    let mut w = ready();
    w.request(secs(3600));
    w.pass(secs(3500));
    assert_eq!(w.state(), Ready);
    w.pass(secs(220));
    assert_eq!(w.state(), Off);
}

#[test]
fn an_unconfirmed_stop_fails_and_kills() {
    let mut w = simple();
    w.next_app = App::IgnoresStop;
    w.request(ms(10));
    w.pass(secs(62));
    assert_eq!(w.state(), Stopping);
    w.pass(secs(20));
    assert_eq!(w.state(), Failed);
    w.next_app = App::Good;
    w.pass(secs(2));
    assert_eq!(w.running().len(), 0, "it was killed");
    w.request(ms(10));
    w.pass(secs(1));
    assert_eq!(w.state(), Ready);
}

#[test]
fn a_changed_specification_is_rolled_without_a_moment_of_nothing() {
    let mut w = many(2);
    let before = w.rotation.clone();
    w.request(secs(10));
    w.configure(|spec, _| *spec = fixtures::spec("web", 2, 2));
    for _ in 0..100 {
        w.pass(ms(20));
        w.request(ms(5));
        assert!(!w.rotation.is_empty());
    }
    assert!(w.rotation.iter().all(|id| !before.contains(id)));
    assert_eq!((w.rotation.len(), w.states(), w.refused.len()), (2, vec![], 0));
    assert_eq!(w.running().len(), 3, "the long request's replica is awaited");
    w.pass(secs(10));
    assert_eq!(w.running().len(), 2);
}

#[test]
fn a_replaced_replica_has_the_drain_timeout_and_no_longer() {
    let mut w = ready();
    w.request(secs(3600));
    w.configure(|spec, _| *spec = fixtures::spec("web", 1, 2));
    w.pass(secs(29));
    assert_eq!(w.running().len(), 2);
    w.pass(secs(2));
    assert_eq!(w.running().len(), 1);
}

#[test]
fn a_broken_new_version_leaves_the_old_one_serving() {
    let mut w = ready();
    w.next_app = App::ExitsAtOnce;
    w.configure(|spec, _| *spec = fixtures::spec("web", 1, 2));
    w.pass(secs(20));
    assert_eq!((w.state(), w.rotation.len()), (Ready, 1));
    assert!(w.starts.len() > 3);
    w.next_app = App::Good;
    w.pass(secs(20));
    assert_eq!(w.rotation, [*w.starts.last().unwrap()]);
}

#[test]
fn where_the_port_cannot_be_shared_the_old_one_stops_first_and_requests_wait() {
    let abilities = Abilities { pause: false, local: true, shared_ports: false };
    let mut w = World::with(fixtures::spec("web", 1, 1), fixtures::policy(), abilities);
    w.request(ms(10));
    w.pass(secs(1));
    w.next_app = App::TakesThePort;
    w.configure(|spec, _| *spec = fixtures::spec("web", 1, 2));
    w.pass(ms(150));
    assert_eq!(w.state(), Starting);
    w.request(ms(10));
    w.pass(secs(1));
    assert_eq!((w.state(), w.held(), w.refused.len()), (Ready, 0, 0));
    assert_eq!(w.rotation, [*w.starts.last().unwrap()]);
}

#[test]
fn a_changed_policy_restarts_nothing_and_more_replicas_are_added() {
    let mut w = ready();
    w.configure(|_, p| p.idle_after = secs(1000));
    w.pass(secs(10));
    assert_eq!(w.starts.len(), 1);
    w.configure(|s, _| s.replicas = 3);
    w.pass(secs(1));
    assert_eq!((w.starts.len(), w.rotation.len()), (3, 3));
    w.configure(|s, _| s.replicas = 1);
    w.pass(secs(1));
    assert_eq!((w.starts.len(), w.rotation.len(), w.running().len()), (3, 1, 1));
    assert_eq!(w.rotation[0].ordinal, 0, "the lowest ordinal stays");
}

#[test]
fn sleep_is_off_now_and_the_next_request_wakes_it() {
    let mut w = ready();
    w.configure(|_, p| p.mode = Mode::AlwaysOn);
    w.request(secs(5));
    w.tell(Event::Sleep);
    assert_eq!((w.state(), w.in_flight()), (Draining, 1));
    w.pass(secs(6));
    assert_eq!((w.state(), w.stops), (Off, 1));
    w.pass(secs(3600));
    assert_eq!(w.state(), Off, "although it is always on");
    w.request(ms(10));
    w.pass(secs(1));
    assert_eq!(w.state(), Ready);
}

#[test]
fn sleep_does_not_wait_for_ever() {
    let mut w = ready();
    w.request(secs(3600));
    w.tell(Event::Sleep);
    w.pass(secs(31));
    assert_eq!(w.state(), Off);
}

#[test]
fn pinned_it_stays_awake_until_it_is_unpinned() {
    let mut w = simple();
    w.tell(Event::Pin);
    w.pass(secs(3600));
    assert_eq!(w.state(), Ready);
    w.tell(Event::Sleep);
    assert_eq!(w.state(), Ready);
    w.tell(Event::Unpin);
    w.pass(secs(61));
    assert_eq!(w.state(), Off);
}

#[test]
fn an_operators_wake_counts_as_one_use_and_ends_a_back_off() {
    let mut w = simple();
    w.next_app = App::ExitsAtOnce;
    w.tell(Event::Wake);
    w.pass(ms(50));
    assert_eq!(w.state(), Failed);
    w.next_app = App::Good;
    w.tell(Event::Wake);
    w.pass(ms(200));
    assert_eq!(w.state(), Ready);
    w.pass(secs(59));
    assert_eq!(w.state(), Ready);
    w.pass(secs(2));
    assert_eq!(w.state(), Off);
}

#[test]
fn a_restart_replaces_every_replica_while_others_serve() {
    let mut w = many(2);
    let before = w.rotation.clone();
    w.tell(Event::Restart);
    w.pass(secs(2));
    assert_eq!((w.rotation.len(), w.states()), (2, vec![]));
    assert!(w.rotation.iter().all(|id| !before.contains(id)));
}

#[test]
fn what_others_need_is_awake_as_long_as_they_need_it() {
    let mut w = simple();
    w.tell(Event::Derived { landscape: true, needed_by: vec![] });
    w.pass(secs(3600));
    assert_eq!(w.state(), Ready);
    w.tell(Event::Derived { landscape: false, needed_by: vec![] });
    w.pass(ms(1));
    assert_eq!(w.state(), Stopping, "it was never used for its own sake");
    w.pass(secs(1));
    w.tell(Event::Derived { landscape: false, needed_by: vec!["web".into()] });
    w.pass(secs(1));
    w.request(ms(10));
    w.pass(ms(20));
    w.tell(Event::Derived { landscape: false, needed_by: vec![] });
    w.pass(secs(59));
    assert_eq!(w.state(), Ready, "it was used itself");
    w.pass(secs(2));
    assert_eq!(w.state(), Off);
}

#[test]
fn removed_it_answers_everyone_drains_and_is_over() {
    let mut w = ready();
    w.request(secs(5));
    w.tell(Event::Remove);
    assert_eq!((w.state(), w.done), (Draining, false));
    w.pass(secs(6));
    assert!(w.done && w.running().is_empty());

    let mut w = simple();
    w.request(ms(10));
    w.tell(Event::Remove);
    assert_eq!(w.refused, [Refusal::Removed]);
    w.pass(secs(1));
    assert!(w.done && w.running().is_empty());
}

#[test]
fn at_the_routers_end_replicas_are_left_or_stopped_as_is_wished() {
    let mut w = ready();
    w.request(secs(5));
    w.tell(Event::Shutdown { stop: false });
    w.pass(secs(4));
    assert!(!w.done, "what is in flight has its time");
    w.pass(secs(2));
    assert!(w.done);
    assert_eq!((w.running().len(), w.stops), (1, 0));

    let mut w = ready();
    w.tell(Event::Shutdown { stop: true });
    w.pass(secs(1));
    assert!(w.done && w.running().is_empty());
}

#[test]
fn paused_it_resumes_on_demand_and_stops_after_a_while() {
    let mut w = simple();
    w.configure(|_, p| p.when_idle = WhenIdle::PauseThenStop { stop_after: secs(600) });
    w.request(ms(10));
    w.pass(secs(62));
    assert_eq!((w.state(), w.frozen(), w.stops), (Off, 1, 0));
    w.boot = ms(1);
    w.request(ms(10));
    w.pass(ms(20));
    assert_eq!((w.state(), w.frozen(), w.starts.len()), (Ready, 0, 1));
    w.pass(secs(600));
    assert_eq!((w.state(), w.frozen()), (Off, 1));
    w.pass(secs(120));
    assert_eq!((w.state(), w.frozen(), w.running().len()), (Off, 0, 0));
}

#[test]
fn one_that_will_not_resume_is_replaced() {
    let mut w = simple();
    w.configure(|_, p| p.when_idle = WhenIdle::Pause);
    w.next_app = App::WillNotResume;
    w.request(ms(10));
    w.pass(secs(62));
    assert_eq!(w.frozen(), 1);
    w.next_app = App::Good;
    w.request(ms(10));
    w.pass(secs(11));
    assert_eq!((w.state(), w.held(), w.starts.len(), w.refused.len()), (Ready, 0, 2, 0));
}

#[test]
fn one_that_will_not_pause_is_stopped() {
    let mut w = simple();
    w.configure(|_, p| p.when_idle = WhenIdle::Pause);
    w.next_app = App::WillNotPause;
    w.request(ms(10));
    w.pass(secs(90));
    assert_eq!((w.state(), w.running().len()), (Off, 0));
}

/// One that its backend fails to freeze, half a second before it says so.
fn freezing() -> World {
    let mut w = simple();
    w.configure(|_, p| p.when_idle = WhenIdle::Pause);
    w.next_app = App::PauseFails;
    w.request(ms(10));
    while w.state() != Stopping {
        w.pass(ms(50));
    }
    assert_eq!(w.running().len(), 1);
    w.states();
    w
}

#[test]
fn one_whose_freezing_fails_is_stopped_at_once_and_that_is_told() {
    let mut w = freezing();
    w.pass(ms(600));
    assert_eq!((w.states(), w.running().len()), (vec![Off], 0));
    let failure = w.machine.snapshot(std::time::SystemTime::now(), Some(std::time::SystemTime::now())).last_failure;
    assert_eq!(failure.unwrap().0.detail, "it cannot be paused, and is stopped: not everything froze");
}

#[test]
fn one_whose_freezing_fails_serves_on_if_somebody_has_come() {
    let mut w = freezing();
    w.request(ms(10));
    assert_eq!(w.held(), 1);
    w.pass(ms(600));
    assert_eq!((w.states(), w.held(), w.starts.len(), w.stops), (vec![Starting, Ready], 0, 1, 0));
    w.request(ms(10));
    w.pass(secs(1));
    assert_eq!((w.state(), w.refused.len()), (Ready, 0));
}

#[test]
fn one_whose_resuming_fails_is_replaced_at_once() {
    let mut w = simple();
    w.configure(|_, p| p.when_idle = WhenIdle::Pause);
    w.next_app = App::ResumeFails;
    w.request(ms(10));
    w.pass(secs(62));
    assert_eq!(w.frozen(), 1);
    w.next_app = App::Good;
    w.request(ms(10));
    w.pass(ms(200));
    assert_eq!((w.state(), w.held(), w.starts.len(), w.refused.len()), (Ready, 0, 2, 0));
}

#[test]
fn what_its_own_health_check_calls_unhealthy_is_not_ready_whatever_the_probe_says() {
    let mut w = ready();
    let id = w.rotation[0];
    w.restart_router(w.later_generation());
    w.tell(Event::Seen(Seen::Health(id, false)));
    w.request(ms(10));
    w.pass(secs(1));
    assert_eq!((w.state(), w.held(), w.running()), (Starting, 1, vec![id]));
    w.tell(Event::Seen(Seen::Health(id, true)));
    assert_eq!((w.state(), w.held(), w.rotation.clone()), (Ready, 0, vec![id]));
    w.tell(Event::Seen(Seen::Health(id, false)));
    w.tell(Event::ProbePassed(id, super::world::addresses(id)));
    assert_eq!(w.state(), Starting);
    w.tell(Event::Seen(Seen::Health(id, true)));
    assert_eq!(w.rotation, [id]);
    // One that stays unhealthy is replaced, as any other that does not become ready.
    w.tell(Event::Pin);
    w.tell(Event::Seen(Seen::Health(id, false)));
    w.pass(secs(62));
    assert_eq!((w.state(), w.starts.len(), w.running().contains(&id)), (Ready, 2, false));
}

#[test]
fn one_that_its_probes_took_out_is_back_when_its_own_health_check_passes_too() {
    let mut w = ready();
    let id = w.rotation[0];
    let checked = |result: Result<(), String>| Event::Checked { id, result, answered: false };
    w.tell(Event::Pin);
    (0..2).for_each(|_| w.tell(checked(Err("500".to_owned()))));
    w.tell(Event::Seen(Seen::Health(id, false)));
    w.tell(checked(Ok(())));
    assert_eq!((w.state(), w.running()), (Starting, vec![id]));
    w.tell(Event::Seen(Seen::Health(id, true)));
    assert_eq!(w.rotation, [id]);
    // One that stays unhealthy is replaced.
    (0..2).for_each(|_| w.tell(checked(Err("500".to_owned()))));
    w.tell(Event::Seen(Seen::Health(id, false)));
    w.tell(checked(Ok(())));
    w.pass(secs(62));
    assert_eq!((w.state(), w.starts.len(), w.running().contains(&id)), (Ready, 2, false));
}

#[test]
fn a_suspect_replica_gets_nothing_until_it_is_probed() {
    let mut w = many(2);
    let id = w.rotation[0];
    w.tell(Event::Suspect(id));
    assert!(!w.rotation.contains(&id));
    assert_eq!(w.rotation.len(), 1);
    w.pass(secs(1));
    assert!(w.rotation.contains(&id));
}

#[test]
fn two_failed_probes_take_it_out_and_six_replace_it() {
    let mut w = many(2);
    let id = w.rotation[0];
    let fail = |w: &mut World| w.tell(Event::Checked { id, result: Err("500".to_owned()), answered: false });
    fail(&mut w);
    assert_eq!(w.rotation.len(), 2);
    fail(&mut w);
    assert_eq!(w.rotation.len(), 1);
    w.tell(Event::Checked { id, result: Ok(()), answered: false });
    assert_eq!(w.rotation.len(), 2);
    (0..6).for_each(|_| fail(&mut w));
    w.pass(secs(1));
    assert_eq!(w.rotation.len(), 2);
    assert!(!w.rotation.contains(&id));
}

#[test]
fn while_the_engine_is_away_what_is_known_serves_and_no_deadline_passes() {
    let mut w = ready();
    w.engine(true);
    w.request(ms(10));
    w.pass(secs(10));
    assert_eq!(w.state(), Ready);
    w.engine(false);
    w.pass(secs(1));
    assert_eq!((w.state(), w.starts.len()), (Ready, 1));
}

#[test]
fn when_the_engine_is_back_no_service_waits_for_what_was_tried_in_vain() {
    let mut w = simple();
    w.next_app = App::ExitsAtOnce;
    let mut wait = || {
        w.request(ms(10));
        w.pass(ms(11));
        let Some(Refusal::Failed { retry_after, .. }) = w.refused.pop() else { panic!("{:?}", w.refused) };
        if retry_after == secs(8) {
            w.engine(true);
            w.engine(false);
        } else {
            w.pass(retry_after);
        }
        retry_after
    };
    assert_eq!([wait(), wait(), wait(), wait()], [1, 2, 4, 8].map(secs));
    assert_eq!(wait(), secs(1), "tried at once, and as for the first time");
}

#[test]
fn a_next_router_finds_the_replicas_and_neither_stops_nor_doubles_them() {
    let mut w = many(3);
    let before = w.running();
    w.restart_router(1);
    assert_eq!(w.state(), Starting);
    w.pass(secs(1));
    assert_eq!((w.state(), w.rotation.len()), (Ready, 3));
    assert_eq!((w.running(), w.starts.len(), w.stops), (before, 3, 0));
    // A clock that went back does not make generations that were used before.
    w.crash(0);
    w.pass(secs(1));
    assert_eq!(w.rotation.len(), 3);
}

#[test]
fn what_was_sent_to_sleep_just_before_a_take_over_sleeps_and_a_request_wakes_it() {
    let mut w = ready();
    w.configure(|_, p| p.mode = Mode::AlwaysOn);
    let found = w.begin_router(w.later_generation());
    w.tell(Event::Sleep);
    w.tell(Event::Adopted(found));
    w.pass(secs(1));
    assert_eq!((w.state(), w.running().len(), w.starts.len()), (Off, 0, 1));
    w.pass(secs(3600));
    assert_eq!(w.state(), Off, "although it is always on");
    w.request(ms(10));
    w.pass(secs(1));
    assert_eq!((w.state(), w.held()), (Ready, 0));
}

#[test]
fn what_runs_an_older_specification_serves_until_it_is_replaced() {
    let mut w = ready();
    let old = w.rotation[0];
    w.config.spec = fixtures::spec("web", 1, 2).into();
    w.restart_router(5000);
    w.pass(ms(150));
    assert_eq!(w.rotation, [old]);
    w.pass(secs(1));
    assert_ne!(w.rotation, [old]);
    assert_eq!(w.running().len(), 1);
}

#[test]
fn a_next_router_keeps_the_old_one_serving_that_its_successor_is_not_ready_to_replace() {
    let mut w = ready();
    let old = w.rotation[0];
    w.next_app = App::NeverListens;
    w.configure(|spec, _| *spec = fixtures::spec("web", 1, 2));
    w.pass(secs(1));
    let rolling = w.running();
    assert_eq!(rolling.len(), 2);
    w.restart_router(w.later_generation());
    w.request(ms(10));
    w.pass(secs(1));
    assert_eq!((w.state(), w.held(), w.rotation.clone(), w.running()), (Ready, 0, vec![old], rolling));
    w.next_app = App::Good;
    w.tell(Event::Pin);
    w.pass(secs(300));
    let failure = w.machine.snapshot(std::time::SystemTime::now(), Some(std::time::SystemTime::now())).last_failure;
    let detail = failure.unwrap().0.detail;
    assert!(detail.starts_with("it was not ready 300.0 s after it was found: "), "{detail}");
    w.pass(secs(30));
    assert!(w.running().len() == 1 && w.rotation.len() == 1 && w.rotation[0] != old, "{:?}", w.running());
}

#[test]
fn a_next_router_ends_a_replacement_that_was_complete_but_for_the_end_of_the_old_one() {
    let mut w = ready();
    w.request(secs(20));
    w.configure(|spec, _| *spec = fixtures::spec("web", 1, 2));
    w.pass(secs(1));
    let new = w.rotation.clone();
    assert_eq!(w.running().len(), 2);
    w.restart_router(w.later_generation());
    w.pass(secs(1));
    assert_eq!((w.state(), w.rotation.clone(), w.running(), w.starts.len()), (Ready, new.clone(), new, 2));
}

#[test]
fn it_tells_who_caused_starts_and_stops() {
    use crate::lifecycle::events::{Cause, What};
    let mut w = simple();
    let facts = super::Facts { held: 1, ..Default::default() };
    let effects = w.machine.on(Event::Demand, w.now, &facts);
    assert!(effects.iter().any(|e| matches!(e, Effect::Apply(want) if want.replicas.len() == 1)));
    let mut w = simple();
    w.request(ms(1));
    w.pass(ms(109));
    let id = w.starts[0];
    let effects = w.machine.on(Event::ProbePassed(id, super::world::addresses(id)), w.now, &facts);
    let told = |e: &Effect| matches!(e, Effect::Tell(What::Start { cause: Cause::Demand, replicas: 1, .. }));
    assert!(effects.iter().any(told), "{effects:?}");
}

#[test]
fn every_state_has_its_name() {
    assert_eq!(
        StateName::ALL.map(StateName::as_str).join(" "),
        "off preparing starting ready draining stopping failed"
    );
}

#[test]
fn what_it_depends_on_is_needed_until_its_last_request_has_ended_behind_a_failure_too() {
    let mut w = simple();
    w.request(secs(20));
    w.pass(secs(1));
    w.tell(Event::Suspect(w.rotation[0]));
    // It is given up, and what would replace it cannot be prepared.
    w.config.prepared = false;
    w.configure(|_, _| {});
    w.tell(Event::ProbeTaken(w.starts[0], "another".to_owned()));
    assert_eq!((w.state(), w.in_flight(), w.up), (Failed, 1, true));
    w.pass(secs(18));
    assert_eq!((w.state(), w.in_flight(), w.up), (Failed, 1, true));
    w.pass(secs(2));
    assert_eq!((w.state(), w.running().len(), w.up), (Failed, 0, false));
}

#[test]
fn what_a_next_router_finds_on_its_way_out_is_awaited_before_the_next_start() {
    let mut w = ready();
    w.tell(Event::Sleep);
    assert_eq!(w.state(), Stopping);
    w.restart_router(w.later_generation());
    w.request(ms(10));
    assert_eq!((w.state(), w.starts.len(), w.held()), (Stopping, 1, 1), "the old one is still there");
    w.pass(secs(1));
    assert_eq!((w.state(), w.starts.len(), w.held()), (Ready, 2, 0));
}
