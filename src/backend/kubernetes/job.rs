//! `prepare` and `test`: a pod of their own on the base image, once, to its end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::io::AsyncBufReadExt;
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{DeleteParams, LogParams, PostParams};
use kube::runtime::watcher::watch_object;
use tokio::sync::mpsc;

use super::core::{PodState, Problem};
use super::manifest::{self, JobPod};
use super::objects::{Writer, within};
use super::prepared::Note;
use super::shared::Shared;
use super::{logs, look, trouble};
use crate::backend::{Failure, FailureKind, Job, LogLine, Progress, Stage, script};
use crate::landscape::Step;

/// Lines that a failure carries.
const TAIL: usize = 20;
/// From one try to make a pod whose predecessor is on its way out to the next.
const APART: Duration = Duration::from_millis(200);

type Tell<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// Runs a job to its end; see [`crate::backend::Backend::run_job`].
pub(super) async fn run(shared: &Arc<Shared>, job: Job, progress: Tell<'_>) -> Result<(), Failure> {
    let steps = match job.stage {
        Stage::Prepare => &job.landscape.prepare,
        Stage::Test => &job.landscape.test,
    };
    if steps.iter().all(|s| s.command.is_empty()) {
        return Ok(());
    }
    let run = Run { shared, job: &job, steps, progress };
    tokio::select! {
        ended = tokio::time::timeout(job.deadline, run.whole()) => ended.unwrap_or_else(|_| Err(run.late())),
        () = job.called_off.cancelled() => Err(run.called_off()),
    }
}

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Prepare => "prepare",
        Stage::Test => "test",
    }
}

/// The pod of a run.
enum Made<'a> {
    /// Made by this router.
    Ours(Guard<'a>),
    /// It was there.
    Theirs(String),
}

struct Run<'a> {
    shared: &'a Arc<Shared>,
    job: &'a Job,
    steps: &'a [Step],
    progress: Tell<'a>,
}

impl Run<'_> {
    async fn whole(&self) -> Result<(), Failure> {
        let id = &self.job.landscape.home.id;
        let writer = self.shared.writer().ok_or_else(|| trouble::backend("the cluster cannot be reached"))?;
        let owner = writer.landscape(id).await.map_err(|problem| self.failure(problem))?;
        if self.job.stage == Stage::Prepare {
            return self.prepare(&writer, &owner).await;
        }
        let random: String = std::iter::repeat_with(|| fastrand::char('a'..='z')).take(8).collect();
        match self.make(&writer, &owner, &random).await? {
            Made::Ours(guard) => self.follow(&writer, guard, None).await,
            Made::Theirs(name) => Err(trouble::backend(format!("a pod {name} is there already"))),
        }
    }

    /// `prepare` runs once for all routers: who comes second waits for the first one's pod.
    async fn prepare(&self, writer: &Writer, owner: &OwnerReference) -> Result<(), Failure> {
        let note = Note::of(&self.job.landscape, writer);
        let api: Api<Pod> = writer.api();
        let mut again = self.job.again;
        loop {
            if !again && note.is_there().await.map_err(|problem| self.failure(problem))? {
                return Ok(());
            }
            let name = match self.make(writer, owner, note.run()).await? {
                Made::Ours(guard) => return self.follow(writer, guard, Some(&note)).await,
                Made::Theirs(name) => name,
            };
            let there = within("look at the job's pod", api.get_opt(&name)).await;
            match there.map_err(|problem| self.failure(problem))? {
                Some(pod) if succeeded(&pod) && !again => {
                    note.write().await;
                    return Ok(());
                }
                // A leftover of a router that is gone, or on its way out.
                Some(pod) if has_ended(&pod) => {
                    delete(writer, &name).await;
                    tokio::time::sleep(APART).await;
                    continue;
                }
                Some(_) => {}
                None => continue,
            }
            again = false;
            let end = self.watch(&api, &name).await;
            let is_gone = matches!(within("look at the job's pod", api.get_opt(&name)).await, Ok(None));
            if end.is_ok() || !is_gone {
                let lines = self.keep(writer, &name).await;
                return self.judge(end, &lines);
            }
            // Its router has seen the end first, or was called off.
        }
    }

    async fn make(&self, writer: &Writer, owner: &OwnerReference, run: &str) -> Result<Made<'_>, Failure> {
        let what = JobPod { landscape: &self.job.landscape, stage: self.job.stage, run, deadline: self.job.deadline };
        let pod = manifest::job_pod(what, writer.place(Some(owner))).map_err(trouble::not_runnable)?;
        let name = pod.metadata.name.clone().unwrap_or_default();
        let api: Api<Pod> = writer.api();
        // Whatever becomes of it, it is deleted; but not one that another router made.
        let guard = Guard::new(self.shared, writer, name.clone());
        let made = within("make the job's pod", async {
            match api.create(&PostParams::default(), &pod).await {
                Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => Ok(false),
                answer => answer.map(|_| true),
            }
        });
        match made.await {
            Ok(true) => Ok(Made::Ours(guard)),
            Ok(false) => {
                guard.forget();
                Ok(Made::Theirs(name))
            }
            Err(problem) => Err(self.failure(problem)),
        }
    }

    async fn follow(&self, writer: &Writer, guard: Guard<'_>, note: Option<&Note<'_>>) -> Result<(), Failure> {
        let end = self.watch(&writer.api(), &guard.name).await;
        let lines = self.keep(writer, &guard.name).await;
        if let (Ok(()), Some(note)) = (&end, note) {
            note.write().await;
        }
        guard.remove().await;
        self.judge(end, &lines)
    }

    fn failure(&self, problem: Problem) -> Failure {
        match problem {
            Problem::Refused(failure) => failure,
            Problem::Away => trouble::backend(format!("the cluster did not answer for `{}`", self.stage())),
            Problem::Missing => trouble::backend(format!("there is no namespace for `{}`", self.stage())),
        }
    }

    /// Until the pod has ended, or cannot start: why, if it did not end well.
    async fn watch(&self, api: &Api<Pod>, name: &str) -> Result<(), Failure> {
        let mut watch = Box::pin(watch_object(api.clone(), name));
        let (announced, mut steps) = mpsc::unbounded_channel();
        let mut reading = None;
        loop {
            let seen = tokio::select! {
                seen = watch.next() => seen,
                Some(number) = steps.recv() => {
                    let text = format!("{}: {}", self.stage(), script::called(self.steps, number));
                    (self.progress)(Progress { text, fraction: None });
                    continue;
                }
            };
            match seen {
                None => return Err(trouble::removed()),
                Some(Err(error)) => {
                    tracing::debug!("the watch of a job ended: {}", trouble::of_watch(&error));
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                // Not there yet, or not there any more.
                Some(Ok(None)) if reading.is_none() => {}
                Some(Ok(None)) => return Err(trouble::removed()),
                Some(Ok(Some(pod))) => match look::pod(&pod, true).map(|p| (p.state, p.last_end)) {
                    Some((PodState::Running, _)) if reading.is_none() => {
                        reading = Some(Reading::begin(api.clone(), name.to_owned(), announced.clone()));
                    }
                    Some((PodState::Failing(failure) | PodState::Unscheduled(failure), _)) => return Err(failure),
                    Some((PodState::Finished(_), _)) if succeeded(&pod) => return Ok(()),
                    Some((PodState::Finished(failure), _)) => return Err(failure),
                    _ => {}
                },
            }
        }
    }

    /// Its output, into the landscape's book.
    async fn keep(&self, writer: &Writer, name: &str) -> Vec<LogLine> {
        let stage = self.stage();
        let mut step = None;
        let mut lines = Vec::new();
        for mut line in logs::whole(&writer.cluster, name, stage, 1000).await {
            if let Some(number) = script::announced(&line.text) {
                step = Some(number);
                continue;
            }
            line.step = step;
            lines.push(line);
        }
        self.shared.job_book(&self.job.landscape.home.id).add(lines.iter().cloned());
        lines
    }

    fn judge(&self, end: Result<(), Failure>, lines: &[LogLine]) -> Result<(), Failure> {
        let Err(failure) = end else { return Ok(()) };
        let last: VecDeque<&LogLine> = lines.iter().rev().take(TAIL).collect();
        let log_tail: Vec<String> = last.iter().rev().map(|l| l.text.clone()).collect();
        let step = script::failed(&log_tail).map(|n| format!("{}: ", script::called(self.steps, n)));
        let detail = format!("`{}` failed: {}{}", self.stage(), step.unwrap_or_default(), failure.detail);
        Err(Failure {
            kind: FailureKind::Prepare,
            public: "The preparation failed.".into(),
            detail,
            log_tail,
            ..failure
        })
    }

    fn stage(&self) -> &'static str {
        name(self.job.stage)
    }

    fn late(&self) -> Failure {
        let detail = format!("`{}` did not end within {} s", self.stage(), self.job.deadline.as_secs());
        let public = "The preparation took too long.".to_owned();
        Failure { kind: FailureKind::Deadline, public, ..trouble::backend(detail) }
    }

    fn called_off(&self) -> Failure {
        let detail = format!("`{}` was called off", self.stage());
        Failure {
            kind: FailureKind::Prepare,
            public: "The preparation was called off.".into(),
            ..trouble::backend(detail)
        }
    }
}

fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

fn succeeded(pod: &Pod) -> bool {
    phase(pod) == Some("Succeeded")
}

/// Whether nothing more comes of it.
fn has_ended(pod: &Pod) -> bool {
    matches!(phase(pod), Some("Succeeded" | "Failed")) || pod.metadata.deletion_timestamp.is_some()
}

/// Follows the output for the steps that it announces.
struct Reading(tokio::task::AbortHandle);

impl Reading {
    fn begin(api: Api<Pod>, name: String, announced: mpsc::UnboundedSender<u32>) -> Self {
        let task = tokio::spawn(async move {
            let params = LogParams { follow: true, ..Default::default() };
            let Ok(stream) = api.log_stream(&name, &params).await else { return };
            let mut lines = stream.lines().into_stream();
            while let Some(Ok(text)) = lines.next().await {
                if let Some(number) = script::announced(&text) {
                    // Nobody listens once the job has ended.
                    let _ = announced.send(number);
                } else {
                    tracing::info!(pod = %name, "{text}");
                }
            }
        });
        Self(task.abort_handle())
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The job's pod: deleted in any case, in the background if the job's future is dropped.
struct Guard<'a> {
    shared: &'a Arc<Shared>,
    writer: Writer,
    name: String,
    armed: bool,
}

impl<'a> Guard<'a> {
    fn new(shared: &'a Arc<Shared>, writer: &Writer, name: String) -> Self {
        Self { shared, writer: writer.clone(), name, armed: true }
    }

    fn forget(mut self) {
        self.armed = false;
    }

    async fn remove(mut self) {
        self.armed = false;
        delete(&self.writer, &self.name).await;
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.armed {
            let (writer, name) = (self.writer.clone(), self.name.clone());
            self.shared.spawn(async move { delete(&writer, &name).await });
        }
    }
}

async fn delete(writer: &Writer, name: &str) {
    let api: Api<Pod> = writer.api();
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..Default::default() };
    if let Err(problem) = within("delete the job's pod", api.delete(name, &at_once)).await
        && !matches!(problem, Problem::Missing)
    {
        tracing::warn!(pod = name, "the job's pod stays until its deadline: {problem}");
    }
}
