//! One replica: a task that brings one container to what is wished, and tells what it sees.
//!
//! The task knows no more than the container's name. Each round it looks what the wish is, looks
//! what the engine has, makes one step and, when nothing is left to do, waits for the next wish, a
//! nudge by an event, or another connection to the engine. That makes an engine that went away in
//! the middle of a step nothing special: the next round begins with a look.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bollard::query_parameters::{CreateContainerOptionsBuilder, StartContainerOptions};
use tokio::sync::{Notify, watch};

use super::container;
use super::ending::{self, Owed};
use super::engine::{Died, Up};
use super::shared::Shared;
use super::state::{self, Look};
use super::trouble::{CALL, Trouble, backend, is_away, judge, judge_start, not_runnable, status, text, within};
use crate::backend::book::Book;
use crate::backend::container::sources;
use crate::backend::{Addresses, Failure, FailureKind, Goal, ReplicaId, Seen};
use crate::landscape::{ServiceKey, ServiceSpec};

/// What a replica should be.
#[derive(Clone)]
pub(super) enum Wish {
    /// Nothing is said yet of one that was found: it is observed.
    Observed,
    /// It should exist.
    Be(Arc<ServiceSpec>, Goal),
    /// It should not exist.
    Gone(Duration),
}

/// What a replica's task needs.
pub(super) struct Replica {
    pub(super) shared: Arc<Shared>,
    pub(super) key: ServiceKey,
    pub(super) id: ReplicaId,
    pub(super) wish: watch::Receiver<Wish>,
    pub(super) nudge: Arc<Notify>,
    pub(super) death: watch::Receiver<Option<Died>>,
    pub(super) book: Arc<Book>,
    pub(super) memory: Memory,
}

/// What the task remembers from round to round.
#[derive(Default)]
pub(super) struct Memory {
    /// The connection that all below was seen through.
    pub(super) epoch: u64,
    /// A container of ours may exist.
    pub(super) made: bool,
    /// It was seen running or frozen.
    pub(super) ran: bool,
    /// The container that was made here, and when.
    pub(super) container: Option<(String, Instant)>,
    /// Its end was told.
    pub(super) ended: bool,
    /// Its end was told with what the event said: all that is known is owed.
    pub(super) owed: Option<Owed>,
    /// The last word about it.
    pub(super) said: Option<Said>,
    /// A new wish came: what is seen next is an answer to it, told even where it is the last word.
    pub(super) asked: bool,
    /// The last word about its health.
    pub(super) health: Option<bool>,
    /// Rounds in a row without success.
    pub(super) attempts: u32,
}

/// What was told last.
#[derive(Clone, PartialEq)]
pub(super) enum Said {
    Running(Addresses),
    Paused(Addresses),
}

/// What comes after a round.
pub(super) enum After {
    /// Another one, at once.
    Again,
    /// Another one when something happens.
    Wait,
    /// Nothing: the container is gone, as wished.
    Over,
}

/// Rounds without an answer, on a connection that is there, before a start is called failed.
const ATTEMPTS: u32 = 8;
/// The first pause after a failed round, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

impl Replica {
    /// Runs until the container is gone, as wished.
    pub(super) async fn run(mut self) {
        loop {
            let Some(up) = self.connection().await else { break };
            if up.epoch != self.memory.epoch {
                // All that was told may be stale: it is told again.
                self.memory.epoch = up.epoch;
                (self.memory.said, self.memory.health) = (None, None);
            }
            match self.round(&up).await {
                Ok(After::Over) => break,
                Ok(After::Again) => {}
                Ok(After::Wait) => {
                    self.memory.attempts = 0;
                    self.something(&up).await;
                }
                Err(trouble) => self.troubled(&up, trouble).await,
            }
        }
        self.shared.over(&self.key, self.id);
        if self.shared.is_forsaken(&self.key.landscape)
            && let Ok(up) = self.shared.engine.up_now().await
        {
            self.shared.tidy(&up).await;
        }
    }

    /// The connection; `None` when the replica may go without one.
    async fn connection(&mut self) -> Option<Up> {
        loop {
            if matches!(*self.wish.borrow(), Wish::Gone(_)) && !self.memory.made {
                return None;
            }
            tokio::select! {
                up = self.shared.engine.up() => return Some(up),
                changed = self.wish.changed() => {
                    changed.ok()?;
                    self.memory.asked = true;
                }
            }
        }
    }

    /// Returns when there may be something to do.
    async fn something(&mut self, up: &Up) {
        tokio::select! {
            changed = self.wish.changed() => match changed {
                Ok(()) => self.memory.asked = true,
                // The backend was dropped; its tasks are about to be ended.
                Err(_) => std::future::pending().await,
            },
            () = self.nudge.notified() => {}
            () = self.shared.engine.changed_since(up.epoch) => {}
        }
    }

    async fn troubled(&mut self, up: &Up, trouble: Trouble) {
        self.memory.attempts += 1;
        let going = matches!(*self.wish.borrow(), Wish::Gone(_));
        match trouble {
            Trouble::Failed(failure) if !going && !self.memory.ended => return self.end(failure),
            Trouble::Failed(failure) => {
                tracing::warn!(service = %self.key, replica = %self.id, "not removed yet: {}", failure.detail);
            }
            Trouble::Away(why) => {
                self.shared.engine.suspect();
                if self.memory.attempts >= ATTEMPTS && !going && !self.memory.ended {
                    return self.end(backend(format!("the engine does not do it: {why}")));
                }
            }
        }
        let pause = (PAUSE.0 * 2u32.saturating_pow(self.memory.attempts - 1)).min(PAUSE.1);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.shared.engine.changed_since(up.epoch) => {}
        }
    }

    async fn round(&mut self, up: &Up) -> Result<After, Trouble> {
        self.memory.asked |= self.wish.has_changed().unwrap_or(false);
        let wish = self.wish.borrow_and_update().clone();
        if self.memory.ended && self.memory.made {
            self.explain(up).await?;
            self.remove(up).await?;
        }
        match wish {
            Wish::Gone(_) if !self.memory.made => Ok(After::Over),
            Wish::Gone(grace) => self.leave(up, grace).await,
            _ if self.memory.ended => Ok(After::Wait),
            Wish::Observed if !self.memory.made => Ok(After::Wait),
            Wish::Observed => self.be(up, None).await,
            Wish::Be(spec, _) if !self.memory.made => self.start(up, &spec).await,
            Wish::Be(spec, goal) => self.be(up, Some((spec, goal))).await,
        }
    }

    /// Brings a container that may exist to its goal, and tells what it sees.
    async fn be(&mut self, up: &Up, wish: Option<(Arc<ServiceSpec>, Goal)>) -> Result<After, Trouble> {
        let goal = wish.as_ref().map(|w| w.1);
        if let (Some(Goal::Run), Some(Said::Paused(addresses))) = (goal, &self.memory.said) {
            // The fast way back: no look before, and none after. Should it not be paused any more,
            // the look that follows says what it is.
            let addresses = addresses.clone();
            match within(CALL, up.docker.unpause_container(&self.name())).await {
                Ok(()) => {
                    self.say(Said::Running(addresses));
                    return Ok(After::Wait);
                }
                Err(e) if is_away(&e) => return Err(judge("resume", &e)),
                Err(e) => tracing::debug!(service = %self.key, replica = %self.id, "resume: {}", text(&e)),
            }
        }
        let name = self.name();
        let look = tokio::select! {
            biased;
            died = ending::died(&mut self.death, self.memory.container.as_ref()) => return Ok(self.fell(&died, wish.map(|w| w.0))),
            look = state::look(up, &name) => look?,
        };
        match look {
            Look::Running(addresses, health) => {
                self.memory.ran = true;
                if goal == Some(Goal::Pause) {
                    match within(CALL, up.docker.pause_container(&self.name())).await {
                        Ok(()) => self.say(Said::Paused(addresses)),
                        Err(e) if is_away(&e) => return Err(judge("pause", &e)),
                        Err(e) => self.shared.see(&self.key, Seen::Stuck(self.id, text(&e))),
                    }
                } else {
                    self.say(Said::Running(addresses));
                    self.say_health(health);
                }
                Ok(After::Wait)
            }
            Look::Paused(addresses) => {
                self.memory.ran = true;
                if goal == Some(Goal::Run) {
                    within(CALL, up.docker.unpause_container(&self.name())).await.map_err(|e| judge("resume", &e))?;
                    self.say(Said::Running(addresses));
                } else {
                    self.say(Said::Paused(addresses));
                }
                Ok(After::Wait)
            }
            Look::Ended(state) => {
                let texts = self.last_words(up).await;
                self.end(state::failure(&state, wish.as_ref().map(|w| &*w.0), texts));
                Ok(After::Again)
            }
            Look::Missing | Look::Leaving if self.memory.ran => {
                self.end(Failure {
                    kind: FailureKind::Exited,
                    public: "The service was stopped from outside.".into(),
                    detail: "its container was removed by someone else".into(),
                    log_tail: Vec::new(),
                    permanent: false,
                });
                Ok(After::Again)
            }
            // What a start left that was interrupted: from the beginning, for its mounts are gone.
            Look::Made | Look::Missing | Look::Leaving => {
                self.remove(up).await?;
                Ok(After::Again)
            }
        }
    }

    /// Makes and starts the container. What it has become is seen in the next round.
    async fn start(&mut self, up: &Up, spec: &Arc<ServiceSpec>) -> Result<After, Trouble> {
        let shared = Arc::clone(&self.shared);
        let settings = shared.settings.load_full();
        container::ground(&settings).runnable(spec).map_err(not_runnable)?;
        let image = container::ground(&settings).image(spec).map_err(not_runnable)?;
        let (key, id) = (self.key.clone(), self.id);
        let progress = |p| shared.see(&key, Seen::Progress(id, p));
        let (config, _slot) = tokio::select! {
            had = async {
                let config = shared.images.ensure(up, &settings, &image, &progress).await?;
                Ok::<_, Trouble>((config, shared.starts.acquire().await))
            } => had?,
            () = told_to_go(&mut self.wish) => return Ok(After::Again),
        };
        let network = shared.networks.ensure(up, &settings.subnets, &self.key.landscape).await?;
        let name = self.name();
        let sources = sources(spec);
        // Held until the container has started.
        let mounts = shared.mounts.prepare(up, &image.text, &name, &spec.home.root, &sources).await?;
        let body = container::replica(
            spec,
            self.id,
            container::Plan {
                image: &image,
                config: &config,
                labels: shared.instance.replica_labels(spec, self.id),
                mounts: mounts.mounts.clone(),
                network: &network,
                cores: up.cores,
                init: !shared.no_init.load(Ordering::Relaxed),
            },
        );
        self.memory.made = true;
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let started = match within(CALL, up.docker.create_container(Some(options), body)).await {
            Ok(made) => {
                self.memory.container = Some((made.id, Instant::now()));
                within(CALL, up.docker.start_container(&name, None::<StartContainerOptions>)).await
            }
            // An earlier attempt whose answer was lost made it: the next round sees what it is.
            Err(e) if status(&e) == Some(409) && text(&e).contains("already in use") => return Ok(After::Again),
            Err(e) => Err(e),
        };
        match started {
            Ok(()) => Ok(After::Again),
            Err(e) if is_away(&e) => Err(judge("start", &e)),
            Err(e) => {
                self.remove(up).await?;
                self.memory.attempts += 1;
                if shared.mended(&self.key.landscape, &e) && self.memory.attempts < ATTEMPTS {
                    return Ok(After::Again);
                }
                Err(judge_start(&e))
            }
        }
    }

    fn say(&mut self, what: Said) {
        if !std::mem::take(&mut self.memory.asked) && self.memory.said.as_ref() == Some(&what) {
            return;
        }
        self.memory.said = Some(what.clone());
        match what {
            Said::Running(addresses) => {
                self.shared.see(&self.key, Seen::Running(self.id, addresses));
                self.shared.runs(&self.key);
            }
            Said::Paused(_) => self.shared.see(&self.key, Seen::Paused(self.id)),
        }
    }

    fn say_health(&mut self, health: Option<bool>) {
        if let Some(well) = health.filter(|_| health != self.memory.health) {
            self.shared.see(&self.key, Seen::Health(self.id, well));
        }
        self.memory.health = health.or(self.memory.health);
    }

    pub(super) fn name(&self) -> String {
        self.shared.instance.replica_name(&self.key, self.id)
    }

    pub(super) fn source(&self) -> String {
        self.id.ordinal.to_string()
    }
}

async fn told_to_go(wish: &mut watch::Receiver<Wish>) {
    if wish.wait_for(|w| matches!(w, Wish::Gone(_))).await.is_err() {
        std::future::pending::<()>().await;
    }
}
