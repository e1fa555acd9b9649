//! `prepare` and `test`: a container of their own on the base image, once, to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bollard::models::ImageConfig;
use bollard::query_parameters::{CreateContainerOptionsBuilder, StartContainerOptions};
use futures_util::StreamExt;

use super::container;
use super::engine::Up;
use super::networks::Joined;
use super::shared::Shared;
use super::state::{self, Look};
use super::trouble::{CALL, Trouble, backend, is_away, judge, judge_start, not_runnable, within};
use super::{depart, logs};
use crate::backend::container::{APP, Source};
use crate::backend::script;
use crate::backend::{Failure, FailureKind, Job, LogLine, Progress, Stage};
use crate::config::settings::DockerSettings;
use crate::landscape::{Step, Value};

/// Starts that lack something which can be mended are tried so often.
const ATTEMPTS: u32 = 8;

/// How long the router's own end waits for that of a job.
const END: Duration = Duration::from_secs(10);

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
    let run = Run { shared, job: &job, steps, stage: name(job.stage), progress };
    match tokio::time::timeout(job.deadline, run.whole()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Trouble::Failed(failure))) => Err(failure),
        Ok(Err(Trouble::Away(why))) => {
            shared.engine.suspect();
            Err(backend(format!("the engine was lost during `{}`: {why}", run.stage)))
        }
        Err(_) => Err(Failure {
            kind: FailureKind::Deadline,
            public: "The preparation took too long.".into(),
            detail: format!("`{}` did not end within {}", run.stage, state::span(job.deadline)),
            log_tail: logs::texts(&shared.job_book(&job.landscape.home.id).lines()),
            permanent: false,
        }),
    }
}

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Prepare => "prepare",
        Stage::Test => "test",
    }
}

/// Ends every job under way: with the router, nobody waits for one any more.
pub(super) async fn end_all(shared: &Arc<Shared>) {
    let names: Vec<String> = shared.jobs.lock().iter().cloned().collect();
    if names.is_empty() {
        return;
    }
    let Ok(up) = shared.engine.up_now().await else { return };
    for name in names {
        // Its future may just have been dropped, and the container be on its way out already.
        let cleaned = tokio::time::timeout(END, clean(shared, &up, &name)).await;
        if !matches!(cleaned, Ok(Ok(()))) {
            tracing::warn!("the job's container {name} stays: the next router removes it");
        }
    }
}

struct Run<'a> {
    shared: &'a Arc<Shared>,
    job: &'a Job,
    steps: &'a [Step],
    stage: &'static str,
    progress: Tell<'a>,
}

impl Run<'_> {
    async fn whole(&self) -> Result<(), Trouble> {
        let settings = self.shared.settings.load_full();
        let image = container::ground(&settings).base().map_err(not_runnable)?;
        let up = self.shared.engine.up_now().await.map_err(backend)?;
        let config = tokio::select! {
            config = self.shared.images.ensure(&up, &settings, &image, self.progress) => config?,
            () = self.job.called_off.cancelled() => return Err(self.called_off().into()),
        };
        let home = &self.job.landscape.home;
        let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(12).collect();
        let container = Container::new(self.shared, &up, format!("lr-{}-{}-{random}", home.id, self.stage));
        self.start(&up, &settings, &image, &config, &container.name).await?;
        let lines = tokio::select! {
            lines = self.read(&up, &container.name) => lines,
            () = self.job.called_off.cancelled() => {
                container.remove().await?;
                return Err(self.called_off().into());
            }
        };
        let end = state::look(&up, &container.name).await?;
        container.remove().await?;
        self.judge(end, &lines)
    }

    async fn start(
        &self,
        up: &Up,
        settings: &DockerSettings,
        image: &Value,
        config: &ImageConfig,
        name: &str,
    ) -> Result<(), Trouble> {
        let home = &self.job.landscape.home;
        for attempt in 1.. {
            let network = self.shared.networks.ensure(up, &settings.subnets, &home.id).await?;
            match self.attempt(up, image, config, &network, name).await? {
                Ok(()) => break,
                Err(e) if is_away(&e) => return Err(judge("start", &e)),
                Err(e) if self.shared.mended(&home.id, &e) && attempt < ATTEMPTS => {
                    remove(self.shared, up, name).await?;
                }
                Err(e) => return Err(judge_start(&e)),
            }
        }
        Ok(())
    }

    /// Makes and starts the container; the inner error is the engine's.
    async fn attempt(
        &self,
        up: &Up,
        image: &Value,
        config: &ImageConfig,
        network: &Joined,
        name: &str,
    ) -> Result<Result<(), bollard::errors::Error>, Trouble> {
        let home = &self.job.landscape.home;
        let whole = [Source { path: "", target: APP }];
        let mounts = self.shared.mounts.prepare(up, &image.text, name, &home.root, &whole).await?;
        let plan = container::Plan {
            image,
            config,
            labels: self.shared.instance.job_labels(&home.id, self.stage),
            mounts: mounts.mounts.clone(),
            network,
            cores: up.cores,
            init: !self.shared.no_init.load(Ordering::Relaxed),
        };
        let body = container::job(home, self.steps, plan);
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let started = async {
            within(CALL, up.docker.create_container(Some(options), body)).await?;
            within(CALL, up.docker.start_container(name, None::<StartContainerOptions>)).await
        };
        Ok(started.await)
    }

    /// Reads its output to the end, into the landscape's book, and tells which step runs.
    async fn read(&self, up: &Up, name: &str) -> Vec<LogLine> {
        let book = self.shared.job_book(&self.job.landscape.home.id);
        let mut stream = Box::pin(logs::since(up, name, self.stage, None));
        let mut last = std::collections::VecDeque::new();
        let mut step = None;
        while let Some(mut line) = stream.next().await {
            if line.stderr
                && let Some(number) = script::announced(&line.text)
            {
                step = Some(number);
                let text = format!("{}: {}", self.stage, script::called(self.steps, number));
                (self.progress)(Progress { text, fraction: None });
                continue;
            }
            line.step = step;
            tracing::info!(landscape = %self.job.landscape.home.id, stage = self.stage, step, "{}", line.text);
            book.add([line.clone()]);
            if last.len() == logs::TAIL {
                last.pop_front();
            }
            last.push_back(line);
        }
        last.into()
    }

    fn called_off(&self) -> Failure {
        let detail = format!("`{}` was called off", self.stage);
        Failure { kind: FailureKind::Prepare, public: "The preparation was called off.".into(), ..backend(detail) }
    }

    fn judge(&self, end: Look, lines: &[LogLine]) -> Result<(), Trouble> {
        let log_tail = logs::texts(lines);
        let detail = match end {
            Look::Ended(state) if state.exit_code == Some(0) => return Ok(()),
            Look::Ended(state) => {
                let step = script::failed(&log_tail).map(|n| format!("{}: ", script::called(self.steps, n)));
                let how = state::failure(&state, None, Vec::new()).detail;
                format!("{}{how}", step.unwrap_or_default())
            }
            Look::Missing | Look::Leaving => "its container was removed by someone else".into(),
            Look::Made | Look::Running(..) | Look::Paused(_) => {
                return Err(Trouble::Away("its output broke off".into()));
            }
        };
        Err(Failure {
            kind: FailureKind::Prepare,
            public: "The preparation failed.".into(),
            detail: format!("`{}` failed: {detail}", self.stage),
            log_tail,
            permanent: false,
        }
        .into())
    }
}

/// The job's container: removed in any case, in the background if the job's future is dropped.
struct Container<'a> {
    shared: &'a Arc<Shared>,
    up: Up,
    name: String,
    armed: bool,
}

impl<'a> Container<'a> {
    fn new(shared: &'a Arc<Shared>, up: &Up, name: String) -> Self {
        shared.jobs.lock().insert(name.clone());
        Self { shared, up: up.clone(), name, armed: true }
    }

    async fn remove(mut self) -> Result<(), Trouble> {
        clean(self.shared, &self.up, &self.name).await?;
        self.armed = false;
        Ok(())
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (shared, up, name) = (Arc::clone(self.shared), self.up.clone(), self.name.clone());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(trouble) = clean(&shared, &up, &name).await {
                // Not among the jobs any more, it is a stray for the next connection.
                tracing::warn!("the job's container {name} stays for now: {trouble:?}");
                shared.jobs.lock().remove(&name);
            }
        });
    }
}

async fn clean(shared: &Shared, up: &Up, name: &str) -> Result<(), Trouble> {
    remove(shared, up, name).await?;
    shared.jobs.lock().remove(name);
    Ok(())
}

/// Removes the container and the volumes that were made for it.
async fn remove(shared: &Shared, up: &Up, name: &str) -> Result<(), Trouble> {
    depart::remove(up, name).await?;
    shared.mounts.release(up, name).await
}
