//! Output, and `prepare`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use landscape_router::backend::{Backend, FailureKind, Goal, Job, LogQuery, Seen, Stage};
use landscape_router::config::settings::DockerSettings;
use landscape_router::landscape::LandscapeSpec;

use crate::need_engine;
use crate::rig::{ONE, Rig, Wire, id, image, settings, steps};

fn all() -> LogQuery {
    LogQuery { tail: 1000, follow: false, replica: None }
}

async fn lines(rig: &Rig, key: &landscape_router::landscape::ServiceKey, query: LogQuery) -> Vec<String> {
    let mut receiver = rig.backend().logs(key, query).await.unwrap();
    let mut got = Vec::new();
    while let Some(line) = receiver.recv().await {
        got.push(format!("{}:{}{}", line.source, line.text, if line.stderr { "!" } else { "" }));
    }
    got
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_is_read_followed_and_kept_a_little_after_the_end() {
    need_engine!();
    let mut rig = Rig::new();
    let script = "echo one; echo two >&2; while [ ! -e /go ]; do sleep 0.05; done; echo three; exec sleep 1000";
    let spec = rig.spec("talk", image("lr-test/sh:1", Some(&["/bin/sh", "-c", script])));
    rig.up(&spec).await;
    let follow = LogQuery { tail: 10, follow: true, replica: Some(0) };
    let mut following = rig.backend().logs(&spec.key, follow).await.unwrap();
    let mut got = Vec::new();
    while got.len() < 2 {
        got.push(following.recv().await.unwrap().text);
    }
    got.sort();
    assert_eq!(got, ["one", "two"]);
    rig.exec("touch /go");
    assert_eq!(following.recv().await.unwrap().text, "three");
    let mut read = lines(&rig, &spec.key, all()).await;
    read.sort();
    assert_eq!(read, ["0:one", "0:three", "0:two!"]);
    assert_eq!(lines(&rig, &spec.key, LogQuery { tail: 1, ..all() }).await, ["0:three"]);
    assert!(lines(&rig, &spec.key, LogQuery { replica: Some(1), ..all() }).await.is_empty());
    // A replica that comes later is followed, too.
    rig.want(&spec, &[(ONE, Goal::Run), (id(0, 2), Goal::Run)]);
    let later = following.recv().await.unwrap().text;
    assert!(later == "one" || later == "two", "{later}");
    rig.want(&spec, &[]);
    for _ in 0..2 {
        rig.until("stopped", |s| matches!(s, Seen::Stopped(_)).then_some(())).await;
    }
    assert!(lines(&rig, &spec.key, all()).await.contains(&"0:three".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_loss_of_the_engine_every_replica_is_followed_again() {
    need_engine!();
    let dir = tempfile::tempdir().unwrap();
    let mut wire = Wire::new(dir.path().join("engine.sock"));
    let mut rig = Rig::with(DockerSettings { host: Some(wire.host()), ..settings() });
    let script = "while :; do echo still; sleep 0.1; done";
    let spec = rig.spec("talk", image("lr-test/sh:1", Some(&["/bin/sh", "-c", script])));
    let ids: Vec<_> = (0..4).map(|ordinal| id(ordinal, 1)).collect();
    rig.want(&spec, &ids.iter().map(|id| (*id, Goal::Run)).collect::<Vec<_>>());
    let mut running = std::collections::BTreeSet::new();
    while running.len() < ids.len() {
        let one = |s: &Seen| if let Seen::Running(id, _) = s { Some(*id) } else { None };
        running.insert(rig.until("running", one).await);
    }
    let query = LogQuery { tail: 0, follow: true, replica: None };
    let mut following = rig.backend().logs(&spec.key, query).await.unwrap();
    for _ in 0..3 {
        wire.cut().await;
        rig.until("engine lost", |s| matches!(s, Seen::EngineLost(_)).then_some(())).await;
        wire.mend();
        rig.until("engine back", |s| matches!(s, Seen::EngineBack).then_some(())).await;
        let back = std::time::SystemTime::now();
        let mut heard = std::collections::BTreeSet::new();
        let all = async {
            while heard.len() < ids.len() {
                let line = following.recv().await.unwrap();
                if line.at > back {
                    heard.insert(line.source);
                }
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), all).await.is_ok();
        assert!(in_time, "only {heard:?} are heard");
    }
}

fn landscape(rig: &Rig, commands: &[&str]) -> Arc<LandscapeSpec> {
    Arc::new(LandscapeSpec {
        home: Arc::clone(&rig.home),
        prepare: steps(commands),
        test: Vec::new(),
        services: Default::default(),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepare_runs_once_in_the_root_and_its_steps_are_told() {
    need_engine!();
    let rig = Rig::new();
    let landscape = landscape(&rig, &["echo making; echo $WORKSPACE_ID > made", "cat made; pwd"]);
    let told = Mutex::new(Vec::new());
    let job = Job::new(landscape, Stage::Prepare, Duration::from_secs(60));
    rig.backend().run_job(job, &|p| told.lock().unwrap().push(p.text)).await.unwrap();
    let made = std::fs::read_to_string(rig.root().join("made")).unwrap();
    assert_eq!(made.trim(), &*rig.home.id);
    let told = told.into_inner().unwrap();
    assert!(told.iter().any(|t| t.starts_with("prepare: step 2 (do ")), "{told:?}");
    assert!(rig.containers().is_empty());
    assert!(rig.listed("volume").is_empty());
    // Seen in the logs of the landscape's services.
    let web = rig.web();
    rig.want(&web, &[]);
    let read = lines(&rig, &web.key, all()).await;
    assert!(read.contains(&"prepare:making".to_owned()), "{read:?}");
    assert!(read.contains(&"prepare:/home/user/app".to_owned()), "{read:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_prepare_names_its_step_and_shows_its_words() {
    need_engine!();
    let rig = Rig::new();
    let landscape = landscape(&rig, &["true", "echo no such package >&2; exit 9", "touch never"]);
    let job = Job::new(landscape, Stage::Prepare, Duration::from_secs(60));
    let failure = rig.backend().run_job(job, &|_| {}).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Prepare);
    assert!(failure.detail.contains("step 2") && failure.detail.contains("exit status 9"), "{failure:?}");
    assert!(failure.log_tail.contains(&"no such package".to_owned()), "{failure:?}");
    assert!(!rig.root().join("never").exists());
    assert!(rig.containers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepare_whose_network_is_gone_makes_another() {
    need_engine!();
    let rig = Rig::new();
    let landscape = landscape(&rig, &["echo once more >> made"]);
    for _ in 0..2 {
        let job = Job::new(Arc::clone(&landscape), Stage::Prepare, Duration::from_secs(60));
        rig.backend().run_job(job, &|_| {}).await.unwrap();
        let networks = rig.listed("network");
        assert_eq!(networks.len(), 1, "{networks:?}");
        crate::rig::says(&["network", "rm", &networks[0]]);
    }
    assert_eq!(std::fs::read_to_string(rig.root().join("made")).unwrap().lines().count(), 2);
    assert!(rig.containers().is_empty() && rig.listed("volume").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_ends_with_its_deadline_or_its_future() {
    need_engine!();
    let rig = Rig::new();
    let landscape = landscape(&rig, &["echo begun; sleep 1000"]);
    let job = Job::new(Arc::clone(&landscape), Stage::Prepare, Duration::from_secs(3));
    let failure = rig.backend().run_job(job, &|_| {}).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Deadline, "{failure:?}");
    crate::rig::eventually("removal", || rig.containers().is_empty()).await;
    let job = Job::new(landscape, Stage::Prepare, Duration::from_secs(60));
    let begun = tokio::sync::Notify::new();
    let tell = |_| begun.notify_one();
    tokio::select! {
        done = rig.backend().run_job(job, &tell) => panic!("{done:?}"),
        () = begun.notified() => {}
    }
    crate::rig::eventually("removal", || rig.containers().is_empty()).await;
    assert!(rig.listed("volume").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_job_that_was_called_off_nothing_is_left_when_that_is_told() {
    need_engine!();
    let rig = Rig::new();
    let job = Job::new(landscape(&rig, &["echo begun; sleep 1000"]), Stage::Prepare, Duration::from_secs(60));
    let called_off = job.called_off.clone();
    let failure = rig.backend().run_job(job, &|_| called_off.cancel()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Prepare, "{failure:?}");
    assert!(rig.containers().is_empty() && rig.listed("volume").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_base_prepare_says_what_helps() {
    need_engine!();
    let rig = Rig::with(landscape_router::config::settings::DockerSettings { base: None, ..settings() });
    let job = Job::new(landscape(&rig, &["true"]), Stage::Prepare, Duration::from_secs(60));
    let failure = rig.backend().run_job(job, &|_| {}).await.unwrap_err();
    assert!(failure.kind == FailureKind::NotRunnable && failure.detail.contains("docker.base"), "{failure:?}");
}
