use std::time::Duration;

use proptest::prelude::*;

use super::world::{App, STEPS, Step, World};
use super::*;
use crate::backend::FailureKind;
use crate::backend::kubernetes::trouble;

#[test]
fn a_declared_service_is_there_and_off() {
    let world = World::own();
    assert_eq!((world.count(), world.applies, world.scales), (Some(0), 1, 0));
    world.check_at_rest();
}

#[test]
fn up_and_down_is_one_write_each() {
    let mut world = World::own().up(3);
    world.check_at_rest();
    assert_eq!((world.applies, world.scales, world.pods.len()), (1, 1, 3));
    world.stop();
    world.quiet();
    world.check_at_rest();
    assert_eq!((world.applies, world.scales, world.pods.len()), (1, 2, 0));
    assert_eq!(world.ended, []);
}

#[test]
fn where_a_pod_is_is_told_before_its_application_runs_and_again_then() {
    let mut world = World::own();
    world.start();
    let begins = [Step::Write, Step::Answer, Step::WorkloadView, Step::Deployments, Step::Sets, Step::PodView];
    for step in begins.into_iter().chain([Step::Kubelet(0), Step::PodView]) {
        world.step(step);
    }
    let told = |world: &World| world.unheard().filter(|s| matches!(s, Seen::Running(..))).count();
    for (times, what) in [(1, "its address"), (2, "its running"), (2, "its being ready")] {
        assert!(world.step(Step::Kubelet(0)) && world.step(Step::PodView), "{what}");
        assert_eq!(told(&world), times, "{what}");
    }
}

#[test]
fn a_stop_is_told_when_the_pod_is_gone_and_not_before() {
    let mut world = World::own();
    world.start();
    world.quiet();
    world.stop();
    for step in [Step::Drained, Step::Write, Step::Answer, Step::Deployments, Step::Sets, Step::PodView] {
        world.step(step);
    }
    assert!(world.pods.values().all(|p| p.pod.terminating));
    assert_eq!(world.unheard().count(), 0);
    assert!(world.step(Step::Kubelet(0)) && world.step(Step::PodView), "its containers end");
    assert!(matches!(world.unheard().next(), Some(Seen::Stopped(_))));
}

#[test]
fn a_pod_that_takes_long_to_end_is_left_to_the_cluster_and_is_nobodys_replica() {
    let mut world = World::own();
    world.start();
    world.quiet();
    let before: Vec<_> = world.pods.keys().cloned().collect();
    world.slow = true;
    world.stop();
    for step in [Step::Drained, Step::Write] {
        world.step(step);
    }
    assert_eq!(world.core.going().count(), 0, "not even told to go");
    world.tell_core(Event::Late(before[0].clone()));
    assert_eq!(world.unheard().count(), 0, "what was not told to go has not ended");
    world.quiet();
    assert_eq!(world.core.going().collect::<Vec<_>>(), [&before[0]]);
    assert!(!world.core.is_gone());
    world.be_late();
    assert!(matches!(world.unheard().next(), Some(Seen::Stopped(_))));
    world.quiet();
    assert!(world.core.is_gone() && world.core.going().count() == 0);
    world.start();
    world.quiet();
    let now: Vec<_> = world.core.sources().into_iter().map(|(_, pod)| pod).collect();
    assert!(now.len() == 1 && now != before, "{now:?}");
    world.slow = false;
    world.quiet();
    world.check_at_rest();
    assert_eq!((world.pods.len(), world.ended.len()), (1, 0), "its late end is nobody's");
}

#[test]
fn the_next_router_waits_for_a_pod_that_takes_long_no_longer_either() {
    let mut world = World::own();
    world.start();
    world.quiet();
    world.slow = true;
    world.stop();
    world.quiet();
    world.reborn();
    world.quiet();
    world.start();
    world.quiet();
    assert!(!world.core.is_gone());
    world.be_late();
    world.quiet();
    assert_eq!(world.core.sources().len(), 1);
    world.slow = false;
    world.quiet();
    world.check_at_rest();
}

#[test]
fn a_change_holds_the_old_pods_until_the_last_is_replaced() {
    let mut world = World::own().up(2);
    world.roll(2);
    world.quiet();
    world.check_at_rest();
    assert_eq!(world.ended, [], "nothing is lost on the way");
    assert_eq!((world.applies, world.scales), (3, 1), "declared, held, let go");
}

#[test]
fn a_change_of_what_is_off_is_applied_at_once() {
    let mut world = World::own();
    world.roll(2);
    world.quiet();
    world.check_at_rest();
    assert_eq!((world.applies, world.count()), (2, Some(0)));
}

#[test]
fn a_change_that_fails_leaves_the_old_one_in_place() {
    let mut world = World::own();
    world.start();
    world.quiet();
    world.next_app = App::NoImage;
    world.gives_up = true;
    world.roll(2);
    while world.ended.is_empty() {
        let mut steps = STEPS.into_iter().chain([Step::Kubelet(1)]);
        assert!(steps.any(|s| world.step(s)), "it is told");
    }
    assert_eq!(world.ended[0].1.kind, FailureKind::Image);
    assert!(world.pods.values().any(|p| p.pod.ready && p.pod.lives()), "the old one serves");
    world.roll(1);
    world.quiet();
    world.check_at_rest();
    assert_eq!(world.ended.len(), 1);
}

#[test]
fn what_another_router_has_made_of_it_serves_until_this_one_reads_the_same() {
    let mut world = World::shared().up(2);
    world.roll_outside(2);
    world.quiet();
    let pods: Vec<_> = world.pods.keys().cloned().collect();
    assert_eq!(world.ended.len(), 2, "the old pods were the others' to end");
    assert_eq!(world.served(), pods, "the new ones serve");
    assert_eq!(world.applies, 1, "and it is not undone");
    world.roll(2);
    world.quiet();
    world.check_at_rest();
    assert_eq!((world.served(), world.ended.len()), (pods, 2), "the same pods, and nothing was lost");
}

#[test]
fn what_is_left_of_a_wish_does_not_undo_what_all_routers_have_agreed_upon() {
    let mut world = World::shared().up(2);
    world.gives_up = true;
    world.scale_outside(0);
    // The end of one pod is seen, and then that all should go; and one is still wanted.
    for step in [Step::Deployments, Step::Sets, Step::PodView, Step::WorkloadView] {
        world.step(step);
    }
    world.hear_ends();
    assert_eq!(world.ended.len(), 1);
    world.quiet();
    assert_eq!((world.count(), world.scales), (Some(0), 1));
}

#[test]
fn what_was_started_anew_before_a_person_was_heard_is_not_wanted() {
    for attached in [false, true] {
        let mut world = if attached { World::attached(2) } else { World::shared() }.up(2);
        world.scale_outside(0);
        // Pods are seen to end, and replicas are started in their place; then the reason is seen.
        let ends = [Step::Deployments, Step::Sets, Step::PodView, Step::PodView, Step::WorkloadView];
        for step in ends {
            world.step(step);
        }
        world.hear_ends();
        world.quiet();
        assert_eq!(world.count(), Some(0), "attached: {attached}");
        world.start();
        world.quiet();
        world.check_at_rest();
    }
}

#[test]
fn what_another_router_was_faster_to_want_is_no_news() {
    let mut world = World::shared();
    world.resize(2);
    world.start();
    world.scale_outside(2);
    world.quiet();
    world.check_at_rest();
    assert!(world.scaled.is_empty());
}

#[test]
fn what_is_woken_while_its_pods_are_on_their_way_out_loses_nothing() {
    for attached in [false, true] {
        let mut world = if attached { World::attached(2) } else { World::shared() }.up(2);
        world.scale_outside(0);
        world.step(Step::WorkloadView);
        world.stop();
        world.start();
        world.quiet();
        world.check_at_rest();
        assert_eq!(world.ended, [], "attached: {attached}");
    }
}

#[test]
fn pods_that_two_routers_have_numbered_are_a_replica_each_to_the_next() {
    let mut world = World::shared().up(2);
    let pods = world.served();
    world.number_all(0);
    world.reborn();
    world.quiet();
    world.check_at_rest();
    assert_eq!((world.served(), world.scales), (pods, 1));
}

#[test]
fn who_is_behind_another_router_wakes_what_that_one_has_made() {
    let mut world = World::shared();
    world.roll_outside(2);
    world.quiet();
    world.start();
    world.quiet();
    assert_eq!((world.served().len(), world.applies, world.scales), (1, 1, 1));
    world.roll(3);
    world.quiet();
    world.check_at_rest();
    assert_eq!(world.ended, [], "what comes after that is rolled as ever");
}

#[test]
fn another_in_its_place_comes_up_beside_it() {
    let mut world = World::own().up(2);
    let before: Vec<_> = world.pods.keys().cloned().collect();
    world.restart();
    world.quiet();
    world.check_at_rest();
    assert_eq!(world.ended, []);
    assert!(world.pods.keys().all(|name| !before.contains(name)), "all are new");
}

#[test]
fn fewer_are_those_that_are_wanted_least() {
    let mut world = World::own().up(3);
    world.resize(2);
    world.quiet();
    world.check_at_rest();
    assert_eq!(world.ended, []);
}

#[test]
fn a_count_from_outside_is_followed_and_not_fought() {
    let mut world = World::own();
    world.start();
    world.quiet();
    let writes = world.applies + world.scales;
    world.scale_outside(4);
    world.quiet();
    world.check_at_rest();
    assert_eq!((&*world.scaled, world.count()), (&[4][..], Some(4)));
    world.scale_outside(0);
    world.quiet();
    world.check_at_rest();
    assert_eq!(world.count(), Some(0));
    assert_eq!(world.applies + world.scales, writes, "nothing was written against it");
    world.start();
    world.quiet();
    world.check_at_rest();
}

#[test]
fn a_service_that_is_off_follows_a_count_too() {
    let mut world = World::own();
    world.scale_outside(2);
    world.quiet();
    world.check_at_rest();
    assert_eq!((world.count(), world.scales), (Some(2), 0));
}

#[test]
fn an_evicted_pod_is_replaced_and_its_end_told_with_the_reason() {
    let mut world = World::own();
    world.start();
    world.quiet();
    world.kill(0);
    assert!(world.step(Step::PodView));
    assert!(matches!(world.unheard().next(), Some(Seen::Ended(_, f)) if f.detail.contains("deleted by someone")));
    world.quiet();
    world.check_at_rest();
    assert_eq!((world.ended.len(), world.scales), (1, 1));
}

#[test]
fn a_crash_is_told_and_its_pod_taken_over() {
    let mut world = World::own();
    world.start();
    world.quiet();
    let before: Vec<_> = world.pods.keys().cloned().collect();
    world.crash(0);
    world.quiet();
    world.check_at_rest();
    assert_eq!((world.ended.len(), world.pods.keys().cloned().collect::<Vec<_>>()), (1, before));
    assert_eq!(world.scales, 1);
}

#[test]
fn a_replica_in_its_back_off_is_counted() {
    for shared in [false, true] {
        let mut world = World::own();
        if shared {
            world.core = std::mem::replace(&mut world.core, Core::new(false)).shared();
        }
        world.resize(2);
        world.start();
        world.quiet();
        world.backs_off = true;
        for _ in 0..3 {
            world.crash(0);
            world.quiet();
            assert_eq!((world.count(), world.scales), (Some(2), 1), "shared: {shared}");
            world.retry();
            world.quiet();
            world.check_at_rest();
        }
        assert_eq!(world.ended.len(), 3);
        world.crash_of(1);
        world.quiet();
        world.resize(1);
        world.quiet();
        assert_eq!(world.count(), Some(1), "it is made smaller, shared: {shared}");
        world.retry();
        world.quiet();
        world.check_at_rest();
    }
}

#[test]
fn a_replica_in_its_back_off_is_counted_where_somebody_else_set_the_number() {
    for shared in [false, true] {
        let mut world = World::own();
        if shared {
            world.core = std::mem::replace(&mut world.core, Core::new(false)).shared();
        }
        world.start();
        world.quiet();
        world.scale_outside(4);
        world.quiet();
        let scales = world.scales;
        world.backs_off = true;
        world.crash_of(2);
        world.quiet();
        assert_eq!(world.ended.len(), 1);
        assert_eq!((world.count(), world.scales), (Some(4), scales), "shared: {shared}");
        world.scale_outside(2);
        world.quiet();
        world.retry();
        world.quiet();
        world.check_at_rest();
        assert_eq!((world.count(), world.scales), (Some(2), scales), "shared: {shared}");
        // What is configured now holds.
        world.resize(3);
        world.quiet();
        world.resize(2);
        world.quiet();
        assert_eq!(world.count(), Some(2));
        world.check_at_rest();
    }
}

/// The life cycle hears of a person's numbers after it was configured anew: which of them holds, it alone knows.
#[test]
fn no_place_is_kept_for_what_the_life_cycle_does_not_count() {
    let mut world = World::own();
    world.next_app = App::NoRoom;
    world.scale_outside(2);
    for step in [Step::Deployments, Step::Sets, Step::Kubelet(1), Step::PodView] {
        world.step(step);
    }
    world.scale_outside(1);
    while world.step(Step::WorkloadView) {}
    world.resize(2);
    finish(&mut world);
}

/// It was given away before a person wanted fewer, and is no more than they want.
#[test]
fn a_pod_that_is_left_over_in_a_roll_makes_room_for_the_one_that_is_wanted() {
    let mut world = World::own();
    world.start();
    world.roll(2);
    world.resize(2);
    for step in [Step::Write, Step::Deployments, Step::Sets] {
        world.step(step);
    }
    world.scale_outside(0);
    world.reborn();
    for step in [Step::Write, Step::Write, Step::Answer, Step::Write] {
        world.step(step);
    }
    world.scale_outside(1);
    finish(&mut world);
}

#[test]
fn what_is_known_to_be_there_is_said_to_be() {
    let mut core = Core::new(false);
    core.on(Event::Pods(Vec::new()));
    let of = |version| {
        let spec = Arc::new(crate::lifecycle::fixtures::spec("web", 1, version));
        let template = Template { digest: spec.run_digest(), hash: format!("{version}") };
        Event::Declared(Some(Declared { spec, template: Some(template) }))
    };
    let known = |effects: &[Effect]| match effects {
        [Effect::Apply { known, .. }] => *known,
        _ => panic!("{effects:?}"),
    };
    core.on(Event::NoWorkload(Version(1)));
    assert!(!known(&core.on(of(1))), "there may be one of somebody else");
    let there = Workload {
        version: Version(2),
        count: 0,
        template: Some(Template { digest: RunDigest("old".into()), hash: "old".into() }),
        holds: false,
        made: Some(0),
        refusal: None,
        foreign: false,
    };
    assert!(known(&core.on(Event::Applied(there))), "it is another version's");
    core.on(Event::Failed(Problem::Refused(trouble::backend("no"))));
    core.on(Event::NoWorkload(Version(9)));
    assert!(!known(&core.on(Event::Retry)), "it is gone, and another may be in its place");
}

#[test]
fn what_has_no_room_or_no_image_is_told_at_once() {
    for (app, kind) in [(App::NoRoom, FailureKind::Backend), (App::NoImage, FailureKind::Image)] {
        let mut world = World::own();
        world.next_app = app;
        world.gives_up = true;
        world.start();
        world.quiet();
        assert_eq!(world.ended.iter().map(|(_, f)| f.kind).collect::<Vec<_>>(), [kind]);
        assert_eq!((world.count(), world.pods.len()), (Some(0), 0), "nothing is left of it");
    }
}

#[test]
fn a_quota_is_told_at_once_and_forgotten_when_it_is_lifted() {
    let mut world = World::own();
    world.quota = Some(0);
    world.gives_up = true;
    world.start();
    world.quiet();
    assert!(matches!(&*world.ended, [(_, f)] if f.detail.contains("exceeded quota")), "{:?}", world.ended);
    (world.quota, world.gives_up) = (None, false);
    world.start();
    world.quiet();
    world.check_at_rest();
    assert_eq!(world.ended.len(), 1);
}

#[test]
fn a_lost_answer_is_no_foreign_hand() {
    let mut world = World::own();
    world.away = true;
    world.resize(2);
    world.start();
    for _ in 0..20 {
        for step in STEPS {
            world.step(step);
        }
    }
    world.away = false;
    world.quiet();
    world.check_at_rest();
    assert!(world.scaled.is_empty());
}

#[test]
fn a_workload_that_was_deleted_is_made_again() {
    let mut world = World::own();
    world.start();
    world.quiet();
    world.delete_workload();
    world.quiet();
    world.check_at_rest();
    assert_eq!(world.count(), Some(1));
}

#[test]
fn what_left_the_configuration_is_removed_when_it_is_off() {
    let mut world = World::own();
    world.start();
    world.quiet();
    world.leave_configuration();
    world.step(Step::Drained);
    world.step(Step::Write);
    assert_eq!(world.count(), Some(0), "off first");
    world.quiet();
    assert_eq!((world.count(), world.pods.len()), (None, 0));
    assert!(world.core.is_done());
}

#[test]
fn what_leaves_the_configuration_before_a_write_is_answered_is_removed() {
    let mut world = World::own();
    world.resize(1);
    world.quiet();
    world.delete_workload();
    world.away = true;
    for step in [Step::WorkloadView, Step::Write, Step::Answer] {
        world.step(step);
    }
    world.away = false;
    world.leave_configuration();
    assert!(!world.core.is_done(), "it may have been made: {:?}", world.core);
    world.quiet();
    assert!(world.core.is_done(), "{:?}", world.core);
    assert_eq!(world.count(), None);
}

#[test]
fn what_was_removed_in_part_is_removed_again() {
    let mut world = World::own().up(1);
    world.leave_configuration();
    while world.count() != Some(0) {
        assert!(STEPS.iter().any(|step| world.step(*step)), "{:?}", world.core);
    }
    world.away = true;
    while world.removals == 0 {
        assert!(STEPS.iter().any(|step| world.step(*step)), "{:?}", world.core);
    }
    // It is seen to be gone before it is known that not all of it is.
    world.step(Step::WorkloadView);
    world.away = false;
    world.quiet();
    assert_eq!((world.removals, world.count()), (2, None), "{:?}", world.core);
    assert!(world.core.is_done());
}

#[test]
fn the_next_router_finds_what_this_one_left() {
    let mut world = World::own().up(3);
    let (scales, applies) = (world.scales, world.applies);
    world.reborn();
    world.quiet();
    world.check_at_rest();
    assert_eq!((world.scales, world.applies, world.ended.len()), (scales, applies, 0), "nothing is doubled");
}

#[test]
fn an_attached_workload_is_switched_off_and_on_to_what_it_was() {
    let mut world = World::attached(0).up(1);
    assert_eq!((world.count(), world.scales), (Some(1), 1));
    world.scale_outside(3);
    world.quiet();
    world.check_at_rest();
    world.stop();
    world.quiet();
    assert_eq!((world.count(), world.scales), (Some(0), 2));
    world.resize(1);
    world.start();
    world.quiet();
    assert_eq!((world.count(), world.scales, world.applies), (Some(3), 3, 0));
    world.check_at_rest();
}

#[test]
fn an_attached_workload_that_runs_is_served_and_not_changed() {
    let mut world = World::attached(2);
    assert_eq!(world.scaled, [2]);
    world.check_at_rest();
    assert_eq!((world.scales, world.applies), (0, 0));
    world.kill(0);
    world.crash(1);
    world.quiet();
    world.check_at_rest();
    assert_eq!((world.scales, world.applies), (0, 0));
}

#[test]
fn a_workload_to_attach_that_is_not_there_is_told() {
    let mut core = Core::new(true);
    core.on(Event::NoWorkload(Version::default()));
    core.on(Event::Pods(Vec::new()));
    let spec = Arc::new(crate::lifecycle::fixtures::spec("web", 1, 1));
    core.on(Event::Declared(Some(Declared { spec: spec.clone(), template: None })));
    let replicas = vec![crate::backend::WantReplica {
        id: ReplicaId { ordinal: 0, generation: 1 },
        spec,
        goal: crate::backend::Goal::Run,
    }];
    let service = crate::landscape::ServiceKey::new("4711", "web");
    let effects = core.on(Event::Want(Want { service, replicas, number: 1, grace: Duration::from_secs(10) }));
    assert!(matches!(&*effects, [Effect::See(Seen::Ended(_, f))] if f.detail.contains("attach")), "{effects:?}");
}

/// Something that happens in a life.
#[derive(Clone, Debug)]
enum Action {
    Steps(Vec<u8>),
    Start,
    Stop,
    Resize(u32),
    Roll(u32),
    Restart,
    Kill(usize),
    Crash(usize),
    Outside(u32),
    Away(bool),
    Slow(bool),
    Late,
    BacksOff(bool),
    Retry,
    Next(App),
    Reborn,
    Delete,
}

fn steps() -> impl Strategy<Value = Action> {
    prop::collection::vec(any::<u8>(), 1..40).prop_map(Action::Steps)
}

fn own_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => steps(),
        2 => Just(Action::Start),
        2 => Just(Action::Stop),
        2 => (1u32..4).prop_map(Action::Resize),
        2 => (1u32..4).prop_map(Action::Roll),
        1 => Just(Action::Restart),
    ]
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => own_action(),
        2 => (0usize..4).prop_map(Action::Kill),
        2 => (0usize..4).prop_map(Action::Crash),
        1 => (0u32..4).prop_map(Action::Outside),
        1 => any::<bool>().prop_map(Action::Away),
        1 => any::<bool>().prop_map(Action::Slow),
        1 => Just(Action::Late),
        1 => any::<bool>().prop_map(Action::BacksOff),
        1 => Just(Action::Retry),
        1 => prop_oneof![Just(App::Good), Just(App::NoImage), Just(App::NoRoom)].prop_map(Action::Next),
        1 => Just(Action::Reborn),
        1 => Just(Action::Delete),
    ]
}

fn act(world: &mut World, action: &Action) {
    match action {
        Action::Steps(bytes) => {
            for byte in bytes {
                let step = match byte % 16 {
                    n @ 0..8 => STEPS[n as usize],
                    n => Step::Kubelet(n as usize - 8),
                };
                world.step(step);
            }
        }
        Action::Start => world.start(),
        Action::Stop => world.stop(),
        Action::Resize(n) => world.resize(*n),
        Action::Roll(version) => world.roll(*version),
        Action::Restart => world.restart(),
        Action::Kill(at) => world.kill(*at),
        Action::Crash(at) => world.crash(*at),
        Action::Outside(n) => world.scale_outside(*n),
        Action::Away(away) => world.away = *away,
        Action::Slow(slow) => world.slow = *slow,
        Action::Late => world.be_late(),
        Action::BacksOff(yes) => world.backs_off = *yes,
        Action::Retry => world.retry(),
        Action::Next(app) => world.next_app = *app,
        Action::Reborn => world.reborn(),
        Action::Delete => world.delete_workload(),
    }
}

fn finish(world: &mut World) {
    (world.away, world.slow, world.backs_off, world.next_app) = (false, false, false, App::Good);
    world.retry();
    world.rest();
    world.check_at_rest();
    world.stop();
    world.quiet();
    world.check_at_rest();
    assert!(world.pods.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever the life cycle wants, in whatever order things happen: no replica is lost on the way.
    #[test]
    fn a_life_of_its_own_loses_nothing(actions in prop::collection::vec(own_action(), 1..24)) {
        let mut world = World::own();
        world.in_order = true;
        for action in &actions {
            // In the middle of a roll the cluster may choose pods that are wanted: that is told as their end.
            if let Action::Resize(_) | Action::Roll(_) | Action::Restart = action {
                world.quiet();
            }
            act(&mut world, action);
        }
        finish(&mut world);
        prop_assert_eq!(&world.ended, &[]);
        prop_assert!(world.scaled.is_empty(), "nobody else was there");
    }

    /// Whatever else happens, too: in the end all is as it is wanted.
    #[test]
    fn every_life_comes_to_what_is_wanted(actions in prop::collection::vec(any_action(), 1..30)) {
        let mut world = World::own();
        for action in &actions {
            act(&mut world, action);
        }
        finish(&mut world);
    }

    #[test]
    fn an_attached_life_comes_to_what_is_wanted(
        count in 0u32..3,
        actions in prop::collection::vec(any_action(), 1..30),
    ) {
        let mut world = World::attached(count);
        // Of a workload that is not ours neither template nor existence are ours.
        let theirs = |a: &&Action| !matches!(
            a,
            Action::Roll(_) | Action::Resize(_) | Action::Restart | Action::Delete
        );
        for action in actions.iter().filter(theirs) {
            act(&mut world, action);
        }
        (world.away, world.slow, world.backs_off, world.next_app) = (false, false, false, App::Good);
        world.retry();
        world.rest();
        prop_assert_eq!(world.applies, 0);
        world.stop();
        world.quiet();
        prop_assert!(world.pods.is_empty());
        prop_assert_eq!(world.count(), Some(0));
    }
}
