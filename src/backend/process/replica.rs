//! One task a replica: it starts the shim, tells it what is wanted and reports what it says.

use std::collections::hash_map;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::link::Link;
use super::protocol::{
    Command, Ending, Event, Hello, LogSpec, Meta, NetworkSpec, Owner, PROTOCOL, ShimSpec, ShimState, StepSpec,
};
use super::room::{Entry, Known, Room, Target};
use super::{environment, failure, leftover, paths, runnable};
use crate::backend::{Failure, FailureKind, Goal, Progress, ReplicaId, Seen, Want};
use crate::landscape::{ServiceKey, ServiceSpec, Step, Workload};
use crate::moment::until;

/// Notes what is wanted of a service; its replicas' tasks do it.
pub(super) fn apply(room: &Arc<Room>, want: Want) {
    let mut replicas = room.replicas.lock();
    for listed in &want.replicas {
        let target = Target::Be(listed.spec.clone(), listed.goal);
        match replicas.entry((want.service.clone(), listed.id)) {
            hash_map::Entry::Occupied(entry) => {
                entry.get().target.send_if_modified(|now| aims_elsewhere(now, &target, || target.clone()));
            }
            hash_map::Entry::Vacant(place) => {
                place.insert(spawn(room, want.service.clone(), listed.id, target, None));
            }
        }
    }
    for ((service, id), entry) in replicas.iter() {
        if *service == want.service && !want.replicas.iter().any(|r| r.id == *id) {
            let target = Target::Gone(want.grace);
            entry.target.send_if_modified(|now| aims_elsewhere(now, &target, || target.clone()));
        }
    }
}

fn aims_elsewhere(now: &mut Target, then: &Target, make: impl FnOnce() -> Target) -> bool {
    let same = match (&*now, then) {
        (Target::Be(_, a), Target::Be(_, b)) => a == b,
        (Target::Gone(a), Target::Gone(b)) => a == b,
        _ => false,
    };
    if !same {
        *now = make();
    }
    !same
}

/// Starts a replica's task; with `found`, for a shim that runs already.
pub(super) fn spawn(
    room: &Arc<Room>,
    service: ServiceKey,
    id: ReplicaId,
    target: Target,
    found: Option<(Link, Hello)>,
) -> Entry {
    let (sender, receiver) = watch::channel(target);
    // Whose socket it is may be asked as soon as it is known to be found.
    let known = found.as_ref().map(|(_, hello)| Known::of(hello)).unwrap_or_default();
    let known = Arc::new(Mutex::new(known));
    let task = Task { room: room.clone(), service, id, target: receiver, known: known.clone() };
    let cancel = room.cancel.clone();
    room.runtime.spawn(async move {
        tokio::select! {
            // A router that is gone: the connections close, the shims wait for the next one.
            () = cancel.cancelled() => {}
            () = task.run(found) => {}
        }
    });
    Entry { target: sender, known }
}

/// Beyond a stop's grace, until something is taken to be wrong.
const OVERDUE: Duration = Duration::from_secs(3);

/// How a conversation ended.
enum End {
    /// As wanted.
    Stopped,
    /// By itself.
    Failed(Failure),
}

struct Task {
    room: Arc<Room>,
    service: ServiceKey,
    id: ReplicaId,
    target: watch::Receiver<Target>,
    known: Arc<Mutex<Known>>,
}

impl Task {
    async fn run(mut self, mut found: Option<(Link, Hello)>) {
        loop {
            let target = self.target.borrow_and_update().clone();
            let end = match (found.take(), target) {
                (Some((link, hello)), _) => {
                    let meta = hello.meta.clone();
                    self.attend(link, meta, Some(hello)).await
                }
                // Not there, and to be gone.
                (None, Target::Gone(_)) => End::Stopped,
                // Found once, and ended since.
                (None, Target::Keep) => End::Stopped,
                (None, Target::Be(spec, _)) => match self.start(&spec).await {
                    Ok((link, meta)) => self.attend(link, meta, None).await,
                    Err(failure) => End::Failed(failure),
                },
            };
            *self.known.lock() = Known::default();
            if let End::Failed(failure) = end {
                tracing::info!(service = %self.service, replica = %self.id, "ended: {}", failure.detail);
                self.room.observe(&self.service, Seen::Ended(self.id, failure));
                // One that ended is not started again: it waits to be left out of the list.
                while !matches!(*self.target.borrow_and_update(), Target::Gone(_)) {
                    if self.target.changed().await.is_err() {
                        return;
                    }
                }
            }
            if self.leave() {
                return self.room.observe(&self.service, Seen::Stopped(self.id));
            }
        }
    }

    /// Takes the replica out of the room, unless it was listed again meanwhile.
    fn leave(&self) -> bool {
        let mut replicas = self.room.replicas.lock();
        if matches!(*self.target.borrow(), Target::Be(..)) {
            return false;
        }
        replicas.remove(&(self.service.clone(), self.id));
        drop(replicas);
        self.room.one_less.notify_waiters();
        true
    }

    async fn start(&self, spec: &Arc<ServiceSpec>) -> Result<(Link, Meta), Failure> {
        let token = new_token();
        let started = self.try_start(spec, &token).await;
        if started.is_err() {
            self.room.give_back(&token);
            // It may not exist yet.
            let _ = std::fs::remove_dir_all(self.room.paths.replica(&token));
        }
        started
    }

    async fn try_start(&self, spec: &Arc<ServiceSpec>, token: &str) -> Result<(Link, Meta), Failure> {
        let room = &self.room;
        let settings = room.settings();
        runnable::check(spec, &settings, room.own).map_err(failure::not_runnable)?;
        let user = runnable::user(spec, room.own).map_err(failure::not_runnable)?;
        let Workload::Reactive { steps, .. } = &spec.workload else {
            return Err(failure::not_runnable("it has no steps".into()));
        };
        let attached = room.attach(&self.service.landscape, token).await.map_err(|e| failure::of_network(&e))?;
        let told = room.told(&self.service.landscape, attached.as_ref());
        let addresses = match &attached {
            // In a namespace of its own every port is free.
            Some(_) => spec.all_ports().into_iter().map(|port| (port, (Ipv4Addr::LOCALHOST, port).into())).collect(),
            None => room.ports.choose(token, &spec.all_ports(), room.port_rules(spec.user)).map_err(failure::ports)?,
        };
        let prepared = || -> std::io::Result<_> {
            let home = environment::make_home(&room.paths, &spec.home, user.as_ref())?;
            let dir = room.paths.replica(token);
            paths::private_dir(&dir)?;
            let logs = room.paths.logs(&spec.key);
            paths::private_dir(&logs)?;
            Ok((home, dir, logs))
        };
        let (home, dir, logs) = prepared().map_err(|e| failure::of_start(&e))?;
        let meta = Meta {
            protocol: PROTOCOL,
            token: token.to_owned(),
            owner: Owner::Replica { service: spec.key.clone(), id: self.id, digest: spec.run_digest() },
            addresses: addresses.clone(),
            network: attached.as_ref().map(|a| a.address),
            since: SystemTime::now(),
            shim: None,
            cgroups: room.places.spec(token, Some(&spec.plan)),
        };
        let shim = ShimSpec {
            meta: meta.clone(),
            dir,
            log: LogSpec {
                dir: logs,
                source: self.id.ordinal.to_string(),
                generation: self.id.generation,
                keep: settings.log_keep,
            },
            shell: room.shell.clone(),
            steps: steps_of(steps),
            total: count(steps),
            cwd: spec.home.root.clone(),
            env: environment::of_replica(spec, self.id, &addresses, told.variables, &home.to_string_lossy(), token),
            user,
            files: room.files(),
            orphan_after_ms: millis(room.options.orphan_after),
            grace_ms: millis(room.options.orphan_grace),
            network: attached.as_ref().map(NetworkSpec::of),
            hosts: told.file,
        };
        let link =
            Link::start(&room.options.shim, &shim, attached.as_ref()).await.map_err(|e| failure::of_start(&e))?;
        Ok((link, meta))
    }

    /// Talks to the shim until nothing of the replica is left. What the shim says of itself replaces `meta`.
    async fn attend(&mut self, mut link: Link, mut meta: Meta, hello: Option<Hello>) -> End {
        // Looked at once at the beginning, then whenever it changes.
        let mut look = true;
        let mut told_to_stop = None;
        let mut stop_by = None;
        let mut paused = false;
        if let Some(hello) = hello {
            self.greeted(hello, &mut meta, &mut paused);
        }
        let ended = loop {
            if look {
                let target = self.target.borrow_and_update().clone();
                match target {
                    Target::Gone(grace) if told_to_stop.is_none_or(|g| grace < g) => {
                        told_to_stop = Some(grace);
                        stop_by = Some(Instant::now() + grace + OVERDUE);
                        link.say(Command::Stop { grace_ms: millis(grace) }).await;
                    }
                    Target::Be(_, Goal::Pause) if told_to_stop.is_none() && !paused => link.say(Command::Pause).await,
                    Target::Be(_, Goal::Run) if told_to_stop.is_none() && paused => link.say(Command::Resume).await,
                    _ => {}
                }
            }
            look = tokio::select! {
                event = link.next() => match event {
                    Some(Event::Ended(ending)) => break Ok(ending),
                    Some(Event::Hello(Hello { state: ShimState::Ended(ending), .. })) => break Ok(ending),
                    Some(event) => {
                        let before = paused;
                        self.note(event, &mut meta, &mut paused);
                        // A wish to resume may have come before the pause was complete.
                        paused != before
                    }
                    None => break Err(None),
                },
                () = until(stop_by) => {
                    stop_by = Some(Instant::now() + OVERDUE);
                    if let Some(reason) = self.unresponsive(&meta).await {
                        break Err(Some(reason));
                    }
                    false
                }
                changed = self.target.changed() => {
                    if changed.is_err() {
                        return End::Stopped;
                    }
                    true
                }
            };
        };
        match ended {
            Ok(ending) => {
                link.finish().await;
                self.room.give_back(&meta.token);
                self.judge(&ending, &meta, told_to_stop.is_some())
            }
            Err(reason) => {
                let reason = match reason {
                    Some(reason) => reason,
                    None => link.epitaph().await,
                };
                let end = self.clean_up(&meta, reason, told_to_stop.is_some()).await;
                self.room.give_back(&meta.token);
                end
            }
        }
    }

    fn judge(&self, ending: &Ending, meta: &Meta, told_to_stop: bool) -> End {
        if ending.dropped > 0 {
            tracing::warn!(service = %self.service, replica = %self.id, lines = ending.dropped,
                "lines of output were lost: the log could not be written");
        }
        // It may have ended by itself just before it was told; gone as wanted all the same.
        if told_to_stop {
            return End::Stopped;
        }
        let failure = failure::of_replica(ending, meta.machine_ports());
        if failure.kind == FailureKind::PortTaken {
            for (_, at) in meta.machine_ports() {
                self.room.ports.clashed(at.port());
            }
        }
        End::Failed(failure)
    }

    /// A stop takes longer than it may: is it the shim that does not answer, or what it has to end?
    async fn unresponsive(&self, meta: &Meta) -> Option<String> {
        let ask = async {
            let mut link = Link::connect(&self.room.paths.replica(&meta.token)).await.ok()?;
            link.next().await
        };
        match tokio::time::timeout(OVERDUE, ask).await {
            Ok(Some(Event::Hello(hello))) => {
                tracing::warn!(service = %self.service, replica = %self.id, problems = ?hello.problems,
                    "it does not end, not even killed; its shim goes on trying");
                None
            }
            _ => Some("its shim does not answer".into()),
        }
    }

    /// The shim was killed, or never came to speak.
    async fn clean_up(&self, meta: &Meta, reason: String, told_to_stop: bool) -> End {
        let dir = self.room.paths.replica(&meta.token);
        loop {
            match leftover::clean(&dir).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(service = %self.service, replica = %self.id, "after {reason}: {error}; tried again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
        if told_to_stop { End::Stopped } else { End::Failed(failure::backend(reason)) }
    }

    fn note(&self, event: Event, meta: &mut Meta, paused: &mut bool) {
        match event {
            Event::Hello(hello) => self.greeted(hello, meta, paused),
            Event::Step(step) => {
                self.known.lock().step = Some(step.pid);
                if step.total > 1 {
                    let text = format!("{} of {}", step.label, step.total);
                    self.room.observe(&self.service, Seen::Progress(self.id, Progress { text, fraction: None }));
                }
            }
            Event::Paused => {
                *paused = true;
                self.room.observe(&self.service, Seen::Paused(self.id));
            }
            Event::Resumed => {
                *paused = false;
                self.observe_running(meta);
            }
            Event::PauseFailed(reason) => {
                // What it is doing is what it did before.
                self.room.observe(&self.service, Seen::Stuck(self.id, reason));
            }
            Event::Ended(_) => {}
        }
    }

    fn greeted(&self, hello: Hello, meta: &mut Meta, paused: &mut bool) {
        for problem in &hello.problems {
            tracing::warn!(service = %self.service, replica = %self.id, "{problem}");
        }
        *self.known.lock() = Known::of(&hello);
        *meta = hello.meta;
        *paused = matches!(hello.state, ShimState::Paused);
        match hello.state {
            ShimState::Running => self.observe_running(meta),
            ShimState::Paused => self.room.observe(&self.service, Seen::Paused(self.id)),
            ShimState::Stopping | ShimState::Ended(_) => {}
        }
    }

    fn observe_running(&self, meta: &Meta) {
        self.room.observe(&self.service, Seen::Running(self.id, meta.addresses()));
    }
}

/// A replica's or job's name on this machine.
pub(super) fn new_token() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// What a shim is told of steps: those with a command, under the file's numbers.
pub(super) fn steps_of(steps: &[Step]) -> Vec<StepSpec> {
    (1..)
        .zip(steps)
        .filter(|(_, step)| !step.command.trim().is_empty())
        .map(|(number, step)| StepSpec { number, label: label(number, step), command: step.command.clone() })
        .collect()
}

fn label(number: u32, step: &Step) -> String {
    match step.name.as_deref().filter(|n| !n.is_empty()) {
        Some(name) => format!("step {number} ({name})"),
        None => format!("step {number}"),
    }
}

pub(super) fn count(steps: &[Step]) -> u32 {
    u32::try_from(steps.len()).unwrap_or(u32::MAX)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
