//! From start to end: stops, pauses, failures, health, many changes.

use std::time::{Duration, Instant};

use landscape_router::backend::{Backend, FailureKind, Goal, Seen};

use crate::need_engine;
use crate::rig::{ONE, Rig, docker, get, id, image, mount};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_is_told_with_status_and_last_words_and_leaves_nothing() {
    need_engine!();
    let mut rig = Rig::new();
    let spec = rig.spec("x", image("lr-test/exits:1", None));
    rig.want(&spec, &[(ONE, Goal::Run)]);
    let failure = rig.ended(ONE).await;
    assert_eq!(failure.kind, FailureKind::Exited);
    assert!(failure.detail.starts_with("exit status 3 "), "{failure:?}");
    assert_eq!(failure.log_tail, ["about to fail"]);
    assert!(!failure.permanent);
    crate::rig::eventually("removal", || rig.containers().is_empty()).await;
    // Listed still, it is not started again; unlisted, it is confirmed gone.
    rig.want(&spec, &[(ONE, Goal::Run)]);
    rig.want(&spec, &[]);
    rig.stopped(ONE).await;
    assert!(rig.containers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_running_container_is_told_at_once() {
    need_engine!();
    let mut rig = Rig::new();
    let spec = rig.web();
    rig.up(&spec).await;
    docker(&["kill", "-s", "KILL", &rig.container()]);
    let begin = Instant::now();
    let failure = rig.ended(ONE).await;
    eprintln!("told {} ms after the kill's return", begin.elapsed().as_millis());
    assert!(failure.detail.contains("137 (SIGKILL)"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_is_killed_for_its_memory_says_so() {
    need_engine!();
    let mut rig = Rig::new();
    let mut spec =
        rig.spec("hog", image("lr-test/sh:1", Some(&["/bin/sh", "-c", "x=aaaaaaaa; while :; do x=$x$x; done"])));
    spec.plan.memory = 16 << 20;
    rig.want(&spec, &[(ONE, Goal::Run)]);
    let failure = rig.ended(ONE).await;
    assert_eq!(failure.kind, FailureKind::OutOfMemory, "{failure:?}");
    assert!(failure.detail.contains("16 MiB"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_not_there_is_permanent() {
    need_engine!();
    let mut rig = Rig::new();
    let spec = rig.spec("x", image("lr-test/sh:1", Some(&["/no/such/thing"])));
    rig.want(&spec, &[(ONE, Goal::Run)]);
    let failure = rig.ended(ONE).await;
    assert!(failure.permanent && failure.kind == FailureKind::NotRunnable, "{failure:?}");
    assert!(rig.containers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_ignores_the_polite_signal_is_killed_after_the_grace() {
    need_engine!();
    let mut rig = Rig::new();
    let spec = rig.spec("x", image("lr-test/stubborn:1", None));
    rig.up(&spec).await;
    let begin = Instant::now();
    rig.want(&spec, &[]);
    rig.stopped(ONE).await;
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(20), "{took:?}");
    assert!(rig.containers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_hear_the_polite_signal_and_may_finish() {
    need_engine!();
    let mut rig = Rig::new();
    // The shell of the step does not exec, so that the server is its child.
    let run = crate::rig::steps(&[
        "sh -c 'trap \"sleep 0.3; echo done > /all/bye; exit 0\" TERM; touch /all/up; while :; do sleep 0.1; done'; true",
    ]);
    let mut spec = rig.spec(
        "x",
        landscape_router::landscape::Workload::CustomBase {
            image: landscape_router::landscape::Value::plain("lr-test/sh:1"),
            steps: run,
        },
    );
    spec.mounts = vec![mount("", "/all")];
    rig.up(&spec).await;
    crate::rig::eventually("the trap", || rig.root().join("up").exists()).await;
    rig.want(&spec, &[]);
    rig.stopped(ONE).await;
    assert_eq!(std::fs::read_to_string(rig.root().join("bye")).unwrap(), "done\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pause_and_resume_are_quick() {
    need_engine!();
    let mut rig = Rig::new();
    let web = rig.web();
    let addresses = rig.up(&web).await;
    get(&addresses, "/").await;
    let mut took = Vec::new();
    for _ in 0..10 {
        rig.want(&web, &[(ONE, Goal::Pause)]);
        rig.until("paused", |s| matches!(s, Seen::Paused(i) if *i == ONE).then_some(())).await;
        let begin = Instant::now();
        rig.want(&web, &[(ONE, Goal::Run)]);
        let at = rig.running(ONE).await;
        let resumed = begin.elapsed();
        assert_eq!(get(&at, "/").await, "hello");
        took.push((begin.elapsed(), resumed));
    }
    took.sort();
    eprintln!(
        "first answer after a resume: median {:?} (running told after {:?}), slowest {:?}",
        took[5].0, took[5].1, took[9].0
    );
    // A paused one can be stopped, too.
    rig.want(&web, &[(ONE, Goal::Pause)]);
    rig.until("paused", |s| matches!(s, Seen::Paused(_)).then_some(())).await;
    rig.want(&web, &[]);
    rig.stopped(ONE).await;
    assert!(rig.containers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_from_outside_is_undone() {
    need_engine!();
    let mut rig = Rig::new();
    let web = rig.web();
    let addresses = rig.up(&web).await;
    docker(&["pause", &rig.container()]);
    assert_eq!(get(&addresses, "/").await, "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_from_outside_is_an_end() {
    need_engine!();
    let mut rig = Rig::new();
    let web = rig.web();
    rig.up(&web).await;
    docker(&["rm", "-f", &rig.container()]);
    rig.ended(ONE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_image_s_own_health_check_is_heard() {
    need_engine!();
    let mut rig = Rig::new();
    let spec = rig.spec("h", image("lr-test/healthy:1", None));
    rig.up(&spec).await;
    let health =
        |wanted: bool| move |s: &Seen| matches!(s, Seen::Health(i, well) if *i == ONE && *well == wanted).then_some(());
    rig.until("healthy", health(true)).await;
    rig.exec("rm /www/well");
    rig.until("unhealthy", health(false)).await;
    rig.exec("touch /www/well");
    rig.until("healthy again", health(true)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_quick_changes_end_in_what_was_wanted_last() {
    need_engine!();
    let mut rig = Rig::new();
    let web = rig.web();
    for generation in 1..=20 {
        let goal = if generation % 3 == 0 { Goal::Pause } else { Goal::Run };
        rig.want(&web, &[(id(0, generation), goal), (id(1, generation / 2 + 100), Goal::Run)]);
    }
    let last = [(id(0, 21), Goal::Run)];
    rig.want(&web, &last);
    let addresses = rig.running(id(0, 21)).await;
    assert_eq!(get(&addresses, "/").await, "hello");
    crate::rig::eventually("one container", || rig.containers().len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_stops_everything_and_takes_the_networks_along() {
    need_engine!();
    let mut rig = Rig::new();
    let web = rig.web();
    rig.up(&web).await;
    rig.backend().shutdown(true, Duration::from_secs(2)).await;
    assert!(rig.containers().is_empty());
    assert!(rig.listed("network").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_may_leave_everything() {
    need_engine!();
    let mut rig = Rig::new();
    let web = rig.web();
    let addresses = rig.up(&web).await;
    rig.backend().shutdown(false, Duration::from_secs(2)).await;
    assert_eq!(get(&addresses, "/").await, "hello");
}
