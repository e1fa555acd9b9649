//! The probes that run for one service: at most one task a replica.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::actor::Input;
use super::machine::Event;
use crate::backend::{Addresses, Backend, ReplicaId};
use crate::landscape::ServiceSpec;
use crate::probe::{Prober, Start, Target, Watch};

/// See the module's words.
pub(super) struct Probes {
    prober: Arc<Prober>,
    backend: Arc<dyn Backend>,
    to: mpsc::UnboundedSender<Input>,
    tasks: BTreeMap<ReplicaId, (u64, AbortHandle)>,
    round: u64,
}

impl Probes {
    pub fn new(prober: Arc<Prober>, backend: Arc<dyn Backend>, to: mpsc::UnboundedSender<Input>) -> Self {
        Self { prober, backend, to, tasks: BTreeMap::new(), round: 0 }
    }

    fn target(&self, id: ReplicaId, addresses: Addresses, spec: Arc<ServiceSpec>) -> Target {
        Target { spec, id, addresses, backend: self.backend.clone() }
    }

    /// Tries until it passes.
    pub fn until_ready(&mut self, id: ReplicaId, addresses: Addresses, spec: Arc<ServiceSpec>) {
        let target = self.target(id, addresses, spec);
        let (prober, to, round) = (self.prober.clone(), self.to.clone(), self.next_round());
        let task = tokio::spawn(async move {
            // A failed send here and below: the actor has ended, and nobody wants to know.
            let last = Mutex::new(String::new());
            let problem = |text: String| {
                let mut last = last.lock();
                if *last != text {
                    last.clone_from(&text);
                    drop(to.send(Input::Probe { id, round, event: Event::ProbeProblem(id, text) }));
                }
            };
            let event = match prober.until_ready(&target, &problem).await {
                Start::Ready(addresses) => Event::ProbePassed(id, addresses),
                Start::TakenBy(holder) => Event::ProbeTaken(id, holder),
            };
            drop(to.send(Input::Probe { id, round, event }));
        });
        self.replace(id, round, task.abort_handle());
    }

    /// Probes a ready replica now and then.
    pub fn watch(&mut self, id: ReplicaId, addresses: Addresses, spec: Arc<ServiceSpec>) {
        let target = self.target(id, addresses, spec);
        let (prober, to, round) = (self.prober.clone(), self.to.clone(), self.next_round());
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Watch::EVERY).await;
                let result = prober.check(&target).await;
                let event = Event::Checked { id, result, answered: false };
                if to.send(Input::Probe { id, round, event }).is_err() {
                    return;
                }
            }
        });
        self.replace(id, round, task.abort_handle());
    }

    /// Whether a result of this round is still wanted.
    pub fn is_current(&self, id: ReplicaId, round: u64) -> bool {
        self.tasks.get(&id).is_some_and(|(r, _)| *r == round)
    }

    /// Ends its probe, if one runs.
    pub fn end(&mut self, id: ReplicaId) {
        if let Some((_, task)) = self.tasks.remove(&id) {
            task.abort();
        }
    }

    fn next_round(&mut self) -> u64 {
        self.round += 1;
        self.round
    }

    fn replace(&mut self, id: ReplicaId, round: u64, task: AbortHandle) {
        if let Some((_, before)) = self.tasks.insert(id, (round, task)) {
            before.abort();
        }
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        for (_, task) in self.tasks.values() {
            task.abort();
        }
    }
}
