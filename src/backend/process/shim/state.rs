//! What a shim knows of its replica.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{child, output};
use crate::backend::process::logs::LogWriter;
use crate::backend::process::procfs;
use crate::backend::process::protocol::{Ending, Event, Hello, Outcome, ShimSpec, ShimState, StepStarted};

/// Between two attempts to kill what is left, doubling: what forks faster than it is killed needs
/// some, what may not be killed needs no haste.
const KILL_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How far the replica is.
enum Phase {
    /// Steps run.
    Running,
    /// Frozen.
    Paused,
    /// Told to stop: killed at the deadline.
    Stopping(Instant),
    /// Killed; at that time once more.
    Killing(Instant),
    /// Nothing is left.
    Ended(Box<Ending>),
}

/// The replica and its routers.
pub struct Replica {
    spec: ShimSpec,
    phase: Phase,
    /// The index of the next step.
    next: usize,
    current: Option<(StepStarted, Instant)>,
    last: Option<Last>,
    told_to_stop: bool,
    /// Until the next attempt to kill.
    kill_again: Duration,
    /// Steps that were started and not yet reaped: their numbers cannot be anyone else's.
    leaders: Vec<Pid>,
    log: Rc<RefCell<LogWriter>>,
    output: JoinSet<std::io::Result<()>>,
    problems: Vec<String>,
    routers: HashMap<u64, mpsc::UnboundedSender<Event>>,
    /// Since when there has been no router.
    alone_since: Option<Instant>,
}

/// How the last step went.
struct Last {
    outcome: Outcome,
    step: u32,
    label: String,
    ran: Duration,
}

impl Replica {
    /// Nothing runs yet.
    pub fn new(spec: ShimSpec, problems: Vec<String>) -> Self {
        let log = Rc::new(RefCell::new(LogWriter::new(&spec.log)));
        Self {
            spec,
            phase: Phase::Running,
            next: 0,
            current: None,
            last: None,
            told_to_stop: false,
            kill_again: KILL_AGAIN.0,
            leaders: Vec::new(),
            log,
            output: JoinSet::new(),
            problems,
            routers: HashMap::new(),
            alone_since: Some(Instant::now()),
        }
    }

    /// Whether nothing of the replica is left and nobody has to be told.
    pub fn is_over(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Ended(_)) && self.alone_for(now).is_some()
    }

    /// Whether nothing of the replica is left.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// Starts the next step that has a command, or ends.
    pub fn advance(&mut self) {
        let Some(step) = self.spec.steps.get(self.next).cloned() else {
            if self.last.is_none() {
                let label = "its steps".to_owned();
                self.last = Some(Last { outcome: Outcome::Nothing, step: 0, label, ran: Duration::ZERO });
            }
            return self.kill();
        };
        self.next += 1;
        // Before it runs: it may have ended by the time that we do again.
        let began = Instant::now();
        match child::start(&self.spec, &step) {
            Ok(started) => {
                self.leaders.extend(i32::try_from(started.pid).ok().and_then(Pid::from_raw));
                for (pipe, stderr) in [(started.stdout, false), (started.stderr, true)] {
                    self.output.spawn_local(output::read(pipe, step.number, stderr, self.log.clone()));
                }
                let told =
                    StepStarted { number: step.number, total: self.spec.total, label: step.label, pid: started.pid };
                self.current = Some((told.clone(), began));
                self.tell(&Event::Step(told));
            }
            Err(reason) => {
                let outcome = Outcome::NotStarted(reason);
                self.last = Some(Last { outcome, step: step.number, label: step.label, ran: Duration::ZERO });
                self.kill();
            }
        }
    }

    /// A process of the replica was reaped.
    pub fn reaped(&mut self, pid: Pid, outcome: Outcome) {
        self.leaders.retain(|leader| *leader != pid);
        let is_current = |(step, _): &mut (StepStarted, Instant)| step.pid == pid.as_raw_nonzero().get().unsigned_abs();
        let Some((step, since)) = self.current.take_if(is_current) else { return };
        let good = outcome == Outcome::Exited(0);
        self.last = Some(Last { outcome, step: step.number, label: step.label, ran: since.elapsed() });
        if matches!(self.phase, Phase::Running | Phase::Paused) {
            if good && self.next < self.spec.steps.len() {
                self.advance();
            } else {
                self.kill();
            }
        }
    }

    /// The kernel says that no child is left.
    pub async fn childless(&mut self) {
        if !matches!(self.phase, Phase::Stopping(_) | Phase::Killing(_)) {
            return;
        }
        // The writers are gone, so what is in the pipes ends at once; a descriptor that was handed
        // to a stranger must not keep us.
        let drain = async { while self.output.join_next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_secs(1), drain).await.is_err() {
            self.output.abort_all();
        }
        let out_of_memory = self.spec.meta.cgroups.memory_kills() > 0;
        // A group is empty a moment after its last process was reaped.
        for wait in [0, 1, 2, 5, 10, 50] {
            if self.spec.meta.cgroups.remove() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        let last = self.last.take().unwrap_or(Last {
            outcome: Outcome::Nothing,
            step: 0,
            label: "its steps".into(),
            ran: Duration::ZERO,
        });
        let log = self.log.borrow();
        let ending = Box::new(Ending {
            outcome: last.outcome,
            step: last.step,
            label: last.label,
            ran_us: u64::try_from(last.ran.as_micros()).unwrap_or(u64::MAX),
            told: self.told_to_stop,
            out_of_memory,
            tail: log.tail(),
            dropped: log.dropped(),
        });
        drop(log);
        self.tell(&Event::Ended(ending.clone()));
        self.phase = Phase::Ended(ending);
    }

    /// SIGTERM to everything, SIGKILL after `grace`. A second call can only shorten it.
    pub fn stop(&mut self, grace: Duration) {
        let deadline = Instant::now() + grace;
        match &mut self.phase {
            Phase::Stopping(until) => *until = deadline.min(*until),
            Phase::Running | Phase::Paused => {
                let paused = matches!(self.phase, Phase::Paused);
                self.told_to_stop = true;
                self.phase = Phase::Stopping(deadline);
                self.signal(Signal::TERM);
                if paused {
                    // Frozen processes would not see it.
                    if let Err(e) = self.thaw() {
                        self.problems.push(e);
                    }
                }
            }
            Phase::Killing(_) | Phase::Ended(_) => {}
        }
    }

    /// SIGKILL to everything, again until nothing is left.
    pub fn kill(&mut self) {
        if self.is_ended() {
            return;
        }
        self.phase = Phase::Killing(Instant::now() + self.kill_again);
        self.kill_again = (self.kill_again * 2).min(KILL_AGAIN.1);
        self.spec.meta.cgroups.kill();
        self.signal(Signal::KILL);
        // A version 1 freezer holds even what was killed.
        if self.spec.meta.cgroups.can_freeze()
            && let Err(e) = self.spec.meta.cgroups.freeze(false)
        {
            self.problems.push(format!("cannot thaw: {e}"));
        }
    }

    /// To the steps' groups, each at once, and to every other process below us.
    fn signal(&mut self, signal: Signal) {
        for leader in &self.leaders {
            // Gone in this moment, or another user's: the walk below sees what is left of it.
            let _ = rustix::process::kill_process_group(*leader, signal);
        }
        if signal == Signal::TERM {
            // Whoever got it through the group is not told twice.
            let groups: Vec<_> = self.leaders.iter().map(|l| l.as_raw_nonzero().get().unsigned_abs()).collect();
            self.note(procfs::signal_descendants_outside(std::process::id(), signal, &groups));
        } else {
            self.note(procfs::signal_descendants_outside(std::process::id(), signal, &[]));
        }
    }

    fn note(&mut self, result: std::io::Result<usize>) {
        if let Err(e) = result {
            let problem = format!("cannot signal {e}");
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
    }

    /// Freezes everything.
    pub async fn pause(&mut self) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        match self.freeze().await {
            Ok(()) => {
                self.phase = Phase::Paused;
                self.tell(&Event::Paused);
            }
            Err(reason) => {
                // Half frozen is worse than running.
                let undone = self.thaw();
                self.tell(&Event::PauseFailed(undone.err().unwrap_or(reason)));
            }
        }
    }

    /// Lets everything run again.
    pub fn resume(&mut self) {
        if !matches!(self.phase, Phase::Paused) {
            return;
        }
        match self.thaw() {
            Ok(()) => {
                self.phase = Phase::Running;
                self.tell(&Event::Resumed);
            }
            Err(reason) => self.tell(&Event::PauseFailed(reason)),
        }
    }

    async fn freeze(&mut self) -> Result<(), String> {
        let groups = &self.spec.meta.cgroups;
        if groups.can_freeze() {
            groups.freeze(true).map_err(|e| format!("cannot freeze: {e}"))?;
            // The kernel stops each process at its next chance.
            for _ in 0..500 {
                if groups.is_frozen().map_err(|e| format!("cannot freeze: {e}"))? {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            return Err("not everything froze within half a second".into());
        }
        // What forks between the look and the signal is caught by the next look.
        let mut before = 0;
        for _ in 0..100 {
            let now = procfs::signal_descendants_outside(std::process::id(), Signal::STOP, &[])
                .map_err(|e| format!("cannot stop {e}"))?;
            if now == before {
                return Ok(());
            }
            before = now;
        }
        Err("it makes processes faster than they can be stopped".into())
    }

    fn thaw(&mut self) -> Result<(), String> {
        let groups = &self.spec.meta.cgroups;
        if groups.can_freeze() {
            return groups.freeze(false).map_err(|e| format!("cannot thaw: {e}"));
        }
        procfs::signal_descendants_outside(std::process::id(), Signal::CONT, &[])
            .map(|_| ())
            .map_err(|e| format!("cannot continue {e}"))
    }

    /// A router is there.
    pub fn connected(&mut self, id: u64, to: mpsc::UnboundedSender<Event>) {
        let state = match &self.phase {
            Phase::Running => ShimState::Running,
            Phase::Paused => ShimState::Paused,
            Phase::Stopping(_) | Phase::Killing(_) => ShimState::Stopping,
            Phase::Ended(ending) => ShimState::Ended(ending.clone()),
        };
        let hello = Event::Hello(Hello {
            meta: self.spec.meta.clone(),
            state,
            step: self.current.as_ref().map(|(s, _)| s.clone()),
            problems: self.problems.clone(),
        });
        if to.send(hello).is_ok() {
            self.routers.insert(id, to);
            self.alone_since = None;
        }
    }

    /// A router is gone.
    pub fn gone(&mut self, id: u64) {
        if self.routers.remove(&id).is_some() && self.routers.is_empty() {
            self.alone_since = Some(Instant::now());
        }
    }

    fn tell(&self, event: &Event) {
        for router in self.routers.values() {
            // Its leaving is told separately.
            let _ = router.send(event.clone());
        }
    }

    /// How a replica without a router is ended.
    pub fn orphan_grace(&self) -> Duration {
        Duration::from_millis(self.spec.grace_ms)
    }

    fn orphan_after(&self) -> Duration {
        Duration::from_millis(self.spec.orphan_after_ms)
    }

    fn alone_for(&self, now: Instant) -> Option<()> {
        (now >= self.alone_since? + self.orphan_after()).then_some(())
    }

    /// When [`Replica::tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let alone = self.alone_since.map(|since| since + self.orphan_after());
        match self.phase {
            Phase::Running | Phase::Paused | Phase::Ended(_) => alone,
            Phase::Stopping(at) | Phase::Killing(at) => Some(at),
        }
    }

    /// What time brings: the end of a grace, another kill, the end of waiting for a router.
    pub fn tick(&mut self, now: Instant) {
        match self.phase {
            Phase::Stopping(at) | Phase::Killing(at) if now >= at => self.kill(),
            Phase::Running | Phase::Paused if self.alone_for(now).is_some() => {
                self.stop(self.orphan_grace());
            }
            _ => {}
        }
    }
}
