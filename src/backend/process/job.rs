//! `prepare` and `test`: steps that run once, under the same shim.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::link::Link;
use super::protocol::{
    Command, Ending, Event, Hello, JobStage, LogSpec, Meta, NetworkSpec, Outcome, Owner, PROTOCOL, ShimSpec,
    StepStarted,
};
use super::replica::{count, millis, new_token, steps_of};
use super::room::Room;
use super::{environment, failure, leftover, paths};
use crate::backend::{Attached, Failure, FailureKind, Job, Progress, Stage};

/// From SIGTERM to SIGKILL when a job is called off or late.
const GRACE: Duration = Duration::from_secs(5);

/// What the job's task tells who waits.
enum Told {
    Step(StepStarted),
    Done(Result<Box<Ending>, Failure>),
}

/// See [`crate::backend::Backend::run_job`].
pub(super) async fn run(
    room: &Arc<Room>,
    job: Job,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<(), Failure> {
    let stage = JobStage::from(job.stage).name();
    let steps = match job.stage {
        Stage::Prepare => &job.landscape.prepare,
        Stage::Test => &job.landscape.test,
    };
    if steps_of(steps).is_empty() {
        return Ok(());
    }
    let names: Vec<String> = steps.iter().map(|s| s.name.clone().unwrap_or_default()).collect();
    let token = new_token();
    let (link, meta) = match start(room, &job, &token).await {
        Ok(started) => started,
        Err(failure) => {
            // It may not exist yet.
            let _ = std::fs::remove_dir_all(room.paths.replica(&token));
            room.give_back(&token);
            return Err(Failure { kind: FailureKind::Prepare, ..failure });
        }
    };
    // The task outlives this future: dropping it calls the job off.
    let called_off = job.called_off.child_token();
    let _guard = called_off.clone().drop_guard();
    let (tell, mut told) = mpsc::unbounded_channel();
    let task = attend(room.clone(), link, meta, called_off, job.deadline, tell);
    room.runtime.spawn(room.job_tasks.track_future(task));
    while let Some(told) = told.recv().await {
        match told {
            Told::Step(step) => progress(progress_of(stage, &step, &names)),
            Told::Done(Err(failure)) => return Err(failure),
            Told::Done(Ok(ending)) if ending.outcome == Outcome::Exited(0) && !ending.told => return Ok(()),
            Told::Done(Ok(ending)) => return Err(failure::of_job(&ending, stage)),
        }
    }
    Err(Failure { kind: FailureKind::Prepare, ..failure::backend(format!("{stage} was called off: the router ends")) })
}

fn progress_of(stage: &str, step: &StepStarted, names: &[String]) -> Progress {
    let name = names.get(step.number.saturating_sub(1) as usize).filter(|n| !n.is_empty());
    let name = name.map(|n| format!(": {n}")).unwrap_or_default();
    let done = step.number.saturating_sub(1) as f32 / step.total.max(1) as f32;
    Progress { text: format!("{stage} step {} of {}{name}", step.number, step.total), fraction: Some(done) }
}

async fn start(room: &Arc<Room>, job: &Job, token: &str) -> Result<(Link, Meta), Failure> {
    let attached = match job.stage {
        Stage::Prepare if room.prepares_on_the_machine() => None,
        _ => room.attach(&job.landscape.home.id, token).await.map_err(|e| failure::of_network(&e))?,
    };
    start_on(attached, room, job, token).await.map_err(|e| failure::of_start(&e))
}

/// On this network, or the machine's.
async fn start_on(attached: Option<Attached>, room: &Arc<Room>, job: &Job, token: &str) -> io::Result<(Link, Meta)> {
    let landscape = &job.landscape.home;
    let stage = JobStage::from(job.stage);
    let steps = match job.stage {
        Stage::Prepare => &job.landscape.prepare,
        Stage::Test => &job.landscape.test,
    };
    let home = environment::make_home(&room.paths, landscape, None)?;
    let dir = room.paths.replica(token);
    paths::private_dir(&dir)?;
    let logs = room.paths.job_logs(&landscape.id);
    paths::private_dir(&logs)?;
    let told = room.told(&landscape.id, attached.as_ref());
    let since = SystemTime::now();
    let meta = Meta {
        protocol: PROTOCOL,
        token: token.to_owned(),
        owner: Owner::Job { landscape: landscape.id.to_string(), stage },
        addresses: Vec::new(),
        network: attached.as_ref().map(|a| a.address),
        since,
        shim: None,
        cgroups: room.places.spec(token, None),
    };
    let spec = ShimSpec {
        meta: meta.clone(),
        dir,
        log: LogSpec {
            dir: logs,
            source: stage.name().to_owned(),
            generation: since.duration_since(UNIX_EPOCH).map_or(0, millis),
            keep: room.settings().log_keep,
        },
        shell: room.shell.clone(),
        steps: steps_of(steps),
        total: count(steps),
        cwd: landscape.root.clone(),
        env: environment::of_job(landscape, told.variables, &home.to_string_lossy(), token),
        user: None,
        files: room.files(),
        orphan_after_ms: millis(room.options.orphan_after),
        grace_ms: millis(GRACE),
        network: attached.as_ref().map(NetworkSpec::of),
        hosts: told.file,
    };
    Ok((Link::start(&room.options.shim, &spec, attached.as_ref()).await?, meta))
}

async fn attend(
    room: Arc<Room>,
    mut link: Link,
    meta: Meta,
    called_off: CancellationToken,
    deadline: Duration,
    tell: mpsc::UnboundedSender<Told>,
) {
    let late = tokio::time::sleep(deadline);
    let over = async {
        tokio::select! {
            () = called_off.cancelled() => {}
            () = room.jobs.cancelled() => {}
        }
    };
    tokio::pin!(late, over);
    let (mut stopping, mut is_late) = (false, false);
    let ending = loop {
        tokio::select! {
            event = link.next() => match event {
                Some(Event::Hello(Hello { step, problems, .. })) => {
                    for problem in problems {
                        tracing::warn!("job {}: {problem}", meta.token);
                    }
                    // Who waits may have left; the job is then called off.
                    let _ = step.map(|s| tell.send(Told::Step(s)));
                }
                Some(Event::Step(step)) => { let _ = tell.send(Told::Step(step)); }
                Some(Event::Ended(ending)) => break Some(ending),
                Some(_) => {}
                None => break None,
            },
            () = &mut over, if !stopping => {
                stopping = true;
                link.say(Command::Stop { grace_ms: millis(GRACE) }).await;
            }
            () = &mut late, if !stopping => {
                (stopping, is_late) = (true, true);
                link.say(Command::Stop { grace_ms: millis(GRACE) }).await;
            }
            () = room.cancel.cancelled() => return,
        }
    };
    let result = match ending {
        Some(ending) => {
            link.finish().await;
            if is_late { Err(late_failure(&ending, deadline)) } else { Ok(ending) }
        }
        None => {
            let reason = link.epitaph().await;
            if let Err(error) = leftover::clean(&room.paths.replica(&meta.token)).await {
                tracing::warn!("after {reason}: {error}");
            }
            Err(Failure { kind: FailureKind::Prepare, ..failure::backend(reason) })
        }
    };
    room.give_back(&meta.token);
    let _ = tell.send(Told::Done(result));
}

fn late_failure(ending: &Ending, deadline: Duration) -> Failure {
    Failure {
        kind: FailureKind::Prepare,
        public: "The landscape's preparation took too long.".into(),
        detail: format!("{} was still running after {} and was ended", ending.label, failure::span(deadline)),
        log_tail: ending.tail.clone(),
        permanent: false,
    }
}
