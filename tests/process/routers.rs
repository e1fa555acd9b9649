//! Routers come and go; replicas stay, once each, or end when none comes back.

use std::time::Duration;

use landscape_router::backend::{Backend, Goal};

use crate::bench::{Bench, FIRST, SECOND, eventually, lives, numbers, shims};

const GRACE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn after_a_crash_the_next_router_finds_the_same_processes() {
    let mut bench = Bench::new();
    let spec = bench.service(&["echo $$ >> pid-$CS_REPLICA; exec sleep 600"]);
    bench.want(&spec, &[FIRST, SECOND], Goal::Run, GRACE);
    let (first, _) = (bench.running(FIRST).await, bench.file("pid-0").await);
    bench.file("pid-1").await;
    let (mut bench, found) = bench.crash_and_adopt().await;
    assert_eq!(found.iter().map(|f| f.id).collect::<Vec<_>>(), [FIRST, SECOND]);
    assert_eq!((&found[0].service, &found[0].digest), (&spec.key, &spec.run_digest()));
    assert_eq!((&found[0].addresses, found[0].goal), (&first, Some(Goal::Run)));
    // Its ports are known to be taken, and one that is not wanted ends.
    bench.want(&spec, &[FIRST], Goal::Run, GRACE);
    bench.stopped(SECOND).await;
    let pids = numbers(&bench.file("pid-0").await);
    assert!(pids.len() == 1 && lives(pids[0]), "{pids:?}");
    // It is driven like any other.
    bench.want(&spec, &[FIRST], Goal::Pause, GRACE);
    bench.paused(FIRST).await;
    let (mut bench, found) = bench.crash_and_adopt().await;
    assert_eq!(found[0].goal, Some(Goal::Pause));
    bench.want(&spec, &[], Goal::Run, GRACE);
    bench.stopped(FIRST).await;
    assert!(!lives(pids[0]));
}

#[tokio::test]
async fn without_a_router_a_replica_ends_by_itself() {
    let mut bench = Bench::with(|options| {
        options.orphan_after = Duration::from_millis(200);
        options.orphan_grace = Duration::from_millis(50);
    });
    let spec = bench.service(&["trap '' TERM; echo $$ > pid; while :; do sleep 1; done"]);
    bench.run(&spec).await;
    let pid = numbers(&bench.file("pid").await)[0];
    let (state, dir) = (bench.options.state.clone(), bench.dir.clone());
    let shim = shims(&state)[0];
    drop(bench);
    eventually(|| (!lives(pid) && !lives(shim)).then_some(())).await;
    assert_eq!(std::fs::read_dir(state.join("process/run")).unwrap().count(), 0);
    drop(dir);
}

#[tokio::test]
async fn an_orderly_end_leaves_replicas_or_stops_them() {
    let mut bench = Bench::new();
    let spec = bench.service(&["echo $$ > pid; exec sleep 600"]);
    bench.run(&spec).await;
    let pid = numbers(&bench.file("pid").await)[0];
    bench.backend.shutdown(false, GRACE).await;
    let (bench, found) = bench.crash_and_adopt().await;
    assert_eq!(found.len(), 1);
    assert!(lives(pid));
    bench.backend.shutdown(true, GRACE).await;
    assert!(!lives(pid));
}

#[tokio::test]
async fn two_routers_at_once_see_one_replica() {
    let mut bench = Bench::new();
    let spec = bench.service(&["echo $$ >> pid; exec sleep 600"]);
    bench.run(&spec).await;
    bench.file("pid").await;
    let (observer, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let next = landscape_router::backend::process::ProcessBackend::new(bench.options.clone(), observer).unwrap();
    assert_eq!(next.adopt().await.unwrap().len(), 1);
    let first = tokio::time::timeout(crate::bench::PATIENCE, seen.recv()).await.unwrap().unwrap();
    assert!(matches!(first.seen, landscape_router::backend::Seen::Running(FIRST, _)));
    bench.backend.shutdown(false, GRACE).await;
    next.shutdown(true, GRACE).await;
    assert_eq!(numbers(&bench.file("pid").await).len(), 1);
    eventually(|| shims(&bench.options.state).is_empty().then_some(())).await;
}

#[tokio::test]
async fn one_that_is_being_stopped_keeps_its_grace_over_a_change_of_routers() {
    let mut bench = Bench::new();
    let spec =
        bench.service(&["trap 'sleep 2; echo done > ended; exit' TERM; echo $$ > pid; while :; do sleep 0.1; done"]);
    bench.run(&spec).await;
    bench.file("pid").await;
    bench.want(&spec, &[], Goal::Run, GRACE);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (mut bench, found) = bench.crash_and_adopt().await;
    assert_eq!(found.iter().map(|f| f.goal).collect::<Vec<_>>(), [None]);
    bench.want(&spec, &[], Goal::Run, GRACE);
    bench.stopped(FIRST).await;
    assert_eq!(bench.file("ended").await.trim(), "done");
}
