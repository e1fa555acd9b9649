//! `prepare` runs once a landscape for given steps, before the first run, whoever asks for it first. One
//! that runs steps which are no longer wanted is called off, and its end awaited before the next begins.
//!
//! That it has run is marked by a file in `state` with a digest of the steps, so that it holds over
//! restarts of the router.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, Failure, FailureKind, Job, Progress, Stage};
use crate::landscape::LandscapeSpec;

/// A preparation is ended and fails after so long.
pub const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Held by the one who runs the steps. A landscape that is removed and comes back has it in common with
/// the one it was, whose steps may not be at their end yet.
pub(super) type Turn = tokio::sync::Mutex<Option<Last>>;

/// The preparation of one landscape.
#[derive(Debug)]
pub(super) struct Prepare {
    mark: PathBuf,
    known: Mutex<Known>,
    turn: Arc<Turn>,
    progress: watch::Sender<Option<Progress>>,
}

#[derive(Debug)]
struct Known {
    spec: Arc<LandscapeSpec>,
    /// The digest of the steps that have been run.
    done: Option<String>,
    /// The digest of the steps that run now, and what calls them off; left over where the run was dropped.
    running: Option<(String, CancellationToken)>,
    /// The landscape was removed: nothing is run any more.
    removed: bool,
}

/// A run of the steps.
struct Run {
    spec: Arc<LandscapeSpec>,
    digest: String,
    /// Whether or not they have been run.
    again: bool,
    called_off: CancellationToken,
}

/// The last run's end, unless it was called off.
#[derive(Debug)]
pub(super) struct Last {
    at: Instant,
    digest: String,
    result: Result<(), Failure>,
}

impl Prepare {
    /// Reads the mark under `folder`.
    pub fn new(folder: &std::path::Path, spec: Arc<LandscapeSpec>, turn: Arc<Turn>) -> Self {
        let mark = folder.join(format!("{}.done", spec.home.id));
        // Not being able to read it is as good as its absence: the steps run again.
        let done = std::fs::read_to_string(&mark).ok().map(|s| s.trim().to_owned());
        Self {
            mark,
            known: Mutex::new(Known { spec, done, running: None, removed: false }),
            turn,
            progress: watch::Sender::new(None),
        }
    }

    /// The landscape's file has changed, perhaps. Steps that run and are other ones now are called off.
    pub fn configure(&self, spec: Arc<LandscapeSpec>) {
        let mut known = self.known.lock();
        known.spec = spec;
        if known.running.as_ref().is_some_and(|(running, _)| *running != known.spec.prepare_digest()) {
            known.call_off();
        }
    }

    /// The landscape is removed: nothing of its steps goes on.
    pub fn remove(&self) {
        let mut known = self.known.lock();
        known.removed = true;
        known.call_off();
    }

    /// Who else comes to run steps of this landscape has to wait for it.
    pub fn turn(&self) -> &Arc<Turn> {
        &self.turn
    }

    /// Whether there is nothing to do before a start.
    pub fn is_done(&self) -> bool {
        let known = self.known.lock();
        known.is_done(&known.spec.prepare_digest())
    }

    /// How far it is.
    pub fn progress(&self) -> watch::Receiver<Option<Progress>> {
        self.progress.subscribe()
    }

    /// Runs the steps, unless they have been run. Who comes while they run gets the same result. Steps
    /// that change meanwhile are run instead: theirs is the result that counts.
    pub async fn run(&self, backend: &Arc<dyn Backend>, again: bool) -> Result<(), Failure> {
        let came = Instant::now();
        let mut turn = self.turn.lock().await;
        loop {
            let last = turn.as_ref().filter(|last| last.at >= came);
            let Some(run) = self.begin(last, again)? else { return Ok(()) };
            let result = self.run_steps(backend, &run).await;
            // What was called off is no result for anybody.
            if result.is_ok() || !run.called_off.is_cancelled() {
                *turn = Some(Last { at: Instant::now(), digest: run.digest, result });
            }
        }
    }

    /// What is to be run now, if anything. `last`: what ended since it was asked for.
    fn begin(&self, last: Option<&Last>, again: bool) -> Result<Option<Run>, Failure> {
        let mut known = self.known.lock();
        if known.removed {
            return Err(Failure {
                kind: FailureKind::Prepare,
                public: "The landscape's preparation was called off.".to_owned(),
                detail: "prepare was called off: the landscape was removed".to_owned(),
                log_tail: Vec::new(),
                permanent: false,
            });
        }
        let digest = known.spec.prepare_digest();
        if let Some(last) = last.filter(|last| last.digest == digest) {
            return last.result.clone().map(|()| None);
        }
        if known.is_done(&digest) && !again {
            return Ok(None);
        }
        let run = Run { spec: known.spec.clone(), digest, again, called_off: CancellationToken::new() };
        known.running = Some((run.digest.clone(), run.called_off.clone()));
        Ok(Some(run))
    }

    async fn run_steps(&self, backend: &Arc<dyn Backend>, run: &Run) -> Result<(), Failure> {
        let Run { spec, digest, again, called_off } = run;
        tracing::info!(landscape = %spec.home.id, "prepare begins");
        let begin = Instant::now();
        let new = Job::new(spec.clone(), Stage::Prepare, DEADLINE);
        let job = Job { called_off: called_off.clone(), again: *again, ..new };
        let report = |progress: Progress| {
            self.progress.send_replace(Some(progress));
        };
        let result = backend.run_job(job, &report).await;
        self.progress.send_replace(None);
        self.known.lock().ended(&result, digest);
        match &result {
            Ok(()) => {
                tracing::info!(landscape = %spec.home.id, seconds = begin.elapsed().as_secs_f64(), "prepare is done");
                if let Err(error) = self.write_mark(digest) {
                    let path = self.mark.display();
                    tracing::warn!(%path, %error, "cannot note that prepare has run; it runs again after a restart");
                }
            }
            Err(_) if called_off.is_cancelled() => tracing::info!(landscape = %spec.home.id, "prepare was called off"),
            Err(failure) => {
                tracing::warn!(landscape = %spec.home.id, detail = %failure.detail, "prepare failed");
            }
        }
        result
    }

    /// Whole or not at all: written beside, then renamed.
    fn write_mark(&self, digest: &str) -> std::io::Result<()> {
        if let Some(folder) = self.mark.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let beside = self.mark.with_extension("new");
        let mut file = std::fs::File::create(&beside)?;
        writeln!(file, "{digest}")?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.mark)
    }
}

impl Known {
    /// Whether there is nothing to do for the steps that there are now, of this digest.
    fn is_done(&self, digest: &str) -> bool {
        self.spec.prepare.is_empty() || self.done.as_deref() == Some(digest)
    }

    fn ended(&mut self, result: &Result<(), Failure>, digest: &str) {
        self.running = None;
        if result.is_ok() {
            self.done = Some(digest.to_owned());
        }
    }

    fn call_off(&mut self) {
        if let Some((_, called_off)) = self.running.take() {
            called_off.cancel();
        }
    }
}
