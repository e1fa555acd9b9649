//! Looks after one service: hears of wishes and of the world, lets the [`core`](super::core) decide, and
//! carries out what it says.
//!
//! Writes run beside the task, which goes on hearing; their answers come back as words like all else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::core::{Core, Declared, Effect, Event, Problem};
use super::link::State;
use super::shared::Shared;
use super::{logs, manifest, stuck, trouble};
use crate::backend::{Found, ReplicaId, Seen, Want};
use crate::config::settings::Attach;
use crate::landscape::ServiceKey;
use crate::moment::until;

/// Lines that tell of an end.
const TAIL: usize = 20;
/// A write that got no answer is tried again after so long, doubling.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// So long a cluster may be away before those who wait are told.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// So long a life cycle may take to follow a count that somebody else has set: it may have to stop first.
const ANSWER: Duration = Duration::from_secs(300);
/// So long after its container has had its grace a pod may take to be seen to be gone. Less than what the life cycle
/// gives a stop.
const FAREWELL: Duration = Duration::from_secs(5);
/// A pod that takes longer to start is asked about.
const SLOW: Duration = Duration::from_secs(2);

/// What a keeper is told.
#[expect(clippy::large_enum_variant, reason = "a word is moved once, into the channel's own memory")]
pub(super) enum Word {
    /// For its rules.
    Event(Event),
    /// The life cycle wants so.
    Want(Want),
    /// The configuration says so; the time from the polite signal to the kill.
    Declared(Option<Declared>, Duration),
    /// What is there; generations from this one are free.
    Adopt(u64, oneshot::Sender<Vec<Found>>),
    /// Another state of the connection.
    Link(State),
    /// A replica's start is slow, for this reason.
    Slow(Seen),
}

impl Word {
    /// Whether somebody wants something of it, and has not just seen something.
    fn is_wish(&self) -> bool {
        match self {
            Self::Want(_) | Self::Declared(..) | Self::Adopt(..) => true,
            Self::Event(event) => matches!(event, Event::Declared(_)),
            Self::Link(_) | Self::Slow(_) => false,
        }
    }
}

/// See the module's words.
pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) key: ServiceKey,
    pub(super) attach: Option<Attach>,
    pub(super) core: Core,
    pub(super) words: mpsc::UnboundedReceiver<Word>,
    /// Its own ear, for the answers to what it writes.
    pub(super) answers: mpsc::WeakUnboundedSender<Word>,
    pub(super) sources: watch::Sender<Vec<(ReplicaId, String)>>,
    /// A number of replicas that somebody else has set, until the life cycle wants another one.
    pub(super) scaled: watch::Sender<Option<u32>>,
    pub(super) grace: Duration,
    pub(super) timers: Timers,
}

/// What is due, and when.
#[derive(Default)]
pub(super) struct Timers {
    /// A write is tried again.
    again: Option<Instant>,
    failures: u32,
    /// What the cluster refused last.
    refused: String,
    /// Since when the cluster is away.
    lost: Option<(Instant, String)>,
    /// Those who wait are told that it is.
    patience: Option<Instant>,
    /// Starts are asked about.
    slow: Option<Instant>,
    /// The life cycle is not waited for any more.
    overdue: Option<Instant>,
    /// Pods that go are not waited for any more.
    late: BTreeMap<String, Instant>,
}

impl Keeper {
    /// Runs until nothing of the service is left, or the backend ends.
    pub(super) async fn run(mut self) {
        loop {
            let word = tokio::select! {
                biased;
                word = self.words.recv() => match word {
                    Some(word) => word,
                    None => return,
                },
                () = until(self.timers.again) => {
                    self.timers.again = None;
                    Word::Event(Event::Retry)
                }
                () = until(self.timers.patience) => {
                    self.timers.patience = None;
                    match &self.timers.lost {
                        Some((_, why)) => Word::Event(Event::Unreachable(trouble::unreachable(why))),
                        None => continue,
                    }
                }
                () = until(self.timers.overdue) => {
                    self.timers.overdue = None;
                    Word::Event(Event::Overdue)
                }
                pod = first(&self.timers.late) => {
                    self.timers.late.remove(&pod);
                    tracing::warn!(service = %self.key, pod, "takes long to end: it is left to the cluster");
                    Word::Event(Event::Late(pod))
                }
                () = until(self.timers.slow) => {
                    self.timers.slow = None;
                    self.ask_about_starts();
                    continue;
                }
            };
            self.hear(word);
            if self.core.is_done() && self.shared.is_over(&self.key) {
                // Said in the meantime, it is for the next keeper. What was seen alone makes none: it would look
                // after nothing, for ever.
                while let Ok(word) = self.words.try_recv() {
                    if !word.is_wish() {
                        continue;
                    }
                    self.shared.say(&self.key, self.attach.as_ref(), word);
                }
                return;
            }
        }
    }

    fn hear(&mut self, word: Word) {
        let effects = match word {
            Word::Event(event) => {
                self.note(&event);
                self.core.on(event)
            }
            Word::Want(want) => {
                let number = if want.replicas.is_empty() { 0 } else { want.number };
                self.scaled.send_if_modified(|scaled| scaled.take_if(|n| *n != number).is_some());
                self.core.on(Event::Want(want))
            }
            Word::Declared(declared, grace) => {
                self.grace = grace;
                self.core.on(Event::Declared(declared))
            }
            Word::Adopt(generation, tell) => {
                let (found, effects) = self.core.adopt(&self.key, generation);
                // Who asked may have left with the router.
                let _ = tell.send(found);
                effects
            }
            Word::Link(state) => self.link(state),
            Word::Slow(seen) => {
                self.shared.see(&self.key, seen);
                Vec::new()
            }
        };
        for effect in effects {
            self.carry_out(effect);
        }
        let sources = self.core.sources();
        self.sources.send_if_modified(|known| {
            let changed = *known != sources;
            *known = sources;
            changed
        });
        if self.core.is_starved() && self.timers.patience.is_none() {
            self.timers.patience = self.timers.lost.as_ref().map(|(since, _)| (*since + PATIENCE).max(Instant::now()));
        }
        if !self.core.waits_for_answer() {
            self.timers.overdue = None;
        } else if self.timers.overdue.is_none() {
            self.timers.overdue = Some(Instant::now() + ANSWER);
        }
        self.wait_for_those_who_go();
        if self.timers.slow.is_none() && !self.core.waiting().is_empty() {
            self.timers.slow = Some(Instant::now() + SLOW);
        }
    }

    /// When pods that go will have taken too long, from when they were first seen to go.
    fn wait_for_those_who_go(&mut self) {
        let going: BTreeSet<&str> = self.core.going().collect();
        self.timers.late.retain(|pod, _| going.contains(pod.as_str()));
        for pod in going {
            if !self.timers.late.contains_key(pod) {
                self.timers.late.insert(pod.to_owned(), Instant::now() + manifest::PAUSE + self.grace + FAREWELL);
            }
        }
    }

    /// When a write is tried again, by how the last one went.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Failed(Problem::Away) => {
                let pause = (AGAIN.0 * 2u32.saturating_pow(self.timers.failures)).min(AGAIN.1);
                self.timers.failures = self.timers.failures.saturating_add(1);
                self.timers.again = Some(Instant::now() + pause.mul_f64(0.5 + fastrand::f64() / 2.0));
                self.shared.link.suspect("a write got no answer".to_owned());
            }
            Event::Scaled(..) | Event::Applied(_) | Event::Removed => {
                self.timers.failures = 0;
                self.timers.refused.clear();
            }
            Event::Failed(Problem::Refused(failure)) => {
                if self.timers.refused != failure.detail {
                    self.timers.refused.clone_from(&failure.detail);
                    tracing::warn!(service = %self.key, "not done: {}", failure.detail);
                }
                // Someone may change what it is refused for; whoever asks is told at once meanwhile.
                self.timers.again = Some(Instant::now() + AGAIN.1 * 6);
            }
            _ => {}
        }
    }

    fn link(&mut self, state: State) -> Vec<Effect> {
        match state {
            State::Unknown => Vec::new(),
            State::Lost(why) => {
                let since = self.timers.lost.take().map_or_else(Instant::now, |(since, _)| since);
                self.timers.lost = Some((since, why.clone()));
                self.shared.see(&self.key, Seen::EngineLost(why));
                Vec::new()
            }
            State::Up => {
                if self.timers.lost.take().is_some() {
                    self.shared.see(&self.key, Seen::EngineBack);
                    self.timers.again = Some(Instant::now());
                    return self.core.on(Event::Again);
                }
                Vec::new()
            }
        }
    }

    /// Somebody else has set the number of replicas. What was set before the life cycle has heard of anything
    /// is asked for: as many are taken over, and told afterwards it would be too late for that.
    fn scaled(&mut self, replicas: u32) {
        self.scaled.send_replace(Some(replicas).filter(|n| *n > 0));
        if replicas == 0 || self.shared.adopted.load(Ordering::Acquire) {
            self.shared.see(&self.key, Seen::Scaled(replicas));
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::See(Seen::Scaled(replicas)) => self.scaled(replicas),
            Effect::See(seen) => self.shared.see(&self.key, seen),
            Effect::Apply { spec, count, holds, known } => {
                let grace = self.grace;
                self.write(async move |shared, _| {
                    let _slot = shared.slots.acquire().await;
                    let writer = shared.writer().ok_or(Problem::Away)?;
                    writer.service(&spec, count, holds, known, grace).await.map(Event::Applied)
                });
            }
            Effect::Scale { count, first } => {
                let attach = self.attach.clone();
                self.write(async move |shared, key| {
                    let writer = shared.writer().ok_or(Problem::Away)?;
                    let (count, version) = writer.scale(&key, attach.as_ref(), count, &first).await?;
                    Ok(Event::Scaled(count, version))
                });
            }
            Effect::Remove => self.write(async move |shared, key| {
                let _slot = shared.slots.acquire().await;
                shared.writer().ok_or(Problem::Away)?.remove(&key).await.map(|()| Event::Removed)
            }),
            Effect::Delete { pod, now } => {
                let answers = self.answers.clone();
                self.beside(async move |shared, key| {
                    let deleted = match shared.writer() {
                        Some(writer) => writer.delete_pod(&pod, now).await,
                        None => Err(Problem::Away),
                    };
                    if let Err(problem) = deleted {
                        tracing::debug!(service = %key, pod, "not deleted: {problem}");
                        tokio::time::sleep(AGAIN.0).await;
                        tell(&answers, Event::NotDeleted(pod));
                    }
                });
            }
            Effect::Mark { pod, id } => self.beside(async move |shared, key| {
                let Some(writer) = shared.writer() else { return };
                if let Err(problem) = writer.mark(&pod, id).await {
                    tracing::debug!(service = %key, pod, "the next router will not know it: {problem}");
                }
            }),
            Effect::Explain { id, pod, mut failure, previous } => {
                self.shared.see(&self.key, Seen::Ending(id, failure.clone()));
                let namespace = self.namespace();
                self.beside(async move |shared, key| {
                    failure.log_tail = match shared.link.now() {
                        Some(cluster) => logs::last_words(&cluster, namespace.as_deref(), &pod, previous, TAIL).await,
                        None => Vec::new(),
                    };
                    shared.see(&key, Seen::Ended(id, failure));
                });
            }
        }
    }

    /// Where its pods are, if not where ours are.
    fn namespace(&self) -> Option<String> {
        self.attach.as_ref().and_then(|a| a.namespace.clone())
    }

    fn write<F, R>(&self, write: F)
    where
        F: FnOnce(Arc<Shared>, ServiceKey) -> R + Send + 'static,
        R: Future<Output = Result<Event, Problem>> + Send,
    {
        let answers = self.answers.clone();
        self.beside(async move |shared, key| tell(&answers, write(shared, key).await.unwrap_or_else(Event::Failed)));
    }

    fn beside<F, R>(&self, what: F)
    where
        F: FnOnce(Arc<Shared>, ServiceKey) -> R + Send + 'static,
        R: Future<Output = ()> + Send,
    {
        let (shared, key) = (self.shared.clone(), self.key.clone());
        self.shared.spawn(async move { what(shared, key).await });
    }

    /// Pods that do not come: the cluster's events say why.
    fn ask_about_starts(&mut self) {
        let waiting = self.core.waiting();
        if waiting.is_empty() {
            return;
        }
        let (answers, namespace) = (self.answers.clone(), self.namespace());
        self.beside(async move |shared, _| {
            let Some(cluster) = shared.link.now() else { return };
            for (id, pod) in waiting {
                match stuck::ask(&cluster, namespace.as_deref(), &pod).await {
                    Some(stuck::Said::Progress(progress)) => say(&answers, Word::Slow(Seen::Progress(id, progress))),
                    Some(stuck::Said::Hopeless(failure)) => tell(&answers, Event::Stuck(id, failure)),
                    None => {}
                }
            }
        });
        self.timers.slow = Some(Instant::now() + SLOW);
    }
}

/// The pod that is due first, when it is.
async fn first(due: &BTreeMap<String, Instant>) -> String {
    let first = due.iter().min_by_key(|(_, at)| **at);
    until(first.map(|(_, at)| *at)).await;
    first.map(|(pod, _)| pod.clone()).unwrap_or_default()
}

fn tell(answers: &mpsc::WeakUnboundedSender<Word>, event: Event) {
    say(answers, Word::Event(event));
}

fn say(answers: &mpsc::WeakUnboundedSender<Word>, word: Word) {
    if let Some(answers) = answers.upgrade() {
        // It may have ended by now.
        let _ = answers.send(word);
    }
}
