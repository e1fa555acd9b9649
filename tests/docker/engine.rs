//! The engine goes and comes, and so does the router.

use std::time::Duration;

use landscape_router::backend::{Backend, BackendError, Goal, Seen};
use landscape_router::config::settings::DockerSettings;

use crate::need_engine;
use crate::rig::{ONE, Rig, Wire, docker, get, id, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_router_finds_its_replicas_and_doubles_none() {
    need_engine!();
    let mut rig = Rig::new();
    let web = rig.web();
    assert!(rig.backend().adopt().await.unwrap().is_empty());
    rig.want(&web, &[(id(0, 1), Goal::Run), (id(1, 1), Goal::Run)]);
    for _ in 0..2 {
        rig.until("running", |s| matches!(s, Seen::Running(..)).then_some(())).await;
    }
    rig.want(&web, &[(id(0, 1), Goal::Run), (id(1, 1), Goal::Pause)]);
    rig.until("paused", |s| matches!(s, Seen::Paused(_)).then_some(())).await;
    let before = rig.containers();

    rig.reborn();
    let found = rig.backend().adopt().await.unwrap();
    let ids: Vec<_> = found.iter().map(|f| (f.id, f.goal)).collect();
    assert_eq!(ids, [(id(0, 1), Some(Goal::Run)), (id(1, 1), Some(Goal::Pause))]);
    assert!(found.iter().all(|f| f.service == web.key && f.digest == web.run_digest()));
    assert_eq!(get(&found[0].addresses, "/").await, "hello");
    rig.want(&web, &[(id(0, 1), Goal::Run), (id(1, 1), Goal::Run)]);
    let resumed = rig.running(id(1, 1)).await;
    assert_eq!(resumed, found[1].addresses);
    assert_eq!(rig.containers(), before);
    // Observed from then on, and stopped when not listed.
    rig.want(&web, &[(id(0, 1), Goal::Run)]);
    rig.stopped(id(1, 1)).await;
    docker(&["kill", &rig.container()]);
    rig.ended(id(0, 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_instance_runs_is_left_alone() {
    need_engine!();
    let mut one = Rig::new();
    let other = Rig::new();
    let web = one.web();
    let addresses = one.up(&web).await;
    assert!(other.backend().adopt().await.unwrap().is_empty());
    other.backend().shutdown(true, Duration::from_secs(1)).await;
    assert_eq!(get(&addresses, "/").await, "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unfinished_or_ended_is_cleared_away_at_the_adoption() {
    need_engine!();
    let mut rig = Rig::new();
    let web = rig.web();
    rig.up(&web).await;
    rig.backend = None;
    docker(&["kill", &rig.container()]);
    let label = format!("landscape-router.instance={}", rig.instance);
    docker(&["create", "--label", &label, "lr-test/sh:1"]);
    docker(&["volume", "create", "--label", &label]);
    rig.reborn();
    assert!(rig.backend().adopt().await.unwrap().is_empty());
    assert!(rig.containers().is_empty());
    assert!(rig.listed("volume").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_goes_and_comes_is_told_and_nothing_is_doubled() {
    need_engine!();
    let dir = tempfile::tempdir().unwrap();
    let mut wire = Wire::new(dir.path().join("engine.sock"));
    let mut rig = Rig::with(DockerSettings { host: Some(wire.host()), ..settings() });
    let web = rig.web();
    assert!(rig.backend().adopt().await.unwrap().is_empty());
    let addresses = rig.up(&web).await;
    let before = rig.container();

    wire.cut().await;
    let why = rig.until("engine lost", |s| match s {
        Seen::EngineLost(why) => Some(why.clone()),
        _ => None,
    });
    assert!(why.await.contains("does not answer"));
    assert_eq!(get(&addresses, "/").await, "hello", "it goes on being served");
    assert!(matches!(rig.backend().adopt().await, Err(BackendError::Unreachable(_))));
    // Wanted while nobody listens: done afterwards, once.
    rig.want(&web, &[(ONE, Goal::Run), (id(1, 1), Goal::Run)]);

    wire.mend();
    rig.until("engine back", |s| match s {
        Seen::EngineBack => Some(()),
        Seen::Running(..) | Seen::Ended(..) => panic!("told before the engine was back: {s:?}"),
        _ => None,
    })
    .await;
    let mut told = Vec::new();
    while told.len() < 2 {
        let one = rig.until("running", |s| match s {
            Seen::Running(i, at) => Some((*i, at.clone())),
            Seen::Ended(..) => panic!("{s:?}"),
            _ => None,
        });
        told.push(one.await);
    }
    told.sort_by_key(|t| t.0);
    assert_eq!(told[0], (ONE, addresses));
    assert_eq!(told[1].0, id(1, 1));
    let now = rig.containers();
    assert!(now.len() == 2 && now.contains(&before), "{now:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ended_while_the_engine_was_away_is_told_when_it_is_back() {
    need_engine!();
    let dir = tempfile::tempdir().unwrap();
    let mut wire = Wire::new(dir.path().join("engine.sock"));
    let mut rig = Rig::with(DockerSettings { host: Some(wire.host()), ..settings() });
    let web = rig.web();
    rig.up(&web).await;
    wire.cut().await;
    rig.until("engine lost", |s| matches!(s, Seen::EngineLost(_)).then_some(())).await;
    docker(&["kill", &rig.container()]);
    wire.mend();
    rig.until("engine back", |s| matches!(s, Seen::EngineBack).then_some(())).await;
    assert!(rig.ended(ONE).await.detail.contains("SIGKILL"));
}

/// The wire is cut at a different moment of the start each time: whatever was under way, one
/// container comes of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_cut_in_the_middle_is_finished_once() {
    need_engine!();
    let dir = tempfile::tempdir().unwrap();
    let mut wire = Wire::new(dir.path().join("engine.sock"));
    let mut rig = Rig::with(DockerSettings { host: Some(wire.host()), ..settings() });
    let web = rig.web();
    rig.up(&web).await;
    for generation in 2..=13 {
        rig.want(&web, &[(id(0, generation), Goal::Run)]);
        tokio::time::sleep(Duration::from_millis(generation * 25)).await;
        wire.cut().await;
        wire.mend();
        let addresses = rig.running(id(0, generation)).await;
        assert_eq!(get(&addresses, "/").await, "hello");
    }
    crate::rig::eventually("one container", || rig.containers().len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_engine_nothing_fails_and_all_is_done_when_one_comes() {
    need_engine!();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine.sock");
    let mut rig = Rig::with(DockerSettings { host: Some(format!("unix://{}", path.display())), ..settings() });
    assert!(matches!(rig.backend().adopt().await, Err(BackendError::Unreachable(_))));
    let web = rig.web();
    rig.want(&web, &[(ONE, Goal::Run)]);
    rig.until("engine lost", |s| matches!(s, Seen::EngineLost(_)).then_some(())).await;
    // What was never begun can go without an engine.
    rig.want(&web, &[(id(0, 2), Goal::Run)]);
    rig.stopped(ONE).await;
    let _wire = Wire::new(path);
    let addresses = rig.running(id(0, 2)).await;
    assert_eq!(get(&addresses, "/").await, "hello");
    assert_eq!(rig.containers().len(), 1);
}
