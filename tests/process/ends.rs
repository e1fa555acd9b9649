//! Nothing is left, whatever the application does.

use std::time::Duration;

use landscape_router::backend::{Backend, FailureKind, Goal};
use rustix::process::Signal;

use crate::bench::{Bench, FIRST, eventually, lives, numbers, shims, signal};

/// Leaves a child in its group, one in a session of its own, and one that is nobody's child.
const FAMILY: &str = "
    : > pids;
    sh -c 'echo $$ >> pids; exec sleep 600' &
    setsid sh -c 'trap \"\" TERM; echo $$ >> pids; while :; do sleep 600; done' &
    (setsid sh -c 'echo $$ >> pids; exec sleep 600' < /dev/null > /dev/null 2>&1 &)
    while [ \"$(wc -l < pids)\" -lt 3 ]; do sleep 0.01; done; echo > complete;";

async fn family(bench: &Bench) -> Vec<u32> {
    bench.file("complete").await;
    let pids = numbers(&bench.file("pids").await);
    assert_eq!(pids.len(), 3);
    pids
}

fn none_lives(pids: &[u32]) {
    assert!(pids.iter().all(|p| !lives(*p)), "{pids:?}");
}

#[tokio::test]
async fn grandchildren_and_daemons_end_with_a_stop() {
    let mut bench = Bench::new();
    let spec = bench.service(&[&format!("{FAMILY} wait")]);
    bench.run(&spec).await;
    let pids = family(&bench).await;
    bench.want(&spec, &[], Goal::Run, Duration::from_millis(200));
    bench.stopped(FIRST).await;
    none_lives(&pids);
    eventually(|| shims(&bench.options.state).is_empty().then_some(())).await;
}

#[tokio::test]
async fn grandchildren_and_daemons_end_with_the_last_step() {
    let mut bench = Bench::new();
    let spec = bench.service(&[&format!("{FAMILY} exit 7")]);
    bench.run(&spec).await;
    assert!(bench.ended(FIRST).await.detail.starts_with("exit status 7"));
    none_lives(&family(&bench).await);
}

#[tokio::test]
async fn grandchildren_and_daemons_end_when_their_shim_is_killed() {
    for control_groups in [false, true] {
        let mut bench = Bench::with(|options| options.control_groups = control_groups);
        let spec = bench.service(&[&format!("{FAMILY} wait")]);
        bench.run(&spec).await;
        let pids = family(&bench).await;
        let shim = shims(&bench.options.state)[0];
        signal(shim, Signal::KILL);
        let failure = bench.ended(FIRST).await;
        assert_eq!(failure.kind, FailureKind::Backend);
        assert!(failure.detail.contains("shim"), "{}", failure.detail);
        none_lives(&pids);
        assert_eq!(std::fs::read_dir(bench.options.state.join("process/run")).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn leftovers_of_a_killed_shim_and_a_crashed_router_are_cleaned_up() {
    let mut bench = Bench::new();
    let spec = bench.service(&[&format!("{FAMILY} wait")]);
    bench.run(&spec).await;
    let pids = family(&bench).await;
    let shim = shims(&bench.options.state)[0];
    let bench = {
        // The router dies first, so that nobody sees the shim's end.
        let (options, dir) = (bench.options.clone(), bench.dir.clone());
        drop(bench);
        signal(shim, Signal::KILL);
        eventually(|| (!lives(shim)).then_some(())).await;
        let (observer, seen) = tokio::sync::mpsc::unbounded_channel();
        let backend = landscape_router::backend::process::ProcessBackend::new(options.clone(), observer).unwrap();
        Bench { dir, options, backend, seen, missed: Vec::new() }
    };
    assert!(bench.backend.adopt().await.unwrap().is_empty());
    none_lives(&pids);
    assert_eq!(std::fs::read_dir(bench.options.state.join("process/run")).unwrap().count(), 0);
}

#[tokio::test]
async fn running_out_of_the_plans_memory_is_told() {
    let mut bench = Bench::with(|options| options.control_groups = true);
    if bench.backend.shortcoming().is_some_and(|s| s.contains("memory")) {
        eprintln!("skipped: memory cannot be limited here");
        return;
    }
    let mut spec = bench.service(&["x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}"]);
    spec.plan.memory = 64 << 20;
    bench.run(&spec).await;
    let failure = bench.ended(FIRST).await;
    assert_eq!(failure.kind, FailureKind::OutOfMemory, "{failure:?}");
}
